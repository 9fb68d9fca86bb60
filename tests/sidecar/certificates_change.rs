//! Certificates, keys and authorities that change on disk, and the tickets of before.

use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;

use rustls::HandshakeKind;

use crate::support::pki::{Authority, ask, client, connect, listener, shown, write};
use crate::support::{RawClient, Sidecar, Upstream, blocking_until, one_version};

fn reloads(sidecar: &Sidecar, result: &str) -> f64 {
    sidecar.metric("switchback_tls_reloads_total", &[&format!("result=\"{result}\"")])
}

#[test]
fn changed_certificates_are_taken_up_and_no_connection_is_dropped() {
    let upstream = Upstream::echo("v1");
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.sign(folder.path(), "a", &["localhost"]);
    let sidecar = Sidecar::start_in(folder, &one_version(&upstream.url(), &listener("")));
    let config = Arc::new(client(&authority, None));
    let mut old = connect(sidecar.main(), &config, "localhost");
    assert_eq!(ask(&mut old), Ok(200));
    let before = shown(&old);

    // The certificate alone does not fit the old key: it is refused, and the old pair stays.
    let other = tempfile::tempdir().unwrap();
    authority.sign(other.path(), "a", &["localhost"]);
    let read = |name: &str| std::fs::read_to_string(other.path().join(name)).unwrap();
    write(sidecar.folder(), "a.pem", &read("a.pem"));
    blocking_until("half a change is refused", || (reloads(&sidecar, "refused") == 1.0).then_some(()));
    let mut between = connect(sidecar.main(), &config, "localhost");
    assert_eq!((ask(&mut between), shown(&between)), (Ok(200), before.clone()));

    write(sidecar.folder(), "a.key", &read("a.key"));
    blocking_until("the whole change is taken up", || (reloads(&sidecar, "applied") == 1.0).then_some(()));
    // A client of its own: with a ticket nothing is shown.
    let mut new = connect(sidecar.main(), &Arc::new(client(&authority, None)), "localhost");
    assert_eq!(ask(&mut new), Ok(200));
    assert_ne!(shown(&new), before);
    assert_eq!(ask(&mut old), Ok(200), "the connection of before is still there");
    assert_eq!(ask(&mut between), Ok(200));
}

#[test]
fn tickets_spare_the_next_handshake_also_after_a_reload() {
    let upstream = Upstream::echo("v1");
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    authority.sign(folder.path(), "a", &["localhost"]);
    let rest = format!("{}workers: 2\n", listener(""));
    let sidecar = Sidecar::start_in(folder, &one_version(&upstream.url(), &rest));
    let config = Arc::new(client(&authority, None));
    let mut kinds = Vec::new();
    for round in 0..5 {
        if round == 3 {
            authority.sign(sidecar.folder(), "a", &["localhost"]);
            blocking_until("the change is taken up", || (reloads(&sidecar, "applied") >= 1.0).then_some(()));
        }
        let mut stream = connect(sidecar.main(), &config, "localhost");
        assert_eq!(ask(&mut stream), Ok(200));
        kinds.push(stream.conn.handshake_kind().unwrap());
    }
    assert_eq!(kinds[0], HandshakeKind::Full);
    assert!(kinds[1..].iter().all(|kind| *kind == HandshakeKind::Resumed), "{kinds:?}");
}

