//! What a watch without an end would be like, beside the finite one that the project has: the
//! Shiryaev–Roberts statistic, which bets anew at every request, `S ← (S + prior) × factor`.
//!
//! As long as the bound holds, `S` minus the number of requests is not expected to grow, so an alarm
//! at `S ≥ A` within the first `N` has probability at most `N/A` (Shin, Ramdas and Rinaldo,
//! "E-detectors", 2203.03532). A bake has an end, and one bound on the chance of a false alarm over all
//! of it says more to people than so many alarms per time; hence it is here and not in the product.

use switchback::stats::sequential::RATIOS;

/// From here on every rate is within the bound.
const ALWAYS_WITHIN: f64 = 0.999;

/// Whether an event rate has risen above a bound at any time since.
pub struct EndlessRateTest {
    factors: [(f64, f64); 7],
    sums: [f64; 7],
}

impl EndlessRateTest {
    /// A watch of "the probability of an event is at most `max`" (above 0).
    pub fn new(max: f64) -> Self {
        let factors = RATIOS.map(|ratio| {
            let event = ratio.min(ALWAYS_WITHIN / max);
            (event, (1.0 - event * max) / (1.0 - max))
        });
        Self { factors, sums: [0.0; 7] }
    }

    /// Takes how many requests had the event and how many had not, as if all came at once, and gives the
    /// statistic.
    pub fn observe(&mut self, events: u64, others: u64) -> f64 {
        let fresh = (events + others) as f64 / self.sums.len() as f64;
        for (sum, (event, other)) in self.sums.iter_mut().zip(self.factors) {
            let gain = event.powi(events as i32) * other.powi(others as i32);
            *sum = ((*sum + fresh) * gain).min(1e300);
        }
        self.sums.iter().sum()
    }
}

/// The statistic at which to raise an alarm, so that a false one comes within `requests` requests with
/// probability at most `alpha`.
pub fn endless_threshold(requests: u64, alpha: f64) -> f64 {
    requests as f64 / alpha
}

#[test]
fn the_statistic_grows_by_no_more_than_its_requests_while_the_bound_holds() {
    for max in [0.001, 0.02, 0.3] {
        // One request with an event, or without, from any standing.
        let mut at = EndlessRateTest::new(max);
        at.sums = [3.0; 7];
        let step = |events: u64| {
            let mut next = EndlessRateTest { factors: at.factors, sums: at.sums };
            next.observe(events, 1 - events)
        };
        let expected = max * step(1) + (1.0 - max) * step(0);
        assert!((expected - 22.0).abs() < 1e-9, "{expected} for {max}");
    }
}
