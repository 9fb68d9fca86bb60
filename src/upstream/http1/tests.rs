//! The codec without a socket: what is read does not depend on how it was cut, and is what hyper
//! would read, or refused.

use bytes::Bytes;
use http::{HeaderMap, StatusCode, Version};
use proptest::prelude::*;

use super::decode::head;
use crate::wire::http1::{Length, MAX_FIELDS, Malformed};

const LIMIT: usize = 4096;

fn whole(text: &str) -> Result<Option<super::decode::Head>, Malformed> {
    head(&mut Bytes::copy_from_slice(text.as_bytes()), LIMIT, false, &mut HeaderMap::new())
}

fn rule(text: &str) -> &'static str {
    match whole(text) {
        Err(Malformed::Rule(rule)) => rule,
        other => panic!("{text:?} gives {other:?}"),
    }
}

#[test]
fn a_head_is_read_and_its_values_share_what_was_read() {
    let mut input = Bytes::from_static(
        b"HTTP/1.1 200 Fine\r\nX-A: b \r\nset-cookie: 1\r\nSet-Cookie: 2\r\ncontent-length: 3\r\n\r\nabc",
    );
    let begin = input.as_ptr().addr();
    let read = head(&mut input, LIMIT, false, &mut HeaderMap::new()).unwrap().unwrap();
    assert_eq!((read.status, read.version), (StatusCode::OK, Version::HTTP_11));
    assert_eq!(read.headers["x-a"], "b");
    assert_eq!(read.headers["x-a"].as_bytes().as_ptr().addr() - begin, 24);
    assert_eq!(read.headers.get_all("set-cookie").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((read.length, read.reusable), (Length::Known(3), true));
    assert_eq!(input, "abc");
}

#[test]
fn the_framing_is_by_the_letter() {
    for (text, length, reusable) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", Length::Known(5), true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 5\r\n\r\n", Length::Known(5), true),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\nconnection: x, Close\r\n\r\n", Length::Known(5), false),
        ("HTTP/1.0 200 OK\r\ncontent-length: 5\r\nconnection: keep-alive\r\n\r\n", Length::Known(5), false),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", Length::Chunked, true),
        ("HTTP/1.1 200 OK\r\n\r\n", Length::Close, false),
        ("HTTP/1.1 204 No\r\n\r\n", Length::Known(0), true),
        ("HTTP/1.1 204 No\r\ncontent-length: 0\r\n\r\n", Length::Known(0), true),
        ("HTTP/1.1 204 No\r\ncontent-length: 5\r\n\r\n", Length::Known(0), false),
        ("HTTP/1.1 204 No\r\ntransfer-encoding: chunked\r\n\r\n", Length::Known(0), false),
        ("HTTP/1.1 304 No\r\ntransfer-encoding: chunked\r\n\r\n", Length::Known(0), false),
        ("HTTP/1.1 304 No\r\ncontent-length: 5\r\n\r\n", Length::Known(0), true),
        ("HTTP/1.1 304 No\r\n\r\n", Length::Known(0), true),
        ("HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n", Length::Known(0), true),
    ] {
        let read = whole(text).unwrap().unwrap();
        assert_eq!((read.length, read.reusable), (length, reusable), "{text:?}");
    }
    let mut input = Bytes::from_static(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n");
    let to_head = head(&mut input, LIMIT, true, &mut HeaderMap::new()).unwrap().unwrap();
    assert_eq!(
        (to_head.length, &to_head.headers["content-length"]),
        (Length::Known(0), &"5".parse().unwrap())
    );
}

#[test]
fn what_readers_could_differ_on_is_refused() {
    for (text, expected) in [
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\n", "twice"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5, 5\r\n\r\n", "not a number"),
        ("HTTP/1.1 200 OK\r\ncontent-length: +5\r\n\r\n", "not a number"),
        ("HTTP/1.1 200 OK\r\ncontent-length:\r\n\r\n", "not a number"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551616\r\n\r\n", "not a number"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\n", "other than chunked"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: gzip, chunked\r\n\r\n", "other than chunked"),
        (
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ntransfer-encoding: chunked\r\n\r\n",
            "other than chunked",
        ),
        ("HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", "HTTP/1.0"),
        ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n", "both"),
        ("HTTP/1.1 304 No\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\r\n", "both"),
        ("HTTP/1.1 200 OK\ncontent-length: 5\r\n\r\n", "CRLF"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\n\r\n", "CRLF"),
        ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\n", "CRLF"),
        ("\r\nHTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "CRLF"),
        ("HTTP/1.1 200 OK\r\ncontent-length : 5\r\n\r\n", "malformed name"),
        ("HTTP/1.1 200 OK\r\na: b\r\n c\r\n\r\n", "malformed name"),
        ("HTTP/1.1 200 OK\r\na: b\0c\r\n\r\n", "malformed value"),
        ("HTTP/1.1 200 OK\r\na: b\rc\r\n\r\n", ""),
        ("HTTP/2.0 200 OK\r\n\r\n", "not HTTP/1"),
        ("HTTP/1.1 2x0 OK\r\n\r\n", "status"),
        ("HTTP/1.1 099 OK\r\n\r\n", "status"),
        ("SSH-2.0-x\r\n\r\n", ""),
    ] {
        assert!(rule(text).contains(expected), "{text:?} gives {:?}", rule(text));
    }
    let fields = |count| format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert!(whole(&fields(MAX_FIELDS)).unwrap().is_some());
    assert!(rule(&fields(MAX_FIELDS + 1)).contains("100 fields"));
}

#[test]
fn the_limit_of_a_head_is_exact() {
    let text = |size: usize| format!("HTTP/1.1 200 OK\r\na: {}\r\n\r\n", "x".repeat(size - 24));
    assert!(whole(&text(LIMIT)).unwrap().is_some());
    assert_eq!(whole(&text(LIMIT + 1)).unwrap_err(), Malformed::TooLarge);
    let endless = format!("HTTP/1.1 200 OK\r\na: {}", "x".repeat(LIMIT));
    assert_eq!(whole(&endless).unwrap_err(), Malformed::TooLarge);
    assert!(whole(&endless[..LIMIT]).unwrap().is_none());
}

proptest! {
    #[test]
    fn no_bytes_make_the_readers_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = head(&mut Bytes::from(bytes.clone()), LIMIT, false, &mut HeaderMap::new());
        let text = [b"HTTP/1.1 200 OK\r\n", &bytes[..], b"\r\n\r\n"].concat();
        let _ = head(&mut Bytes::from(text), LIMIT, false, &mut HeaderMap::new());
    }
}
