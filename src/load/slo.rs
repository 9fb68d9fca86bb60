//! What a run must hold to, as people write it: `p99<80ms`, `errors<0.1%`, `goodput>99%`.
//!
//! ```text
//! p50|p99|p99.9|mean|max < 80ms     latency from the intended send time, failures being the slowest
//! service.p99 < 80ms                the same from the actual send time
//! ttft[.p95] < 300ms                time to the first token; p99 if no quantile is named
//! itl[.p95] < 40ms                  time between tokens; p99 likewise
//! errors < 0.1%                     share of requests that failed
//! throughput > 390/s                good answers a second
//! tokens > 1000/s                   tokens a second
//! goodput > 99%, goodput(80ms) > 99%   share of requests that were good and within a limit
//! NAME.cpu < 150%, NAME.rss < 512Mi, NAME.fds < 200   of a watched process
//! B/A p99 < 1.1                     ratio of two compared targets
//! ```

use std::fmt;
use std::time::Duration;

/// What is limited.
#[derive(Debug, Clone, PartialEq)]
pub enum Metric {
    /// A duration's quantile, mean or maximum.
    Time(Timing, Statistic),
    /// Share of requests that failed.
    Errors,
    /// Good answers per second.
    Throughput,
    /// Tokens per second.
    Tokens,
    /// Share of requests that were good and answered within this; without a limit, within the
    /// largest limit that the other goals set for a latency.
    Goodput(Option<Duration>),
    /// What a watched process takes.
    Resource(String, Resource),
    /// A statistic of the second target divided by that of the first.
    Ratio(Timing, Statistic),
}

/// Which duration.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Timing {
    /// From when the request was meant to leave to the end of its answer.
    Latency,
    /// From when it left to the end of its answer.
    Service,
    /// From when it was meant to leave to the first token.
    FirstToken,
    /// From one token to the next.
    InterToken,
}

impl Timing {
    /// The word that stands before a statistic; none for latency.
    pub fn word(self) -> &'static str {
        match self {
            Self::Latency => "",
            Self::Service => "service",
            Self::FirstToken => "ttft",
            Self::InterToken => "itl",
        }
    }
}

/// Which number of a distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// The value that this share lies at or below, strictly between 0 and 1.
    Quantile(f64),
    /// The mean.
    Mean,
    /// The largest.
    Max,
}

impl fmt::Display for Statistic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Quantile(q) => write!(f, "p{}", (q * 1e8).round() / 1e6),
            Self::Mean => f.write_str("mean"),
            Self::Max => f.write_str("max"),
        }
    }
}

/// What of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resource {
    /// CPU time per time, on average; 1 is one core.
    Cpu,
    /// Resident memory, in bytes, at most.
    Rss,
    /// Open file descriptors, at most.
    Fds,
}

impl Resource {
    /// The word in goals and results.
    pub fn word(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Rss => "rss",
            Self::Fds => "fds",
        }
    }
}

/// On which side of the limit the metric must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Below.
    Below,
    /// Above.
    Above,
}

/// A goal.
#[derive(Debug, Clone, PartialEq)]
pub struct Slo {
    /// What is limited.
    pub metric: Metric,
    /// Where it must be.
    pub side: Side,
    /// The limit: seconds, a share, per second, bytes, cores, a count or a ratio.
    pub limit: f64,
    /// As it was written.
    pub text: String,
    /// Only requests of this kind (by position in the scenario); none: all.
    pub kind: Option<usize>,
}

impl fmt::Display for Slo {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Why a text is no goal, and what to write.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}: {fix}")]
pub struct SloError {
    /// What is wrong.
    pub message: String,
    /// What to write instead.
    pub fix: String,
}

fn refuse<T>(message: String, fix: impl Into<String>) -> Result<T, SloError> {
    Err(SloError { message, fix: fix.into() })
}

