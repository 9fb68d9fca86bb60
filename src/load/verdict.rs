//! Whether the goals hold, and how sure that is.
//!
//! A goal with an interval holds when all of the interval is on the right side, and fails when all
//! of it is on the wrong one; anything else is inconclusive, which is no pass. Failed requests are
//! slower than any limit of latency: a quantile that falls among them has no value and fails.

use serde::Serialize;

use super::drive::Counted;
use super::histogram::{Coarse, Histogram};
use super::interval::{Interval, dispersion, rate_interval};
use super::ratio::ratio;
use super::resources::Taken;
use super::series::{Series, Slice};
use super::slo::{Metric, Resource, Side, Slo, Statistic, Timing};
use super::spec::Scenario;

/// What is said of a goal, or of all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Verdict {
    /// It holds.
    Pass,
    /// Too little data to say.
    Inconclusive,
    /// It does not hold.
    Fail,
}

impl Verdict {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Inconclusive => "inconclusive",
            Self::Fail => "fail",
        }
    }
}

/// A goal, and what came of it at one target.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Judged {
    /// The goal as it was written.
    pub goal: String,
    /// The target it is about; none for processes and ratios.
    pub target: Option<String>,
    /// The kind of request it is about; none: all.
    pub request: Option<String>,
    /// What was measured, in the limit's unit; `null` where it falls among failures, or there is
    /// nothing.
    pub observed: Option<f64>,
    /// Where the truth may be, with the scenario's confidence.
    pub interval: Option<Interval>,
    /// The limit: seconds, a share, per second, bytes, cores, a count or a ratio.
    pub limit: f64,
    /// The unit of these numbers.
    pub unit: &'static str,
    /// What is said of it.
    pub verdict: Verdict,
    /// Why, where the numbers do not say it.
    pub note: Option<String>,
}

/// What a metric is measured to be.
struct Measured {
    observed: Option<f64>,
    interval: Option<Interval>,
    note: Option<String>,
}

impl Measured {
    fn exactly(observed: Option<f64>) -> Self {
        Self { observed, interval: None, note: None }
    }

    fn nothing(why: impl Into<String>) -> Self {
        Self { observed: None, interval: None, note: Some(why.into()) }
    }
}

/// What came of every goal of the scenario.
pub fn judge(scenario: &Scenario, counted: &Counted, resources: &[Taken]) -> Vec<Judged> {
    let mut all = Vec::new();
    for slo in &scenario.slos {
        match &slo.metric {
            Metric::Resource(name, what) => {
                let taken = resources.iter().find(|taken| taken.name == *name);
                all.push(said(slo, None, None, used(taken, *what)));
            }
            Metric::Ratio(timing, statistic) => {
                let (first, second) = (series(counted, 0, slo.kind), series(counted, 1, slo.kind));
                let found = ratio(&first, &second, *timing, *statistic, scenario.confidence, scenario.seed);
                let measured = match found {
                    Some(ratio) => {
                        Measured { observed: Some(ratio.value), interval: Some(ratio.interval), note: None }
                    }
                    None => Measured::nothing("too few good answers to compare"),
                };
                all.push(said(slo, None, kind_name(scenario, slo), measured));
            }
            _ => {
                for (at, target) in scenario.targets.iter().enumerate() {
                    let series = series(counted, at, slo.kind);
                    let measured = measure(scenario, slo, &series, counted.seconds);
                    let target = (scenario.targets.len() > 1).then(|| target.name.clone());
                    all.push(said(slo, target, kind_name(scenario, slo), measured));
                }
            }
        }
    }
    all
}

/// What all goals together say: the worst of them, and a pass where there are none.
pub fn together(judged: &[Judged]) -> Verdict {
    judged.iter().map(|one| one.verdict).max().unwrap_or(Verdict::Pass)
}

fn series(counted: &Counted, target: usize, kind: Option<usize>) -> Series {
    let one = kind.and_then(|kind| counted.series.get(target)?.get(kind));
    one.cloned().unwrap_or_else(|| counted.of_target(target))
}

fn kind_name(scenario: &Scenario, slo: &Slo) -> Option<String> {
    slo.kind.and_then(|kind| scenario.requests.get(kind)).map(|request| request.name.clone())
}

fn used(taken: Option<&Taken>, what: Resource) -> Measured {
    let Some(taken) = taken else { return Measured::nothing("nothing of that name is watched") };
    let observed = match what {
        Resource::Cpu => taken.cpu,
        Resource::Rss => taken.rss_bytes,
        Resource::Fds => taken.fds,
    };
    match (observed, &taken.error) {
        (Some(observed), None) => Measured::exactly(Some(observed)),
        (observed, error) => Measured {
            observed,
            ..Measured::nothing(error.as_deref().unwrap_or("it was not seen long enough"))
        },
    }
}

