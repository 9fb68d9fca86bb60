//! HTTP/2: what is on the wire, and both directions of a stream at once.

use std::sync::atomic::{AtomicUsize, Ordering};

use h2::{RecvStream, SendStream};
use tokio::io::AsyncWriteExt;

use super::*;

const SETTINGS: [u8; 9] = [0, 0, 0, 4, 0, 0, 0, 0, 0];
/// `:status: 200` and the end of stream 1.
const OK: [u8; 10] = [0, 0, 1, 1, 5, 0, 0, 0, 1, 0x88];
/// Says goodbye, and that no stream was looked at.
const GOODBYE: [u8; 17] = [0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

fn http2(spec: &UpstreamSpec) -> Rc<Pool<TestBody>> {
    pool(&UpstreamSpec { protocol: Protocol::Http2, ..spec.clone() })
}

/// Reads the next frame: its type, flags, stream and payload; `None` at the end.
async fn frame(stream: &mut TcpStream) -> Option<(u8, u8, u32, Vec<u8>)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let [a, b, c, kind, flags, id @ ..] = head;
    let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
    stream.read_exact(&mut payload).await.ok()?;
    Some((kind, flags, u32::from_be_bytes(id), payload))
}

/// Takes a connection up to the preface and says hello.
async fn greet(listener: &TcpListener) -> TcpStream {
    let mut stream = accept(listener).await;
    let mut preface = [0; 24];
    stream.read_exact(&mut preface).await.unwrap();
    stream.write_all(&SETTINGS).await.unwrap();
    stream
}

/// Reads until stream 1 has brought a head; the head's flags.
async fn head_of_first(stream: &mut TcpStream) -> u8 {
    loop {
        if let (1, flags, 1, _) = frame(stream).await.unwrap() {
            return flags;
        }
    }
}

type Incoming = (Request<RecvStream>, h2::server::SendResponse<Bytes>);

/// Serves one connection with small windows, each request with `serve`.
fn serve<F, Fut>(listener: TcpListener, window: u32, serve: F)
where
    F: Fn(Incoming) -> Fut + 'static,
    Fut: Future<Output = ()> + 'static,
{
    spawn_local(async move {
        let mut builder = h2::server::Builder::new();
        builder.initial_window_size(window);
        let stream = accept(&listener).await;
        stream.set_nodelay(true).unwrap();
        let mut server = builder.handshake(stream).await.unwrap();
        while let Some(Ok(request)) = server.accept().await {
            spawn_local(serve(request));
        }
    });
}

/// Sends `data` back, waiting for room.
async fn send(back: &mut SendStream<Bytes>, mut data: Bytes) {
    while !data.is_empty() {
        back.reserve_capacity(data.len());
        let room = std::future::poll_fn(|cx| back.poll_capacity(cx)).await.unwrap().unwrap();
        back.send_data(data.split_to(room.min(data.len())), false).unwrap();
    }
}

async fn echo((request, mut respond): Incoming) {
    let mut back = respond.send_response(Response::new(()), false).unwrap();
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let data = data.unwrap();
        body.flow_control().release_capacity(data.len()).unwrap();
        send(&mut back, data).await;
    }
    back.send_data(Bytes::new(), true).unwrap();
}

#[test]
fn a_unary_request_is_a_head_and_one_frame_of_data() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = http2(&spec);
        let sending = spawn_send(&pool, post("/", TestBody::text("hello")));
        let mut stream = greet(&listener).await;
        let mut frames = Vec::new();
        while !frames.iter().any(|(_, flags, _)| flags & 1 == 1) {
            let (kind, flags, id, payload) = frame(&mut stream).await.unwrap();
            if id == 1 {
                frames.push((kind, flags, if kind == 0 { payload } else { Vec::new() }));
            }
        }
        stream.write_all(&OK).await.unwrap();
        assert_eq!(text(sending.await.unwrap().unwrap()).await, "");
        drop(pool);
        while let Some((kind, flags, id, payload)) = frame(&mut stream).await {
            if id == 1 {
                frames.push((kind, flags, payload));
            }
        }
        assert_eq!(frames, [(1, 4, Vec::new()), (0, 1, b"hello".to_vec())]);
    });
}

