//! A stable version that is not to be had any more.

use crate::base::Weight;
use crate::rollout::checks::Traffic;
use crate::rollout::state::{ModelState, Phase};
use crate::rollout::version::VersionRef;

impl ModelState {
    /// From now on `stable` is what is gone back to, because the version before is not to be had any
    /// more. All else that is known stays, latches above all. A rollout that runs goes on, to be
    /// aborted by whoever calls this; one that made the lost version stable is no success any more.
    pub fn replace_stable(&mut self, stable: VersionRef) {
        let lost = std::mem::replace(&mut self.stable, stable);
        let Some(rollout) = &mut self.rollout else { return };
        if rollout.phase != Phase::Succeeded {
            rollout.stable = self.stable.clone();
        } else if rollout.candidate.name == self.stable.name {
            rollout.candidate = self.stable.clone();
        } else {
            rollout.stable = self.stable.clone();
            rollout.phase = Phase::Aborted;
            rollout.weight = Weight::ZERO;
            rollout.traffic = Traffic::None;
            rollout.reason = format!(
                "{} is not to be had any more: {} is the stable version",
                lost.name, self.stable.name
            );
        }
    }
}
