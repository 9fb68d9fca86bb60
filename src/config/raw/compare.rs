//! How answers are compared, and what is kept of those that differ.

use super::super::choice::{Choice, ComparatorWord, LabelWord};
use super::super::either::Short;
use super::super::measure::Number;
use super::super::read::{List, section};
use super::super::scalar::{Count, Flag, GI, KI, MI, Size};
use super::super::text::{OutputText, PatternText};
use crate::divergence::ShapeRule;

section! {
    /// How the answers of stable and shadow are compared.
    Compare {
        required {}
        optional {
            /// For everything that no rule names. `auto`: by what the answer is.
            #[schemars(extend("default" = "auto"))]
            default: Short<Choice<ComparatorWord>, Comparator>,
            /// Rules for single outputs; the first one that fits counts.
            outputs: List<Rule, 0, 256>,
            /// Outputs and JSON values that are not compared, named as in a rule's `output`.
            ignore: List<OutputText, 0, 256>,
            /// Whether a tensor of numbers may change its type, as a quantised model's does; it is then
            /// compared by its numbers.
            #[schemars(extend("default" = false))]
            allow_dtype_change: Flag,
            /// When the shapes of an output are the same: `exact`, or `squeeze` where axes of length 1
            /// mean nothing, as for a server that writes `[n]` as `[n, 1]`. In JSON other than V1
            /// predictions it holds for `numeric` and `label`.
            #[schemars(extend("default" = "exact"))]
            shape: Choice<ShapeRule>,
        }
    }
}

section! {
    /// How one output is compared.
    Rule {
        required {
            /// Name of a tensor or of a key of V1 predictions; or, with `/` in front, a JSON pointer
            /// (RFC 6901) into a JSON answer, in which `*` stands for any one key or index.
            output: OutputText,
            /// How.
            compare: Short<Choice<ComparatorWord>, Comparator>,
        }
        optional {
            /// When its shapes are the same. Default: as for all outputs.
            shape: Choice<ShapeRule>,
        }
    }
}

section! {
    /// A comparator with its settings. Exactly one; without settings its name alone is enough.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
    Comparator {
        required {}
        optional {
            /// Value by value, numbers within tolerances.
            json: JsonCompare,
            /// The class.
            label: LabelCompare,
            /// Numbers within a tolerance.
            numeric: Tolerance,
            /// Texts by their distance.
            text: TextCompare,
        }
    }
}

section! {
    /// JSON, value by value.
    JsonCompare {
        required {}
        optional {
            /// JSON pointers (`*`: any one key or index) of values that are not compared.
            ignore: List<PatternText, 0, 256>,
            /// Tolerance of all other numbers.
            tolerance: JsonTolerance,
            /// Tolerances of numbers at and below a JSON pointer; the first one that fits counts.
            tolerances: List<PathTolerance, 0, 256>,
        }
    }
}

section! {
    /// The tolerance of numbers at a place in JSON.
    PathTolerance {
        required {
            /// JSON pointer (`*`: any one key or index).
            path: PatternText,
            /// Tolerance of the numbers at and below it.
            tolerance: JsonTolerance,
        }
        optional {}
    }
}

section! {
    /// A tolerance of numbers in JSON: `|a - b| <= absolute + relative * max(|a|, |b|)`.
    JsonTolerance {
        required {}
        optional {
            /// Absolute.
            #[schemars(extend("default" = 0))]
            absolute: Number,
            /// Relative to the larger of the two.
            #[schemars(extend("default" = 0.000001))]
            relative: Number,
        }
    }
}

section! {
    /// A tolerance of numbers: `|a - b| <= absolute + relative * max(|a|, |b|)`.
    Tolerance {
        required {}
        optional {
            /// Absolute.
            #[schemars(extend("default" = 0.0001))]
            absolute: Number,
            /// Relative to the larger of the two.
            #[schemars(extend("default" = 0.001))]
            relative: Number,
        }
    }
}

section! {
    /// Classes.
    LabelCompare {
        required {}
        optional {
            /// What the class is read from. `class`: each value is one. `argmax`: the position of the
            /// largest value along the last axis.
            #[schemars(extend("default" = "argmax"))]
            by: Short<Choice<LabelWord>, LabelBy>,
            /// Classes whose scores are this close together, in both answers, are tied: which of them
            /// comes first then means nothing.
            #[schemars(extend("default" = 0.0001))]
            margin: Number,
        }
    }
}

section! {
    /// What a class is read from. Exactly one.
    #[schemars(extend("minProperties" = 1, "maxProperties" = 1))]
    LabelBy {
        required {}
        optional {
            /// As argmax, but the best class of either answer need only be among the best `k` of the
            /// other.
            top_k: Count<1, 10_000>,
            /// Each value is the score of the second of two classes: this much or more is that class.
            threshold: Number<true>,
        }
    }
}

section! {
    /// Texts. White space at the ends is dropped, any other run of it is one space.
    TextCompare {
        required {}
        optional {
            /// They diverge above this edit distance, as a share of the longer one, 0 to 1.
            #[schemars(extend("default" = 0.3))]
            max_distance: Number,
            /// They diverge below this overlap of their tokens, 0 to 1.
            #[schemars(extend("default" = 0.6))]
            min_overlap: Number,
        }
    }
}

section! {
    /// What is kept of pairs of answers that differ, for people to look at.
    Pairs {
        required {}
        optional {
            /// Whether anything is kept.
            #[schemars(extend("default" = true))]
            enabled: Flag,
            /// How many of the latest, and how many of the worst.
            #[schemars(extend("default" = 20))]
            keep: Count<1, 1000>,
            /// Bytes of all that is kept; half for the latest, half for the worst.
            #[schemars(extend("default" = "4Mi"))]
            max_bytes: Size<{ 64 * KI }, GI>,
            /// Bytes of text that are kept of one body.
            #[schemars(extend("default" = "16Ki"))]
            max_body_bytes: Size<1, { 64 * MI }>,
            /// JSON pointers (`*`: any one key or index) of values that are taken out of requests and
            /// answers. With one, bodies that pointers cannot reach are not kept at all. Default: none.
            #[schemars(extend("examples" = [["/user", "/inputs/*/data"]]))]
            redact: List<PatternText, 0, 256>,
        }
    }
}