impl Slo {
    /// Reads a goal.
    ///
    /// # Errors
    /// [`SloError`]: what is wrong, and what to write.
    pub fn parse(text: &str) -> Result<Self, SloError> {
        let shown: String = text.chars().take(60).filter(|c| !c.is_control()).collect();
        let Some(at) = text.find(['<', '>']) else {
            return refuse(
                format!("{shown:?} is no goal: it compares nothing"),
                "write one such as \"p99<80ms\" or \"errors<0.1%\"",
            );
        };
        let (name, rest) = text.split_at_checked(at).unwrap_or((text, ""));
        let side = if rest.starts_with('<') { Side::Below } else { Side::Above };
        let value = rest.trim_start_matches(['<', '>']);
        let value = value.strip_prefix('=').unwrap_or(value).trim();
        let metric = metric(name.trim()).map_err(|fix| SloError {
            message: format!("{shown:?}: {:?} is nothing that is measured", name.trim()),
            fix,
        })?;
        let wanted = match metric {
            Metric::Throughput | Metric::Tokens | Metric::Goodput(_) => Side::Above,
            _ => Side::Below,
        };
        if side != wanted {
            let sign = if wanted == Side::Below { '<' } else { '>' };
            return refuse(
                format!("{shown:?} asks for the worse side"),
                format!("write \"{}{sign}{value}\"", name.trim()),
            );
        }
        let limit = limit(&metric, value)
            .map_err(|fix| SloError { message: format!("{shown:?}: {value:?} is no limit for it"), fix })?;
        let most = if matches!(metric, Metric::Goodput(_)) { 1.0 } else { f64::INFINITY };
        if (side == Side::Below && limit <= 0.0) || limit >= most {
            let fix = if side == Side::Below { "write more than 0" } else { "write less than 100%" };
            return refuse(format!("{shown:?} cannot be shown to hold"), fix);
        }
        Ok(Self { metric, side, limit, text: text.trim().to_owned(), kind: None })
    }

    /// The latency that a single request may take to hold this, if it is a limit of latency.
    pub fn latency_limit(&self) -> Option<Duration> {
        match self.metric {
            Metric::Time(Timing::Latency, _) => Duration::try_from_secs_f64(self.limit).ok(),
            _ => None,
        }
    }
}

const KNOWN: &str = "write p50, p99, p99.9, mean, max, ttft, itl, service.p99, errors, throughput, tokens, goodput, NAME.cpu, NAME.rss, NAME.fds or B/A p99";

const RATIO: &str = "write \"B/A p99\", \"B/A mean\" or \"B/A ttft.p99\"";

fn metric(name: &str) -> Result<Metric, String> {
    if let Some(rest) = name.strip_prefix("B/A").or_else(|| name.strip_prefix("b/a")) {
        let (timing, statistic) = timed(rest.trim().trim_start_matches('.')).ok_or(RATIO)?;
        if matches!(timing, Timing::Service | Timing::InterToken) || statistic == Statistic::Max {
            return Err(RATIO.to_owned());
        }
        return Ok(Metric::Ratio(timing, statistic));
    }
    match name {
        "errors" => return Ok(Metric::Errors),
        "throughput" => return Ok(Metric::Throughput),
        "tokens" => return Ok(Metric::Tokens),
        "goodput" => return Ok(Metric::Goodput(None)),
        _ => {}
    }
    if let Some(inside) = name.strip_prefix("goodput(").and_then(|rest| rest.strip_suffix(')')) {
        let limit = seconds(inside.trim()).ok_or("write the limit as in \"goodput(80ms)\"")?;
        return Ok(Metric::Goodput(Duration::try_from_secs_f64(limit).ok()));
    }
    if let Some((timing, statistic)) = timed(name) {
        return Ok(Metric::Time(timing, statistic));
    }
    if let Some((process, what)) = name.rsplit_once('.') {
        let what = match what {
            "cpu" => Some(Resource::Cpu),
            "rss" => Some(Resource::Rss),
            "fds" => Some(Resource::Fds),
            _ => None,
        };
        if let (Some(what), false) = (what, process.is_empty()) {
            return Ok(Metric::Resource(process.to_owned(), what));
        }
    }
    Err(KNOWN.to_owned())
}