#[test]
fn a_secret_whose_links_move_at_once_is_taken_up() {
    let upstream = Upstream::echo("v1");
    let (authority, folder) = (Authority::new(), tempfile::tempdir().unwrap());
    // As kubelet does it: the files are links by way of one link, and that one is replaced.
    let version = |name: &str, root: &Path| {
        std::fs::create_dir(root.join(name)).unwrap();
        authority.sign(&root.join(name), "a", &["localhost"]);
        symlink(name, root.join("..data_tmp")).unwrap();
        std::fs::rename(root.join("..data_tmp"), root.join("..data")).unwrap();
    };
    version("..first", folder.path());
    for name in ["a.pem", "a.key"] {
        symlink(format!("..data/{name}"), folder.path().join(name)).unwrap();
    }
    let sidecar = Sidecar::start_in(folder, &one_version(&upstream.url(), &listener("")));
    let mut old = connect(sidecar.main(), &Arc::new(client(&authority, None)), "localhost");
    assert_eq!(ask(&mut old), Ok(200));
    version("..second", sidecar.folder());
    std::fs::remove_dir_all(sidecar.folder().join("..first")).unwrap();
    blocking_until("the change is taken up", || (reloads(&sidecar, "applied") == 1.0).then_some(()));
    let mut new = connect(sidecar.main(), &Arc::new(client(&authority, None)), "localhost");
    assert_eq!(ask(&mut new), Ok(200));
    assert_ne!(shown(&new), shown(&old));
    assert_eq!(ask(&mut old), Ok(200));
}

#[test]
fn whose_authority_is_gone_does_not_come_back_by_a_ticket() {
    let upstream = Upstream::echo("v1");
    let (authority, next) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    authority.write(&path, "ca.pem");
    authority.sign(&path, "a", &["localhost"]);
    authority.sign(&path, "web", &["web.internal"]);
    next.sign(&path, "new", &["web.internal"]);
    let more = ", clientCa: ca.pem";
    let sidecar = Sidecar::start_in(folder, &one_version(&upstream.url(), &listener(more)));
    let config = Arc::new(client(&authority, Some((&path, "web"))));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
        let mut stream = connect(sidecar.main(), &config, "localhost");
        assert_eq!((ask(&mut stream), stream.conn.handshake_kind()), (Ok(200), Some(kind)));
    }
    next.write(&path, "ca.pem");
    blocking_until("the change is taken up", || (reloads(&sidecar, "applied") == 1.0).then_some(()));
    for _ in 0..3 {
        let found = ask(&mut connect(sidecar.main(), &config, "localhost"));
        assert!(found.is_err(), "{found:?}");
    }
    let config = Arc::new(client(&authority, Some((&path, "new"))));
    assert_eq!(ask(&mut connect(sidecar.main(), &config, "localhost")), Ok(200));
}

#[test]
fn authority_and_certificate_for_an_upstream_are_taken_up_as_they_change() {
    // A sidecar stands in for the model server, which wants to see a certificate.
    let upstream = Upstream::echo("v1");
    let (authority, stranger) = (Authority::new(), Authority::new());
    let folder = tempfile::tempdir().unwrap();
    authority.write(folder.path(), "ca.pem");
    authority.sign(folder.path(), "a", &["localhost"]);
    let server = Sidecar::start_in(folder, &one_version(&upstream.url(), &listener(", clientCa: ca.pem")));

    let folder = tempfile::tempdir().unwrap();
    stranger.write(folder.path(), "ca.pem");
    stranger.sign(folder.path(), "me", &["sidecar.internal"]);
    let tls = "{ca: ca.pem, serverName: localhost, certificate: me.pem, key: me.key}";
    let sidecar = Sidecar::start_in(
        folder,
        &format!(
            "models: [{{name: m, versions: [{{name: v1, upstream: {{url: 'https://{}', tls: {tls}}}}}]}}]\n",
            server.main()
        ),
    );
    let status = || RawClient::connect(sidecar.main()).get("/x").status;
    assert_eq!(status(), 502, "an authority that has not signed the server's certificate");
    authority.write(sidecar.folder(), "ca.pem");
    blocking_until("the authority is taken up", || (reloads(&sidecar, "applied") == 1.0).then_some(()));
    assert_eq!(status(), 502, "a certificate that the server does not accept");
    assert_eq!(upstream.count(), 0);
    authority.sign(sidecar.folder(), "me", &["sidecar.internal"]);
    blocking_until("the certificate is taken up", || (status() == 200).then_some(()));
}
