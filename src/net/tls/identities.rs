//! Which certificate a client is shown: the one for the name that it asks for.

use std::sync::Arc;

use rustls::crypto::CryptoProvider;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use super::TlsError;
use crate::certs::files;
use crate::certs::names::Names;
use crate::net::{KeyPair, TlsSpec};

/// The certificates of a listener.
#[derive(Debug)]
pub(super) struct Identities {
    /// For those who ask for nothing that anybody here has.
    first: Arc<CertifiedKey>,
    /// Each with the names in it, in the order of the configuration.
    named: Vec<(Names, Arc<CertifiedKey>)>,
}

impl Identities {
    /// Reads what `spec` names.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub(super) fn load(spec: &TlsSpec, provider: &CryptoProvider) -> Result<Self, TlsError> {
        let first = Arc::new(read(&spec.identity, provider)?);
        let mut named = Vec::with_capacity(1 + spec.more.len());
        named.push((names(&first), first.clone()));
        for pair in &spec.more {
            let key = Arc::new(read(pair, provider)?);
            named.push((names(&key), key));
        }
        Ok(Self { first, named })
    }
}

impl ResolvesServerCert for Identities {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let (Some(asked), true) = (hello.server_name(), self.named.len() > 1) else {
            return Some(self.first.clone());
        };
        let asked = asked.to_ascii_lowercase();
        let found = self.named.iter().find(|(names, _)| names.serves(&asked));
        Some(found.map_or(&self.first, |(_, key)| key).clone())
    }
}

fn names(key: &CertifiedKey) -> Names {
    key.cert.first().map(|own| Names::of(own)).unwrap_or_default()
}

fn read(pair: &KeyPair, provider: &CryptoProvider) -> Result<CertifiedKey, TlsError> {
    let chain = files::chain(&pair.certificate)?;
    let key = files::key(&pair.key)?;
    CertifiedKey::from_der(chain, key, provider).map_err(|source| {
        let (certificate, key) = (pair.certificate.clone(), pair.key.clone());
        match source {
            rustls::Error::InconsistentKeys(_) => TlsError::Mismatch { certificate, key },
            source => TlsError::Unusable { certificate, key, source },
        }
    })
}
