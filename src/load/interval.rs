//! How sure a quantile or a rate is, from a run that is over.
//!
//! A quantile's interval comes from order statistics: how many of `n` requests were faster than the
//! true quantile is binomial, so two ranks of the sample enclose it with the wanted confidence,
//! whatever the distribution. A rate's interval is Clopper and Pearson's, the same binomial read the
//! other way.
//!
//! Both believe that requests are independent, and in a queue they are not: slow ones come in
//! bursts. So the count of slow requests in each slice of time is looked at, and where those vary
//! more than independent requests would, `n` requests count as fewer ([`dispersion`]).

use serde::Serialize;

use crate::stats::sequential::special::{bisect, ln_beta};

/// An interval, both ends included.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Interval {
    /// The lower end.
    pub low: f64,
    /// The upper end; infinity, which JSON has as `null`, where the data sets none.
    pub high: f64,
}

/// Slices of time with fewer requests than this, or fewer than this many of them, say nothing
/// about bursts.
const FEWEST_SLICES: usize = 8;

/// How many times more the counts of `(events, requests)` per slice vary than those of independent
/// requests would; at least 1.
pub fn dispersion(slices: impl Iterator<Item = (u64, u64)> + Clone) -> f64 {
    let used = slices.filter(|(_, n)| *n > 0);
    let (events, requests, count) =
        used.clone().fold((0, 0, 0), |(x, n, c), (events, requests)| (x + events, n + requests, c + 1));
    let p = events as f64 / (requests.max(1)) as f64;
    if count < FEWEST_SLICES || events < 5 || p >= 1.0 {
        return 1.0;
    }
    let chi_square: f64 = used
        .map(|(events, requests)| {
            let (x, n) = (events as f64, requests as f64);
            (x - n * p).powi(2) / (n * p * (1.0 - p))
        })
        .sum();
    (chi_square / (count - 1) as f64).max(1.0)
}

/// Ranks (from 1) of the ordered sample of `n` that enclose its `q`-quantile with `confidence`,
/// where requests count as `n / dispersion` independent ones. A rank of 0 stands for "below the
/// fastest", `n + 1` for "beyond the slowest": the sample does not say how far.
pub fn quantile_ranks(n: u64, q: f64, confidence: f64, dispersion: f64) -> (u64, u64) {
    if n == 0 || !(q > 0.0 && q < 1.0) {
        return (0, n + 1);
    }
    let tail = 0.5 * (1.0 - confidence);
    let scale = dispersion.max(1.0);
    let trials = n as f64 / scale;
    // Requests below the true quantile: at most `low` of them with probability `tail` or less.
    let low = binomial_quantile(trials, q, tail);
    let high = binomial_quantile(trials, q, 1.0 - tail);
    let lower = (low.max(0.0) * scale).floor();
    let upper = (high + 1.0).min(trials + 1.0) * scale;
    let upper = if high >= trials.floor() { (n + 1) as f64 } else { upper.ceil().min((n + 1) as f64) };
    (lower as u64, upper as u64)
}

/// The smallest whole `k` (real where `n` is) for which a binomial variable is at most `k` with
/// probability `p` or more. Used as the rank below which the quantile is not.
fn binomial_quantile(n: f64, q: f64, p: f64) -> f64 {
    let below = |k: f64| binomial_at_most(k, n, q) < p;
    let (mut from, mut to) = (-1.0, n.floor());
    while to - from > 1.0 {
        let middle = (0.5 * (from + to)).floor();
        if below(middle) { from = middle } else { to = middle }
    }
    to
}

/// The probability that a binomial variable is at most `k`.
fn binomial_at_most(k: f64, n: f64, q: f64) -> f64 {
    if k < 0.0 {
        0.0
    } else if k >= n {
        1.0
    } else {
        incomplete_beta(n - k, k + 1.0, 1.0 - q)
    }
}

/// Clopper and Pearson's interval of a rate with `events` among `requests`.
pub fn rate_interval(events: u64, requests: u64, confidence: f64, dispersion: f64) -> Interval {
    if requests == 0 {
        return Interval { low: 0.0, high: 1.0 };
    }
    let scale = dispersion.max(1.0);
    let (x, n) = (events.min(requests) as f64 / scale, requests as f64 / scale);
    let tail = 0.5 * (1.0 - confidence);
    let low = match x > 0.0 {
        true => bisect(0.0, 1.0, |p| incomplete_beta(x, n - x + 1.0, p) < tail),
        false => 0.0,
    };
    let high = match x < n {
        true => bisect(0.0, 1.0, |p| incomplete_beta(x + 1.0, n - x, p) < 1.0 - tail),
        false => 1.0,
    };
    Interval { low, high }
}

