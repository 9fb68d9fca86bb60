//! Requests and answers as clients and servers send them, whole and cut at any byte.

use bytes::{BufMut, Bytes, BytesMut};
use http::{Method, Request, Response, request, response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt, Full};
use proptest::prelude::*;

use super::*;
use crate::base::{Fault, FaultKind};
use crate::inference::protobuf::put_field;

fn spec(model: &str, version: &str) -> RewriteSpec {
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    RewriteSpec { model: some(model), model_version: some(version), ..RewriteSpec::default() }
}

fn rewriter(model: &str, version: &str) -> Rewriter {
    Rewriter::new(&spec(model, version)).unwrap()
}

fn post(path: &str, headers: &[(&'static str, &str)]) -> request::Parts {
    let mut request = Request::builder().method(Method::POST).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn answer(headers: &[(&'static str, &str)]) -> response::Parts {
    let mut response = Response::builder();
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    response.body(()).unwrap().into_parts().0
}

/// What comes out when `body` goes in in pieces cut at `cuts`.
fn run(mut editor: Editor, body: &[u8], cuts: &[usize]) -> Result<Vec<u8>, Fault> {
    let (mut out, mut start) = (Vec::new(), 0);
    for end in cuts.iter().copied().chain([body.len()]) {
        editor.push(Bytes::copy_from_slice(&body[start..end]))?;
        start = end;
        while let Some(piece) = editor.pop() {
            out.extend_from_slice(&piece);
        }
    }
    editor.finish();
    while let Some(piece) = editor.pop() {
        out.extend_from_slice(&piece);
    }
    assert_eq!(editor.queued(), 0);
    Ok(out)
}

/// The output, the same for the whole and for every cut in two and for single bytes.
fn edited(make: impl Fn() -> Editor, body: &[u8]) -> String {
    let whole = run(make(), body, &[]).unwrap();
    for cut in 0..=body.len() {
        assert_eq!(run(make(), body, &[cut]).unwrap(), whole, "cut at {cut}");
    }
    assert_eq!(run(make(), body, &(1..body.len().max(1)).collect::<Vec<_>>()).unwrap(), whole);
    String::from_utf8_lossy(&whole).into_owned()
}

/// An OpenAI exchange for client name `asked` at a server that says `served`: the editor of its
/// answer with `headers`, whose head is returned as well.
fn openai_answer(asked: &str, headers: &[(&'static str, &str)]) -> (Option<Editor>, response::Parts) {
    let mut parts = post("/v1/chat/completions", &[("content-type", "application/json")]);
    let edits = rewriter("fraud-v2", "").request(&mut parts).unwrap();
    let body = format!(r#"{{"model":{asked},"messages":[]}}"#);
    run(edits.body.unwrap(), body.as_bytes(), &[]).unwrap();
    let mut head = answer(headers);
    (edits.restore.unwrap().response(&mut head), head)
}

// === heads ===

#[test]
fn paths_get_the_names_of_the_server() {
    let path = |r: &Rewriter, path: &str| {
        let mut parts = post(path, &[]);
        r.request(&mut parts).unwrap();
        parts.uri.to_string()
    };
    let (both, model, version) = (rewriter("org/f 2", "7"), rewriter("f2", ""), rewriter("", "7"));
    for (from, want) in [
        ("/v2/models/fraud/infer?a=b%2F", "/v2/models/org%2Ff%202/versions/7/infer?a=b%2F"),
        ("/v2/models/fraud/versions/1/infer", "/v2/models/org%2Ff%202/versions/7/infer"),
        ("/v2/models/fraud", "/v2/models/org%2Ff%202/versions/7"),
        ("/v1/models/fraud:predict", "/v1/models/org%2Ff%202/versions/7:predict"),
        ("/v1/models/fraud/labels/x:predict", "/v1/models/org%2Ff%202/versions/7:predict"),
        ("/v2/health/ready", "/v2/health/ready"),
        ("/v2/repository/models/fraud/load", "/v2/repository/models/fraud/load"),
        ("http://h:1/v2/models/fraud", "http://h:1/v2/models/org%2Ff%202/versions/7"),
    ] {
        assert_eq!(path(&both, from), want);
    }
    assert_eq!(path(&model, "/v2/models/fraud/versions/1/ready"), "/v2/models/f2/versions/1/ready");
    assert_eq!(path(&model, "/v1/models/fraud/labels/x:predict"), "/v1/models/f2/labels/x:predict");
    assert_eq!(path(&version, "/v2/models/a%20b/infer"), "/v2/models/a%20b/versions/7/infer");
}

#[test]
fn prefixes_are_replaced_by_whole_segments_before_names() {
    let case = |from: &str, to: &str, path: &str| {
        let path_prefix = Some(PathPrefix { from: from.into(), to: to.into() });
        let rewriter = Rewriter::new(&RewriteSpec { path_prefix, ..spec("f2", "") }).unwrap();
        let mut parts = post(path, &[]);
        rewriter.request(&mut parts).unwrap();
        parts.uri.to_string()
    };
    assert_eq!(case("/score", "/v3/score", "/score/x?q=1"), "/v3/score/x?q=1");
    assert_eq!(case("/score", "/v3/score", "/scores"), "/scores");
    assert_eq!(case("/score/", "/", "/score"), "/");
    assert_eq!(case("/", "/api/", "/x"), "/api/x");
    assert_eq!(case("/api", "/", "/api/v2/models/f/infer"), "/v2/models/f2/infer");
}

#[test]
fn host_and_headers_are_set_and_removed() {
    let spec = RewriteSpec {
        host: Some("fraud.svc:80".into()),
        set_headers: vec![("x-a".parse().unwrap(), "1".parse().unwrap()); 2],
        remove_headers: vec!["x-c".parse().unwrap()],
        ..RewriteSpec::default()
    };
    let mut parts = post("http://old/score", &[("host", "old"), ("x-a", "0"), ("x-c", "1"), ("x-d", "2")]);
    let edits = Rewriter::new(&spec).unwrap().request(&mut parts).unwrap();
    assert!(edits.body.is_none() && edits.restore.is_none());
    assert_eq!(parts.uri, "http://fraud.svc:80/score");
    assert_eq!(parts.headers["host"], "fraud.svc:80");
    assert_eq!(parts.headers.get_all("x-a").iter().collect::<Vec<_>>(), ["1", "1"]);
    assert!(!parts.headers.contains_key("x-c") && parts.headers["x-d"] == "2");
}

#[test]
fn mistakes_name_the_key_and_the_fix() {
    let says = |spec: RewriteSpec| Rewriter::new(&spec).unwrap_err().to_string();
    assert!(says(spec("..", "")).starts_with("rewrite.model: \"..\""));
    assert!(says(spec("", "\n")).starts_with("rewrite.modelVersion:"));
    let prefix = |from: &str, to: &str| RewriteSpec {
        path_prefix: Some(PathPrefix { from: from.into(), to: to.into() }),
        ..RewriteSpec::default()
    };
    assert!(says(prefix("score", "/")).starts_with("rewrite.pathPrefix.from:"));
    assert!(says(prefix("/score", "/a?b")).starts_with("rewrite.pathPrefix.to:"));
    for host in ["", "a b", "u@h", "http://h"] {
        let spec = RewriteSpec { host: Some(host.into()), ..RewriteSpec::default() };
        assert!(says(spec).starts_with("rewrite.host:"), "{host}");
    }
    let framing =
        RewriteSpec { remove_headers: vec![http::header::CONTENT_LENGTH], ..RewriteSpec::default() };
    assert!(says(framing).contains("content-length"));
    assert!(Rewriter::new(&RewriteSpec::default()).unwrap().is_noop());
    assert!(!rewriter("a", "").is_noop());
}

#[test]
fn answers_that_are_put_back_are_asked_for_uncompressed() {
    let mut parts = post("/v2/models/fraud/infer", &[("accept-encoding", "gzip")]);
    assert!(rewriter("f2", "").request(&mut parts).unwrap().restore.is_some());
    assert_eq!(parts.headers["accept-encoding"], "identity");
    let mut parts = post("/v2/models/f2/infer", &[("accept-encoding", "gzip")]);
    assert!(rewriter("f2", "").request(&mut parts).unwrap().restore.is_none());
    assert_eq!(parts.headers["accept-encoding"], "gzip");
    let mut parts = post("/v2/models/fraud", &[]);
    parts.method = Method::HEAD;
    assert!(rewriter("f2", "").request(&mut parts).unwrap().restore.is_none());
}

// === JSON ===

#[test]
fn the_openai_model_is_replaced_and_the_declared_length_stays_exact() {
    let body = br#"{ "messages":[{"model":"no"}], "model" : "fra\u0075d", "n":1.0 , "model":"x"}"#;
    let length = body.len().to_string();
    let make = |headers: &[(&'static str, &str)]| {
        let mut parts = post("/v1/completions", headers);
        let editor = rewriter("fraud-version-2", "").request(&mut parts).unwrap().body.unwrap();
        (editor, parts)
    };
    let want =
        r#"{ "messages":[{"model":"no"}], "model" : "fraud-version-2", "n":1.0 , "model":"fraud-version-2"}"#;
    let chunked = || make(&[("content-type", "application/json")]).0;
    assert_eq!(edited(chunked, body), want);
    assert_eq!(chunked().edit_complete(Bytes::from_static(body)).unwrap(), want);

    let declared = [("content-length", length.as_str()), ("content-digest", "x")];
    let (editor, parts) = make(&declared);
    let out = edited(|| make(&declared).0, body);
    assert_eq!(parts.headers["content-length"], out.len().to_string());
    assert_eq!(editor.growth(), Some((out.len() - body.len()) as u64));
    assert!(!parts.headers.contains_key("content-digest"));
    // The second key finds less room than it needs only when names are longer than foreseen.
    assert!(serde_json::from_str::<serde_json::Value>(&out).is_ok());
    assert_eq!(make(&declared).0.edit_complete(Bytes::from_static(body)).unwrap(), want);
}

#[test]
fn bodies_without_a_model_to_replace_pass_untouched() {
    let make = || {
        let mut parts = post("/v1/completions", &[]);
        rewriter("f2", "").request(&mut parts).unwrap().body.unwrap()
    };
    let long = format!("{{\"model\":\"{}\"}}", "x".repeat(5000));
    for body in
        ["", "{}", "{\"model\":null}", "{\"model\":\"cut", "[{\"model\":\"a\"}]", "\u{1f}\u{8b}", &long]
    {
        assert_eq!(run(make(), body.as_bytes(), &[]).unwrap(), body.as_bytes());
        assert_eq!(run(make(), body.as_bytes(), &[body.len() / 2]).unwrap(), body.as_bytes());
    }
    let mut parts = post("/v1/completions", &[("content-encoding", "gzip")]);
    let fault = rewriter("f2", "").request(&mut parts).map(|_| ()).unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotImplemented);
}

#[test]
fn v2_answers_are_put_back_to_what_the_client_asked() {
    let restore = |path: &str| {
        let mut parts = post(path, &[]);
        rewriter("fraud-v2", "7").request(&mut parts).unwrap().restore.unwrap()
    };
    let out = |path: &str, body: &str| {
        edited(|| restore(path).response(&mut answer(&[])).unwrap(), body.as_bytes())
    };
    let infer = r#"{"model_name":"fraud-v2","model_version":"7","outputs":[{"name":"fraud-v2","data":[1]}]}"#;
    assert_eq!(
        out("/v2/models/caf%C3%A9/versions/1/infer", infer),
        infer.replacen("fraud-v2", "café", 1).replace("\"7\"", "\"1\"")
    );
    assert_eq!(out("/v2/models/fraud/infer", infer), infer.replacen("fraud-v2", "fraud", 1));
    let about = r#"{"name":"fraud-v2","versions":["7"],"inputs":[{"name":"x"}]}"#;
    assert_eq!(out("/v2/models/fraud", about), about.replacen("fraud-v2", "fraud", 1));
    let v1 =
        r#"{"model_spec":{"name":"fraud-v2","signature_name":"","version":"7"},"metadata":{"name":"x"}}"#;
    assert_eq!(
        out("/v1/models/fraud/versions/1/metadata", v1),
        v1.replace("fraud-v2", "fraud").replace("\"7\"", "\"1\"")
    );
    let events = "data: {\"model_name\":\"fraud-v2\",\"text_output\":\"a\"}\n\n";
    let sse = || {
        let mut head = answer(&[("content-type", "text/event-stream")]);
        restore("/v2/models/fraud/generate_stream").response(&mut head).unwrap()
    };
    assert_eq!(edited(sse, events.as_bytes()), events.replace("fraud-v2", "fraud"));
}

#[test]
fn the_head_of_a_binary_answer_is_put_back_with_both_lengths_right() {
    let json = r#"{"model_name":"m-2","outputs":[{"name":"y","parameters":{"binary_data_size":9}}]}"#;
    let tensor = br#""model":"}"#;
    let body = [json.as_bytes(), tensor].concat();
    let mut parts = post("/v2/models/a-much-longer-name/infer", &[]);
    let restore = rewriter("m-2", "").request(&mut parts).unwrap().restore.unwrap();
    let (head_length, length) = (json.len().to_string(), body.len().to_string());
    let headers = [
        ("content-type", "application/octet-stream"),
        ("inference-header-content-length", head_length.as_str()),
        ("content-length", length.as_str()),
        ("etag", "\"x\""),
    ];
    let mut head = answer(&headers);
    restore.response(&mut head).unwrap();
    let number = |name: &str| head.headers[name].to_str().unwrap().parse::<usize>().unwrap();
    let out = edited(|| restore.response(&mut answer(&headers)).unwrap(), &body);
    assert_eq!(number("content-length"), out.len());
    let (text, rest) = out.split_at(number("inference-header-content-length"));
    assert_eq!(rest.as_bytes(), tensor);
    assert_eq!(text.trim_end(), json.replace("m-2", "a-much-longer-name"));
    assert!(!head.headers.contains_key("etag"));
}

#[test]
fn answers_that_cannot_be_edited_keep_head_and_body() {
    for headers in [
        &[("content-encoding", "gzip"), ("etag", "x"), ("content-length", "9")][..],
        &[("content-type", "text/html"), ("etag", "x"), ("content-length", "9")],
        &[("content-type", "application/grpc"), ("etag", "x"), ("content-length", "9")],
        &[("content-range", "bytes 0-1/9"), ("etag", "x"), ("content-length", "9")],
        &[("content-type", "application/json"), ("etag", "x"), ("content-length", "0")],
    ] {
        let (editor, head) = openai_answer("\"fraud\"", headers);
        assert!(editor.is_none(), "{headers:?}");
        assert_eq!(head.headers, answer(headers).headers);
    }
}

// === server-sent events ===

#[test]
fn every_event_of_an_openai_stream_is_put_back() {
    let openai = concat!(
        ": keep-alive\n\n",
        "data: {\"id\":\"c1\",\"object\":\"chat.completion.chunk\",\"created\":1,\"model\":\"fraud-v2\",",
        "\"choices\":[{\"index\":0,\"delta\":{\"content\":\"\\\"model\\\":\\\"fraud-v2\\\"\"}}]}\n\n",
        "data: {\"id\":\"c1\",\"choices\":[],\"usage\":{\"total_tokens\":3},\"model\":\"fraud-v2\"}\n\n",
        "data: [DONE]\n\n",
    );
    let llama = "data: {\"choices\":[{\"delta\":{}}],\"created\":1,\"model\":\"fraud-v2\",\"timings\":{\"n\":1}}\r\n\r\ndata:[DONE]\r\n\r\n";
    let responses = concat!(
        "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"r\",",
        "\"model\":\"fraud-v2\",\"output\":[]}}\n\n",
        "event: response.output_text.delta\ndata: {\"delta\":\"hi\"}\n\n",
    );
    let multi = "id: 7\rdata: {\"a\":1,\rdata: \"model\":\rdata: \"fraud-v2\"}\rretry: 5\r\r";
    let make = || {
        let (editor, head) = openai_answer(
            "\"fr\\u0061ud\"",
            &[("content-type", "text/event-stream; charset=utf-8"), ("content-length", "9")],
        );
        assert!(!head.headers.contains_key("content-length"));
        editor.unwrap()
    };
    for stream in [openai, llama, responses, multi] {
        // The client's own spelling comes back; text that only looks like a name is kept.
        let want = stream
            .replace("\"model\":\"fraud-v2\"", "\"model\":\"fr\\u0061ud\"")
            .replace("\rdata: \"fraud-v2\"", "\rdata: \"fr\\u0061ud\"");
        assert_ne!(want, stream);
        assert_eq!(edited(make, stream.as_bytes()), want);
    }
    for untouched in [
        "database: {\"model\":\"x\"}\n\n",
        "dat: {\"model\":\"x\"}\n\n",
        "data\n\ndata: {\"model\":\"cut\n\n",
        "data: {\"model\":\"ends here",
        "data: [{\"model\":\"x\"}]\n\n: {\"model\":\"x\"}\n",
    ] {
        assert_eq!(edited(make, untouched.as_bytes()), untouched);
    }
}

#[test]
fn an_event_leaves_as_soon_as_it_has_come() {
    let mut editor = openai_answer("\"fraud\"", &[("content-type", "text/event-stream")]).0.unwrap();
    editor.push(Bytes::from_static(b"data: {\"model\":\"fraud-v2\",\"x\":\"")).unwrap();
    assert_eq!(editor.pop().unwrap(), "data: {\"model\":\"fraud\",\"x\":\"");
    let chunk = Bytes::from_static(b"token\"}\n\n");
    editor.push(chunk.clone()).unwrap();
    let passed = editor.pop().unwrap();
    assert_eq!(passed.as_ptr(), chunk.as_ptr(), "an untouched chunk is not copied");
    assert_eq!(passed, chunk);
}

// === gRPC ===

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = BytesMut::new();
    for (field, value) in fields {
        put_field(&mut out, *field, value);
    }
    out.to_vec()
}

fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut out = vec![flag];
    out.put_u32(u32::try_from(message.len()).unwrap());
    out.extend_from_slice(message);
    out
}

/// Messages of a body as a protobuf parser sees them: of each field the last value, those of
/// sub-message field `merged` joined first.
fn decode(mut body: &[u8], merged: Option<u32>) -> Vec<std::collections::BTreeMap<u32, Vec<u8>>> {
    fn varint(input: &mut &[u8]) -> u64 {
        let (mut value, mut shift) = (0, 0);
        loop {
            let byte = input[0];
            *input = &input[1..];
            value |= u64::from(byte & 0x7f) << shift;
            shift += 7;
            if byte < 0x80 {
                return value;
            }
        }
    }
    fn fields(mut message: &[u8], merged: Option<u32>) -> std::collections::BTreeMap<u32, Vec<u8>> {
        let mut out = std::collections::BTreeMap::<u32, Vec<u8>>::new();
        while !message.is_empty() {
            let tag = varint(&mut message);
            assert_eq!(tag & 7, 2);
            let length = varint(&mut message) as usize;
            let field = (tag >> 3) as u32;
            let value = out.entry(field).or_default();
            if merged != Some(field) {
                value.clear();
            }
            value.extend_from_slice(&message[..length]);
            message = &message[length..];
        }
        out
    }
    let mut out = Vec::new();
    while !body.is_empty() {
        assert_eq!(body[0], 0, "sent uncompressed");
        let length = u32::from_be_bytes(body[1..5].try_into().unwrap()) as usize;
        out.push(fields(&body[5..5 + length], merged));
        body = &body[5 + length..];
    }
    out
}

fn grpc(path: &str, encoding: &str) -> Edits {
    let headers =
        [("content-type", "application/grpc"), ("grpc-encoding", encoding), ("content-length", "5")];
    let mut parts = post(path, &headers);
    let edits = rewriter("fraud-v2", "7").request(&mut parts).unwrap();
    assert!(!parts.headers.contains_key("content-length"));
    assert_eq!(parts.uri, path);
    edits
}

fn all_cuts(make: impl Fn() -> Editor, body: &[u8]) -> Vec<u8> {
    edited(&make, body);
    run(make(), body, &[]).unwrap()
}

#[test]
fn grpc_requests_get_the_names_of_the_server() {
    let body = [
        framed(0, &message(&[(1, b"fraud"), (2, b"1"), (3, b"id"), (7, &[0xff; 300])])),
        framed(0, &message(&[(3, b"id2"), (1, b"other")])),
        framed(0, b""),
    ]
    .concat();
    let got = decode(&all_cuts(|| grpc(STREAM, "identity").body.unwrap(), &body), None);
    assert_eq!(got.len(), 3);
    for one in &got {
        assert_eq!((&one[&1][..], &one[&2][..]), (&b"fraud-v2"[..], &b"7"[..]));
    }
    assert_eq!((&got[0][&7], &got[1][&3][..]), (&vec![0xff; 300], &b"id2"[..]));
    // Methods without a model, and what is not gRPC, pass.
    assert!(grpc_none("/inference.GRPCInferenceService/ServerLive", "application/grpc"));
    assert!(grpc_none("/inference.GRPCInferenceService/RepositoryModelLoad", "application/grpc"));
    assert!(grpc_none(INFER, "application/grpc-web-text"));
}

fn grpc_none(path: &str, kind: &str) -> bool {
    let edits = rewriter("f2", "").request(&mut post(path, &[("content-type", kind)])).unwrap();
    edits.body.is_none() && edits.restore.is_none()
}

#[test]
fn a_large_grpc_message_streams_without_being_held() {
    let tensor = Bytes::from(vec![7; 1 << 20]);
    let mut head = framed(0, &message(&[(1, b"fraud")]));
    head.extend([0x3a, 0x80, 0x80, 0x80, 0x08]); // field 7, 16 MiB
    let length = u32::try_from(head.len() - 5 + (16 << 20)).unwrap();
    head[1..5].copy_from_slice(&length.to_be_bytes());
    let mut editor = grpc(INFER, "identity").body.unwrap();
    let mut total = 0;
    for chunk in std::iter::once(Bytes::from(head)).chain(std::iter::repeat_n(tensor.clone(), 16)) {
        editor.push(chunk.clone()).unwrap();
        assert!(editor.queued() <= chunk.len() + 64);
        while let Some(piece) = editor.pop() {
            assert!(piece.len() < 64 || piece.as_ptr() == tensor.as_ptr(), "no copy of a tensor");
            total += piece.len();
        }
    }
    editor.finish();
    assert_eq!(editor.queued(), 0);
    assert_eq!(total, 5 + length as usize + 10 + 3);
}

#[test]
fn compressed_grpc_messages_are_unpacked_within_the_limit() {
    use std::io::Write;
    let plain = message(&[(1, b"fraud"), (7, &[3; 2000])]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
    zlib.write_all(&plain).unwrap();
    for (encoding, packed) in [("gzip", gzip.finish().unwrap()), ("deflate", zlib.finish().unwrap())] {
        let body = [framed(1, &packed), framed(0, &plain)].concat();
        let got = decode(&all_cuts(|| grpc(INFER, encoding).body.unwrap(), &body), None);
        assert_eq!(got[0], got[1]);
        assert_eq!((&got[0][&1][..], got[0][&7].len()), (&b"fraud-v2"[..], 2000));
        let broken = framed(1, &packed[..packed.len() - 9]);
        let fault = run(grpc(INFER, encoding).body.unwrap(), &broken, &[]).unwrap_err();
        assert_eq!(fault.kind, FaultKind::BadRequest);
    }
    let kind = |encoding, body: &[u8]| run(grpc(INFER, encoding).body.unwrap(), body, &[]).unwrap_err().kind;
    assert_eq!(kind("snappy", &framed(1, b"x")), FaultKind::NotImplemented);
    assert_eq!(kind("identity", &framed(1, b"x")), FaultKind::BadRequest);
    assert_eq!(kind("gzip", &[1, 0xff, 0xff, 0xff, 0xff]), FaultKind::PayloadTooLarge);
    assert_eq!(kind("identity", &[0, 0xff, 0xff, 0xff, 0xff]), FaultKind::PayloadTooLarge);
    let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    for _ in 0..65 {
        bomb.write_all(&vec![0; 1 << 20]).unwrap();
    }
    assert_eq!(kind("gzip", &framed(1, &bomb.finish().unwrap())), FaultKind::PayloadTooLarge);
}

/// The editor of the answer to a request for `model` and `version`.
fn grpc_answer(path: &str, model: &[u8], version: &[u8]) -> Editor {
    let edits = grpc(path, "identity");
    run(edits.body.unwrap(), &framed(0, &message(&[(1, model), (2, version), (3, b"id")])), &[3, 9]).unwrap();
    let mut head = answer(&[("content-type", "application/grpc+proto")]);
    edits.restore.unwrap().response(&mut head).unwrap()
}

#[test]
fn grpc_answers_are_put_back_to_what_the_client_asked() {
    let body = framed(0, &message(&[(1, b"fraud-v2"), (2, b"7"), (6, &[1; 40])]));
    let infer = |version: &'static [u8]| {
        decode(&all_cuts(|| grpc_answer(INFER, b"fraud", version), &body), None).remove(0)
    };
    let (named, unnamed) = (infer(b"1"), infer(b""));
    assert_eq!((&named[&1][..], &named[&2][..], named[&6].len()), (&b"fraud"[..], &b"1"[..], 40));
    assert_eq!((&unnamed[&1][..], &unnamed[&2][..]), (&b"fraud"[..], &b"7"[..]));

    let about = "/inference.GRPCInferenceService/ModelMetadata";
    let body = framed(0, &message(&[(1, b"fraud-v2"), (2, b"7"), (2, b"8")]));
    let out = all_cuts(|| grpc_answer(about, b"fraud", b"1"), &body);
    assert!(out.ends_with(&message(&[(2, b"7"), (2, b"8"), (1, b"fraud")])));
}

#[test]
fn streamed_grpc_answers_are_put_back_and_errors_stay_errors() {
    let inner = message(&[(1, b"fraud-v2"), (2, b"7"), (3, b"42")]);
    let error = framed(0, &message(&[(1, b"out of memory")]));
    let long = vec![b'x'; 70_000];
    let body = [framed(0, &message(&[(2, &inner)])), error.clone(), framed(0, b"")].concat();
    let out = all_cuts(|| grpc_answer(STREAM, b"fraud", b"1"), &body);
    let got = decode(&out, Some(2));
    let merged = decode(&framed(0, &got[0][&2]), None).remove(0);
    assert_eq!((&merged[&1][..], &merged[&2][..], &merged[&3][..]), (&b"fraud"[..], &b"1"[..], &b"42"[..]));
    assert!(out.ends_with(&[error, framed(0, b"")].concat()), "an error gains no answer");
    let both = framed(0, &message(&[(1, b"warning"), (2, &inner), (9, &long)]));
    let out = run(grpc_answer(STREAM, b"fraud", b"1"), &both, &[7, 100]).unwrap();
    let merged = decode(&framed(0, &decode(&out, Some(2))[0][&2]), None).remove(0);
    assert_eq!(&merged[&1][..], b"fraud");
}

#[test]
fn truncated_and_unknown_grpc_messages_pass_as_they_are() {
    let whole = framed(0, &message(&[(2, &message(&[(1, b"fraud-v2")]))]));
    for cut in [0, 1, 4] {
        let out = run(grpc_answer(STREAM, b"fraud", b""), &whole[..cut], &[]).unwrap();
        assert_eq!(out, &whole[..cut]);
    }
    for flags in [0x80, 0x81, 2] {
        let frame = framed(flags, b"grpc-status: 0\r\n");
        assert_eq!(run(grpc_answer(INFER, b"fraud", b""), &frame, &[]).unwrap(), frame);
        assert_eq!(run(grpc(INFER, "identity").body.unwrap(), &frame, &[2]).unwrap(), frame);
    }
    let packed = framed(1, b"not unpacked: grpc-encoding is unknown");
    assert_eq!(run(grpc_answer(INFER, b"fraud", b""), &packed, &[]).unwrap(), packed);
}

// === bodies ===

/// A body of these frames.
struct Frames(std::collections::VecDeque<Frame<Bytes>>);

impl Body for Frames {
    type Data = Bytes;
    type Error = Fault;
    fn poll_frame(
        mut self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Fault>>> {
        std::task::Poll::Ready(self.0.pop_front().map(Ok))
    }
}

#[tokio::test]
async fn an_edited_body_keeps_trailers_and_ends_with_a_fault_if_it_must() {
    let trailers: http::HeaderMap =
        [("grpc-status".parse().unwrap(), "0".parse().unwrap())].into_iter().collect();
    let message = framed(0, &message(&[(1, b"fraud-v2")]));
    let body = Frames(
        [
            Frame::data(Bytes::from(message[..6].to_vec())),
            Frame::data(Bytes::from(message[6..].to_vec())),
            Frame::trailers(trailers.clone()),
        ]
        .into(),
    );
    let body = Edited::new(body, Some(grpc_answer(INFER, b"fraud", b"")));
    assert!(!body.is_end_stream());
    let all = body.collect().await.unwrap();
    assert_eq!(all.trailers(), Some(&trailers));
    assert_eq!(decode(&all.to_bytes(), None)[0][&1], b"fraud");

    let mut body = Edited::new(
        Full::new(Bytes::from(framed(1, b"x"))).map_err(|never| -> Fault { match never {} }),
        grpc(INFER, "snappy").body,
    );
    let fault = body.frame().await.unwrap().unwrap_err();
    assert_eq!(fault.kind, FaultKind::NotImplemented);
    assert!(body.frame().await.is_none() && body.is_end_stream());
}

#[test]
fn an_answer_of_trailers_alone_stays_one() {
    let empty = http_body_util::Empty::<Bytes>::new().map_err(|never| -> Fault { match never {} });
    let body = Edited::new(empty, Some(grpc_answer(INFER, b"fraud", b"")));
    assert!(body.is_end_stream());
    assert_eq!(body.size_hint().exact(), Some(0));
}

#[tokio::test]
async fn sizes_are_exact_where_they_can_be() {
    let text = Bytes::from_static(br#"{"model":"fraud-v2","x":1}"#);
    let full = || Full::new(text.clone()).map_err(|never| -> Fault { match never {} });
    let plain = Edited::new(full(), None);
    assert_eq!(plain.size_hint().exact(), Some(26));
    assert_eq!(plain.collect().await.unwrap().to_bytes(), text);

    let (editor, head) =
        openai_answer("\"fraud\"", &[("content-length", "26"), ("content-type", "application/json")]);
    let body = Edited::new(full(), editor);
    let size = body.size_hint().exact().unwrap();
    assert_eq!(head.headers["content-length"], size.to_string());
    let out = body.collect().await.unwrap().to_bytes();
    assert_eq!(out.len() as u64, size);
    assert_eq!(out.trim_ascii_end(), br#"{"model":"fraud","x":1}"#);

    let (editor, _) = openai_answer("\"fraud\"", &[]);
    assert_eq!(Edited::new(full(), editor).size_hint().exact(), None);
}

#[tokio::test]
async fn an_answer_without_a_type_is_not_padded_for_it_may_be_anything() {
    let (editor, head) = openai_answer("\"fraud\"", &[("content-length", "4")]);
    assert!(!head.headers.contains_key("content-length"));
    let body = Full::new(Bytes::from_static(b"\0\x01{}")).map_err(|never| -> Fault { match never {} });
    assert_eq!(Edited::new(body, editor).collect().await.unwrap().to_bytes(), &b"\0\x01{}"[..]);
}

// === properties ===

proptest! {
    #[test]
    fn any_bytes_in_any_pieces_come_out_the_same(
        body in proptest::collection::vec(prop_oneof![
            proptest::sample::select(vec![&b"data: "[..], b"{\"model\":\"", b"model", b"\"", b"}", b"\n", b"\r\n",
                b"\\", b",", b"{\"response\":{\"model\":\"x\"}}", b"\0\0\0\0\x03", b"\x0a\x01a", b"\x12\x02\x0a\0"])
                .prop_map(<[u8]>::to_vec),
            any::<u8>().prop_map(|b| vec![b]),
        ], 0..40).prop_map(|parts| parts.concat()),
        cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..6),
        kind in 0..4,
    ) {
        let mut cuts: Vec<_> = cuts.iter().map(|i| i.index(body.len() + 1)).collect();
        cuts.sort_unstable();
        let make = || match kind {
            0 => openai_answer("\"fraud\"", &[]).0.unwrap(),
            1 => openai_answer("\"fraud\"", &[("content-type", "text/event-stream")]).0.unwrap(),
            2 => grpc_answer(STREAM, b"fraud", b"1"),
            _ => grpc_answer(INFER, b"fraud", b"1"),
        };
        let (whole, pieces) = (run(make(), &body, &[]), run(make(), &body, &cuts));
        prop_assert_eq!(whole, pieces);
    }

    #[test]
    fn all_but_the_value_is_kept_byte_for_byte(
        before in "[ \t\n]{0,3}", name in "[a-z\"\\\\é]{0,9}", rest in proptest::collection::btree_map("[a-z]{1,4}", ".{0,8}", 0..4)
    ) {
        let name = serde_json::to_string(&name).unwrap();
        let rest = serde_json::to_string(&rest).unwrap();
        let text = |model: &str| format!("{before}{{\"a\":{rest},{before}\"model\"{before}:{before}{model}{before},\"z\":{rest}}}");
        let out = run(openai_answer("\"fraud\"", &[]).0.unwrap(), text(&name).as_bytes(), &[]).unwrap();
        prop_assert_eq!(String::from_utf8(out).unwrap(), text("\"fraud\""));
    }
}

#[test]
fn what_is_shared_between_workers_can_be() {
    fn shared<T: Send + Sync>() {}
    shared::<Rewriter>();
    shared::<Restore>();
    shared::<Editor>();
}
