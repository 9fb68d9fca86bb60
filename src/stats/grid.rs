//! Where the buckets of a histogram lie: 90 of equal width in every decade from 1 µs to 1000 s.

/// Decades between [`LOWEST`] and [`HIGHEST`].
pub(super) const DECADES: usize = 9;
/// Buckets in a decade: 1.0, 1.1, … 9.9.
pub(super) const PER_DECADE: usize = 90;
/// Nanoseconds at or below which a value is in the lowest bucket: 1 µs.
pub(super) const LOWEST: u64 = 1_000;
/// Nanoseconds above which a value is in the highest bucket: 1000 s.
pub(super) const HIGHEST: u64 = 1_000_000_000_000;

/// Width of a bucket in each decade, in nanoseconds.
const WIDTHS: [u64; DECADES] =
    [100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000, 100_000_000, 1_000_000_000, 10_000_000_000];

/// Where a value is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Place {
    /// At or below [`LOWEST`].
    Below,
    /// In this bucket of this decade.
    Bucket(usize, usize),
    /// Above [`HIGHEST`].
    Above,
}

impl Place {
    /// The place of a value in nanoseconds.
    #[inline]
    pub(super) fn of(nanos: u64) -> Self {
        if nanos <= LOWEST {
            return Self::Below;
        }
        // One less, so that an edge belongs to the bucket that it closes.
        let inside = nanos - 1;
        let decade = inside.ilog10() as usize - 3;
        match WIDTHS.get(decade) {
            Some(width) => Self::Bucket(decade, (inside / width) as usize - 10),
            None => Self::Above,
        }
    }
}

/// The nanoseconds that a bucket includes: above the first, up to and including the second.
pub(super) fn edges(decade: usize, bucket: usize) -> (u64, u64) {
    let width = WIDTHS.get(decade).copied().unwrap_or_default();
    let lower = (bucket as u64 + 10) * width;
    (lower, lower + width)
}
