//! Networks: who a peer is, as far as its address says.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// A network of addresses, or all peers of Unix sockets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Network {
    /// The addresses that begin with the same bits as this one.
    Addresses {
        /// Its first address.
        first: IpAddr,
        /// Bits that its addresses share.
        bits: u8,
    },
    /// Peers of Unix sockets.
    Unix,
}

/// A text that is no network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a network such as 10.0.0.0/8")]
pub struct NetworkError;

impl Network {
    /// Whether `peer` belongs to it; a peer of a Unix socket has no address.
    pub fn has(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer.map(|address| address.to_canonical())) {
            (Self::Unix, None) => true,
            (Self::Addresses { first: IpAddr::V4(first), bits }, Some(IpAddr::V4(peer))) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(*bits)).unwrap_or(0);
                u32::from(*first) & mask == u32::from(peer) & mask
            }
            (Self::Addresses { first: IpAddr::V6(first), bits }, Some(IpAddr::V6(peer))) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(*bits)).unwrap_or(0);
                u128::from(*first) & mask == u128::from(peer) & mask
            }
            _ => false,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkError;

    /// Reads `10.0.0.0/8`, `2001:db8::/32`, an address alone, or `unix`.
    fn from_str(text: &str) -> Result<Self, NetworkError> {
        if text == "unix" {
            return Ok(Self::Unix);
        }
        let (address, bits) = match text.split_once('/') {
            Some((address, bits)) => (address, Some(bits)),
            None => (text, None),
        };
        let first: IpAddr = address.parse().map_err(|_| NetworkError)?;
        let most = if first.is_ipv4() { 32 } else { 128 };
        let bits = match bits {
            None => most,
            Some(bits) if bits.len() <= 3 && bits.bytes().all(|b| b.is_ascii_digit()) => {
                bits.parse().ok().filter(|bits| *bits <= most).ok_or(NetworkError)?
            }
            Some(_) => return Err(NetworkError),
        };
        Ok(Self::Addresses { first, bits })
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Addresses { first, bits } => write!(f, "{first}/{bits}"),
            Self::Unix => f.write_str("unix"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_belongs_to_the_networks_that_share_its_first_bits() {
        let has = |network: &str, peer: &str| {
            network.parse::<Network>().unwrap().has((!peer.is_empty()).then(|| peer.parse().unwrap()))
        };
        for (network, peer) in [
            ("10.0.0.0/8", "10.255.0.1"),
            ("10.1.2.3/8", "10.255.0.1"),
            ("0.0.0.0/0", "203.0.113.9"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "::ffff:127.0.0.1"),
            ("2001:db8::/32", "2001:db8:1::1"),
            ("::/0", "::1"),
            ("unix", ""),
        ] {
            assert!(has(network, peer), "{network} {peer}");
        }
        for (network, peer) in [
            ("10.0.0.0/8", "11.0.0.1"),
            ("10.0.0.0/31", "10.0.0.2"),
            ("127.0.0.1", "127.0.0.2"),
            ("0.0.0.0/0", "::1"),
            ("::/0", "127.0.0.1"),
            ("10.0.0.0/8", ""),
            ("unix", "127.0.0.1"),
        ] {
            assert!(!has(network, peer), "{network} {peer}");
        }
    }

    #[test]
    fn what_is_no_network_is_refused() {
        for text in
            ["", "10.0.0.0/33", "::/129", "10.0.0.0/", "10.0.0.0/-1", "10.0.0.0/+8", "10/8", "a", "Unix"]
        {
            assert!(text.parse::<Network>().is_err(), "{text:?}");
        }
        assert_eq!("10.0.0.1".parse::<Network>().unwrap().to_string(), "10.0.0.1/32");
    }
}
