//! From step to step, to the end or back.
//!
//! Forwards: keep, write down, then move traffic. Backwards: move traffic, and only then anything
//! else.

use crate::base::Weight;
use crate::rollout::checks::Traffic;
use crate::rollout::effect::{Effect, EventKind};
use crate::rollout::journal::Entry;
use crate::rollout::live::Latch;
use crate::rollout::policy::{Harm, Step};
use crate::rollout::record::Action;
use crate::rollout::state::{GoingBack, PauseReason, Pausing, Phase, Stage};
use crate::rollout::time::Millis;
use crate::rollout::version::By;

use super::Turn;
use super::report::{Moment, reason};

impl Turn<'_> {
    /// Goes to the next step, past its gates if it has some.
    pub(super) fn advance(&mut self, by: By) {
        let next = self.rollout.step.saturating_add(1);
        let stage = match self.rollout.policy.steps.get(next) {
            Some(Step::SetWeight(step)) if step.weight > self.rollout.weight => Some(Stage::Increase),
            Some(Step::Bake(_)) | None => Some(Stage::Promotion),
            Some(Step::Shadow(_) | Step::SetWeight(_) | Step::Pause(_)) => None,
        };
        match stage {
            Some(stage) if !self.rollout.gates(stage).is_empty() => {
                self.persist();
                self.ask(stage, 0);
            }
            _ => self.enter(next, by),
        }
    }

    /// Begins the step at place `to`.
    pub(super) fn enter(&mut self, to: usize, by: By) {
        let Some(step) = self.rollout.policy.steps.get(to).cloned() else { return self.succeed(by) };
        let before = self.rollout.live(0);
        let words = match &step {
            Step::SetWeight(step) => step.weight.to_string(),
            Step::Bake(bake) => format!("bake at {}", bake.holdback.rest()),
            Step::Shadow(_) | Step::Pause(_) => step.as_str().to_owned(),
        };
        let draft = self.draft(self.moment(), &words);
        self.rollout.step = to;
        self.rollout.allowance_from = (0, Millis::ZERO);
        self.rollout.times.step = self.now;
        let (phase, harm) = match step {
            Step::Shadow(step) => {
                self.rollout.traffic = Traffic::Copies;
                self.rollout.weight = Weight::ZERO;
                (Phase::Running, step.advance.harm)
            }
            Step::SetWeight(step) => {
                self.rollout.traffic = Traffic::Live;
                self.rollout.weight = step.weight;
                (Phase::Running, step.advance.harm)
            }
            Step::Pause(pause) if pause.duration.is_some() => {
                (Phase::Paused(Pausing { why: PauseReason::Step, baking: false }), Harm::default())
            }
            Step::Pause(_) => (Phase::WaitingForPromotion, Harm::default()),
            Step::Bake(bake) => {
                self.rollout.traffic = Traffic::Live;
                self.rollout.weight = bake.holdback.rest();
                (Phase::Baking, Harm::default())
            }
        };
        let promoted = phase == Phase::Baking;
        self.set_phase(phase);
        self.persist();
        let (action, kind) = if promoted {
            (Action::Promote, EventKind::Promoted)
        } else {
            (Action::Advance, EventKind::Advanced)
        };
        let why = reason(&by, &format!("ADVANCE to {words}"));
        let (number, sentence) = self.decide(draft, action, by, why);
        if self.rollout.live(0) != before {
            self.set_live();
        }
        let traffic = self.rollout.traffic;
        self.note(Entry::Step { traffic, harm, first_trial: self.model.trial });
        self.tell(kind, Some(number), &sentence);
    }

    /// Writes an entry down and lets it change the evidence.
    pub(super) fn note(&mut self, entry: Entry) {
        self.rollout.journal.write(&self.rollout.analyzer, entry.clone());
        entry.apply(&mut self.rollout.analyzer, &self.rollout.policy.analysis);
    }

    /// The candidate becomes the stable version.
    pub(super) fn succeed(&mut self, by: By) {
        let draft = self.draft(self.moment(), "100%");
        self.rollout.weight = Weight::FULL;
        self.set_phase(Phase::Succeeded);
        self.rollout.times.ended = Some(self.now);
        self.model.stable = self.rollout.candidate.clone();
        self.persist();
        let sentence = format!(
            "SUCCESS: {} is the stable version; {} is retired",
            self.rollout.candidate.name, self.rollout.stable.name
        );
        let (number, sentence) = self.decide(draft, Action::Succeed, by, Some(sentence));
        self.set_live();
        self.tell(EventKind::Succeeded, Some(number), &sentence);
        self.run_last_gates();
    }

    /// Takes traffic back at once. All the rest comes in the next turn.
    pub(super) fn go_back(&mut self, by: By, reason: Option<String>) {
        let Moment { at, elapsed, rule, weight } = self.moment();
        self.set_phase(Phase::RollingBack(Box::new(GoingBack { by, at, elapsed, rule, weight, reason })));
        self.model.trial = self.model.trial.saturating_add(1);
        let live = self.rollout.live(self.model.trial);
        self.effects.insert(0, Effect::SetLive(live));
    }

    /// Writes and tells about a rollback that has happened.
    pub(super) fn finish_rollback(&mut self) {
        let Phase::RollingBack(going) = self.rollout.phase.clone() else { return };
        let GoingBack { by, at, elapsed, rule, weight, reason } = *going;
        let draft = self.draft(Moment { at, elapsed, rule, weight }, "");
        self.finish(Phase::RolledBack);
        self.persist();
        let (number, sentence) = self.decide(draft, Action::Rollback, by, reason);
        self.tell(EventKind::RolledBack, Some(number), &sentence);
        let latch = Latch {
            digest: self.rollout.candidate.digest.clone(),
            version: self.rollout.candidate.name.clone(),
            rollout: self.rollout.id.clone(),
            since: at,
            reason: sentence,
        };
        self.model.latches.insert(latch.digest.clone(), latch.clone());
        self.push(Effect::Latch(latch));
        self.run_last_gates();
    }

    /// Ends the rollout without a latch, traffic first.
    pub(super) fn end(&mut self, phase: Phase, action: Action, by: By, reason: Option<String>) {
        let draft = self.draft(self.moment(), "");
        self.finish(phase);
        self.set_live();
        self.persist();
        let kind = if action == Action::Supersede { EventKind::Superseded } else { EventKind::Aborted };
        let (number, sentence) = self.decide(draft, action, by, reason);
        self.tell(kind, Some(number), &sentence);
        self.run_last_gates();
    }

    /// The same, by hand.
    pub(super) fn end_by_hand(&mut self, phase: Phase, action: Action, by: By) {
        let why = reason(&by, &format!("{} {}", action.as_str().to_uppercase(), self.rollout.candidate.name));
        self.end(phase, action, by, why);
    }

    fn finish(&mut self, phase: Phase) {
        self.set_phase(phase);
        self.rollout.times.ended = Some(self.now);
        self.rollout.weight = Weight::ZERO;
        self.rollout.traffic = Traffic::None;
    }
}
