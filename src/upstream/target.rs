//! An upstream with everything resolved that can be resolved once.
//!
//! Certificates are read and names are checked here, when a configuration is applied, so that a
//! mistake is one clear line at that time and connecting never touches a file. Host names are
//! looked up at each connect, because their addresses change while the process lives.

use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use http::HeaderValue;
use http::uri::Authority;

use super::tls::TargetTls;
use super::{Address, EndpointSpec, UpstreamSpec};
use crate::certs::FileError;

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
    /// A file of the TLS settings cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// The certificate that is shown to the server and its key do not belong together.
    #[error("the key {} does not belong to the first certificate of {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
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

    /// Reads the files of its TLS again, where one has changed since they were last read: what came of
    /// it. The next connections use them; those that are there stay.
    pub fn reload_if_changed(&self) -> Option<Result<(), TargetError>> {
        self.tls.as_ref()?.reload_if_changed(&self.spec)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::upstream::{Protocol, UpstreamTls};

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
        spec.tls = Some(UpstreamTls { ca: Some(path.clone()), ..UpstreamTls::default() });
        let say = |spec: &UpstreamSpec| Target::new(spec).map(|_| ()).unwrap_err().to_string();

        let shown = path.display().to_string();
        assert!(say(&spec).contains(&shown) && say(&spec).contains("No such file"), "{}", say(&spec));
        std::fs::write(&path, "not a certificate").unwrap();
        assert!(say(&spec).starts_with(&format!("{shown} holds no certificate")), "{}", say(&spec));
        std::fs::write(&path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        assert!(say(&spec).contains(&shown), "{}", say(&spec));

        spec.tls = Some(UpstreamTls { server_name: Some("not a name".to_owned()), ..UpstreamTls::default() });
        assert!(say(&spec).contains("tls.serverName"), "{}", say(&spec));
    }

    #[test]
    fn the_protocol_decides_what_is_offered() {
        for (protocol, expected) in
            [(Protocol::Auto, vec![&b"h2"[..], b"http/1.1"]), (Protocol::Http2, vec![&b"h2"[..]])]
        {
            let mut spec = spec("models.example");
            spec.protocol = protocol;
            spec.tls = Some(UpstreamTls::default());
            let target = Target::new(&spec).unwrap();
            let tls = target.tls().unwrap();
            assert_eq!(tls.config(true).alpn_protocols, expected);
            assert_eq!(tls.config(false).alpn_protocols, [&b"http/1.1"[..]]);
        }
    }
}
