//! The head of a request and how its body is delimited. Read by us and by hyper: what both accept
//! is the same request, however it was cut.

use bytes::Bytes;
use http::{Method, Request};
use switchback::net::read_head;
use switchback::wire::http1::{Content, Length};

use super::body::read_however_cut;
use super::by_hyper;

const MAX_HEAD: usize = 64 * 1024;
const MAX_FIELDS: usize = 100;

/// The head, how its body is delimited, and what stands behind it; `None` where it is refused or not
/// whole.
fn ours(data: &[u8]) -> Option<(Request<()>, Length, Bytes)> {
    let mut input = Bytes::copy_from_slice(data);
    let (request, length) = read_head(&mut input, MAX_HEAD, MAX_FIELDS).ok()??;
    Some((request, length, input))
}

pub fn run(data: &[u8]) {
    let Some((request, length, rest)) = ours(data) else { return };
    let size = data.len() - rest.len();
    for cut in [1, 2, 3, 4, size / 2, size * 3 / 4] {
        let mut part = Bytes::copy_from_slice(&data[..size - cut.min(size)]);
        let read = read_head(&mut part, MAX_HEAD, MAX_FIELDS);
        assert!(matches!(read, Ok(None)), "a part of a good head is read as {read:?}");
    }
    let read = read_however_cut(|| Content::of_request(length), &rest);
    if request.method() == Method::CONNECT {
        return;
    }
    by_hyper::agrees(read, by_hyper::request(data), |parts| {
        let ours = (request.method(), request.uri(), request.version());
        assert_eq!(ours, (&parts.method, &parts.uri, parts.version));
        assert_eq!(by_hyper::without_lengths(request.headers()), by_hyper::without_lengths(&parts.headers));
    });
}
