//! Clients that are silent, slow or many.

use std::cell::{Cell, RefCell};
use std::time::Duration;

use axum::Router;
use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
use tokio::time::Instant;

use super::super::access::Access;
use super::super::guard::Reach;
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
    let (read, ()) =
        tokio::join!(read, connection(server, None, router(busy(), Access::new(&[], &[]), Reach::Socket)));
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

#[tokio::test(start_paused = true)]
async fn the_sixty_fifth_connection_waits_until_another_one_ends() {
    let accepted = Cell::new(0);
    let clients = RefCell::new(Vec::new());
    let next = async || {
        let (client, server) = duplex(64);
        clients.borrow_mut().push(client);
        accepted.set(accepted.get() + 1);
        Ok(server)
    };
    let checks = async {
        let settle = || async {
            for _ in 0..1_000 {
                tokio::task::yield_now().await
            }
        };
        settle().await;
        assert_eq!(accepted.get(), 64);
        let gone = clients.borrow_mut().pop();
        drop(gone);
        settle().await;
        assert_eq!(accepted.get(), 65);
    };
    tokio::select! {
        () = accept(next, None, Router::new()) => panic!("accepts for ever"),
        () = checks => {}
    }
}
