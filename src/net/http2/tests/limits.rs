//! What ends a connection or a stream when its time is over, and what is counted of that.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
/// The first byte of the head of `GET /`, and that there is more.
const HEADERS: &[u8] = &[0, 0, 1, 1, 1, 0, 0, 0, 1, 0x82];
/// One more field of it, and that there is more.
const CONTINUATION: &[u8] = &[0, 0, 1, 9, 0, 0, 0, 0, 1, 0x90];

/// A connection on which frames are made by hand.
struct Raw {
    io: DuplexStream,
    served: Served,
    seen: Rc<Seen>,
}

impl Raw {
    async fn begin(first: &[u8]) -> Self {
        Self::begin_over(1 << 20, first).await
    }

    /// Over a byte stream that takes `room` bytes.
    async fn begin_over(room: usize, first: &[u8]) -> Self {
        let (ours, mut io) = duplex(room);
        let handler = ByPath::default();
        let seen = handler.0.clone();
        let served = serve(Server::Ours, ours, handler, Rc::default());
        io.write_all(PREFACE).await.unwrap();
        io.write_all(first).await.unwrap();
        Self { io, served, seen }
    }

    /// The kinds of the frames that come until the connection ends, and how it ended.
    async fn rest(mut self) -> (Vec<u8>, Result<(), ConnectionFault>) {
        let (mut bytes, mut kinds) = (Vec::new(), Vec::new());
        self.io.read_to_end(&mut bytes).await.unwrap();
        let mut frames = &bytes[..];
        while let [a, b, c, kind, _, _, _, _, _, rest @ ..] = frames {
            kinds.push(*kind);
            frames = &rest[u32::from_be_bytes([0, *a, *b, *c]) as usize..];
        }
        (kinds, self.served.await.unwrap())
    }
}

#[test]
fn a_client_that_does_not_finish_what_it_has_begun_is_told_to_go() {
    let limit = DownstreamSpec::default().header_timeout;
    for (first, greeted) in [
        (vec![], false),
        (SETTINGS[..4].to_vec(), false),
        ([&[0, 0, 6], &SETTINGS[3..], &[0, 1]].concat(), false),
        ([SETTINGS, HEADERS].concat(), true),
        ([SETTINGS, HEADERS, CONTINUATION].concat(), true),
        ([SETTINGS, HEADERS, &CONTINUATION[..3]].concat(), true),
        ([SETTINGS, &HEADERS[..9]].concat(), true),
        ([SETTINGS, PING, &HEADERS[..3]].concat(), true),
    ] {
        test(|| async move {
            let begun = Instant::now();
            let (kinds, ended) = Raw::begin(&first).await.rest().await;
            assert_eq!((kinds.last(), ended), (Some(&7), Err(ConnectionFault::HeaderTimeout)), "{first:?}");
            // Settings are acknowledged where they came.
            assert_eq!(kinds.iter().filter(|kind| **kind == 4).count(), 1 + usize::from(greeted));
            let took = begun.elapsed();
            assert!(took >= limit && took < limit * 2, "{first:?} took {took:?}");
        });
    }
}

#[test]
fn a_head_that_comes_piece_by_piece_is_late_all_the_same() {
    test(|| async {
        let limit = DownstreamSpec::default().header_timeout;
        let begun = Instant::now();
        let mut raw = Raw::begin(&[SETTINGS, HEADERS].concat()).await;
        while !raw.served.is_finished() {
            // `h2` itself ends a connection for more frames than a head may need.
            tokio::time::sleep(limit * 2 / 7).await;
            let _ = raw.io.write_all(CONTINUATION).await;
        }
        assert!(begun.elapsed() < limit * 2);
        assert_eq!(raw.rest().await.1, Err(ConnectionFault::HeaderTimeout));
    });
}

#[test]
fn a_connection_that_owes_nothing_may_rest_and_one_whose_frames_are_cut_may_go_on() {
    test(|| async {
        let limit = DownstreamSpec::default().header_timeout;
        let mut raw = Raw::begin(SETTINGS).await;
        tokio::time::sleep(limit * 3).await;
        let (begin, rest) = PING.split_at(5);
        raw.io.write_all(begin).await.unwrap();
        for _ in 0..20 {
            tokio::time::sleep(limit / 4).await;
            raw.io.write_all(&[rest, begin].concat()).await.unwrap();
        }
        assert!(!raw.served.is_finished());
    });
}

