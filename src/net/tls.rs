//! TLS of a listener: certificate and key from PEM files into a rustls configuration that can be
//! swapped while connections are accepted.
//!
//! The ring provider, TLS 1.2 and 1.3, ALPN `h2` and `http/1.1`, resumption by tickets, so workers
//! share no session cache. Client certificates and several names per listener are absent.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use rustls::ServerConfig;
use rustls::crypto::ring;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use super::TlsSpec;

/// ALPN name of HTTP/2 (RFC 9113 section 3.1).
pub(super) const ALPN_H2: &[u8] = b"h2";
/// ALPN name of HTTP/1.1 (RFC 7301 section 6).
const ALPN_HTTP11: &[u8] = b"http/1.1";
/// No certificate chain or key is longer; a bound for whatever else the path may name.
const MAX_PEM_BYTES: u64 = 1024 * 1024;

/// Why a listener's TLS files cannot be used. Each names the file and the fix.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file cannot be read.
    #[error("cannot read {}: {source}; give the path of a PEM file this process may read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file is not PEM, or is damaged.
    #[error("{} is not a valid PEM file: {reason}", path.display())]
    Pem {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// No certificate in the file.
    #[error("{} holds no certificate: it needs the chain as \"-----BEGIN CERTIFICATE-----\" blocks, the server's own first", path.display())]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// No private key in the file.
    #[error("{} holds no private key: it needs one \"-----BEGIN PRIVATE KEY-----\" block (PKCS#8, PKCS#1 or SEC1)", path.display())]
    NoKey {
        /// The file.
        path: PathBuf,
    },
    /// The key is protected by a passphrase.
    #[error("{} holds an encrypted private key, and there is nobody to ask for its passphrase: write it decrypted with `openssl pkey -in {} -out key.pem`", path.display(), path.display())]
    EncryptedKey {
        /// The file.
        path: PathBuf,
    },
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
}

/// The TLS side of one listener, shared by its workers.
#[derive(Debug)]
pub struct ServerTls {
    current: ArcSwap<ServerConfig>,
}

impl ServerTls {
    /// Reads certificate and key.
    ///
    /// # Errors
    ///
    /// [`TlsError`] names the file and what is wrong with it.
    pub fn load(spec: &TlsSpec) -> Result<Self, TlsError> {
        server_config(spec).map(|config| Self { current: ArcSwap::from_pointee(config) })
    }

    /// Reads certificate and key again; the next handshakes use them.
    ///
    /// # Errors
    ///
    /// As [`load`](Self::load); what was loaded before stays in use then.
    pub fn reload(&self, spec: &TlsSpec) -> Result<(), TlsError> {
        self.current.store(Arc::new(server_config(spec)?));
        Ok(())
    }

    /// The configuration for the next handshake.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        self.current.load_full()
    }
}

fn server_config(spec: &TlsSpec) -> Result<ServerConfig, TlsError> {
    let chain = certificates(&spec.certificate)?;
    let key = private_key(&spec.key)?;
    let unusable = |source| match source {
        rustls::Error::InconsistentKeys(_) => {
            TlsError::Mismatch { certificate: spec.certificate.clone(), key: spec.key.clone() }
        }
        source => TlsError::Unusable { certificate: spec.certificate.clone(), key: spec.key.clone(), source },
    };
    // The provider is named, not taken from the process: no other part can have installed another.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![ALPN_H2.to_vec(), ALPN_HTTP11.to_vec()];
    config.ticketer = ring::Ticketer::new().map_err(unusable)?;
    Ok(config)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let text = read(path)?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err(TlsError::NoCertificate { path: path.into() }),
        Ok(chain) => Ok(chain),
        Err(error) => Err(damaged(path, &error)),
    }
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, TlsError> {
    let text = read(path)?;
    // PKCS#8's own label, and the header of the older formats (RFC 7468 section 11, RFC 1421).
    let lines = || text.split(|byte| *byte == b'\n');
    if lines().any(|line| {
        line.starts_with(b"-----BEGIN ENCRYPTED PRIVATE KEY") || line.starts_with(b"Proc-Type: 4,ENCRYPTED")
    }) {
        return Err(TlsError::EncryptedKey { path: path.into() });
    }
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => TlsError::NoKey { path: path.into() },
        error => damaged(path, &error),
    })
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    let failed = |source| TlsError::Read { path: path.into(), source };
    let mut text = Vec::new();
    File::open(path).map_err(failed)?.take(MAX_PEM_BYTES + 1).read_to_end(&mut text).map_err(failed)?;
    if text.len() as u64 > MAX_PEM_BYTES {
        return Err(TlsError::Pem { path: path.into(), reason: "it is larger than 1 MiB".into() });
    }
    Ok(text)
}

fn damaged(path: &Path, error: &pem::Error) -> TlsError {
    TlsError::Pem { path: path.into(), reason: error.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tempfile::TempDir;

    struct Files {
        folder: TempDir,
        spec: TlsSpec,
    }

    fn files() -> Files {
        let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let spec =
            TlsSpec { certificate: folder.path().join("cert.pem"), key: folder.path().join("key.pem") };
        std::fs::write(&spec.certificate, pair.cert.pem()).unwrap();
        std::fs::write(&spec.key, pair.signing_key.serialize_pem()).unwrap();
        Files { folder, spec }
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
        let with_certificate = |certificate: PathBuf| TlsSpec { certificate, key: spec.key.clone() };
        let with_key = |key: PathBuf| TlsSpec { certificate: spec.certificate.clone(), key };
        let body = "MIIB\n";
        let cases = [
            (with_certificate(absent.clone()), "absent.pem: No such file"),
            (with_key(absent), "absent.pem: No such file"),
            (with_certificate(spec.key.clone()), "key.pem holds no certificate"),
            (with_key(spec.certificate.clone()), "cert.pem holds no private key"),
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
        let message = refused(&TlsSpec { certificate: one.spec.certificate.clone(), key: other.spec.key });
        assert!(message.contains("key.pem does not belong to"), "{message}");
        assert!(message.contains(one.spec.certificate.to_str().unwrap()), "{message}");
    }

    #[test]
    fn a_failed_reload_keeps_what_was_loaded() {
        let Files { folder: _folder, spec } = files();
        let tls = ServerTls::load(&spec).unwrap();
        let before = tls.config();
        std::fs::write(&spec.certificate, "damaged").unwrap();
        assert!(tls.reload(&spec).is_err());
        assert!(Arc::ptr_eq(&before, &tls.config()));
        let fresh = files();
        tls.reload(&fresh.spec).unwrap();
        assert!(!Arc::ptr_eq(&before, &tls.config()));
    }
}
