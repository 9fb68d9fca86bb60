//! How long to wait before the next attempt.

use std::time::Duration;

/// Waits that double from attempt to attempt, up to a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// Before the second attempt.
    pub first: Duration,
    /// The longest wait, also where a receiver asks for a longer one.
    pub most: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self { first: Duration::from_secs(1), most: Duration::from_secs(300) }
    }
}

impl Backoff {
    /// The wait after `attempts` attempts that failed. Half of it is fixed and half of it is `draw`
    /// (0 to 1), so that many senders do not come back in step. What the receiver asked for
    /// (`retry-after`) is the least.
    pub fn wait(&self, attempts: u32, asked: Option<Duration>, draw: f64) -> Duration {
        let doublings = attempts.saturating_sub(1).min(31);
        let whole = self.first.saturating_mul(1 << doublings).min(self.most);
        let share = if draw.is_finite() { draw.clamp(0.0, 1.0) } else { 1.0 };
        let wait = whole.mul_f64(0.5 + share / 2.0);
        wait.max(asked.unwrap_or_default()).min(self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const S: Duration = Duration::from_secs(1);

    #[test]
    fn waits_double_up_to_the_limit_and_half_of_each_is_drawn() {
        let backoff = Backoff { first: S, most: 60 * S };
        let whole: Vec<u64> = (1..=8).map(|n| backoff.wait(n, None, 1.0).as_secs()).collect();
        assert_eq!(whole, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.wait(3, None, 0.0), 2 * S);
        assert_eq!(backoff.wait(3, None, 0.5), 3 * S);
    }

    #[test]
    fn a_receiver_can_ask_for_more_but_not_for_ever() {
        let backoff = Backoff { first: S, most: 60 * S };
        assert_eq!(backoff.wait(1, Some(30 * S), 1.0), 30 * S);
        assert_eq!(backoff.wait(1, Some(Duration::MAX), 1.0), 60 * S);
        assert_eq!(backoff.wait(6, Some(S), 1.0), 32 * S);
    }

    proptest! {
        #[test]
        fn no_wait_is_longer_than_the_longest(
            attempts: u32, asked in proptest::option::of(0_u64..u64::MAX), draw: f64,
        ) {
            let backoff = Backoff::default();
            let wait = backoff.wait(attempts, asked.map(Duration::from_secs), draw);
            prop_assert!(wait <= backoff.most);
            prop_assert!(wait >= backoff.first / 2);
        }
    }
}
