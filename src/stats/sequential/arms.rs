//! The two sides of a comparison.

use serde::{Deserialize, Serialize};

/// One thing of either arm. For the divergence of a shadow the "stable" side are the copies that
/// went back to the stable version: its noise.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Arms<T> {
    /// Of the version that serves now.
    pub stable: T,
    /// Of the version that is to replace it.
    pub candidate: T,
}

impl<T> Arms<T> {
    /// Both sides.
    pub fn new(stable: T, candidate: T) -> Self {
        Self { stable, candidate }
    }
}

impl Arms<u64> {
    /// Both counts together.
    pub fn total(self) -> u64 {
        self.stable.saturating_add(self.candidate)
    }

    /// What was counted after `earlier`. A count that fell, as after a restart, gives 0.
    #[must_use]
    pub fn since(self, earlier: Self) -> Self {
        Self {
            stable: self.stable.saturating_sub(earlier.stable),
            candidate: self.candidate.saturating_sub(earlier.candidate),
        }
    }

    /// The sum of two counts.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            stable: self.stable.saturating_add(other.stable),
            candidate: self.candidate.saturating_add(other.candidate),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_add_up_and_a_count_that_fell_gives_nothing() {
        let (early, late) = (Arms::new(5, 1), Arms::new(7, 0));
        assert_eq!(late.since(early), Arms::new(2, 0));
        assert_eq!(early.plus(late), Arms::new(12, 1));
        assert_eq!(Arms::new(u64::MAX, 1).total(), u64::MAX);
    }
}
