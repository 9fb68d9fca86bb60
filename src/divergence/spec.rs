//! How answers are compared: what the operator says, as data.

use serde::{Deserialize, Serialize};

/// How the answers of a model's pairs are compared.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CompareSpec {
    /// For everything that no rule names.
    pub default: Comparator,
    /// Rules for single outputs; the first one that fits counts.
    pub outputs: Vec<OutputRule>,
    /// Outputs and JSON values that are not compared, each named as in [`OutputRule::output`].
    pub ignore: Vec<String>,
    /// Whether a tensor of numbers may change its type, as a quantised model's does, and is then
    /// compared by its numbers.
    pub allow_dtype_change: bool,
    /// When shapes are the same, for every output whose rule does not say so itself.
    pub shape: ShapeRule,
}

/// When two shapes are the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ShapeRule {
    /// When they have the same axes.
    #[default]
    Exact,
    /// When they have the same axes but for those of length 1: some servers write `[n]` as `[n, 1]`.
    /// Values keep their order, and rows are those of the shape with more axes.
    Squeeze,
}

/// How one output is compared.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct OutputRule {
    /// Name of a tensor or of a key of V1 predictions; or, with a `/` in front, a JSON pointer
    /// (RFC 6901) into a JSON answer, in which `*` stands for any one key or index.
    pub output: String,
    /// How.
    pub compare: Comparator,
    /// When its shapes are the same; as for all outputs if it is not said.
    #[serde(default)]
    pub shape: Option<ShapeRule>,
}

/// A comparator with its settings.
///
/// What a comparator cannot apply to is compared by `exact`: a text by `numeric`, say.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Comparator {
    /// By what the answer is:
    ///
    /// - floating-point tensors, and numbers of V1 predictions that are not all integers:
    ///   `numeric`. If both look like class probabilities (last dimension 2 to 10 000, every value
    ///   from 0 to 1, every row's sum 1 within 0.01): `label` by argmax, and `numeric` with an
    ///   absolute tolerance of 0.05 and no relative one; either may diverge.
    /// - integers, truth values and strings: `exact`. Strings that a tensor stream sends piece by
    ///   piece are joined and compared by `text`.
    /// - what a language model said: `text`; also finish reason and tool calls.
    /// - other JSON: `json` with a relative tolerance of 1e-6, for numbers printed differently.
    /// - other text and bytes: `exact`.
    #[default]
    Auto,
    /// The same values. NaN equals NaN.
    Exact,
    /// Value by value, numbers within tolerances.
    Json(JsonSpec),
    /// The class.
    Label(LabelSpec),
    /// Numbers within a tolerance.
    Numeric(Tolerance),
    /// Texts by their distance.
    Text(TextSpec),
    /// Only whether the statuses are the same; what the answers say is not looked at.
    Status,
}

/// A tolerance: `a` and `b` agree if `|a − b| ≤ absolute + relative · max(|a|, |b|)`. The larger
/// of the two is taken, as in Python's `math.isclose`, so that it does not matter which is whose.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Tolerance {
    /// Absolute.
    pub absolute: f64,
    /// Relative to the larger of the two.
    pub relative: f64,
}

impl Default for Tolerance {
    /// What single precision on other hardware, other threads or another batch size keeps well
    /// within, while another model rarely does.
    fn default() -> Self {
        Self { absolute: 1e-4, relative: 1e-3 }
    }
}

impl Tolerance {
    /// No difference at all.
    pub const NONE: Self = Self { absolute: 0.0, relative: 0.0 };

    /// How far `a` and `b` may be apart.
    pub fn allowed(self, a: f64, b: f64) -> f64 {
        self.absolute + self.relative * a.abs().max(b.abs())
    }
}

/// Settings of `json`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JsonSpec {
    /// JSON pointers (`*`: any one key or index) of values that are not compared.
    pub ignore: Vec<String>,
    /// Tolerance of all other numbers.
    pub tolerance: Tolerance,
    /// Tolerances of numbers at and below a JSON pointer; the first one that fits counts.
    pub tolerances: Vec<PathTolerance>,
}

impl Default for JsonSpec {
    fn default() -> Self {
        let tolerance = Tolerance { absolute: 0.0, relative: 1e-6 };
        Self { ignore: Vec::new(), tolerance, tolerances: Vec::new() }
    }
}

