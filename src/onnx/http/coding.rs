//! Compression of bodies on their way in and out.
//!
//! Requests may come in any coding that the project reads. Answers are compressed for a client that
//! asks for one coding and nothing else, as an inference client does when its user says so: HTTP
//! libraries list every coding they know by default, and beside a sidecar bytes are cheaper than the
//! time it takes to compress them.

use std::borrow::Cow;
use std::io::Write as _;

use bytes::Bytes;
use flate2::Compression;
use flate2::write::{GzEncoder, ZlibEncoder};
use http::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_TYPE, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};

use super::refusal::Refusal;
use crate::base::{Fault, FaultKind};
use crate::inference::content::{self, ContentError};
use crate::inference::v2_json::Encoded;

/// What request bodies may come in.
const READ: HeaderValue = HeaderValue::from_static("gzip, deflate, br, zstd, identity");
/// Answers shorter than this, in bytes, are left as they are.
const WORTH_IT: usize = 1024;

/// Names of the codings of a request's body, where it has any; the body's length is judged here.
pub(super) fn of_request(headers: &HeaderMap, body: &Bytes, limit: usize) -> Result<Option<String>, Fault> {
    if body.len() > limit {
        let detail = format!("the request body has {} bytes, the limit is {limit}", body.len());
        return Err(Fault::new(FaultKind::PayloadTooLarge, detail));
    }
    let mut names = String::new();
    for value in headers.get_all(CONTENT_ENCODING) {
        for name in String::from_utf8_lossy(value.as_bytes()).split(',').map(str::trim) {
            if !name.is_empty() && !name.eq_ignore_ascii_case("identity") {
                names.push_str(if names.is_empty() { "" } else { "," });
                names.push_str(name);
            }
        }
    }
    Ok((!names.is_empty()).then_some(names))
}

/// The body without its codings.
pub(super) fn undo<'a>(
    coding: Option<&str>,
    body: &'a Bytes,
    limit: usize,
) -> Result<Cow<'a, [u8]>, Refusal> {
    content::decode(coding, body, limit).map_err(|error| match error {
        ContentError::Limit(_) => {
            let detail = format!("the request body is longer than {limit} bytes when decompressed");
            Fault::new(FaultKind::PayloadTooLarge, detail).into()
        }
        // RFC 9110 section 15.5.16: Accept-Encoding says that the coding was the reason.
        ContentError::Unknown(_) | ContentError::Codings => Refusal {
            status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
            header: Some((ACCEPT_ENCODING, READ)),
            fault: Fault::new(FaultKind::BadRequest, format!("the request body: {error}")),
        },
        broken @ ContentError::Broken { .. } => {
            Fault::new(FaultKind::BadRequest, format!("the request {broken}")).into()
        }
    })
}

/// How an answer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Packing {
    Gzip,
    Deflate,
}

/// The coding that a client asks for, if it names one and nothing else.
pub(super) fn for_answer(headers: &HeaderMap) -> Option<Packing> {
    let mut values = headers.get_all(ACCEPT_ENCODING).iter();
    let (only, more) = (values.next()?, values.next());
    let name = only.to_str().ok().filter(|_| more.is_none())?.trim();
    if name.eq_ignore_ascii_case("gzip") {
        Some(Packing::Gzip)
    } else {
        name.eq_ignore_ascii_case("deflate").then_some(Packing::Deflate)
    }
}

/// An answer's body and what its head says of it.
#[derive(Debug)]
pub(super) struct Packed {
    body: Vec<u8>,
    json: Option<usize>,
    packing: Option<Packing>,
}

/// Compresses an answer where that is asked for and worth it.
pub(super) fn pack(packing: Option<Packing>, encoded: Encoded) -> Packed {
    let Encoded { body, json } = encoded;
    let packing = packing.filter(|_| body.len() >= WORTH_IT);
    let packed = packing.and_then(|packing| {
        let room = Vec::with_capacity(body.len() / 2);
        match packing {
            Packing::Gzip => {
                let mut to = GzEncoder::new(room, Compression::fast());
                to.write_all(&body).and_then(|()| to.finish())
            }
            Packing::Deflate => {
                let mut to = ZlibEncoder::new(room, Compression::fast());
                to.write_all(&body).and_then(|()| to.finish())
            }
        }
        .ok()
    });
    match packed {
        Some(packed) => Packed { body: packed, json, packing },
        None => Packed { body, json, packing: None },
    }
}

impl Packed {
    pub(super) fn into_response(self) -> Response<Bytes> {
        let mut response = Response::new(Bytes::from(self.body));
        let headers = response.headers_mut();
        let kind = if self.json.is_some() { "application/octet-stream" } else { "application/json" };
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        if let Some(length) = self.json {
            headers.insert(super::BINARY_HEADER.clone(), HeaderValue::from(length));
        }
        if let Some(packing) = self.packing {
            let name = if packing == Packing::Gzip { "gzip" } else { "deflate" };
            headers.insert(CONTENT_ENCODING, HeaderValue::from_static(name));
            headers.insert(VARY, HeaderValue::from_static("accept-encoding"));
        }
        response
    }
}
