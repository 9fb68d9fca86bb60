//! TLS of a listener: certificates and keys from PEM files into a rustls configuration that can be
//! swapped while connections are accepted.
//!
//! The ring provider, TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`, resumption by tickets, so workers
//! share no session cache. Which certificate is shown is the client's to say, by SNI; which client
//! is let in is a matter of its certificate's authority and names.

mod clients;
mod identities;
mod tickets;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::server::{NoServerSessionStorage, ProducesTickets};
use rustls::time_provider::{DefaultTimeProvider, TimeProvider};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use self::clients::Clients;
use self::identities::Identities;
use self::tickets::Tickets;
use super::TlsSpec;
use crate::certs::FileError;
use crate::certs::files::Seen;
use crate::certs::names::Names;

/// ALPN name of HTTP/2 (RFC 9113 section 3.1).
pub(super) const ALPN_H2: &[u8] = b"h2";
/// ALPN name of HTTP/1.1 (RFC 7301 section 6).
const ALPN_HTTP11: &[u8] = b"http/1.1";

/// Why a listener's TLS files cannot be used. Each names the file and the fix.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be used.
    #[error(transparent)]
    File(#[from] FileError),
    /// Certificate and key belong to different pairs.
    #[error("the key {} does not belong to the first certificate of {}", key.display(), certificate.display())]
    Mismatch {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
    },
    /// rustls refuses the certificate or the key.
    #[error("cannot use {} with {}: {source}", certificate.display(), key.display())]
    Unusable {
        /// The certificate's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What rustls said.
        source: rustls::Error,
    },
    /// rustls refuses the authorities of clients.
    #[error("cannot check clients by {}: {reason}", path.display())]
    Clients {
        /// The authorities' file.
        path: PathBuf,
        /// What rustls said.
        reason: String,
    },
}

/// The TLS side of one listener, shared by its workers.
#[derive(Debug)]
pub struct ServerTls {
    spec: TlsSpec,
    clock: Arc<dyn TimeProvider>,
    current: ArcSwap<ServerConfig>,
    seen: Seen,
}

impl ServerTls {
    /// Reads certificates and keys.
    ///
    /// # Errors
    ///
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn load(spec: &TlsSpec) -> Result<Self, TlsError> {
        Self::load_by(spec, Arc::new(DefaultTimeProvider))
    }

    /// As [`load`](Self::load), for this clock.
    fn load_by(spec: &TlsSpec, clock: Arc<dyn TimeProvider>) -> Result<Self, TlsError> {
        let seen = Seen::of(paths(spec));
        let current = ArcSwap::from_pointee(server_config(spec, &clock, None)?);
        Ok(Self { spec: spec.clone(), clock, current, seen })
    }

    /// Reads certificates and keys again; the next handshakes use them. Connections stay.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); what was loaded before stays in use then.
    pub fn reload(&self) -> Result<(), TlsError> {
        let old = self.current.load();
        // Tickets of before stay good, so that clients need not shake hands anew. Where clients are
        // checked they do not: a client whose authority is gone must not come back by a ticket.
        let tickets = self.spec.clients.is_none().then(|| old.ticketer.clone());
        self.current.store(Arc::new(server_config(&self.spec, &self.clock, tickets)?));
        Ok(())
    }

    /// Reads them again where a file has changed since they were last read: what came of it.
    pub fn reload_if_changed(&self) -> Option<Result<(), TlsError>> {
        let unread = |error: &TlsError| matches!(error, TlsError::File(FileError::Read { .. }));
        self.seen.if_changed(paths(&self.spec), || self.reload(), unread)
    }

    /// Shakes hands.
    ///
    /// # Errors
    ///
    /// Whatever ends the handshake. It may take as long as the client likes.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the connection.
    pub(super) async fn shake_hands<S>(&self, stream: S) -> io::Result<TlsStream<S>>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        tickets::within(TlsAcceptor::from(self.config()).accept(stream)).await
    }

    /// Shakes hands; also gives the names in the certificate that the client has shown, if it has.
    ///
    /// # Errors
    ///
    /// Whatever ends the handshake. It may take as long as the client likes.
    ///
    /// # Cancel safety
    ///
    /// Dropping it closes the connection.
    pub async fn accept<S>(&self, stream: S) -> io::Result<(TlsStream<S>, Option<Names>)>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let stream = self.shake_hands(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        let names = shown.map(|own| Names::of(own));
        Ok((stream, names))
    }

    /// The configuration for the next handshake.
    fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
}

/// Every file of `spec`.
fn paths(spec: &TlsSpec) -> impl Iterator<Item = &Path> {
    let pairs = std::iter::once(&spec.identity).chain(&spec.more);
    let pairs = pairs.flat_map(|pair| [pair.certificate.as_path(), pair.key.as_path()]);
    pairs.chain(spec.clients.as_ref().map(|clients| clients.ca.as_path()))
}

