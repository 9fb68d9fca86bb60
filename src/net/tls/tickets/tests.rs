//! Clients that come back with a ticket, before and after their certificate is good.

use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::client::ResolvesClientCert;
use rustls::crypto::ring;
use rustls::pki_types::{PrivateKeyDer, ServerName, UnixTime};
use rustls::sign::CertifiedKey;
use rustls::time_provider::TimeProvider;
use rustls::{ClientConfig, HandshakeKind, RootCertStore, SignatureScheme, SupportedProtocolVersion};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
use tokio_rustls::TlsConnector;

use crate::net::tls::ServerTls;
use crate::net::{ClientsSpec, TlsSpec};

/// 2027-01-01 and two years later, as seconds since the epoch.
const FIRST_END: u64 = 1_798_761_600;
const SECOND_END: u64 = 1_861_920_000;

#[derive(Debug, Default)]
struct Clock(AtomicU64);

impl TimeProvider for Clock {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0.load(Relaxed))))
    }
}

/// The certificate that a client has at the moment, whatever its sessions began with.
#[derive(Debug)]
struct Renewed(Mutex<Arc<CertifiedKey>>);

impl ResolvesClientCert for Renewed {
    fn resolve(&self, _: &[&[u8]], _: &[SignatureScheme]) -> Option<Arc<CertifiedKey>> {
        Some(self.0.lock().unwrap().clone())
    }

    fn has_certs(&self) -> bool {
        true
    }
}

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(vec![]).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate that is good until New Year's Day of this year.
fn until(authority: &CertifiedIssuer<'static, KeyPair>, year: i32) -> Arc<CertifiedKey> {
    let mut params = CertificateParams::new(vec!["client.internal".to_owned()]).unwrap();
    params.not_after = rcgen::date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().unwrap();
    let chain = vec![params.signed_by(&key, authority).unwrap().der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    Arc::new(CertifiedKey::from_der(chain, key, &ring::default_provider()).unwrap())
}

fn server(folder: &Path, authority: &CertifiedIssuer<'static, KeyPair>) -> TlsSpec {
    let pair = rcgen::generate_simple_self_signed(vec!["localhost".into()]).unwrap();
    std::fs::write(folder.join("cert.pem"), pair.cert.pem()).unwrap();
    std::fs::write(folder.join("key.pem"), pair.signing_key.serialize_pem()).unwrap();
    std::fs::write(folder.join("ca.pem"), authority.pem()).unwrap();
    let (certificate, key) = (folder.join("cert.pem"), folder.join("key.pem"));
    let mut spec = TlsSpec::new(crate::net::KeyPair { certificate, key });
    spec.clients = Some(ClientsSpec { ca: folder.join("ca.pem"), optional: false, names: Vec::new() });
    spec
}

/// Connects once: how the server shook hands, or why it did not.
async fn connect(server: &ServerTls, client: &Arc<ClientConfig>) -> io::Result<HandshakeKind> {
    let (near, far) = duplex(1 << 16);
    let name = ServerName::try_from("localhost").unwrap();
    let connecting = async {
        // The tickets of TLS 1.3 come behind the handshake. Who is refused learns it in either place.
        if let Ok(mut stream) = TlsConnector::from(client.clone()).connect(name, near).await {
            let _ = stream.read_u8().await;
        }
    };
    let accepting = async {
        let (mut stream, names) = server.accept(far).await?;
        stream.write_u8(1).await?;
        stream.flush().await?;
        assert_eq!(names.unwrap().to_string(), "client.internal");
        Ok(stream.get_ref().1.handshake_kind().unwrap())
    };
    tokio::join!(accepting, connecting).0
}

#[tokio::test]
async fn no_ticket_outlives_the_certificate_of_its_client() {
    let versions: [&'static SupportedProtocolVersion; 2] = [&rustls::version::TLS12, &rustls::version::TLS13];
    for version in versions {
        let (authority, folder) = (authority(), tempfile::tempdir().unwrap());
        let spec = server(folder.path(), &authority);
        let clock = Arc::new(Clock(AtomicU64::new(FIRST_END - 3600)));
        let server = ServerTls::load_by(&spec, clock.clone()).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(crate::certs::files::chain(&spec.identity.certificate).unwrap().remove(0)).unwrap();
        let own = Arc::new(Renewed(Mutex::new(until(&authority, 2027))));
        let client = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[version])
            .unwrap()
            .with_root_certificates(roots)
            .with_client_cert_resolver(own.clone());
        let client = Arc::new(client);

        assert_eq!(connect(&server, &client).await.unwrap(), HandshakeKind::Full, "{version:?}");
        // By the ticket of the ticket of the ticket, to the last second.
        for _ in 0..8 {
            assert_eq!(connect(&server, &client).await.unwrap(), HandshakeKind::Resumed, "{version:?}");
        }
        clock.0.store(FIRST_END, Relaxed);
        assert_eq!(connect(&server, &client).await.unwrap(), HandshakeKind::Resumed, "{version:?}");

        clock.0.store(FIRST_END + 1, Relaxed);
        for _ in 0..3 {
            let refused = connect(&server, &client).await.unwrap_err().to_string();
            assert!(refused.contains("certificate expired"), "{version:?}: {refused}");
        }
        // Whoever has a new one by then is not held up by the tickets of before.
        *own.0.lock().unwrap() = until(&authority, 2029);
        assert_eq!(connect(&server, &client).await.unwrap(), HandshakeKind::Full, "{version:?}");
        clock.0.store(SECOND_END, Relaxed);
        assert_eq!(connect(&server, &client).await.unwrap(), HandshakeKind::Resumed, "{version:?}");
        clock.0.store(SECOND_END + 1, Relaxed);
        connect(&server, &client).await.unwrap_err();
    }
}
