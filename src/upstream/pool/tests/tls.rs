//! TLS to upstreams: private authorities, ALPN, silence.

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::AsyncWriteExt;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::*;
use crate::upstream::UpstreamTls;

struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

fn authority(name: &str) -> Authority {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    // Authorities of one name would be told apart by their keys alone.
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let pem = params.self_signed(&key).unwrap().pem();
    Authority { issuer: Issuer::new(params, key), pem }
}

fn acceptor(authority: &Authority, name: &str, alpn: &[&str]) -> TlsAcceptor {
    let key = KeyPair::generate().unwrap();
    let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
    let certificate = params.signed_by(&key, &authority.issuer).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)
        .unwrap();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    TlsAcceptor::from(Arc::new(config))
}

async fn accept_tls(listener: &TcpListener, acceptor: &TlsAcceptor) -> TlsStream<TcpStream> {
    acceptor.accept(accept(listener).await).await.unwrap()
}

/// A spec that trusts `authority`, with the folder that holds its file.
fn trusting(spec: &UpstreamSpec, authority: &Authority) -> (UpstreamSpec, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("ca.pem");
    std::fs::write(&path, &authority.pem).unwrap();
    let tls = Some(UpstreamTls { ca: Some(path), ..UpstreamTls::default() });
    (UpstreamSpec { tls, ..spec.clone() }, folder)
}

#[test]
fn a_private_authority_is_trusted_and_alpn_decides_the_version() {
    run(async {
        let ours = authority("ours");
        let (listener, spec) = listen().await;
        let (spec, _folder) = trusting(&spec, &ours);

        let both = acceptor(&ours, "127.0.0.1", &["h2", "http/1.1"]);
        let pool = pool(&spec);
        let sending = spawn_send(&pool, over_http2(get("/")));
        serve_http2(accept_tls(&listener, &both).await, 10, |request| async move {
            Response::new(whole(request.uri().scheme_str().unwrap().to_owned()))
        });
        assert_eq!(text(sending.await.unwrap().unwrap()).await, "https");
        let sending = spawn_send(&pool, get("/"));
        let mut stream = accept_tls(&listener, &both).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
        assert!(read_head(&mut stream).await.starts_with("GET / HTTP/1.1"));
        drop((sending, stream));
    });
}

#[test]
fn http2_requests_go_by_http1_to_an_upstream_that_chooses_it() {
    run(async {
        let ours = authority("ours");
        let (listener, spec) = listen().await;
        let (spec, _folder) = trusting(&spec, &ours);
        let old = acceptor(&ours, "127.0.0.1", &["http/1.1"]);
        let pool = pool(&spec);
        let sending = spawn_send(&pool, over_http2(post("http://client/1", TestBody::text("x"))));
        let mut stream = accept_tls(&listener, &old).await;
        let head = read_head(&mut stream).await;
        assert!(head.starts_with("POST /1 HTTP/1.1\r\n"), "{head}");
        assert!(head.contains("host: client\r\n"), "{head}");
        read_until(&mut stream, "x").await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        assert_eq!(sending.await.unwrap().unwrap().status(), 200);
        let sending = spawn_send(&pool, over_http2(get("http://client/2")));
        assert!(read_head(&mut stream).await.starts_with("GET /2 HTTP/1.1\r\n"));
        drop(sending);
        assert_eq!(pool.stats().opened, 1);
    });
}

#[test]
fn a_certificate_that_is_not_trusted_or_not_theirs_is_said_so() {
    run(async {
        let (ours, theirs) = (authority("ours"), authority("theirs"));
        let (listener, spec) = listen().await;
        let (spec, _folder) = trusting(&spec, &ours);
        for (acceptor, expected) in [
            (acceptor(&theirs, "127.0.0.1", &[]), "not signed by a trusted authority"),
            (acceptor(&ours, "other.example", &[]), "for another name"),
        ] {
            let pool = pool(&spec);
            let sending = spawn_send(&pool, get("/"));
            assert!(acceptor.accept(accept(&listener).await).await.is_err());
            let error = sending.await.unwrap().map(|_| ()).unwrap_err();
            assert_eq!(error.fault.kind, FaultKind::ConnectFailed);
            assert!(error.fault.detail.contains(expected), "{}", error.fault);
            assert!(error.unsent.is_some());
        }

        let pool = pool(&spec);
        let sending = spawn_send(&pool, get("/"));
        accept(&listener).await.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await.unwrap();
        let error = sending.await.unwrap().map(|_| ()).unwrap_err();
        assert!(error.fault.detail.contains("does not speak TLS"), "{}", error.fault);
    });
}

#[test]
fn an_upstream_that_never_answers_the_handshake_times_out() {
    run(async {
        let ours = authority("ours");
        let (listener, spec) = listen().await;
        let (mut spec, _folder) = trusting(&spec, &ours);
        spec.connect_timeout = Duration::from_millis(60);
        let pool = pool(&spec);
        for request in [get("/"), over_http2(get("/"))] {
            let sending = spawn_send(&pool, request);
            let mut silent = accept(&listener).await;
            let error = sending.await.unwrap().map(|_| ()).unwrap_err();
            assert_eq!(error.fault.kind, FaultKind::ConnectTimeout, "{}", error.fault);
            assert!(error.fault.detail.contains("within 60ms"), "{}", error.fault);
            assert!(error.unsent.is_some());
            closed(&mut silent).await;
            assert_eq!(pool.stats().open, 0);
        }
    });
}
