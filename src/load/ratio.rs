//! How many times slower one target was than the other, and how sure that is.
//!
//! Both got their requests in turns, so each slice of time saw both under the same circumstances.
//! Stretches of slices are drawn with replacement (the circular block bootstrap of Politis and Romano,
//! 1992), the statistic of both targets is computed from the same slices, and the middle of the ratios
//! is the interval. Bursts up to the length of a stretch, a twenty-fourth of a run, and disturbances
//! that hit both are so accounted for.

use super::histogram::{Coarse, rank};
use super::interval::{Interval, quantile_ranks};
use super::random::{Purpose, bits};
use super::series::{Series, Slice};
use super::slo::{Statistic, Timing};

/// How often slices are drawn.
const DRAWS: u64 = 500;

/// Values that slices hold, each by its place in one rising list.
struct Values {
    seconds: Vec<f64>,
    /// For each slice: places and counts, and how many failed.
    slices: Vec<(Vec<(usize, u64)>, u64)>,
}

impl Values {
    fn of(slices: &[Slice], timing: Timing) -> Self {
        let empty = Coarse::default();
        let pick = |slice: &Slice| -> Vec<(f64, u64)> {
            match timing {
                Timing::FirstToken => slice.first_token.as_deref().unwrap_or(&empty).values().collect(),
                _ => slice.latency.values().collect(),
            }
        };
        let found: Vec<Vec<(f64, u64)>> = slices.iter().map(pick).collect();
        let mut seconds: Vec<f64> = found.iter().flatten().map(|(value, _)| *value).collect();
        seconds.sort_by(f64::total_cmp);
        seconds.dedup();
        let place = |value: f64| seconds.partition_point(|known| *known < value);
        let slices = found
            .iter()
            .zip(slices)
            .map(|(values, slice)| (values.iter().map(|(v, n)| (place(*v), *n)).collect(), slice.failed))
            .collect();
        Self { seconds, slices }
    }

    /// How many requests there are, failed ones with them.
    fn requests(&self) -> u64 {
        self.slices.iter().map(|(values, failed)| failed + values.iter().map(|(_, n)| n).sum::<u64>()).sum()
    }

    /// The statistic of the slices that `chosen` names, each as often as it is named.
    fn statistic(&self, chosen: &[usize], statistic: Statistic, counts: &mut Vec<u64>) -> Option<f64> {
        counts.clear();
        counts.resize(self.seconds.len(), 0);
        let mut failed = 0;
        for slice in chosen.iter().filter_map(|at| self.slices.get(*at)) {
            failed += slice.1;
            for (place, count) in &slice.0 {
                if let Some(sum) = counts.get_mut(*place) {
                    *sum += count;
                }
            }
        }
        let total: u64 = counts.iter().sum();
        match statistic {
            Statistic::Mean => {
                let sum: f64 = counts.iter().zip(&self.seconds).map(|(n, v)| *n as f64 * v).sum();
                (total > 0 && failed == 0).then(|| sum / total as f64)
            }
            Statistic::Max => None,
            Statistic::Quantile(q) => {
                let wanted = rank(q, total + failed);
                let mut below = 0;
                counts.iter().zip(&self.seconds).find_map(|(count, value)| {
                    below += count;
                    (below >= wanted.max(1)).then_some(*value)
                })
            }
        }
    }
}

/// A ratio and its interval.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// The second target's statistic divided by the first one's; infinite where only the second
    /// one's falls among failures.
    pub value: f64,
    /// Where it may be.
    pub interval: Interval,
}

/// The ratio of `second` to `first`. None where there is not enough to speak of.
pub fn ratio(
    first: &Series,
    second: &Series,
    timing: Timing,
    statistic: Statistic,
    confidence: f64,
    seed: u64,
) -> Option<Ratio> {
    let (a, b) = (Values::of(&first.slices, timing), Values::of(&second.slices, timing));
    let count = a.slices.len().min(b.slices.len());
    let (mut room_a, mut room_b) = (Vec::new(), Vec::new());
    let mut of = |chosen: &[usize]| {
        let a = a.statistic(chosen, statistic, &mut room_a);
        let b = b.statistic(chosen, statistic, &mut room_b);
        match (a, b) {
            (Some(a), Some(b)) if a > 0.0 => Some(b / a),
            (Some(_), None) => Some(f64::INFINITY),
            (None, Some(_)) => Some(0.0),
            _ => None,
        }
    };
    let all: Vec<usize> = (0..count).collect();
    let value = of(&all)?;
    let mut ratios = Vec::with_capacity(usize::try_from(DRAWS).unwrap_or(0));
    let mut chosen = vec![0; count];
    let stretch = (count as f64).cbrt().round().max(1.0) as usize;
    for draw in 0..DRAWS {
        for (number, places) in chosen.chunks_mut(stretch).enumerate() {
            let drawn = bits(seed, Purpose::Resample, draw * count as u64 + number as u64) % count as u64;
            let first = usize::try_from(drawn).unwrap_or(0);
            places.iter_mut().enumerate().for_each(|(at, place)| *place = (first + at) % count);
        }
        ratios.extend(of(&chosen));
    }
    ratios.sort_by(f64::total_cmp);
    let tail = 0.5 * (1.0 - confidence);
    let at = |q: f64| {
        let place = (q * (ratios.len().saturating_sub(1)) as f64).round() as usize;
        ratios.get(place).copied()
    };
    // Too few slices to draw from say nothing about what varies between them.
    let mut interval = match count >= 8 {
        true => Interval { low: at(tail)?, high: at(1.0 - tail)? },
        false => Interval { low: 0.0, high: f64::INFINITY },
    };
    // Nor can drawing again what there is bring up what was never seen: where the slowest of a side is
    // not beyond its quantile for sure, that side may be slower by any factor.
    if let Statistic::Quantile(q) = statistic {
        let open = |values: &Values| {
            let requests = values.requests();
            quantile_ranks(requests, q, confidence, 1.0).1 > requests
        };
        if open(&a) {
            interval.low = 0.0;
        }
        if open(&b) {
            interval.high = f64::INFINITY;
        }
    }
    Some(Ratio { value, interval })
}

