//! A run as data: what every report is written from, and what JSON holds.

mod words;

use std::collections::BTreeMap;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::drive::Counted;
use super::histogram::Histogram;
use super::interval::Interval;
use super::ratio::ratio;
use super::resources::Taken;
use super::series::Series;
use super::slo::{Statistic, Timing};
use super::spec::Scenario;
use super::verdict::{Judged, Verdict, judge, quantile_interval, together};
use words::{invalid, noted, words};

/// What a load test found.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RunResult {
    /// Form of this document; it rises when something is taken away or means something else.
    pub version: u32,
    /// Name of the scenario.
    pub name: String,
    /// What the test comes to.
    pub outcome: Outcome,
    /// Why it is invalid, or what else should be known.
    pub remarks: Vec<String>,
    /// When the measured time began, in milliseconds since the epoch.
    pub began_ms: u64,
    /// Seconds that were measured.
    pub seconds: f64,
    /// What was sent, in words.
    pub load: String,
    /// Requests per second that were meant to be sent to each target, on average; none for a closed
    /// loop.
    pub rate: Option<f64>,
    /// The seed of everything random.
    pub seed: u64,
    /// Confidence of intervals.
    pub confidence: f64,
    /// What came of each goal.
    pub goals: Vec<Judged>,
    /// What was measured at each target.
    pub targets: Vec<TargetResult>,
    /// The second target against the first, where there are two.
    pub comparison: Vec<Compared>,
    /// What watched processes took.
    pub resources: Vec<Taken>,
    /// The load generator itself.
    pub generator: GeneratorResult,
    /// How the highest rate was looked for.
    pub search: Option<SearchResult>,
}

/// What a test comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Outcome {
    /// All goals hold.
    Pass,
    /// A goal does not hold.
    Fail,
    /// It cannot be said of a goal whether it holds.
    Inconclusive,
    /// The generator did not send as it was meant to, so nothing is known.
    Invalid,
    /// Somebody stopped it; what is here is a part.
    Interrupted,
}

impl Outcome {
    /// The word in reports.
    pub fn word(self) -> &'static str {
        match self {
            Self::Pass => "pass",
            Self::Fail => "fail",
            Self::Inconclusive => "inconclusive",
            Self::Invalid => "invalid",
            Self::Interrupted => "interrupted",
        }
    }
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Pass => Self::Pass,
            Verdict::Fail => Self::Fail,
            Verdict::Inconclusive => Self::Inconclusive,
        }
    }
}

/// What was measured at one target.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TargetResult {
    /// Its name.
    pub name: String,
    /// Where it is.
    pub url: String,
    /// All its requests.
    #[serde(flatten)]
    pub all: Measures,
    /// Each kind of request, where there are several.
    pub kinds: Vec<KindResult>,
    /// Latency at rising quantiles: share and seconds (`null` among failures).
    pub curve: Vec<(f64, Option<f64>)>,
    /// The measured time in slices.
    pub slices: Vec<SliceResult>,
}

/// One kind of request.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct KindResult {
    /// Its name.
    pub name: String,
    /// What was measured.
    #[serde(flatten)]
    pub measures: Measures,
}

/// Numbers of some requests.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Measures {
    /// Requests that were meant to leave in the measured time.
    pub requests: u64,
    /// Good answers.
    pub ok: u64,
    /// Failed requests.
    pub failed: u64,
    /// Failed requests by how they failed.
    pub failures: BTreeMap<String, u64>,
    /// Good answers per second of the measured time.
    pub throughput: f64,
    /// Bytes of answers per second.
    pub bytes_per_second: f64,
    /// From when requests were meant to leave; failed ones are slower than all others.
    pub latency: Times,
    /// From when requests left.
    pub service: Times,
    /// To the first token, where answers were streamed.
    pub first_token: Option<Times>,
    /// From token to token, where answers were streamed.
    pub inter_token: Option<Times>,
    /// Tokens per second, where there are any.
    pub tokens_per_second: Option<f64>,
}

/// A distribution of durations, in seconds. `null` where a quantile falls among failures.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Times {
    /// Half are at most this.
    pub p50: Option<f64>,
    /// 90 %.
    pub p90: Option<f64>,
    /// 95 %.
    pub p95: Option<f64>,
    /// 99 %.
    pub p99: Option<f64>,
    /// 99.9 %.
    pub p999: Option<f64>,
    /// The largest of good answers.
    pub max: Option<f64>,
    /// The mean of good answers.
    pub mean: Option<f64>,
    /// Where the median may be.
    pub p50_interval: Interval,
    /// Where the 99 % quantile may be.
    pub p99_interval: Interval,
}

