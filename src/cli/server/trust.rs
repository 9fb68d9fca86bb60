//! Whom the command line trusts for https, and who it says that it is.

use std::path::Path;
use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};
use rustls::sign::CertifiedKey;
use ureq::tls::{Certificate, ClientCert, PrivateKey, RootCerts, TlsConfig};

use crate::certs::files;

/// TLS that trusts the authorities of the file `ca` (default: those of the public web) and shows
/// `identity`, a certificate and its key, to whoever asks for one.
///
/// # Errors
/// One line for whoever named the files.
pub(super) fn tls(ca: Option<&Path>, identity: Option<(&Path, &Path)>) -> Result<TlsConfig, String> {
    // The provider is named rather than taken from the process, as everywhere in the house.
    let provider = Arc::new(ring::default_provider());
    let roots = match ca {
        None => RootCerts::WebPki,
        Some(path) => {
            let chain = files::chain(path).map_err(|error| format!("--ca: {error}"))?;
            RootCerts::from(chain.iter().map(|der| Certificate::from_der(der).to_owned()))
        }
    };
    let shown = identity.map(|(certificate, key)| shown(certificate, key, &provider)).transpose()?;
    Ok(TlsConfig::builder()
        .root_certs(roots)
        .client_cert(shown)
        .unversioned_rustls_crypto_provider(provider)
        .build())
}

/// The certificate of one file and the key of another, which must belong together: found later, it
/// would be found in the middle of a handshake.
fn shown(certificate: &Path, key: &Path, provider: &CryptoProvider) -> Result<ClientCert, String> {
    let chain = files::chain(certificate).map_err(|error| format!("--client-cert: {error}"))?;
    let der = files::key(key).map_err(|error| format!("--client-key: {error}"))?;
    let own: Vec<_> = chain.iter().map(|der| Certificate::from_der(der).to_owned()).collect();
    // Read once more: the library takes keys in this form alone.
    let unusable = |error: String| format!("--client-key {}: {error}", key.display());
    let pem = std::fs::read(key).map_err(|error| unusable(error.to_string()))?;
    let private = PrivateKey::from_pem(&pem).map_err(|error| unusable(error.to_string()))?;
    CertifiedKey::from_der(chain, der, provider).map_err(|error| {
        let (certificate, key) = (certificate.display(), key.display());
        format!("--client-cert {certificate} cannot be used with --client-key {key}: {error}")
    })?;
    Ok(ClientCert::new_with_certs(&own, private))
}
