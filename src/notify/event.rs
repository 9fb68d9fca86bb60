//! What has happened, as it is told to others.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// The most bytes of JSON that an event's evidence may have. GitHub takes 64 KiB in all.
const EVIDENCE_BYTES: usize = 32 * 1024;
/// The most bytes of each of its texts.
const TEXT_BYTES: usize = 4 * 1024;

/// What kind of thing has happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum EventKind {
    /// A rollout has begun.
    RolloutStarted,
    /// A rollout has come to its next step.
    StepEntered,
    /// An operator has paused a rollout, or a step waits for one.
    Paused,
    /// An operator has resumed a rollout.
    Resumed,
    /// Both arms are in trouble: nothing is decided until that is over.
    Held,
    /// A step ended without enough evidence.
    Inconclusive,
    /// A gate said no, or nothing.
    GateFailed,
    /// Requests are not split as they should be, so that nothing can be decided.
    SampleRatioBroken,
    /// The candidate is stable now and bakes.
    Promoted,
    /// The rollout has ended well.
    Succeeded,
    /// The previous version has all traffic again, for cause.
    RolledBack,
    /// An operator has ended the rollout.
    Aborted,
    /// Another rollout has taken the place of this one.
    Superseded,
    /// A candidate was refused since it had been rolled back before.
    CandidateRefused,
    /// An operator has cleared a candidate that had been rolled back.
    LatchCleared,
    /// Inputs are not what the model was made for.
    DriftDetected,
    /// Inputs are again what the model was made for.
    DriftEnded,
    /// State cannot be written; it is kept in memory.
    StoreDegraded,
    /// State is written again.
    StoreRestored,
    /// Nothing: an operator tries whether this receiver is reached.
    Test,
}

/// Whether an event opens something that somebody must look at, closes it, or is only told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Signal {
    /// To be read, not acted on.
    News,
    /// Somebody should look.
    Firing,
    /// Nobody need look any more.
    Resolved,
}

/// What an alert is about: firing and resolved events of the same topic and model meet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// The rollout of a model.
    Rollout,
    /// The inputs of a model.
    Drift,
    /// The state of this process.
    Store,
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Severity {
    /// Good to know.
    Info,
    /// To be looked at in the next hours.
    Warning,
    /// To be looked at now.
    Critical,
}

impl EventKind {
    /// Every kind.
    pub const ALL: [Self; 20] = [
        Self::RolloutStarted,
        Self::StepEntered,
        Self::Paused,
        Self::Resumed,
        Self::Held,
        Self::Inconclusive,
        Self::GateFailed,
        Self::SampleRatioBroken,
        Self::Promoted,
        Self::Succeeded,
        Self::RolledBack,
        Self::Aborted,
        Self::Superseded,
        Self::CandidateRefused,
        Self::LatchCleared,
        Self::DriftDetected,
        Self::DriftEnded,
        Self::StoreDegraded,
        Self::StoreRestored,
        Self::Test,
    ];

    /// The name in JSON, configuration and headers.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::RolloutStarted => "rolloutStarted",
            Self::StepEntered => "stepEntered",
            Self::Paused => "paused",
            Self::Resumed => "resumed",
            Self::Held => "held",
            Self::Inconclusive => "inconclusive",
            Self::GateFailed => "gateFailed",
            Self::SampleRatioBroken => "sampleRatioBroken",
            Self::Promoted => "promoted",
            Self::Succeeded => "succeeded",
            Self::RolledBack => "rolledBack",
            Self::Aborted => "aborted",
            Self::Superseded => "superseded",
            Self::CandidateRefused => "candidateRefused",
            Self::LatchCleared => "latchCleared",
            Self::DriftDetected => "driftDetected",
            Self::DriftEnded => "driftEnded",
            Self::StoreDegraded => "storeDegraded",
            Self::StoreRestored => "storeRestored",
            Self::Test => "test",
        }
    }

    /// Whether it opens or closes something.
    pub fn signal(self) -> Signal {
        match self {
            Self::Held
            | Self::Inconclusive
            | Self::GateFailed
            | Self::SampleRatioBroken
            | Self::RolledBack
            | Self::DriftDetected
            | Self::StoreDegraded => Signal::Firing,
            Self::Resumed
            | Self::Promoted
            | Self::Succeeded
            | Self::Aborted
            | Self::Superseded
            | Self::LatchCleared
            | Self::DriftEnded
            | Self::StoreRestored => Signal::Resolved,
            Self::RolloutStarted | Self::StepEntered | Self::Paused | Self::CandidateRefused | Self::Test => {
                Signal::News
            }
        }
    }

    /// What it is about.
    pub fn topic(self) -> Topic {
        match self {
            Self::DriftDetected | Self::DriftEnded => Topic::Drift,
            Self::StoreDegraded | Self::StoreRestored => Topic::Store,
            _ => Topic::Rollout,
        }
    }
}

