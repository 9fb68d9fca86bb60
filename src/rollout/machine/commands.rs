//! What people and pipelines ask for by hand.

use crate::rollout::effect::{Effect, EventKind};
use crate::rollout::policy::Step;
use crate::rollout::record::Action;
use crate::rollout::state::{ModelState, PauseReason, Pausing, Phase};
use crate::rollout::time::Timestamp;
use crate::rollout::version::By;

use super::report::reason;
use super::{Command, Refusal, Start, Turn, What};

impl ModelState {
    pub(super) fn command(&mut self, command: Command, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let Command { what, by } = command;
        match what {
            What::Clear { digest } => self.clear(&digest, &by.name, now),
            What::Retry { id } => {
                let last = self.rollout.as_ref().ok_or(Refusal::NothingRunning)?;
                if !last.phase.is_terminal() || last.phase == Phase::Succeeded {
                    return Err(Refusal::NotNow { command: "retry", phase: last.phase.as_str() });
                }
                let start = Start {
                    id,
                    candidate: last.candidate.clone(),
                    policy: last.policy.clone(),
                    config_hash: last.config_hash.clone(),
                    baseline: Default::default(),
                    supersede: false,
                    by,
                };
                self.start(start, now)
            }
            What::Promote { .. } | What::Pause | What::Resume | What::Abort => {
                let phase = &self.running().ok_or(Refusal::NothingRunning)?.phase;
                if !allowed(&what, phase, self) {
                    return Err(Refusal::NotNow { command: what.as_str(), phase: phase.as_str() });
                }
                let by = By::Actor(by);
                Ok(self.turn(now, |turn| match what {
                    What::Promote { full } => turn.promote(full, by),
                    What::Pause => turn.pause(PauseReason::Command, by),
                    What::Resume => turn.resume(by),
                    _ => turn.end_by_hand(Phase::Aborted, Action::Abort, by),
                }))
            }
        }
    }

    fn clear(&mut self, digest: &str, by: &str, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let latch =
            self.latches.remove(digest).ok_or_else(|| Refusal::NotLatched { digest: digest.to_owned() })?;
        let event = crate::rollout::effect::Event {
            kind: EventKind::Cleared,
            at: now,
            model: self.model.to_string(),
            rollout: latch.rollout,
            stable: self.stable.name.to_string(),
            candidate: latch.version.to_string(),
            decision: None,
            sentence: format!("CLEARED {} (digest {digest}): by {by}", latch.version),
        };
        Ok(vec![Effect::Persist, Effect::Unlatch(digest.to_owned()), Effect::Notify(event)])
    }
}

/// Whether a command makes sense in a phase.
fn allowed(what: &What, phase: &Phase, model: &ModelState) -> bool {
    let gate_waits = |phase: &Phase| match phase {
        Phase::Pending(waiting) | Phase::Confirming(waiting) => {
            let gates = model.running().map(|rollout| rollout.gates(waiting.stage)).unwrap_or_default();
            gates.get(waiting.at).is_some_and(|gate| gate.kind.waits())
        }
        _ => true,
    };
    match (what, phase) {
        (_, Phase::RollingBack(_)) => false,
        (What::Promote { .. }, phase) => gate_waits(phase),
        (What::Pause, Phase::Pending(_) | Phase::Confirming(_)) => false,
        (What::Resume, Phase::Paused(_) | Phase::WaitingForPromotion) => true,
        (What::Resume, _) => false,
        _ => true,
    }
}

impl Turn<'_> {
    fn promote(&mut self, full: bool, by: By) {
        match self.rollout.phase.clone() {
            Phase::Pending(waiting) | Phase::Confirming(waiting) => self.skip_gate(waiting),
            Phase::Baking => self.succeed(by),
            Phase::Paused(pausing) if pausing.baking => self.succeed(by),
            _ if full => {
                let bake = self.rollout.policy.steps.iter().position(|step| matches!(step, Step::Bake(_)));
                self.enter(bake.unwrap_or(self.rollout.policy.steps.len()), by);
            }
            _ => self.advance(by),
        }
    }

    /// Lets nothing move any more.
    pub(super) fn pause(&mut self, why: PauseReason, by: By) {
        let baking = self.rollout.promoted();
        if let Phase::Paused(Pausing { why: PauseReason::Command, .. }) = self.rollout.phase {
            return;
        }
        let draft = self.draft(self.moment(), "");
        if !matches!(self.rollout.phase, Phase::WaitingForPromotion) {
            // A pause of the policy had begun already: what is left of it comes after this one.
            self.set_phase(Phase::Paused(Pausing { why, baking }));
        }
        self.persist();
        let said = match why {
            PauseReason::Command => reason(&by, "PAUSE"),
            PauseReason::Step | PauseReason::Inconclusive | PauseReason::BrokenRandomisation => None,
        };
        let (number, sentence) = self.decide(draft, Action::Pause, by, said);
        self.tell(EventKind::Paused, Some(number), &sentence);
    }

    fn resume(&mut self, by: By) {
        let Phase::Paused(pausing) = self.rollout.phase else { return self.advance(by) };
        if pausing.why == PauseReason::Step {
            return self.advance(by);
        }
        let draft = self.draft(self.moment(), "");
        let paused = self.now.since(self.rollout.times.phase);
        self.rollout.times.step = self.rollout.times.step.plus(paused);
        if pausing.why == PauseReason::Inconclusive {
            // The evidence stays; the time and the requests that it may take begin anew.
            let copies = self.rollout.analyzer.coverage().map_or(0, |(pairs, _)| pairs);
            let requests = self.rollout.analyzer.step_requests().candidate;
            self.rollout.allowance_from = (copies.max(requests), self.rollout.elapsed(self.now));
        }
        let phase = match self.rollout.current_step() {
            _ if pausing.baking => Phase::Baking,
            Some(Step::Pause(step)) if step.duration.is_some() => {
                Phase::Paused(Pausing { why: PauseReason::Step, baking: false })
            }
            Some(Step::Pause(_)) => Phase::WaitingForPromotion,
            Some(Step::Shadow(_) | Step::SetWeight(_) | Step::Bake(_)) | None => Phase::Running,
        };
        self.set_phase(phase);
        self.persist();
        let why = reason(&by, "RESUME");
        let (number, sentence) = self.decide(draft, Action::Resume, by, why);
        self.tell(EventKind::Resumed, Some(number), &sentence);
    }
}
