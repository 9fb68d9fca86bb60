//! The choice among endpoints: two are drawn, and the one that costs less is taken.
//!
//! It is as good as asking all of them, nearly, at the price of two; and unlike the best of all,
//! which every worker would pick at the same moment, it does not herd (Mitzenmacher, "The Power of
//! Two Choices in Randomized Load Balancing", 2001).

/// The index, below `count`, of the one to take: the cheaper of two that are drawn at random among
/// those that are `open`. `None` where none is. `draw(n)` gives a number below `n`.
pub(super) fn choose(
    count: usize,
    mut draw: impl FnMut(usize) -> usize,
    open: impl Fn(usize) -> bool,
    cost: impl Fn(usize) -> f64,
) -> Option<usize> {
    let one = nth_open(count, draw(count.max(1)), &open)?;
    // Among the others, beginning anywhere, so that every pair is as likely as any other.
    let step = draw(count.saturating_sub(1).max(1)) + 1;
    let two = (0..count - 1)
        .map(|more| (one + 1 + (step - 1 + more) % (count - 1)) % count)
        .find(|index| *index != one && open(*index));
    match two {
        Some(two) if cost(two) < cost(one) => Some(two),
        _ => Some(one),
    }
}

/// The first open one from `start` on, going round.
fn nth_open(count: usize, start: usize, open: &impl Fn(usize) -> bool) -> Option<usize> {
    (0..count).map(|more| (start + more) % count).find(|index| open(*index))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How often each of `count` is taken in ten thousand draws.
    fn taken(count: usize, open: impl Fn(usize) -> bool, cost: impl Fn(usize) -> f64) -> Vec<u32> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut taken = vec![0; count];
        for _ in 0..10_000 {
            taken[choose(count, |n| random.usize(..n), &open, &cost).unwrap()] += 1;
        }
        taken
    }

    #[test]
    fn equals_share_alike_and_the_dearest_of_all_is_never_taken() {
        for count in 1..=5 {
            let even = 10_000.0 / count as f64;
            for times in taken(count, |_| true, |_| 1.0) {
                assert!((f64::from(times) - even).abs() < even * 0.1 + 1.0, "{count}: {times}");
            }
        }
        let by_index = taken(4, |_| true, |index| index as f64);
        // Of the six pairs three have 0 as the cheaper one, two have 1, one has 2.
        for (times, pairs) in by_index.iter().zip([3.0, 2.0, 1.0, 0.0]) {
            assert!((f64::from(*times) - 10_000.0 * pairs / 6.0).abs() < 250.0, "{by_index:?}");
        }
    }

    #[test]
    fn only_open_ones_are_taken_and_none_where_none_is() {
        let some = taken(6, |index| index % 3 == 1, |_| 1.0);
        assert_eq!(some.iter().filter(|times| **times > 0).count(), 2);
        assert!(some[1] > 4_000 && some[4] > 4_000, "{some:?}");
        assert_eq!(taken(3, |index| index == 2, |_| 9.0), [0, 0, 10_000]);
        assert_eq!(choose(3, |_| 0, |_| false, |_| 1.0), None);
        assert_eq!(choose(0, |_| 0, |_| true, |_| 1.0), None);
    }
}
