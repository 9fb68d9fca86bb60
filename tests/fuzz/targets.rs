//! What is fuzzed: one function for each reader of bytes that strangers send. Each must not panic
//! whatever it is given, and holds what it read to what must be true of it.

use std::path::Path;

use bytes::Bytes;
use http::Version;
use switchback::inference::answer::{self, Limits, RawAnswer};
use switchback::inference::{path, peek, v1, v2_json};
use switchback::net::DownstreamSpec;
use switchback::wire::http1::{Chunked, Next};
use switchback::wire::hygiene;
use switchback::{config, net, upstream};

/// A target's name and what it does.
pub type Target = (&'static str, fn(&[u8]));

/// Every target.
pub const ALL: &[Target] = &[
    ("request_head", request_head),
    ("response_head", response_head),
    ("chunked", chunked),
    ("config", config),
    ("answer", answer),
    ("request_body", request_body),
];

/// The first head that is read of `bytes` when they come in pieces of `piece` bytes, and what is left.
fn in_pieces<T>(
    bytes: &[u8],
    piece: usize,
    mut read: impl FnMut(&mut Bytes) -> Option<Result<T, String>>,
) -> Option<Result<(T, usize), String>> {
    for end in (0..bytes.len()).step_by(piece.max(1)).skip(1).chain([bytes.len()]) {
        let mut input = Bytes::copy_from_slice(&bytes[..end]);
        if let Some(found) = read(&mut input) {
            return Some(found.map(|found| (found, end - input.len())));
        }
    }
    None
}

/// The head of a request, as a connection reads it, then hygiene.
pub fn request_head(bytes: &[u8]) {
    let spec = DownstreamSpec { header_bytes: 8 * 1024, ..DownstreamSpec::default() };
    let mut read = |input: &mut Bytes| match net::read_head(input, &spec) {
        Ok(None) => None,
        Ok(Some(request)) => Some(Ok(request)),
        Err(fault) => Some(Err(fault.kind.reason().to_owned())),
    };
    let whole = in_pieces(bytes, bytes.len(), &mut read);
    let pieces = in_pieces(bytes, 7, &mut read);
    match (&whole, &pieces) {
        (Some(Ok((a, used))), Some(Ok((b, used_too)))) => {
            assert_eq!((a.method(), a.uri(), a.version()), (b.method(), b.uri(), b.version()));
            assert_eq!((a.headers(), used), (b.headers(), used_too));
        }
        // A refusal may come earlier than the whole would have told, but it is one in both.
        (Some(Err(_)), Some(Err(_))) | (None, None) => {}
        (whole, pieces) => panic!("at once {}, in pieces {}", said(whole), said(pieces)),
    }
    if let Some(Ok((request, _))) = whole {
        let mut parts = request.into_parts().0;
        if hygiene::request(&mut parts).is_ok() {
            let hosts = parts.headers.get_all("host").iter().count();
            assert!(hosts <= 1, "several hosts pass");
            assert!(!parts.headers.contains_key("transfer-encoding"), "a coding passes");
            assert!(parts.headers.get_all("content-length").iter().count() <= 1, "several lengths pass");
            for (name, value) in &parts.headers {
                let clean = value.as_bytes().iter().all(|byte| !matches!(byte, b'\r' | b'\n' | 0));
                assert!(clean, "{name} passes with a control character");
            }
        }
    }
}

fn said<T>(found: &Option<Result<T, String>>) -> &str {
    match found {
        None => "incomplete",
        Some(Ok(_)) => "accepted",
        Some(Err(reason)) => reason,
    }
}

/// The head of an answer, as a pool reads it, then hygiene.
pub fn response_head(bytes: &[u8]) {
    let mut read = |input: &mut Bytes| match upstream::read_head(input, 8 * 1024) {
        Ok(None) => None,
        Ok(Some(response)) => Some(Ok(response)),
        Err(fault) => Some(Err(fault.kind.reason().to_owned())),
    };
    let whole = in_pieces(bytes, bytes.len(), &mut read);
    let pieces = in_pieces(bytes, 7, &mut read);
    match (&whole, &pieces) {
        (Some(Ok((a, used))), Some(Ok((b, used_too)))) => {
            assert_eq!((a.status(), a.headers(), used), (b.status(), b.headers(), used_too));
        }
        (Some(Err(_)), Some(Err(_))) | (None, None) => {}
        (whole, pieces) => panic!("at once {}, in pieces {}", said(whole), said(pieces)),
    }
    if let Some(Ok((response, _))) = whole {
        let mut parts = response.into_parts().0;
        if hygiene::response(&mut parts, Version::HTTP_2).is_ok() {
            for name in ["transfer-encoding", "connection", "keep-alive"] {
                assert!(!parts.headers.contains_key(name) || parts.status == 101, "{name} passes");
            }
        }
    }
}

/// A chunked body, in pieces.
pub fn chunked(bytes: &[u8]) {
    let run = |piece: usize| {
        let (mut chunks, mut content, mut rest) = (Chunked::default(), Vec::new(), Bytes::new());
        for piece in bytes.chunks(piece.max(1)) {
            rest = Bytes::from([&rest[..], piece].concat());
            loop {
                match chunks.next(&mut rest, 1024) {
                    Ok(Next::Content) => content.extend_from_slice(&chunks.take(&mut rest)),
                    Ok(Next::Unknown) => break,
                    Ok(Next::Trailers(_) | Next::End) => return (content, "end"),
                    Err(_) => return (content, "refused"),
                }
            }
        }
        (content, "more")
    };
    let (whole, pieces) = (run(bytes.len()), run(3));
    assert_eq!(whole, pieces);
    assert!(whole.0.len() <= bytes.len());
}

/// A configuration.
pub fn config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(errors) = config::parse(text, Path::new("/nowhere")) {
        assert!(!errors.problems.is_empty());
        assert!(errors.problems.iter().all(|problem| !problem.to_string().contains('\n')), "{errors}");
    }
}

