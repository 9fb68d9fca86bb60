//! Weights in basis points: 10 000 is all of the traffic, 1 is a hundredth of a percent.

use std::fmt;
use std::str::FromStr;

/// A share of traffic in basis points, 0 to 10 000.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Weight(u16);

/// Why a text or number is not a weight.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// More than 100 %.
    #[error("{0} is more than 100% (10000bp)")]
    TooLarge(String),
    /// Neither `N%` nor `Nbp`.
    #[error(
        "{0:?} is not a weight: write a percentage such as \"5%\" or \"0.25%\", or basis points such as \"25bp\""
    )]
    Syntax(String),
}

impl Weight {
    /// No traffic.
    pub const ZERO: Self = Self(0);
    /// All of the traffic.
    pub const FULL: Self = Self(10_000);

    /// A weight of `basis_points`.
    ///
    /// # Errors
    /// [`WeightError::TooLarge`] above 10 000.
    pub fn new(basis_points: u32) -> Result<Self, WeightError> {
        match u16::try_from(basis_points) {
            Ok(bp) if bp <= Self::FULL.0 => Ok(Self(bp)),
            _ => Err(WeightError::TooLarge(format!("{basis_points}bp"))),
        }
    }

    /// A weight of so many percent; above 100 it is 100.
    pub const fn percent(percent: u16) -> Self {
        Self(if percent > 100 { Self::FULL.0 } else { percent * 100 })
    }

    /// The weight in basis points.
    pub fn basis_points(self) -> u16 {
        self.0
    }

    /// The weight as a fraction, 0 to 1.
    pub fn fraction(self) -> f64 {
        f64::from(self.0) / 10_000.0
    }

    /// What is left of all traffic beside this weight.
    pub fn rest(self) -> Self {
        Self(Self::FULL.0 - self.0)
    }
}

impl FromStr for Weight {
    type Err = WeightError;

    /// Reads `5%`, `0.25%` or `25bp`. A bare number is refused: `10` could mean either.
    fn from_str(text: &str) -> Result<Self, WeightError> {
        let syntax = || WeightError::Syntax(text.chars().take(40).collect());
        let text = text.trim();
        if let Some(bp) = text.strip_suffix("bp") {
            let bp = bp.trim_end();
            if bp.is_empty() || !bp.bytes().all(|b| b.is_ascii_digit()) {
                return Err(syntax());
            }
            let bp: u32 = bp.parse().map_err(|_| WeightError::TooLarge(text.to_owned()))?;
            return Self::new(bp).map_err(|_| WeightError::TooLarge(text.to_owned()));
        }
        let percent = text.strip_suffix('%').ok_or_else(syntax)?.trim_end();
        let (whole, part) = percent.split_once('.').unwrap_or((percent, "0"));
        let digits = |s: &str| !s.is_empty() && s.bytes().all(|b| b.is_ascii_digit());
        if !digits(whole) || !digits(part) || part.len() > 2 {
            return Err(syntax());
        }
        let too_large = || WeightError::TooLarge(text.to_owned());
        let whole: u32 = whole.parse().map_err(|_| too_large())?;
        let scale = if part.len() == 1 { 10 } else { 1 };
        let part: u32 = part.parse::<u32>().map_err(|_| syntax())? * scale;
        let bp = whole.checked_mul(100).and_then(|w| w.checked_add(part)).ok_or_else(too_large)?;
        Self::new(bp).map_err(|_| too_large())
    }
}

impl fmt::Display for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (whole, part) = (self.0 / 100, self.0 % 100);
        match part {
            0 => write!(f, "{whole}%"),
            p if p % 10 == 0 => write!(f, "{whole}.{}%", p / 10),
            p => write!(f, "{whole}.{p:02}%"),
        }
    }
}

impl fmt::Debug for Weight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_weight_reads_back_as_written() {
        for bp in 0..=10_000 {
            let weight = Weight::new(bp).unwrap();
            assert_eq!(weight.to_string().parse(), Ok(weight));
            assert_eq!(format!("{bp}bp").parse(), Ok(weight));
        }
    }

    #[test]
    fn ambiguous_or_impossible_weights_are_refused() {
        for bad in ["10", "", "%", "bp", "-1%", "5.%", ".5%", "5.001%", "1e1%", "+5%", "5 percent"] {
            assert!(matches!(bad.parse::<Weight>(), Err(WeightError::Syntax(_))), "{bad}");
        }
        for bad in ["100.01%", "10001bp", "99999999999999999999%", "99999999999999999999bp"] {
            assert!(matches!(bad.parse::<Weight>(), Err(WeightError::TooLarge(_))), "{bad}");
        }
    }
}
