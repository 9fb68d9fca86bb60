//! What is written and told about a turn.

use crate::base::Weight;
use crate::rollout::effect::{Effect, Event, EventKind};
use crate::rollout::evidence::Evidence;
use crate::rollout::record::{Action, DecisionRecord, FORMAT};
use crate::rollout::time::{Millis, Timestamp};
use crate::rollout::verdict::{StepRule, verdict};
use crate::rollout::version::By;
use crate::rollout::words::{self, Setting};

use super::Turn;

/// The moment that is decided about.
#[derive(Debug, Clone)]
pub(super) struct Moment {
    /// When.
    pub at: Timestamp,
    /// Time in the step.
    pub elapsed: Millis,
    /// How the step ends.
    pub rule: StepRule,
    /// The candidate's weight.
    pub weight: Weight,
}

impl Turn<'_> {
    /// This moment.
    pub(super) fn moment(&self) -> Moment {
        Moment {
            at: self.now,
            elapsed: self.rollout.elapsed(self.now),
            rule: self.rollout.rule(),
            weight: self.rollout.weight,
        }
    }

    /// A record of `moment` with the evidence as it stands. To be made before anything changes: what
    /// comes of the decision is filled in by [`decide`](Self::decide).
    pub(super) fn draft(&self, moment: Moment, to: &str) -> Box<DecisionRecord> {
        let rollout = &self.rollout;
        let analysis = &rollout.policy.analysis;
        let evidence = Evidence::of(&rollout.analyzer, analysis, moment.at);
        let verdict = verdict(&rollout.analyzer, analysis, &moment.rule, moment.elapsed, moment.at);
        let from = match rollout.current_step() {
            Some(step) if moment.weight == Weight::ZERO => step.as_str().to_owned(),
            _ => moment.weight.to_string(),
        };
        let setting = Setting {
            stable: rollout.stable.name.as_str(),
            candidate: rollout.candidate.name.as_str(),
            from: &from,
            to,
            elapsed: moment.elapsed,
            segments: rollout.reducer.segments(),
        };
        let sentence = words::sentence(&verdict, &evidence, analysis, &moment.rule, &setting);
        let (base, entries) = rollout.journal.read(&rollout.analyzer);
        Box::new(DecisionRecord {
            format: FORMAT,
            number: 0,
            model: self.model.model.to_string(),
            rollout: rollout.id.clone(),
            at: moment.at,
            action: Action::Hold,
            by: By::Policy,
            stable: rollout.stable.clone(),
            candidate: rollout.candidate.clone(),
            attempt: rollout.attempt,
            config_hash: rollout.config_hash.clone(),
            step: rollout.step,
            rule: moment.rule,
            elapsed: moment.elapsed,
            weight_before: moment.weight,
            weight_after: rollout.weight,
            analysis: analysis.clone(),
            segments: rollout.reducer.segments().to_vec(),
            base,
            entries,
            evidence,
            verdict,
            sentence,
        })
    }

    /// Puts the decision on record and begins the next one's. Gives its number and its sentence: that
    /// of the verdict where the verdict decided, else `reason`.
    pub(super) fn decide(
        &mut self,
        mut record: Box<DecisionRecord>,
        action: Action,
        by: By,
        reason: Option<String>,
    ) -> (u64, String) {
        record.number = self.model.decisions;
        record.action = action;
        record.by = by;
        record.weight_after =
            self.rollout.live(self.model.trial).versions.get(1).map_or(Weight::ZERO, |v| v.weight);
        if let Some(reason) = reason {
            record.sentence = reason;
        }
        let (number, sentence) = (record.number, record.sentence.clone());
        self.model.decisions = self.model.decisions.saturating_add(1);
        self.rollout.journal.clear();
        self.rollout.reason.clone_from(&sentence);
        self.push(Effect::Decide(record));
        (number, sentence)
    }

    pub(super) fn event(&self, kind: EventKind, decision: Option<u64>, sentence: &str) -> Event {
        Event {
            kind,
            at: self.now,
            model: self.model.model.to_string(),
            rollout: self.rollout.id.clone(),
            stable: self.rollout.stable.name.to_string(),
            candidate: self.rollout.candidate.name.to_string(),
            decision,
            sentence: sentence.to_owned(),
        }
    }
}

/// Whether the verdict's own sentence says why something was done, or who did it must be said.
pub(super) fn reason(by: &By, what: &str) -> Option<String> {
    match by {
        By::Verdict => None,
        By::Policy => Some(format!("{what}: as the policy says")),
        By::Gate(name) => Some(format!("{what}: by gate {name}")),
        By::Actor(actor) => Some(format!("{what}: by {}", actor.name)),
    }
}