#[cfg(test)]
mod tests {
    use super::super::random::unit;
    use super::super::series::{Done, Failure};
    use super::*;

    /// A series whose latencies are exponential around `mean_ms` times what each second brings.
    fn series(mean_ms: f64, seed: u64, fail_every: u64) -> Series {
        let mut series = Series::new(60.0);
        for n in 0..12_000_u64 {
            let at = n as f64 / 200.0;
            // A disturbance that both targets share.
            let weather = if (at as u64).is_multiple_of(10) { 3.0 } else { 1.0 };
            let latency = -mean_ms * weather * (1.0 - unit(seed, Purpose::Value, n)).ln();
            let failure = (fail_every > 0 && n.is_multiple_of(fail_every)).then_some(Failure::Timeout);
            series.record(
                &Done { intended: at, latency: (latency * 1e6) as u64 + 1000, failure, ..Done::default() },
                60.0,
            );
        }
        series
    }

    #[test]
    fn the_same_service_has_a_ratio_of_one_and_a_slower_one_its_own() {
        let p99 = Statistic::Quantile(0.99);
        let (a, b, slow) = (series(5.0, 1, 0), series(5.0, 2, 0), series(6.5, 3, 0));
        let same = ratio(&a, &b, Timing::Latency, p99, 0.95, 1).unwrap();
        assert!(same.interval.low < 1.0 && 1.0 < same.interval.high, "{same:?}");
        assert!(same.interval.high - same.interval.low < 0.5, "{same:?}");
        let slower = ratio(&a, &slow, Timing::Latency, Statistic::Quantile(0.5), 0.95, 1).unwrap();
        assert!(slower.interval.low > 1.15 && slower.interval.high < 1.45, "{slower:?}");
        assert_eq!(
            ratio(&a, &slow, Timing::Latency, p99, 0.95, 1),
            ratio(&a, &slow, Timing::Latency, p99, 0.95, 1)
        );
    }

    /// A queue with one server in front of each target, for 30 s at 100 requests a second.
    fn queue(seed: u64, factor: f64) -> Series {
        let mut series = Series::new(30.0);
        let (mut at, mut wait) = (-10.0, 0.0_f64);
        for n in 0.. {
            let gap = -0.01 * (1.0 - unit(seed, Purpose::Gap, n)).ln();
            at += gap;
            wait = (wait - gap).max(0.0) - 0.007 * (1.0 - unit(seed, Purpose::Value, n)).ln();
            if at >= 30.0 {
                return series;
            }
            if at >= 0.0 {
                let latency = (wait * factor * 1e9) as u64;
                series.record(&Done { intended: at, latency, ..Done::default() }, 30.0);
            }
        }
        series
    }

    #[test]
    fn the_interval_holds_the_ratio_as_often_as_it_should_for_queues_too() {
        for (truth, statistic, least) in [
            (1.0, Statistic::Quantile(0.5), 0.86),
            (1.1, Statistic::Quantile(0.5), 0.86),
            (1.1, Statistic::Mean, 0.82),
        ] {
            let runs = 100;
            let held = (0..runs).filter(|run| {
                let (a, b) = (queue(2 * run, 1.0), queue(2 * run + 1, truth));
                let found = ratio(&a, &b, Timing::Latency, statistic, 0.95, *run).unwrap();
                found.interval.low <= truth && truth <= found.interval.high
            });
            let share = held.count() as f64 / runs as f64;
            assert!(share >= least, "{truth} {statistic:?}: {share}");
        }
    }

    #[test]
    fn a_quantile_that_was_hardly_seen_has_no_end() {
        // 100 requests say nothing of how slow the slowest hundredth may be, however often they are drawn.
        let few = |seed| {
            let mut series = Series::new(10.0);
            for n in 0..100 {
                let latency = (-5e6 * (1.0 - unit(seed, Purpose::Value, n)).ln()) as u64 + 1000;
                series.record(&Done { intended: n as f64 / 10.0, latency, ..Done::default() }, 10.0);
            }
            series
        };
        let of =
            |q| ratio(&few(1), &few(2), Timing::Latency, Statistic::Quantile(q), 0.95, 1).unwrap().interval;
        assert_eq!(of(0.99), Interval { low: 0.0, high: f64::INFINITY });
        assert!(of(0.5).low > 0.3 && of(0.5).high < 3.0);
    }

    #[test]
    fn failures_of_one_side_are_slower_than_anything() {
        let (good, bad) = (series(5.0, 1, 0), series(5.0, 2, 50));
        let found = ratio(&good, &bad, Timing::Latency, Statistic::Quantile(0.99), 0.95, 1).unwrap();
        assert_eq!(found.value, f64::INFINITY);
        assert_eq!(
            ratio(&bad, &good, Timing::Latency, Statistic::Quantile(0.99), 0.95, 1).unwrap().value,
            0.0
        );
        let empty = Series::new(60.0);
        assert_eq!(ratio(&empty, &empty, Timing::Latency, Statistic::Mean, 0.95, 1), None);
    }
}
