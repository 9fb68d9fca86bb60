//! From what happened in a rollout to news for those who want to know.

use std::sync::Arc;

use serde_json::json;

use super::clock;
use super::setup::StartError;
use crate::notify::{
    Delivery, Event, EventKind, MemorySpool, Notifier, NotifyStats, Options, Receivers, Severity, Signal,
    Spool, SpoolError,
};
use crate::rollout::effect;
use crate::rollout::evidence::Evidence;
use crate::rollout::state::ModelState;
use crate::rollout::time::Timestamp;
use crate::store::{Notice, Outbox, Put, Store, Write};

/// Something that happened beside any decision.
pub(super) struct Apart {
    pub(super) kind: EventKind,
    pub(super) at: Timestamp,
    /// What it is about; the process, if nothing.
    pub(super) about: Option<About>,
    pub(super) sentence: String,
}

/// What something is about that happened beside any decision.
#[derive(Default)]
pub(super) struct About {
    pub(super) model: Option<String>,
    pub(super) rollout: Option<String>,
    pub(super) from: Option<String>,
    pub(super) to: Option<String>,
}

/// News that may wait where there is no file to keep them in.
const WAITING: (usize, usize) = (1_000, 8 * 1024 * 1024);

/// Tells others.
pub(super) struct Teller {
    notifier: Notifier,
    /// Whether what waits is kept in a file.
    durable: bool,
    instance: String,
}

impl Teller {
    /// Starts to tell `receivers`. What waits is kept in `store` where that is a file.
    pub(super) fn start(receivers: Receivers, store: &Store, instance: &str) -> Result<Self, StartError> {
        let (durable, instance) = (store.is_durable(), instance.to_owned());
        let spool: Box<dyn Spool> = match durable {
            true => Box::new(Kept { outbox: store.outbox()?, beside: beside() }),
            false => Box::new(beside()),
        };
        let options = Options { seed: fastrand::u64(..), ..Options::default() };
        Ok(Self { notifier: Notifier::start(receivers, spool, options)?, durable, instance })
    }

    /// From now on these are told.
    pub(super) fn replace(&mut self, receivers: Receivers) {
        self.notifier.replace(receivers);
    }

    /// What was sent.
    pub(super) fn stats(&self) -> Arc<NotifyStats> {
        Arc::clone(self.notifier.stats())
    }

    /// What keeps `news` in the store for each who wants it, to be written with what it tells of.
    /// Nothing where the store is in memory.
    pub(super) fn notices(&self, news: &Event) -> Vec<Write> {
        if !self.durable {
            return Vec::new();
        }
        // An event is plain data, which always has a JSON form.
        let json = serde_json::to_string(news).unwrap_or_default();
        let notice = |sink| Write::Notice(notice(&Delivery::new(sink, news, json.clone())));
        self.notifier.wanted_by(news).map(notice).collect()
    }

    /// Tells `news`; `written` says that its notices are kept.
    pub(super) fn tell(&self, news: Event, written: bool) {
        if written && self.durable {
            return self.notifier.wake();
        }
        let model = news.model.clone();
        if self.notifier.notify(news).is_err() {
            tracing::error!(?model, "a notification is lost: too many wait");
        }
    }

    /// Tells of something that no decision belongs to. It is kept by who delivers it.
    pub(super) fn tell_apart(&self, apart: Apart) {
        let Apart { kind, at, about, sentence } = apart;
        match kind.signal() {
            Signal::Firing => tracing::error!(event = kind.as_str(), "{sentence}"),
            Signal::News => tracing::warn!(event = kind.as_str(), "{sentence}"),
            Signal::Resolved => tracing::info!(event = kind.as_str(), "{sentence}"),
        }
        let about = about.unwrap_or_default();
        let model = about.model.clone().unwrap_or_else(|| self.instance.clone());
        let news = Event {
            id: format!("{model}/{}/{}", kind.as_str(), at.0),
            kind,
            at_ms: clock::wall().0,
            instance: self.instance.clone(),
            model: about.model,
            rollout: about.rollout,
            from: about.from,
            to: about.to,
            verdict: None,
            sentence,
            evidence: serde_json::Value::Null,
            severity: severity(kind),
            link: None,
        };
        self.tell(news.bounded(), false);
    }

    /// What has happened, as receivers get it.
    pub(super) fn news(&self, event: &effect::Event, state: &ModelState) -> Event {
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
            // Who delivers and who reads it knows no other clock.
            at_ms: clock::wall().0,
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
        effect::EventKind::DriftEnded => EventKind::DriftEnded,
        effect::EventKind::Cleared => EventKind::LatchCleared,
    }
}

fn severity(kind: EventKind) -> Severity {
    match kind {
        EventKind::RolledBack | EventKind::Held | EventKind::SampleRatioBroken | EventKind::StoreDegraded => {
            Severity::Critical
        }
        EventKind::Inconclusive
        | EventKind::GateFailed
        | EventKind::Aborted
        | EventKind::CandidateRefused
        | EventKind::DriftDetected => Severity::Warning,
        _ => Severity::Info,
    }
}

fn notice(delivery: &Delivery) -> Notice {
    Notice {
        id: delivery.id.clone(),
        sink: delivery.sink.clone(),
        created_ms: delivery.created_ms,
        attempts: delivery.attempts,
        next_ms: delivery.next_ms,
        event: delivery.event.clone(),
    }
}

/// A spool in memory.
fn beside() -> MemorySpool {
    MemorySpool::new(WAITING.0, WAITING.1)
}

/// A spool in the store, and beside it in memory for what the store cannot take: that a candidate was
/// rolled back is told on a full disk too.
struct Kept {
    outbox: Outbox,
    beside: MemorySpool,
}

impl Spool for Kept {
    fn put(&mut self, delivery: &Delivery) -> Result<bool, SpoolError> {
        match self.outbox.put(&notice(delivery)) {
            Ok(put) => Ok(put != Put::Refused),
            Err(error) => {
                tracing::warn!(sink = delivery.sink, %error, "a notification is kept in memory only");
                self.beside.put(delivery)
            }
        }
    }

    fn due(&mut self, sink: &str, over: &[String]) -> Result<Option<Delivery>, SpoolError> {
        let oldest = self.outbox.oldest(sink, over).map_err(|error| SpoolError(error.to_string()))?;
        let Some(notice) = oldest else { return self.beside.due(sink, over) };
        Ok(Some(Delivery {
            id: notice.id,
            sink: notice.sink,
            created_ms: notice.created_ms,
            attempts: notice.attempts,
            next_ms: notice.next_ms,
            event: notice.event,
        }))
    }

    // What is in memory is not in the store, where nothing is written for what is not there.

    fn done(&mut self, id: &str) -> Result<(), SpoolError> {
        self.beside.done(id)?;
        self.outbox.remove(id).map_err(|error| SpoolError(error.to_string()))
    }

    fn failed(&mut self, id: &str, next_ms: u64) -> Result<(), SpoolError> {
        self.beside.failed(id, next_ms)?;
        self.outbox.postpone(id, next_ms).map_err(|error| SpoolError(error.to_string()))
    }

    fn keep_only(&mut self, sinks: &[&str]) -> Result<usize, SpoolError> {
        let beside = self.beside.keep_only(sinks)?;
        let kept = self.outbox.keep_only(sinks).map_err(|error| SpoolError(error.to_string()))?;
        Ok(beside.saturating_add(kept))
    }
}
