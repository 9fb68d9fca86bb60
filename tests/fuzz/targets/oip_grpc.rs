//! `ModelInferRequest`, raw and typed, read by us and, as far as names go, by prost.

use prost::Message;
use switchback::inference::answer::{Limits, RawAnswer, RawRequest, read, read_request};
use switchback::inference::path;
use switchback::inference::v2_grpc::infer::{Answer, decode, id};
use switchback::inference::v2_json::InferAnswer;

use super::same;

#[derive(Clone, PartialEq, Message)]
struct Request {
    #[prost(string, tag = "1")]
    model: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(string, tag = "3")]
    id: String,
    #[prost(message, repeated, tag = "5")]
    inputs: Vec<Input>,
    #[prost(message, repeated, tag = "6")]
    outputs: Vec<Output>,
    #[prost(bytes = "vec", repeated, tag = "7")]
    raw: Vec<Vec<u8>>,
}

#[derive(Clone, PartialEq, Message)]
struct Input {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    datatype: String,
    #[prost(int64, repeated, tag = "3")]
    shape: Vec<i64>,
}

#[derive(Clone, PartialEq, Message)]
struct Output {
    #[prost(string, tag = "1")]
    name: String,
}

pub fn run(data: &[u8]) {
    let Ok(request) = decode(data) else { return };
    if let Ok(theirs) = Request::decode(data) {
        assert_eq!((&request.model, &request.version), (&theirs.model, &theirs.version));
        assert_eq!(request.id, theirs.id);
        let inputs = theirs.inputs.iter().map(|input| (&*input.name, &*input.shape, &*input.datatype));
        let ours = request.inputs.iter().map(|input| (input.name(), input.shape(), input.dtype().name()));
        assert!(inputs.eq(ours), "{request:?} is {theirs:?}");
        assert!(theirs.outputs.iter().map(|output| &output.name).eq(&request.outputs));
    }
    let _ = id(data);
    let limits = Limits::default();
    let api = path::parse("/inference.GRPCInferenceService/ModelInfer");
    let framed = framed(data);
    let raw = RawRequest {
        api,
        content_type: Some("application/grpc"),
        content_encoding: None,
        inference_header_length: None,
        body: &framed,
    };
    if !request.inputs.is_empty() {
        same::content(&request.inputs, &read_request(&raw, &limits));
    }
    let named = InferAnswer { model_name: &request.model, model_version: "1", id: Some(&request.id) };
    let answer = Answer::new(named, request.inputs.iter().collect(), request.raw);
    for stream in [false, true] {
        let mut message = Vec::new();
        let size = match stream {
            false => {
                answer.write(&mut message);
                answer.size()
            }
            true => {
                answer.write_in_stream(&mut message);
                answer.size_in_stream()
            }
        };
        assert_eq!(message.len(), size, "the size was said wrong");
        if request.inputs.is_empty() {
            continue;
        }
        let method = if stream { "ModelStreamInfer" } else { "ModelInfer" };
        let path = format!("/inference.GRPCInferenceService/{method}");
        let framed = self::framed(&message);
        let raw = RawAnswer {
            api: path::parse(&path),
            status: 200,
            grpc: Some(0),
            content_type: Some("application/grpc"),
            content_encoding: None,
            inference_header_length: None,
            body: &framed,
            chunk_times: &[],
        };
        same::content(&request.inputs, &read(&raw, &limits).content);
    }
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0][..], &length, message].concat()
}
