//! One look: what is new, what it means, and what time it is.

use crate::rollout::checks::DriftLevel;
use crate::rollout::counts::Counts;
use crate::rollout::effect::{Effect, EventKind};
use crate::rollout::journal::Entry;
use crate::rollout::policy::{OnInconclusive, Rule, Step};
use crate::rollout::record::Action;
use crate::rollout::state::{PauseReason, Pausing, Phase};
use crate::rollout::time::Millis;
use crate::rollout::verdict::{Verdict, verdict};
use crate::rollout::version::By;

use super::Turn;

/// How often evidence is kept while nothing is decided: what a crash may lose of it.
const KEEP_EVERY: Millis = Millis::seconds(5);

impl Turn<'_> {
    pub(super) fn watch(&mut self, counts: Option<&Counts>) {
        if matches!(self.rollout.phase, Phase::RollingBack(_)) {
            return self.finish_rollback();
        }
        let fresh = self.take(counts);
        if !matches!(self.rollout.phase, Phase::Pending(_)) {
            self.judge();
        }
        if !self.rollout.phase.is_terminal() {
            self.watch_gates();
            self.tell_drift();
        }
        let due = self.now.since(self.rollout.times.kept) >= KEEP_EVERY;
        let going_back = matches!(self.rollout.phase, Phase::RollingBack(_));
        if fresh && due && !going_back && !self.effects.contains(&Effect::Persist) {
            self.persist_first();
        }
    }

    /// Takes what is new. Says whether anything is.
    fn take(&mut self, counts: Option<&Counts>) -> bool {
        let Some(counts) = counts else { return false };
        let deltas = self.rollout.reducer.reduce(&self.rollout.policy.analysis, counts, self.now);
        let fresh = !deltas.is_empty();
        for delta in deltas {
            self.note(Entry::Delta(Box::new(delta)));
        }
        fresh
    }

    fn judge(&mut self) {
        let rollout = &self.rollout;
        let (rule, elapsed) = (rollout.rule(), rollout.elapsed(self.now));
        let said = verdict(&rollout.analyzer, &rollout.policy.analysis, &rule, elapsed, self.now);
        let running = rollout.phase == Phase::Running;
        if !matches!(said, Verdict::Incident(_)) {
            self.rollout.told.incident = false;
        }
        match said {
            Verdict::Rollback(_) => self.go_back(By::Verdict, None),
            Verdict::BrokenRandomisation => self.hold_broken(),
            Verdict::Incident(_) => self.hold_incident(),
            Verdict::Advance if running => self.advance(By::Verdict),
            Verdict::Inconclusive if running => match rule.on_inconclusive {
                OnInconclusive::Pause => self.pause(PauseReason::Inconclusive, By::Policy),
                OnInconclusive::Rollback => self.go_back(By::Policy, None),
                OnInconclusive::Advance => self.advance(By::Policy),
            },
            Verdict::Hold | Verdict::Advance | Verdict::Inconclusive => self.by_time(elapsed),
        }
    }

    /// What happens because time is over: never while something is wrong.
    fn by_time(&mut self, elapsed: Millis) {
        match (&self.rollout.phase, self.rollout.current_step()) {
            (Phase::Paused(Pausing { why: PauseReason::Step, .. }), Some(Step::Pause(step)))
                if step.duration.is_some_and(|duration| elapsed >= duration) =>
            {
                self.advance(By::Policy);
            }
            (Phase::Baking, Some(Step::Bake(bake))) if elapsed >= bake.duration => self.succeed(By::Policy),
            _ => {}
        }
    }

    fn hold_broken(&mut self) {
        if std::mem::replace(&mut self.rollout.told.broken, true) {
            return;
        }
        self.pause(PauseReason::BrokenRandomisation, By::Verdict);
        let sentence = self.rollout.reason.clone();
        let event = self.event(EventKind::BrokenRandomisation, None, &sentence);
        self.push(Effect::Alert(event));
    }

    fn hold_incident(&mut self) {
        if std::mem::replace(&mut self.rollout.told.incident, true) {
            return;
        }
        let draft = self.draft(self.moment(), "");
        self.persist();
        let (number, sentence) = self.decide(draft, Action::Hold, By::Verdict, None);
        let event = self.event(EventKind::Incident, Some(number), &sentence);
        self.push(Effect::Alert(event));
    }

    /// Tells each level of drift once, and its end once no feature of any check is beyond a level any
    /// more. A level that is left for a lower one is not told: it may come back.
    fn tell_drift(&mut self) {
        let mut is_less = false;
        for (place, level, feature) in self.rollout.analyzer.drift() {
            let told = self.rollout.told.drift.entry(place).or_default();
            if level == DriftLevel::None {
                is_less |= std::mem::take(told) > level;
            }
            if level <= *told {
                continue;
            }
            *told = level;
            let check = self.rollout.policy.analysis.checks.get(usize::from(place));
            let feature = match check.map(|check| &check.rule) {
                Some(Rule::Drift(rule)) => rule.profiles.get(feature).map(|profile| profile.feature.as_str()),
                _ => None,
            };
            let limit = if level == DriftLevel::Alert { "alert" } else { "warn" };
            let sentence = format!(
                "DRIFT: {} is not distributed as in training, certainly beyond the level `{limit}`",
                feature.unwrap_or("a feature"),
            );
            let event = self.event(EventKind::Drift, None, &sentence);
            self.push(Effect::Alert(event));
        }
        if is_less && self.rollout.told.drift.values().all(|told| *told == DriftLevel::None) {
            self.tell(
                EventKind::DriftEnded,
                None,
                "DRIFT ENDED: no feature is certainly beyond the level `warn` any more",
            );
        }
    }
}
