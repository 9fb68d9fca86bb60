//! Where a model server is: `http://host:port`, `https://host:port` or `unix:/path`; and where
//! something is posted or asked: `http://` or `https://` with a path.

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::upstream::Address;

use super::problem::short;

/// What is wrong with a text, and what to write instead.
pub(super) type Refusal = (String, String);

/// Longest path of a Unix socket: `sun_path` has 108 bytes, the last one NUL.
pub(super) const LONGEST_SOCKET: usize = 107;

/// A URL of a model server, taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Url {
    /// Where it listens.
    pub address: Address,
    /// `host[:port]`, the port only where it was written.
    pub authority: String,
    /// Whether it is `https`.
    pub tls: bool,
}

/// Takes `text` apart.
///
/// # Errors
/// What is wrong with it and what to write.
pub(super) fn parse(text: &str) -> Result<Url, Refusal> {
    let refuse = |what: &str, fix: String| Err((format!("{:?} {what}", short(text)), fix));
    if let Some(path) = text.strip_prefix("unix:") {
        // `unix:///path` is how others write it.
        let path = path.strip_prefix("//").unwrap_or(path);
        if !path.starts_with('/') || path.len() < 2 || path.contains('\0') {
            return refuse("is not an absolute path", "write \"unix:/path/to/socket\"".to_owned());
        }
        if path.len() > LONGEST_SOCKET {
            let fix = format!("the path of a Unix socket has at most {LONGEST_SOCKET} bytes");
            return refuse("is too long", fix);
        }
        let address = Address::Unix(path.into());
        return Ok(Url { address, authority: "localhost".to_owned(), tls: false });
    }
    let Some((scheme, rest)) = text.split_once("://") else {
        let fix = match split_authority(text) {
            Some((host, _)) if is_host(host) && !text.contains('@') => {
                format!("write \"http://{}\"", short(text))
            }
            _ => "write \"http://HOST:PORT\", \"https://HOST:PORT\" or \"unix:/path\"".to_owned(),
        };
        return refuse("has no scheme", fix);
    };
    let tls = match scheme {
        "http" => false,
        "https" => true,
        "grpc" | "h2c" => {
            let fix = format!("write \"http://{}\" and \"protocol: http2\"", short(rest));
            return refuse("has a scheme that is not known", fix);
        }
        _ => {
            let fix = "write \"http://\", \"https://\" or \"unix:/path\"".to_owned();
            return refuse("has a scheme that is not known", fix);
        }
    };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.contains('@') {
        return refuse("has a user in it", "remove it and the `@`".to_owned());
    }
    let host_and_port = split_authority(authority).filter(|(host, _)| is_host(host));
    let Some((host, port_text)) = host_and_port else {
        return refuse("has no valid host", format!("write \"{scheme}://HOST:PORT\""));
    };
    let Some(port) = port_text.map_or(Some(if tls { 443 } else { 80 }), port) else {
        return refuse("has no valid port", "write a port from 1 to 65535".to_owned());
    };
    if !path.is_empty() {
        let fix = format!("write \"{scheme}://{authority}\"; `rewrite.pathPrefix` changes paths");
        return refuse("has a path", fix);
    }
    let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    Ok(Url { address: Address::Tcp { host, port }, authority: authority.to_owned(), tls })
}

/// Checks a URL of the web; without `query` it must have none, and `/` at its end is dropped.
///
/// # Errors
/// What is wrong with it and what to write. Its path is not shown: it may be a secret.
pub(super) fn web(text: &str, query: bool) -> Result<String, Refusal> {
    let refuse = |what: &str, fix: &str| Err((format!("the URL {what}"), fix.to_owned()));
    let Some((scheme, rest)) = text.split_once("://") else {
        return refuse("has no scheme", "start it with \"https://\" or \"http://\"");
    };
    if !matches!(scheme, "http" | "https") {
        return refuse("has a scheme that is not known", "start it with \"https://\" or \"http://\"");
    }
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at_checked(end).unwrap_or((rest, ""));
    if authority.contains('@') {
        return refuse("has a user in it", "remove it and the `@`");
    }
    let host_and_port = split_authority(authority).filter(|(host, _)| is_host(host));
    if host_and_port.is_none_or(|(_, written)| written.is_some_and(|text| port(text).is_none())) {
        return refuse(
            "has no valid host and port",
            "write \"https://HOST/PATH\" or \"https://HOST:PORT/PATH\"",
        );
    }
    if path.contains('#') || path.starts_with('?') || !path.bytes().all(|b| b.is_ascii_graphic()) {
        return refuse(
            "has a path that is none",
            "leave out the fragment, and write other characters as %XX",
        );
    }
    match query {
        true => Ok(text.to_owned()),
        false if path.contains('?') => refuse("has a query", "leave it out"),
        false => Ok(text.trim_end_matches('/').to_owned()),
    }
}

