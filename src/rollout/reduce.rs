//! From what was counted to what is new: counters become deltas.
//!
//! The reducer keeps the counters of the last look and takes differences. It also chooses the
//! thresholds for durations: quantiles of the stable arm's requests *before* the present block, so
//! that no request is judged by a threshold that it had a part in. Blocks grow from 200 to 20 000
//! requests, which follows a daily cycle and keeps early thresholds from waiting.
//!
//! A counter that falls within a run of the process (which nothing should do) starts a new base and
//! gives nothing: to count anything twice would break the bound on false rollbacks, to lose
//! something does not. A new run of the process counts from 0, and all of it is new.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counts::{Counts, Durations, PairCounts, TrialCounts};
use super::delta::{Delta, Edge, InputDelta, PairDelta, ScoreDelta, SegmentDelta, Slow};
use super::policy::{Analysis, Latency, MAX_SEGMENTS, Metric, Rule, Signal};
use super::time::Timestamp;
use crate::stats::sequential::{Arms, Exceedance};

/// Trials that are remembered. Late answers of older ones are lost.
const TRIALS: usize = 4;
/// Requests of the stable arm in the first block, and in the largest.
const BLOCKS: (u64, u64) = (200, 20_000);
/// Most bins of a score or an input.
const MAX_BINS: usize = 64;
/// The quantile beyond which a request counts as slow for its segment.
const SEGMENT_QUANTILE: f64 = 0.9;

/// Takes differences of counters.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Reducer {
    epoch: u64,
    previous: BTreeMap<u32, TrialCounts>,
    /// By signal, in the order of [`Signal::ALL`].
    blocks: BTreeMap<Signal, Block>,
    segments: Vec<String>,
}

/// Durations of the stable arm, cut into blocks.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Block {
    /// What thresholds are taken from: the block before this one.
    reference: Durations,
    /// This block so far.
    current: Durations,
    /// Requests after which the next block begins.
    length: u64,
}

impl Block {
    fn take(&mut self, durations: &Durations) {
        self.length = self.length.max(BLOCKS.0);
        self.current.merge(durations);
        if self.current.count() >= self.length {
            self.reference = std::mem::take(&mut self.current);
            self.length = self.length.saturating_mul(2).min(BLOCKS.1);
        }
    }

    /// The threshold of each arm at a quantile of the stable one.
    fn edges(&self, quantile: f64, rule: &Latency) -> Option<Arms<u64>> {
        let stable = self.reference.quantile(quantile)?;
        let slower = (stable as f64 * rule.tolerance.max(1.0)).ceil() as u64;
        let later = stable.saturating_add(rule.min_difference_nanos);
        Some(Arms::new(stable, edge_at_or_above(slower.max(later))))
    }
}

impl Reducer {
    /// A reducer that knows how long the stable version's requests took before the rollout, if
    /// that is known: latency is then judged from the first request on.
    pub fn new(baseline: &BTreeMap<Signal, Durations>) -> Self {
        let block = |reference: &Durations| Block { reference: reference.clone(), ..Block::default() };
        let blocks = baseline.iter().map(|(signal, durations)| (*signal, block(durations))).collect();
        Self { blocks, ..Self::default() }
    }

    /// The segments that were seen, in the order of their places in deltas.
    pub fn segments(&self) -> &[String] {
        &self.segments
    }

    /// The durations in nanoseconds beyond which whoever counts is to count a request as slow for
    /// its segment, by arm; nothing before enough is known.
    pub fn slow_edges(&self, analysis: &Analysis) -> Option<Arms<u64>> {
        let rule = analysis.checks.iter().find_map(|check| match &check.rule {
            Rule::Latency(rule) if rule.signal == Signal::Latency => Some(rule),
            _ => None,
        });
        self.blocks.get(&Signal::Latency)?.edges(SEGMENT_QUANTILE, rule?)
    }

    /// What is new in `counts`, by trial. Trials without anything new are left out.
    pub fn reduce(&mut self, analysis: &Analysis, counts: &Counts, now: Timestamp) -> Vec<Delta> {
        if counts.epoch != self.epoch {
            self.epoch = counts.epoch;
            self.previous.clear();
        }
        let mut trials: Vec<&TrialCounts> = counts.trials.iter().collect();
        trials.sort_by_key(|trial| trial.trial);
        let mut deltas = Vec::new();
        for trial in trials {
            let forgotten = self.previous.len() >= TRIALS
                && self.previous.first_key_value().is_some_and(|(oldest, _)| trial.trial < *oldest);
            if forgotten {
                continue;
            }
            let nothing = TrialCounts::default();
            let before = self.previous.get(&trial.trial).unwrap_or(&nothing);
            if before == trial {
                continue;
            }
            let fresh = since(trial, before);
            self.previous.insert(trial.trial, trial.clone());
            while self.previous.len() > TRIALS {
                self.previous.pop_first();
            }
            if let Some(fresh) = fresh {
                deltas.push(self.delta(analysis, &fresh, now));
            }
        }
        deltas.retain(|delta| {
            *delta != Delta { at: now, trial: delta.trial, weight_bp: delta.weight_bp, ..Delta::default() }
        });
        deltas
    }

