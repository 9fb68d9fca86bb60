//! TLS with real handshakes: names, clients that must show who they are, upstreams that must as well,
//! versions.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::{ClientConfig, ProtocolVersion, RootCertStore};

use crate::support::pki::{Authority, ask, client, connect, listener, shown};
use crate::support::{Sidecar, Upstream, blocking_until, one_version};

#[test]
fn the_name_that_is_asked_for_decides_what_is_shown() {
    let upstream = Upstream::echo("v1");
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.sign(folder.path(), "a", &["a.example"]);
    authority.sign(folder.path(), "b", &["b.example", "*.wild.example"]);
    let more = ", more: [{certificate: b.pem, key: b.key}]";
    let sidecar = Sidecar::start_in(folder, &one_version(&upstream.url(), &listener(more)));
    let config = Arc::new(client(&authority, None));
    for (name, fits) in [
        ("a.example", true),
        ("b.example", true),
        ("B.example", true),
        ("x.wild.example", true),
        ("c.example", false),
    ] {
        let found = ask(&mut connect(sidecar.main(), &config, name));
        assert_eq!(found.is_ok(), fits, "{name}: {found:?}");
    }
}

#[test]
fn clients_must_show_a_certificate_of_the_authority_with_a_name_that_is_let_in() {
    let upstream = Upstream::echo("v1");
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    authority.write(&path, "ca.pem");
    authority.sign(&path, "a", &["localhost"]);
    authority.sign(&path, "web", &["spiffe://cluster/ns/web/one"]);
    authority.sign(&path, "job", &["spiffe://cluster/ns/job/one"]);
    stranger.sign(&path, "false", &["spiffe://cluster/ns/web/one"]);
    let more = ", clientCa: ca.pem, clientNames: ['spiffe://cluster/ns/web/*']";
    let sidecar = Sidecar::start_in(folder, &one_version(&upstream.url(), &listener(more)));
    for (identity, let_in) in
        [(None, false), (Some("web"), true), (Some("job"), false), (Some("false"), false)]
    {
        let config = Arc::new(client(&authority, identity.map(|name| (path.as_path(), name))));
        let found = ask(&mut connect(sidecar.main(), &config, "localhost"));
        assert_eq!(found.is_ok(), let_in, "{identity:?}: {found:?}");
    }
    assert_eq!(upstream.count(), 1);
    blocking_until("the others are counted", || {
        (sidecar.metric("switchback_tls_handshake_failures_total", &[]) == 3.0).then_some(())
    });
}

#[test]
fn the_oldest_version_is_the_operators_to_say() {
    let upstream = Upstream::echo("v1");
    let authority = Authority::new();
    for (more, old) in [("", true), (", minVersion: tls1.3", false)] {
        let folder = tempfile::tempdir().unwrap();
        authority.sign(folder.path(), "a", &["localhost"]);
        let sidecar = Sidecar::start_in(folder, &one_version(&upstream.url(), &listener(more)));
        let mut roots = RootCertStore::empty();
        roots.add(authority.0.der().clone()).unwrap();
        let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS12])
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let mut stream = connect(sidecar.main(), &Arc::new(config), "localhost");
        assert_eq!(ask(&mut stream).is_ok(), old);
        if old {
            assert_eq!(stream.conn.protocol_version(), Some(ProtocolVersion::TLSv1_2));
        }
    }
}

#[test]
fn upstreams_are_shown_a_certificate_and_judged_by_their_names() {
    // A sidecar stands in for the model server: it asks for certificates, and has a workload's name.
    let upstream = Upstream::echo("v1");
    let authority = Authority::new();
    let server = tempfile::tempdir().unwrap();
    authority.write(server.path(), "ca.pem");
    authority.sign(server.path(), "a", &["spiffe://cluster/ns/model/one"]);
    let more = ", clientCa: ca.pem, clientNames: [sidecar.internal]";
    let server = Sidecar::start_in(server, &one_version(&upstream.url(), &listener(more)));
    let address = server.main();
    let status = |names: &str, identity: &str| {
        let folder = tempfile::tempdir().unwrap();
        authority.write(folder.path(), "ca.pem");
        authority.sign(folder.path(), "me", &["sidecar.internal"]);
        let sidecar = Sidecar::start_in(
            folder,
            &format!(
                "models: [{{name: m, versions: [{{name: v1, upstream: {{url: 'https://{address}', tls: {{ca: ca.pem{names}{identity}}}}}}}]}}]\n"
            ),
        );
        let mut client = crate::support::RawClient::connect(sidecar.main());
        client.get("/x").status
    };
    let (names, identity) =
        (", names: ['spiffe://cluster/ns/model/*']", ", certificate: me.pem, key: me.key");
    assert_eq!(status(names, identity), 200);
    assert_eq!(status("", identity), 502, "its certificate is not for this host");
    assert_eq!(status(", names: ['spiffe://cluster/ns/other/*']", identity), 502);
    assert_eq!(status(names, ""), 502, "it wants to see a certificate");
}

