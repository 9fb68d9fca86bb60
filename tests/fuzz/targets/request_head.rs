//! The head of a request and how its body is delimited. Read by us and by hyper: what both accept
//! is the same request, however it was cut.

use bytes::Bytes;
use http::header::CONTENT_LENGTH;
use http::{HeaderMap, Method, Request};
use switchback::net::read_head;
use switchback::wire::http1::{Length, is_forbidden_trailer};

use super::body::{Read, read_however_cut};
use super::by_hyper;

pub const MAX_HEAD: usize = 64 * 1024;
pub const MAX_FIELDS: usize = 100;

/// The head, how its body is delimited, and what stands behind it.
pub type Head = (Request<()>, Length, Bytes);

/// `None` where it is refused or not whole.
pub fn ours(data: &[u8]) -> Option<Head> {
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
    let read = read_however_cut(length, &rest);
    if request.method() == Method::CONNECT {
        return;
    }
    let theirs = by_hyper::request(data);
    match read {
        Read::Whole(body, trailers, _) => {
            let (parts, their) = theirs.expect("hyper refuses a request that we read");
            assert_eq!(
                (request.method(), request.uri(), request.version()),
                (&parts.method, &parts.uri, parts.version)
            );
            assert_eq!(without_lengths(request.headers()), without_lengths(&parts.headers));
            let (their, their_trailers) = their.expect("hyper finds no end of a body that we read");
            assert_eq!(body, their, "the body");
            assert_eq!(trailers, allowed(their_trailers), "the trailers");
        }
        // What we refuse others may read; but nobody may find an end where we wait for more.
        Read::Part(_) => {
            assert!(theirs.is_none_or(|(_, body)| body.is_none()), "hyper finds an end that we do not");
        }
        Read::Broken(_) => {}
    }
}

/// A length that stands twice is one length.
pub fn without_lengths(headers: &HeaderMap) -> HeaderMap {
    let mut headers = headers.clone();
    headers.remove(CONTENT_LENGTH);
    headers
}

/// Trailers that we would pass on.
pub fn allowed(trailers: HeaderMap) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in &trailers {
        if !is_forbidden_trailer(name) {
            kept.append(name, value.clone());
        }
    }
    kept
}