    fn delta(&mut self, analysis: &Analysis, fresh: &TrialCounts, now: Timestamp) -> Delta {
        let arms = |of: fn(&super::counts::ArmCounts) -> u64| {
            Arms::new(of(&fresh.arms.stable), of(&fresh.arms.candidate))
        };
        let mut delta = Delta {
            at: now,
            trial: fresh.trial,
            weight_bp: fresh.weight_bp,
            assigned: arms(|arm| arm.assigned),
            requests: arms(|arm| arm.requests),
            // Of a user who was counted before, an error comes without a request.
            errors: arms(|arm| arm.errors),
            slow: self.slow(analysis, fresh),
            pairs: pairs(fresh),
            segments: self.segment_deltas(analysis, fresh),
            ..Delta::default()
        };
        for (at, check) in (0..).zip(&analysis.checks) {
            match &check.rule {
                Rule::Prediction(rule) => {
                    let bins = fresh.scores.get(&rule.value).into_iter().flatten().take(MAX_BINS);
                    let bins: Vec<_> = bins.copied().collect();
                    if bins.iter().any(|bin| bin.total() > 0) {
                        delta.scores.push(ScoreDelta { check: at, bins });
                    }
                }
                Rule::Drift(rule) => {
                    for (profile, reference) in (0..).zip(&rule.profiles) {
                        let bins = fresh.inputs.get(&reference.feature).into_iter().flatten();
                        let bins: Vec<_> = bins.take(MAX_BINS).copied().collect();
                        if bins.iter().any(|n| *n > 0) {
                            delta.inputs.push(InputDelta { check: at, profile, bins });
                        }
                    }
                }
                Rule::ErrorRate(_) | Rule::Latency(_) | Rule::Divergence(_) => {}
            }
        }
        delta
    }

    /// Durations beside every threshold that the analysis asks for. Afterwards the stable arm's
    /// become part of their block: never before, or they would choose their own threshold.
    fn slow(&mut self, analysis: &Analysis, fresh: &TrialCounts) -> Vec<Slow> {
        let nothing = Durations::default();
        let of =
            |arm: &super::counts::ArmCounts, signal| arm.durations.get(&signal).cloned().unwrap_or_default();
        let mut found = Vec::new();
        for signal in Signal::ALL {
            let durations = Arms::new(of(&fresh.arms.stable, signal), of(&fresh.arms.candidate, signal));
            if durations.stable == nothing && durations.candidate == nothing {
                continue;
            }
            let mut push = |edge, nanos: Arms<u64>| {
                let above = Arms::new(
                    durations.stable.above(nanos.stable),
                    durations.candidate.above(nanos.candidate),
                );
                let all = Arms::new(durations.stable.count(), durations.candidate.count());
                found.push(Slow { edge, nanos, counts: Exceedance { above, below: all.since(above) } });
            };
            for (at, check) in (0..).zip(&analysis.checks) {
                let Rule::Latency(rule) = &check.rule else { continue };
                if rule.signal != signal {
                    continue;
                }
                for (place, quantile) in (0..).zip(&rule.quantiles) {
                    let block = self.blocks.get(&signal);
                    if let Some(edges) = block.and_then(|block| block.edges(*quantile, rule)) {
                        push(Edge::Tail(at, place), edges);
                    }
                }
                if let Some(bound) = rule.absolute {
                    let edge = edge_at_or_above(bound.max_nanos);
                    push(Edge::Bound(at), Arms::new(edge, edge));
                }
            }
            for (at, threshold) in (0..).zip(&analysis.thresholds) {
                if let Metric::Quantile { signal: wanted, .. } = threshold.metric {
                    let nanos = threshold.max.unwrap_or(0.0) * 1e9;
                    let edge = edge_at_or_above(nanos as u64);
                    if wanted == signal {
                        push(Edge::Threshold(at), Arms::new(edge, edge));
                    }
                }
            }
            self.blocks.entry(signal).or_default().take(&durations.stable);
        }
        found
    }

    fn segment_deltas(&mut self, analysis: &Analysis, fresh: &TrialCounts) -> Vec<SegmentDelta> {
        let most = analysis.segments.as_ref().map_or(0, |segments| segments.max.min(MAX_SEGMENTS));
        let mut deltas = Vec::new();
        for counts in &fresh.segments {
            let known = self.segments.iter().position(|name| *name == counts.name);
            let place = known.or_else(|| {
                let room = self.segments.len() < most;
                room.then(|| self.segments.push(counts.name.clone()))?;
                Some(self.segments.len() - 1)
            });
            let Some(segment) = place.and_then(|place| u16::try_from(place).ok()) else { continue };
            deltas.push(SegmentDelta {
                segment,
                requests: counts.requests,
                errors: counts.errors,
                slow: least(counts.slow, counts.requests),
                compared: counts.compared,
                diverged: least(counts.diverged, counts.compared),
            });
        }
        deltas
    }
}

