//! One request and its answer, blocking, with a limit on everything.
//!
//! Redirects are not followed: a signed event or a token is for the host that was configured.
//! Connections are not kept: notifications are rare, and a stale connection is one more way to fail.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ureq::Agent;
use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

use super::payload::Request;

/// Bytes of an answer's body that are read, to say what a receiver did not like.
const BODY_BYTES: u64 = 16 * 1024;
/// Characters of it that are kept.
const BODY_TEXT: usize = 300;
/// Bytes of an answer's head.
const HEAD_BYTES: usize = 32 * 1024;

/// How requests are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transport {
    /// For everything from the look-up of the name to the end of the answer.
    pub timeout: Duration,
    /// PEM file of the authorities to trust; without it the public web's roots are.
    pub ca: Option<PathBuf>,
    /// Whether the environment's proxies count.
    pub environment_proxy: bool,
}

/// Sends requests. Cheap to make; it keeps no connection.
#[derive(Debug, Clone)]
pub struct Client {
    agent: Agent,
}

/// A client could not be made.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ClientError {
    /// The file of authorities cannot be read.
    #[error("{} cannot be read: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// The file of authorities has none.
    #[error("{} has no certificate in it", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
}

/// An answer, whatever it says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    pub status: u16,
    /// What `retry-after` asks for, if it gives seconds.
    pub retry_after: Option<Duration>,
    /// The beginning of the body, in one line, where it is not a success or was asked for.
    pub text: String,
}

/// No answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoAnswer {
    /// It did not come in time.
    TimedOut,
    /// It may come another time.
    Unreachable(String),
    /// It will never come: the request cannot be sent as it is configured.
    Unsendable(String),
}

impl Client {
    /// A client for one receiver.
    ///
    /// # Errors
    /// [`ClientError`] where the file of authorities is of no use.
    pub fn new(transport: &Transport) -> Result<Self, ClientError> {
        let roots = match &transport.ca {
            Some(path) => private_roots(path)?,
            None => RootCerts::WebPki,
        };
        // The provider is named rather than taken from the process, as for upstreams.
        let tls = TlsConfig::builder()
            .root_certs(roots)
            .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .build();
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .timeout_global(Some(transport.timeout))
            .max_response_header_size(HEAD_BYTES)
            .max_idle_connections(0)
            .user_agent(concat!("switchback/", env!("CARGO_PKG_VERSION")))
            .tls_config(tls);
        if !transport.environment_proxy {
            config = config.proxy(None);
        }
        Ok(Self { agent: config.build().into() })
    }

    /// Sends a request and waits for the answer's head, and for its body where `read` or where it is
    /// no success.
    pub(super) fn post(&self, request: &Request, read: bool) -> Result<Answer, NoAnswer> {
        let mut builder = self.agent.post(&request.url);
        for (name, value) in &request.headers {
            builder = builder.header(name, value);
        }
        let mut response = builder.send(request.body.as_slice()).map_err(no_answer)?;
        let status = response.status().as_u16();
        let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
        let retry_after = retry_after.and_then(|text| text.trim().parse().ok()).map(Duration::from_secs);
        let success = (200..300).contains(&status);
        let body = response.body_mut().with_config().limit(BODY_BYTES);
        // A body that is too long, late or broken is none: the status has said what counts.
        let body = if read || !success { body.read_to_vec().unwrap_or_default() } else { Vec::new() };
        Ok(Answer { status, retry_after, text: one_line(&body) })
    }
}

fn private_roots(path: &PathBuf) -> Result<RootCerts, ClientError> {
    let unreadable = |reason: String| ClientError::Unreadable { path: path.clone(), reason };
    let pem = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let mut certificates: Vec<Certificate<'static>> = Vec::new();
    for item in ureq::tls::parse_pem(&pem) {
        if let PemItem::Certificate(certificate) = item.map_err(|error| unreadable(error.to_string()))? {
            certificates.push(certificate);
        }
    }
    if certificates.is_empty() {
        return Err(ClientError::NoCertificate { path: path.clone() });
    }
    Ok(RootCerts::from(certificates))
}

/// Why there is no answer, in words that hold no URL: those of some receivers are secrets.
fn no_answer(error: ureq::Error) -> NoAnswer {
    match error {
        ureq::Error::Timeout(_) => NoAnswer::TimedOut,
        ureq::Error::BadUri(_) | ureq::Error::RequireHttpsOnly(_) => {
            NoAnswer::Unsendable("the URL is not valid".to_owned())
        }
        ureq::Error::Http(error) => NoAnswer::Unsendable(error.to_string()),
        ureq::Error::HostNotFound => NoAnswer::Unreachable("the host is not known".to_owned()),
        ureq::Error::ConnectionFailed => NoAnswer::Unreachable("no connection".to_owned()),
        ureq::Error::ConnectProxyFailed(_) | ureq::Error::InvalidProxyUrl => {
            NoAnswer::Unreachable("the proxy failed".to_owned())
        }
        error => NoAnswer::Unreachable(error.to_string()),
    }
}

fn one_line(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let words: Vec<&str> = text.split(|c: char| c.is_whitespace() || c.is_control()).collect();
    let text = words.into_iter().filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    text.chars().take(BODY_TEXT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_becomes_one_short_line() {
        assert_eq!(one_line(b"<html>\r\n  no\x00such\x1b page\n"), "<html> no such page");
        assert_eq!(one_line("ü".repeat(2_000).as_bytes()).chars().count(), BODY_TEXT);
        assert_eq!(one_line(&[0xff, 0xfe]), "\u{fffd}\u{fffd}");
    }

    #[test]
    fn a_file_without_certificates_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let transport =
            |path| Transport { timeout: Duration::from_secs(1), ca: Some(path), environment_proxy: false };
        let missing = Client::new(&transport(path.clone())).unwrap_err();
        assert!(missing.to_string().contains("ca.pem cannot be read"), "{missing}");
        std::fs::write(&path, "no certificate").unwrap();
        assert_eq!(Client::new(&transport(path.clone())).unwrap_err(), ClientError::NoCertificate { path });
    }
}
