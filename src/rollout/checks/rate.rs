//! Events among requests, by arm: what errors, slow requests and diverging answers have in common.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::rollout::policy::RelativeRate;
use crate::stats::sequential::{
    ArmTest, Arms, Interval, RateTest, WeightStep, e_benjamini_hochberg, rate_interval, ratio_interval,
    with_segments,
};

use super::{INTERVAL_ALPHA, Scene, Withheld};

/// Requests of the stable arm without which it is not said to break a limit as well.
const SHARED_REQUESTS: u64 = 20;
/// With fewer, its events must be rarer than this for a rate that keeps the limit.
const FEW_ALPHA: f64 = 0.01;
/// Weights that totals are kept for; later ones are added to the nearest earlier one.
const WEIGHTS: usize = 32;

/// Events among requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Tally {
    /// Requests with the event.
    pub events: Arms<u64>,
    /// All requests.
    pub requests: Arms<u64>,
}

impl Tally {
    /// Adds another one.
    pub(super) fn add(&mut self, other: Self) {
        self.events = self.events.plus(other.events);
        self.requests = self.requests.plus(other.requests);
    }

    /// Whether it holds nothing at all.
    pub(super) fn is_empty(&self) -> bool {
        self.requests.total() == 0 && self.events.total() == 0
    }

    /// The share of requests with the event, by arm: 0 without requests.
    pub fn rates(&self) -> Arms<f64> {
        let rate =
            |events: u64, requests: u64| if requests == 0 { 0.0 } else { events as f64 / requests as f64 };
        Arms::new(
            rate(self.events.stable, self.requests.stable),
            rate(self.events.candidate, self.requests.candidate),
        )
    }

    /// The candidate's rate as a multiple of the stable one's, where there is something to divide by.
    pub fn ratio(&self) -> Option<f64> {
        let rates = self.rates();
        (rates.stable > 0.0).then(|| rates.candidate / rates.stable)
    }

    /// Requests without the event.
    pub(super) fn others(&self) -> Arms<u64> {
        self.requests.since(self.events)
    }
}

/// Totals by weight, for intervals.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Totals(BTreeMap<u16, Tally>);

impl Totals {
    pub(super) fn add(&mut self, weight_bp: u16, tally: Tally) {
        let nearest =
            self.0.range(..=weight_bp).next_back().or(self.0.first_key_value()).map(|(key, _)| *key);
        let key = match nearest {
            Some(nearest) if self.0.len() >= WEIGHTS && !self.0.contains_key(&weight_bp) => nearest,
            _ => weight_bp,
        };
        self.0.entry(key).or_default().add(tally);
    }

    pub(super) fn sum(&self) -> Tally {
        let mut sum = Tally::default();
        self.0.values().for_each(|tally| sum.add(*tally));
        sum
    }

    pub(super) fn ratio(&self) -> Interval {
        let step = |(weight, tally): (&u16, &Tally)| WeightStep {
            weight: f64::from(*weight) / 10_000.0,
            events: tally.events,
        };
        ratio_interval(&self.0.iter().map(step).collect::<Vec<_>>(), INTERVAL_ALPHA)
    }

    pub(super) fn rates(&self) -> (Interval, Interval) {
        let sum = self.sum();
        let of = |events, requests| rate_interval(events, requests, INTERVAL_ALPHA);
        (of(sum.events.stable, sum.requests.stable), of(sum.events.candidate, sum.requests.candidate))
    }
}

/// A rate against the stable arm's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Relative {
    test: ArmTest,
    /// Since the evidence was last below where it began: what it was gathered from, also when the
    /// harm began after a long good time.
    stretch: Tally,
}

impl Relative {
    pub(super) fn new(tolerance: f64) -> Self {
        Self { test: ArmTest::new(tolerance), stretch: Tally::default() }
    }

    pub(super) fn observe(&mut self, weight: f64, tally: Tally) {
        if self.test.observe(weight, tally.events) < 1.0 {
            self.stretch = Tally::default();
        } else {
            self.stretch.add(tally);
        }
    }

    pub(super) fn e_value(&self) -> f64 {
        self.test.e_value()
    }

    pub(super) fn stretch(&self) -> Tally {
        self.stretch
    }

