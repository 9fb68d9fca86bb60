//! Gates: who is asked before traffic moves, and who may ask for it back.
//!
//! Every question has a number, and an answer to any other number changes nothing: answers may come
//! late, twice, or after a restart.

use crate::rollout::effect::{Effect, EventKind, GateRun};
use crate::rollout::policy::{Gate, GateKind};
use crate::rollout::record::Action;
use crate::rollout::state::{Phase, Stage, Waiting};
use crate::rollout::time::Millis;
use crate::rollout::version::By;

use super::{GateAnswer, Turn};

/// How much later than its timeout an answer is given up: the driver's own timeout comes first.
const GRACE: Millis = Millis::seconds(5);
/// Longest detail of an answer that is kept, in characters.
const MAX_DETAIL: usize = 300;

impl Turn<'_> {
    /// Asks the gate at place `at` of a stage, or goes on where there is none left.
    pub(super) fn ask(&mut self, stage: Stage, at: usize) {
        let gates = self.rollout.gates(stage);
        let Some(gate) = gates.get(at) else {
            let last = gates.last().map_or_else(String::new, |gate| gate.name.clone());
            return self.pass(stage, By::Gate(last));
        };
        let run = self.run_gate(gate);
        let next = self.now.plus(gate.timeout).plus(GRACE);
        self.wait(Waiting { stage, at, run: Some(run), next });
    }

    fn run_gate(&mut self, gate: &Gate) -> u32 {
        self.rollout.runs = self.rollout.runs.saturating_add(1);
        let run = GateRun {
            run: self.rollout.runs,
            kind: gate.kind,
            name: gate.name.clone(),
            timeout: gate.timeout,
            rollout: self.rollout.id.clone(),
            candidate: self.rollout.candidate.name.clone(),
            weight: self.rollout.weight,
        };
        self.push(Effect::RunGate(run));
        self.rollout.runs
    }

    fn wait(&mut self, waiting: Waiting) {
        let since = self.rollout.times.phase;
        let was = matches!(self.rollout.phase, Phase::Pending(_) | Phase::Confirming(_));
        self.set_phase(match waiting.stage {
            Stage::Before => Phase::Pending(waiting),
            Stage::Increase | Stage::Promotion => Phase::Confirming(waiting),
        });
        if was {
            self.rollout.times.phase = since;
        }
    }

    /// Takes an answer.
    pub(super) fn answer(&mut self, answer: &GateAnswer) {
        let detail: String = answer.detail.chars().take(MAX_DETAIL).collect();
        let polled = self.rollout.polls.iter().find(|(_, poll)| poll.run == Some(answer.run));
        if let Some(name) = polled.map(|(name, _)| name.clone()) {
            return self.poll_answered(&name, answer.passed, &detail);
        }
        let (Phase::Pending(waiting) | Phase::Confirming(waiting)) = self.rollout.phase else { return };
        if waiting.run != Some(answer.run) {
            return;
        }
        if answer.passed {
            self.ask(waiting.stage, waiting.at.saturating_add(1));
            if !self.effects.contains(&Effect::Persist) {
                self.persist_first();
            }
        } else {
            self.refused(waiting, &detail);
        }
    }

    /// What a no means.
    fn refused(&mut self, waiting: Waiting, detail: &str) {
        let gates = self.rollout.gates(waiting.stage);
        let Some(gate) = gates.get(waiting.at) else { return };
        let sentence = format!("gate {} ({}) said no: {detail}", gate.name, gate.kind.as_str());
        if gate.kind.waits() {
            // Told once, not at each retry.
            if self.rollout.reason != sentence {
                self.rollout.reason.clone_from(&sentence);
                self.tell(EventKind::GateClosed, None, &sentence);
            }
            let next = self.now.plus(gate.retry_every);
            return self.wait(Waiting { run: None, next, ..waiting });
        }
        let by = By::Gate(gate.name.clone());
        if gate.kind == GateKind::Load {
            // Not a verdict about what the candidate says: it may load the next time.
            return self.end(Phase::Aborted, Action::Abort, by, Some(sentence));
        }
        self.go_back(by, Some(sentence));
    }

    /// Skips the gate that is waited for.
    pub(super) fn skip_gate(&mut self, waiting: Waiting) {
        self.ask(waiting.stage, waiting.at.saturating_add(1));
        if !self.effects.contains(&Effect::Persist) {
            self.persist_first();
        }
    }

    /// All gates of a stage are open.
    fn pass(&mut self, stage: Stage, by: By) {
        match stage {
            Stage::Before => self.enter(0, by),
            Stage::Increase | Stage::Promotion => self.enter(self.rollout.step.saturating_add(1), by),
        }
    }

    /// Asks again what is due, and gives up on answers that did not come.
    pub(super) fn watch_gates(&mut self) {
        if let Phase::Pending(waiting) | Phase::Confirming(waiting) = self.rollout.phase
            && self.now >= waiting.next
        {
            match waiting.run {
                None => self.ask(waiting.stage, waiting.at),
                Some(_) => self.refused(waiting, "no answer in time"),
            }
        }
        if self.rollout.phase.is_terminal()
            || matches!(self.rollout.phase, Phase::Pending(_) | Phase::RollingBack(_))
        {
            return;
        }
        let gates = self.rollout.policy.gates.clone();
        for gate in gates.iter().filter(|gate| gate.kind == GateKind::Rollback) {
            let Some(poll) = self.rollout.polls.get(&gate.name).copied() else { continue };
            if self.now < poll.next {
                continue;
            }
            // An answer that did not come is a no here: it asks for nothing.
            let run = self.run_gate(gate);
            if let Some(poll) = self.rollout.polls.get_mut(&gate.name) {
                poll.run = Some(run);
                poll.next = self.now.plus(gate.timeout.max(gate.retry_every)).plus(GRACE);
            }
        }
    }

    fn poll_answered(&mut self, name: &str, passed: bool, detail: &str) {
        if passed {
            let sentence = format!("gate {name} asked for a rollback: {detail}");
            return self.go_back(By::Gate(name.to_owned()), Some(sentence));
        }
        let every =
            self.rollout.policy.gates.iter().find(|gate| gate.name == name).map(|gate| gate.retry_every);
        if let Some(poll) = self.rollout.polls.get_mut(name) {
            poll.run = None;
            poll.next = self.now.plus(every.unwrap_or(Millis::minutes(1)));
        }
    }

    /// Asks the gates that only want to know that it is over.
    pub(super) fn run_last_gates(&mut self) {
        let gates = self.rollout.policy.gates.clone();
        for gate in gates.iter().filter(|gate| gate.kind == GateKind::PostRollout) {
            self.run_gate(gate);
        }
    }
}
