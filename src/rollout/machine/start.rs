//! The beginning of a rollout, and what stands in its way.

use std::collections::BTreeMap;

use crate::base::Weight;
use crate::rollout::analyzer::Analyzer;
use crate::rollout::checks::Traffic;
use crate::rollout::effect::{Effect, EventKind};
use crate::rollout::journal::Journal;
use crate::rollout::policy::{GateKind, Rule};
use crate::rollout::record::Action;
use crate::rollout::reduce::Reducer;
use crate::rollout::state::{MAX_LATCHES, ModelState, Phase, Poll, Rollout, Stage, Times, Told, Waiting};
use crate::rollout::time::{Millis, Timestamp};
use crate::rollout::version::By;

use super::{Refusal, Start, Turn};

/// Digests whose attempts are counted.
const MAX_ATTEMPTS: usize = 1_024;

impl ModelState {
    pub(super) fn start(&mut self, start: Start, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        self.admit(&start)?;
        let (mut effects, mut told) = (Vec::new(), Vec::new());
        if self.running().is_some() {
            let by = By::Actor(start.by.clone());
            effects.extend(self.turn(now, |turn| turn.end_by_hand(Phase::Superseded, Action::Supersede, by)));
            effects.retain(|effect| *effect != Effect::Persist);
            let is_told =
                |effect: &Effect| matches!(effect, Effect::Notify(_) | Effect::Alert(_) | Effect::RunGate(_));
            told.extend(effects.extract_if(.., |effect| is_told(effect)));
            let ended = self.rollout.take().map(|rollout| Effect::Archive(Box::new(rollout)));
            let first = effects.iter().position(|effect| !matches!(effect, Effect::SetLive(_))).unwrap_or(0);
            effects.splice(first..first, ended);
        }
        let attempt = self.count_attempt(&start.candidate.digest);
        self.rollout = Some(self.new_rollout(start, attempt, now));
        let mut begun = self.turn(now, |turn| turn.begin());
        // The end of the one and the beginning of the other last together, before either is told: a
        // process that died between them would come back with a rollout that had ended.
        let lasts = |effect: &Effect| matches!(effect, Effect::Persist | Effect::Decide(_));
        let rest = begun.iter().position(|effect| !lasts(effect)).unwrap_or(begun.len());
        begun.splice(rest..rest, told);
        effects.extend(begun);
        Ok(effects)
    }

    fn admit(&self, start: &Start) -> Result<(), Refusal> {
        if let Some(running) = self.running() {
            if running.id == start.id {
                return Err(Refusal::SameId { id: start.id.clone() });
            }
            if !start.supersede || matches!(running.phase, Phase::RollingBack(_)) {
                let phase = running.phase.as_str();
                return Err(Refusal::Conflict { running: running.id.clone(), phase });
            }
        } else if self.rollout.as_ref().is_some_and(|last| last.id == start.id) {
            return Err(Refusal::SameId { id: start.id.clone() });
        }
        let candidate = &start.candidate;
        if let Some(latch) = self.latches.get(&candidate.digest) {
            return Err(Refusal::Latched {
                version: latch.version.clone(),
                digest: latch.digest.clone(),
                reason: latch.reason.clone(),
            });
        }
        if candidate.digest == self.stable.digest || candidate.name == self.stable.name {
            return Err(Refusal::SameVersion { version: candidate.name.clone() });
        }
        if self.latches.len() >= MAX_LATCHES {
            return Err(Refusal::TooManyLatches);
        }
        let errors = start.policy.validate();
        if errors.is_empty() { Ok(()) } else { Err(Refusal::Policy(errors)) }
    }

    fn count_attempt(&mut self, digest: &str) -> u32 {
        if self.attempts.len() >= MAX_ATTEMPTS && !self.attempts.contains_key(digest) {
            // The least tried says least.
            let least =
                self.attempts.iter().min_by_key(|(_, times)| **times).map(|(digest, _)| digest.clone());
            least.and_then(|digest| self.attempts.remove(&digest));
        }
        let times = self.attempts.entry(digest.to_owned()).or_default();
        *times = times.saturating_add(1);
        *times
    }

    fn new_rollout(&self, start: Start, attempt: u32, now: Timestamp) -> Rollout {
        let drift = (0..).zip(&start.policy.analysis.checks);
        let drift = drift.filter(|(_, check)| matches!(check.rule, Rule::Drift(_)));
        Rollout {
            id: start.id,
            stable: self.stable.clone(),
            candidate: start.candidate,
            config_hash: start.config_hash,
            attempt,
            by: start.by,
            phase: Phase::Pending(Waiting { stage: Stage::Before, at: 0, run: None, next: now }),
            step: 0,
            weight: Weight::ZERO,
            traffic: Traffic::None,
            times: Times { started: now, phase: now, step: now, ended: None, kept: now },
            allowance_from: (0, Millis::ZERO),
            analyzer: Analyzer::new(&start.policy.analysis),
            reducer: Reducer::new(&start.baseline),
            journal: Journal::default(),
            told: Told {
                drift: drift.map(|(place, _)| (place, Default::default())).collect(),
                ..Told::default()
            },
            runs: 0,
            polls: BTreeMap::new(),
            reason: String::new(),
            policy: start.policy,
        }
    }
}

impl Turn<'_> {
    fn begin(&mut self) {
        let draft = self.draft(self.moment(), "");
        self.persist();
        let sentence = format!(
            "START {} → {}: {} steps, α {}",
            self.rollout.stable.name,
            self.rollout.candidate.name,
            self.rollout.policy.steps.len(),
            self.rollout.policy.analysis.alpha,
        );
        let by = By::Actor(self.rollout.by.clone());
        let (number, sentence) = self.decide(draft, Action::Start, by, Some(sentence));
        self.set_live();
        self.tell(EventKind::Started, Some(number), &sentence);
        for gate in self.rollout.policy.gates.iter().filter(|gate| gate.kind == GateKind::Rollback) {
            let poll = Poll { run: None, next: self.now.plus(gate.retry_every) };
            self.rollout.polls.insert(gate.name.clone(), poll);
        }
        self.ask(Stage::Before, 0);
    }
}
