//! Values that are written as one of a few words.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::Role;
use crate::certs::MinVersion;
use crate::divergence::ShapeRule;
use crate::load::spec::Format;
use crate::notify::{EventKind, Severity};
use crate::onnx::{Optimization, Provider};
use crate::rollout::policy::{GateKind, OnInconclusive, Signal, Unit};
use crate::routing::spec::RetryOn;
use crate::upstream::Protocol;

use super::problem::{At, Report};
use super::read::{Read, found};
use super::scalar::scalar;
use super::spec::{AdminRole, ModelControl};
use super::tree::Node;

/// A value written as one of a few words.
#[derive(Debug, Clone, Copy)]
pub(super) struct Choice<T>(pub T);

/// What the words of a [`Choice`] are.
pub(super) trait Words: Copy + 'static {
    /// What a message calls it, with its article.
    const NOUN: &'static str;
    /// What the schema calls it.
    const NAME: &'static str;
    /// Every word and its value.
    const WORDS: &'static [(&'static str, Self)];
}

impl<T: Words> Read for Choice<T> {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let (text, _) = scalar(node, at, T::NOUN, report)?;
        if let Some((_, value)) = T::WORDS.iter().find(|(word, _)| *word == text) {
            return Some(Self(*value));
        }
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        let message = format!("{} is not {}", found(node), T::NOUN);
        report.wrong(at, message, format!("write one of: {}", words.join(", ")));
        None
    }
}

impl<T: Words> JsonSchema for Choice<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        T::NAME.into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words: Vec<&str> = T::WORDS.iter().map(|(word, _)| *word).collect();
        json_schema!({ "type": "string", "enum": words })
    }
}

/// Declares words; one value for each.
macro_rules! words {
    ($( $type:ty, $name:literal, $noun:literal: $($word:literal => $value:expr),+; )+) => { $(
        impl Words for $type {
            const NOUN: &'static str = $noun;
            const NAME: &'static str = $name;
            const WORDS: &'static [(&'static str, Self)] = &[$( ($word, $value) ),+];
        }
    )+ };
}

/// A comparator, by its name alone.
#[derive(Debug, Clone, Copy)]
pub(super) enum ComparatorWord {
    /// By what the answer is.
    Auto,
    /// The same values.
    Exact,
    /// JSON.
    Json,
    /// The class.
    Label,
    /// Numbers.
    Numeric,
    /// Texts.
    Text,
    /// Statuses only.
    Status,
}

/// How requests are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ArrivalWord {
    /// Evenly.
    Constant,
    /// A Poisson process.
    Poisson,
}

/// What a class is read from, by its name alone.
#[derive(Debug, Clone, Copy)]
pub(super) enum LabelWord {
    /// Each value.
    Class,
    /// The largest value's position.
    Argmax,
}

