//! What a result says in sentences: what was sent, and what its reader must know.

use super::{GeneratorResult, MOST_LATE, TargetResult};
use crate::load::drive::Counted;
use crate::load::spec::{ArrivalSpec, LoadSpec, Scenario};

/// Share of a core from which on a closed loop may be bound by its generator.
const BUSY: f64 = 0.9;

/// What else a reader must know to read the numbers right.
pub(super) fn noted(scenario: &Scenario, counted: &Counted) -> Vec<String> {
    let mut remarks = Vec::new();
    if counted.interrupted && counted.seconds > 0.0 {
        remarks.push(format!(
            "stopped after {:.1} s of the measured time: the numbers are those of this part",
            counted.seconds
        ));
    } else if counted.interrupted {
        remarks.push("stopped before the measured time began: there are no numbers".to_owned());
    }
    if counted.cut > 0 {
        remarks.push(format!(
            "{} requests were still under way at the end: they are in no number, and may have been the slowest",
            counted.cut
        ));
    }
    if counted.spent {
        remarks.push(format!(
            "all requests that may be sent were sent after {:.1} s (limits.maxRequests, --max-requests)",
            counted.seconds
        ));
    }
    let time = counted.seconds + scenario.warmup.as_secs_f64();
    let busy = counted.cpu_seconds.unwrap_or(0.0) / (counted.threads.max(1) as f64 * time.max(1e-3));
    if matches!(scenario.load, LoadSpec::Closed { .. }) && busy > BUSY && counted.seconds >= 1.0 {
        remarks.push(format!(
            "the load generator was busy for {:.0}% of its time: the throughput may be its own, and not the server's. \
             Give it more --threads and cores",
            100.0 * busy.min(1.0)
        ));
    }
    remarks
}

/// What is sent, in words.
pub(super) fn words(scenario: &Scenario, rate: Option<f64>) -> String {
    let each = if scenario.targets.len() > 1 { " to each target" } else { "" };
    match (&scenario.load, rate) {
        (LoadSpec::Closed { clients, .. }, _) => format!("closed loop, {clients} clients"),
        (LoadSpec::Open { arrivals, stages }, rate) => {
            let how = match arrivals {
                ArrivalSpec::Constant => "evenly spaced",
                ArrivalSpec::Poisson => "Poisson",
                ArrivalSpec::Trace(_) => "as recorded",
            };
            let stages = if stages.len() > 1 { format!(", {} stages", stages.len()) } else { String::new() };
            format!("open loop, {} requests/s{each}, {how}{stages}", Short(rate.unwrap_or(0.0)))
        }
        (LoadSpec::FindMax(spec), rate) => {
            let how = if spec.poisson { "Poisson" } else { "evenly spaced" };
            format!("open loop, {} requests/s{each}, {how}", Short(rate.unwrap_or(0.0)))
        }
    }
}

/// A rate without digits that mean nothing.
struct Short(f64);

impl std::fmt::Display for Short {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let rounded = (self.0 * 10.0).round() / 10.0;
        write!(f, "{rounded}")
    }
}

/// Why nothing is known of the server, if that is so.
pub(super) fn invalid(
    generator: &GeneratorResult,
    targets: &[TargetResult],
    counted: &Counted,
) -> Option<String> {
    let sent: u64 = counted.lag.count();
    if targets.iter().all(|target| target.all.requests == 0) {
        return Some(
            "no request was meant to leave in the measured time: test for longer, or faster".to_owned(),
        );
    }
    let share = generator.late as f64 / sent.max(1) as f64;
    (share > MOST_LATE).then(|| {
        format!(
            "the load generator fell behind: {:.1}% of the requests left more than {} late (99% within {}). Give \
             it a machine or cores of its own, more --threads, or a lower rate",
            100.0 * share,
            crate::load::report::duration(generator.max_lag),
            generator.lag_p99.map_or("-".to_owned(), crate::load::report::duration)
        )
    })
}