/// A duration and its statistic: `p99`, `ttft`, `ttft.p95`, `service max`.
fn timed(name: &str) -> Option<(Timing, Statistic)> {
    let (first, rest) = match name.split_once(['.', ' ']) {
        Some((first, rest)) if matches!(first, "ttft" | "itl" | "service" | "latency") => {
            (first, rest.trim())
        }
        _ => (name, ""),
    };
    let timing = match first {
        "ttft" => Timing::FirstToken,
        "itl" => Timing::InterToken,
        "service" => Timing::Service,
        "latency" => Timing::Latency,
        _ => return statistic(name).map(|statistic| (Timing::Latency, statistic)),
    };
    match rest {
        "" => Some((timing, Statistic::Quantile(0.99))),
        rest => statistic(rest).map(|statistic| (timing, statistic)),
    }
}

fn statistic(text: &str) -> Option<Statistic> {
    match text {
        "mean" => return Some(Statistic::Mean),
        "max" => return Some(Statistic::Max),
        _ => {}
    }
    let digits = text.strip_prefix('p')?;
    let plain = digits.bytes().all(|b| b.is_ascii_digit() || b == b'.') && digits.len() <= 8;
    let percent: f64 = digits.parse().ok().filter(|_| plain)?;
    (percent > 0.0 && percent < 100.0).then_some(Statistic::Quantile((percent * 1e4).round() / 1e6))
}

fn limit(metric: &Metric, value: &str) -> Result<f64, String> {
    let number = number(value);
    let with =
        |units: &[&str]| units.iter().map(|u| format!("\"{value}{u}\"")).collect::<Vec<_>>().join(" or ");
    match metric {
        Metric::Time(..) => seconds(value).ok_or_else(|| match number {
            Some(_) => format!("write the unit: {}", with(&["ms", "s"])),
            None => "write a duration such as \"80ms\", \"250us\" or \"1.5s\"".to_owned(),
        }),
        Metric::Errors | Metric::Goodput(_) => percent(value).ok_or_else(|| match number {
            Some(_) => format!("write a percentage: {}", with(&["%"])),
            None => "write a percentage such as \"0.1%\"".to_owned(),
        }),
        Metric::Throughput | Metric::Tokens => {
            let bare = ["/s", "rps"].iter().find_map(|unit| value.strip_suffix(unit)).unwrap_or(value);
            self::number(bare.trim()).ok_or_else(|| "write a rate such as \"390/s\"".to_owned())
        }
        Metric::Resource(_, Resource::Cpu) => {
            let share = value.strip_suffix('%').and_then(|v| self::number(v.trim())).map(|v| v / 100.0);
            share.ok_or_else(|| "write a percentage of one core such as \"150%\"".to_owned())
        }
        Metric::Resource(_, Resource::Rss) => {
            bytes(value).ok_or_else(|| "write bytes such as \"512Mi\" or \"2Gi\"".to_owned())
        }
        Metric::Resource(_, Resource::Fds) | Metric::Ratio(..) => {
            number.ok_or_else(|| "write a number such as \"1.1\"".to_owned())
        }
    }
}

fn number(text: &str) -> Option<f64> {
    let plain = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    text.parse().ok().filter(|n: &f64| plain && n.is_finite())
}

fn percent(text: &str) -> Option<f64> {
    let percent = number(text.strip_suffix('%')?.trim())?;
    (percent <= 100.0).then_some(percent / 100.0)
}

/// A duration in seconds: `80ms`, `250us`, `1.5s`, `2m`.
pub fn seconds(text: &str) -> Option<f64> {
    let units = [("ms", 1e-3), ("us", 1e-6), ("µs", 1e-6), ("s", 1.0), ("m", 60.0)];
    let (digits, scale) = units.iter().find_map(|(unit, s)| text.strip_suffix(unit).map(|d| (d, *s)))?;
    Some(number(digits.trim())? * scale)
}

