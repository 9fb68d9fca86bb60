//! Certificates on disk and the names in them: what a listener's TLS and an upstream's have in
//! common.
//!
//! [`files`] reads chains, keys and authorities, each failure one line that names the file and the
//! fix; [`names`] tells whose certificate it is, [`validity`] how long.

pub mod files;
pub mod names;
pub mod validity;

pub use files::FileError;
pub use names::NameRule;

use rustls::SupportedProtocolVersion;

/// Oldest version of TLS that is spoken. Nothing older than 1.2 ever is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MinVersion {
    /// TLS 1.2 and 1.3.
    #[default]
    Tls12,
    /// TLS 1.3.
    Tls13,
}

impl MinVersion {
    /// The versions that are spoken.
    pub fn versions(self) -> &'static [&'static SupportedProtocolVersion] {
        static BOTH: [&SupportedProtocolVersion; 2] = [&rustls::version::TLS13, &rustls::version::TLS12];
        static LATEST: [&SupportedProtocolVersion; 1] = [&rustls::version::TLS13];
        match self {
            Self::Tls12 => &BOTH,
            Self::Tls13 => &LATEST,
        }
    }
}
