//! Where a socket listens: an IP address and port, or the path of a Unix socket.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// An address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum BindAddress {
    /// IP address and port; port 0 lets the system choose one.
    Tcp(SocketAddr),
    /// Path of a Unix stream socket, written `unix:/path`.
    Unix(PathBuf),
}

/// Why a text is not an address to listen on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{value:?} is not an address to listen on: write \"IP:PORT\" such as \"127.0.0.1:8080\" or \"[::1]:8080\", or \"unix:/path\""
)]
pub struct ParseAddressError {
    value: String,
}

impl FromStr for BindAddress {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, ParseAddressError> {
        let refused = || ParseAddressError { value: text.chars().take(120).collect() };
        match text.strip_prefix("unix:") {
            Some(path) if path.len() > 1 && path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(refused()),
            None => text.parse().map(Self::Tcp).map_err(|_| refused()),
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_read_back_as_written() {
        for good in ["127.0.0.1:8080", "[::1]:0", "unix:/run/sb.sock"] {
            assert_eq!(good.parse::<BindAddress>().map(|a| a.to_string()), Ok(good.to_string()));
        }
        for bad in ["localhost:80", ":8080", "127.0.0.1", "unix:", "unix:relative", ""] {
            assert!(bad.parse::<BindAddress>().is_err(), "{bad}");
        }
    }
}
