//! Bodies of `POST /v1/models/{model}:predict`, by rows and by columns.

use switchback::inference::tensor::Dtype;
use switchback::inference::v1::{Form, InputType, decode, encode};

use super::{choose, same};

/// First byte: what the model takes.
pub fn run(data: &[u8]) {
    let (what, body) = choose(data);
    let dtype = Dtype::ALL[usize::from(what) % Dtype::ALL.len()];
    let one = [InputType { name: "x", dtype }];
    let two = [one[0], InputType { name: "b", dtype: Dtype::Bytes }];
    let types: &[InputType<'_>] = if what & 0x80 == 0 { &one } else { &two };
    let Ok(request) = decode(body, types) else { return };
    assert!(
        request
            .inputs
            .iter()
            .map(|input| (input.name(), input.dtype()))
            .eq(types.iter().map(|input| (input.name, input.dtype)))
    );
    if let Form::Rows(count) = request.form {
        let rows = |input: &switchback::inference::tensor::Tensor| input.shape().first().copied();
        assert!(request.inputs.iter().all(|input| rows(input) == i64::try_from(count).ok()));
    }
    let Ok(written) = encode(request.form, &request.inputs) else { return };
    let text = std::str::from_utf8(&written).expect("what is written is text");
    let again = match request.form {
        Form::Rows(_) => text.replacen("predictions", "instances", 1),
        Form::Columns => text.replacen("outputs", "inputs", 1),
    };
    let again = decode(again.as_bytes(), types).expect("what is written can be read");
    same::tensors(&request.inputs, &again.inputs);
}