#[test]
fn the_admin_api_tells_callers_apart_by_certificate_and_probes_need_none() {
    let upstream = Upstream::echo("v1");
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    authority.write(&path, "ca.pem");
    authority.sign(&path, "a", &["localhost"]);
    authority.sign(&path, "ops", &["spiffe://cluster/ns/ops/one"]);
    authority.sign(&path, "dash", &["spiffe://cluster/ns/dash"]);
    authority.sign(&path, "other", &["spiffe://cluster/ns/other"]);
    stranger.sign(&path, "false", &["spiffe://cluster/ns/ops/one"]);
    let admin = "admin: {address: '0.0.0.0:0', tls: {certificate: a.pem, key: a.key, clientCa: ca.pem}, clients: [\n\
         {name: operators, role: operate, names: ['spiffe://cluster/ns/ops/*']},\n\
         {name: dashboard, role: read, names: ['spiffe://cluster/ns/dash']}]}\n";
    let config = format!(
        "{admin}models: [{{name: m, versions: [{{name: v1, upstream: {{url: '{0}'}}}}, {{name: v2, upstream: {{url: '{0}'}}}}]}}]\n",
        upstream.url()
    );
    let sidecar = Sidecar::start_in(folder, &config);
    let address = SocketAddr::from(([127, 0, 0, 1], sidecar.admin().port()));
    let status = |identity: Option<&str>, line: &str, body: &str| {
        let config = Arc::new(client(&authority, identity.map(|name| (path.as_path(), name))));
        let mut stream = connect(address, &config, "localhost");
        let length = body.len();
        let head = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
        );
        // Who is not let in may be told so at any of these.
        let _ = stream.write_all((head + body).as_bytes());
        let mut read = Vec::new();
        let _ = stream.read_to_end(&mut read);
        String::from_utf8_lossy(&read).split(' ').nth(1).map_or(0, |code| code.parse::<u16>().unwrap())
    };
    let (look, change) = ("GET /api/v1/status", "PUT /api/v1/models/m/weights");
    let weights = r#"{"weights": {"v1": "90%", "v2": "10%"}}"#;
    for (identity, probe, looks, changes) in [
        (None, 200, 401, 401),
        (Some("ops"), 200, 200, 200),
        (Some("dash"), 200, 200, 403),
        (Some("other"), 200, 401, 401),
        (Some("false"), 0, 0, 0),
    ] {
        assert_eq!(status(identity, "GET /healthz", ""), probe, "{identity:?}");
        assert_eq!(status(identity, "GET /metrics", ""), probe, "{identity:?}");
        assert_eq!(status(identity, look, ""), looks, "{identity:?}");
        assert_eq!(status(identity, change, weights), changes, "{identity:?}");
    }
    // The command line shows one as well.
    let rollouts = |name: &str| {
        let file = |end: &str| path.join(format!("{name}.{end}"));
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_switchback"))
            .args(["rollout", "list", "--server", &format!("https://localhost:{}", address.port()), "--ca"])
            .arg(path.join("ca.pem"))
            .arg("--client-cert")
            .arg(file("pem"))
            .arg("--client-key")
            .arg(file("key"))
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert_eq!(rollouts("dash"), (Some(0), String::new()));
    let (code, said) = rollouts("other");
    assert!(code != Some(0) && said.contains("token") && said.contains("--client-cert"), "{code:?} {said}");
    // Plaintext is no way round it.
    let mut plain = crate::support::RawClient::connect(address);
    let _ = plain.0.write_all(b"GET /api/v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n");
    let mut read = Vec::new();
    let _ = plain.0.read_to_end(&mut read);
    assert!(!read.starts_with(b"HTTP/"), "{read:?}");

    // A certificate that changes is shown from the next handshake on.
    let trusting = Arc::new(client(&authority, None));
    let shown_now = || {
        let mut stream = connect(address, &trusting, "localhost");
        let _ = stream.write_all(b"GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        let _ = stream.read_to_end(&mut Vec::new());
        shown(&stream)
    };
    let before = shown_now();
    authority.sign(&path, "a", &["localhost"]);
    blocking_until("the new one is shown", || (shown_now() != before).then_some(()));
}
