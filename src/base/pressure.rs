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
    /// The level when this share of what may be used is used.
    pub fn at(used: f64) -> Self {
        match used {
            _ if used >= 0.95 => Self::All,
            _ if used >= 0.90 => Self::Canaries,
            _ if used >= 0.80 => Self::Shadows,
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
            assert_eq!(Level::at(used), level);
            assert_eq!(pressure.set(level), level != Level::Calm);
            assert_eq!(pressure.level(), level);
            assert!(!pressure.set(level));
        }
    }
}
