//! Numbers as people read them, and text that cannot leave its place.

use crate::load::interval::Interval;
use crate::load::verdict::Judged;

/// Seconds with three significant digits and the unit that fits: `812 µs`, `12.4 ms`, `1.50 s`.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "∞".to_owned();
    }
    let (value, unit) = match seconds {
        s if s >= 1.0 => (s, "s"),
        s if s >= 1e-3 => (s * 1e3, "ms"),
        s => (s * 1e6, "µs"),
    };
    format!("{} {unit}", digits(value))
}

/// Three significant digits.
pub(super) fn digits(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// A duration that may fall among failures.
pub(super) fn maybe(seconds: Option<f64>) -> String {
    seconds.map_or("failed".to_owned(), duration)
}

/// A share as a percentage.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent {
        p if p == 0.0 || p == 100.0 => format!("{p:.0}%"),
        p if p >= 99.0 => format!("{p:.3}%"),
        p if p >= 1.0 => format!("{p:.2}%"),
        p => format!("{p:.3}%"),
    }
}

/// `1234567` as `1,234,567`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in the unit that fits.
pub(super) fn bytes(count: f64) -> String {
    let (value, unit) = match count {
        b if b >= (1_u64 << 30) as f64 => (b / (1_u64 << 30) as f64, "GiB"),
        b if b >= (1_u64 << 20) as f64 => (b / (1_u64 << 20) as f64, "MiB"),
        b if b >= 1024.0 => (b / 1024.0, "KiB"),
        b => (b, "B"),
    };
    format!("{} {unit}", digits(value))
}

/// A number of a goal in its unit.
pub(super) fn in_unit(value: f64, unit: &str) -> String {
    match unit {
        _ if !value.is_finite() => "∞".to_owned(),
        "s" => duration(value),
        "share" => percent(value),
        "perSecond" => format!("{}/s", digits(value)),
        "cores" => format!("{:.0}% CPU", value * 100.0),
        "bytes" => bytes(value),
        "ratio" => format!("{value:.3}"),
        _ => digits(value),
    }
}

/// What was measured for a goal, with its interval.
pub(super) fn observed(goal: &Judged) -> String {
    let value = match (goal.observed, goal.interval) {
        (Some(value), _) => in_unit(value, goal.unit),
        (None, Some(_)) if goal.unit == "s" => "failed".to_owned(),
        (None, _) => "-".to_owned(),
    };
    match goal.interval {
        // Beyond everything, as far as is known.
        Some(interval) if interval.low == f64::INFINITY => value,
        Some(interval) => format!("{value} {}", range(interval, goal.unit)),
        None => value,
    }
}

/// An interval in brackets.
pub(super) fn range(interval: Interval, unit: &str) -> String {
    format!("[{} – {}]", in_unit(interval.low, unit), in_unit(interval.high, unit))
}

/// What a goal is about, beside its text.
pub(super) fn about(goal: &Judged) -> String {
    let parts: Vec<&str> = goal.target.iter().chain(&goal.request).map(String::as_str).collect();
    if parts.is_empty() { String::new() } else { format!(" ({})", parts.join(", ")) }
}

/// Text inside XML and HTML. Signs that XML 1.0 cannot hold are left out.
pub(super) fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' => safe.push(c),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => safe.push(c),
        }
    }
    safe
}

/// Text that stands as it is in one line of Markdown.
pub(super) fn markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '<' | '>' | '|' | '[' | ']' | '#' => safe.extend(['\\', c]),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// Milliseconds since the epoch as RFC 3339 has them.
pub(super) fn moment(ms: u64) -> String {
    let (days, rest) = (ms / 86_400_000, ms % 86_400_000);
    let (hour, minute) = (rest / 3_600_000, rest / 60_000 % 60);
    // Howard Hinnant's `civil_from_days`.
    let z = days + 719_468;
    let (era, doe) = (z / 146_097, z % 146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let (day, month) = (doy - (153 * mp + 2) / 5 + 1, if mp < 10 { mp + 3 } else { mp - 9 });
    let year = yoe + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{:02}Z", rest / 1000 % 60)
}

/// A table with columns as wide as they must be. The first row is the head.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::from("  ");
        for (cell, width) in row.iter().zip(&widths) {
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