#[test]
fn a_stream_whose_client_makes_no_room_is_counted() {
    test(|| async {
        let mut pair = pair(Server::Ours).await;
        let (answer, _) = pair.client.send_request(request(Method::GET, "/large"), true).unwrap();
        let content = answer.await.unwrap().into_body();
        tokio::time::sleep(DownstreamSpec::default().send_timeout / 2).await;
        assert!(pair.seen.failed.borrow().is_empty());
        tokio::time::sleep(DownstreamSpec::default().send_timeout).await;
        assert_eq!(*pair.seen.failed.borrow(), [ConnectionFault::SendTimeout]);
        // The connection goes on.
        drop(content);
        assert!(get(&mut pair, "/exact").await.contains("0123456789"));
        assert_eq!(pair.seen.failed.borrow().len(), 1);
    });
}

/// What `h2` holds beyond a window nobody would ever take back.
#[test]
fn an_answer_that_a_client_has_no_room_for_is_given_up_and_counted_however_short_it_is() {
    let limit = DownstreamSpec::default().send_timeout;
    for (window, path) in
        [(0, "/fields"), (0, "/exact"), (0, "/pieces"), (0, "/trailers"), (0, "/one"), (65_535, "/two")]
    {
        test(|| async move {
            let mut pair = pair_with_window(Server::Ours, window).await;
            let (answer, _) = pair.client.send_request(request(Method::GET, path), true).unwrap();
            let mut content = answer.await.unwrap().into_body();
            tokio::time::sleep(limit / 2).await;
            assert!(pair.seen.failed.borrow().is_empty(), "{path}");
            tokio::time::sleep(limit).await;
            assert_eq!(*pair.seen.failed.borrow(), [ConnectionFault::SendTimeout], "{path}");
            let end = loop {
                if let Err(error) = content.data().await.unwrap() {
                    break error;
                }
            };
            assert_eq!(end.reason(), Some(Reason::CANCEL), "{path}");
            assert!(get(&mut pair, "/nothing").await.starts_with("200"), "the connection goes on");
        });
    }
}

#[test]
fn a_client_that_opens_its_window_late_gets_the_whole_answer() {
    test(|| async {
        let mut pair = pair_with_window(Server::Ours, 10).await;
        let limit = DownstreamSpec::default().send_timeout;
        let (answer, _) = pair.client.send_request(request(Method::GET, "/trailers-long"), true).unwrap();
        let mut content = answer.await.unwrap().into_body();
        let mut length = 0;
        while let Some(data) = content.data().await {
            length += data.unwrap().len();
            tokio::time::sleep(limit * 2 / 3).await;
            content.flow_control().release_capacity(10).unwrap();
        }
        assert_eq!(length, 40);
        assert_eq!(content.trailers().await.unwrap().unwrap()["grpc-status"], "0");
        assert!(pair.seen.failed.borrow().is_empty());
    });
}

const ROOM: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0x40, 0, 0, 0];
const NO_ROOM: &[u8] = &[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 0];
const MORE: &[u8] = &[0, 0, 4, 8, 0, 0, 0, 0, 0, 0x40, 0, 0, 0];

/// A client with wide windows that has asked four times for what its socket does not take at once.
async fn asks_for_more_than_it_reads() -> Raw {
    let mut first = [ROOM, MORE].concat();
    for stream in [1, 3, 5, 7] {
        // `GET /two` by `http`, and its end.
        first.extend_from_slice(&[0, 0, 8, 1, 5, 0, 0, 0, stream, 0x82, 0x86, 0x04, 4]);
        first.extend_from_slice(b"/two");
    }
    Raw::begin_over(1 << 16, &first).await
}