/// A slice of time.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SliceResult {
    /// Seconds from the beginning of the measured time to the slice's.
    pub at: f64,
    /// Requests per second that were meant to leave in it.
    pub rate: f64,
    /// Failed requests per second.
    pub failed: f64,
    /// Median latency, in seconds.
    pub p50: Option<f64>,
    /// 99 % quantile.
    pub p99: Option<f64>,
    /// The largest of good answers.
    pub max: Option<f64>,
}

/// A statistic of the second target divided by the first one's.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Compared {
    /// Which statistic, as goals call it.
    pub statistic: String,
    /// The first target's, in seconds.
    pub first: Option<f64>,
    /// The second target's.
    pub second: Option<f64>,
    /// Their ratio; `null` where it has none or is infinite.
    pub ratio: Option<f64>,
    /// Where it may be.
    pub interval: Option<Interval>,
}

/// The load generator itself.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct GeneratorResult {
    /// Threads that sent.
    pub threads: usize,
    /// Requests sent, warm-up included.
    pub sent: u64,
    /// Connections opened.
    pub connections: u64,
    /// How late requests left, in seconds.
    pub lag_p50: Option<f64>,
    /// The same for the latest hundredth.
    pub lag_p99: Option<f64>,
    /// The latest.
    pub lag_max: Option<f64>,
    /// Requests that left later than they may.
    pub late: u64,
    /// How late a request may leave, in seconds.
    pub max_lag: f64,
    /// Requests under way that were given up when the run was stopped.
    pub cut: u64,
    /// CPU time of this process, in seconds.
    pub cpu_seconds: Option<f64>,
    /// The same per request, in microseconds.
    pub cpu_micros_per_request: Option<f64>,
}

/// How the highest rate was looked for.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SearchResult {
    /// The highest rate that holds the goals, in requests per second.
    pub rate: Option<f64>,
    /// What that means, in a sentence.
    pub sentence: String,
    /// Every rate that was tried, in order.
    pub tries: Vec<TryResult>,
}

/// One rate that was tried.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct TryResult {
    /// Requests per second.
    pub rate: f64,
    /// Whether it was to confirm what had held.
    pub confirms: bool,
    /// What came of it.
    pub outcome: Outcome,
    /// 99 % quantile of latency, in seconds.
    pub p99: Option<f64>,
    /// Share of failed requests.
    pub errors: f64,
}

/// Share of requests that may leave late before a run is invalid.
pub const MOST_LATE: f64 = 0.01;

/// The result of a run.
pub fn result(scenario: &Scenario, counted: &Counted, resources: Vec<Taken>, rate: Option<f64>) -> RunResult {
    let goals = judge(scenario, counted, &resources);
    let seconds = counted.seconds;
    let targets: Vec<TargetResult> = scenario
        .targets
        .iter()
        .enumerate()
        .map(|(at, target)| {
            let all = counted.of_target(at);
            let kinds = counted.series.get(at).map(Vec::as_slice).unwrap_or_default();
            let named = scenario.requests.iter().zip(kinds).map(|(request, series)| KindResult {
                name: request.name.clone(),
                measures: measures(series, seconds, scenario.confidence),
            });
            TargetResult {
                name: target.name.clone(),
                url: target.url.clone(),
                kinds: if kinds.len() > 1 { named.collect() } else { Vec::new() },
                curve: curve(&all),
                slices: slices(&all, seconds),
                all: measures(&all, seconds, scenario.confidence),
            }
        })
        .collect();
    let generator = generator(scenario, counted);
    let mut remarks = Vec::new();
    let invalid = invalid(&generator, &targets, counted);
    let outcome = match invalid {
        _ if counted.interrupted => Outcome::Interrupted,
        Some(why) => {
            remarks.push(why);
            Outcome::Invalid
        }
        None if goals.is_empty() && targets.iter().any(|target| target.all.ok == 0) => {
            remarks.push("no request was answered well".to_owned());
            Outcome::Fail
        }
        None => together(&goals).into(),
    };
    remarks.extend(noted(scenario, counted));
    let comparison = match counted.series.len() {
        2 => compared(scenario, &counted.of_target(0), &counted.of_target(1)),
        _ => Vec::new(),
    };
    RunResult {
        version: 1,
        name: scenario.name.clone(),
        outcome,
        remarks,
        began_ms: counted
            .began
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(0)),
        seconds,
        load: words(scenario, rate),
        rate,
        seed: scenario.seed,
        confidence: scenario.confidence,
        goals,
        targets,
        comparison,
        resources,
        generator,
        search: None,
    }
}

