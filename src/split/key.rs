//! Sticky keys: where they are found and which point they hash to.

use http::{HeaderMap, HeaderName, header};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::layout::POINTS;

/// Where a request carries the key that keeps it on one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// Value of a header.
    Header(HeaderName),
    /// Value of a cookie.
    Cookie(String),
    /// Value at a JSON pointer (RFC 6901) in the request body.
    JsonPointer(String),
    /// Address of the client: the connection's peer.
    ClientAddress,
}

/// The hash of `key` under `salt`: XXH3 (64 bit) of the key, seeded with XXH3 of the salt. The same
/// on every replica, machine and release.
pub fn hash(salt: &str, key: &[u8]) -> u64 {
    xxh3_64_with_seed(key, xxh3_64(salt.as_bytes()))
}

/// The point 0..10 000 that a hash lies at: its remainder.
pub fn point(hash: u64) -> u16 {
    u16::try_from(hash % u64::from(POINTS)).unwrap_or(0)
}

/// The value of cookie `name` in the `Cookie` headers (RFC 6265 section 4.2), the first one found.
pub fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    headers.get_all(header::COOKIE).iter().find_map(|line| {
        line.as_bytes().split(|b| *b == b';').find_map(|pair| {
            let pair = pair.trim_ascii();
            let value = pair.strip_prefix(name.as_bytes())?.strip_prefix(b"=")?;
            (!value.is_empty()).then_some(value)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_never_change_between_releases() {
        let got = [("fraud", "alice"), ("fraud", "bob"), ("fraud", ""), ("other", "alice")]
            .map(|(salt, key)| point(hash(salt, key.as_bytes())));
        assert_eq!(got, GOLDEN);
    }
    /// Written once from this implementation; a change would move every user of every replica.
    const GOLDEN: [u16; 4] = [4484, 9021, 4236, 9502];

    #[test]
    fn buckets_spread_evenly() {
        let mut counts = [0u32; 10];
        for i in 0..100_000 {
            counts[usize::from(point(hash("m", format!("user-{i}").as_bytes()))) / 1_000] += 1;
        }
        assert!(counts.iter().all(|c| (9_600..=10_400).contains(c)), "{counts:?}");
    }

    #[test]
    fn cookies_are_found_by_whole_name() {
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=1; uid=x=y ;buid=3".parse().unwrap());
        headers.append(header::COOKIE, "late=4; uid=9".parse().unwrap());
        assert_eq!(cookie(&headers, "uid"), Some(&b"x=y"[..]));
        assert_eq!(cookie(&headers, "buid"), Some(&b"3"[..]));
        assert_eq!(cookie(&headers, "late"), Some(&b"4"[..]));
        assert_eq!(cookie(&headers, "id"), None);
    }
}
