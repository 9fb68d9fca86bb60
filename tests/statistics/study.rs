//! Many rollouts, several rules, in parallel; and what comes out of them.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Where a rule rolled back in one rollout.
#[derive(Debug, Clone, Copy)]
pub struct Fired {
    /// Candidate's requests since the harm began; negative where it had not.
    pub candidate: i64,
    /// All requests since then.
    pub requests: i64,
    /// The candidate's failed requests since then.
    pub failed: i64,
}

/// What one rule did in all rollouts.
#[derive(Debug, Clone, Default)]
pub struct Outcomes(pub Vec<Option<Fired>>);

impl Outcomes {
    /// The share of rollouts in which it rolled back at all.
    pub fn fired(&self) -> f64 {
        self.0.iter().flatten().count() as f64 / self.0.len() as f64
    }

    /// The share of rollouts in which it missed the harm.
    pub fn missed(&self) -> f64 {
        self.0.iter().filter(|f| f.is_none()).count() as f64 / self.0.len() as f64
    }

    /// The share in which it rolled back before there was harm.
    pub fn early(&self) -> f64 {
        self.0.iter().flatten().filter(|f| f.candidate < 0).count() as f64 / self.0.len() as f64
    }

    /// A quantile of something over the rollouts in which it did not fire early. A miss is infinity.
    pub fn quantile(&self, q: f64, of: impl Fn(&Fired) -> i64) -> f64 {
        self.between(q, 0.0, of).0
    }

    /// Between what the quantile lies, as far as this sample can tell: so many standard errors of
    /// the share below it to either side. Says nothing about the distribution.
    pub fn between(&self, q: f64, errors: f64, of: impl Fn(&Fired) -> i64) -> (f64, f64) {
        let hits = self.0.iter().filter(|f| f.is_none_or(|f| f.candidate >= 0));
        let mut values: Vec<f64> = hits.map(|f| f.as_ref().map_or(f64::INFINITY, |f| of(f) as f64)).collect();
        values.sort_by(f64::total_cmp);
        let runs = values.len();
        let error = errors * (q * (1.0 - q) / runs as f64).sqrt();
        let at = |q: f64| {
            let rank = ((q * runs as f64).ceil() as usize).clamp(1, runs.max(1));
            values.get(rank - 1).copied().unwrap_or(f64::INFINITY)
        };
        (at(q - error), at(q + error))
    }

    /// Mean number of the candidate's requests, and its standard error. A miss is infinity.
    pub fn mean(&self) -> (f64, f64) {
        let runs = self.0.len() as f64;
        let values = || self.0.iter().map(|f| f.map_or(f64::INFINITY, |f| f.candidate as f64));
        let mean = values().sum::<f64>() / runs;
        let variance = values().map(|x| (x - mean) * (x - mean)).sum::<f64>() / (runs - 1.0);
        (mean, (variance / runs).sqrt())
    }

    pub fn median(&self) -> f64 {
        self.quantile(0.5, |f| f.candidate)
    }

    pub fn p95(&self) -> f64 {
        self.quantile(0.95, |f| f.candidate)
    }
}

/// Runs `one` for every seed from 0 on, on all cores; results are in order of the seeds.
pub fn in_parallel<T: Send>(runs: usize, one: impl Fn(u64) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let threads = thread::available_parallelism().map_or(1, usize::from).min(runs.max(1));
    let mut results: Vec<(usize, T)> = thread::scope(|scope| {
        let work = || {
            let mut done = Vec::new();
            loop {
                let run = next.fetch_add(1, Ordering::Relaxed);
                if run >= runs {
                    return done;
                }
                done.push((run, one(run as u64)));
            }
        };
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|w| w.join().unwrap()).collect()
    });
    results.sort_by_key(|(run, _)| *run);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Turns results by rollout into results by rule.
pub fn by_rule(rollouts: Vec<Vec<Option<Fired>>>) -> Vec<Outcomes> {
    let rules = rollouts.first().map_or(0, Vec::len);
    (0..rules).map(|rule| Outcomes(rollouts.iter().map(|rollout| rollout[rule]).collect())).collect()
}