/// An answer of a model server, by whichever protocol the first byte says.
pub fn answer(bytes: &[u8]) {
    let Some((kind, body)) = bytes.split_first() else { return };
    let (target, content_type) = [
        ("/v2/models/m/infer", "application/json"),
        ("/v2/models/m/infer", "application/octet-stream"),
        ("/v1/models/m:predict", "application/json"),
        ("/v1/chat/completions", "application/json"),
        ("/v1/chat/completions", "text/event-stream"),
        ("/v1/embeddings", "application/json"),
        ("/inference.GRPCInferenceService/ModelInfer", "application/grpc"),
        ("/x", "text/plain"),
    ][usize::from(*kind) % 8];
    let encoding = [None, None, None, Some("gzip"), Some("br"), Some("zstd"), Some("deflate"), Some("gzip, br")]
        [usize::from(*kind) / 8 % 8];
    let raw = RawAnswer {
        api: path::parse(target),
        status: 200,
        grpc: target.starts_with("/inference").then_some(0),
        content_type: Some(content_type),
        content_encoding: encoding,
        inference_header_length: (*kind >= 128).then_some(body.len() / 2),
        body,
        chunk_times: &[],
    };
    let limits = Limits { decoded_bytes: 1 << 20, ..Limits::default() };
    let read = answer::read(&raw, &limits);
    assert_eq!(read.status, 200);
}

/// The body of a request: inference as data, and names that are looked for ahead.
pub fn request_body(bytes: &[u8]) {
    let _ = v2_json::decode(bytes);
    let _ = v1::decode(bytes, &[]);
    if let Ok(target) = std::str::from_utf8(bytes)
        && target.starts_with('/')
    {
        let _ = path::parse(target);
    }
    for target in ["/v1/chat/completions", "/inference.GRPCInferenceService/ModelInfer"] {
        let need = peek::Need::model_of(&path::parse(target));
        let run = |piece: usize| {
            let mut peek = peek::Peek::new(&need, 1024);
            for piece in bytes.chunks(piece.max(1)) {
                if let peek::Peeked::Done(found) = peek.push(&Bytes::copy_from_slice(piece)) {
                    return found;
                }
            }
            peek.finish()
        };
        assert_eq!(run(bytes.len()), run(5), "{target}");
    }
}
