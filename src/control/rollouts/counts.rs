//! From the trials' counters to what the decider is shown.
//!
//! Trials count durations of segments as histograms; the decider wants to know how many requests
//! were slow by thresholds that it moves from block to block. So what is new since the last look is
//! held against the thresholds of that look, and added up here.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ranks::Ranks;
use crate::rollout::counts::{ArmCounts, Durations, PairCounts, SegmentCounts, TrialCounts};
use crate::rollout::policy::Signal;
use crate::routing::overlay::LiveTrial;
use crate::stats::Snapshot;
use crate::stats::sequential::Arms;
use crate::stats::trial::{ArmSum, TrialSum};

/// Looks at one trial, again and again.
#[derive(Debug)]
pub(super) struct Gauge {
    live: LiveTrial,
    /// The candidate's share of the copies, in basis points.
    coin: u16,
    slow: BTreeMap<Arc<str>, Slow>,
    scores: Option<(String, Vec<Arms<u64>>)>,
}

/// Slow requests of one segment, as far as they were looked at.
#[derive(Debug, Default)]
struct Slow {
    seen: Arms<Snapshot>,
    count: Arms<u64>,
}

impl Gauge {
    /// Looks at `live`. `coin` is the candidate's share of the copies in basis points; `value` the
    /// policy's name of the prediction, where one is watched.
    pub(super) fn new(live: LiveTrial, coin: u16, value: Option<String>) -> Self {
        Self { live, coin, slow: BTreeMap::new(), scores: value.map(|value| (value, Vec::new())) }
    }

    /// Number of the trial.
    pub(super) fn number(&self) -> u32 {
        self.live.trial.number
    }

    /// What was counted so far. `edges` are the durations beyond which a request is slow for its
    /// segment; `ranks` ranks predictions.
    pub(super) fn look(&mut self, edges: Option<Arms<u64>>, ranks: &mut Ranks) -> TrialCounts {
        let sum = self.live.trial.sum();
        let pairs = self.live.pairs.sum();
        let segments = self.segments(&sum, edges);
        self.rank(ranks);
        TrialCounts {
            trial: self.number(),
            weight_bp: self.live.trial.share,
            arms: Arms::new(arm(&sum.arms.stable), arm(&sum.arms.candidate)),
            pairs: Arms::new(
                PairCounts {
                    sampled: sum.sampled.stable,
                    compared: pairs.compared.stable,
                    diverged: pairs.diverged.stable,
                },
                PairCounts {
                    sampled: sum.sampled.candidate,
                    compared: pairs.compared.candidate,
                    diverged: pairs.diverged.candidate,
                },
            ),
            coin_bp: self.coin,
            drops: BTreeMap::new(),
            segments,
            scores: self.scores.iter().cloned().collect(),
            inputs: self.live.inputs.as_ref().map(|inputs| inputs.counts()).unwrap_or_default(),
        }
    }

    fn segments(&mut self, sum: &TrialSum, edges: Option<Arms<u64>>) -> Vec<SegmentCounts> {
        let names = self.live.trial.segments.names();
        let mut counts: Vec<SegmentCounts> = Vec::new();
        for (number, name) in names.iter().enumerate() {
            let (compared, diverged) = self.live.pairs.segment(number);
            counts.push(SegmentCounts {
                name: name.to_string(),
                compared,
                diverged,
                ..SegmentCounts::default()
            });
        }
        for (name, arms) in &sum.segments {
            let slow = self.slow.entry(name.clone()).or_default();
            slow.look(arms, edges);
            // What is beyond the limit of segments counts in the whole only.
            if let Some(count) = counts.iter_mut().find(|count| *count.name == **name) {
                count.requests = Arms::new(arms.stable.requests, arms.candidate.requests);
                count.errors = Arms::new(arms.stable.errors, arms.candidate.errors);
                count.slow = slow.count;
            }
        }
        counts.retain(|count| count.requests.total() + count.compared.total() > 0);
        counts
    }

    fn rank(&mut self, ranks: &mut Ranks) {
        let (Some((_, bins)), Some(scores)) = (&mut self.scores, &self.live.scores) else { return };
        for (side, score) in scores.take() {
            ranks.add(side, score, bins);
        }
    }
}

impl Slow {
    fn look(&mut self, arms: &Arms<ArmSum>, edges: Option<Arms<u64>>) {
        let fresh = Arms::new(
            arms.stable.latency.since(&self.seen.stable),
            arms.candidate.latency.since(&self.seen.candidate),
        );
        self.seen = Arms::new(arms.stable.latency.clone(), arms.candidate.latency.clone());
        // Before there is a threshold nothing is slow, and nothing is made up for later.
        let Some(edges) = edges else { return };
        let above = |snapshot: &Snapshot, edge| snapshot.count().saturating_sub(snapshot.count_le(edge));
        self.count.stable += above(&fresh.stable, edges.stable);
        self.count.candidate += above(&fresh.candidate, edges.candidate);
    }
}

fn arm(sum: &ArmSum) -> ArmCounts {
    let durations = [
        (Signal::Latency, &sum.latency),
        (Signal::TimeToFirstToken, &sum.first_byte),
        (Signal::InterToken, &sum.gap),
    ];
    ArmCounts {
        assigned: sum.assigned,
        requests: sum.requests,
        errors: sum.errors,
        durations: durations
            .into_iter()
            .map(|(signal, snapshot)| (signal, Durations::from(snapshot)))
            .filter(|(_, durations)| durations.count() > 0)
            .collect(),
    }
}
