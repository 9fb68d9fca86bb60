//! Which clients are let in: those whose certificate an authority has signed, and which bears one of
//! the names that are asked for.

use std::sync::Arc;

use rustls::client::danger::HandshakeSignatureValid;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{CertificateError, DigitallySignedStruct, DistinguishedName, Error, SignatureScheme};

use super::{TlsError, tickets};
use crate::certs::names::Names;
use crate::certs::{NameRule, files};
use crate::net::ClientsSpec;

/// Checks the certificates of clients.
#[derive(Debug)]
pub(super) struct Clients {
    by_authority: Arc<dyn ClientCertVerifier>,
    names: Vec<NameRule>,
}

impl Clients {
    /// Reads the authorities of `spec`.
    ///
    /// # Errors
    /// [`TlsError`] names the file and what is wrong with it.
    pub(super) fn load(spec: &ClientsSpec, provider: Arc<CryptoProvider>) -> Result<Self, TlsError> {
        let roots = Arc::new(files::authorities(&spec.ca)?);
        let builder = WebPkiClientVerifier::builder_with_provider(roots, provider);
        let builder = if spec.optional { builder.allow_unauthenticated() } else { builder };
        let by_authority = builder
            .build()
            .map_err(|error| TlsError::Clients { path: spec.ca.clone(), reason: error.to_string() })?;
        Ok(Self { by_authority, names: spec.names.clone() })
    }
}

impl ClientCertVerifier for Clients {
    fn offer_client_auth(&self) -> bool {
        self.by_authority.offer_client_auth()
    }

    fn client_auth_mandatory(&self) -> bool {
        self.by_authority.client_auth_mandatory()
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.by_authority.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        own: &CertificateDer<'_>,
        chain: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self.by_authority.verify_client_cert(own, chain, now)?;
        let names = (!self.names.is_empty()).then(|| Names::of(own));
        match names {
            Some(names) if !names.fits(&self.names) => {
                tracing::debug!(%names, "a client's certificate bears none of the names that are let in");
                Err(Error::InvalidCertificate(CertificateError::ApplicationVerificationFailure))
            }
            _ => {
                tickets::shown(own, chain);
                Ok(verified)
            }
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
