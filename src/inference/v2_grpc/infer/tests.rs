//! Messages of inference requests and answers, both ways.

use proptest::prelude::*;

use super::*;

// === messages as a client writes them ===

fn field(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_varint(&mut out, u64::from(number) << 3 | LENGTH_DELIMITED);
    put_varint(&mut out, value.len() as u64);
    out.extend_from_slice(value);
    out
}

fn packed(numbers: &[i64]) -> Vec<u8> {
    let mut out = Vec::new();
    numbers.iter().for_each(|number| put_varint(&mut out, number.cast_unsigned()));
    out
}

fn input(name: &str, datatype: &str, shape: &[i64], contents: Option<Vec<u8>>) -> Vec<u8> {
    let mut tensor =
        [field(1, name.as_bytes()), field(2, datatype.as_bytes()), field(3, &packed(shape))].concat();
    tensor.extend(contents.map(|contents| field(5, &contents)).unwrap_or_default());
    field(5, &tensor)
}

/// An entry of a map of parameters with a number of field `kind` of `InferParameter`.
fn number(name: &str, kind: u64, value: i64) -> Vec<u8> {
    let value = [packed(&[i64::try_from(kind << 3).unwrap()]), packed(&[value])].concat();
    [field(1, name.as_bytes()), field(2, &value)].concat()
}

fn message(parts: &[Vec<u8>]) -> String {
    decode(&parts.concat()).unwrap_err().to_string()
}

#[test]
fn raw_contents_belong_to_inputs_in_order() {
    let request = [
        field(1, b"m"),
        field(2, b"3"),
        field(3, "ä".as_bytes()),
        field(4, &number("timeout", 2, 1500)),
        field(4, &number("other", 5, 1)),
        input("x", "FP32", &[1, 2], None),
        input("s", "BYTES", &[1], None),
        field(6, &field(1, b"y")),
        field(7, &[f32::NAN.to_le_bytes(), 1_f32.to_le_bytes()].concat()),
        field(7, &[1, 0, 0, 0, b'q']),
    ];
    let request = decode(&request.concat()).unwrap();
    assert_eq!((request.model.as_str(), request.version.as_str(), request.id.as_str()), ("m", "3", "ä"));
    assert_eq!(request.timeout, Some(Duration::from_micros(1500)));
    assert_eq!((request.outputs, request.raw), (vec!["y".to_owned()], true));
    let TensorData::Fp32(x) = request.inputs[0].data() else { panic!() };
    assert_eq!((x[0].to_bits(), x[1]), (f32::NAN.to_bits(), 1.0));
    assert_eq!(request.inputs[0].shape(), [1, 2]);
    assert_eq!(request.inputs[1].data(), &TensorData::Bytes(vec!["q".to_owned()]));
}

#[test]
fn typed_contents_are_read_packed_or_not_and_narrowed() {
    let one = |datatype: &str, contents: Vec<u8>| {
        decode(&input("x", datatype, &[2], Some(contents))).unwrap().inputs.remove(0).into_parts().2
    };
    assert_eq!(one("BOOL", field(1, &[1, 0])), TensorData::Bool(vec![true, false]));
    assert_eq!(one("INT8", field(2, &packed(&[-1, 127]))), TensorData::Int8(vec![-1, 127]));
    assert_eq!(one("UINT16", field(4, &packed(&[65535, 0]))), TensorData::Uint16(vec![65535, 0]));
    assert_eq!(one("INT64", field(3, &packed(&[i64::MIN, 1]))), TensorData::Int64(vec![i64::MIN, 1]));
    assert_eq!(one("UINT64", field(5, &packed(&[-1, 1]))), TensorData::Uint64(vec![u64::MAX, 1]));
    assert_eq!(one("INT32", vec![2 << 3, 5, 2 << 3, 6]), TensorData::Int32(vec![5, 6]));
    let doubles = [1.5_f64.to_le_bytes(), (-2.0_f64).to_le_bytes()].concat();
    assert_eq!(one("FP64", field(7, &doubles)), TensorData::Fp64(vec![1.5, -2.0]));
    let texts = [field(8, b"a"), field(8, b"")].concat();
    assert_eq!(one("BYTES", texts), TensorData::Bytes(vec!["a".to_owned(), String::new()]));
    let request = decode(&input("x", "INT8", &[2], Some(field(2, &[1, 2])))).unwrap();
    assert!(!request.raw);
}

