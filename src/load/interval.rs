//! How sure a quantile or a rate is, from a run that is over.
//!
//! A quantile's interval comes from order statistics: how many of `n` requests were faster than the
//! true quantile is binomial, so two ranks of the sample enclose it with the wanted confidence,
//! whatever the distribution. A rate's interval is Clopper and Pearson's, the same binomial read the
//! other way.
//!
//! Both believe that requests are independent, and in a queue they are not: slow ones come in
//! bursts. So the count of slow requests in each slice of time is looked at, and where those vary
//! more than independent requests would, `n` requests count as fewer ([`dispersion`]). Bursts that
//! are nearly as long as the run cannot be told from a level: nobody can do that from one run.

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

/// Slices that are taken together, to see bursts that are longer than one. The longest that leave
/// something to compare are a tenth of a run.
const TOGETHER: [usize; 5] = [1, 2, 4, 8, 12];

/// How many times more the counts of `(events, requests)` per slice vary than those of independent
/// requests would, at the scale of time where that is most; at least 1. How far a variation can be
/// known from so few slices, at this `confidence`, is in it (as in Student's intervals).
pub fn dispersion(slices: impl Iterator<Item = (u64, u64)>, confidence: f64) -> f64 {
    let slices: Vec<(u64, u64)> = slices.collect();
    TOGETHER.into_iter().map(|together| at_scale(&slices, together, confidence)).fold(1.0, f64::max)
}

fn at_scale(slices: &[(u64, u64)], together: usize, confidence: f64) -> f64 {
    let add = |chunk: &[(u64, u64)]| chunk.iter().fold((0, 0), |(x, n), (dx, dn)| (x + dx, n + dn));
    let used: Vec<(u64, u64)> =
        slices.chunks_exact(together).map(add).filter(|(_, requests)| *requests > 0).collect();
    let (events, requests) = add(&used);
    let p = events as f64 / requests.max(1) as f64;
    if used.len() < FEWEST_SLICES || events < 5 || p >= 1.0 {
        return 1.0;
    }
    let deviation = |(events, requests): &(u64, u64)| {
        let (x, n) = (*events as f64, *requests as f64);
        (x - n * p).powi(2) / (n * p * (1.0 - p))
    };
    let freedom = (used.len() - 1) as f64;
    let times = used.iter().map(deviation).sum::<f64>() / freedom;
    // What does not vary too much needs no correction, and gets none.
    if times > 1.0 { times * student_squared(freedom, confidence) } else { 1.0 }
}

/// How much wider, squared, an interval of this confidence is when the variance is only known from
/// so many degrees of freedom.
fn student_squared(freedom: f64, confidence: f64) -> f64 {
    // P(T² > t) is the incomplete beta function at freedom/(freedom + t) (DLMF 8.17, Student's t).
    let square = |freedom: f64| {
        bisect(0.0, 1e4, |t| incomplete_beta(0.5 * freedom, 0.5, freedom / (freedom + t)) > 1.0 - confidence)
    };
    square(freedom) / square(1e6)
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
    fn student_is_the_one_of_the_tables() {
        // t(0.975) with 9 degrees of freedom is 2.2622, and the normal one 1.95996.
        assert!((student_squared(9.0, 0.95) - (2.2622f64 / 1.959_96).powi(2)).abs() < 1e-3);
        assert!((student_squared(119.0, 0.95) - (1.9801f64 / 1.959_96).powi(2)).abs() < 1e-3);
    }

    #[test]
    fn bursts_count_as_fewer_requests() {
        let independent = (0..100).map(|i| (u64::from(i % 3 == 0), 30));
        let bursts = (0..100).map(|i| (if i % 10 == 0 { 10 } else { 0 }, 30));
        assert!(dispersion(independent, 0.95) < 1.2);
        assert!(dispersion(bursts, 0.95) > 5.0);
        // Slices that are no more uneven than chance, but come one after the other.
        let long = (0..120).map(|i| (if i % 24 < 12 { 4 } else { 2 }, 30));
        assert!(dispersion(long.clone(), 0.95) > 3.0, "{}", dispersion(long, 0.95));
        let (narrow, wide) = (quantile_ranks(10_000, 0.9, 0.95, 1.0), quantile_ranks(10_000, 0.9, 0.95, 9.0));
        let width = |(low, high): (u64, u64)| (high - low) as f64;
        assert!((width(wide) / width(narrow) - 3.0).abs() < 0.2, "{narrow:?} {wide:?}");
    }

    /// Latencies of a queue with one server at `load`, in steady state: times of arrival and latencies.
    fn queue(seed: u64, load: f64, n: u64) -> Vec<(f64, f64)> {
        let exponential = |purpose, i| -(1.0 - unit(seed, purpose, i)).ln();
        let (mut at, mut wait, mut all) = (0.0, 0.0_f64, Vec::new());
        for i in 0..n + 2000 {
            let gap = exponential(Purpose::Gap, i);
            at += gap;
            wait = (wait - gap).max(0.0) + load * exponential(Purpose::Value, i);
            if i >= 2000 {
                all.push((at, wait));
            }
        }
        let begin = all.first().map_or(0.0, |first| first.0);
        all.into_iter().map(|(at, latency)| (at - begin, latency)).collect()
    }

    #[test]
    fn a_queues_quantiles_are_held_although_its_requests_are_not_independent() {
        // Latencies of M/M/1 are exponential with the mean load/(1 − load) of a mean gap.
        let (runs, n, load) = (200, 6000, 0.7);
        for (q, least) in [(0.5, 0.92), (0.9, 0.91)] {
            let truth = -(1.0_f64 - q).ln() * load / (1.0 - load);
            let (mut held, mut believed_independent) = (0, 0);
            for run in 0..runs {
                let requests = queue(run, load, n);
                let mut sorted: Vec<f64> = requests.iter().map(|(_, latency)| *latency).collect();
                sorted.sort_by(f64::total_cmp);
                let found = sorted[(q * n as f64).ceil() as usize - 1];
                let length = requests.last().unwrap().0 / 120.0;
                let mut slices = vec![(0, 0); 120];
                for (at, latency) in &requests {
                    let slice = &mut slices[((at / length) as usize).min(119)];
                    slice.0 += u64::from(*latency > found);
                    slice.1 += 1;
                }
                let within = |spread| {
                    let (low, high) = quantile_ranks(n, q, 0.95, spread);
                    let at = |rank: u64| sorted.get(rank as usize - 1).copied().unwrap_or(f64::INFINITY);
                    u32::from(at(low.max(1)) <= truth && truth <= at(high))
                };
                held += within(dispersion(slices.into_iter(), 0.95));
                believed_independent += within(1.0);
            }
            let share = f64::from(held) / runs as f64;
            assert!(share >= least, "{q}: {share}");
            // It is the correction that does it.
            assert!(f64::from(believed_independent) / (runs as f64) < 0.75, "{q}: {believed_independent}");
        }
    }
}
