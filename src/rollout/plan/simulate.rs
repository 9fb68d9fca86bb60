//! Whole rollouts, played with a seed and the real analyzer.

use serde::{Deserialize, Serialize};

use super::{Assumptions, RATIOS};
use crate::rollout::analyzer::Analyzer;
use crate::rollout::checks::Traffic;
use crate::rollout::delta::Delta;
use crate::rollout::policy::{Analysis, CheckSpec, ErrorRate, OnInconclusive, Policy, Rule, Step};
use crate::rollout::time::{Millis, Timestamp};
use crate::rollout::verdict::{StepRule, Verdict, verdict};
use crate::stats::sequential::Arms;

/// Looks at each step: enough to be about as fast as the real thing, few enough to be played often.
const LOOKS: u64 = 2_000;
/// How long a step without a deadline is played, and how long a bake.
const LONGEST: Millis = Millis::hours(24);

/// How rollouts ended.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Played {
    /// The candidate's error rate as a multiple of the stable one's.
    pub ratio: f64,
    /// Rollouts that were played.
    pub runs: u32,
    /// Of these, those that passed all steps and the bake.
    pub passed: u32,
    /// Those that were rolled back.
    pub rolled_back: u32,
    /// Those that stopped without evidence.
    pub inconclusive: u32,
    /// Median of the candidate's requests at the rollback.
    pub requests_to_roll_back: Option<u64>,
    /// Median of the time to the rollback.
    pub time_to_roll_back: Option<Millis>,
    /// Median of the time to the end of the last step before the bake.
    pub time_to_pass: Option<Millis>,
}

enum End {
    Passed(Millis),
    RolledBack(u64, Millis),
    Inconclusive,
}

/// Plays `runs` rollouts for a candidate that is no worse and for each ratio.
pub(super) fn play(policy: &Policy, rule: &ErrorRate, alpha: f64, assumptions: &Assumptions) -> Vec<Played> {
    // The other checks see nothing here; what is left of alpha is theirs.
    let analysis = Analysis {
        alpha,
        checks: vec![CheckSpec::new("error-rate", 1.0, Rule::ErrorRate(rule.clone()))],
        segments: None,
        thresholds: Vec::new(),
        ..policy.analysis.clone()
    };
    let ratios = std::iter::once(1.0).chain(RATIOS).filter(|_| assumptions.runs > 0);
    ratios
        .map(|ratio| {
            let mut ends = Vec::new();
            for run in 0..assumptions.runs {
                let mut draw = Draw(assumptions.seed ^ (u64::from(run) << 32) ^ ratio.to_bits());
                ends.push(rollout(policy, &analysis, assumptions, ratio, &mut draw));
            }
            summary(ratio, assumptions.runs, &ends)
        })
        .collect()
}

fn rollout(
    policy: &Policy,
    analysis: &Analysis,
    assumptions: &Assumptions,
    ratio: f64,
    draw: &mut Draw,
) -> End {
    let mut analyzer = Analyzer::new(analysis);
    let (mut now, mut trial, mut passed) = (Timestamp(0), 0, None);
    for step in &policy.steps {
        let (weight_bp, longest) = match step {
            Step::SetWeight(rule) => {
                (rule.weight.basis_points(), rule.advance.max_duration.unwrap_or(LONGEST))
            }
            Step::Bake(bake) => {
                passed.get_or_insert(now.since(Timestamp(0)));
                (bake.holdback.rest().basis_points(), bake.duration.min(LONGEST))
            }
            Step::Shadow(_) | Step::Pause(_) => continue,
        };
        trial += 1;
        let rule = StepRule::of(Some(step), Traffic::Live);
        analyzer.begin_step(analysis, Traffic::Live, &rule.harm, trial);
        let began = now;
        let look = Millis((longest.0 / LOOKS).max(1));
        let end = loop {
            now = now.plus(look);
            let (weight, seconds) = (f64::from(weight_bp) / 10_000.0, look.as_seconds());
            let mean = Arms::new(1.0 - weight, weight);
            let requests = Arms::new(
                draw.poisson(mean.stable * assumptions.rps * seconds),
                draw.poisson(mean.candidate * assumptions.rps * seconds),
            );
            let errors = Arms::new(
                draw.share(requests.stable, assumptions.error_rate),
                draw.share(requests.candidate, (assumptions.error_rate * ratio).min(1.0)),
            );
            let delta = Delta { at: now, trial, weight_bp, requests, errors, ..Delta::default() };
            analyzer.observe(analysis, &delta);
            let elapsed = now.since(began);
            match verdict(&analyzer, analysis, &rule, elapsed, now) {
                Verdict::Hold if elapsed < longest => {}
                // A step without a deadline that was played for a day, or the end of a bake.
                Verdict::Hold if rule.by_evidence => break Verdict::Inconclusive,
                Verdict::Hold => break Verdict::Advance,
                Verdict::Incident(_) | Verdict::BrokenRandomisation if elapsed < longest => {}
                end => break end,
            }
        };
        match (end, rule.on_inconclusive) {
            (Verdict::Rollback(_), _) | (Verdict::Inconclusive, OnInconclusive::Rollback) => {
                return End::RolledBack(analyzer.requests().candidate, now.since(Timestamp(0)));
            }
            (Verdict::Advance, _) | (Verdict::Inconclusive, OnInconclusive::Advance) => {}
            _ => return End::Inconclusive,
        }
    }
    End::Passed(passed.unwrap_or(now.since(Timestamp(0))))
}

fn summary(ratio: f64, runs: u32, ends: &[End]) -> Played {
    let (mut passes, mut requests, mut times, mut inconclusive) = (Vec::new(), Vec::new(), Vec::new(), 0);
    for end in ends {
        match end {
            End::Passed(time) => passes.push(*time),
            End::RolledBack(after, time) => {
                requests.push(*after);
                times.push(*time);
            }
            End::Inconclusive => inconclusive += 1,
        }
    }
    let count = |ends: usize| u32::try_from(ends).unwrap_or(u32::MAX);
    Played {
        ratio,
        runs,
        passed: count(passes.len()),
        rolled_back: count(requests.len()),
        inconclusive,
        requests_to_roll_back: median(requests),
        time_to_roll_back: median(times),
        time_to_pass: median(passes),
    }
}

fn median<T: Ord + Copy>(mut values: Vec<T>) -> Option<T> {
    values.sort_unstable();
    values.get(values.len() / 2).copied()
}

/// Seeded draws: splitmix64 (Steele, Lea and Flood 2014), and what is made of it.
struct Draw(u64);

impl Draw {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// A Poisson number: by the product of uniforms for small means, by the normal for large ones.
    fn poisson(&mut self, mean: f64) -> u64 {
        if mean > 30.0 {
            let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
            let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
            return (mean + mean.sqrt() * normal).round().max(0.0) as u64;
        }
        let (limit, mut product, mut count) = ((-mean).exp(), self.unit(), 0);
        while product > limit {
            product *= self.unit();
            count += 1;
        }
        count
    }

    /// How many of `n` have an event of probability `p`.
    fn share(&mut self, n: u64, p: f64) -> u64 {
        if n <= 64 {
            return (0..n).map(|_| u64::from(self.unit() < p)).sum();
        }
        let rare = p <= 0.5;
        let drawn = self.poisson(n as f64 * if rare { p } else { 1.0 - p }).min(n);
        if rare { drawn } else { n - drawn }
    }
}
