//! TLS to one endpoint: whom to trust, what to show, and under which name.
//!
//! The files are read when a configuration is applied and again when they change, never to connect.
//! Sessions are resumed: each endpoint's configuration keeps the tickets that its server gave.

use std::path::Path;
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use super::{Address, Protocol, TargetError, UpstreamSpec, UpstreamTls};
use crate::certs::files::Seen;
use crate::certs::names::Names;
use crate::certs::{FileError, NameRule, files};

/// ALPN identifier of HTTP/1.1 (RFC 7301 section 6).
const ALPN_HTTP1: &[u8] = b"http/1.1";
/// ALPN identifier of HTTP/2 over TLS (RFC 9113 section 3.1).
pub(super) const ALPN_HTTP2: &[u8] = b"h2";

/// TLS to an endpoint.
pub(super) struct TargetTls {
    /// Name the certificate must bear, and that is asked for by SNI.
    pub(super) name: ServerName<'static>,
    current: ArcSwap<Offers>,
    seen: Seen,
}

/// One configuration per set of protocols that is offered.
struct Offers {
    /// HTTP/1.1 alone.
    http1: Arc<ClientConfig>,
    /// HTTP/2, and HTTP/1.1 behind it unless the protocol is fixed.
    http2: Arc<ClientConfig>,
}

impl TargetTls {
    /// Reads what `tls` names. `authority` is the name of an endpoint that has none of its own.
    ///
    /// # Errors
    /// [`TargetError`], which names the file or the value and what was expected.
    pub(super) fn new(tls: &UpstreamTls, spec: &UpstreamSpec, authority: &str) -> Result<Self, TargetError> {
        let name = match (&tls.server_name, &spec.address) {
            (Some(name), _) => name.as_str(),
            (None, Address::Tcp { host, .. }) => host.as_str(),
            (None, Address::Unix(_)) => authority,
        };
        let name = ServerName::try_from(name.to_owned())
            .map_err(|_| TargetError::ServerName { value: name.to_owned() })?;
        let seen = Seen::of(paths(tls));
        let current = ArcSwap::from_pointee(offers(tls, spec)?);
        Ok(Self { name, current, seen })
    }

    /// The configuration for the next connection, which offers HTTP/1.1 alone unless `http2`.
    pub(super) fn config(&self, http2: bool) -> Arc<ClientConfig> {
        let current = self.current.load();
        if http2 { current.http2.clone() } else { current.http1.clone() }
    }

    /// Reads the files again where one has changed: what came of it.
    pub(super) fn reload_if_changed(&self, spec: &UpstreamSpec) -> Option<Result<(), TargetError>> {
        let tls = spec.tls.as_ref()?;
        let load = || offers(tls, spec).map(|offers| self.current.store(Arc::new(offers)));
        let unread = |error: &TargetError| matches!(error, TargetError::File(FileError::Read { .. }));
        self.seen.if_changed(paths(tls), load, unread)
    }
}

/// Every file of `tls`.
fn paths(tls: &UpstreamTls) -> impl Iterator<Item = &Path> {
    let identity = tls.identity.iter().flat_map(|(certificate, key)| [certificate.as_path(), key.as_path()]);
    tls.ca.as_deref().into_iter().chain(identity)
}

fn offers(tls: &UpstreamTls, spec: &UpstreamSpec) -> Result<Offers, TargetError> {
    let refused = |error: Error| TargetError::Tls { reason: error.to_string() };
    let roots = match &tls.ca {
        Some(path) => files::authorities(path)?,
        None => RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() },
    };
    // The provider is named rather than taken from the process, so that no other room's choice
    // or order of start-up matters.
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(tls.min_version.versions())
        .map_err(refused)?;
    let builder = match tls.names.is_empty() {
        true => builder.with_root_certificates(roots),
        false => builder.dangerous().with_custom_certificate_verifier(Arc::new(Named::new(
            roots,
            provider,
            tls.names.clone(),
        )?)),
    };
    let config = match &tls.identity {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let (chain, private) = (files::chain(certificate)?, files::key(key)?);
            builder.with_client_auth_cert(chain, private).map_err(|error| match error {
                Error::InconsistentKeys(_) => {
                    TargetError::Mismatch { certificate: certificate.clone(), key: key.clone() }
                }
                error => refused(error),
            })?
        }
    };
    let mut http1 = config.clone();
    http1.alpn_protocols = vec![ALPN_HTTP1.to_vec()];
    let mut http2 = config;
    http2.alpn_protocols = match spec.protocol {
        Protocol::Auto | Protocol::Http1 => vec![ALPN_HTTP2.to_vec(), ALPN_HTTP1.to_vec()],
        Protocol::Http2 => vec![ALPN_HTTP2.to_vec()],
    };
    Ok(Offers { http1: Arc::new(http1), http2: Arc::new(http2) })
}

/// Checks a server by its authority and by rules for its names, in place of the name that is asked
/// for: for certificates that name a workload and not a host.
#[derive(Debug)]
struct Named {
    by_authority: Arc<WebPkiServerVerifier>,
    names: Vec<NameRule>,
}

impl Named {
    fn new(
        roots: RootCertStore,
        provider: Arc<CryptoProvider>,
        names: Vec<NameRule>,
    ) -> Result<Self, TargetError> {
        let built = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build();
        let by_authority = built.map_err(|error| TargetError::Tls { reason: error.to_string() })?;
        Ok(Self { by_authority, names })
    }
}

impl ServerCertVerifier for Named {
    fn verify_server_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        // The name is looked at last, so an error about it says that all else is well.
        match self.by_authority.verify_server_cert(own, chain, name, ocsp, now) {
            Ok(_) => {}
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => {}
            Err(error) => return Err(error),
        }
        match Names::of(own).fits(&self.names) {
            true => Ok(ServerCertVerified::assertion()),
            false => Err(Error::InvalidCertificate(CertificateError::NotValidForName)),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_authority.verify_tls12_signature(message, own, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        own: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.by_authority.verify_tls13_signature(message, own, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.by_authority.supported_verify_schemes()
    }
}
