//! An upstream with everything resolved that can be resolved once.
//!
//! Certificates are read and names are checked here, when a configuration is applied, so that a
//! mistake is one clear line at that time and connecting never touches a file. Host names are
//! looked up at each connect, because their addresses change while the process lives.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use http::HeaderValue;
use http::uri::Authority;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::{Address, EndpointSpec, Protocol, UpstreamSpec, UpstreamTls};

/// ALPN identifier of HTTP/1.1 (RFC 7301 section 6).
pub(super) const ALPN_HTTP1: &[u8] = b"http/1.1";
/// ALPN identifier of HTTP/2 over TLS (RFC 9113 section 3.1).
pub(super) const ALPN_HTTP2: &[u8] = b"h2";

/// An upstream ready to be connected to. Shared by all workers; cheap to share as an `Arc`.
pub struct Target {
    spec: UpstreamSpec,
    place: Place,
    host: HeaderValue,
    authority: Authority,
    tls: Option<TargetTls>,
}

/// Where to connect to.
pub(super) enum Place {
    /// An IP address: nothing to look up.
    Ip(SocketAddr),
    /// A host name and a port.
    Name(String, u16),
    /// Path of a Unix socket.
    Unix(PathBuf),
}

/// TLS to the upstream, one configuration per set of protocols that is offered.
pub(super) struct TargetTls {
    /// Name the certificate must bear.
    pub(super) name: ServerName<'static>,
    /// Offers HTTP/1.1 alone.
    pub(super) http1: Arc<ClientConfig>,
    /// Offers HTTP/2, and HTTP/1.1 behind it unless the protocol is fixed.
    pub(super) http2: Arc<ClientConfig>,
}

/// Why an upstream cannot be used as it is configured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// The authority is no `host[:port]`.
    #[error("{value:?} is not a host with an optional port, such as \"models.example:8000\"")]
    Authority {
        /// What was found.
        value: String,
    },
    /// The name the certificate must bear is neither a DNS name nor an IP address.
    #[error(
        "{value:?} cannot be the name of a certificate: set tls.serverName to a DNS name or an IP address"
    )]
    ServerName {
        /// What was found.
        value: String,
    },
    /// The file of authorities cannot be read or is no PEM.
    #[error("cannot read certificates from {path}: {reason}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// What the system or the parser said.
        reason: String,
    },
    /// The file of authorities holds no certificate.
    #[error("{path} holds no certificate: tls.ca must be a PEM file with at least one \"BEGIN CERTIFICATE\"", path = path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// The TLS library refuses the settings.
    #[error("TLS cannot be set up: {reason}")]
    Tls {
        /// What the library said.
        reason: String,
    },
}

impl Target {
    /// Checks `spec` and reads the files that it names.
    ///
    /// # Errors
    /// [`TargetError`], which names the file or the value and what was expected.
    pub fn new(spec: &UpstreamSpec) -> Result<Self, TargetError> {
        let refused = || TargetError::Authority { value: spec.authority.clone() };
        let host = HeaderValue::from_str(&spec.authority).map_err(|_| refused())?;
        let authority: Authority = spec.authority.parse().map_err(|_| refused())?;
        if authority.as_str().contains('@') {
            return Err(refused());
        }
        let place = match &spec.address {
            Address::Tcp { host, port } => match host.parse::<IpAddr>() {
                Ok(ip) => Place::Ip(SocketAddr::new(ip, *port)),
                Err(_) => Place::Name(host.clone(), *port),
            },
            Address::Unix(path) => Place::Unix(path.clone()),
        };
        let tls = match &spec.tls {
            Some(tls) => Some(TargetTls::new(tls, spec, authority.host())?),
            None => None,
        };
        Ok(Self { spec: spec.clone(), place, host, authority, tls })
    }

    /// What the target was made from.
    pub fn spec(&self) -> &UpstreamSpec {
        &self.spec
    }

    /// The upstream's own `host[:port]`, for a rewrite that asks for it.
    pub fn authority(&self) -> &HeaderValue {
        &self.host
    }

    /// The address it connects to, where that is known without looking a name up.
    pub(super) fn ip(&self) -> Option<SocketAddr> {
        match &self.place {
            Place::Ip(address) => Some(*address),
            Place::Name(..) | Place::Unix(_) => None,
        }
    }

    /// Whether it is what `place` says, to the letter.
    pub(super) fn is_at(&self, place: &EndpointSpec) -> bool {
        self.spec.address == place.address && self.spec.authority == place.authority
    }

