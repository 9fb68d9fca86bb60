//! Bodies of `POST /v2/models/{model}/infer`: JSON, binary data, both.

use switchback::inference::answer::{Limits, RawAnswer, RawRequest, read, read_request};
use switchback::inference::path;
use switchback::inference::v2_json::{InferAnswer, decode_mixed, encode_mixed};

use super::same;

/// The first two bytes: the highest bit says that the JSON has a length, which the others are.
pub fn run(data: &[u8]) {
    let Some((&[high, low], body)) = data.split_first_chunk::<2>() else { return };
    let length = usize::from(high & 0x7f) << 8 | usize::from(low);
    let json = (high & 0x80 != 0).then_some(length);
    let Ok(request) = decode_mixed(body, json) else { return };
    let api = path::parse("/v2/models/m/infer");
    let limits = Limits::default();
    // The reader of copies is another one.
    let raw =
        RawRequest { api, content_type: None, content_encoding: None, inference_header_length: json, body };
    if !request.inputs.is_empty() {
        same::content(&request.inputs, &read_request(&raw, &limits));
    }
    // What was read is written and read again.
    let answer = InferAnswer { model_name: "m", model_version: "1", id: request.id.as_deref() };
    let forms = request.inputs.iter().enumerate();
    let Ok(written) =
        encode_mixed(answer, forms.map(|(at, tensor)| (tensor, request.binary_outputs || at % 2 == 1)))
    else {
        return;
    };
    let raw = RawAnswer {
        api,
        status: 200,
        grpc: None,
        content_type: None,
        content_encoding: None,
        inference_header_length: written.json,
        body: &written.body,
        chunk_times: &[],
    };
    let text = &written.body[..written.json.unwrap_or(written.body.len())];
    serde_json::from_slice::<serde_json::Value>(text).expect("what is written is JSON");
    same::content(&request.inputs, &read(&raw, &limits).content);
}