/// The regularised incomplete beta function, by Lentz' continued fraction (DLMF 8.17.22).
fn incomplete_beta(a: f64, b: f64, x: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (a * x.ln() + b * (-x).ln_1p() - ln_beta(a, b)).exp();
    match x < (a + 1.0) / (a + b + 2.0) {
        true => front * continued_fraction(a, b, x) / a,
        false => 1.0 - front * continued_fraction(b, a, 1.0 - x) / b,
    }
}

fn continued_fraction(a: f64, b: f64, x: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let safe = |v: f64| if v.abs() < TINY { TINY } else { v };
    let mut c = 1.0;
    let mut d = 1.0 / safe(1.0 - (a + b) * x / (a + 1.0));
    let mut value = d;
    // It takes about the square root of the larger argument; this is enough for 10¹⁰ requests.
    for m in 1..200_000_u32 {
        let m = f64::from(m);
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / safe(1.0 + even * d);
        c = safe(1.0 + even / c);
        value *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / safe(1.0 + odd * d);
        c = safe(1.0 + odd / c);
        let step = d * c;
        value *= step;
        if (step - 1.0).abs() < 1e-14 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use super::super::random::{Purpose, unit};
    use super::*;

    #[test]
    fn the_binomial_is_the_one_of_the_books() {
        // 10 draws of one half: at most 5 with 638/1024.
        assert!((binomial_at_most(5.0, 10.0, 0.5) - 638.0 / 1024.0).abs() < 1e-12);
        assert!((binomial_at_most(0.0, 10.0, 0.1) - 0.9f64.powi(10)).abs() < 1e-12);
        // Conover, "Practical Nonparametric Statistics": the median of 16 lies between ranks 4 and 13.
        assert_eq!(quantile_ranks(16, 0.5, 0.95, 1.0), (4, 13));
    }

    #[test]
    fn a_rate_has_clopper_and_pearsons_interval() {
        let i = rate_interval(4, 20, 0.95, 1.0);
        assert!((i.low - 0.05733).abs() < 1e-4 && (i.high - 0.43661).abs() < 1e-4, "{i:?}");
        // Nothing in 1000: the rule of three, two-sided.
        let none = rate_interval(0, 1000, 0.95, 1.0);
        assert!(none.low == 0.0 && (none.high - 0.003682).abs() < 1e-5, "{none:?}");
        assert_eq!(rate_interval(5, 5, 0.95, 1.0).high, 1.0);
        assert_eq!(rate_interval(0, 0, 0.95, 1.0), Interval { low: 0.0, high: 1.0 });
    }

    #[test]
    fn too_few_requests_leave_an_end_open() {
        // Among 100 requests the p99's upper end is beyond the slowest.
        assert_eq!(quantile_ranks(100, 0.99, 0.95, 1.0).1, 101);
        let (low, high) = quantile_ranks(100_000, 0.99, 0.95, 1.0);
        assert!(low > 98_900 && high < 99_100 && low < 99_000 && high > 99_000, "{low} {high}");
        assert_eq!(quantile_ranks(0, 0.99, 0.95, 1.0), (0, 1));
    }

    #[test]
    fn the_interval_holds_the_quantile_as_often_as_it_says() {
        let (n, mut held) = (2000_u64, 0);
        for run in 0..400_u64 {
            let mut sample: Vec<f64> = (0..n).map(|i| unit(run, Purpose::Value, i)).collect();
            sample.sort_by(f64::total_cmp);
            let (low, high) = quantile_ranks(n, 0.95, 0.9, 1.0);
            let at = |rank: u64| sample[rank as usize - 1];
            held += u32::from(at(low) <= 0.95 && 0.95 <= at(high));
        }
        // 90 % of 400, give or take four deviations; discreteness makes it a little more.
        assert!((336..=390).contains(&held), "{held}");
    }

    #[test]
    fn bursts_count_as_fewer_requests() {
        let independent = (0..100).map(|i| (u64::from(i % 3 == 0), 30));
        let bursts = (0..100).map(|i| (if i % 10 == 0 { 10 } else { 0 }, 30));
        assert!(dispersion(independent) < 1.2);
        assert!(dispersion(bursts.clone()) > 5.0, "{}", dispersion(bursts));
        let (narrow, wide) = (quantile_ranks(10_000, 0.9, 0.95, 1.0), quantile_ranks(10_000, 0.9, 0.95, 9.0));
        let width = |(low, high): (u64, u64)| (high - low) as f64;
        assert!((width(wide) / width(narrow) - 3.0).abs() < 0.2, "{narrow:?} {wide:?}");
    }
}
