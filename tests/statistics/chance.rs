//! What a sample of some size can tell of a probability: exact binomial limits.

/// A sample that a true goal produces less often than this counts as a refutation of it.
const HARDLY_EVER: f64 = 0.001;

/// How many standard errors of a normal variable belong to [`HARDLY_EVER`], one-sided.
pub const STANDARD_ERRORS: f64 = 3.09;

/// The probability of at most `hits` in `runs`, where each is one with probability `p`.
fn at_most(hits: usize, runs: usize, p: f64) -> f64 {
    let odds = (p / (1.0 - p)).ln();
    let mut term = runs as f64 * (1.0 - p).ln();
    let mut sum = term.exp();
    for k in 0..hits {
        term += ((runs - k) as f64 / (k + 1) as f64).ln() + odds;
        sum += term.exp();
    }
    sum
}

/// The upper end of the one-sided 95 % interval of Clopper and Pearson.
pub fn upper_limit(hits: usize, runs: usize) -> f64 {
    let (mut low, mut high) = (hits as f64 / runs as f64, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if at_most(hits, runs, middle) > 0.05 { low = middle } else { high = middle }
    }
    high
}

/// The share of `runs` that something with probability `p` hardly ever exceeds.
pub fn most_by_chance(runs: usize, p: f64) -> f64 {
    let hits = (0..runs).find(|hits| at_most(*hits, runs, p) >= 1.0 - HARDLY_EVER);
    hits.unwrap_or(runs) as f64 / runs as f64
}

#[test]
fn limits_are_the_known_ones() {
    let near = |got: f64, expected: f64| assert!((got - expected).abs() < 1e-4, "{got} for {expected}");
    // None of n: 1 − 0.05^(1/n). The others by whole numbers, elsewhere.
    near(upper_limit(0, 100), 0.029_513);
    near(upper_limit(2, 200), 0.031_143);
    near(most_by_chance(200, 0.01), 0.04);
    near(most_by_chance(2_000, 0.01), 0.0175);
    assert_eq!(most_by_chance(1, 0.5), 1.0);
}