#[test]
fn a_request_without_a_body_ends_with_its_head() {
    run(async {
        let (listener, spec) = listen().await;
        let sending = spawn_send(&http2(&spec), get("/"));
        let mut stream = greet(&listener).await;
        assert_eq!(head_of_first(&mut stream).await, 5);
        stream.write_all(&OK).await.unwrap();
        assert_eq!(text(sending.await.unwrap().unwrap()).await, "");
    });
}

#[test]
fn both_directions_flow_while_only_the_answer_is_polled() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = http2(&spec);
        serve(listener, 65_535, echo);
        let (feed, body) = TestBody::fed();
        let mut answer = pool.send(post("/", body)).await.unwrap().into_body();
        for text in ["one", "two", "three"] {
            feed.send(data(text)).unwrap();
            let frame = answer.frame().await.unwrap().unwrap();
            assert_eq!(frame.into_data().unwrap(), text);
        }
        drop(feed);
        assert_eq!(answer.collect().await.unwrap().to_bytes(), "");
    });
}

#[test]
fn a_mebibyte_goes_both_ways_through_small_windows() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = http2(&spec);
        serve(listener, 10_000, echo);
        let content: Bytes = (0..1_u32 << 20).map(|n| (n * 31 / 7) as u8).collect();
        for piece in [1 << 20, 100_000, 9_999] {
            let (feed, body) = TestBody::fed();
            for chunk in content.chunks(piece) {
                feed.send(Ok(Frame::data(Bytes::copy_from_slice(chunk)))).unwrap();
            }
            drop(feed);
            let answer = pool.send(post("/", body)).await.unwrap();
            assert!(answer.into_body().collect().await.unwrap().to_bytes() == content, "in {piece}s");
        }
        assert_eq!(pool.stats().opened, 1);
    });
}

#[test]
fn an_upload_without_room_takes_no_more_and_does_not_hold_up_the_answer() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = http2(&spec);
        serve(listener, 1500, |(request, mut respond)| async move {
            let mut back = respond.send_response(Response::new(()), false).unwrap();
            send(&mut back, Bytes::from_static(b"still ")).await;
            back.send_data(Bytes::from_static(b"here"), true).unwrap();
            std::future::pending::<()>().await;
            drop(request);
        });
        let taken = Arc::new(AtomicUsize::new(0));
        let answer = pool.send(post("/", TestBody::Endless(Arc::clone(&taken)))).await.unwrap();
        assert_eq!(text(answer).await, "still here");
        // The window may be the one before SETTINGS (RFC 9113 section 6.9.2).
        let taken = taken.load(Ordering::Relaxed);
        assert!(taken <= 66, "{taken} taken");
    });
}

#[test]
fn an_answer_that_ends_before_its_request_stops_it_and_leaves_the_connection() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = http2(&spec);
        let (seen, mut reason) = mpsc::unbounded_channel();
        serve(listener, 65_535, move |(request, mut respond)| {
            let seen = seen.clone();
            async move {
                let mut back = respond.send_response(Response::new(()), false).unwrap();
                back.send_data(Bytes::from_static(b"enough"), true).unwrap();
                let mut body = request.into_body();
                while let Some(data) = body.data().await {
                    if let Err(error) = data {
                        let _ = seen.send(error.reason());
                        return;
                    }
                }
                let _ = seen.send(None);
            }
        });
        let (feed, body) = TestBody::fed();
        feed.send(data("a beginning")).unwrap();
        assert_eq!(text(pool.send(post("/", body)).await.unwrap()).await, "enough");
        assert_eq!(reason.recv().await.unwrap(), Some(h2::Reason::CANCEL));
        feed.closed().await;
        assert_eq!(text(pool.send(get("/")).await.unwrap()).await, "enough");
        assert_eq!((pool.stats().opened, pool.stats().open), (1, 1));
    });
}

