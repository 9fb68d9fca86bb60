//! What is counted for the pairs of a mirror: primary answer and shadow answer to one request.

use std::sync::OnceLock;

use super::cell::{Counter, count};
use super::segments::Memberships;
use super::sequential::Arms;

/// Why two answers made no pair, although the copy was sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PairDrop {
    /// The copy was dropped; why is counted there.
    Copy,
    /// The client left, or the primary failed: there is nothing to compare with.
    Primary,
    /// The primary answer is another version's than stable's.
    NotStable,
    /// One of the answers is longer than is kept.
    TooLarge,
    /// The pairs under way held too many bytes.
    Bytes,
    /// The queue to the comparing thread was full.
    QueueFull,
}

impl PairDrop {
    /// Every reason, in the order of [`PairDrop::index`].
    pub const ALL: [Self; 6] =
        [Self::Copy, Self::Primary, Self::NotStable, Self::TooLarge, Self::Bytes, Self::QueueFull];

    /// Position in [`PairDrop::ALL`], for arrays of counters.
    #[inline]
    pub fn index(self) -> usize {
        self as usize
    }

    /// The reason as it stands in metric labels and in the status.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Primary => "primary",
            Self::NotStable => "not_stable",
            Self::TooLarge => "too_large",
            Self::Bytes => "bytes",
            Self::QueueFull => "queue_full",
        }
    }
}

/// Most reasons for a divergence that are counted apart; the comparators have fewer.
pub const REASONS: usize = 24;

/// What the comparing thread counts for one mirror, or for one rollout. "Stable" are the copies
/// that went back to the stable version (noise), "candidate" those that went to the shadow.
#[derive(Debug, Default)]
pub struct PairTally {
    /// Pairs that could be compared.
    pub compared: Arms<Counter>,
    /// Of them, those that diverged.
    pub diverged: Arms<Counter>,
    /// Pairs that could not be compared: the primary's own answer was an error.
    pub not_comparable: Arms<Counter>,
    reasons: Arms<[Counter; REASONS]>,
    segments: Box<[OnceLock<Box<SegmentPairs>>]>,
}

/// The pairs of one segment.
#[derive(Debug, Default)]
struct SegmentPairs {
    compared: Arms<Counter>,
    diverged: Arms<Counter>,
}

/// A [`PairTally`] at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PairSum {
    /// See [`PairTally::compared`].
    pub compared: Arms<u64>,
    /// See [`PairTally::diverged`].
    pub diverged: Arms<u64>,
    /// See [`PairTally::not_comparable`].
    pub not_comparable: Arms<u64>,
}

impl PairTally {
    /// A tally that also counts by segment, for numbers below `segments`.
    pub fn with_segments(segments: usize) -> Self {
        Self { segments: (0..segments).map(|_| OnceLock::new()).collect(), ..Self::default() }
    }

    /// Counts a pair: a copy to the stable version (`control`) or to the shadow. `diverged` gives
    /// the index of the reason. To be called by the comparing thread only.
    pub fn record(&self, control: bool, segments: Memberships, diverged: Option<usize>) {
        for slot in segments.iter().filter_map(|number| self.segments.get(number)) {
            let pairs = slot.get_or_init(Box::default);
            if diverged.is_some() {
                pick(&pairs.diverged, control).add(1);
            }
            pick(&pairs.compared, control).add(1);
        }
        // The divergence is counted first, so that a race never shows fewer than there are.
        if let Some(reason) = diverged {
            pick(&self.diverged, control).add(1);
            count(pick(&self.reasons, control).as_slice(), reason);
        }
        pick(&self.compared, control).add(1);
    }

    /// Counts a pair that could not be compared. To be called by the comparing thread only.
    pub fn record_not_comparable(&self, control: bool) {
        pick(&self.not_comparable, control).add(1);
    }

    /// Compared and diverged pairs of the segment of this number.
    pub fn segment(&self, number: usize) -> (Arms<u64>, Arms<u64>) {
        let Some(pairs) = self.segments.get(number).and_then(OnceLock::get) else {
            return (Arms::default(), Arms::default());
        };
        let compared = Arms::new(pairs.compared.stable.get(), pairs.compared.candidate.get());
        let diverged = Arms::new(
            pairs.diverged.stable.get().min(compared.stable),
            pairs.diverged.candidate.get().min(compared.candidate),
        );
        (compared, diverged)
    }

    /// Pairs that diverged for the reason of this index.
    pub fn reason(&self, control: bool, reason: usize) -> u64 {
        pick(&self.reasons, control).get(reason).map_or(0, Counter::get)
    }

    /// The counts of now, from any thread. Never more divergences than pairs.
    pub fn sum(&self) -> PairSum {
        let read = |arms: &Arms<Counter>| Arms::new(arms.stable.get(), arms.candidate.get());
        let compared = read(&self.compared);
        let diverged = read(&self.diverged);
        PairSum {
            compared,
            diverged: Arms::new(
                diverged.stable.min(compared.stable),
                diverged.candidate.min(compared.candidate),
            ),
            not_comparable: read(&self.not_comparable),
        }
    }
}

fn pick<T>(arms: &Arms<T>, control: bool) -> &T {
    if control { &arms.stable } else { &arms.candidate }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn noise_and_candidate_are_counted_apart() {
        let tally = PairTally::with_segments(2);
        tally.record(true, Memberships::default(), None);
        tally.record(false, Memberships::from_iter([1]), Some(3));
        tally.record(false, Memberships::default(), None);
        tally.record_not_comparable(false);
        let sum = tally.sum();
        assert_eq!(sum.compared, Arms::new(1, 2));
        assert_eq!(sum.diverged, Arms::new(0, 1));
        assert_eq!(sum.not_comparable, Arms::new(0, 1));
        assert_eq!(tally.segment(1), (Arms::new(0, 1), Arms::new(0, 1)));
        assert_eq!(tally.segment(9), (Arms::default(), Arms::default()));
        assert_eq!((tally.reason(false, 3), tally.reason(true, 3), tally.reason(false, 99)), (1, 0, 0));
        assert!(PairDrop::ALL.into_iter().enumerate().all(|(i, r)| r.index() == i));
    }
}
