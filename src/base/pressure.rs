//! How short of memory the process is, as everybody who could spare some sees it.

use std::sync::atomic::{AtomicU8, Ordering::Relaxed};

/// Shared by whoever measures and whoever spares. Reading it is one relaxed load.
#[derive(Debug, Default)]
pub struct Pressure(AtomicU8);

/// What is to be spared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Nothing.
    Calm,
    /// Copies for shadows.
    Shadows,
    /// Requests for canaries as well.
    Canaries,
    /// Everything new.
    All,
}

impl Level {
    /// The level when this share of what may be used is used, and `floor` of it is so whatever is
    /// spared: a floor that is high raises what counts as short, to parts of what is left above it.
    pub fn at(used: f64, floor: f64) -> Self {
        let from = |usual: f64, part: f64| usual.max(floor + (1.0 - floor) * part);
        match used {
            _ if used >= from(0.95, 0.75).min(1.0) => Self::All,
            _ if used >= from(0.90, 0.50) => Self::Canaries,
            _ if used >= from(0.80, 0.25) => Self::Shadows,
            _ => Self::Calm,
        }
    }
}

impl Pressure {
    /// The level of now.
    #[inline]
    pub fn level(&self) -> Level {
        match self.0.load(Relaxed) {
            0 => Level::Calm,
            1 => Level::Shadows,
            2 => Level::Canaries,
            _ => Level::All,
        }
    }

    /// Sets the level; `true` where it is another one.
    pub fn set(&self, level: Level) -> bool {
        self.0.swap(level as u8, Relaxed) != level as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_least_important_is_spared_first() {
        let pressure = Pressure::default();
        let levels = [(0.0, Level::Calm), (0.8, Level::Shadows), (0.9, Level::Canaries), (2.0, Level::All)];
        for (used, level) in levels {
            assert_eq!(Level::at(used, 0.0), level);
            assert_eq!(pressure.set(level), level != Level::Calm);
            assert_eq!(pressure.level(), level);
            assert!(!pressure.set(level));
        }
    }

    #[test]
    fn what_cannot_be_given_up_is_no_reason_to_spare_but_the_ceiling_stays() {
        for (used, floor, level) in [
            (0.96, 0.96, Level::Calm),
            (0.97, 0.96, Level::Shadows),
            (0.981, 0.96, Level::Canaries),
            (0.99, 0.96, Level::All),
            (0.85, 0.50, Level::Shadows),
            (1.0, 0.999, Level::All),
            (1.2, 1.2, Level::All),
        ] {
            assert_eq!(Level::at(used, floor), level, "{used} {floor}");
        }
    }
}
