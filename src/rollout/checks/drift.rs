//! Inputs against those of the training.
//!
//! Both arms get the same inputs, so drift is no fault of the candidate and never a verdict. What is
//! told is the index that is *certain*: the plug-in index of a small sample exceeds 0.1 by chance.

use serde::{Deserialize, Serialize};

use super::{Figures, Scene};
use crate::rollout::delta::Delta;
use crate::rollout::policy::Drift;
use crate::stats::sequential::{psi, psi_lower_bound};

/// Inputs after which the index is computed first; then whenever they grew by a quarter.
const FIRST: u64 = 200;

/// How far inputs have certainly moved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum DriftLevel {
    /// Not further than the policy's `warn`, for what can be told.
    #[default]
    None,
    /// Beyond `warn`.
    Warn,
    /// Beyond `alert`.
    Alert,
}

/// What is known about the inputs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DriftCheck {
    /// Counts by feature and bin.
    counts: Vec<Vec<u64>>,
    seen: u64,
    next: u64,
    /// The index that is certain, and as commonly computed.
    index: (f64, f64),
    level: DriftLevel,
    /// Place of the feature that moved most.
    worst: usize,
}

impl DriftCheck {
    pub(super) fn new(rule: &Drift) -> Self {
        Self {
            counts: rule.profiles.iter().map(|profile| vec![0; profile.shares.len()]).collect(),
            seen: 0,
            next: FIRST,
            index: (0.0, 0.0),
            level: DriftLevel::None,
            worst: 0,
        }
    }

    pub(super) fn observe(&mut self, scene: &Scene<'_>, rule: &Drift, delta: &Delta) {
        for input in delta.inputs.iter().filter(|input| input.check == scene.place) {
            let Some(counts) = self.counts.get_mut(usize::from(input.profile)) else { continue };
            for (count, more) in counts.iter_mut().zip(&input.bins) {
                *count = count.saturating_add(*more);
                self.seen = self.seen.saturating_add(*more);
            }
        }
        if self.seen < self.next {
            return;
        }
        self.next = self.seen.saturating_add((self.seen / 4).max(1));
        let each = scene.analysis.alpha / self.counts.len().max(1) as f64;
        self.index = (0.0, 0.0);
        for (place, (counts, profile)) in self.counts.iter().zip(&rule.profiles).enumerate() {
            let certain = psi_lower_bound(&profile.shares, counts, each);
            if certain >= self.index.0 {
                self.index = (certain, psi(&profile.shares, counts));
                self.worst = place;
            }
        }
        self.level = match self.index.0 {
            certain if certain > rule.alert => DriftLevel::Alert,
            certain if certain > rule.warn => DriftLevel::Warn,
            _ => DriftLevel::None,
        };
    }

    /// How far the inputs have moved, and the place of the feature that moved most.
    pub(in crate::rollout) fn level(&self) -> (DriftLevel, usize) {
        (self.level, self.worst)
    }

    pub(super) fn figures(&self) -> Figures {
        Figures { drift: Some(self.index), ..Figures::default() }
    }
}
