//! Several tests, one verdict.
//!
//! A mean of e-values is an e-value whatever depends on what, so checks share the error bound by
//! their weights and nothing is lost to correlation. It must be the mean of the *present* values:
//! the mean of each one's highest so far is not an e-value (2501.19360).

/// A check's e-value and the share of the error bound that it has.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Share {
    /// Its part of the whole; shares are taken relative to their sum.
    pub share: f64,
    /// Its e-value now.
    pub e_value: f64,
}

/// The combined e-value of several checks: compare with `1/α`. Alone, a check with share `ω` needs
/// `1/(αω)`. Shares and e-values that are negative or not numbers count as nothing gained (their
/// share stays in the sum); without any share it is 1.
pub fn weighted_mean(checks: impl IntoIterator<Item = Share>) -> f64 {
    let (mut total, mut sum) = (0.0, 0.0);
    for Share { share, e_value } in checks {
        if share > 0.0 && share.is_finite() {
            total += share;
            sum += share * if e_value > 0.0 { e_value } else { 0.0 };
        }
    }
    if total > 0.0 { sum / total } else { 1.0 }
}

/// Half of the wealth on everybody, half spread over segments: a harm to one of them is found
/// without drowning in the rest, and a harm to all as if there were none.
///
/// `slots` is how many segments there may be and must be fixed in advance. One that was not seen
/// yet stands at 1; segments beyond the slots are not counted.
pub fn with_segments(overall: f64, segments: impl IntoIterator<Item = f64>, slots: usize) -> f64 {
    if slots == 0 {
        return overall;
    }
    let (mut seen, mut sum) = (0_usize, 0.0);
    for e_value in segments.into_iter().take(slots) {
        seen += 1;
        sum += e_value;
    }
    0.5 * overall + 0.5 * (sum + (slots - seen) as f64) / slots as f64
}

/// Which of several hypotheses to reject so that at most the share `q` of the rejections is
/// expected to be false, under any dependence: the e-BH procedure (Wang and Ramdas, 2009.02824). To
/// be applied once, at the decision, to the present values. Gives places in `e_values`, rising.
pub fn e_benjamini_hochberg(e_values: &[f64], q: f64) -> Vec<usize> {
    let mut sorted: Vec<f64> = e_values.iter().copied().filter(|e| !e.is_nan()).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    let count = e_values.len() as f64;
    let bar = |k: usize| count / (k as f64 * q);
    let rejected =
        sorted.iter().enumerate().filter(|(at, e)| **e >= bar(at + 1)).map(|(at, _)| at + 1).next_back();
    let Some(rejected) = rejected else { return Vec::new() };
    let least = bar(rejected);
    e_values.iter().enumerate().filter(|(_, e)| **e >= least).map(|(at, _)| at).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share(share: f64, e_value: f64) -> Share {
        Share { share, e_value }
    }

    #[test]
    fn shares_are_relative_to_their_sum() {
        assert_eq!(weighted_mean([share(2.0, 10.0), share(6.0, 2.0)]), 4.0);
        assert_eq!(weighted_mean([share(1.0, 250.0), share(1.0, 0.0)]), 125.0);
    }

    #[test]
    fn without_a_check_there_is_no_evidence_and_a_broken_one_adds_none() {
        assert_eq!(weighted_mean([]), 1.0);
        assert_eq!(weighted_mean([share(0.0, 500.0), share(f64::NAN, 9.0)]), 1.0);
        assert_eq!(weighted_mean([share(1.0, f64::NAN), share(1.0, 8.0)]), 4.0);
    }

    #[test]
    fn a_segment_that_was_not_seen_stands_at_one() {
        assert_eq!(with_segments(1.0, [1.0, 1.0], 50), 1.0);
        assert_eq!(with_segments(3.0, [101.0], 10), 1.5 + 0.5 * 110.0 / 10.0);
        assert_eq!(with_segments(7.0, [100.0], 0), 7.0);
        assert_eq!(with_segments(1.0, [3.0, 100.0], 1), 2.0);
    }

    #[test]
    fn the_guilty_are_those_above_the_bar_that_their_number_sets() {
        // Of ten at q = 0.1: one alone needs 100, two need 50 each.
        let mut e_values = [1.0; 10];
        e_values[3] = 60.0;
        assert_eq!(e_benjamini_hochberg(&e_values, 0.1), Vec::<usize>::new());
        e_values[7] = 55.0;
        assert_eq!(e_benjamini_hochberg(&e_values, 0.1), [3, 7]);
        e_values[0] = 33.4;
        assert_eq!(e_benjamini_hochberg(&e_values, 0.1), [0, 3, 7]);
        e_values[1] = f64::NAN;
        assert_eq!(e_benjamini_hochberg(&e_values, 0.1), [0, 3, 7]);
        assert_eq!(e_benjamini_hochberg(&[], 0.1), Vec::<usize>::new());
        assert_eq!(e_benjamini_hochberg(&[5.0], f64::NAN), Vec::<usize>::new());
    }
}