impl Topic {
    /// One word, for keys and labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Rollout => "rollout",
            Self::Drift => "drift",
            Self::Store => "store",
        }
    }
}

impl Severity {
    /// The word that PagerDuty, Prometheus and people use.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Info => "info",
            Self::Warning => "warning",
            Self::Critical => "critical",
        }
    }
}

/// Something that has happened. Serialised, it is what a generic webhook gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// Unique, and the same on every attempt to tell it.
    pub id: String,
    /// What kind of thing it is.
    pub kind: EventKind,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Which process tells it: host, pod or whatever the operator calls it.
    pub instance: String,
    /// The model, unless it is about the whole process.
    pub model: Option<String>,
    /// The rollout's id, if it is about one.
    pub rollout: Option<String>,
    /// The version that had the traffic.
    pub from: Option<String>,
    /// The version that has it now or is to have it.
    pub to: Option<String>,
    /// What was decided, in a word.
    pub verdict: Option<String>,
    /// What has happened and why, in a sentence for people.
    pub sentence: String,
    /// The numbers behind it.
    pub evidence: Value,
    /// How bad it is.
    pub severity: Severity,
    /// Where to read on.
    pub link: Option<String>,
}

impl Event {
    /// The same event with its texts and its evidence cut to what every receiver takes.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        let texts = [&mut self.id, &mut self.instance, &mut self.sentence].into_iter();
        let optional = [
            &mut self.model,
            &mut self.rollout,
            &mut self.from,
            &mut self.to,
            &mut self.verdict,
            &mut self.link,
        ];
        for text in texts.chain(optional.into_iter().flatten()) {
            let end = text.floor_char_boundary(TEXT_BYTES);
            text.truncate(end);
        }
        // Cut JSON is no JSON: evidence that is too long is left out, and says so.
        let bytes = self.evidence.to_string().len();
        if bytes > EVIDENCE_BYTES {
            self.evidence = json!({ "omitted": "too long for a notification", "bytes": bytes });
        }
        self
    }

    /// The key under which receivers join what belongs together. It is the same on every instance,
    /// so that a fleet opens one incident and not one per pod; only the store is each one's own.
    pub fn key(&self) -> String {
        let topic = self.kind.topic();
        let about = match topic {
            Topic::Store => &self.instance,
            Topic::Rollout | Topic::Drift => self.model.as_ref().unwrap_or(&self.instance),
        };
        format!("switchback/{about}/{}", topic.as_str())
    }

    /// One line: the model and the sentence.
    pub fn headline(&self) -> String {
        match &self.model {
            Some(model) => format!("{model}: {}", self.sentence),
            None => self.sentence.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::event;
    use super::*;

    #[test]
    fn every_kind_has_one_name_in_code_and_json() {
        for kind in EventKind::ALL {
            let json = serde_json::to_string(&kind).unwrap();
            assert_eq!(json, format!("\"{}\"", kind.as_str()));
            assert_eq!(serde_json::from_str::<EventKind>(&json).unwrap(), kind);
        }
    }

    #[test]
    fn what_fires_on_a_topic_can_be_resolved_on_it() {
        for topic in [Topic::Rollout, Topic::Drift, Topic::Store] {
            let of = |signal| EventKind::ALL.iter().any(|k| k.topic() == topic && k.signal() == signal);
            assert!(of(Signal::Firing) && of(Signal::Resolved), "{topic:?}");
        }
    }

    #[test]
    fn an_event_survives_the_spool_unchanged() {
        let event = event(EventKind::RolledBack);
        let json = serde_json::to_string(&event).unwrap();
        assert_eq!(serde_json::from_str::<Event>(&json).unwrap(), event);
    }

    #[test]
    fn evidence_and_texts_are_cut_to_what_receivers_take() {
        let long = Event {
            sentence: "é".repeat(TEXT_BYTES),
            evidence: json!({ "x": "y".repeat(EVIDENCE_BYTES) }),
            ..event(EventKind::RolledBack)
        };
        let cut = long.bounded();
        assert_eq!(cut.sentence.len(), TEXT_BYTES);
        assert_eq!(cut.evidence["bytes"], EVIDENCE_BYTES + 8);
        let short = event(EventKind::RolledBack);
        assert_eq!(short.clone().bounded(), short);
    }

    #[test]
    fn a_resolution_has_the_key_of_what_it_resolves() {
        let [bad, good] = [EventKind::RolledBack, EventKind::LatchCleared].map(event);
        assert_eq!(bad.key(), "switchback/iris/rollout");
        let elsewhere = Event { instance: "pod-2".to_owned(), rollout: None, ..good };
        assert_eq!(elsewhere.key(), bad.key());
        assert_eq!(event(EventKind::StoreDegraded).key(), "switchback/pod-1/store");
    }
}
