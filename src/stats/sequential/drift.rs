//! Do the inputs still look like those that the model was trained on?
//!
//! Both arms get the same inputs, so drift is a reason to tell somebody and never one to roll back.
//! The population stability index is what people know, with 0.1 and 0.25 as its bars. Taken of a
//! small sample it is noise (about `(bins − 1)/n` when nothing changed: 0.1 at 90 values and ten
//! bins), so what is judged is the least index that the data still allow.

use super::interval::rate_interval;
use super::special::ln;

/// Shares below this are taken as this: a bin that was empty in training must not be worth infinity.
const LEAST_SHARE: f64 = 1e-4;

/// The least population stability index that the counts allow at confidence `1 − alpha`, at any
/// time: each bin's share may be anything in its anytime-valid interval at `alpha` over the bins.
///
/// `reference` are the shares of the bins in training (relative to their sum), `counts` the values
/// seen in them. 0 without a reference or counts. Takes some 0.1 ms for each bin.
pub fn psi_lower_bound(reference: &[f64], counts: &[u64], alpha: f64) -> f64 {
    let requests = counts.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
    let each = alpha / counts.len().max(1) as f64;
    let part = |(share, count): (f64, &u64)| {
        let allowed = rate_interval(*count, requests, each);
        term(share.clamp(allowed.low, allowed.high), share)
    };
    shares(reference).zip(counts).map(part).sum()
}

/// The population stability index as everybody computes it, for display.
pub fn psi(reference: &[f64], counts: &[u64]) -> f64 {
    let requests = counts.iter().fold(0_u64, |sum, n| sum.saturating_add(*n));
    if requests == 0 {
        return 0.0;
    }
    shares(reference).zip(counts).map(|(share, count)| term(*count as f64 / requests as f64, share)).sum()
}

fn shares(reference: &[f64]) -> impl Iterator<Item = f64> + '_ {
    let sound = |share: f64| if share > 0.0 && share.is_finite() { share } else { 0.0 };
    let sum: f64 = reference.iter().map(|share| sound(*share)).sum();
    reference.iter().map(move |share| if sum > 0.0 { (sound(*share) / sum).max(LEAST_SHARE) } else { 0.0 })
}

/// `(p − q) ln(p/q)`, which is lowest, 0, where both are the same.
fn term(p: f64, q: f64) -> f64 {
    if q <= 0.0 {
        return 0.0;
    }
    let p = p.max(LEAST_SHARE);
    (p - q) * ln(p / q)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Ten equally full bins, and what a shift of mean makes of them.
    const REFERENCE: [f64; 10] = [0.1; 10];
    const SHIFTED: [u64; 10] = [2, 4, 6, 8, 9, 11, 13, 14, 16, 17];

    #[test]
    fn the_index_is_the_one_that_everybody_computes() {
        let counts: Vec<u64> = SHIFTED.to_vec();
        let by_hand: f64 = counts.iter().map(|n| *n as f64 / 100.0).map(|p| (p - 0.1) * (p / 0.1).ln()).sum();
        assert!((psi(&REFERENCE, &counts) - by_hand).abs() < 1e-12);
        assert!(by_hand > 0.25);
    }

    #[test]
    fn a_small_sample_is_not_believed_and_a_large_one_is() {
        let times = |n: u64| SHIFTED.map(|count| n * count);
        assert!(psi_lower_bound(&REFERENCE, &times(1), 0.01) < 0.1);
        let sure = psi_lower_bound(&REFERENCE, &times(1_000), 0.01);
        assert!(sure > 0.25 && sure < psi(&REFERENCE, &times(1_000)), "{sure}");
    }

    #[test]
    fn what_fits_the_reference_has_no_drift_at_all() {
        assert_eq!(psi_lower_bound(&REFERENCE, &[100; 10], 0.01), 0.0);
        assert_eq!(psi_lower_bound(&[3.0; 10], &[100; 10], 0.01), 0.0, "shares are relative");
    }

    #[test]
    fn nothing_to_compare_is_no_drift() {
        for (reference, counts) in
            [(&[][..], &[1, 2][..]), (&[1.0][..], &[][..]), (&[0.0, f64::NAN][..], &[5, 5][..])]
        {
            assert_eq!((psi_lower_bound(reference, counts, 0.01), psi(reference, counts)), (0.0, 0.0));
        }
        assert_eq!(psi(&REFERENCE, &[0; 10]), 0.0);
        let overflow = psi_lower_bound(&REFERENCE, &[u64::MAX; 10], 0.01);
        assert!(overflow.is_finite());
    }

    #[test]
    fn a_bin_that_was_empty_in_training_is_worth_much_but_not_everything() {
        let drifted = psi_lower_bound(&[0.5, 0.5, 0.0], &[4_000, 4_000, 2_000], 0.01);
        assert!(drifted > 0.25 && drifted.is_finite(), "{drifted}");
    }
}
