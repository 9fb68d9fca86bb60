//! Why two answers of a pair diverge, and why some pairs cannot be compared at all.

use serde::Serialize;

/// What makes a pair diverge. Where several things do, the gravest is named.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The primary succeeded and the shadow failed, by HTTP status, gRPC status or an error in a
    /// stream; or the statuses differ where they are compared exactly.
    Status,
    /// One of the answers breaks its protocol and they are not the same bytes.
    Undecodable,
    /// The shadow's answer is beyond the limits of reading, the primary's is not.
    DecodeLimit,
    /// NaN or an infinity where the other answer has a number, or another one of them.
    NonFinite,
    /// The outputs, keys or choices are not the same, or the answers are of different kinds.
    Fields,
    /// A tensor or array has another shape.
    Shape,
    /// A tensor has another type.
    Dtype,
    /// A class differs.
    Label,
    /// A number is off by more than the tolerance.
    Numeric,
    /// An integer, truth value or string of a tensor differs.
    Value,
    /// A value of a JSON answer differs.
    JsonValue,
    /// Texts are too far apart.
    Text,
    /// A language model stopped for another reason.
    FinishReason,
    /// Tools, or what they are called with, differ.
    ToolCalls,
    /// Bytes differ.
    Bytes,
}

impl Reason {
    /// Every reason, in the order of [`Reason::index`].
    pub const ALL: [Self; 15] = [
        Self::Status,
        Self::Undecodable,
        Self::DecodeLimit,
        Self::NonFinite,
        Self::Fields,
        Self::Shape,
        Self::Dtype,
        Self::Label,
        Self::Numeric,
        Self::Value,
        Self::JsonValue,
        Self::Text,
        Self::FinishReason,
        Self::ToolCalls,
        Self::Bytes,
    ];

    /// Position in [`Reason::ALL`], for arrays of counters.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The reason as it stands in metric labels and in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Status => "status",
            Self::Undecodable => "undecodable",
            Self::DecodeLimit => "decode_limit",
            Self::NonFinite => "non_finite",
            Self::Fields => "fields",
            Self::Shape => "shape",
            Self::Dtype => "dtype",
            Self::Label => "label",
            Self::Numeric => "numeric",
            Self::Value => "value",
            Self::JsonValue => "json_value",
            Self::Text => "text",
            Self::FinishReason => "finish_reason",
            Self::ToolCalls => "tool_calls",
            Self::Bytes => "bytes",
        }
    }

    /// How grave it is: an answer that is of no use before one that has another form, before one
    /// that decides otherwise, before one that is merely off.
    pub fn gravity(self) -> u8 {
        match self {
            Self::Status | Self::Undecodable | Self::DecodeLimit => 4,
            Self::NonFinite => 3,
            Self::Fields | Self::Shape | Self::Dtype => 2,
            Self::Label | Self::FinishReason | Self::ToolCalls => 1,
            Self::Numeric | Self::Value | Self::JsonValue | Self::Text | Self::Bytes => 0,
        }
    }
}

/// Why a pair says nothing about divergence. It is counted and stands beside the verdict, so that
/// it looks neither like agreement nor like difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum NotComparable {
    /// The primary failed and the shadow did not: there is nothing to hold the shadow to.
    #[error("the primary's answer is an error")]
    PrimaryFailed,
    /// Both failed.
    #[error("both answers are errors")]
    BothFailed,
    /// The primary's answer is beyond the limits of reading, and the two are not the same bytes.
    #[error("the primary's answer is beyond the limits of reading")]
    DecodeLimit,
}

impl NotComparable {
    /// Every reason, in the order of [`NotComparable::index`].
    pub const ALL: [Self; 3] = [Self::PrimaryFailed, Self::BothFailed, Self::DecodeLimit];

    /// Position in [`NotComparable::ALL`], for arrays of counters.
    pub fn index(self) -> usize {
        self as usize
    }

    /// The reason as it stands in metric labels and in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::PrimaryFailed => "primary_failed",
            Self::BothFailed => "both_failed",
            Self::DecodeLimit => "decode_limit",
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_reason_has_its_own_name_and_its_index() {
        assert!(Reason::ALL.into_iter().enumerate().all(|(i, r)| r.index() == i));
        assert!(NotComparable::ALL.into_iter().enumerate().all(|(i, r)| r.index() == i));
        let names: HashSet<_> = Reason::ALL.into_iter().map(Reason::as_str).collect();
        assert_eq!(names.len(), Reason::ALL.len());
        for reason in Reason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
        for reason in NotComparable::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }
}