words! {
    Protocol, "Protocol", "a protocol":
        "auto" => Self::Auto, "http1" => Self::Http1, "http2" => Self::Http2;
    MinVersion, "MinVersion", "a version of TLS":
        "tls1.2" => Self::Tls12, "tls1.3" => Self::Tls13;
    RetryOn, "RetryOn", "a reason to send a request again":
        "reset" => Self::Reset, "timeout" => Self::Timeout, "unavailable" => Self::Unavailable,
        "gateway" => Self::Gateway, "serverError" => Self::ServerError;
    Role, "Role", "a role":
        "stable" => Self::Stable, "canary" => Self::Canary, "shadow" => Self::Shadow,
        "standby" => Self::Standby, "retired" => Self::Retired;
    AdminRole, "AdminRole", "a role of the admin API":
        "read" => Self::Read, "operate" => Self::Operate;
    Optimization, "Optimization", "how far a graph is optimised":
        "none" => Self::None, "basic" => Self::Basic, "extended" => Self::Extended, "all" => Self::All;
    Provider, "Provider", "what runs a graph":
        "cpu" => Self::Cpu, "cuda" => Self::Cuda, "tensorrt" => Self::TensorRt,
        "openvino" => Self::OpenVino;
    ModelControl, "ModelControl", "what may change which models are loaded":
        "none" => Self::None, "poll" => Self::Poll, "explicit" => Self::Explicit;
    ComparatorWord, "ComparatorWord", "a comparator":
        "auto" => Self::Auto, "exact" => Self::Exact, "json" => Self::Json, "label" => Self::Label,
        "numeric" => Self::Numeric, "text" => Self::Text, "status" => Self::Status;
    ArrivalWord, "ArrivalWord", "how requests are spread":
        "constant" => Self::Constant, "poisson" => Self::Poisson;
    Format, "RequestFormat", "a format of requests":
        "v2" => Self::V2, "v2-binary" => Self::V2Binary, "grpc" => Self::Grpc, "v1" => Self::V1,
        "chat" => Self::Chat, "chat-stream" => Self::ChatStream, "plain" => Self::Plain;
    LabelWord, "LabelWord", "what a class is read from":
        "class" => Self::Class, "argmax" => Self::Argmax;
    ShapeRule, "ShapeRule", "when shapes are the same":
        "exact" => Self::Exact, "squeeze" => Self::Squeeze;
    OnInconclusive, "OnInconclusive", "what to do without evidence":
        "pause" => Self::Pause, "rollback" => Self::Rollback, "advance" => Self::Advance;
    Unit, "Unit", "what is drawn for an arm":
        "request" => Self::Request, "key" => Self::Key;
    Signal, "Signal", "a duration that is measured":
        "latency" => Self::Latency, "timeToFirstToken" => Self::TimeToFirstToken,
        "interToken" => Self::InterToken;
    // Loading comes before all others by itself.
    GateKind, "GateKind", "a kind of gate":
        "confirm-rollout" => Self::ConfirmRollout, "pre-rollout" => Self::PreRollout,
        "golden" => Self::Golden, "confirm-traffic-increase" => Self::ConfirmTrafficIncrease,
        "confirm-promotion" => Self::ConfirmPromotion, "post-rollout" => Self::PostRollout,
        "rollback" => Self::Rollback, "event" => Self::Event;
    Severity, "Severity", "a severity":
        "info" => Self::Info, "warning" => Self::Warning, "critical" => Self::Critical;
    EventKind, "EventKind", "a kind of event":
        "rolloutStarted" => Self::RolloutStarted, "stepEntered" => Self::StepEntered,
        "paused" => Self::Paused, "resumed" => Self::Resumed, "held" => Self::Held,
        "inconclusive" => Self::Inconclusive, "gateFailed" => Self::GateFailed,
        "sampleRatioBroken" => Self::SampleRatioBroken, "promoted" => Self::Promoted,
        "succeeded" => Self::Succeeded, "rolledBack" => Self::RolledBack, "aborted" => Self::Aborted,
        "superseded" => Self::Superseded, "candidateRefused" => Self::CandidateRefused,
        "latchCleared" => Self::LatchCleared, "driftDetected" => Self::DriftDetected,
        "driftEnded" => Self::DriftEnded, "storeDegraded" => Self::StoreDegraded,
        "storeRestored" => Self::StoreRestored, "test" => Self::Test;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_those_that_the_values_call_themselves() {
        for (word, kind) in GateKind::WORDS {
            assert_eq!(kind.as_str(), *word);
        }
        for (word, kind) in EventKind::WORDS {
            assert_eq!(kind.as_str(), *word);
        }
        assert_eq!(EventKind::WORDS.len(), EventKind::ALL.len());
        for (word, role) in Role::WORDS {
            assert_eq!(role.as_str(), *word);
        }
        for (word, shape) in ShapeRule::WORDS {
            assert_eq!(serde_json::to_value(shape).unwrap(), *word);
        }
        for (word, format) in Format::WORDS {
            assert_eq!(format.word(), *word);
        }
        assert_eq!(Format::WORDS.len(), Format::ALL.len());
        for (word, severity) in Severity::WORDS {
            assert_eq!(serde_json::to_value(severity).unwrap(), *word);
        }
    }
}