#[test]
fn every_mistake_is_named_with_its_place_and_what_was_expected() {
    let typed = |datatype: &str, contents| vec![input("x", datatype, &[2], Some(contents))];
    let wrong: [(Vec<Vec<u8>>, &str); 12] = [
        (
            vec![input("x", "FLOAT", &[2], None), field(7, &[0; 8])],
            "inputs[0] \"x\": datatype \"FLOAT\" is unknown",
        ),
        (
            vec![input("x", "FP32", &[3], None), field(7, &[0; 8])],
            "raw contents has 2 values, shape [3] takes 3",
        ),
        (
            vec![input("x", "FP32", &[2], None), field(7, &[0; 7])],
            "7 bytes are no whole number of 4-byte FP32",
        ),
        (vec![input("x", "FP32", &[2], None)], "contents has 0 values, shape [2] takes 2"),
        (
            vec![input("x", "FP32", &[2], None), field(7, &[0; 8]), field(7, &[])],
            "2 raw_input_contents for 1 inputs",
        ),
        ([typed("FP32", field(6, &[0; 8])), vec![field(7, &[0; 8])]].concat(), "both there"),
        (typed("INT8", field(2, &packed(&[1, 128]))), "value 1 is 128, out of the range of INT8"),
        (typed("INT8", field(3, &[1, 2])), "stand in int64_contents, expected int_contents"),
        (typed("FP16", field(6, &[0; 8])), "FP16 has no typed contents"),
        (vec![input("x", "FP32", &[-1], None), field(7, &[])], "is not a shape"),
        (vec![field(1, &[0xff])], "model_name is not UTF-8"),
        (vec![field(4, &number("timeout", 2, -1))], "no whole number of microseconds"),
    ];
    for (parts, line) in wrong {
        let found = message(&parts);
        assert!(found.contains(line), "{found}");
    }
    assert_eq!(message(&[vec![0x0b]]), "the request is not a protobuf message");
    let classified = [field(1, b"y"), field(2, &number("classification", 2, 3))].concat();
    assert!(message(&[field(6, &classified)]).contains("outputs[0] \"y\": the parameter \"classification\""));
    let many: Vec<_> = (0..=MAX_TENSORS).map(|_| field(6, &field(1, b"y"))).collect();
    assert!(message(&many).contains("more than 1024"));
}

// === answers ===

fn tensors() -> Vec<Tensor> {
    let tensor = |name: &str, shape: &[i64], data| Tensor::new(name, shape.to_vec(), data).unwrap();
    vec![
        tensor("f", &[2, 1], TensorData::Fp32(vec![1.0, f32::INFINITY])),
        tensor("i", &[2], TensorData::Int8(vec![-1, 2])),
        tensor("s", &[], TensorData::Bytes(vec!["hé".to_owned()])),
        tensor("b", &[1], TensorData::Bool(vec![true])),
        tensor("u", &[1], TensorData::Uint64(vec![u64::MAX])),
        tensor("none", &[0], TensorData::Fp64(vec![])),
    ]
}

const ABOUT: InferAnswer<'_> = InferAnswer { model_name: "m", model_version: "1", id: Some("7") };

fn written(answer: &Answer<'_>) -> Vec<u8> {
    let mut out = Vec::new();
    answer.write(&mut out);
    assert_eq!(out.len(), answer.size());
    let mut streamed = Vec::new();
    answer.write_in_stream(&mut streamed);
    assert_eq!(streamed, field(2, &out));
    assert_eq!(streamed.len(), answer.size_in_stream());
    out
}

/// What an answer's reader for comparison makes of it.
fn read_back(message: &[u8]) -> Vec<Tensor> {
    use crate::inference::answer::{Content, Limits, RawAnswer, read};
    let body = [&[0][..], &u32::try_from(message.len()).unwrap().to_be_bytes(), message].concat();
    let api = crate::inference::path::parse("/inference.GRPCInferenceService/ModelInfer");
    let raw = RawAnswer {
        status: 200,
        grpc: Some(0),
        api,
        content_type: Some("application/grpc"),
        content_encoding: None,
        inference_header_length: None,
        body: &body,
        chunk_times: &[],
    };
    match read(&raw, &Limits::default()).content {
        Content::Tensors(found) => found.into_iter().map(|output| output.tensor).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn answers_are_read_back_raw_and_typed() {
    let outputs = tensors();
    for raw in [true, false] {
        let message = written(&Answer::new(ABOUT, outputs.iter().collect(), raw));
        assert_eq!(read_back(&message), outputs, "raw: {raw}");
        let has_raw = fields(&message).any(|field| field.unwrap().0 == 6);
        assert_eq!(has_raw, raw);
        assert_eq!(id(&message), "7");
    }
}

#[test]
fn an_output_without_a_typed_form_makes_all_raw() {
    let half = Tensor::new("h", vec![1], TensorData::Fp16(vec![half::f16::ONE])).unwrap();
    let one = Tensor::new("i", vec![1], TensorData::Int8(vec![1])).unwrap();
    let message = written(&Answer::new(ABOUT, vec![&one, &half], false));
    assert_eq!(fields(&message).filter(|field| field.as_ref().unwrap().0 == 6).count(), 2);
    assert_eq!(read_back(&message), [one, half]);
}

#[test]
fn lengths_of_numbers_are_known() {
    for value in [0, 1, 127, 128, 16383, 16384, u64::from(u32::MAX), u64::MAX] {
        let mut out = Vec::new();
        put_varint(&mut out, value);
        assert_eq!(out.len(), varint_size(value), "{value}");
    }
}

fn good() -> Vec<u8> {
    [
        field(1, b"m"),
        field(4, &number("timeout", 2, 1500)),
        input("x", "FP32", &[1, 2], Some(field(6, &[0; 8]))),
        input("s", "BYTES", &[1], Some(field(8, b"a"))),
        field(6, &field(1, b"y")),
    ]
    .concat()
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused_and_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = decode(&bytes);
        let _ = id(&bytes);
    }

    #[test]
    fn a_damaged_message_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>()) {
        let mut bytes = good();
        prop_assert!(decode(&bytes).is_ok());
        let place = at.index(bytes.len());
        bytes[place] = byte;
        let _ = decode(&bytes);
        bytes.truncate(cut.index(bytes.len()));
        let _ = decode(&bytes);
    }
}
