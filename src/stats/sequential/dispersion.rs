//! Whether events come in bursts that belong to one version.
//!
//! The tests of this module take each request for a draw of its own. Slow requests are not: behind
//! one stalled server a dozen are late at once, all of the same version, and identical versions seem
//! to differ. So windows of time are looked at, in two ways:
//!
//! - Of the events in each window, which part is the candidate's? If that varies more from window to
//!   window than coins do, evidence is divided by how much more: the index of dispersion of a
//!   quasi-binomial model (McCullagh and Nelder, Generalized Linear Models, section 4.5). A slowdown
//!   of the candidate that lasts does not vary, nor does one of both versions at a time.
//! - Evidence that grew in few windows may be few bursts, and whose a burst is is one toss of a coin:
//!   evidence counts for no more than doubling with each window in which it grew.
//!
//! Evidence is only ever made smaller, so a bound on false alarms that holds without this holds with
//! it. What it costs is time: a candidate that is slow from the start is not found in its first
//! milliseconds but after a few seconds.

use serde::{Deserialize, Serialize};

use super::arms::Arms;

/// Length of a window, in milliseconds: longer than a garbage collection, a scheduler's hiccup, a
/// reconnect.
pub const WINDOW: u64 = 500;
/// Before anything is known, events are held to come in pairs; that counts as so many windows.
const PRIOR: (f64, f64) = (2.0, 2.0);

/// How much the candidate's part of the events varies from window to window.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Dispersion {
    /// Number of the window that is open.
    window: u64,
    open: Arms<u64>,
    /// The weight of all windows that count.
    weight_bp: u16,
    /// Windows with events that are closed.
    windows: u64,
    /// Events in them: of the candidate, of both, and the sum of `candidate² / both`.
    candidate: f64,
    both: f64,
    squares: f64,
    /// Closed windows with events of the candidate since there was last no evidence.
    grown: u32,
}

impl Dispersion {
    /// Takes events that were seen at a time, in milliseconds, with the candidate's weight in basis
    /// points, and the e-value that they led to. Another weight begins anew, but for the evidence.
    pub fn observe(&mut self, at_millis: u64, weight_bp: u16, events: Arms<u64>, e_value: f64) {
        let window = at_millis / WINDOW;
        if window != self.window {
            self.close();
            self.window = window;
        }
        if weight_bp != self.weight_bp {
            *self = Self { weight_bp, window, grown: self.grown, ..Self::default() };
        }
        self.open = self.open.plus(events);
        if e_value < 1.0 {
            self.grown = 0;
        }
    }

    fn close(&mut self) {
        let events = std::mem::take(&mut self.open);
        if events.total() == 0 {
            return;
        }
        let (candidate, both) = (events.candidate as f64, events.total() as f64);
        self.windows = self.windows.saturating_add(1);
        self.candidate += candidate;
        self.both += both;
        self.squares += candidate * candidate / both;
        self.grown = self.grown.saturating_add(u32::from(events.candidate > 0));
    }

    /// The index: 1 where events fall like coins, more where they come in bursts of one version.
    pub fn index(&self) -> f64 {
        let share = if self.both > 0.0 { self.candidate / self.both } else { 0.0 };
        let variance = share * (1.0 - share);
        // Events of one version alone do not vary, whatever their reason.
        let chi_squared =
            if variance > 0.0 { (self.squares - share * self.candidate) / variance } else { 0.0 };
        let freedom = (self.windows as f64 - 1.0).max(0.0);
        let (index, weight) = PRIOR;
        ((chi_squared.max(0.0) + index * weight) / (freedom + weight)).max(1.0)
    }

    /// What of an e-value counts.
    pub fn temper(&self, e_value: f64) -> f64 {
        if e_value <= 1.0 {
            return e_value;
        }
        e_value.powf(1.0 / self.index()).min(f64::from(self.grown).exp2())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Numbers from 0 to 1 that are the same each time (xorshift).
    struct Coins(u64);

    impl Coins {
        fn head(&mut self) -> bool {
            self.0 ^= self.0 << 13;
            self.0 ^= self.0 >> 7;
            self.0 ^= self.0 << 17;
            self.0 >> 40 & 1 == 1
        }
    }

    /// Slow requests in bursts of `burst` of one version each, split half and half, 20 a window.
    fn seen(windows: u64, burst: u64, coins: &mut Coins) -> Dispersion {
        let mut dispersion = Dispersion::default();
        for window in 0..windows {
            for at in 0..20 / burst {
                let mine = if coins.head() { Arms::new(burst, 0) } else { Arms::new(0, burst) };
                dispersion.observe(window * WINDOW + at, 5_000, mine, 2.0);
            }
        }
        dispersion
    }

    #[test]
    fn independent_events_keep_nearly_all_evidence_and_bursts_lose_their_size() {
        let mut coins = Coins(7);
        for (burst, least, most) in [(1, 1.0, 1.4), (4, 2.6, 5.4), (10, 6.0, 14.0)] {
            let mean = (0..50).map(|_| seen(60, burst, &mut coins).index()).sum::<f64>() / 50.0;
            assert!((least..most).contains(&mean), "bursts of {burst}: {mean}");
        }
    }

    #[test]
    fn a_lasting_slowdown_and_a_common_one_are_no_bursts() {
        let mut lasting = Dispersion::default();
        let mut common = Dispersion::default();
        for window in 0..100 {
            lasting.observe(window * WINDOW, 1_000, Arms::new(9, 10), 2.0);
            let many = if window % 10 == 0 { 50 } else { 1 };
            common.observe(window * WINDOW, 1_000, Arms::new(9 * many, many), 2.0);
        }
        assert_eq!((lasting.index(), common.index()), (1.0, 1.0));
        assert_eq!(lasting.temper(1e6), 1e6);
    }

    #[test]
    fn evidence_of_few_windows_is_few_tosses_of_a_coin() {
        let mut dispersion = Dispersion::default();
        assert_eq!((dispersion.index(), dispersion.temper(100.0), dispersion.temper(0.5)), (2.0, 1.0, 0.5));
        for window in 0..=9 {
            let counted = dispersion.temper(1e12);
            assert!(counted <= 2_f64.powi(window), "{counted} after {window} windows");
            dispersion.observe(window as u64 * WINDOW, 5_000, Arms::new(0, 30), 1e12);
        }
        assert_eq!(dispersion.temper(1e12), 512.0);
        // Once there was no evidence, what comes later begins anew.
        dispersion.observe(9 * WINDOW, 5_000, Arms::new(30, 0), 0.9);
        assert_eq!(dispersion.temper(1e12), 1.0);
    }

    #[test]
    fn another_weight_begins_anew_but_for_the_evidence() {
        let mut coins = Coins(9);
        let mut dispersion = seen(60, 10, &mut coins);
        let before = dispersion.temper(1e300);
        assert!(dispersion.index() > 4.0);
        dispersion.observe(60 * WINDOW, 6_000, Arms::new(1, 1), 2.0);
        assert_eq!(dispersion.index(), 2.0);
        assert!(dispersion.temper(1e300) >= before);
    }
}
