//! How others hear of a model's rollouts, and are asked about them.
//!
//! News is written down in the transaction of what it tells of, so that a process that is killed in
//! between tells it when it is back. Where nothing can be written it is told all the same.

use std::sync::Arc;

use super::super::tell::{About, Apart};
use super::super::tools::Tools;
use super::super::{abort, gates};
use super::{Batch, Model, Todo};
use crate::notify;
use crate::rollout::effect::{Event, GateRun};
use crate::rollout::machine::Refusal;
use crate::rollout::policy::GateKind;
use crate::rollout::time::{Millis, Timestamp};

/// How long a refused candidate is not spoken of again.
const REFUSED_AGAIN: Millis = Millis::minutes(10);

/// Something to be told.
pub(super) struct Telling {
    event: Event,
    /// Whether somebody should look.
    alert: bool,
    /// The same as receivers get it.
    news: notify::Event,
}

impl Model {
    /// Has `event` told after what is to be done before it. What keeps the news goes with the last
    /// that is to be kept before: with `batch`, if there is anything in it.
    pub(super) fn announce(&mut self, event: Event, alert: bool, batch: &mut Batch, tools: &Tools) {
        let news = tools.teller.news(&event, &self.state);
        let notices = tools.teller.notices(&news);
        let before = self.todo.iter_mut().rev().find_map(|todo| match todo {
            Todo::Write(before) => Some(before),
            _ => None,
        });
        match before {
            Some(before) if batch.writes.is_empty() => before.writes.extend(notices),
            _ => batch.writes.extend(notices),
        }
        self.flush(batch);
        self.todo.push_back(Todo::Tell(Box::new(Telling { event, alert, news })));
    }

    /// Tells that a candidate was refused because it had been rolled back; not again within
    /// [`REFUSED_AGAIN`], for a pipeline may try and try.
    pub(super) fn tell_refused(&mut self, refusal: &Refusal, now: Timestamp, tools: &Tools) {
        let Refusal::Latched { version, digest, .. } = refusal else { return };
        let known = self.refused.as_ref().filter(|(known, _)| known == digest);
        if known.is_some_and(|(_, at)| now.since(*at) < REFUSED_AGAIN) {
            return;
        }
        self.refused = Some((digest.clone(), now));
        let about = About {
            model: Some(self.name().to_string()),
            rollout: self.state.latches.get(digest).map(|latch| latch.rollout.clone()),
            from: Some(self.state.stable.name.to_string()),
            to: Some(version.to_string()),
        };
        let sentence = format!("REFUSED: {refusal}");
        let kind = notify::EventKind::CandidateRefused;
        tools.teller.tell_apart(Apart { kind, at: now, about: Some(about), sentence });
    }

    /// Tells whoever wants to know: nobody's answer is waited for.
    pub(super) fn tell(&self, telling: Telling, tools: &Tools) {
        let Telling { event, alert, news } = telling;
        // What was decided is logged when it is decided.
        if alert {
            tracing::warn!(model = %event.model, rollout = %event.rollout, kind = event.kind.as_str(), "{}", event.sentence);
        }
        let kind = if alert { "alert" } else { "notify" };
        abort::before(kind);
        tools.teller.tell(news, self.written);
        abort::after(kind);
        let Some(rollout) = self.state.rollout.as_ref().filter(|rollout| rollout.id == event.rollout) else {
            return;
        };
        for gate in rollout.policy.gates.iter().filter(|gate| gate.kind == GateKind::Event) {
            let run = GateRun {
                // No run has this number, so the answer changes nothing.
                run: 0,
                kind: gate.kind,
                name: gate.name.clone(),
                timeout: gate.timeout,
                rollout: rollout.id.clone(),
                candidate: rollout.candidate.name.clone(),
                weight: rollout.weight,
            };
            self.put_question(&run, Some(event.clone()), tools);
        }
    }

    pub(super) fn ask(&self, run: &GateRun, tools: &Tools) {
        self.put_question(run, None, tools);
    }

    fn put_question(&self, run: &GateRun, event: Option<Event>, tools: &Tools) {
        let gate = self.spec.as_ref().and_then(|spec| spec.gates.iter().find(|gate| gate.name == run.name));
        let candidate = self.versions.get(&run.candidate);
        let digest = self.state.rollout.as_ref().map(|rollout| rollout.candidate.digest.clone());
        let question = gates::Question {
            model: self.name().clone(),
            run: run.clone(),
            digest: digest.unwrap_or_default(),
            phase: self.state.rollout.as_ref().map_or("", |rollout| rollout.phase.as_str()),
            asked: gate.map(|gate| gate.asked.clone()),
            candidate: candidate.cloned(),
            event,
            is_over: Arc::clone(&self.is_over),
        };
        gates::ask(question, &tools.board, &tools.messages);
    }
}
