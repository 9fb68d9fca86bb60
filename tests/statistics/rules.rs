//! The rules that are compared: when does each of them roll back?
//!
//! The rules of other tools are re-implementations of one metric each, and are helped a little: the
//! fixed limit lies half-way between healthy and harmed, and scraping takes no time.

use switchback::stats::sequential::{ArmTest, Arms};

use crate::mann_whitney::clearly_higher;
use crate::stream::Request;

/// One percent of false rollbacks, over the whole rollout.
pub const ALPHA: f64 = 0.01;

/// What happened so far.
#[derive(Debug, Clone, Copy, Default)]
pub struct Totals {
    /// Requests of both arms.
    pub requests: u64,
    /// Requests of the candidate.
    pub candidate: u64,
    /// Events in each arm.
    pub events: Arms<u64>,
}

/// A rule. It says yes when it rolls back.
pub trait Rule {
    /// The clock has come to this many requests; `totals` are those before.
    fn clock(&mut self, _at: u64, _totals: &Totals) -> bool {
        false
    }

    /// A request ended; `totals` include it.
    fn request(&mut self, _request: Request, _totals: &Totals) -> bool {
        false
    }
}

/// Switchback's arm test, handed every event.
pub struct Switchback {
    test: ArmTest,
    weight: f64,
}

impl Switchback {
    pub fn new(weight: f64) -> Self {
        Self { test: ArmTest::new(1.0), weight }
    }
}

impl Rule for Switchback {
    fn request(&mut self, request: Request, _: &Totals) -> bool {
        if !request.event {
            return false;
        }
        let (stable, candidate) = (u64::from(!request.candidate), u64::from(request.candidate));
        self.test.observe(self.weight, Arms::new(stable, candidate)) >= 1.0 / ALPHA
    }
}

/// Switchback's arm test, handed what was counted since the last tick.
pub struct Merged {
    test: ArmTest,
    weight: f64,
    every: Every,
    last: Arms<u64>,
}

impl Merged {
    pub fn new(weight: f64, requests_per_tick: u64) -> Self {
        Self { test: ArmTest::new(1.0), weight, every: Every::new(requests_per_tick), last: Arms::default() }
    }
}

impl Rule for Merged {
    fn clock(&mut self, at: u64, totals: &Totals) -> bool {
        let mut came = false;
        while self.every.came(at) {
            came = true;
        }
        if !came {
            return false;
        }
        let new = totals.events.since(self.last);
        self.last = totals.events;
        self.test.observe(self.weight, new) >= 1.0 / ALPHA
    }
}

/// Something that happens every so many requests.
struct Every {
    step: u64,
    next: u64,
}

impl Every {
    fn new(step: u64) -> Self {
        Self { step, next: step }
    }

    /// Whether a tick has passed; to be asked until it says no.
    fn came(&mut self, at: u64) -> bool {
        let came = at >= self.next;
        if came {
            self.next += self.step;
        }
        came
    }
}

/// Flagger's and Argo Rollouts' way: each interval is a pass or a fail against a fixed limit, and
/// so many fails (in all, not in a row) are a rollback.
pub struct Interval {
    every: Every,
    limit: f64,
    fails_left: u32,
    last: Totals,
}

impl Interval {
    pub fn new(seconds: u64, rps: u64, limit: f64, fails: u32) -> Self {
        Self { every: Every::new(seconds * rps), limit, fails_left: fails, last: Totals::default() }
    }
}

impl Rule for Interval {
    fn clock(&mut self, at: u64, totals: &Totals) -> bool {
        while self.every.came(at) {
            let requests = totals.candidate - self.last.candidate;
            let events = totals.events.since(self.last.events).candidate;
            self.last = *totals;
            // Without values Flagger's check fails as well.
            if requests == 0 || events as f64 > self.limit * requests as f64 {
                self.fails_left -= 1;
                if self.fails_left == 0 {
                    return true;
                }
            }
        }
        false
    }
}

/// Kayenta's way: points of a minute, compared by the Mann–Whitney test, from ten minutes on and
/// every five. No correction for looking again.
pub struct Kayenta {
    every: Every,
    last: Totals,
    points: Arms<Vec<f64>>,
}

impl Kayenta {
    pub fn new(rps: u64) -> Self {
        Self { every: Every::new(60 * rps), last: Totals::default(), points: Arms::default() }
    }
}

impl Rule for Kayenta {
    fn clock(&mut self, at: u64, totals: &Totals) -> bool {
        while self.every.came(at) {
            let events = totals.events.since(self.last.events);
            let candidate = (totals.candidate - self.last.candidate).max(1);
            let stable = (self.every.step - candidate.min(self.every.step)).max(1);
            self.last = *totals;
            self.points.candidate.push(events.candidate as f64 / candidate as f64);
            self.points.stable.push(events.stable as f64 / stable as f64);
            let minutes = self.points.stable.len();
            if minutes >= 10
                && minutes.is_multiple_of(5)
                && clearly_higher(&self.points.stable, &self.points.candidate)
            {
                return true;
            }
        }
        false
    }
}

/// The error rate of the last thousand requests of the candidate (from a hundred on) against the
/// limit.
pub struct Window {
    limit: f64,
    last: Vec<bool>,
    next: usize,
    events: usize,
}

impl Window {
    pub fn new(limit: f64) -> Self {
        Self { limit, last: Vec::with_capacity(1_000), next: 0, events: 0 }
    }
}

impl Rule for Window {
    fn request(&mut self, request: Request, _: &Totals) -> bool {
        if !request.candidate {
            return false;
        }
        if self.last.len() < 1_000 {
            self.last.push(request.event);
        } else {
            self.events -= usize::from(std::mem::replace(&mut self.last[self.next], request.event));
            self.next = (self.next + 1) % 1_000;
        }
        self.events += usize::from(request.event);
        self.last.len() >= 100 && self.events as f64 > self.limit * self.last.len() as f64
    }
}

/// The textbook's test of two rates at 1 %, one-sided, looked at after every request (from a hundred
/// of the candidate on).
pub struct PeekedZ;

impl Rule for PeekedZ {
    fn request(&mut self, request: Request, totals: &Totals) -> bool {
        const QUANTILE_OF_99_PERCENT: f64 = 2.326;
        if !request.candidate || totals.candidate < 100 || totals.candidate == totals.requests {
            return false;
        }
        let (n1, n0) = (totals.candidate as f64, (totals.requests - totals.candidate) as f64);
        let (x1, x0) = (totals.events.candidate as f64, totals.events.stable as f64);
        let pooled = (x1 + x0) / (n1 + n0);
        let error = (pooled * (1.0 - pooled) * (1.0 / n1 + 1.0 / n0)).sqrt();
        error > 0.0 && x1 / n1 - x0 / n0 > QUANTILE_OF_99_PERCENT * error
    }
}
