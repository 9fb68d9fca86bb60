//! Answers and requests of every API, as they are read for comparison: OIP, V1, gRPC, OpenAI,
//! streams of events.

use switchback::inference::answer::{Limits, RawAnswer, RawRequest, read, read_request, to_json};
use switchback::inference::path;
use switchback::inference::stream_watch::StreamWatch;

use super::{choose, pieces};

const PATHS: [&str; 11] = [
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
    "/v2/models/m/infer",
    "/v2/models/m/generate_stream",
    "/v1/models/m:predict",
    "/inference.GRPCInferenceService/ModelInfer",
    "/inference.GRPCInferenceService/ModelStreamInfer",
    "/inference.GRPCInferenceService/ModelMetadata",
    "/other",
];
const TYPES: [Option<&str>; 6] = [
    None,
    Some("application/json"),
    Some("text/event-stream; charset=utf-8"),
    Some("text/plain"),
    Some("application/octet-stream"),
    Some("application/grpc"),
];
const CODINGS: [Option<&str>; 6] = [None, None, None, Some("gzip"), Some("br"), Some("zstd, deflate")];

/// First byte: the API. Second byte: type, coding, and status.
pub fn run(data: &[u8]) {
    let (api, rest) = choose(data);
    let (how, body) = choose(rest);
    let limits =
        Limits { decoded_bytes: 1 << 18, elements: 1 << 14, string_bytes: 1 << 12, ..Limits::default() };
    let times: Vec<(usize, u64)> =
        (0..body.len()).step_by(7).map(|at| (at, 1000 * u64::try_from(at).unwrap_or(0))).collect();
    let header = (how & 0x80 != 0).then(|| usize::from(body.first().copied().unwrap_or(0)));
    let answer = RawAnswer {
        api: path::parse(PATHS[usize::from(api) % PATHS.len()]),
        status: if how & 0x40 == 0 { 200 } else { 500 },
        grpc: None,
        content_type: TYPES[usize::from(how & 7) % TYPES.len()],
        content_encoding: CODINGS[usize::from(how >> 3 & 7) % CODINGS.len()],
        inference_header_length: header,
        body,
        chunk_times: &times,
    };
    let said = read(&answer, &limits);
    if let Some(json) = to_json(&said.content, "outputs", 8) {
        let _ = json.to_string();
    }
    let request = RawRequest {
        api: answer.api,
        content_type: answer.content_type,
        content_encoding: answer.content_encoding,
        inference_header_length: header,
        body,
    };
    let _ = read_request(&request, &limits);
    watch(body);
}

/// Tokens are counted the same, however a stream is cut.
fn watch(body: &[u8]) {
    let (mut whole, mut cut) = (StreamWatch::default(), StreamWatch::default());
    let tokens = whole.push(body);
    let also: usize = pieces(body).into_iter().map(|piece| cut.push(piece)).sum();
    assert_eq!((tokens, whole.is_done()), (also, cut.is_done()));
}