    /// Whether what was observed is too little to act on, whatever the evidence.
    pub(super) fn small(&self, rule: &RelativeRate) -> bool {
        let below = self.stretch.ratio().is_some_and(|ratio| ratio < rule.min_effect);
        below || self.stretch.rates().candidate < rule.min_rate
    }

    fn counted(&self, rule: &RelativeRate) -> f64 {
        if self.small(rule) { 0.0 } else { self.e_value() }
    }
}

/// The same test for each segment.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct BySegment(BTreeMap<u16, Relative>);

impl BySegment {
    pub(super) fn observe(
        &mut self,
        scene: &Scene<'_>,
        segment: u16,
        weight: f64,
        tolerance: f64,
        tally: Tally,
    ) {
        if usize::from(segment) < scene.slots() && !tally.is_empty() {
            self.0.entry(segment).or_insert_with(|| Relative::new(tolerance)).observe(weight, tally);
        }
    }

    /// The evidence of the whole and of the segments, half each, and whether all of it is withheld
    /// for being too small an effect.
    pub(super) fn combine(
        &self,
        scene: &Scene<'_>,
        whole: &Relative,
        rule: &RelativeRate,
    ) -> (f64, Option<Withheld>) {
        if scene.slots() == 0 {
            return (whole.e_value(), whole.small(rule).then_some(Withheld::SmallEffect));
        }
        let segments = self.0.values().map(|segment| segment.counted(rule));
        (with_segments(whole.counted(rule), segments, scene.slots()), None)
    }

    /// The e-values alone, to be combined with something else than a rate's.
    pub(super) fn e_values(&self) -> impl Iterator<Item = f64> + '_ {
        self.0.values().map(Relative::e_value)
    }

    /// The segments that are worse, so that few of those named are named wrongly.
    pub(super) fn guilty(&self, scene: &Scene<'_>) -> Vec<u16> {
        // Segments that were not seen stand at 1: e-BH divides by all that there may be.
        let mut e_values = vec![1.0; scene.slots()];
        for (place, segment) in &self.0 {
            if let Some(slot) = e_values.get_mut(usize::from(*place)) {
                *slot = segment.e_value();
            }
        }
        let named = e_benjamini_hochberg(&e_values, scene.analysis.alpha.max(INTERVAL_ALPHA));
        named.into_iter().filter_map(|place| u16::try_from(place).ok()).collect()
    }
}

/// A rate against a limit that does not move. The stable arm is held against it as well: if that is
/// in breach too, a rollback would not help.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Absolute {
    max: f64,
    test: RateTest,
    stretch: Tally,
    incident: bool,
}

impl Absolute {
    pub(super) fn new(max: f64) -> Self {
        Self { max, test: RateTest::new(max), stretch: Tally::default(), incident: false }
    }

    /// Takes counts. `bar` is the e-value that would roll back alone.
    pub(super) fn observe(&mut self, tally: Tally, bar: f64) {
        let e_value = self.test.observe(tally.events.candidate, tally.others().candidate);
        self.stretch.add(tally);
        let over = self.incident
            && self.stretch.requests.stable >= SHARED_REQUESTS
            && self.stretch.rates().stable <= self.max;
        if e_value >= bar && self.shared() {
            self.incident = true;
            self.restart();
        } else if over {
            self.incident = false;
            self.restart();
        } else if e_value < 1.0 {
            self.stretch = Tally::default();
        }
    }

    /// Gives up the evidence, which is always allowed: that of an incident must not strike the
    /// candidate when the incident is over.
    fn restart(&mut self) {
        self.test = RateTest::new(self.max);
        self.stretch = Tally::default();
    }

    /// Whether the stable arm broke the limit while the evidence against the candidate grew.
    fn shared(&self) -> bool {
        let (events, requests) = (self.stretch.events.stable, self.stretch.requests.stable);
        self.stretch.rates().stable > self.max
            && (requests >= SHARED_REQUESTS || is_beyond_chance(events, requests, self.max))
    }

    pub(super) fn e_value(&self) -> f64 {
        self.test.e_value()
    }

    pub(super) fn incident(&self) -> bool {
        self.incident
    }