/// The tolerance of numbers at a place in JSON.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct PathTolerance {
    /// JSON pointer (`*`: any one key or index).
    pub path: String,
    /// Tolerance of the numbers at and below it.
    pub tolerance: Tolerance,
}

/// Settings of `label`.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct LabelSpec {
    /// What the class is read from.
    pub by: LabelRule,
    /// Classes whose scores are this close together, in both answers, are held to be tied: which
    /// of them comes first then means nothing.
    pub margin: f64,
}

impl Default for LabelSpec {
    fn default() -> Self {
        Self { by: LabelRule::Argmax, margin: 1e-4 }
    }
}

/// What a class is read from.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum LabelRule {
    /// Each value is a class.
    Class,
    /// The position of the largest value along the last axis. A last axis of one value is read by
    /// `threshold` at 0.5.
    Argmax,
    /// As argmax, but the best class of either answer need only be among the best `k` of the other.
    TopK {
        /// How many.
        k: usize,
    },
    /// Each value is the score of the second of two classes: this much or more is that class.
    Threshold {
        /// This much.
        at: f64,
    },
}

/// Settings of `text`. White space at the ends is dropped and any other run of it is one space.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct TextSpec {
    /// Texts diverge above this edit distance, as a share of the longer text: 0 the same, 1 nothing
    /// in common.
    pub max_distance: f64,
    /// Texts diverge below this overlap of their tokens (twice those in common over all, each as
    /// often as it stands): 1 the same tokens, 0 none in common.
    pub min_overlap: f64,
}

impl Default for TextSpec {
    /// Rewording passes, another answer does not. What sampling does to a model's texts is taken
    /// off by the noise floor.
    fn default() -> Self {
        Self { max_distance: 0.3, min_overlap: 0.6 }
    }
}

/// A comparator without its settings, for names in reports and metrics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ComparatorKind {
    /// `exact`.
    Exact,
    /// `json`.
    Json,
    /// `label`.
    Label,
    /// `numeric`.
    Numeric,
    /// `text`.
    Text,
    /// `status`.
    Status,
}

impl ComparatorKind {
    /// Every comparator, in the order of [`ComparatorKind::index`].
    pub const ALL: [Self; 6] =
        [Self::Exact, Self::Json, Self::Label, Self::Numeric, Self::Text, Self::Status];

    /// Position in [`ComparatorKind::ALL`], for arrays of counters.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The comparator as it stands in metric labels and in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Json => "json",
            Self::Label => "label",
            Self::Numeric => "numeric",
            Self::Text => "text",
            Self::Status => "status",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spec_reads_as_it_is_written_in_a_configuration() {
        let text = r#"{"default":"auto","ignore":["/id"],"outputs":[
            {"output":"p","compare":{"numeric":{"absolute":0.1}}},
            {"output":"/class","compare":{"label":{"by":"class"}}},
            {"output":"q","compare":{"label":{"by":{"topK":{"k":5}}}}},
            {"output":"n","compare":{"json":{"ignore":["/t"],"tolerances":[{"path":"/x/*","tolerance":{"relative":1}}]}}},
            {"output":"t","compare":{"text":{"maxDistance":0.5}}},
            {"output":"e","compare":"exact"}]}"#;
        let spec: CompareSpec = serde_json::from_str(text).unwrap();
        assert_eq!(spec.default, Comparator::Auto);
        assert_eq!(spec.outputs[0].compare, Comparator::Numeric(Tolerance { absolute: 0.1, relative: 1e-3 }));
        assert_eq!(
            spec.outputs[2].compare,
            Comparator::Label(LabelSpec { by: LabelRule::TopK { k: 5 }, margin: 1e-4 })
        );
        let again: CompareSpec = serde_json::from_str(&serde_json::to_string(&spec).unwrap()).unwrap();
        assert_eq!(again, spec);
        assert!(serde_json::from_str::<CompareSpec>(r#"{"defualt":"auto"}"#).is_err());
        assert_eq!(serde_json::from_str::<CompareSpec>("{}").unwrap(), CompareSpec::default());
    }

    #[test]
    fn every_comparator_has_its_own_index_and_name() {
        for (at, kind) in ComparatorKind::ALL.into_iter().enumerate() {
            assert_eq!(kind.index(), at);
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