fn pairs(fresh: &TrialCounts) -> Option<PairDelta> {
    let of = |f: fn(&PairCounts) -> u64| Arms::new(f(&fresh.pairs.stable), f(&fresh.pairs.candidate));
    let (sampled, compared) = (of(|side| side.sampled), of(|side| side.compared));
    let diverged = least(of(|side| side.diverged), compared);
    let pairs = PairDelta { coin_bp: fresh.coin_bp, sampled, compared, diverged };
    (sampled.total() > 0 || compared.total() > 0).then_some(pairs)
}

fn least(a: Arms<u64>, b: Arms<u64>) -> Arms<u64> {
    Arms::new(a.stable.min(b.stable), a.candidate.min(b.candidate))
}

/// The next edge of a histogram at or above this duration: edges are the decimals of two digits.
fn edge_at_or_above(nanos: u64) -> u64 {
    if nanos <= 1_000 {
        return 1_000;
    }
    let width = 10_u64.saturating_pow(nanos.ilog10().saturating_sub(1));
    nanos.div_ceil(width).saturating_mul(width)
}

/// Everything that was counted after `before`; nothing if any counter fell.
fn since(now: &TrialCounts, before: &TrialCounts) -> Option<TrialCounts> {
    let arms = |now: Arms<u64>, before: Arms<u64>| {
        Some(Arms::new(now.stable.checked_sub(before.stable)?, now.candidate.checked_sub(before.candidate)?))
    };
    let arm = |now: &super::counts::ArmCounts, before: &super::counts::ArmCounts| {
        let mut durations = BTreeMap::new();
        for (signal, counted) in &now.durations {
            let nothing = Durations::default();
            durations.insert(*signal, counted.since(before.durations.get(signal).unwrap_or(&nothing))?);
        }
        Some(super::counts::ArmCounts {
            assigned: now.assigned.checked_sub(before.assigned)?,
            requests: now.requests.checked_sub(before.requests)?,
            errors: now.errors.checked_sub(before.errors)?,
            durations,
        })
    };
    let pair = |now: &PairCounts, before: &PairCounts| {
        Some(PairCounts {
            sampled: now.sampled.checked_sub(before.sampled)?,
            compared: now.compared.checked_sub(before.compared)?,
            diverged: now.diverged.checked_sub(before.diverged)?,
        })
    };
    let mut fresh = TrialCounts {
        trial: now.trial,
        weight_bp: now.weight_bp,
        coin_bp: now.coin_bp,
        arms: Arms::new(
            arm(&now.arms.stable, &before.arms.stable)?,
            arm(&now.arms.candidate, &before.arms.candidate)?,
        ),
        pairs: Arms::new(
            pair(&now.pairs.stable, &before.pairs.stable)?,
            pair(&now.pairs.candidate, &before.pairs.candidate)?,
        ),
        ..TrialCounts::default()
    };
    for segment in &now.segments {
        let nothing = super::counts::SegmentCounts::default();
        let then = before.segments.iter().find(|then| then.name == segment.name).unwrap_or(&nothing);
        fresh.segments.push(super::counts::SegmentCounts {
            name: segment.name.clone(),
            requests: arms(segment.requests, then.requests)?,
            errors: arms(segment.errors, then.errors)?,
            slow: arms(segment.slow, then.slow)?,
            compared: arms(segment.compared, then.compared)?,
            diverged: arms(segment.diverged, then.diverged)?,
        });
    }
    for (name, bins) in &now.scores {
        let then = before.scores.get(name).map_or(&[] as &[_], Vec::as_slice);
        let pairs =
            bins.iter().enumerate().map(|(at, bin)| arms(*bin, then.get(at).copied().unwrap_or_default()));
        fresh.scores.insert(name.clone(), pairs.collect::<Option<_>>()?);
    }
    for (name, bins) in &now.inputs {
        let then = before.inputs.get(name).map_or(&[] as &[_], Vec::as_slice);
        let rest = bins.iter().enumerate().map(|(at, n)| n.checked_sub(then.get(at).copied().unwrap_or(0)));
        fresh.inputs.insert(name.clone(), rest.collect::<Option<_>>()?);
    }
    Some(fresh)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::edge_at_or_above;
    use crate::stats::Snapshot;

    proptest! {
        /// Rounded up, so never against the candidate, by no more than a bucket, and to where counts of
        /// histograms are exact.
        #[test]
        fn a_threshold_is_the_next_edge_of_a_histogram(nanos in 1..900_000_000_000u64) {
            let edge = edge_at_or_above(nanos);
            prop_assert!(Snapshot::is_edge(edge), "{nanos} {edge}");
            prop_assert!(edge >= nanos && edge as f64 <= (nanos as f64 * 1.101).max(1_000.0), "{nanos} {edge}");
            prop_assert_eq!(edge_at_or_above(edge), edge);
        }
    }
}