    pub(super) fn withheld(&self) -> Option<Withheld> {
        (self.incident || self.shared()).then_some(Withheld::SharedIncident)
    }

    pub(super) fn stretch(&self) -> Tally {
        self.stretch
    }
}

/// Whether a few requests are enough to say that the rate is above `max`: with it, this many events or
/// more would be seen in one of `1 / FEW_ALPHA` cases at most. When everything fails at once, the
/// candidate's evidence may be there before the stable arm has had [`SHARED_REQUESTS`].
fn is_beyond_chance(events: u64, requests: u64, max: f64) -> bool {
    let n = requests as f64;
    // The binomial tail, from no event on: each term follows from the one before.
    let mut term = (1.0 - max).powf(n);
    let mut below = 0.0;
    for k in 0..events.min(requests) {
        below += term;
        let k = k as f64;
        term *= (n - k) / (k + 1.0) * max / (1.0 - max);
    }
    1.0 - below <= FEW_ALPHA
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tally(stable: (u64, u64), candidate: (u64, u64)) -> Tally {
        Tally { events: Arms::new(stable.0, candidate.0), requests: Arms::new(stable.1, candidate.1) }
    }

    #[test]
    fn an_incident_of_both_arms_is_no_evidence_against_one_of_them() {
        let mut check = Absolute::new(0.02);
        for _ in 0..200 {
            check.observe(tally((19, 95), (1, 5)), 100.0);
            assert!(check.e_value() < 100.0 || check.withheld().is_some());
        }
        assert!(check.incident());
        for _ in 0..20_000 {
            check.observe(tally((0, 95), (0, 5)), 100.0);
            assert!(check.e_value() < 100.0 || check.withheld().is_some(), "it strikes afterwards");
        }
        assert!(!check.incident(), "the incident is over");
    }

    #[test]
    fn an_incident_from_the_first_request_on_strikes_nobody() {
        for (stable, candidate) in [(1, 1), (9, 1), (19, 1)] {
            let mut check = Absolute::new(0.05);
            for _ in 0..50 {
                check.observe(tally((stable, stable), (candidate, candidate)), 100.0);
                assert!(check.e_value() < 100.0 || check.withheld().is_some(), "{stable}:{candidate}");
            }
            assert!(check.incident(), "{stable}:{candidate}");
        }
    }

    #[test]
    fn a_few_events_are_beyond_chance_only_where_they_are_rare() {
        for (events, requests, max, beyond) in [
            (0, 0, 0.05, false),
            (1, 1, 0.05, false),
            (2, 2, 0.05, true),
            (2, 10, 0.05, false),
            (4, 10, 0.05, true),
            (3, 3, 0.5, false),
            (7, 7, 0.5, true),
            (19, 19, 1.0, false),
        ] {
            assert_eq!(is_beyond_chance(events, requests, max), beyond, "{events} of {requests}, {max}");
        }
    }

    #[test]
    fn a_candidate_that_breaks_the_limit_alone_is_found() {
        let mut check = Absolute::new(0.02);
        (0..200).for_each(|_| check.observe(tally((1, 95), (1, 5)), 100.0));
        assert!(check.e_value() > 100.0 && check.withheld().is_none() && !check.incident());
    }

    #[test]
    fn the_stretch_forgets_the_good_time_before_a_late_harm() {
        let mut check = Relative::new(1.0);
        for n in 0..3_000 {
            check.observe(0.05, tally((1, 95), (u64::from(n % 20 == 0), 5)));
        }
        for _ in 0..60 {
            check.observe(0.05, tally((1, 95), (1, 5)));
        }
        assert!(check.e_value() > 100.0);
        let rule = RelativeRate { min_effect: 5.0, ..RelativeRate::default() };
        assert!(!check.small(&rule), "{:?}", check.stretch());
    }

    #[test]
    fn totals_are_kept_for_a_bounded_number_of_weights() {
        let mut totals = Totals::default();
        (1..1_000).for_each(|weight| totals.add(weight, tally((1, 2), (1, 2))));
        assert_eq!(totals.0.len(), WEIGHTS);
        assert_eq!(totals.sum().events, Arms::new(999, 999));
    }
}