fn generator(scenario: &Scenario, counted: &Counted) -> GeneratorResult {
    let cpu = counted.cpu_seconds;
    GeneratorResult {
        threads: counted.threads,
        sent: counted.sent,
        connections: counted.connections,
        lag_p50: counted.lag.quantile(0.5, 0),
        lag_p99: counted.lag.quantile(0.99, 0),
        lag_max: counted.lag.max(),
        late: counted.late,
        max_lag: scenario.max_lag().as_secs_f64(),
        cut: counted.cut,
        cpu_seconds: cpu,
        cpu_micros_per_request: cpu.filter(|_| counted.sent > 0).map(|cpu| cpu * 1e6 / counted.sent as f64),
    }
}

fn measures(series: &Series, seconds: f64, confidence: f64) -> Measures {
    let per_second = |count: f64| if seconds > 0.0 { count / seconds } else { 0.0 };
    let failed = series.failed();
    let of = |timing, histogram: &Histogram, failed| times(series, timing, histogram, failed, confidence);
    let streamed = |timing, histogram: &Histogram, failed| {
        (histogram.count() > 0).then(|| of(timing, histogram, failed))
    };
    Measures {
        requests: series.requests(),
        ok: series.ok,
        failed,
        failures: series.failures.iter().map(|(failure, count)| (failure.to_string(), *count)).collect(),
        throughput: per_second(series.in_time as f64),
        bytes_per_second: per_second(series.bytes as f64),
        latency: of(Timing::Latency, &series.latency, failed),
        service: of(Timing::Service, &series.service, failed),
        first_token: streamed(Timing::FirstToken, &series.first_token, failed),
        inter_token: streamed(Timing::InterToken, &series.inter_token, 0),
        tokens_per_second: (series.tokens > 0).then(|| per_second(series.tokens as f64)),
    }
}

fn times(series: &Series, timing: Timing, histogram: &Histogram, failed: u64, confidence: f64) -> Times {
    let at = |q| histogram.quantile(q, failed);
    Times {
        p50: at(0.5),
        p90: at(0.9),
        p95: at(0.95),
        p99: at(0.99),
        p999: at(0.999),
        max: histogram.max(),
        mean: histogram.mean(),
        p50_interval: quantile_interval(series, timing, 0.5, confidence),
        p99_interval: quantile_interval(series, timing, 0.99, confidence),
    }
}

/// Quantiles ever nearer to 1, as far as the number of requests says anything.
fn curve(series: &Series) -> Vec<(f64, Option<f64>)> {
    let requests = series.requests();
    let mut points: Vec<f64> = (0..20).map(|n| f64::from(n) * 0.045).collect();
    let mut left = 0.1;
    while left * requests as f64 >= 1.0 && points.len() < 120 {
        points.extend([1.0, 0.8, 0.6, 0.45, 0.3, 0.2, 0.14].map(|part| 1.0 - left * part));
        left *= 0.1;
    }
    points.push(1.0);
    points.into_iter().map(|q| (q, series.latency.quantile(q.max(1e-9), series.failed()))).collect()
}

fn slices(series: &Series, seconds: f64) -> Vec<SliceResult> {
    let width = series.slice_seconds;
    let shown = series.slices.iter().enumerate().map(|(at, slice)| SliceResult {
        at: at as f64 * width,
        rate: (slice.latency.count() + slice.failed) as f64 / width,
        failed: slice.failed as f64 / width,
        p50: slice.latency.quantile(0.5, slice.failed),
        p99: slice.latency.quantile(0.99, slice.failed),
        max: slice.latency.max(),
    });
    shown.take_while(|slice| slice.at < seconds).collect()
}

fn compared(scenario: &Scenario, first: &Series, second: &Series) -> Vec<Compared> {
    let quantiles = [0.5, 0.9, 0.99].map(Statistic::Quantile);
    let one = |timing: Timing, statistic: Statistic| {
        let of = |series: &Series| {
            let histogram = if timing == Timing::FirstToken { &series.first_token } else { &series.latency };
            match statistic {
                Statistic::Quantile(q) => histogram.quantile(q, series.failed()),
                Statistic::Mean => histogram.mean(),
                Statistic::Max => histogram.max(),
            }
        };
        let found = ratio(first, second, timing, statistic, scenario.confidence, scenario.seed);
        let word = match timing.word() {
            "" => statistic.to_string(),
            word => format!("{word}.{statistic}"),
        };
        Compared {
            statistic: word,
            first: of(first),
            second: of(second),
            ratio: found.map(|ratio| ratio.value).filter(|value| value.is_finite()),
            interval: found.map(|ratio| ratio.interval),
        }
    };
    let mut all: Vec<Compared> = quantiles.iter().map(|s| one(Timing::Latency, *s)).collect();
    all.push(one(Timing::Latency, Statistic::Mean));
    if first.first_token.count() > 0 && second.first_token.count() > 0 {
        all.extend(quantiles.iter().map(|s| one(Timing::FirstToken, *s)));
    }
    all
}

/// The time of day, for documents.
pub fn now_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(0))
}
