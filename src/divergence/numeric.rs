//! Comparator `numeric`: numbers within an absolute and a relative tolerance, with the largest
//! differences and the cosine. NaN equals NaN and an infinity equals itself at the same place,
//! because a model that answered so before does so still; against anything else they are a
//! difference of their own kind, whatever the tolerance.

use super::comparison::{Found, Measures};
use super::reason::Reason;
use super::spec::Tolerance;

/// Two numbers compared.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pair {
    /// Finite, with the differences.
    Finite {
        /// Absolute.
        absolute: f64,
        /// As a share of the larger one.
        relative: f64,
        /// In multiples of what is allowed.
        excess: f64,
    },
    /// Both the same NaN or infinity.
    SameNonFinite,
    /// One of them is not finite, or they are different infinities.
    NonFinite,
}

impl Pair {
    /// Compares `a` and `b`.
    pub(super) fn of(a: f64, b: f64, tolerance: Tolerance) -> Self {
        if !a.is_finite() || !b.is_finite() {
            let same = a == b || a.is_nan() && b.is_nan();
            return if same { Self::SameNonFinite } else { Self::NonFinite };
        }
        Self::apart((a - b).abs().min(f64::MAX), a, b, tolerance)
    }

    /// Compares integers. Large ones that differ may be the same double, and still differ.
    pub(super) fn of_integers(a: i128, b: i128, tolerance: Tolerance) -> Self {
        #[expect(clippy::cast_precision_loss, reason = "the nearest doubles are what is wanted")]
        let (absolute, a, b) = (a.abs_diff(b) as f64, a as f64, b as f64);
        Self::apart(absolute, a, b, tolerance)
    }

    /// Two finite numbers that far apart.
    fn apart(absolute: f64, a: f64, b: f64, tolerance: Tolerance) -> Self {
        let larger = a.abs().max(b.abs());
        let allowed = tolerance.allowed(a, b);
        Self::Finite {
            absolute,
            relative: if absolute == 0.0 { 0.0 } else { (absolute / larger).min(2.0) },
            excess: match absolute {
                0.0 => 0.0,
                // A tolerance that is no number allows nothing.
                _ if allowed > 0.0 => (absolute / allowed).min(f64::MAX),
                _ => f64::MAX,
            },
        }
    }

    /// Adds it to measures. Says why it diverges, if it does.
    pub(super) fn count(self, measures: &mut Measures) -> Option<Reason> {
        measures.compared += 1;
        let reason = match self {
            Self::Finite { absolute, relative, excess } => {
                let largest = Measures {
                    max_absolute: Some(absolute),
                    max_relative: Some(relative),
                    excess: Some(excess),
                    ..Measures::default()
                };
                measures.merge(&largest);
                (excess > 1.0).then_some(Reason::Numeric)
            }
            Self::SameNonFinite => {
                measures.non_finite += 1;
                None
            }
            Self::NonFinite => Some(Reason::NonFinite),
        };
        measures.different += u64::from(reason.is_some());
        reason
    }
}

/// Compares two lists of equal length; `at` is the index of the gravest difference.
pub(super) fn compare(a: &[f64], b: &[f64], tolerance: Tolerance) -> Found {
    let mut found = Found::default();
    let mut worst = (0_u8, 0.0);
    for (at, (a, b)) in a.iter().zip(b).enumerate() {
        let pair = Pair::of(*a, *b, tolerance);
        let reason = pair.count(&mut found.measures);
        let excess = if let Pair::Finite { excess, .. } = pair { excess } else { 0.0 };
        let here = (reason.map_or(0, |reason| 1 + reason.gravity()), excess);
        if here.0 > worst.0 || here.0 == worst.0 && here.1 > worst.1 {
            worst = here;
            found.reason = reason;
            found.at = Some(at.to_string());
        }
    }
    found.measures.cosine = cosine(a, b);
    found
}

/// Cosine of the angle between two vectors, over the places where both are finite. Two vectors of
/// zeros have the same direction; one of zeros has none in common with another. None for no places.
pub(super) fn cosine(a: &[f64], b: &[f64]) -> Option<f64> {
    let pairs = || a.iter().zip(b).filter(|(a, b)| a.is_finite() && b.is_finite());
    pairs().next()?;
    // Scaled by the largest value, so that squares neither overflow nor vanish.
    let (top_a, top_b) =
        pairs().fold((0.0_f64, 0.0_f64), |(top_a, top_b), (a, b)| (top_a.max(a.abs()), top_b.max(b.abs())));
    if top_a == 0.0 || top_b == 0.0 {
        return Some(if top_a == top_b { 1.0 } else { 0.0 });
    }
    let (mut dot, mut square_a, mut square_b) = (0.0, 0.0, 0.0);
    for (a, b) in pairs() {
        let (a, b) = (a / top_a, b / top_b);
        dot += a * b;
        square_a += a * a;
        square_b += b * b;
    }
    Some((dot / (square_a.sqrt() * square_b.sqrt())).clamp(-1.0, 1.0))
}
