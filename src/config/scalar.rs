//! Numbers, sizes, durations, shares and switches, with their bounds in their types: what is
//! refused and what the schema says cannot drift apart.

use std::borrow::Cow;
use std::time::Duration;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::base::Weight;

use super::problem::{At, Report};
use super::read::{Read, boolean, found};
use super::tree::{Kind, Node};

/// The text of a scalar and whether it is plain, or what to say instead.
pub(super) fn scalar<'n>(
    node: &'n Node,
    at: &At,
    expected: &str,
    report: &mut Report,
) -> Option<(&'n str, bool)> {
    match &node.kind {
        Kind::Scalar { text, plain } => Some((text, *plain)),
        Kind::Null | Kind::List(_) | Kind::Map(_) => {
            report.wrong(at, format!("expected {expected}, found {}", found(node)), "");
            None
        }
    }
}

/// Decimal digits without a leading zero, which some YAML readers take for octal.
pub(super) fn decimal(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let octal = text.len() > 1 && text.starts_with('0');
    if digits && !octal { text.parse().ok() } else { None }
}

/// A whole number from `MIN` to `MAX`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Count<const MIN: u64, const MAX: u64>(pub u64);

impl<const MIN: u64, const MAX: u64> Read for Count<MIN, MAX> {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let (text, plain) = scalar(node, at, "a whole number", report)?;
        match decimal(text).filter(|_| plain) {
            Some(n) if (MIN..=MAX).contains(&n) => return Some(Self(n)),
            Some(n) => report.wrong(at, format!("{n} is out of range"), range(MIN, MAX)),
            None if text.bytes().all(|b| b.is_ascii_digit()) && plain && !text.starts_with('0') => {
                report.wrong(at, format!("{} is out of range", found(node)), range(MIN, MAX));
            }
            None => {
                let message = format!("{} is not a whole number", found(node));
                report.wrong(at, message, format!("{}, without quotes", range(MIN, MAX)));
            }
        }
        None
    }
}

fn range(min: u64, max: u64) -> String {
    format!("write a number from {min} to {max}")
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Count<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Count_{MIN}_{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "minimum": MIN, "maximum": MAX })
    }
}

/// A number of bytes from `MIN` to `MAX`: `65536`, `64Ki`, `16Mi`, `4Gi`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size<const MIN: u64, const MAX: u64>(pub u64);

/// 1024 bytes.
pub(super) const KI: u64 = 1 << 10;
/// 1024 `KI`.
pub(super) const MI: u64 = 1 << 20;
/// 1024 `MI`.
pub(super) const GI: u64 = 1 << 30;

/// Bytes as they are written.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let units = [("Ki", KI), ("Mi", MI), ("Gi", GI)];
    let (digits, unit) =
        units.iter().find_map(|(u, n)| text.strip_suffix(u).map(|t| (t, *n))).unwrap_or((text, 1));
    decimal(digits)?.checked_mul(unit)
}

/// The shortest way to write `bytes`.
pub(super) fn show_size(bytes: u64) -> String {
    for (unit, size) in [("Gi", GI), ("Mi", MI), ("Ki", KI)] {
        if bytes >= size && bytes.is_multiple_of(size) {
            return format!("{}{unit}", bytes / size);
        }
    }
    bytes.to_string()
}

impl<const MIN: u64, const MAX: u64> Read for Size<MIN, MAX> {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let (text, _) = scalar(node, at, "a size such as \"64Ki\"", report)?;
        let range = || format!("write {} to {}", show_size(MIN), show_size(MAX));
        match parse_size(text) {
            Some(n) if (MIN..=MAX).contains(&n) => return Some(Self(n)),
            Some(_) => report.wrong(at, format!("{} is out of range", found(node)), range()),
            None => report.wrong(
                at,
                format!("{} is not a size", found(node)),
                "write bytes such as 65536, or \"64Ki\", \"16Mi\", \"4Gi\"",
            ),
        }
        None
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Size<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Size_{MIN}_{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": ["string", "integer"],
            "pattern": "^(0|[1-9][0-9]*)(Ki|Mi|Gi)?$",
            "minimum": MIN,
            "maximum": MAX,
            "examples": ["64Ki", "16Mi", 65536],
        })
    }
}

/// A duration from `MIN` to `MAX` milliseconds: `250ms`, `10s`, `5m`, `1h`, `1h30m`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Time<const MIN: u64, const MAX: u64>(pub Duration);

const UNITS: [(&str, u64); 4] = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Milliseconds as they are written: whole numbers with units, the larger unit first.
pub(super) fn parse_duration(text: &str) -> Option<u64> {
    let (mut rest, mut total, mut units) = (text, 0_u64, UNITS.iter());
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let (number, after) = rest.split_at_checked(digits)?;
        let letters = after.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(after.len());
        let (unit, after) = after.split_at_checked(letters)?;
        let (_, size) = units.by_ref().find(|(name, _)| *name == unit)?;
        let amount = number.parse::<u64>().ok()?.checked_mul(*size)?;
        (rest, total) = (after, total.checked_add(amount)?);
    }
    (!text.is_empty()).then_some(total)
}

/// The shortest way to write a number of milliseconds.
pub(super) fn show_duration(mut ms: u64) -> String {
    let mut text = String::new();
    for (unit, size) in UNITS {
        if ms >= size {
            text.push_str(&format!("{}{unit}", ms / size));
            ms %= size;
        }
    }
    if text.is_empty() { "0s".to_owned() } else { text }
}

