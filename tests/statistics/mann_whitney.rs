//! Kayenta's judgement of two series of points: "High", or not.

/// Whether the 98 % Mann–Whitney interval of the shift lies above a quarter of the estimated shift
/// and the mean is not lower, which is how Kayenta's classifier reads by default.
pub fn clearly_higher(stable: &[f64], candidate: &[f64]) -> bool {
    let (n, m) = (stable.len() as f64, candidate.len() as f64);
    let mean = |points: &[f64]| points.iter().sum::<f64>() / points.len() as f64;
    if mean(candidate) < mean(stable) {
        return false;
    }
    let mut shifts: Vec<f64> = candidate.iter().flat_map(|c| stable.iter().map(move |s| c - s)).collect();
    // Normal approximation of the rank at which the interval begins.
    let rank = n * m / 2.0 - 2.326 * (n * m * (n + m + 1.0) / 12.0).sqrt();
    if rank < 1.0 {
        return false;
    }
    let middle = shifts.len() / 2;
    let (_, estimate, _) = shifts.select_nth_unstable_by(middle, f64::total_cmp);
    let estimate = *estimate;
    let (_, low, _) = shifts.select_nth_unstable_by(rank as usize - 1, f64::total_cmp);
    *low > 0.25 * estimate.abs()
}