/// What has been handed over for a window stays when that is taken back.
#[test]
fn a_client_that_narrows_its_windows_before_it_reads_is_told_to_go_and_one_that_widens_them_again_is_not() {
    let limit = DownstreamSpec::default().send_timeout;
    for again in [false, true] {
        test(|| async move {
            let mut raw = asks_for_more_than_it_reads().await;
            tokio::time::sleep(limit / 2).await;
            assert!(raw.seen.ended.get());
            raw.io.write_all(NO_ROOM).await.unwrap();
            let mut length = 0;
            for turn in 0..20 {
                let mut bytes = vec![0; 1 << 20];
                while let Ok(Ok(read @ 1..)) = timeout(limit / 100, raw.io.read(&mut bytes)).await {
                    length += read;
                }
                // Whatever else is sent is no progress.
                let _ = raw.io.write_all(PING).await;
                if turn == 5 && again {
                    raw.io.write_all(ROOM).await.unwrap();
                }
                tokio::time::sleep(limit / 10).await;
            }
            assert_eq!(raw.served.is_finished(), !again, "{length} bytes were read");
            match again {
                true => assert!(length > 400_000, "{length}"),
                false => assert_eq!(raw.served.await.unwrap(), Err(ConnectionFault::SendTimeout)),
            }
        });
    }
}

/// Windows may be as wide as they like, and the streams over as far as they are concerned.
#[test]
fn a_client_that_leaves_its_answers_in_the_socket_is_told_to_go() {
    test(|| async {
        let limit = DownstreamSpec::default().send_timeout;
        let mut raw = asks_for_more_than_it_reads().await;
        for _ in 0..6 {
            tokio::time::sleep(limit * 2 / 3).await;
            raw.io.read_exact(&mut [0; 10_000]).await.unwrap();
        }
        // It takes its time, and takes some.
        assert!(!raw.served.is_finished());
        assert!(raw.seen.ended.get());
        tokio::time::sleep(limit * 2).await;
        assert_eq!(raw.served.await.unwrap(), Err(ConnectionFault::SendTimeout));
    });
}

/// A long chunk leaves in pieces, each at its turn.
#[test]
fn long_chunks_of_many_streams_arrive_whole_once_their_client_reads() {
    test(|| async {
        let (ours, theirs) = duplex(1 << 16);
        let mut wide = h2::client::Builder::new();
        wide.initial_window_size(1 << 30).initial_connection_window_size(1 << 30);
        let mut pair = pair_of(Server::Ours, ours, theirs, &wide).await;
        let mut readers = Vec::new();
        for _ in 0..50 {
            let (outcome, _) = begin(&mut pair, request(Method::GET, "/one"), true).await;
            readers.push(spawn_local(outcome));
        }
        for reader in readers {
            assert!(reader.await.unwrap().contains("\"1000000 bytes\", None"));
        }
        assert!(pair.seen.failed.borrow().is_empty());
    });
}

#[test]
fn a_client_that_resets_its_stream_is_not_counted() {
    test(|| async {
        let mut pair = pair(Server::Ours).await;
        let (answer, mut sending) = pair.client.send_request(request(Method::GET, "/large"), true).unwrap();
        let content = answer.await.unwrap().into_body();
        sending.send_reset(Reason::CANCEL);
        drop(content);
        tokio::time::sleep(DownstreamSpec::default().send_timeout * 3).await;
        assert!(pair.seen.failed.borrow().is_empty());
    });
}

#[test]
fn an_answer_that_cannot_have_a_body_ends_with_its_head() {
    test(|| async {
        for path in ["/204-full", "/304-full"] {
            let mut pair = pair(Server::Ours).await;
            let (answer, _) = pair.client.send_request(request(Method::GET, path), true).unwrap();
            let answer = answer.await.unwrap();
            assert_eq!(answer.status().as_str(), &path[1..4]);
            assert!(!answer.headers().contains_key("content-length"), "{path}: {:?}", answer.headers());
            assert!(answer.body().is_end_stream(), "{path}");
            // Whoever watches the body sees it end.
            assert_eq!((pair.seen.frames.get(), pair.seen.ended.get()), (4, true), "{path}");
        }
    });
}

#[test]
fn streams_beyond_the_limit_are_refused_and_counted() {
    test(|| async {
        let mut raw = Raw::begin(SETTINGS).await;
        for stream in 0..DownstreamSpec::default().h2_max_streams + 3 {
            // `POST /wait` by `http`, and its end is to come.
            let id = (stream * 2 + 1).to_be_bytes();
            let frame = [&[0, 0, 9, 1, 4][..], &id, &[0x83, 0x86, 0x04, 5], b"/wait"].concat();
            raw.io.write_all(&frame).await.unwrap();
        }
        while raw.seen.failed.borrow().len() < 3 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(*raw.seen.failed.borrow(), [ConnectionFault::StreamRefused; 3]);
    });
}
