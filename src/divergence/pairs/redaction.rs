//! Values taken out of what is kept.

use crate::divergence::comparison::Comparison;
use crate::divergence::pattern::Pattern;
use crate::divergence::reason::Reason;
use crate::inference::answer::Json;

/// What stands for a value that was taken out.
const REDACTED: &str = "[redacted]";
/// `/outputs/0/data`: three steps.
const TENSOR_DATA: usize = 3;

/// Which values are taken out.
#[derive(Debug, Clone)]
pub(super) struct Redaction {
    patterns: Vec<Pattern>,
    /// Something was to be taken out that no pointer names: then nothing is shown.
    everything: bool,
}

impl Redaction {
    /// Takes out what these JSON pointers point at. One that is no pointer takes out everything:
    /// whoever wrote it wanted something hidden.
    pub(super) fn new(pointers: &[String]) -> Self {
        let patterns = Pattern::parse_all(pointers);
        Self { everything: patterns.len() < pointers.len(), patterns }
    }

    /// Whether nothing is to be taken out.
    pub(super) fn is_empty(&self) -> bool {
        self.patterns.is_empty() && !self.everything
    }

    /// Takes values out of a body as it was sent.
    pub(super) fn body(&self, json: &mut Json) {
        self.apply(json, |pattern| pattern.clone());
    }

    /// Takes values out of tensors shown in REST's form. Their values stand flat there, wherever
    /// they stood in the body, so a pointer to some of them takes all.
    pub(super) fn tensors(&self, json: &mut Json) {
        self.apply(json, |pattern| pattern.above(TENSOR_DATA));
    }

    fn apply(&self, json: &mut Json, pattern: impl Fn(&Pattern) -> Pattern) {
        let redacted = Json::string(REDACTED);
        if self.everything {
            *json = redacted;
            return;
        }
        for each in &self.patterns {
            pattern(each).replace(json, &redacted);
        }
    }

    /// Takes places that are hidden out of a comparison, and lines that quote a body.
    pub(super) fn comparison(&self, comparison: &mut Comparison) {
        let Some(worst) = comparison.worst.as_mut().filter(|_| !self.is_empty()) else { return };
        let hidden = |place: &str| {
            self.everything || self.patterns.iter().any(|pattern| pattern.covers_pointer(place))
        };
        let quotes = matches!(worst.reason, Some(Reason::Undecodable | Reason::DecodeLimit));
        let whole = hidden(&worst.output);
        // Where the place is: in the whole body, in a value that has a pointer, or in an output that
        // has but a name, of which nobody can say whether a pointer to what is hidden leads there.
        let within = |at: &str| match worst.output.as_str() {
            "body" => hidden(at),
            output if output.starts_with('/') => hidden(&format!("{output}{at}")),
            _ => at.contains('/'),
        };
        if worst.at.as_deref().is_some_and(|at| quotes || whole || within(at)) {
            worst.at = Some(REDACTED.to_owned());
        }
        if whole {
            worst.output = REDACTED.to_owned();
        }
    }
}
