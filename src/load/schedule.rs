//! When each request is meant to leave: pure, seeded, and known before the first one does.
//!
//! A [`Profile`] says how many requests should have left at any time; its rate is constant or moves
//! in straight lines. Arrivals of rate one (evenly spaced, or a Poisson process) are laid through
//! the inverse of that, which gives ramps and stages of either kind with one piece of arithmetic. A
//! recorded trace is replayed as it is. A [`Schedule`] can be walked by several threads: each takes
//! every n-th request of the same plan, so the plan does not depend on how many there are.

use std::sync::Arc;
use std::time::Duration;

use super::random::{Purpose, unit};

/// A stretch of time in which the rate moves in a straight line.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stage {
    /// Requests per second at its beginning.
    pub from: f64,
    /// Requests per second at its end.
    pub to: f64,
    /// How long it is.
    pub duration: Duration,
}

/// Stages one after the other.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profile {
    segments: Vec<Segment>,
    seconds: f64,
    requests: f64,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Segment {
    start: f64,
    seconds: f64,
    from: f64,
    to: f64,
    /// Requests that should have left before it.
    before: f64,
    /// Requests in it.
    requests: f64,
}

impl Segment {
    /// When, within the segment, `requests` of its own should have left.
    fn time_of(&self, requests: f64) -> f64 {
        let slope = if self.seconds > 0.0 { (self.to - self.from) / self.seconds } else { 0.0 };
        // The root of `from·t + slope·t²/2 = requests` that does not lose digits when the slope is
        // small.
        let root = (self.from * self.from + 2.0 * slope * requests).max(0.0).sqrt();
        let sum = self.from + root;
        let time = if sum > 0.0 { 2.0 * requests / sum } else { 0.0 };
        time.clamp(0.0, self.seconds)
    }
}

impl Profile {
    /// The profile of these stages. Rates below zero or not finite count as zero.
    pub fn new(stages: &[Stage]) -> Self {
        let mut profile = Self::default();
        for stage in stages {
            let good = |rate: f64| if rate.is_finite() { rate.max(0.0) } else { 0.0 };
            let (from, to) = (good(stage.from), good(stage.to));
            let seconds = stage.duration.as_secs_f64();
            let requests = 0.5 * (from + to) * seconds;
            let (start, before) = (profile.seconds, profile.requests);
            profile.segments.push(Segment { start, seconds, from, to, before, requests });
            profile.seconds += seconds;
            profile.requests += requests;
        }
        profile
    }

    /// How long it is.
    pub fn duration(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }

    /// How many requests it holds, on average.
    pub fn requests(&self) -> f64 {
        self.requests
    }

    /// The rate at `seconds` from the beginning, in requests per second; 0 outside.
    pub fn rate_at(&self, seconds: f64) -> f64 {
        let within = |s: &&Segment| seconds >= s.start && seconds < s.start + s.seconds;
        self.segments.iter().find(within).map_or(0.0, |s| {
            let share = if s.seconds > 0.0 { (seconds - s.start) / s.seconds } else { 0.0 };
            s.from + (s.to - s.from) * share
        })
    }

    /// The highest rate.
    pub fn highest_rate(&self) -> f64 {
        self.segments.iter().fold(0.0, |most, s| most.max(s.from).max(s.to))
    }

    /// When `requests` should have left, in seconds; `from` is a segment at or before it, and is
    /// moved on. None when the profile holds fewer.
    fn time_of(&self, requests: f64, from: &mut usize) -> Option<f64> {
        loop {
            let segment = self.segments.get(*from)?;
            if requests < segment.before + segment.requests {
                return Some(segment.start + segment.time_of(requests - segment.before));
            }
            *from += 1;
        }
    }
}

/// How arrivals are spread.
#[derive(Debug, Clone, PartialEq)]
pub enum Arrivals {
    /// Evenly, as the profile says.
    Constant,
    /// As independent clients send: a Poisson process with the profile's rate.
    Poisson,
    /// At these times since the beginning, which rise. The profile's rates are not used.
    Trace(Arc<[Duration]>),
}

/// A request that is meant to leave.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// Its number in the plan, from 0.
    pub index: u64,
    /// When it leaves, from the beginning of the run.
    pub at: Duration,
}

/// The plan of a run.
#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    /// How fast.
    pub profile: Profile,
    /// How spread.
    pub arrivals: Arrivals,
    /// Everything random follows from it.
    pub seed: u64,
}

impl Schedule {
    /// How long the plan is.
    pub fn duration(&self) -> Duration {
        match &self.arrivals {
            Arrivals::Trace(times) => times.last().copied().unwrap_or_default(),
            Arrivals::Constant | Arrivals::Poisson => self.profile.duration(),
        }
    }

    /// How many requests the plan holds, on average.
    pub fn requests(&self) -> f64 {
        match &self.arrivals {
            Arrivals::Trace(times) => times.len() as f64,
            Arrivals::Constant | Arrivals::Poisson => self.profile.requests(),
        }
    }

    /// Every `of`-th request, beginning with number `part`.
    pub fn part(&self, part: u64, of: u64) -> Part<'_> {
        Part { schedule: self, next: 0, passed: 0.0, segment: 0, part, of: of.max(1) }
    }
}

