//! Upgrades over real connections of hyper's.

use super::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};

#[tokio::test(start_paused = true)]
async fn a_side_that_ends_leaves_the_other_direction_open() {
    let (mut user, client) = duplex(64);
    let (server, mut model) = duplex(64);
    let talk = async {
        user.write_all(b"hello").await.unwrap();
        user.shutdown().await.unwrap();
        let mut asked = Vec::new();
        model.read_to_end(&mut asked).await.unwrap();
        model.write_all(b"later answer").await.unwrap();
        drop(model);
        let mut answer = Vec::new();
        user.read_to_end(&mut answer).await.unwrap();
        (asked, answer)
    };
    let (joined, (asked, answer)) = tokio::join!(carry(client, server, None), talk);
    assert_eq!((&asked[..], &answer[..]), (&b"hello"[..], &b"later answer"[..]));
    assert_eq!(joined, Joined { from_client: 5, from_server: 12, fault: None });
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_stands_still_is_closed_and_one_that_moves_is_not() {
    let (mut user, client) = duplex(64);
    let (server, _model) = duplex(64);
    let started = Instant::now();
    let talk = async {
        for _ in 0..3 {
            tokio::time::sleep(Duration::from_secs(9)).await;
            user.write_all(b"x").await.unwrap();
        }
        user
    };
    let (joined, _user) = tokio::join!(carry(client, server, Some(Duration::from_secs(10))), talk);
    assert_eq!(joined.fault.map(|fault| fault.kind), Some(FaultKind::IdleTimeout));
    assert_eq!(joined.from_client, 3);
    assert_eq!(started.elapsed().as_secs(), 37);
}

#[tokio::test]
async fn the_side_that_fails_is_the_one_that_is_blamed() {
    for (client_fails, kind) in [(true, FaultKind::Cancelled), (false, FaultKind::UpstreamReset)] {
        let broken = connection(true);
        let whole = connection(false);
        let (client, server) = if client_fails { (broken, whole) } else { (whole, broken) };
        let joined = carry(client, server, None).await;
        assert_eq!(joined.fault.map(|fault| fault.kind), Some(kind));
    }
}

/// A connection that fails when read, or that never says anything.
fn connection(fails: bool) -> impl AsyncRead + AsyncWrite + Unpin {
    struct Broken(bool);
    impl AsyncRead for Broken {
        fn poll_read(self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            if self.0 { Poll::Ready(Err(io::ErrorKind::ConnectionReset.into())) } else { Poll::Pending }
        }
    }
    let (reader, writer) = (Broken(fails), tokio::io::sink());
    tokio::io::join(reader, writer)
}

/// The whole way: raw bytes, hyper's server, [`join`], hyper's client, raw bytes.
#[tokio::test]
async fn a_connection_upgraded_on_both_sides_carries_bytes_both_ways() {
    use crate::wire::body::Source;
    use crate::wire::hygiene;
    use hyper::body::Incoming;
    use hyper::service::service_fn;

    let (mut user, downstream) = duplex(1024);
    let (upstream, mut model) = duplex(1024);
    let (sender, connection) =
        hyper::client::conn::http1::handshake::<_, Source>(TokioIo::new(upstream)).await.unwrap();
    let (sender, connection) = (std::cell::RefCell::new(sender), connection.with_upgrades());
    let tunnel = Rc::new(Cell::new(None));
    let service = service_fn(|request: http::Request<Incoming>| {
        let (mut parts, _) = request.into_parts();
        let client = Upgrade::take(&mut parts.extensions).unwrap();
        let asked = hygiene::request(&mut parts).unwrap();
        hygiene::ask_upgrade(&mut parts.headers, asked.upgrade.unwrap());
        let onward = http::Request::from_parts(parts, Source::empty());
        let answer = sender.borrow_mut().send_request(onward);
        let tunnel = Rc::clone(&tunnel);
        async move {
            let (mut parts, _) = answer.await.unwrap().into_parts();
            hygiene::response(&mut parts, http::Version::HTTP_11).unwrap();
            tunnel.set(Upgrade::take(&mut parts.extensions).map(|server| (client, server)));
            Ok::<_, Fault>(http::Response::from_parts(parts, Source::<crate::wire::body::Inbound>::empty()))
        }
    });
    let serve = async {
        hyper::server::conn::http1::Builder::new()
            .serve_connection(TokioIo::new(downstream), service)
            .with_upgrades()
            .await
            .unwrap();
        let (client, server) = tunnel.take().unwrap();
        join(client, server, None).await
    };
    let head = async |stream: &mut tokio::io::DuplexStream| {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        String::from_utf8(head).unwrap()
    };
    let talk = async {
        user.write_all(b"GET /ws HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: echo\r\n\r\n")
            .await
            .unwrap();
        assert!(head(&mut model).await.contains("upgrade: echo\r\n"));
        let switch = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\nfirst";
        model.write_all(switch).await.unwrap();
        assert!(head(&mut user).await.starts_with("HTTP/1.1 101 "));
        user.write_all(b"hello").await.unwrap();
        let mut five = [0; 5];
        model.read_exact(&mut five).await.unwrap();
        assert_eq!(&five, b"hello");
        user.read_exact(&mut five).await.unwrap();
        assert_eq!(&five, b"first");
        drop((user, model));
    };
    let (_, joined, ()) = tokio::join!(connection, serve, talk);
    assert_eq!((joined.from_client, joined.from_server), (5, 5));
}
