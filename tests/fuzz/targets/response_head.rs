//! The head of an answer and how its body is delimited, read by us and by hyper.

use bytes::Bytes;
use http::StatusCode;
use switchback::upstream::read_head;
use switchback::wire::http1::Content;

use super::body::read_however_cut;
use super::by_hyper;

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
    let read = read_however_cut(|| Content::of_answer(length), &input);
    by_hyper::agrees(read, by_hyper::response(data), |parts| {
        assert_eq!((answer.status(), answer.version()), (parts.status, parts.version));
        assert_eq!(by_hyper::without_lengths(answer.headers()), by_hyper::without_lengths(&parts.headers));
    });
}
