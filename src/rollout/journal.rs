//! What was seen since the last decision, so that its record can be recomputed.
//!
//! Bounded: when it is full, the older half is replaced by the evidence that it led to. A record
//! then begins with that evidence, as it does after a restart. Since each record ends where the next
//! begins, the records of a rollout make one chain.

use serde::{Deserialize, Serialize};

use super::analyzer::Analyzer;
use super::checks::Traffic;
use super::delta::Delta;
use super::policy::{Analysis, Harm};

/// Entries of each half.
const HALF: usize = 4_096;

/// Something that changed the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum Entry {
    /// A delta was taken.
    Delta(Box<Delta>),
    /// A step began.
    Step {
        /// Its traffic.
        traffic: Traffic,
        /// Its harm.
        harm: Harm,
        /// Its first trial.
        first_trial: u32,
    },
}

impl Entry {
    /// Lets it change the evidence.
    pub fn apply(&self, analyzer: &mut Analyzer, analysis: &Analysis) {
        match self {
            Self::Delta(delta) => analyzer.observe(analysis, delta),
            Self::Step { traffic, harm, first_trial } => {
                analyzer.begin_step(analysis, *traffic, harm, *first_trial);
            }
        }
    }
}

/// What was seen since the last decision.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Journal {
    older: Option<Half>,
    newer: Option<Half>,
}

#[derive(Debug, Clone, PartialEq)]
struct Half {
    base: Box<Analyzer>,
    entries: Vec<Entry>,
}

impl Journal {
    /// Writes an entry down, before it is applied to `analyzer`.
    pub(super) fn write(&mut self, analyzer: &Analyzer, entry: Entry) {
        let full = self.newer.as_ref().is_some_and(|half| half.entries.len() >= HALF);
        if full {
            self.older = self.newer.take();
        }
        let half =
            self.newer.get_or_insert_with(|| Half { base: Box::new(analyzer.clone()), entries: Vec::new() });
        half.entries.push(entry);
    }

    /// Evidence to begin with, and what came after it. `now` is the evidence as it stands.
    pub(super) fn read(&self, now: &Analyzer) -> (Analyzer, Vec<Entry>) {
        let halves = || self.older.iter().chain(&self.newer);
        let base = halves().next().map_or_else(|| now.clone(), |half| (*half.base).clone());
        (base, halves().flat_map(|half| half.entries.iter().cloned()).collect())
    }

    /// Begins anew, where the last record ended.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }
}
