//! Whose a certificate is: the names in it, and rules for them.
//!
//! Only subject alternative names count (RFC 5280 section 4.2.1.6); the common name does not
//! (RFC 9525 section 2). URIs are compared byte for byte, as SPIFFE asks.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer as _, X509Certificate};

/// A name that a certificate may bear.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NameRule {
    /// A DNS name, lower case; `*.` in front stands for any one label.
    Dns(String),
    /// An IP address.
    Ip(IpAddr),
    /// A URI, or the beginning of one.
    Uri {
        /// The text, without the `*` at its end.
        text: String,
        /// Whether anything may follow.
        open: bool,
    },
}

/// A text that is no rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a name of a certificate")]
pub struct NameError;

/// The names in a certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Names {
    dns: Vec<String>,
    ips: Vec<IpAddr>,
    uris: Vec<String>,
}

impl Names {
    /// The names in the certificate `der`; none where it cannot be read.
    pub fn of(der: &[u8]) -> Self {
        let mut names = Self::default();
        let Ok((_, certificate)) = X509Certificate::from_der(der) else { return names };
        let Ok(Some(alternative)) = certificate.subject_alternative_name() else { return names };
        for name in &alternative.value.general_names {
            match name {
                GeneralName::DNSName(name) => names.dns.push(name.to_ascii_lowercase()),
                GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                GeneralName::IPAddress(bytes) => names.ips.extend(address(bytes)),
                _ => {}
            }
        }
        names
    }

    /// Whether any of its DNS names, `*.` in front included, is for the host `name` (lower case).
    pub fn serves(&self, name: &str) -> bool {
        self.dns.iter().any(|own| covers(own, name))
    }

    /// Whether any of its names fits any of `rules`.
    pub fn fits(&self, rules: &[NameRule]) -> bool {
        rules.iter().any(|rule| match rule {
            NameRule::Dns(rule) => self.dns.iter().any(|name| covers(rule, name)),
            NameRule::Ip(ip) => self.ips.contains(ip),
            NameRule::Uri { text, open: false } => self.uris.contains(text),
            NameRule::Uri { text, open: true } => {
                self.uris.iter().any(|uri| uri.len() > text.len() && uri.starts_with(text.as_str()))
            }
        })
    }
}

/// Its names, or that it has none, for logs.
impl fmt::Display for Names {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ips: Vec<String> = self.ips.iter().map(ToString::to_string).collect();
        let all: Vec<&str> = self.dns.iter().chain(&ips).chain(&self.uris).map(String::as_str).collect();
        match all.is_empty() {
            true => f.write_str("no name"),
            false => f.write_str(&all.join(", ")),
        }
    }
}

/// Whether the pattern `rule` covers `name`: the same, or one label where the rule has `*`.
fn covers(rule: &str, name: &str) -> bool {
    match rule.strip_prefix("*.") {
        None => rule == name,
        Some(rest) => {
            rule == name
                || name
                    .split_once('.')
                    .is_some_and(|(label, of)| !label.is_empty() && label != "*" && of == rest)
        }
    }
}

fn address(bytes: &[u8]) -> Option<IpAddr> {
    match bytes.len() {
        4 => <[u8; 4]>::try_from(bytes).ok().map(IpAddr::from),
        16 => <[u8; 16]>::try_from(bytes).ok().map(IpAddr::from),
        _ => None,
    }
}

impl FromStr for NameRule {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        if let Some((scheme, rest)) = text.split_once("://") {
            let (body, open) = match text.strip_suffix('*') {
                Some(body) => (body, true),
                None => (text, false),
            };
            let visible = body.bytes().all(|b| b.is_ascii_graphic() && b != b'*');
            let named = !scheme.is_empty()
                && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
            // `scheme://*` would be everybody.
            return match visible && named && !rest.trim_end_matches('*').is_empty() {
                true => Ok(Self::Uri { text: body.to_owned(), open }),
                false => Err(NameError),
            };
        }
        if let Ok(ip) = text.parse() {
            return Ok(Self::Ip(ip));
        }
        let bare = text.strip_prefix("*.").unwrap_or(text);
        match rustls::pki_types::DnsName::try_from(bare) {
            Ok(_) => Ok(Self::Dns(text.to_ascii_lowercase())),
            Err(_) => Err(NameError),
        }
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn names() -> Names {
        let mut params =
            CertificateParams::new(vec!["Models.internal".to_owned(), "*.svc".to_owned()]).unwrap();
        params.subject_alt_names.push(SanType::URI("spiffe://cluster/ns/a".try_into().unwrap()));
        params.subject_alt_names.push(SanType::IpAddress("10.0.0.7".parse().unwrap()));
        let key = KeyPair::generate().unwrap();
        Names::of(params.self_signed(&key).unwrap().der())
    }

    #[test]
    fn a_certificate_fits_by_its_alternative_names_alone() {
        let names = names();
        let fits = |rule: &str| names.fits(&[rule.parse().unwrap()]);
        for rule in [
            "models.internal",
            "MODELS.internal",
            "*.internal",
            "*.svc",
            "10.0.0.7",
            "spiffe://cluster/ns/a",
            "spiffe://cluster/*",
        ] {
            assert!(fits(rule), "{rule}");
        }
        for rule in [
            "internal",
            "a.models.internal",
            "*.models.internal",
            "a.svc",
            "10.0.0.8",
            "spiffe://cluster/ns",
            "spiffe://cluster/ns/a/*",
            "spiffe://cluster/ns/ab",
            "spiffe://other/*",
        ] {
            assert!(!fits(rule), "{rule}");
        }
        assert!(names.serves("a.svc") && !names.serves("a.b.svc") && !names.serves(".svc"));
        assert_eq!(names.to_string(), "models.internal, *.svc, 10.0.0.7, spiffe://cluster/ns/a");
        assert!(!Names::of(b"garbage").fits(&["*.internal".parse().unwrap()]));
    }

    #[test]
    fn rules_that_would_let_everybody_in_or_mean_nothing_are_refused() {
        for text in
            ["", "*", "*.", "spiffe://*", "://a", "a b", "sp iffe://a", "spiffe://a*b", "-a.b", "a..b"]
        {
            assert!(text.parse::<NameRule>().is_err(), "{text:?}");
        }
    }
}
