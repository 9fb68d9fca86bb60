//! Moments and lengths of time, as plain numbers.
//!
//! A rollout outlives processes, so its times are wall-clock times, and a wall clock may jump. All
//! arithmetic saturates: a jump backwards is a time in which nothing happened, never a panic.
//! Deliberately absent: a way to ask what time it is.

use serde::{Deserialize, Serialize};

/// A moment: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(pub u64);

/// A length of time in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Timestamp {
    /// The time that went by since `earlier`: nothing if the clock was set back meanwhile.
    #[must_use]
    pub fn since(self, earlier: Self) -> Millis {
        Millis(self.0.saturating_sub(earlier.0))
    }

    /// The moment `later` after this one.
    #[must_use]
    pub fn plus(self, later: Millis) -> Self {
        Self(self.0.saturating_add(later.0))
    }
}

impl Millis {
    /// No time.
    pub const ZERO: Self = Self(0);

    /// So many seconds.
    pub const fn seconds(seconds: u64) -> Self {
        Self(seconds.saturating_mul(1_000))
    }

    /// So many minutes.
    pub const fn minutes(minutes: u64) -> Self {
        Self::seconds(minutes.saturating_mul(60))
    }

    /// So many hours.
    pub const fn hours(hours: u64) -> Self {
        Self::minutes(hours.saturating_mul(60))
    }

    /// The time in seconds.
    pub fn as_seconds(self) -> f64 {
        self.0 as f64 / 1_000.0
    }
}

impl std::fmt::Display for Millis {
    /// As people say it: `750 ms`, `12 s`, `30 min`, `47.5 h`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = |unit: u64| (u128::from(self.0) * 10 + u128::from(unit / 2)) / u128::from(unit);
        let (tenths, unit) = match self.0 {
            0..1_000 => return write!(f, "{} ms", self.0),
            1_000..120_000 => (tenths(1_000), "s"),
            120_000..7_200_000 => (tenths(60_000), "min"),
            _ => (tenths(3_600_000), "h"),
        };
        match tenths % 10 {
            0 => write!(f, "{} {unit}", tenths / 10),
            part => write!(f, "{}.{part} {unit}", tenths / 10),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_back_makes_no_time_pass() {
        assert_eq!(Timestamp(5).since(Timestamp(9)), Millis::ZERO);
        assert_eq!(Timestamp(u64::MAX).plus(Millis(9)), Timestamp(u64::MAX));
    }

    #[test]
    fn lengths_of_time_read_as_people_say_them() {
        for (millis, words) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (12_000, "12 s"),
            (1_250, "1.3 s"),
            (1_800_000, "30 min"),
            (171_000_000, "47.5 h"),
        ] {
            assert_eq!(Millis(millis).to_string(), words);
        }
    }
}
