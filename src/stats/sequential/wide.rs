//! Powers that neither overflow nor underflow on the way.
//!
//! The factor of ten thousand events may be `3¹⁰⁰ × 0.9⁹⁹⁰⁰`: a product of something beyond `f64`
//! and something below it. A [`Wide`] carries its binary exponent beside the mantissa. Only
//! multiplications are used, so the result has the same bits on every platform, which `powf` and
//! `exp` do not promise.

use std::ops::Mul;

/// A positive number: `mantissa × 2^exponent`, with the mantissa in `[1, 2)`; or zero.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Wide {
    mantissa: f64,
    /// Wide enough for any `f64` to the power of any `u64`.
    exponent: i128,
}

const MANTISSA_BITS: u32 = 52;
const EXPONENT_MASK: u64 = 0x7ff << MANTISSA_BITS;
const BIAS: i128 = 1023;

impl Wide {
    const ONE: Self = Self { mantissa: 1.0, exponent: 0 };
    const ZERO: Self = Self { mantissa: 0.0, exponent: 0 };

    /// The number, or zero for whatever is not a normal positive one.
    #[inline]
    pub(super) fn new(x: f64) -> Self {
        if !(x.is_normal() && x > 0.0) {
            return Self::ZERO;
        }
        let bits = x.to_bits();
        let exponent = i128::from((bits & EXPONENT_MASK) >> MANTISSA_BITS) - BIAS;
        Self { mantissa: f64::from_bits((bits & !EXPONENT_MASK) | 1.0_f64.to_bits()), exponent }
    }

    /// The number to the power of `n`, by repeated squaring.
    #[inline]
    pub(super) fn power(x: f64, mut n: u64) -> Self {
        let (mut square, mut result) = (Self::new(x), Self::ONE);
        while n > 0 {
            if n & 1 == 1 {
                result = result * square;
            }
            n >>= 1;
            if n > 0 {
                square = square * square;
            }
        }
        result
    }

    /// As an `f64`: zero where it is too small, `ceiling` where it is more than that.
    #[inline]
    pub(super) fn narrow(self, ceiling: f64) -> f64 {
        if self.mantissa == 0.0 || self.exponent < -1022 {
            return 0.0;
        }
        match u64::try_from(self.exponent + BIAS) {
            Ok(biased) if biased < 0x7ff => {
                let scale = f64::from_bits(biased << MANTISSA_BITS);
                (self.mantissa * scale).min(ceiling)
            }
            _ => ceiling,
        }
    }
}

impl Mul for Wide {
    type Output = Self;

    #[inline]
    fn mul(self, other: Self) -> Self {
        // In [1, 4): one bit may move into the exponent, without rounding.
        let mantissa = self.mantissa * other.mantissa;
        let exponent = self.exponent + other.exponent;
        if mantissa >= 2.0 {
            Self { mantissa: mantissa * 0.5, exponent: exponent + 1 }
        } else if mantissa == 0.0 {
            Self::ZERO
        } else {
            Self { mantissa, exponent }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const CEILING: f64 = 1e300;

    proptest! {
        #[test]
        fn a_number_survives_being_wide(x in 1e-300..1e300f64) {
            prop_assert_eq!(Wide::new(x).narrow(f64::MAX), x);
        }

        #[test]
        fn small_powers_are_those_of_repeated_multiplication(x in 0.01..40.0f64, n in 0..60u64) {
            let expected = (0..n).fold(1.0, |product, _| product * x);
            let got = Wide::power(x, n).narrow(f64::MAX);
            prop_assert!((got / expected - 1.0).abs() < 1e-13, "{got} for {expected}");
        }

        #[test]
        fn a_product_beyond_the_range_on_the_way_comes_back_exact(x in 1.5..40.0f64, n in 0..u64::from(u32::MAX)) {
            let there_and_back = Wide::power(x, n) * Wide::power(1.0 / x, n) * Wide::new(3.0);
            // The rounding of 1/x is taken to the power of n.
            let error = (there_and_back.narrow(CEILING) / 3.0 - 1.0).abs();
            prop_assert!(error < 1e-15 * (n as f64 + 2.0), "{error}");
        }
    }

    #[test]
    fn the_ends_of_the_range_and_things_that_are_no_numbers_do_not_panic() {
        assert_eq!(Wide::power(30.0, u64::MAX).narrow(CEILING), CEILING);
        assert_eq!(Wide::power(0.5, u64::MAX).narrow(CEILING), 0.0);
        assert_eq!(Wide::power(1.0, u64::MAX).narrow(CEILING), 1.0);
        assert_eq!(Wide::power(0.0, 0).narrow(CEILING), 1.0);
        for nothing in [0.0, -1.0, f64::NAN, f64::INFINITY, f64::MIN_POSITIVE / 2.0] {
            assert_eq!(Wide::power(nothing, 3).narrow(CEILING), 0.0);
        }
        assert_eq!((Wide::power(0.0, 1) * Wide::power(30.0, 1_000_000)).narrow(CEILING), 0.0);
    }
}
