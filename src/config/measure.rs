//! Numbers with a fraction, rates, quantiles, and limits of what is measured.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::problem::{At, Report, short};
use super::read::{Read, found, place};
use super::scalar::{Time, decimal, parse_duration, percentage, scalar};
use super::tree::{Kind, Node};

/// A number, with or without a fraction; below zero only where `SIGNED`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Number<const SIGNED: bool = false>(pub f64);

/// A finite number in decimal, as YAML and JSON both read it.
fn parse_number(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix('-').unwrap_or(text);
    let ends = |c: Option<u8>| c.is_some_and(|c| c.is_ascii_digit());
    let (first, last) = (unsigned.bytes().next(), unsigned.bytes().last());
    // Neither `inf` nor `nan`, nor hexadecimal, nor a leading zero that some take for octal.
    let known = unsigned.bytes().all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'e' | b'E' | b'+' | b'-'));
    let octal = unsigned.starts_with('0') && unsigned.as_bytes().get(1).is_some_and(u8::is_ascii_digit);
    if !known || octal || !ends(first) || !ends(last) {
        return None;
    }
    text.parse::<f64>().ok().filter(|n| n.is_finite())
}

impl<const SIGNED: bool> Read for Number<SIGNED> {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let (text, plain) = scalar(node, at, "a number such as 1.5", report)?;
        match parse_number(text).filter(|_| plain) {
            Some(n) if SIGNED || n >= 0.0 => return Some(Self(n)),
            Some(_) => report.wrong(at, format!("{text} is below zero"), "write 0 or more"),
            None => {
                let message = format!("{} is not a number", found(node));
                report.wrong(at, message, "write one such as 2, 1.5 or 1e-3, without quotes");
            }
        }
        None
    }
}

impl<const SIGNED: bool> JsonSchema for Number<SIGNED> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        if SIGNED { "SignedNumber".into() } else { "Number".into() }
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        if SIGNED {
            json_schema!({ "type": "number" })
        } else {
            json_schema!({ "type": "number", "minimum": 0 })
        }
    }
}

/// A rate from 0 to 1, written `2%`, `0.25%`, `0.0001%` or `25bp`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate(pub f64);

/// What a rate may not be.
enum NoRate {
    Syntax,
    TooLarge,
}

/// Finer than a weight, which decides about whole requests: a limit of errors may be far below one
/// in ten thousand. Whole millionths, so that `2%` is the same number as `0.02`.
fn parse_rate(text: &str) -> Result<f64, NoRate> {
    let (number, places) = match (text.strip_suffix('%'), text.strip_suffix("bp")) {
        (Some(percent), _) => (percent.trim_end(), 4),
        (None, Some(points)) => (points.trim_end(), 2),
        (None, None) => return Err(NoRate::Syntax),
    };
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > places {
        return Err(NoRate::Syntax);
    }
    let millionths: u64 = format!("{whole}{part:0<places$}").parse().map_err(|_| NoRate::TooLarge)?;
    if millionths > 1_000_000 {
        return Err(NoRate::TooLarge);
    }
    Ok(millionths as f64 / 1e6)
}

impl Read for Rate {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let (text, _) = scalar(node, at, "a rate such as \"2%\"", report)?;
        match parse_rate(text) {
            Ok(rate) => return Some(Self(rate)),
            Err(NoRate::TooLarge) => {
                let message = format!("{} is more than everything", found(node));
                report.wrong(at, message, "write at most \"100%\" or \"10000bp\"");
            }
            Err(NoRate::Syntax) => {
                let fix = match (decimal(text).filter(|n| *n <= 100), percentage(text)) {
                    (Some(n), _) => format!("write \"{n}%\" or \"{n}bp\""),
                    (None, Some(percentage)) => format!("write {percentage:?}"),
                    (None, None) => "write a percentage such as \"2%\" or \"0.05%\"".to_owned(),
                };
                report.wrong(at, format!("{} is not a rate", found(node)), fix);
            }
        }
        None
    }
}

impl JsonSchema for Rate {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = "^((100(\\.0{1,4})?|0*[0-9]{1,2}(\\.[0-9]{1,4})?) ?%|0*(10000(\\.0{1,2})?|[0-9]{1,4}(\\.[0-9]{1,2})?) ?bp)$";
        json_schema!({ "type": "string", "pattern": pattern, "examples": ["2%", "0.05%", "5bp"] })
    }
}

/// A quantile: `p50`, `p99`, `p99.9`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Quantile(pub f64);

const QUANTILE_PATTERN: &str = "^p[0-9]{1,2}(\\.[0-9]{1,4})?$";

fn parse_quantile(text: &str) -> Option<f64> {
    let number = text.strip_prefix('p')?;
    let (whole, part) = number.split_once('.').unwrap_or((number, "0"));
    let digits =
        |s: &str, most: usize| (1..=most).contains(&s.len()) && s.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole, 2) || !digits(part, 4) {
        return None;
    }
    let millionths: u32 = format!("{whole}{part:0<4}").parse().ok()?;
    (millionths > 0).then_some(f64::from(millionths) / 1e6)
}

impl Read for Quantile {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let (text, _) = scalar(node, at, "a quantile such as p99", report)?;
        let quantile = parse_quantile(text);
        if quantile.is_none() {
            report.wrong(
                at,
                format!("{} is not a quantile", found(node)),
                "write one such as p50, p99 or p99.9",
            );
        }
        quantile.map(Self)
    }
}

impl JsonSchema for Quantile {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Quantile".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": QUANTILE_PATTERN, "examples": ["p50", "p99", "p99.9"] })
    }
}

/// How long something may take that is limited: 1 ms to a day.
type Limited = Time<1, 86_400_000>;

