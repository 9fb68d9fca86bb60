//! The few functions of analysis that intervals and plans need, with the same bits everywhere.
//!
//! The platform's mathematical library rounds differently from one system to the next, and a
//! record of a decision is recomputed on another machine than the one that made it. So these are
//! plain series in `+ × ÷ √`, good to about 14 digits, and quick enough for what is asked a few
//! times a second.

use std::f64::consts::{FRAC_1_SQRT_2, LN_2, PI};

/// `ln 2` in two parts, of which the first times any exponent is exact (as in FreeBSD's msun).
const LN_2_HIGH: f64 = 6.931_471_803_691_238e-1;
const LN_2_LOW: f64 = 1.908_214_929_270_587_7e-10;

/// The natural logarithm: minus infinity at 0, not a number below.
pub(super) fn ln(x: f64) -> f64 {
    if x == 0.0 {
        return f64::NEG_INFINITY;
    }
    if x.is_nan() || x < 0.0 {
        return f64::NAN;
    }
    if x == f64::INFINITY {
        return x;
    }
    if !x.is_normal() {
        return ln(x * 1e200) - ln(1e200);
    }
    let bits = x.to_bits();
    let mut exponent = ((bits >> 52) & 0x7ff) as f64 - 1023.0;
    let mut mantissa = f64::from_bits((bits & ((1 << 52) - 1)) | 1.0_f64.to_bits());
    if mantissa * FRAC_1_SQRT_2 > 1.0 {
        mantissa *= 0.5;
        exponent += 1.0;
    }
    // ln m = 2 artanh((m − 1)/(m + 1)), whose argument is at most 0.172.
    let s = (mantissa - 1.0) / (mantissa + 1.0);
    let square = s * s;
    let series = (0..12_u8).rev().fold(0.0, |sum, n| sum * square + 1.0 / f64::from(2 * n + 1));
    exponent * LN_2_HIGH + (2.0 * s * series + exponent * LN_2_LOW)
}

/// `ln(1 + x)`, also where `x` is small. Kahan's way: the rounding of `1 + x` cancels.
pub(super) fn ln_1p(x: f64) -> f64 {
    let sum = 1.0 + x;
    if sum == 1.0 { x } else { ln(sum) * (x / (sum - 1.0)) }
}

/// The exponential: 0 where it is too small, infinity where it is too large.
pub(super) fn exp(x: f64) -> f64 {
    if x.is_nan() {
        return x;
    }
    if x > 709.7 {
        return f64::INFINITY;
    }
    if x < -708.0 {
        return 0.0;
    }
    let twos = (x / LN_2).round();
    let rest = (x - twos * LN_2_HIGH) - twos * LN_2_LOW;
    let series = (1..=15_u8).rev().fold(1.0, |sum, n| 1.0 + sum * rest / f64::from(n));
    // Between −1022 and 1024; in two steps, for 2^1024 alone is too large.
    let half = (twos / 2.0).trunc();
    series * power_of_two(half) * power_of_two(twos - half)
}

fn power_of_two(exponent: f64) -> f64 {
    f64::from_bits(((exponent + 1023.0) as u64) << 52)
}

/// `ln Γ(x)` for positive `x`: Stirling's series, after moving up to where it converges.
pub(super) fn ln_gamma(mut x: f64) -> f64 {
    const STIRLING: [f64; 6] =
        [1.0 / 12.0, -1.0 / 360.0, 1.0 / 1260.0, -1.0 / 1680.0, 1.0 / 1188.0, -691.0 / 360_360.0];
    if x.is_nan() || x <= 0.0 {
        return f64::NAN;
    }
    let mut below = 1.0;
    while x < 12.0 {
        below *= x;
        x += 1.0;
    }
    let square = x * x;
    let series = STIRLING.iter().rev().fold(0.0, |sum, term| sum / square + term) / x;
    (x - 0.5) * ln(x) - x + 0.5 * ln(2.0 * PI) + series - ln(below)
}

/// `ln B(a, b)` for positive arguments.
pub(crate) fn ln_beta(a: f64, b: f64) -> f64 {
    ln_gamma(a) + ln_gamma(b) - ln_gamma(a + b)
}

