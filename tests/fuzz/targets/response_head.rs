//! The head of an answer and how its body is delimited, read by us and by hyper.

use bytes::Bytes;
use http::StatusCode;
use switchback::upstream::read_head;

use super::body::{Read, read_however_cut};
use super::by_hyper;
use super::request_head::{allowed, without_lengths};

const MAX_HEAD: usize = 64 * 1024;

pub fn run(data: &[u8]) {
    let mut input = Bytes::copy_from_slice(data);
    // Interim answers are passed over, as hyper passes over them.
    let (answer, length) = loop {
        let before = input.len();
        let whole = input.clone();
        match read_head(&mut input, MAX_HEAD, false) {
            Err(_) => return,
            Ok(None) => {
                assert_eq!(input.len(), before, "nothing is taken of half a head");
                return;
            }
            Ok(Some(head)) => {
                let size = before - input.len();
                for cut in [1, 2, 3, 4, size / 2] {
                    let mut part = whole.slice(..size - cut.min(size));
                    let read = read_head(&mut part, MAX_HEAD, false);
                    assert!(matches!(read, Ok(None)), "a part of a good head is read as {read:?}");
                }
                match head.0.status() {
                    StatusCode::SWITCHING_PROTOCOLS => return,
                    status if status.is_informational() => {}
                    _ => break head,
                }
            }
        }
    };
    let read = read_however_cut(length, &input);
    let theirs = by_hyper::response(data);
    match read {
        Read::Whole(body, trailers, _) => {
            let (parts, their) = theirs.expect("hyper refuses an answer that we read");
            assert_eq!((answer.status(), answer.version()), (parts.status, parts.version));
            assert_eq!(without_lengths(answer.headers()), without_lengths(&parts.headers));
            let (their, their_trailers) = their.expect("hyper finds no end of a body that we read");
            assert_eq!(body, their, "the body");
            assert_eq!(trailers, allowed(their_trailers), "the trailers");
        }
        Read::Part(_) => {
            assert!(theirs.is_none_or(|(_, body)| body.is_none()), "hyper finds an end that we do not");
        }
        Read::Broken(_) => {}
    }
}
