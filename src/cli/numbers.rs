//! Numbers as people read and write them.

use std::time::Duration;

use crate::stats::sequential::Interval;

/// Reads a length of time such as `30m`, `90s`, `2h`, `500ms` or `1d`.
///
/// # Errors
/// What to write instead.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is not a length of time: write 30s, 15m, 2h or 1d");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(wrong()),
    };
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(wrong)
}

/// Reads a share such as `1%` or `0.01`.
///
/// # Errors
/// What to write instead.
pub(super) fn share(text: &str) -> Result<f64, String> {
    let wrong = || format!("{text:?} is not a share: write 1% or 0.01");
    let (number, scale) = match text.strip_suffix('%') {
        Some(percent) => (percent, 100.0),
        None => (text, 1.0),
    };
    let number: f64 = number.trim().parse().map_err(|_| wrong())?;
    Some(number / scale).filter(|share| share.is_finite()).ok_or_else(wrong)
}

/// `12345` as `12,345`.
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

/// Evidence with as many digits as mean something: `0.03`, `4.2`, `310`, `2.1e7`.
pub(super) fn evidence(value: f64) -> String {
    match value {
        v if !v.is_finite() => "∞".to_owned(),
        v if v >= 100_000.0 => format!("{v:.1e}"),
        v if v >= 100.0 => format!("{v:.0}"),
        v if v >= 1.0 => format!("{v:.1}").trim_end_matches(".0").to_owned(),
        v if v < 0.005 => "0".to_owned(),
        v => format!("{v:.2}"),
    }
}

/// A share as a percentage with two significant digits: `0.35%`, `12%`.
pub(super) fn percent(share: f64) -> String {
    let percent = share * 100.0;
    match percent.abs() {
        p if p == 0.0 || p >= 10.0 => format!("{percent:.0}%"),
        p if p >= 1.0 => format!("{percent:.1}%"),
        p if p >= 0.01 => format!("{percent:.2}%"),
        _ => format!("{percent:.1e}%"),
    }
}

/// An interval of ratios: `1.4 to 3.2 times`, or a dash for one that says nothing.
pub(super) fn ratio(interval: Interval) -> String {
    if interval.low <= 0.0 && interval.high.is_infinite() {
        return "-".to_owned();
    }
    let end = |value: f64| if value.is_finite() { format!("{value:.2}") } else { "∞".to_owned() };
    format!("{} to {} times", end(interval.low), end(interval.high))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_of_time_are_read_or_refused_with_an_example() {
        for (text, millis) in
            [("500ms", 500), ("30s", 30_000), ("15m", 900_000), ("2h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(duration(text), Ok(Duration::from_millis(millis)));
        }
        for text in ["", "m", "1", "1x", "-1s", "1.5h", "99999999999999999999s", "18446744073709551615d", "ü"]
        {
            assert!(duration(text).unwrap_err().contains("15m"), "{text}");
        }
    }

    #[test]
    fn shares_are_read_or_refused_with_an_example() {
        assert_eq!(share("1%"), Ok(0.01));
        assert_eq!(share("0.25"), Ok(0.25));
        for text in ["", "%", "one", "nan", "inf"] {
            assert!(share(text).is_err(), "{text}");
        }
    }

    #[test]
    fn numbers_are_as_long_as_they_mean_something() {
        assert_eq!([0, 999, 1_000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
        let values = [0.0, 0.03, 4.21, 310.4, 2.1e7, f64::INFINITY];
        assert_eq!(values.map(evidence), ["0", "0.03", "4.2", "310", "2.1e7", "∞"]);
        assert_eq!([1.0, 20.0, 99.96].map(evidence), ["1", "20", "100"]);
        assert_eq!(ratio(Interval { low: 1.4, high: f64::INFINITY }), "1.40 to ∞ times");
        assert_eq!(ratio(Interval { low: 0.0, high: f64::INFINITY }), "-");
        assert_eq!([0.0, 0.0035, 0.052, 0.5].map(percent), ["0%", "0.35%", "5.2%", "50%"]);
    }
}
