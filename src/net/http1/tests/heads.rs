//! Heads without a socket: what is read, and what is refused.

use bytes::Bytes;
use http::Request;
use proptest::prelude::*;

use super::super::decode::{Head, head};
use crate::base::{Fault, FaultKind};
use crate::wire::http1::Length;

const LIMIT: usize = 4096;

fn read(text: &[u8]) -> Result<Option<Head>, Fault> {
    head(&mut Bytes::copy_from_slice(text), LIMIT, 100, &mut Request::new(()))
}

#[test]
fn a_head_is_read_and_its_values_share_what_was_read() {
    let mut input = Bytes::from_static(
        b"\r\nPOST /a?b HTTP/1.1\r\nHost: x\r\nX-A: b \r\ncookie: 1\r\nCookie: 2\r\nContent-Length: 3\r\n\r\nabc",
    );
    let begin = input.as_ptr().addr();
    let mut request = Request::new(());
    let head = head(&mut input, LIMIT, 100, &mut request).unwrap().unwrap();
    assert_eq!((request.method().as_str(), request.uri().to_string().as_str()), ("POST", "/a?b"));
    assert_eq!(request.headers()["x-a"], "b");
    assert_eq!(request.headers()["x-a"].as_bytes().as_ptr().addr() - begin, 36);
    assert_eq!(request.headers().get_all("cookie").iter().collect::<Vec<_>>(), ["1", "2"]);
    assert_eq!((head.length, input), (Length::Known(3), Bytes::from("abc")));
}

#[test]
fn the_connection_and_the_framing_are_by_the_letter() {
    for (first, fields, keep, length) in [
        ("GET / HTTP/1.1", "", true, Length::Known(0)),
        ("GET / HTTP/1.1", "connection: a,close\r\n", false, Length::Known(0)),
        ("GET / HTTP/1.0", "", false, Length::Known(0)),
        ("GET / HTTP/1.0", "connection: Keep-Alive\r\n", true, Length::Known(0)),
        ("GET / HTTP/1.0", "connection: keep-alive, close\r\n", false, Length::Known(0)),
        ("POST / HTTP/1.1", "content-length: 5\r\ncontent-length: 5\r\n", true, Length::Known(5)),
        ("POST / HTTP/1.1", "Transfer-Encoding: Chunked\r\n", true, Length::Chunked),
    ] {
        let head = read(format!("{first}\r\n{fields}\r\n").as_bytes()).unwrap().unwrap();
        assert_eq!((head.ask.keep_alive, head.length), (keep, length), "{first} {fields}");
    }
    let expects = |first: &str, fields: &str| {
        read(format!("{first}\r\nexpect: 100-continue\r\n{fields}\r\n").as_bytes()).unwrap().unwrap().expects
    };
    assert!(expects("POST / HTTP/1.1", "content-length: 1\r\n"));
    assert!(!expects("POST / HTTP/1.1", "content-length: 0\r\n"));
    assert!(!expects("POST / HTTP/1.0", "content-length: 1\r\n"));
}

#[test]
fn a_fragment_is_refused_and_not_cut_off() {
    for target in ["/a#b", "/a?b#c", "#", "http://x/a#b"] {
        let fault = read(format!("GET {target} HTTP/1.1\r\n\r\n").as_bytes()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::BadRequest, "{target}");
    }
}

#[test]
fn what_readers_could_differ_on_is_refused() {
    let first = "POST / HTTP/1.1\r\n";
    for fields in [
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: 5, 5\r\n",
        "content-length: +5\r\n",
        "content-length:\r\n",
        "content-length: 18446744073709551616\r\n",
        "content-length: 5\r\ntransfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "content-length : 5\r\n",
        " content-length: 5\r\n",
        "a: b\r\n c\r\n",
        "a: b\0c\r\n",
        "a: b\rc\r\n",
        "a: b\n",
        "a\r\n",
        ": b\r\n",
    ] {
        let fault = read(format!("{first}{fields}\r\n").as_bytes()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::BadRequest, "{fields:?}");
    }
    for coding in ["gzip", "gzip, chunked", "chunked, gzip", "chunked\r\ntransfer-encoding: chunked", "x"] {
        let fault = read(format!("{first}transfer-encoding: {coding}\r\n\r\n").as_bytes()).unwrap_err();
        assert_eq!(fault.kind, FaultKind::NotImplemented, "{coding:?}");
    }
    for text in [
        "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\n\n",
        "GET / HTTP/1.1\r\n\n",
        "GET  / HTTP/1.1\r\n\r\n",
        "GET / HTTP/2.0\r\n\r\n",
        "GET /\x01 HTTP/1.1\r\n\r\n",
        "GET\t/ HTTP/1.1\r\n\r\n",
        "\x16\x03\x01",
    ] {
        assert_eq!(read(text.as_bytes()).unwrap_err().kind, FaultKind::BadRequest, "{text:?}");
    }
}

#[test]
fn the_limits_are_exact() {
    let text = |size: usize| format!("GET / HTTP/1.1\r\na: {}\r\n\r\n", "x".repeat(size - 23));
    assert!(read(text(LIMIT).as_bytes()).unwrap().is_some());
    assert_eq!(read(text(LIMIT + 1).as_bytes()).unwrap_err().kind, FaultKind::HeadersTooLarge);
    let endless = format!("GET / HTTP/1.1\r\na: {}", "x".repeat(LIMIT));
    assert_eq!(read(endless.as_bytes()).unwrap_err().kind, FaultKind::HeadersTooLarge);
    assert!(read(&endless.as_bytes()[..LIMIT]).unwrap().is_none());
    let fields = |count| format!("GET / HTTP/1.1\r\n{}\r\n", "a: b\r\n".repeat(count));
    assert!(read(fields(100).as_bytes()).unwrap().is_some());
    assert_eq!(read(fields(101).as_bytes()).unwrap_err().kind, FaultKind::HeadersTooLarge);
}

proptest! {
    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = read(&bytes);
        let _ = read(&[b"GET / HTTP/1.1\r\n", &bytes[..], b"\r\n\r\n"].concat());
    }

    /// However much of a head is there, it is not yet whole, or refused for what it has.
    #[test]
    fn a_part_of_a_head_is_no_head(cut in 0usize..60) {
        let text = b"POST /a HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\na: b\r\n\r\n";
        let read = read(&text[..cut.min(text.len())]).unwrap();
        prop_assert_eq!(read.is_some(), cut >= text.len());
    }
}
