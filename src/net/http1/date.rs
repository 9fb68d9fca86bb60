//! The `Date` of answers that come without one (RFC 9110 section 6.6.1), made once a second.

use std::cell::RefCell;
use std::time::{SystemTime, UNIX_EPOCH};

/// `Sun, 06 Nov 1994 08:49:37 GMT`.
const LENGTH: usize = 29;

/// Tells the date, and remembers how it wrote the present second.
#[derive(Default)]
pub(super) struct Clock {
    now: RefCell<(u64, String)>,
}

impl Clock {
    /// Appends the date of now as an HTTP-date (RFC 9110 section 5.6.7).
    pub(super) fn push_date(&self, out: &mut Vec<u8>) {
        let second = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        let mut now = self.now.borrow_mut();
        if now.0 != second || now.1.len() != LENGTH {
            *now = (second, http_date(second));
        }
        out.extend_from_slice(now.1.as_bytes());
    }
}

/// The IMF-fixdate of a number of seconds after 1970.
fn http_date(second: u64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    const MONTHS: [&str; 12] =
        ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];
    let (days, second) = (second / 86_400, second % 86_400);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    let weekday = DAYS.iter().cycle().nth((days % 7) as usize).unwrap_or(&"Thu");
    // Years are counted in four hundreds, which are all as long, then one by one.
    let (mut year, mut left) = (1970 + days / 146_097 * 400, days % 146_097);
    while left >= days_of_year(year) {
        left -= days_of_year(year);
        year += 1;
    }
    let february = days_of_year(year) - 337;
    let lengths = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut name = "Dec";
    for (month, length) in MONTHS.iter().zip(lengths) {
        if left < length {
            name = month;
            break;
        }
        left -= length;
    }
    format!("{weekday}, {:02} {name} {year:04} {hour:02}:{minute:02}:{second:02} GMT", left + 1)
}

fn days_of_year(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_written_as_everybody_writes_them() {
        for (second, text) in [
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (951_782_400, "Tue, 29 Feb 2000 00:00:00 GMT"),
            (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"),
            (1_709_251_200, "Fri, 01 Mar 2024 00:00:00 GMT"),
            (1_735_689_599, "Tue, 31 Dec 2024 23:59:59 GMT"),
            (4_107_542_400, "Mon, 01 Mar 2100 00:00:00 GMT"),
        ] {
            assert_eq!(http_date(second), text);
        }
    }

    #[test]
    fn a_second_is_written_once_and_the_next_anew() {
        let clock = Clock::default();
        let mut out = Vec::new();
        clock.push_date(&mut out);
        assert!(out.len() == LENGTH && out.ends_with(b" GMT"));
        clock.now.borrow_mut().0 -= 1;
        clock.push_date(&mut out);
        assert_eq!(out.len(), 2 * LENGTH);
    }
}