#[test]
fn an_answer_cut_short_is_a_fault_and_one_of_known_length_tells_it() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = http2(&spec);
        serve(listener, 65_535, |(request, mut respond)| async move {
            let head = Response::builder().header("content-length", "10").body(()).unwrap();
            let mut back = respond.send_response(head, false).unwrap();
            back.send_data(Bytes::from_static(b"half"), false).unwrap();
            let mut request = request.into_body();
            while request.data().await.is_some() {}
            back.send_reset(h2::Reason::NO_ERROR);
        });
        let (feed, body) = TestBody::fed();
        let mut answer = pool.send(post("/", body)).await.unwrap().into_body();
        assert_eq!(answer.size_hint().exact(), Some(10));
        assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
        assert_eq!(answer.size_hint().exact(), Some(6));
        drop(feed);
        assert_eq!(answer.frame().await.unwrap().unwrap_err().kind, FaultKind::UpstreamReset);
        assert!(answer.is_end_stream() && answer.frame().await.is_none());
    });
}

#[test]
fn an_answer_that_is_reset_before_its_end_is_whole_only_where_its_length_says_so() {
    run(async {
        for (length, whole) in [(None, false), (Some("4"), true)] {
            let (listener, spec) = listen().await;
            let pool = http2(&spec);
            serve(listener, 65_535, move |(request, mut respond)| async move {
                let mut head = Response::builder();
                if let Some(length) = length {
                    head = head.header("content-length", length);
                }
                let mut back = respond.send_response(head.body(()).unwrap(), false).unwrap();
                back.send_data(Bytes::from_static(b"half"), false).unwrap();
                let mut request = request.into_body();
                while request.data().await.is_some() {}
                back.send_reset(h2::Reason::NO_ERROR);
            });
            let (feed, body) = TestBody::fed();
            let mut answer = pool.send(post("/", body)).await.unwrap().into_body();
            assert_eq!(answer.frame().await.unwrap().unwrap().into_data().unwrap(), "half");
            drop(feed);
            match answer.frame().await {
                None => assert!(whole, "an answer without a mark of its end looks whole"),
                Some(frame) => {
                    assert!(!whole);
                    assert_eq!(frame.unwrap_err().kind, FaultKind::UpstreamReset);
                }
            }
        }
    });
}

#[test]
fn a_request_without_a_body_that_a_goodbye_passed_over_is_sent_once_more() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = http2(&spec);
        let repeated = spawn_send(&pool, get("/"));
        let mut first = greet(&listener).await;
        head_of_first(&mut first).await;
        first.write_all(&GOODBYE).await.unwrap();
        let mut second = greet(&listener).await;
        head_of_first(&mut second).await;
        second.write_all(&OK).await.unwrap();
        assert_eq!(text(repeated.await.unwrap().unwrap()).await, "");
        assert_eq!((pool.stats().retried, pool.stats().opened), (1, 2));
    });
}

#[test]
fn a_peer_that_takes_one_stream_at_a_time_gets_all_requests() {
    run(async {
        let (listener, spec) = listen().await;
        spawn_local(async move {
            loop {
                serve_http2(accept(&listener).await, 1, |_| async { Response::new(whole("ok")) });
            }
        });
        let pool = http2(&spec);
        let sending: Vec<_> = (0..10).map(|_| spawn_send(&pool, post("/", TestBody::text("x")))).collect();
        for sending in sending {
            assert_eq!(text(sending.await.unwrap().unwrap()).await, "ok");
        }
        assert_eq!(pool.stats().retried, 0);
    });
}

#[test]
fn a_peer_that_speaks_no_http2_fails_who_was_sent_and_who_waits() {
    run(async {
        let (listener, spec) = listen().await;
        let pool = http2(&spec);
        let sent = spawn_send(&pool, post("/1", TestBody::text("x")));
        let waits = spawn_send(&pool, post("/2", TestBody::text("x")));
        let mut stream = accept(&listener).await;
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let sent = sent.await.unwrap().map(|_| ()).unwrap_err();
        let waits = waits.await.unwrap().map(|_| ()).unwrap_err();
        assert_eq!((sent.fault.kind, sent.unsent.is_some()), (FaultKind::UpstreamProtocol, false));
        assert_eq!((waits.fault.kind, waits.unsent.is_some()), (FaultKind::UpstreamProtocol, true));
    });
}