impl<const MIN: u64, const MAX: u64> Read for Time<MIN, MAX> {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let (text, _) = scalar(node, at, "a duration such as \"5s\"", report)?;
        let range = || format!("write {} to {}", show_duration(MIN), show_duration(MAX));
        match parse_duration(text) {
            Some(ms) if (MIN..=MAX).contains(&ms) => return Some(Self(Duration::from_millis(ms))),
            Some(_) => report.wrong(at, format!("{} is out of range", found(node)), range()),
            None => {
                let fix = match decimal(text) {
                    Some(n) => format!("write the unit, such as \"{n}s\" or \"{n}ms\""),
                    None => "write one such as \"250ms\", \"5s\", \"1m30s\" or \"1h\"".to_owned(),
                };
                report.wrong(at, format!("{} is not a duration", found(node)), fix);
            }
        }
        None
    }
}

impl<const MIN: u64, const MAX: u64> JsonSchema for Time<MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Time_{MIN}_{MAX}").into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^([0-9]+h)?([0-9]+m)?([0-9]+s)?([0-9]+ms)?$",
            "minLength": 2,
            "examples": ["250ms", "5s", "1m30s", "1h"],
        })
    }
}

/// A fraction such as `0.3` as the percentage that was meant, to a ten-thousandth of a percent.
pub(super) fn percentage(text: &str) -> Option<String> {
    let digits = text.strip_prefix("0.").is_some_and(|part| part.bytes().all(|b| b.is_ascii_digit()));
    let fraction = text.parse::<f64>().ok().filter(|_| digits)?;
    Some(format!("{}%", (fraction * 1e6).round() / 1e4))
}

/// A share of traffic, such as `5%` or `25bp`; above zero where `POSITIVE`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share<const POSITIVE: bool>(pub Weight);

impl<const POSITIVE: bool> Read for Share<POSITIVE> {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let (text, _) = scalar(node, at, "a share such as \"5%\"", report)?;
        // A weight is a share that is called as its key calls it.
        let noun = if at.path.ends_with("eight") { "weight" } else { "share" };
        match text.parse::<Weight>() {
            Ok(Weight::ZERO) if POSITIVE => {
                report.wrong(at, "the share is zero", "write more than \"0%\", or remove the section");
            }
            Ok(weight) => return Some(Self(weight)),
            Err(crate::base::WeightError::TooLarge(_)) => {
                let message = format!("{text:?} is more than everything");
                report.wrong(at, message, "write at most \"100%\" or \"10000bp\"");
            }
            Err(crate::base::WeightError::Syntax(_)) => {
                let percentage = percentage(text).filter(|p| p.parse::<Weight>().is_ok());
                let fix = match (decimal(text).filter(|n| *n <= 100), percentage) {
                    (Some(n), _) => format!("write \"{n}%\" or \"{n}bp\""),
                    (None, Some(percentage)) => format!("write {percentage:?}"),
                    (None, None) => {
                        "write a percentage such as \"5%\" or \"0.25%\", or basis points such as \"25bp\""
                            .to_owned()
                    }
                };
                report.wrong(at, format!("{:?} is not a {noun}", super::problem::short(text)), fix);
            }
        }
        None
    }
}

impl<const POSITIVE: bool> JsonSchema for Share<POSITIVE> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        if POSITIVE { "PositiveShare".into() } else { "Share".into() }
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let pattern = "^((100(\\.0{1,2})?|0*[0-9]{1,2}(\\.[0-9]{1,2})?) ?%|0*(10000|[0-9]{1,4}) ?bp)$";
        json_schema!({ "type": "string", "pattern": pattern, "examples": ["90%", "0.25%", "25bp"] })
    }
}

/// `true` or `false`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Flag(pub bool);

impl Read for Flag {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let (text, plain) = scalar(node, at, "true or false", report)?;
        let value = boolean(text).filter(|_| plain);
        if value.is_none() {
            let fix = "write true or false, without quotes";
            report.wrong(at, format!("{} is neither true nor false", found(node)), fix);
        }
        value.map(Self)
    }
}

impl JsonSchema for Flag {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        "Flag".into()
    }
    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "boolean" })
    }
}

#[cfg(test)]
mod tests {
    use super::super::read::looks_otherwise;
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_duration_reads_back_as_written(ms in 0u64..1 << 40) {
            prop_assert_eq!(parse_duration(&show_duration(ms)), Some(ms));
        }

        #[test]
        fn every_size_reads_back_as_written(bytes: u64) {
            prop_assert_eq!(parse_size(&show_size(bytes)), Some(bytes));
        }

        #[test]
        fn no_text_makes_the_number_readers_panic(text in "\\PC{0,20}") {
            let _ = (parse_duration(&text), parse_size(&text), looks_otherwise(&text));
        }
    }

    #[test]
    fn durations_have_units_and_sizes_are_binary() {
        for (text, ms) in [("250ms", 250), ("10s", 10_000), ("1m30s", 90_000), ("1h", 3_600_000), ("0s", 0)] {
            assert_eq!(parse_duration(text), Some(ms), "{text}");
        }
        for bad in ["", "5", "s", "5 s", "1.5s", "-1s", "30s1m", "1s1s", "1d", "99999999999999999999s", "1h "]
        {
            assert_eq!(parse_duration(bad), None, "{bad:?}");
        }
        for (text, bytes) in [("65536", 65_536), ("64Ki", 65_536), ("16Mi", 16 * MI), ("4Gi", 4 * GI)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        for bad in ["", "Ki", "64K", "64KB", "64kb", "1.5Mi", "-1", "010", "1 Mi", "99999999999999Gi"] {
            assert_eq!(parse_size(bad), None, "{bad:?}");
        }
    }
}
