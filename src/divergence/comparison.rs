//! What comparing a pair gives: diverged or not, by which output, how much.

use serde::Serialize;

use super::reason::Reason;
use super::spec::ComparatorKind;

/// Longest name or place in a report, in bytes.
const MAX_NAME: usize = 256;

/// The largest extent, just below the next reason's gravity.
const BELOW_ONE: f64 = 1.0 - 1e-9;

/// The result for one pair.
#[derive(Debug, Clone, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Comparison {
    /// Whether the pair diverges.
    pub diverged: bool,
    /// Why, by the gravest difference.
    pub reason: Option<Reason>,
    /// The output that differs most. Also given where it stays within its tolerance; none where
    /// nothing was measured.
    pub worst: Option<OutputDifference>,
    /// Each comparator that was used, with what it measured over all outputs.
    pub comparators: Vec<Scores>,
}

/// What one comparator measured over all outputs of a pair: the worst of each number.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Scores {
    /// The comparator.
    pub comparator: ComparatorKind,
    /// Whether any output diverged by it.
    pub diverged: bool,
    /// Its numbers.
    pub measures: Measures,
}

/// How one output of a pair differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct OutputDifference {
    /// Name of the output, or JSON pointer to it. At most 256 bytes.
    pub output: String,
    /// By what it was compared.
    pub comparator: ComparatorKind,
    /// Why it diverges, if it does.
    pub reason: Option<Reason>,
    /// Where in it the first or largest difference is: an index, a row or a JSON pointer. At most
    /// 256 bytes.
    pub at: Option<String>,
    /// Numbers.
    pub measures: Measures,
}

/// Distances between two outputs. What a comparator does not measure is absent.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measures {
    /// How many values, rows or texts were compared.
    pub compared: u64,
    /// How many of them differ beyond what is allowed.
    pub different: u64,
    /// How many values are NaN or infinite in both, in the same way.
    pub non_finite: u64,
    /// Largest absolute difference of two finite numbers.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_absolute: Option<f64>,
    /// Largest difference as a share of the larger number, from 0 to 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_relative: Option<f64>,
    /// Largest difference in multiples of what was allowed; above 1 it diverges.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excess: Option<f64>,
    /// Cosine of the angle between the two as vectors: 1 the same direction.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cosine: Option<f64>,
    /// Edit distance of texts as a share of the longer one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance: Option<f64>,
    /// Overlap of texts' tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub overlap: Option<f64>,
}

impl Measures {
    /// Takes the worse of each number.
    pub fn merge(&mut self, other: &Self) {
        self.compared = self.compared.saturating_add(other.compared);
        self.different = self.different.saturating_add(other.different);
        self.non_finite = self.non_finite.saturating_add(other.non_finite);
        self.max_absolute = larger(self.max_absolute, other.max_absolute);
        self.max_relative = larger(self.max_relative, other.max_relative);
        self.excess = larger(self.excess, other.excess);
        self.distance = larger(self.distance, other.distance);
        self.cosine = smaller(self.cosine, other.cosine);
        self.overlap = smaller(self.overlap, other.overlap);
    }

    /// How far apart, from 0 (the same) to below 1, to order what diverges for one reason.
    pub fn extent(&self) -> f64 {
        let share = match self.compared {
            0 => 0.0,
            #[expect(clippy::cast_precision_loss, reason = "a share needs no more than 53 bits")]
            compared => self.different as f64 / compared as f64,
        };
        // Multiples of what was allowed tell more than how many values are off, unless what is off
        // is no number: then all that were measured may well be within their tolerance.
        let extent = match self.excess {
            Some(excess) if excess > 1.0 || self.different == 0 => 1.0 - 1.0 / (1.0 + excess.max(0.0)),
            _ => self.distance.unwrap_or(0.0).max(share),
        };
        if extent.is_finite() { extent.clamp(0.0, BELOW_ONE) } else { BELOW_ONE }
    }
}

fn larger(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.max(b)),
        (a, b) => a.or(b),
    }
}

fn smaller(a: Option<f64>, b: Option<f64>) -> Option<f64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

impl OutputDifference {
    /// The difference of an output under that name.
    pub(super) fn new(output: &str, comparator: ComparatorKind, found: Found) -> Self {
        let Found { reason, at, measures } = found;
        Self { output: cut(output), comparator, reason, at: at.as_deref().map(cut), measures }
    }

    /// To order differences, the gravest last: by reason, then by extent.
    pub fn severity(&self) -> f64 {
        let gravity = self.reason.map_or(0.0, |reason| 1.0 + f64::from(reason.gravity()));
        gravity + self.measures.extent()
    }
}

/// What a comparator found out about two values.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Found {
    /// Why they diverge.
    pub(super) reason: Option<Reason>,
    /// Where.
    pub(super) at: Option<String>,
    /// Numbers.
    pub(super) measures: Measures,
}

impl Found {
    /// They are simply different.
    pub(super) fn different(reason: Reason) -> Self {
        let measures = Measures { compared: 1, different: 1, ..Measures::default() };
        Self { reason: Some(reason), at: None, measures }
    }

    /// They are the same, or not.
    pub(super) fn same_or(same: bool, reason: Reason) -> Self {
        if same {
            Self { measures: Measures { compared: 1, ..Measures::default() }, ..Self::default() }
        } else {
            Self::different(reason)
        }
    }

    /// At that place.
    pub(super) fn at(mut self, at: impl Into<String>) -> Self {
        self.at = Some(at.into());
        self
    }
}

impl Comparison {
    /// Nothing differs so far.
    pub(super) fn new() -> Self {
        Self::default()
    }

    /// Adds what a comparator found out about an output.
    pub(super) fn add(&mut self, output: &str, comparator: ComparatorKind, found: Found) {
        let difference = OutputDifference::new(output, comparator, found);
        if self.comparators.iter().all(|scores| scores.comparator != comparator) {
            let measures = Measures::default();
            self.comparators.push(Scores { comparator, diverged: false, measures });
        }
        if let Some(scores) = self.comparators.iter_mut().find(|scores| scores.comparator == comparator) {
            scores.diverged |= difference.reason.is_some();
            scores.measures.merge(&difference.measures);
        }
        self.diverged |= difference.reason.is_some();
        if self.worst.as_ref().is_none_or(|worst| difference.severity() > worst.severity()) {
            self.reason = difference.reason;
            self.worst = Some(difference);
        }
    }

    /// To order pairs, the worst last: 0 where nothing was measured.
    pub fn severity(&self) -> f64 {
        self.worst.as_ref().map_or(0.0, OutputDifference::severity)
    }
}

fn cut(text: &str) -> String {
    text.get(..text.floor_char_boundary(MAX_NAME)).unwrap_or_default().to_owned()
}
