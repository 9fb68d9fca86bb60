//! What a version does now.

use std::fmt;

/// The role of a version at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Role {
    /// Serves whatever no other version serves; the one that is gone back to.
    Stable,
    /// Gets a share of live traffic beside the stable version.
    Canary,
    /// Gets copies of requests; its answers reach nobody.
    Shadow,
    /// Warm, without traffic: gone back to without loading anything.
    Standby,
    /// Out of use.
    Retired,
}

impl Role {
    /// The role as it stands in labels, configuration and the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
            Self::Shadow => "shadow",
            Self::Standby => "standby",
            Self::Retired => "retired",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
