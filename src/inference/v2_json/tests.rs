//! Bodies of inference requests and answers, both ways.

use proptest::prelude::*;

use super::*;

fn message(body: &str) -> String {
    decode(body.as_bytes()).unwrap_err().to_string()
}

fn input(fields: &str) -> String {
    format!(r#"{{"inputs":[{{"name":"x",{fields}}}]}}"#)
}

#[test]
fn a_request_keeps_its_id_parameters_and_requested_outputs() {
    let request = decode(
        br#"{"id":"7","parameters":{"p":1},"extra":[{}],
            "inputs":[{"name":"x","shape":[2,2],"datatype":"FP32","data":[[1,2],[3,4.5]]},
                      {"name":"s","shape":[1],"datatype":"BYTES","data":["a\"\u00e9\n"]}],
            "outputs":[{"name":"y","parameters":{"binary_data":false}}]}"#,
    )
    .unwrap();
    assert_eq!(request.id.as_deref(), Some("7"));
    assert_eq!(request.outputs[0].name, "y");
    assert!(!request.outputs[0].binary && !request.binary_outputs);
    assert_eq!(request.inputs[0].shape(), [2, 2]);
    assert_eq!(request.inputs[0].data(), &TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.5]));
    assert_eq!(request.inputs[1].data(), &TensorData::Bytes(vec!["a\"é\n".to_owned()]));
}

