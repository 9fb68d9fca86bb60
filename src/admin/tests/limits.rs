//! Clients that are silent, slow or many.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::sync::mpsc::channel;
use tokio::time::Instant;

use super::super::access::Access;
use super::super::guard::Reach;
use super::super::places::Places;
use super::super::routes::router;
use super::super::server::{accept, connection};
use super::busy;

/// What a client that sends this and then nothing gets, and after how long.
async fn answer_to(request: &str) -> (String, Duration) {
    let (mut client, server) = duplex(1 << 16);
    client.write_all(request.as_bytes()).await.unwrap();
    let start = Instant::now();
    let mut answer = String::new();
    let read = async { client.read_to_string(&mut answer).await.map(drop) };
    let router = router(busy(), Access::new(&[], &[]), Reach::Socket);
    let (place, _held) = Places::new(Arc::default()).take().await.unwrap();
    let (read, ()) = tokio::join!(read, connection(server, None, router, place));
    read.unwrap();
    (answer, start.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_head_that_does_not_arrive_ends_the_connection() {
    for request in ["", "GET / HTTP/1.1\r\nHost:"] {
        let (_, after) = answer_to(request).await;
        assert!((10..12).contains(&after.as_secs()), "{request:?} {after:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_does_not_arrive_is_answered_408() {
    let (answer, after) =
        answer_to("PUT /api/v1/models/fraud/weights HTTP/1.1\r\nContent-Length: 99\r\n\r\n{").await;
    assert!(answer.starts_with("HTTP/1.1 408 "), "{answer}");
    assert!((10..22).contains(&after.as_secs()), "{after:?}");
}

/// Every caller is known by whatever it asks for, but for health and metrics.
async fn serve(next: impl AsyncFnMut() -> io::Result<DuplexStream>) {
    accept(next, None, router(busy(), Access::new(&[], &[]), Reach::Socket), Arc::default()).await;
}

async fn settle() {
    for _ in 0..2_000 {
        tokio::task::yield_now().await
    }
}

/// Asks, and reads the beginning of the answer.
async fn begin(client: &mut DuplexStream, path: &str) -> String {
    client.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
    let mut head = [0; 12];
    client.read_exact(&mut head).await.unwrap();
    String::from_utf8(head.to_vec()).unwrap()
}

#[tokio::test(start_paused = true)]
async fn behind_sixty_four_known_callers_the_next_one_waits_until_another_one_ends() {
    let (connect, mut connections) = channel(1);
    let next = async || connections.recv().await.ok_or_else(|| io::ErrorKind::Other.into());
    let checks = async {
        let mut known = Vec::new();
        for _ in 0..64 {
            let (mut client, server) = duplex(1 << 16);
            connect.send(server).await.unwrap();
            assert_eq!(begin(&mut client, "/").await, "HTTP/1.1 200");
            known.push(client);
        }
        let (mut client, server) = duplex(1 << 16);
        connect.send(server).await.unwrap();
        let mut answer = pin!(begin(&mut client, "/healthz"));
        tokio::select! {
            biased;
            answer = &mut answer => panic!("{answer}"),
            () = settle() => {}
        }
        drop(known.pop());
        assert_eq!(answer.await, "HTTP/1.1 200");
        for client in &mut known {
            assert_eq!(client.write(b"GET").await.unwrap(), 3, "no other one had to go");
        }
    };
    tokio::select! {
        () = serve(next) => panic!("accepts for ever"),
        () = checks => {}
    }
}