/// Host (IPv6 in brackets) and port of `host[:port]`.
pub(super) fn split_authority(text: &str) -> Option<(&str, Option<&str>)> {
    let after_brackets = text.rfind(']').unwrap_or(0);
    match text.rfind(':').filter(|colon| *colon >= after_brackets) {
        Some(colon) => {
            let (host, port) = text.split_at_checked(colon)?;
            Some((host, port.strip_prefix(':')))
        }
        None => Some((text, None)),
    }
}

/// A port one can connect to.
pub(super) fn port(text: &str) -> Option<u16> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse().ok().filter(|port| digits && *port > 0)
}

/// Whether `text` is a host name, an IPv4 address or an IPv6 address in brackets.
pub(super) fn is_host(text: &str) -> bool {
    if let Some(inner) = text.strip_prefix('[').and_then(|t| t.strip_suffix(']')) {
        return inner.parse::<Ipv6Addr>().is_ok();
    }
    let label = |l: &str| {
        let inside = l.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
        inside && (1..=63).contains(&l.len()) && !l.starts_with('-') && !l.ends_with('-')
    };
    let name = text.strip_suffix('.').unwrap_or(text);
    // Only digits and dots is an address that was meant, or a mistake such as 127.0.0.300.
    let numeric = name.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if numeric { name.parse::<Ipv4Addr>().is_ok() } else { name.len() <= 253 && name.split('.').all(label) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tcp(host: &str, port: u16, authority: &str, tls: bool) -> Result<Url, Refusal> {
        let address = Address::Tcp { host: host.to_owned(), port };
        Ok(Url { address, authority: authority.to_owned(), tls })
    }

    #[test]
    fn urls_are_taken_apart() {
        assert_eq!(parse("http://127.0.0.1:9001"), tcp("127.0.0.1", 9001, "127.0.0.1:9001", false));
        assert_eq!(parse("https://models.example"), tcp("models.example", 443, "models.example", true));
        assert_eq!(parse("http://[::1]:80"), tcp("::1", 80, "[::1]:80", false));
        assert_eq!(parse("http://model_a"), tcp("model_a", 80, "model_a", false));
        for unix in ["unix:/run/m.sock", "unix:///run/m.sock"] {
            assert_eq!(parse(unix).map(|u| u.address), Ok(Address::Unix("/run/m.sock".into())));
        }
    }

    #[test]
    fn urls_of_the_web_have_a_host_and_perhaps_a_path() {
        for good in ["https://h", "http://h:8080/a/b?c=d", "https://[::1]:1/"] {
            assert_eq!(web(good, true).as_deref(), Ok(good));
        }
        assert_eq!(web("https://h/api/v3//", false).as_deref(), Ok("https://h/api/v3"));
        for bad in [
            "h/a",
            "ftp://h",
            "https://u:p@h/a",
            "https://",
            "https://h:0/",
            "https://h/a#b",
            "https://h/a b",
            "https://h?a",
        ] {
            assert!(web(bad, true).is_err(), "{bad}");
        }
        assert!(web("https://h/a?b", false).is_err());
        assert!(!format!("{:?}", web("slack://h/T0/s3cret", true)).contains("s3cret"));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(unix:|http://|https://)?\\PC{0,30}") {
            let _ = (web(&text, true), web(&text, false));
            if let Ok(url) = parse(&text) {
                prop_assert!(!url.authority.is_empty());
            }
        }
    }
}