#[test]
fn flat_nested_and_scalar_data_are_the_same_to_a_reader() {
    for data in ["[1,2,3,4]", "[[1,2],[3,4]]"] {
        let body = input(&format!(r#""shape":[2,2],"datatype":"INT8","data":{data}"#));
        assert_eq!(decode(body.as_bytes()).unwrap().inputs[0].data(), &TensorData::Int8(vec![1, 2, 3, 4]));
    }
    for data in ["5", "[5]"] {
        let body = input(&format!(r#""shape":[],"datatype":"INT8","data":{data}"#));
        assert_eq!(decode(body.as_bytes()).unwrap().inputs[0].data(), &TensorData::Int8(vec![5]));
    }
}

#[test]
fn every_mistake_is_named_with_its_place_and_what_was_expected() {
    assert_eq!(message(""), "the request body is empty, expected a JSON object");
    assert!(message("{").starts_with("the request body is not valid JSON: EOF"));
    assert!(message("{}").starts_with("missing field `inputs`"));
    assert!(message(r#"{"inputs":[{"shape":[1]}]}"#).starts_with("inputs[0]: missing field `name`"));
    assert!(message(&input(r#""shape":[1,"a"]"#)).starts_with("inputs[0].shape[1]: invalid type: string"));
    assert!(
        message(&input(r#""shape":[1],"datatype":"FLOAT","data":[1]"#))
            .starts_with(r#"inputs[0] "x": datatype "FLOAT" is unknown, expected one of BOOL, UINT8"#)
    );
    assert_eq!(
        message(&input(r#""shape":[3],"datatype":"FP32","data":[1,2]"#)),
        r#"inputs[0] "x": "data" has 2 values, shape [3] takes 3"#
    );
    assert_eq!(
        message(&input(r#""shape":[2,3],"datatype":"FP32","data":[[1,2],[3,4],[5,6]]"#)),
        r#"inputs[0] "x": "data" is nested as [3, 2], shape says [2, 3]"#
    );
    assert!(message(&input(r#""shape":[-1],"datatype":"FP32","data":[1]"#)).contains("is not a shape"));
    assert!(message(&input(r#""shape":[1],"datatype":"FP32""#)).ends_with("\"data\" is missing"));
    assert!(
        message(&input(r#""shape":[1],"datatype":"FP32","parameters":{"binary_data_size":4}"#))
            .contains("needs the header Inference-Header-Content-Length")
    );
    assert!(
        message(&input(r#""shape":[1],"datatype":"FP32","data":[true]"#))
            .starts_with(r#"inputs[0] "x": "data": value 0 is true, expected FP32"#)
    );
}

#[test]
fn nan_and_infinity_get_a_line_that_says_json_has_none() {
    for word in ["NaN", "Infinity", "-Infinity"] {
        let line = message(&input(&format!(r#""shape":[2],"datatype":"FP32","data":[1,{word}]"#)));
        assert!(line.contains("no NaN and no infinity, so send binary data"), "{word}: {line}");
    }
}

#[test]
fn a_huge_shape_reserves_no_memory() {
    let body = input(r#""shape":[1152921504606846975],"datatype":"FP64","data":[]"#);
    assert!(message(&body).contains("has 0 values"));
}

#[test]
fn an_answer_is_written_field_by_field() {
    let outputs = [
        Tensor::new("label", vec![2], TensorData::Int64(vec![1, -2])).unwrap(),
        Tensor::new("p\"", vec![1, 2], TensorData::Fp32(vec![0.1, 1.0])).unwrap(),
        Tensor::new("b", vec![], TensorData::Bool(vec![true])).unwrap(),
    ];
    let answer = InferAnswer { model_name: "m", model_version: "3", id: Some("a\n") };
    let text = String::from_utf8(encode(answer, &outputs).unwrap()).unwrap();
    assert_eq!(
        text,
        concat!(
            r#"{"model_name":"m","model_version":"3","id":"a\n","outputs":["#,
            r#"{"name":"label","datatype":"INT64","shape":[2],"data":[1,-2]},"#,
            r#"{"name":"p\"","datatype":"FP32","shape":[1,2],"data":[0.1,1.0]},"#,
            r#"{"name":"b","datatype":"BOOL","shape":[],"data":[true]}]}"#
        )
    );
}

// === the binary tensor extension ===

/// `json` and behind it `binary`, with the length of the JSON.
fn mixed(json: &str, binary: &[u8]) -> (Vec<u8>, Option<usize>) {
    ([json.as_bytes(), binary].concat(), Some(json.len()))
}

const TWO: &str = r#"{"inputs":[
    {"name":"x","shape":[2],"datatype":"FP32","parameters":{"binary_data_size":8}},
    {"name":"j","shape":[1],"datatype":"INT8","data":[7]},
    {"name":"s","shape":[1],"datatype":"BYTES","parameters":{"binary_data_size":5}}],
    "parameters":{"binary_data_output":true,"timeout":2500},
    "outputs":[{"name":"a"},{"name":"b","parameters":{"binary_data":false}}]}"#;

#[test]
fn binary_inputs_stand_behind_the_json_in_order_beside_inputs_in_json() {
    let nan = f32::NAN.to_le_bytes();
    let binary = [&nan[..], &1.5_f32.to_le_bytes(), &[1, 0, 0, 0, b'z']].concat();
    let (body, json) = mixed(TWO, &binary);
    let request = decode_mixed(&body, json).unwrap();
    let TensorData::Fp32(x) = request.inputs[0].data() else { panic!() };
    assert_eq!((x[0].to_le_bytes(), x[1]), (nan, 1.5));
    assert_eq!(request.inputs[1].data(), &TensorData::Int8(vec![7]));
    assert_eq!(request.inputs[2].data(), &TensorData::Bytes(vec!["z".to_owned()]));
    assert_eq!(request.timeout, Some(Duration::from_micros(2500)));
    assert!(request.binary_outputs && request.outputs[0].binary && !request.outputs[1].binary);
}

#[test]
fn binary_data_that_does_not_add_up_is_named() {
    let x = |fields: &str| format!(r#"{{"inputs":[{{"name":"x","shape":[2],"datatype":"FP32",{fields}}}]}}"#);
    let size = |size: &str| x(&format!(r#""parameters":{{"binary_data_size":{size}}}"#));
    let message = |json: &str, binary: &[u8]| {
        let (body, length) = mixed(json, binary);
        decode_mixed(&body, length).unwrap_err().to_string()
    };
    let cases: [(String, &[u8], &str); 8] = [
        (size("8"), &[0; 7], "binary_data_size is 8, and only 7 bytes of binary data are left"),
        (size("8"), &[0; 9], "1 bytes behind the inputs' binary data belong to no input"),
        (size("4"), &[0; 4], "binary data has 1 values, shape [2] takes 2"),
        (size("6"), &[0; 6], "6 bytes are no whole number of 4-byte FP32 values"),
        (size("-1"), &[], "binary_data_size is -1, expected a number of bytes"),
        (size("\"8\""), &[0; 8], "expected a number of bytes"),
        (x(r#""data":[1,2],"parameters":{"binary_data_size":8}"#), &[0; 8], "both there"),
        (x(r#""data":[1,2],"parameters":{"shared_memory_region":"r"}"#), &[], "not supported here"),
    ];
    for (json, binary, line) in cases {
        let found = message(&json, binary);
        assert!(found.contains(line), "{found}");
    }
    assert!(
        decode_mixed(b"{}", Some(3))
            .unwrap_err()
            .to_string()
            .contains("is 3, and the request body has only 2 bytes")
    );
    let wrong = r#"{"inputs":[],"outputs":[{"name":"y","parameters":{"binary_data":1}}]}"#;
    assert!(
        message(wrong, &[])
            .contains("outputs[0] \"y\": the parameter \"binary_data\" is 1, expected true or false")
    );
    let wrong = r#"{"inputs":[],"parameters":{"timeout":"1s"}}"#;
    assert!(message(wrong, &[]).contains("expected whole microseconds"));
}

#[test]
fn each_output_has_the_form_that_was_asked_for() {
    let outputs = [
        Tensor::new("a", vec![2], TensorData::Fp32(vec![1.0, f32::NAN])).unwrap(),
        Tensor::new("b", vec![1], TensorData::Int64(vec![-1])).unwrap(),
        Tensor::new("c", vec![1], TensorData::Bytes(vec!["hi".to_owned()])).unwrap(),
    ];
    let answer = InferAnswer { model_name: "m", model_version: "1", id: None };
    let encoded = encode_mixed(answer, outputs.iter().zip([true, false, true])).unwrap();
    let (json, binary) = encoded.body.split_at(encoded.json.unwrap());
    assert_eq!(
        std::str::from_utf8(json).unwrap(),
        concat!(
            r#"{"model_name":"m","model_version":"1","outputs":["#,
            r#"{"name":"a","datatype":"FP32","shape":[2],"parameters":{"binary_data_size":8}},"#,
            r#"{"name":"b","datatype":"INT64","shape":[1],"data":[-1]},"#,
            r#"{"name":"c","datatype":"BYTES","shape":[1],"parameters":{"binary_data_size":6}}]}"#
        )
    );
    assert_eq!(
        binary,
        [&1.0_f32.to_le_bytes()[..], &f32::NAN.to_le_bytes(), &[2, 0, 0, 0, b'h', b'i']].concat()
    );
    let error = encode(answer, &outputs).unwrap_err();
    assert!(error.to_string().contains("binary data"), "{error}");
}

proptest! {
    #[test]
    fn any_body_is_read_or_refused_and_never_panics(body in prop::collection::vec(any::<u8>(), 0..200), json in 0..250_usize) {
        let _ = decode_mixed(&body, Some(json));
    }

    /// A good request with one byte changed anywhere.
    #[test]
    fn a_damaged_body_never_panics(at in any::<prop::sample::Index>(), byte in any::<u8>(), json in 0..500_usize) {
        let (mut body, length) = mixed(TWO, &[0; 13]);
        let at = at.index(body.len());
        body[at] = byte;
        let _ = decode_mixed(&body, length);
        let _ = decode_mixed(&body, Some(json));
    }
}