/// The probability that a standard normal variable is at most `z` (Marsaglia, "Evaluating the
/// normal distribution", 2004).
pub(super) fn normal(z: f64) -> f64 {
    if z.is_nan() {
        return z;
    }
    if z.abs() > 8.0 {
        return if z > 0.0 { 1.0 } else { 0.0 };
    }
    let (mut term, mut sum) = (z, z);
    for n in 1..200_u16 {
        term *= z * z / f64::from(2 * n + 1);
        let next = sum + term;
        if next == sum {
            break;
        }
        sum = next;
    }
    0.5 + sum * exp(-0.5 * z * z) / (2.0 * PI).sqrt()
}

/// The value that a standard normal variable stays below with probability `p`, from −8 to 8.
pub(super) fn normal_quantile(p: f64) -> f64 {
    bisect(-8.0, 8.0, |z| normal(z) < p)
}

/// Where `left` stops being true between two numbers, as exactly as `f64` can tell.
pub(crate) fn bisect(mut from: f64, mut to: f64, left: impl Fn(f64) -> bool) -> f64 {
    // Each round halves; 200 are enough for the whole range of f64 and mostly 60 are used.
    for _ in 0..200 {
        let middle = 0.5 * (from + to);
        if middle == from || middle == to {
            break;
        }
        if left(middle) {
            from = middle;
        } else {
            to = middle;
        }
    }
    to
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn near(got: f64, expected: f64, relative: f64) -> bool {
        (got - expected).abs() <= relative * expected.abs().max(1e-300)
    }

    proptest! {
        #[test]
        fn logarithm_and_exponential_agree_with_the_platforms(x in -700.0..700.0f64, y in 1e-9..1e9f64) {
            prop_assert!(near(exp(x), x.exp(), 1e-13), "{x}: {} {}", exp(x), x.exp());
            prop_assert!((ln(y) - y.ln()).abs() <= 1e-15 * y.ln().abs().max(1.0));
            prop_assert!((ln(x.exp()) - x).abs() <= 1e-13);
        }

        #[test]
        fn a_small_step_from_one_keeps_its_digits(exponent in -300.0..0.0f64, sign in any::<bool>()) {
            let x = 10f64.powf(exponent) * if sign { 1.0 } else { -0.9 };
            prop_assert!(near(ln_1p(x), x.ln_1p(), 1e-14), "{x}");
        }

        #[test]
        fn gamma_follows_its_recurrence(x in 0.001..1e6f64) {
            let (up, here) = (ln_gamma(x + 1.0), ln_gamma(x));
            prop_assert!((up - here - x.ln()).abs() <= 4e-15 * up.abs().max(1.0), "{x}");
        }

        #[test]
        fn a_quantile_is_the_inverse_of_the_probability(p in 1e-6..0.999_999f64) {
            prop_assert!(near(normal(normal_quantile(p)), p, 1e-9));
        }
    }

    #[test]
    fn known_values_are_met() {
        assert!(near(ln_gamma(0.5), 0.5 * PI.ln(), 1e-14));
        assert!(near(ln_gamma(11.0), 3_628_800f64.ln(), 1e-15));
        assert!(near(normal_quantile(0.975), 1.959_963_984_540_054, 1e-12));
        assert!(near(normal_quantile(0.8), 0.841_621_233_572_914_3, 1e-12));
        assert!(near(ln(f64::MIN_POSITIVE / 1024.0), (f64::MIN_POSITIVE / 1024.0).ln(), 1e-14));
        assert_eq!((ln(1.0), exp(0.0), normal(0.0)), (0.0, 1.0, 0.5));
    }

    #[test]
    fn what_has_no_value_gives_an_end_or_no_number() {
        assert_eq!((ln(0.0), ln(f64::INFINITY)), (f64::NEG_INFINITY, f64::INFINITY));
        assert_eq!((exp(1e9), exp(-1e9)), (f64::INFINITY, 0.0));
        assert!(ln(-1.0).is_nan() && exp(f64::NAN).is_nan() && ln_gamma(0.0).is_nan());
        assert_eq!((normal_quantile(0.0).round(), normal_quantile(2.0), normal(99.0)), (-8.0, 8.0, 1.0));
    }
}
