//! Tensors: JSON, the binary extension, gRPC, embeddings, requests.

use bytes::BytesMut;
use half::{bf16, f16};

use super::{content, json, raw};
use crate::inference::answer::{
    Answer, Content, Limits, RawAnswer, RawRequest, Undecodable, element, read, read_request,
};
use crate::inference::path;
use crate::inference::protobuf::put_field;
use crate::inference::tensor::{Dtype, Tensor, TensorData};

const INFER: &str = "/v2/models/m/infer";
const GRPC: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

fn tensors(content: Content) -> Vec<Tensor> {
    let Content::Tensors(outputs) = content else { panic!("{content:?}") };
    outputs.into_iter().map(|output| output.tensor).collect()
}

fn one(content: Content) -> TensorData {
    let [tensor] = <[Tensor; 1]>::try_from(tensors(content)).unwrap();
    tensor.data().clone()
}

/// Two values of each type, as data, JSON and raw bytes.
fn samples() -> Vec<(TensorData, &'static str, Vec<u8>)> {
    vec![
        (TensorData::Bool(vec![true, false]), "[true,0]", vec![1, 0]),
        (TensorData::Uint8(vec![7, 255]), "[7,255]", vec![7, 255]),
        (TensorData::Uint16(vec![7, 65535]), "[7,65535]", vec![7, 0, 255, 255]),
        (TensorData::Uint32(vec![7, u32::MAX]), "[7.0,4294967295]", vec![7, 0, 0, 0, 255, 255, 255, 255]),
        (
            TensorData::Uint64(vec![7, u64::MAX]),
            "[7,18446744073709551615]",
            [7_u64, u64::MAX].iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        (TensorData::Int8(vec![-7, 127]), "[-7,127]", vec![249, 127]),
        (TensorData::Int16(vec![-7, 1]), "[-7,1]", vec![249, 255, 1, 0]),
        (TensorData::Int32(vec![-7, 1]), "[-7,1]", vec![249, 255, 255, 255, 1, 0, 0, 0]),
        (
            TensorData::Int64(vec![-7, i64::MAX]),
            "[-7,9223372036854775807]",
            [-7_i64, i64::MAX].iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        (
            TensorData::Fp16(vec![f16::from_f32(0.5), f16::INFINITY]),
            "[0.5,Infinity]",
            [f16::from_f32(0.5), f16::INFINITY].iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        (
            TensorData::Bf16(vec![bf16::from_f32(0.5), bf16::from_f32(-2.0)]),
            "[5e-1,-2]",
            [bf16::from_f32(0.5), bf16::from_f32(-2.0)].iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        (
            TensorData::Fp32(vec![0.1, f32::NEG_INFINITY]),
            "[0.1,-inf]",
            [0.1_f32, f32::NEG_INFINITY].iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        (
            TensorData::Fp64(vec![0.1, -0.0]),
            "[[0.1],[-0.0]]",
            [0.1_f64, -0.0].iter().flat_map(|v| v.to_le_bytes()).collect(),
        ),
        (
            TensorData::Bytes(vec!["aé".into(), String::new()]),
            "[\"aé\",\"\"]",
            vec![3, 0, 0, 0, b'a', 0xc3, 0xa9, 0, 0, 0, 0],
        ),
    ]
}

#[test]
fn every_type_is_read_from_json_binary_and_grpc_alike() {
    assert_eq!(samples().len(), Dtype::ALL.len());
    for (want, text, bytes) in samples() {
        let name = want.dtype().name();
        // The values may stand before their type.
        let body = format!(r#"{{"outputs":[{{"data":{text},"name":"y","datatype":"{name}","shape":[2]}}]}}"#);
        assert_eq!(one(content(INFER, "application/json", body.as_bytes())), want, "{name} in JSON");

        let size = bytes.len();
        let mut body = format!(
            r#"{{"outputs":[{{"name":"y","datatype":"{name}","shape":[2],"parameters":{{"binary_data_size":{size}}}}}]}}"#
        )
        .into_bytes();
        let header = body.len();
        body.extend_from_slice(&bytes);
        let answer = RawAnswer {
            inference_header_length: Some(header),
            ..raw(INFER, "application/octet-stream", &body)
        };
        assert_eq!(one(read(&answer, &Limits::default()).content), want, "{name} in binary");

        let message = response(&[described("y", name, &[2], None)], &[&bytes]);
        assert_eq!(one(grpc(GRPC, &frame(0, &message))), want, "{name} in gRPC");
    }
}

#[test]
fn null_in_a_tensor_of_numbers_is_nan() {
    let body = br#"{"outputs":[{"name":"y","datatype":"FP32","shape":[2],"data":[null,NaN]}]}"#;
    let TensorData::Fp32(values) = one(content(INFER, "", body)) else { panic!() };
    assert!(values.iter().all(|value| value.is_nan()));
}

#[test]
fn a_broken_tensor_says_what_is_wrong_and_keeps_the_body() {
    let output = |fields: &str| format!(r#"{{"outputs":[{{"name":"y",{fields}}}]}}"#);
    for (body, want) in [
        (output(r#""datatype":"FP32","shape":[3],"data":[1]"#), "takes 3 values, found 1"),
        (output(r#""datatype":"FP31","shape":[1],"data":[1]"#), "datatype \"FP31\" is unknown"),
        (output(r#""shape":[1],"data":[1]"#), "\"datatype\" is missing"),
        (output(r#""datatype":"FP32","shape":[1]"#), "no values"),
        (output(r#""datatype":"INT8","shape":[1],"data":[300]"#), "\"300\" is no INT8"),
        (output(r#""datatype":"BOOL","shape":[1],"data":[2]"#), "is no BOOL"),
        (output(r#""datatype":"FP32","shape":[-1],"data":[1]"#), "not a shape"),
        (output(r#""datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}"#), "cut off"),
        (r#"{"outputs":[{"datatype":"FP32"}]}"#.to_owned(), "\"name\" is missing"),
        (r#"{"outputs":[1"#.to_owned(), "expected an object"),
    ] {
        let Content::Undecodable { why, body: kept } = content(INFER, "", body.as_bytes()) else {
            panic!("{body}")
        };
        assert!(why.to_string().contains(want), "{body}: {why}");
        assert_eq!(kept, body.as_bytes());
    }
}

#[test]
fn a_huge_shape_reserves_no_memory() {
    let body = br#"{"outputs":[{"name":"y","datatype":"FP64","shape":[1152921504606846975],"data":[]}]}"#;
    assert_eq!(content(INFER, "", body).kind(), "undecodable");
}

#[test]
fn bytes_behind_the_binary_tensors_are_a_mistake() {
    let answer = RawAnswer { inference_header_length: Some(14), ..raw(INFER, "", b"{\"outputs\":[]}rest") };
    assert_eq!(read(&answer, &Limits::default()).content.kind(), "undecodable");
    let answer = RawAnswer { inference_header_length: Some(99), ..raw(INFER, "", b"{\"outputs\":[]}") };
    assert_eq!(read(&answer, &Limits::default()).content.kind(), "undecodable");
}

#[test]
fn bytes_that_are_no_text_stay_distinct() {
    let element = |bytes: &[u8]| {
        let values = [&[u8::try_from(bytes.len()).unwrap(), 0, 0, 0], bytes].concat();
        one(grpc(GRPC, &frame(0, &response(&[described("y", "BYTES", &[1], None)], &[&values]))))
    };
    assert_eq!(element(b"ab"), TensorData::Bytes(vec!["ab".into()]));
    assert_ne!(element(&[0xff, 1]), element(&[0xfe, 1]));
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push((value & 0x7f) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// `InferOutputTensor`; `contents` are those of `InferTensorContents`.
fn described(name: &str, dtype: &str, shape: &[i64], contents: Option<&[u8]>) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_field(&mut out, 1, name.as_bytes());
    put_field(&mut out, 2, dtype.as_bytes());
    let mut packed = Vec::new();
    shape.iter().for_each(|dim| varint(dim.cast_unsigned(), &mut packed));
    put_field(&mut out, 3, &packed);
    if let Some(contents) = contents {
        put_field(&mut out, 5, contents);
    }
    out.to_vec()
}

fn response(tensors: &[Vec<u8>], raw: &[&[u8]]) -> Vec<u8> {
    let mut out = BytesMut::new();
    put_field(&mut out, 1, b"model");
    tensors.iter().for_each(|tensor| put_field(&mut out, 5, tensor));
    raw.iter().for_each(|values| put_field(&mut out, 6, values));
    out.to_vec()
}

fn frame(flag: u8, message: &[u8]) -> Vec<u8> {
    let mut out = vec![flag];
    out.extend_from_slice(&u32::try_from(message.len()).unwrap().to_be_bytes());
    out.extend_from_slice(message);
    out
}

fn grpc_answer(path: &str, body: &[u8], chunk_times: &[(usize, u64)]) -> Answer {
    let answer = RawAnswer { grpc: Some(0), chunk_times, ..raw(path, "application/grpc", body) };
    read(&answer, &Limits::default())
}

fn grpc(path: &str, body: &[u8]) -> Content {
    grpc_answer(path, body, &[]).content
}

#[test]
fn typed_contents_are_read_packed_and_unpacked() {
    let negative = u64::MAX - 6; // -7, its sign spread to 64 bits
    let packed = |field: u32, numbers: &[u64]| {
        let mut values = Vec::new();
        numbers.iter().for_each(|number| varint(*number, &mut values));
        let mut out = BytesMut::new();
        put_field(&mut out, field, &values);
        out.to_vec()
    };
    let unpacked = |field: u32, numbers: &[u64]| {
        let mut out = Vec::new();
        for number in numbers {
            varint(u64::from(field) << 3, &mut out);
            varint(*number, &mut out);
        }
        out
    };
    let chunks = |field: u32, bytes: &[u8]| {
        let mut out = BytesMut::new();
        put_field(&mut out, field, bytes);
        out.to_vec()
    };
    let singles: Vec<u8> = [0.5_f32, -1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let doubles: Vec<u8> = [0.5_f64, -1.0].iter().flat_map(|v| v.to_le_bytes()).collect();
    let single = [&[0x35][..], &0.5_f32.to_le_bytes(), &[0x35], &(-1.0_f32).to_le_bytes()].concat();
    for (dtype, contents, want) in [
        ("BOOL", packed(1, &[1, 0]), TensorData::Bool(vec![true, false])),
        ("INT8", packed(2, &[negative, 1]), TensorData::Int8(vec![-7, 1])),
        ("INT16", unpacked(2, &[negative, 1]), TensorData::Int16(vec![-7, 1])),
        ("INT32", packed(2, &[negative, 1]), TensorData::Int32(vec![-7, 1])),
        ("INT64", unpacked(3, &[negative, 1]), TensorData::Int64(vec![-7, 1])),
        ("UINT8", packed(4, &[255, 1]), TensorData::Uint8(vec![255, 1])),
        ("UINT16", packed(4, &[300, 1]), TensorData::Uint16(vec![300, 1])),
        ("UINT32", packed(4, &[7, 1]), TensorData::Uint32(vec![7, 1])),
        ("UINT64", packed(5, &[u64::MAX, 1]), TensorData::Uint64(vec![u64::MAX, 1])),
        ("FP32", chunks(6, &singles), TensorData::Fp32(vec![0.5, -1.0])),
        ("FP32", single, TensorData::Fp32(vec![0.5, -1.0])),
        ("FP64", chunks(7, &doubles), TensorData::Fp64(vec![0.5, -1.0])),
        ("FP16", chunks(6, &singles), TensorData::Fp16(vec![f16::from_f32(0.5), f16::from_f32(-1.0)])),
        (
            "BYTES",
            [chunks(8, b"a"), chunks(8, b"bc")].concat(),
            TensorData::Bytes(vec!["a".into(), "bc".into()]),
        ),
    ] {
        let message = response(&[described("y", dtype, &[2], Some(&contents))], &[]);
        assert_eq!(one(grpc(GRPC, &frame(0, &message))), want, "{dtype}");
    }
    let wrong = response(&[described("y", "INT8", &[1], Some(&packed(2, &[300])))], &[]);
    assert_eq!(grpc(GRPC, &frame(0, &wrong)).kind(), "undecodable");
    let wrong = response(&[described("y", "INT8", &[1], Some(&packed(3, &[1])))], &[]);
    assert_eq!(grpc(GRPC, &frame(0, &wrong)).kind(), "undecodable");
}

#[test]
fn several_raw_tensors_keep_their_order_and_number() {
    let two = [described("a", "UINT8", &[1], None), described("b", "UINT8", &[2], None)];
    let found = tensors(grpc(GRPC, &frame(0, &response(&two, &[&[1], &[2, 3]]))));
    assert_eq!(found[1].name(), "b");
    assert_eq!(found[1].data(), &TensorData::Uint8(vec![2, 3]));
    let content = grpc(GRPC, &frame(0, &response(&two, &[&[1]])));
    assert!(matches!(content, Content::Undecodable { why: Undecodable::Malformed(why), .. }
        if why == "1 raw contents for 2 tensors"));
}

#[test]
fn grpc_messages_are_unpacked_and_must_be_whole() {
    let message = response(&[described("y", "UINT8", &[1], None)], &[&[9]]);
    let mut to = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut to, &message).unwrap();
    let packed = frame(1, &to.finish().unwrap());
    assert_eq!(one(grpc(GRPC, &packed)), TensorData::Uint8(vec![9]));
    let whole = frame(0, &message);
    for broken in [&whole[..whole.len() - 1], &whole[..3], &frame(2, &message), &frame(0, b"\x0b")] {
        assert_eq!(grpc(GRPC, broken).kind(), "undecodable");
    }
    let other = "/inference.GRPCInferenceService/ModelReady";
    assert_eq!(grpc(other, &frame(0, b"\x08\x01")), Content::Bytes(b"\x08\x01".to_vec()));
}

#[test]
fn a_stream_is_its_messages_with_their_times() {
    let message = |text: &str| {
        let values = [&[u8::try_from(text.len()).unwrap(), 0, 0, 0], text.as_bytes()].concat();
        let mut out = BytesMut::new();
        put_field(&mut out, 2, &response(&[described("text", "BYTES", &[1], None)], &[&values]));
        frame(0, &out)
    };
    let body = [message("Hel"), message("lo")].concat();
    let first = message("Hel").len();
    let answer = grpc_answer(STREAM, &body, &[(0, 100), (first - 1, 150), (first + 1, 400)]);
    let Content::Tensors(outputs) = &answer.content else { panic!() };
    assert_eq!(outputs.iter().map(|output| output.message).collect::<Vec<_>>(), [0, 1]);
    let timing = answer.timing.unwrap();
    assert_eq!((timing.first_token_ns, timing.gaps_ns, timing.tokens), (Some(150), vec![250], 2));

    let mut failed = BytesMut::new();
    put_field(&mut failed, 1, b"out of memory");
    let body = [message("Hel"), frame(0, &failed)].concat();
    assert_eq!(grpc(STREAM, &body), Content::Error("out of memory".into()));
}

#[test]
fn embeddings_are_a_tensor_from_numbers_or_base64() {
    let path = "/v1/embeddings";
    let numbers =
        br#"{"data":[{"index":1,"embedding":[0.25,-1]},{"index":0,"embedding":[0.5,2]}],"usage":{}}"#;
    // Little-endian singles 0.5, 2 and 0.25, -1.
    let base64 =
        br#"{"data":[{"index":0,"embedding":"AAAAPwAAAEA="},{"index":1,"embedding":"AACAPgAAgL8="}]}"#;
    let found = tensors(content(path, "application/json", numbers));
    assert_eq!(found[0].shape(), [2, 2]);
    assert_eq!(found[0].data(), &TensorData::Fp32(vec![0.5, 2.0, 0.25, -1.0]));
    assert_eq!(tensors(content(path, "application/json", base64)), found);
    for other in
        [&br#"{"data":[{"embedding":[1]},{"embedding":[1,2]}]}"#[..], br#"{"data":[{"embedding":"A"}]}"#]
    {
        assert_eq!(content(path, "application/json", other).kind(), "json");
    }
}

#[test]
fn requests_are_read_like_answers() {
    let request = |path: &'static str, body: &[u8], header| {
        let raw = RawRequest {
            api: path::parse(path),
            content_type: Some("application/json"),
            content_encoding: None,
            inference_header_length: header,
            body,
        };
        read_request(&raw, &Limits::default())
    };
    let body = br#"{"inputs":[{"name":"x","datatype":"INT64","shape":[1,2],"data":[[1,2]]}]}"#;
    let want = TensorData::Int64(vec![1, 2]);
    assert_eq!(one(request(INFER, body, None)), want);
    assert_eq!(element(&want, 1).map(|value| value.to_string()).as_deref(), Some("2"));
    assert_eq!(element(&want, 2), None);
    let mut message = BytesMut::new();
    put_field(&mut message, 5, &described("x", "UINT8", &[1], None));
    put_field(&mut message, 7, &[4]);
    assert_eq!(one(request(GRPC, &frame(0, &message), None)), TensorData::Uint8(vec![4]));
    assert_eq!(
        request("/v1/models/m:predict", br#"{"instances":[1]}"#, None),
        Content::Json(json(r#"{"instances":[1]}"#))
    );
    assert_eq!(request(INFER, b"", None), Content::Empty);
    assert_eq!(request(INFER, b"{", None).kind(), "undecodable");
}