/// The limit of a quantile of a duration: `{p99: 500ms}`.
#[derive(Debug, Clone, Copy)]
pub(super) struct QuantileLimit {
    /// Which quantile.
    pub quantile: f64,
    /// Its limit.
    pub limit: Duration,
}

impl Read for QuantileLimit {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        const FIX: &str = "write one quantile and its limit, such as {p99: 500ms}";
        let Kind::Map(entries) = &node.kind else {
            report.wrong(at, format!("expected a limit of a quantile, found {}", found(node)), FIX);
            return None;
        };
        let [entry] = entries.as_slice() else {
            report.wrong(at, format!("{} limits", entries.len()), FIX);
            return None;
        };
        let path = at.path_of(&entry.key);
        let Some(quantile) = parse_quantile(&entry.key) else {
            let (line, column) = (entry.mark.line, entry.mark.column);
            let at = At { path, line, column, written: short(&entry.key) };
            report.wrong(&at, format!("{:?} is not a quantile", short(&entry.key)), FIX);
            return None;
        };
        let time = Limited::read(&entry.value, &place(path, entry.value.mark, &entry.value), report)?;
        Some(Self { quantile, limit: time.0 })
    }
}

impl JsonSchema for QuantileLimit {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "QuantileLimit".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let time = generator.subschema_for::<Limited>();
        json_schema!({
            "type": "object",
            "patternProperties": { QUANTILE_PATTERN: time },
            "additionalProperties": false,
            "minProperties": 1,
            "maxProperties": 1,
        })
    }
}

/// What a plain threshold limits.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum MetricName {
    /// Share of failed requests.
    ErrorRate,
    /// Share of requests that did not fail.
    SuccessRate,
    /// Share of compared copies that diverged.
    DivergenceRate,
    /// A quantile of a duration.
    Quantile(f64),
}

impl Read for MetricName {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let (text, _) = scalar(node, at, "a metric", report)?;
        let metric = match text {
            "errorRate" => Some(Self::ErrorRate),
            "successRate" => Some(Self::SuccessRate),
            "divergenceRate" => Some(Self::DivergenceRate),
            text => parse_quantile(text).map(Self::Quantile),
        };
        if metric.is_none() {
            let fix = "write errorRate, successRate, divergenceRate or a quantile such as p99";
            report.wrong(at, format!("{} is not a metric", found(node)), fix);
        }
        metric
    }
}

impl JsonSchema for MetricName {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "MetricName".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "anyOf": [
            { "enum": ["errorRate", "successRate", "divergenceRate"] },
            { "pattern": QUANTILE_PATTERN },
        ] })
    }
}

/// The limit of a metric: a rate, or a duration.
#[derive(Debug, Clone, Copy)]
pub(super) enum Bound {
    /// A rate.
    Rate(f64),
    /// A duration.
    Time(Duration),
}

impl Read for Bound {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        const EITHER: &str = "a rate such as \"2%\" or a duration such as \"500ms\"";
        let (text, _) = scalar(node, at, EITHER, report)?;
        if parse_duration(text).is_some() {
            Limited::read(node, at, report).map(|time| Self::Time(time.0))
        } else if text.ends_with(['%', 'p']) || percentage(text).is_some() {
            Rate::read(node, at, report).map(|rate| Self::Rate(rate.0))
        } else {
            let message = format!("{} is neither a rate nor a duration", found(node));
            report.wrong(at, message, format!("write {EITHER}"));
            None
        }
    }
}

impl JsonSchema for Bound {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Bound".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let rate = generator.subschema_for::<Rate>();
        let time = generator.subschema_for::<Limited>();
        json_schema!({ "anyOf": [rate, time] })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rates_are_the_same_numbers_as_their_fractions() {
        for (text, rate) in [
            ("2%", 0.02),
            ("0.2%", 0.002),
            ("100%", 1.0),
            ("25bp", 0.0025),
            ("0.0001%", 1e-6),
            ("0.5bp", 5e-5),
        ] {
            assert_eq!(parse_rate(text).ok(), Some(rate), "{text}");
        }
        for bad in ["2", "0.02", "", "%", ".5%", "5.%", "-1%", "0.00001%", "1e1%", "1.001bp"] {
            assert!(matches!(parse_rate(bad), Err(NoRate::Syntax)), "{bad}");
        }
        for bad in ["100.0001%", "10001bp", "99999999999999999999%"] {
            assert!(matches!(parse_rate(bad), Err(NoRate::TooLarge)), "{bad}");
        }
    }

    #[test]
    fn quantiles_are_the_same_numbers_as_their_fractions() {
        for (text, quantile) in
            [("p50", 0.5), ("p9", 0.09), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)]
        {
            assert_eq!(parse_quantile(text), Some(quantile), "{text}");
        }
        for bad in ["p0", "p100", "99", "p", "p99.", "p.9", "P99", "p-1", "p99.99999"] {
            assert_eq!(parse_quantile(bad), None, "{bad}");
        }
    }

    #[test]
    fn numbers_are_decimal_and_finite() {
        for (text, number) in
            [("1", 1.0), ("0.5", 0.5), ("1e-4", 1e-4), ("-2.5", -2.5), ("0", 0.0), ("1E+2", 100.0)]
        {
            assert_eq!(parse_number(text), Some(number), "{text}");
        }
        for bad in ["", ".5", "5.", "+1", "inf", "nan", "0x1", "1e999", "01", "1_000", "1 ", "--1", "e5"] {
            assert_eq!(parse_number(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_number_readers_panic(text in "[-+0-9.eEpb% ]{0,12}|\\PC{0,12}") {
            let _ = (parse_number(&text), parse_rate(&text).ok(), parse_quantile(&text));
        }
    }
}
