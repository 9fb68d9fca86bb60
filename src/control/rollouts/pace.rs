//! How many decisions there were, and how fast they are carried out.

use std::time::Instant;

use crate::rollout::record::Action;
use crate::stats::{Counter, Histogram, Snapshot};

/// Counts and durations of deciding. Written by the decider alone, read by anybody.
#[derive(Debug, Default)]
pub struct Pace {
    decision: Histogram,
    swap: Histogram,
    decisions: [Counter; Action::ALL.len()],
}

impl Pace {
    /// From the look that saw the decisive observation to the swapped table, in nanoseconds.
    pub fn decision(&self) -> Snapshot {
        self.decision.snapshot()
    }

    /// Making a table and putting it in place, in nanoseconds.
    pub fn swap(&self) -> Snapshot {
        self.swap.snapshot()
    }

    /// Decisions since the process began, by what was done.
    pub fn decisions(&self) -> impl Iterator<Item = (Action, u64)> + '_ {
        Action::ALL.into_iter().zip(self.decisions.iter().map(Counter::get))
    }

    /// A decision was made.
    pub(super) fn made(&self, action: Action) {
        let counters = Action::ALL.iter().zip(&self.decisions);
        counters.filter(|(each, _)| **each == action).for_each(|(_, counter)| counter.add(1));
    }

    /// A table that was decided on at a look that began then is in place now.
    pub(super) fn decided(&self, looked: Instant) {
        self.decision.record(nanos(looked));
    }

    /// A swap that began then is done now.
    pub(super) fn swapped(&self, began: Instant) {
        self.swap.record(nanos(began));
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