fn measure(scenario: &Scenario, slo: &Slo, series: &Series, seconds: f64) -> Measured {
    let (failed, confidence) = (series.failed(), scenario.confidence);
    match &slo.metric {
        Metric::Time(timing, statistic) => time(series, *timing, *statistic, confidence),
        Metric::Errors => {
            let spread = dispersion(slices(series, |slice| slice.failed), confidence);
            let requests = series.requests();
            Measured {
                observed: (requests > 0).then(|| failed as f64 / requests as f64),
                interval: Some(rate_interval(failed, requests, confidence, spread)),
                note: None,
            }
        }
        Metric::Throughput => Measured::exactly((seconds > 0.0).then(|| series.in_time as f64 / seconds)),
        Metric::Tokens => Measured::exactly((seconds > 0.0).then(|| series.tokens as f64 / seconds)),
        Metric::Goodput(limit) => {
            let Some(limit) = limit.or_else(|| scenario.largest_latency_limit()) else {
                return Measured::nothing(
                    "no goal limits a latency: write the limit as in \"goodput(80ms)>99%\"",
                );
            };
            let good = series.latency.count_within(u64::try_from(limit.as_nanos()).unwrap_or(u64::MAX));
            let seconds = limit.as_secs_f64();
            let beyond =
                |slice: &Slice| slice.failed + slice.latency.count() - slice.latency.count_within(seconds);
            // Few are beyond a limit by luck as well as by merit, and say little of how they come. So
            // bursts are also looked for where there would be as many as the goal allows.
            let spread = dispersion(slices(series, beyond), confidence).max(quantile_dispersion(
                series,
                Timing::Latency,
                slo.limit,
                confidence,
            ));
            let requests = series.requests();
            Measured {
                observed: (requests > 0).then(|| good as f64 / requests as f64),
                interval: Some(rate_interval(good, requests, confidence, spread)),
                note: None,
            }
        }
        Metric::Resource(..) | Metric::Ratio(..) => Measured::exactly(None),
    }
}

fn slices<'s>(
    series: &'s Series,
    events: impl Fn(&Slice) -> u64 + 's,
) -> impl Iterator<Item = (u64, u64)> + 's {
    series.slices.iter().map(move |slice| (events(slice), slice.failed + slice.latency.count()))
}

/// The durations that `timing` means, and how many requests are slower than all of them.
fn durations(series: &Series, timing: Timing) -> (&Histogram, u64) {
    match timing {
        Timing::Latency => (&series.latency, series.failed()),
        Timing::Service => (&series.service, series.failed()),
        Timing::FirstToken => (&series.first_token, series.failed()),
        // Tokens of failed answers did come, when they came.
        Timing::InterToken => (&series.inter_token, 0),
    }
}

/// Where the `q`-quantile of `timing` may be, bursts accounted for.
pub fn quantile_interval(series: &Series, timing: Timing, q: f64, confidence: f64) -> Interval {
    let (histogram, failed) = durations(series, timing);
    histogram.interval(q, failed, confidence, quantile_dispersion(series, timing, q, confidence))
}

/// How many times more than independent ones the requests beyond the `q`-quantile of `timing` vary.
fn quantile_dispersion(series: &Series, timing: Timing, q: f64, confidence: f64) -> f64 {
    let (histogram, failed) = durations(series, timing);
    // Bursts are looked for where the quantile is: how many of each slice were beyond it. Service
    // time has no slices of its own; where it comes in bursts, so does latency.
    let timing = if timing == Timing::Service { Timing::Latency } else { timing };
    let at = match timing {
        Timing::Latency => series.latency.quantile(q, failed),
        _ => histogram.quantile(q, failed),
    };
    let at = at.unwrap_or(f64::MAX / 2e9);
    let none = Coarse::default();
    let counts = series.slices.iter().map(|slice| {
        let (times, failed) = match timing {
            Timing::FirstToken => (slice.first_token.as_deref().unwrap_or(&none), slice.failed),
            Timing::InterToken => (slice.inter_token.as_deref().unwrap_or(&none), 0),
            Timing::Latency | Timing::Service => (&slice.latency, slice.failed),
        };
        (failed + times.count() - times.count_within(at), failed + times.count())
    });
    dispersion(counts, confidence)
}

fn time(series: &Series, timing: Timing, statistic: Statistic, confidence: f64) -> Measured {
    let (histogram, failed) = durations(series, timing);
    if histogram.count() + failed == 0 {
        return Measured::nothing(match timing {
            Timing::FirstToken | Timing::InterToken => "no answer was streamed",
            Timing::Latency | Timing::Service => "no request was made",
        });
    }
    let among_failures = || format!("it falls among the {failed} failed requests");
    match statistic {
        Statistic::Quantile(q) => {
            let observed = histogram.quantile(q, failed);
            let interval = quantile_interval(series, timing, q, confidence);
            let note = observed.is_none().then(among_failures);
            Measured { observed, interval: Some(interval), note }
        }
        Statistic::Mean | Statistic::Max if failed > 0 => {
            // Without a value, and beyond any limit.
            let interval = Some(Interval { low: f64::INFINITY, high: f64::INFINITY });
            Measured { observed: None, interval, note: Some(among_failures()) }
        }
        Statistic::Mean => Measured::exactly(histogram.mean()),
        Statistic::Max => Measured::exactly(histogram.max()),
    }
}

fn said(slo: &Slo, target: Option<String>, request: Option<String>, measured: Measured) -> Judged {
    let Measured { observed, interval, note } = measured;
    let range = interval.or_else(|| observed.map(|value| Interval { low: value, high: value }));
    let verdict = match (range, slo.side) {
        (None, _) => Verdict::Inconclusive,
        (Some(range), Side::Below) if range.high < slo.limit => Verdict::Pass,
        (Some(range), Side::Below) if range.low >= slo.limit => Verdict::Fail,
        (Some(range), Side::Above) if range.low > slo.limit => Verdict::Pass,
        (Some(range), Side::Above) if range.high <= slo.limit => Verdict::Fail,
        (Some(_), _) => Verdict::Inconclusive,
    };
    let unit = match slo.metric {
        Metric::Time(..) => "s",
        Metric::Errors | Metric::Goodput(_) => "share",
        Metric::Throughput | Metric::Tokens => "perSecond",
        Metric::Resource(_, Resource::Cpu) => "cores",
        Metric::Resource(_, Resource::Rss) => "bytes",
        Metric::Resource(_, Resource::Fds) => "count",
        Metric::Ratio(..) => "ratio",
    };
    Judged {
        goal: slo.text.clone(),
        target,
        request,
        observed,
        interval,
        limit: slo.limit,
        unit,
        verdict,
        note,
    }
}