/// A walk through one thread's part of a plan.
#[derive(Debug, Clone)]
pub struct Part<'a> {
    schedule: &'a Schedule,
    next: u64,
    /// Time in which the arrivals have rate one.
    passed: f64,
    segment: usize,
    part: u64,
    of: u64,
}

impl Part<'_> {
    fn any(&mut self) -> Option<Due> {
        let index = self.next;
        let Schedule { profile, arrivals, seed } = self.schedule;
        let at = match arrivals {
            Arrivals::Trace(times) => *times.get(usize::try_from(index).ok()?)?,
            Arrivals::Constant => {
                self.passed = index as f64 + 0.5;
                Duration::from_secs_f64(profile.time_of(self.passed, &mut self.segment)?)
            }
            Arrivals::Poisson => {
                self.passed -= (1.0 - unit(*seed, Purpose::Gap, index)).ln();
                Duration::from_secs_f64(profile.time_of(self.passed, &mut self.segment)?)
            }
        };
        self.next += 1;
        Some(Due { index, at })
    }
}

impl Iterator for Part<'_> {
    type Item = Due;

    fn next(&mut self) -> Option<Due> {
        loop {
            let due = self.any()?;
            if due.index % self.of == self.part {
                return Some(due);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn stage(from: f64, to: f64, seconds: u64) -> Stage {
        Stage { from, to, duration: Duration::from_secs(seconds) }
    }

    fn plan(stages: &[Stage], arrivals: Arrivals, seed: u64) -> Schedule {
        Schedule { profile: Profile::new(stages), arrivals, seed }
    }

    fn times(schedule: &Schedule) -> Vec<f64> {
        schedule.part(0, 1).map(|due| due.at.as_secs_f64()).collect()
    }

    #[test]
    fn constant_arrivals_are_evenly_spaced_and_as_many_as_the_rate_says() {
        let times = times(&plan(&[stage(200.0, 200.0, 3)], Arrivals::Constant, 1));
        assert_eq!(times.len(), 600);
        assert!(times.windows(2).all(|w| (w[1] - w[0] - 0.005).abs() < 1e-6));
    }

    #[test]
    fn a_ramp_sends_as_many_requests_as_lie_under_its_line() {
        let schedule = plan(
            &[stage(0.0, 100.0, 10), stage(100.0, 100.0, 5), stage(100.0, 0.0, 10)],
            Arrivals::Constant,
            1,
        );
        let times = times(&schedule);
        assert_eq!(times.len(), 1500);
        // Under the first half of a ramp from 0 lies a quarter of it.
        assert_eq!(times.iter().filter(|t| **t < 5.0).count(), 125);
        assert_eq!(times.iter().filter(|t| (10.0..15.0).contains(*t)).count(), 500);
        assert_eq!(schedule.profile.rate_at(5.0), 50.0);
        assert_eq!(schedule.profile.rate_at(99.0), 0.0);
    }

    #[test]
    fn poisson_gaps_are_exponential() {
        let times = times(&plan(&[stage(1000.0, 1000.0, 60)], Arrivals::Poisson, 42));
        let n = times.len() as f64;
        assert!((n - 60_000.0).abs() < 4.0 * 60_000f64.sqrt(), "{n}");
        let gaps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
        let mean = gaps.iter().sum::<f64>() / gaps.len() as f64;
        let variance = gaps.iter().map(|g| (g - mean).powi(2)).sum::<f64>() / gaps.len() as f64;
        // An exponential has as much deviation as mean, and e⁻² of it lies beyond twice the mean.
        assert!((variance.sqrt() / mean - 1.0).abs() < 0.03);
        let beyond = gaps.iter().filter(|g| **g > 2.0 * mean).count() as f64 / gaps.len() as f64;
        assert!((beyond - (-2.0f64).exp()).abs() < 0.01, "{beyond}");
    }

    #[test]
    fn a_trace_is_replayed_as_it_is() {
        let at = [3, 5, 5, 40].map(Duration::from_millis);
        let schedule = plan(&[], Arrivals::Trace(at.into()), 1);
        assert_eq!(schedule.part(0, 1).map(|due| due.at).collect::<Vec<_>>(), at);
        assert_eq!((schedule.requests(), schedule.duration()), (4.0, Duration::from_millis(40)));
    }

    proptest! {
        #[test]
        fn a_seed_reproduces_the_plan_for_any_number_of_threads(
            seed: u64, threads in 1u64..8, from in 0.0..300.0f64, to in 0.0..300.0f64, poisson: bool
        ) {
            let arrivals = if poisson { Arrivals::Poisson } else { Arrivals::Constant };
            let schedule = plan(&[stage(from, to, 3)], arrivals, seed);
            let alone: Vec<Due> = schedule.part(0, 1).collect();
            let mut together: Vec<Due> = (0..threads).flat_map(|t| schedule.part(t, threads)).collect();
            together.sort_by_key(|due| due.index);
            prop_assert_eq!(&alone, &together);
            prop_assert!(alone.windows(2).all(|w| w[0].at <= w[1].at));
            prop_assert!(alone.iter().all(|due| due.at <= schedule.duration()));
        }
    }
}
