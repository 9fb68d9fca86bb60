//! Authorities, certificates on disk, and clients that shake hands.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};

/// An authority that signs what a test needs.
pub struct Authority(pub CertifiedIssuer<'static, KeyPair>);

impl Authority {
    pub fn new() -> Self {
        let mut params = CertificateParams::new(vec![]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// Writes `<name>.pem` and `<name>.key` for these names into `folder`.
    pub fn sign(&self, folder: &Path, name: &str, names: &[&str]) {
        let mut params = CertificateParams::new(vec![]).unwrap();
        for name in names {
            params.subject_alt_names.push(match name.contains("://") {
                true => SanType::URI((*name).try_into().unwrap()),
                false => SanType::DnsName((*name).try_into().unwrap()),
            });
        }
        let key = KeyPair::generate().unwrap();
        let certificate = params.signed_by(&key, &self.0).unwrap();
        write(folder, &format!("{name}.key"), &key.serialize_pem());
        write(folder, &format!("{name}.pem"), &certificate.pem());
    }

    pub fn write(&self, folder: &Path, name: &str) {
        write(folder, name, &self.0.pem());
    }
}

/// In one step, as whoever renews certificates does it.
pub fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join("new"), text).unwrap();
    std::fs::rename(folder.join("new"), folder.join(name)).unwrap();
}

/// A client that trusts `authority`, and shows `identity` (a folder and a name).
pub fn client(authority: &Authority, identity: Option<(&Path, &str)>) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots.add(authority.0.der().clone()).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots);
    match identity {
        None => builder.with_no_client_auth(),
        Some((folder, name)) => {
            let chain = CertificateDer::pem_file_iter(folder.join(format!("{name}.pem"))).unwrap();
            let key = PrivateKeyDer::from_pem_file(folder.join(format!("{name}.key"))).unwrap();
            builder.with_client_auth_cert(chain.map(Result::unwrap).collect(), key).unwrap()
        }
    }
}

pub type Tls = StreamOwned<ClientConnection, TcpStream>;

pub fn connect(address: SocketAddr, config: &Arc<ClientConfig>, name: &str) -> Tls {
    let name = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(super::LIMIT)).unwrap();
    StreamOwned::new(ClientConnection::new(config.clone(), name).unwrap(), stream)
}

/// Asks once; the status, or why there is none.
pub fn ask(stream: &mut Tls) -> Result<u16, String> {
    let said = |error: std::io::Error| error.to_string();
    stream.write_all(b"GET /x HTTP/1.1\r\nhost: test\r\n\r\n").map_err(said)?;
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        match stream.read(&mut byte) {
            Ok(1) => read.push(byte[0]),
            Ok(_) => return Err("closed".to_owned()),
            Err(error) => return Err(said(error)),
        }
    }
    let head = String::from_utf8_lossy(&read).into_owned();
    assert!(head.to_ascii_lowercase().contains("content-length: 0"), "{head}");
    Ok(head.split(' ').nth(1).unwrap().parse().unwrap())
}

pub fn shown(stream: &Tls) -> CertificateDer<'static> {
    stream.conn.peer_certificates().unwrap()[0].clone().into_owned()
}

pub fn listener(more: &str) -> String {
    format!(
        "listeners: [{{name: main, address: 127.0.0.1:0, tls: {{certificate: a.pem, key: a.key{more}}}}}]\n"
    )
}
