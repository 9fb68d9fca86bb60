//! From what happened in a rollout to news for those who want to know.

use std::sync::Arc;

use serde_json::json;

use super::setup::StartError;
use crate::notify::{
    Delivery, Event, EventKind, MemorySpool, Notifier, NotifySpec, NotifyStats, Options, Severity, Spool,
    SpoolError,
};
use crate::rollout::effect;
use crate::rollout::evidence::Evidence;
use crate::rollout::state::ModelState;
use crate::store::{Notice, Outbox, Put, Store};

/// News that may wait where there is no file to keep them in.
const WAITING: (usize, usize) = (1_000, 8 * 1024 * 1024);

/// Tells others.
pub(super) struct Teller {
    notifier: Option<Notifier>,
    instance: String,
}

impl Teller {
    /// Starts to tell `specs`. What waits is kept in `store` where that is a file.
    pub(super) fn start(specs: Vec<NotifySpec>, store: &Store, instance: &str) -> Result<Self, StartError> {
        if specs.is_empty() {
            return Ok(Self { notifier: None, instance: instance.to_owned() });
        }
        let spool: Box<dyn Spool> = match store.is_durable() {
            true => Box::new(Kept(store.outbox()?)),
            false => Box::new(MemorySpool::new(WAITING.0, WAITING.1)),
        };
        let options = Options { seed: fastrand::u64(..), ..Options::default() };
        let notifier =
            Notifier::start(specs, spool, options).map_err(|error| StartError::Notify(error.to_string()))?;
        Ok(Self { notifier: Some(notifier), instance: instance.to_owned() })
    }

    /// What was sent, where anybody is told.
    pub(super) fn stats(&self) -> Option<Arc<NotifyStats>> {
        self.notifier.as_ref().map(|notifier| Arc::clone(notifier.stats()))
    }

    /// Tells of something that has happened. `alert` says that somebody should look.
    pub(super) fn tell(&self, event: &effect::Event, alert: bool, state: &ModelState) {
        // What was decided is logged when it is decided.
        if alert {
            tracing::warn!(model = %event.model, rollout = %event.rollout, kind = event.kind.as_str(), "{}", event.sentence);
        }
        let Some(notifier) = &self.notifier else { return };
        if notifier.notify(self.news(event, state)).is_err() {
            tracing::error!(model = %event.model, "a notification is lost: too many wait");
        }
    }

    fn news(&self, event: &effect::Event, state: &ModelState) -> Event {
        let rollout = state.rollout.as_ref().filter(|rollout| rollout.id == event.rollout);
        let evidence = rollout.map(|rollout| {
            let evidence = Evidence::of(&rollout.analyzer, &rollout.policy.analysis, event.at);
            json!({
                "eValue": evidence.e_value,
                "threshold": evidence.threshold,
                "requests": evidence.requests,
                "checks": evidence.checks.iter().map(|check| json!({
                    "name": check.name,
                    "verdict": check.verdict,
                    "eValue": check.e_value,
                    "threshold": check.threshold,
                    "sentence": check.sentence,
                })).collect::<Vec<_>>(),
            })
        });
        let kind = kind(event, state);
        Event {
            id: format!(
                "{}/{}/{}/{}",
                event.rollout,
                event.kind.as_str(),
                event.at.0,
                event.decision.unwrap_or(0)
            ),
            kind,
            at_ms: event.at.0,
            instance: self.instance.clone(),
            model: Some(event.model.clone()),
            rollout: Some(event.rollout.clone()),
            from: Some(event.stable.clone()),
            to: Some(event.candidate.clone()),
            verdict: Some(event.kind.as_str().to_owned()),
            sentence: event.sentence.clone(),
            evidence: evidence.unwrap_or_default(),
            severity: severity(kind),
            link: None,
        }
        .bounded()
    }
}

fn kind(event: &effect::Event, state: &ModelState) -> EventKind {
    let is_inconclusive = || {
        use crate::rollout::state::{PauseReason, Phase};
        let rollout = state.rollout.as_ref();
        rollout.is_some_and(
            |r| matches!(r.phase, Phase::Paused(pausing) if pausing.why == PauseReason::Inconclusive),
        )
    };
    match event.kind {
        effect::EventKind::Started => EventKind::RolloutStarted,
        effect::EventKind::Advanced => EventKind::StepEntered,
        effect::EventKind::Promoted => EventKind::Promoted,
        effect::EventKind::Succeeded => EventKind::Succeeded,
        effect::EventKind::RolledBack => EventKind::RolledBack,
        effect::EventKind::Aborted => EventKind::Aborted,
        effect::EventKind::Superseded => EventKind::Superseded,
        effect::EventKind::Paused if is_inconclusive() => EventKind::Inconclusive,
        effect::EventKind::Paused => EventKind::Paused,
        effect::EventKind::Resumed => EventKind::Resumed,
        effect::EventKind::GateClosed => EventKind::GateFailed,
        effect::EventKind::Incident => EventKind::Held,
        effect::EventKind::BrokenRandomisation => EventKind::SampleRatioBroken,
        effect::EventKind::Drift => EventKind::DriftDetected,
        effect::EventKind::Cleared => EventKind::LatchCleared,
    }
}

fn severity(kind: EventKind) -> Severity {
    match kind {
        EventKind::RolledBack | EventKind::Held | EventKind::SampleRatioBroken | EventKind::StoreDegraded => {
            Severity::Critical
        }
        EventKind::Inconclusive | EventKind::GateFailed | EventKind::Aborted | EventKind::DriftDetected => {
            Severity::Warning
        }
        _ => Severity::Info,
    }
}

/// A spool in the store.
struct Kept(Outbox);

impl Spool for Kept {
    fn put(&mut self, delivery: &Delivery) -> Result<bool, SpoolError> {
        let notice = Notice {
            id: delivery.id.clone(),
            sink: delivery.sink.clone(),
            created_ms: delivery.created_ms,
            attempts: delivery.attempts,
            next_ms: delivery.next_ms,
            event: delivery.event.clone(),
        };
        self.0.put(&notice).map(|put| put != Put::Refused).map_err(|error| SpoolError(error.to_string()))
    }

    fn due(&mut self, sink: &str) -> Result<Option<Delivery>, SpoolError> {
        let oldest = self.0.oldest(sink).map_err(|error| SpoolError(error.to_string()))?;
        Ok(oldest.map(|notice| Delivery {
            id: notice.id,
            sink: notice.sink,
            created_ms: notice.created_ms,
            attempts: notice.attempts,
            next_ms: notice.next_ms,
            event: notice.event,
        }))
    }

    fn done(&mut self, id: &str) -> Result<(), SpoolError> {
        self.0.remove(id).map_err(|error| SpoolError(error.to_string()))
    }

    fn failed(&mut self, id: &str, next_ms: u64) -> Result<(), SpoolError> {
        self.0.postpone(id, next_ms).map_err(|error| SpoolError(error.to_string()))
    }
}