fn bytes(text: &str) -> Option<f64> {
    let units = [("Ki", 10), ("Mi", 20), ("Gi", 30)];
    let found = units.iter().find_map(|(unit, shift)| text.strip_suffix(unit).map(|d| (d, 1_u64 << shift)));
    let (digits, scale) = found.unwrap_or((text, 1));
    Some(number(digits.trim())? * scale as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parsed(text: &str) -> (Metric, f64) {
        let slo = Slo::parse(text).unwrap_or_else(|e| panic!("{text}: {e}"));
        (slo.metric, slo.limit)
    }

    #[test]
    fn goals_read_as_people_write_them() {
        use Statistic::{Max, Mean, Quantile};
        let time = |timing, statistic| Metric::Time(timing, statistic);
        for (text, metric, limit) in [
            ("p99<80ms", time(Timing::Latency, Quantile(0.99)), 0.08),
            (" p99.9 <= 1.5s", time(Timing::Latency, Quantile(0.999)), 1.5),
            ("max<250us", time(Timing::Latency, Max), 0.00025),
            ("mean < 2m", time(Timing::Latency, Mean), 120.0),
            ("service.p50<3ms", time(Timing::Service, Quantile(0.5)), 0.003),
            ("ttft<300ms", time(Timing::FirstToken, Quantile(0.99)), 0.3),
            ("ttft p95<300ms", time(Timing::FirstToken, Quantile(0.95)), 0.3),
            ("itl.max<40ms", time(Timing::InterToken, Max), 0.04),
            ("errors<0.1%", Metric::Errors, 0.001),
            ("throughput>390/s", Metric::Throughput, 390.0),
            ("throughput > 390", Metric::Throughput, 390.0),
            ("tokens>1000/s", Metric::Tokens, 1000.0),
            ("goodput>99%", Metric::Goodput(None), 0.99),
            ("goodput(80ms)>99%", Metric::Goodput(Some(Duration::from_millis(80))), 0.99),
            ("side-car.cpu<150%", Metric::Resource("side-car".into(), Resource::Cpu), 1.5),
            ("m.rss<512Mi", Metric::Resource("m".into(), Resource::Rss), 512.0 * 1048576.0),
            ("m.fds<200", Metric::Resource("m".into(), Resource::Fds), 200.0),
            ("B/A p99<1.1", Metric::Ratio(Timing::Latency, Quantile(0.99)), 1.1),
            ("B/A ttft.p50<1.1", Metric::Ratio(Timing::FirstToken, Quantile(0.5)), 1.1),
        ] {
            let (found, value) = parsed(text);
            assert_eq!(found, metric, "{text}");
            assert!((value - limit).abs() < 1e-9 * limit, "{text}: {value}");
        }
        assert_eq!(Statistic::Quantile(0.999).to_string(), "p99.9");
        assert_eq!(Statistic::Quantile(0.5).to_string(), "p50");
    }

    #[test]
    fn every_mistake_is_one_line_with_its_fix() {
        for (text, part) in [
            ("p99", "compares nothing"),
            ("", "compares nothing"),
            ("p99<0ms", "cannot be shown to hold: write more than 0"),
            ("errors<0%", "write more than 0"),
            ("goodput(80ms)>100%", "write less than 100%"),
            ("p99<80", "write the unit: \"80ms\" or \"80s\""),
            ("p99<fast", "a duration such as"),
            ("p99>80ms", "write \"p99<80ms\""),
            ("goodput<99%", "write \"goodput>99%\""),
            ("p100<1s", "is nothing that is measured"),
            ("p0<1s", "is nothing that is measured"),
            ("latencies<1s", "write p50, p99"),
            ("errors<1", "write a percentage: \"1%\""),
            ("errors<101%", "a percentage such as"),
            ("throughput>fast", "a rate such as"),
            ("x.cpu<2", "a percentage of one core"),
            ("x.rss<a lot", "bytes such as"),
            (".cpu<2%", "is nothing that is measured"),
            ("B/A<1.1", "write \"B/A p99\""),
            ("B/A itl<1.1", "write \"B/A p99\""),
            ("goodput(80)>99%", "goodput(80ms)"),
        ] {
            let said = Slo::parse(text).unwrap_err().to_string();
            assert!(said.contains(part) && !said.contains('\n'), "{text}: {said}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,30}") {
            let _ = Slo::parse(&text);
        }
    }
}