fn server_config(
    spec: &TlsSpec,
    clock: &Arc<dyn TimeProvider>,
    tickets: Option<Arc<dyn ProducesTickets>>,
) -> Result<ServerConfig, TlsError> {
    let unusable = |source| TlsError::Unusable {
        certificate: spec.identity.certificate.clone(),
        key: spec.identity.key.clone(),
        source,
    };
    // The provider is named, not taken from the process: no other part can have installed another.
    let provider = Arc::new(ring::default_provider());
    let identities = Identities::load(spec, &provider)?;
    let builder = ServerConfig::builder_with_details(provider.clone(), clock.clone())
        .with_protocol_versions(spec.min_version.versions())
        .map_err(unusable)?;
    let builder = match &spec.clients {
        None => builder.with_no_client_auth(),
        Some(clients) => builder.with_client_cert_verifier(Arc::new(Clients::load(clients, provider)?)),
    };
    let mut config = builder.with_cert_resolver(Arc::new(identities));
    config.alpn_protocols = match spec.http2 {
        true => vec![ALPN_H2.to_vec(), ALPN_HTTP11.to_vec()],
        false => vec![ALPN_HTTP11.to_vec()],
    };
    config.ticketer = match tickets {
        Some(tickets) => tickets,
        None => ring::Ticketer::new().map_err(unusable)?,
    };
    if spec.clients.is_some() {
        config.ticketer = Arc::new(Tickets::new(config.ticketer, clock.clone()));
        // TLS 1.2 would resume by session ids as well, whatever has become of the certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
    }
    Ok(config)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::KeyPair;
    use tempfile::TempDir;

    struct Files {
        folder: TempDir,
        spec: TlsSpec,
    }

    fn files() -> Files {
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let spec =
            KeyPair { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        std::fs::write(&spec.certificate, pair.cert.pem()).unwrap();
        std::fs::write(&spec.key, pair.signing_key.serialize_pem()).unwrap();
        Files { folder, spec: TlsSpec::new(spec) }
    }

    fn refused(spec: &TlsSpec) -> String {
        ServerTls::load(spec).unwrap_err().to_string()
    }

    #[test]
    fn a_certificate_with_its_key_is_loaded_and_offers_both_protocols() {
        let config = ServerTls::load(&files().spec).unwrap().config();
        assert_eq!(config.alpn_protocols, [b"h2".to_vec(), b"http/1.1".to_vec()]);
    }

    #[test]
    fn each_unusable_file_is_named_with_what_is_wrong() {
        let Files { folder, spec } = files();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            std::fs::write(&path, text).unwrap();
            path
        };
        let absent = folder.path().join("absent.pem");
        let pair = &spec.identity;
        let with = |certificate, key| TlsSpec::new(KeyPair { certificate, key });
        let with_certificate = |certificate: PathBuf| with(certificate, pair.key.clone());
        let with_key = |key: PathBuf| with(pair.certificate.clone(), key);
        let body = "MIIB\n";
        let cases = [
            (with_certificate(absent.clone()), "absent.pem: No such file"),
            (with_key(absent), "absent.pem: No such file"),
            (with_certificate(pair.key.clone()), "key.pem holds no certificate"),
            (with_key(pair.certificate.clone()), "cert.pem holds no private key"),
            (with_certificate(write("empty.pem", "")), "empty.pem holds no certificate"),
            (
                with_key(write(
                    "locked.pem",
                    &format!(
                        "-----BEGIN ENCRYPTED PRIVATE KEY-----\n{body}-----END ENCRYPTED PRIVATE KEY-----\n"
                    ),
                )),
                "locked.pem holds an encrypted private key",
            ),
            (
                with_key(write(
                    "old.pem",
                    &format!(
                        "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00\n\n{body}-----END RSA PRIVATE KEY-----\n"
                    ),
                )),
                "old.pem holds an encrypted private key",
            ),
            (
                with_certificate(write("cut.pem", "-----BEGIN CERTIFICATE-----\nMIIB\n")),
                "cut.pem is not a valid PEM file",
            ),
            (with_certificate(write("huge.pem", &"x".repeat(2 << 20))), "larger than 1 MiB"),
        ];
        for (spec, expected) in cases {
            let message = refused(&spec);
            assert!(message.contains(expected), "{expected:?} not in {message:?}");
            assert!(!message.contains('\n'), "one line: {message:?}");
        }
    }

    #[test]
    fn a_key_of_another_certificate_is_refused_naming_both_files() {
        let (one, other) = (files(), files());
        let certificate = one.spec.identity.certificate.clone();
        let mixed = KeyPair { certificate, key: other.spec.identity.key };
        let message = refused(&TlsSpec::new(mixed));
        assert!(message.contains("key.pem does not belong to"), "{message}");
        assert!(message.contains(one.spec.identity.certificate.to_str().unwrap()), "{message}");
    }

    #[test]
    fn a_failed_reload_keeps_what_was_loaded() {
        let Files { folder: _folder, spec } = files();
        let tls = ServerTls::load(&spec).unwrap();
        let before = tls.config();
        assert_eq!(tls.reload_if_changed(), None);
        std::fs::write(&spec.identity.certificate, "damaged").unwrap();
        assert!(tls.reload_if_changed().unwrap().is_err());
        // Tried once, and not again until a file changes again.
        assert_eq!(tls.reload_if_changed(), None);
        assert!(Arc::ptr_eq(&before, &tls.config()));
        let fresh = files();
        std::fs::copy(&fresh.spec.identity.certificate, &spec.identity.certificate).unwrap();
        std::fs::copy(&fresh.spec.identity.key, &spec.identity.key).unwrap();
        assert_eq!(tls.reload_if_changed(), Some(Ok(())));
        assert!(!Arc::ptr_eq(&before, &tls.config()));
    }
}