    /// Whether it is `place` or one of the addresses that its name has.
    pub(super) fn is_of(&self, place: &EndpointSpec) -> bool {
        let port = |address: &Address| match address {
            Address::Tcp { port, .. } => Some(*port),
            Address::Unix(_) => None,
        };
        self.spec.authority == place.authority && port(&self.spec.address) == port(&place.address)
    }

    pub(super) fn uri_authority(&self) -> &Authority {
        &self.authority
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn tls(&self) -> Option<&TargetTls> {
        self.tls.as_ref()
    }
}

/// The address as it stands in faults: `host:port` or `unix:/path`.
impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Ip(address) => address.fmt(f),
            Place::Name(host, port) => write!(f, "{host}:{port}"),
            Place::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("spec", &self.spec).finish_non_exhaustive()
    }
}

impl TargetTls {
    fn new(tls: &UpstreamTls, spec: &UpstreamSpec, authority: &str) -> Result<Self, TargetError> {
        let name = match (&tls.server_name, &spec.address) {
            (Some(name), _) => name.as_str(),
            (None, Address::Tcp { host, .. }) => host.as_str(),
            (None, Address::Unix(_)) => authority,
        };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| TargetError::ServerName { value: name.to_owned() })?;

        let roots = match &tls.ca {
            Some(path) => private_roots(path)?,
            None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
        };
        // The provider is named rather than taken from the process, so that no other room's choice
        // or order of start-up matters.
        let config = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| TargetError::Tls { reason: error.to_string() })?
            .with_root_certificates(roots)
            .with_no_client_auth();

        let mut http1 = config.clone();
        http1.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
        let mut http2 = config;
        http2.alpn_protocols = match spec.protocol {
            Protocol::Auto | Protocol::Http1 => vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()],
            Protocol::Http2 => vec![ALPN_HTTP2.to_vec()],
        };
        Ok(Self { name, http1: Arc::new(http1), http2: Arc::new(http2) })
    }
}

fn private_roots(path: &Path) -> Result<RootCertStore, TargetError> {
    let unreadable = |reason: String| TargetError::Unreadable { path: path.to_owned(), reason };
    let pem = std::fs::read(path).map_err(|error| unreadable(error.to_string()))?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let certificate = certificate.map_err(|error| unreadable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unreadable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(TargetError::NoCertificate { path: path.to_owned() });
    }
    Ok(roots)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(authority: &str) -> UpstreamSpec {
        let address = Address::Tcp { host: "models.example".to_owned(), port: 443 };
        UpstreamSpec::new(address, authority.to_owned())
    }

    #[test]
    fn a_target_is_shared_by_workers_and_shows_its_address() {
        fn shared<T: Send + Sync>(_: &T) {}
        let target = Target::new(&spec("models.example")).unwrap();
        shared(&target);
        assert_eq!(target.to_string(), "models.example:443");
        assert_eq!(target.authority(), "models.example");
        for bad in ["", "a b", "user@host", "host:port:1", "a\n"] {
            assert!(matches!(Target::new(&spec(bad)), Err(TargetError::Authority { .. })), "{bad:?}");
        }
    }

    #[test]
    fn errors_name_the_file_and_the_fix() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ca.pem");
        let mut spec = spec("models.example");
        spec.tls = Some(UpstreamTls { ca: Some(path.clone()), server_name: None });
        let say = |spec: &UpstreamSpec| Target::new(spec).map(|_| ()).unwrap_err().to_string();

        let shown = path.display().to_string();
        assert!(say(&spec).contains(&shown) && say(&spec).contains("No such file"), "{}", say(&spec));
        std::fs::write(&path, "not a certificate").unwrap();
        assert!(say(&spec).starts_with(&format!("{shown} holds no certificate")), "{}", say(&spec));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(say(&spec).contains(&shown), "{}", say(&spec));

        spec.tls = Some(UpstreamTls { ca: None, server_name: Some("not a name".to_owned()) });
        assert!(say(&spec).contains("tls.serverName"), "{}", say(&spec));
    }

    #[test]
    fn the_protocol_decides_what_is_offered() {
        for (protocol, expected) in
            [(Protocol::Auto, vec![ALPN_HTTP2, ALPN_HTTP1]), (Protocol::Http2, vec![ALPN_HTTP2])]
        {
            let mut spec = spec("models.example");
            spec.protocol = protocol;
            spec.tls = Some(UpstreamTls { ca: None, server_name: None });
            let target = Target::new(&spec).unwrap();
            let tls = target.tls().unwrap();
            assert_eq!(tls.http2.alpn_protocols, expected);
            assert_eq!(tls.http1.alpn_protocols, [ALPN_HTTP1]);
        }
    }
}
