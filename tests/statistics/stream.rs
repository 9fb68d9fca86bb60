//! The traffic of a rollout: whose request failed, at what moment.
//!
//! Only the requests that some rule looks at are drawn: those of the canary and the failed ones of
//! stable. The gaps between them are geometric, and varying rates are made by thinning.

use std::f64::consts::TAU;

use crate::random::Draws;

/// How much worse the candidate is, and from when on.
#[derive(Debug, Clone, Copy)]
pub enum Harm {
    /// Not at all.
    None,
    /// Its rate is this many times the stable one's.
    Always(f64),
    /// The same from this part of the rollout on.
    From(f64, f64),
    /// Growing linearly up to this at the end, from this part of the rollout on.
    Leak(f64, f64),
}

impl Harm {
    /// The part of the rollout at which the harm begins.
    pub fn begins(self) -> f64 {
        match self {
            Self::None | Self::Always(_) => 0.0,
            Self::From(_, from) | Self::Leak(_, from) => from,
        }
    }

    fn ratio(self, x: f64) -> f64 {
        match self {
            Self::None => 1.0,
            Self::Always(ratio) => ratio,
            Self::From(ratio, from) => {
                if x >= from {
                    ratio
                } else {
                    1.0
                }
            }
            Self::Leak(ratio, from) => 1.0 + (ratio - 1.0) * ((x - from) / (1.0 - from)).max(0.0),
        }
    }
}

/// An incident that strikes both arms: from, to (parts of the rollout), times the usual rate.
pub type Incident = (f64, f64, f64);

/// What happens in a rollout.
#[derive(Debug, Clone, Copy)]
pub struct Scenario {
    /// The candidate's share of the draws.
    pub weight: f64,
    /// Requests (of both arms), at most.
    pub requests: u64,
    /// The usual event rate of the stable arm.
    pub rate: f64,
    /// How much of it the daily cycle takes and gives; the rollout is one day.
    pub cycle: f64,
    /// Strikes both arms.
    pub incident: Option<Incident>,
    /// Strikes the candidate.
    pub harm: Harm,
}

impl Scenario {
    /// No harm, 5 % of a million requests.
    pub fn steady(rate: f64) -> Self {
        Self { weight: 0.05, requests: 1_000_000, rate, cycle: 0.0, incident: None, harm: Harm::None }
    }

    fn stable_rate(&self, x: f64) -> f64 {
        let incident = self.incident.filter(|(from, to, _)| (*from..*to).contains(&x)).map_or(1.0, |i| i.2);
        (self.rate * (1.0 + self.cycle * (TAU * x).sin()) * incident).min(1.0)
    }

    fn highest_rate(&self) -> f64 {
        (self.rate * (1.0 + self.cycle) * self.incident.map_or(1.0, |i| i.2.max(1.0))).min(1.0)
    }

    /// The request with which the harm begins.
    pub fn harm_begins(&self) -> u64 {
        (self.harm.begins() * self.requests as f64) as u64
    }
}

/// A request that matters.
#[derive(Debug, Clone, Copy)]
pub struct Request {
    /// How many came before it, of both arms.
    pub at: u64,
    /// Whether it is the candidate's.
    pub candidate: bool,
    /// Whether it failed. One of the stable arm always did.
    pub event: bool,
}

/// The requests of one rollout that matter, in order.
pub struct Stream<'a> {
    scenario: &'a Scenario,
    draws: Draws,
    at: u64,
    visit: f64,
    ln_pass: f64,
    highest: f64,
}

impl<'a> Stream<'a> {
    pub fn new(scenario: &'a Scenario, seed: u64) -> Self {
        let highest = scenario.highest_rate();
        let visit = scenario.weight + (1.0 - scenario.weight) * highest;
        Self { scenario, draws: Draws::new(seed), at: 0, visit, ln_pass: (1.0 - visit).ln(), highest }
    }
}

impl Iterator for Stream<'_> {
    type Item = Request;

    fn next(&mut self) -> Option<Request> {
        let s = self.scenario;
        loop {
            self.at += self.draws.failures_before_success(self.ln_pass);
            if self.at >= s.requests {
                return None;
            }
            let at = self.at;
            self.at += 1;
            let x = at as f64 / s.requests as f64;
            let stable_rate = s.stable_rate(x);
            if self.draws.chance(s.weight / self.visit) {
                let event = self.draws.chance(stable_rate * s.harm.ratio(x));
                return Some(Request { at, candidate: true, event });
            }
            if self.draws.chance(stable_rate / self.highest) {
                return Some(Request { at, candidate: false, event: true });
            }
        }
    }
}
