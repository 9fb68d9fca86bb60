//! What a model takes, as its metadata says (Open Inference Protocol v2, "Model Metadata").

use serde::Deserialize;

use crate::inference::tensor::Dtype;

/// An input of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InputMeta {
    /// Its name.
    pub name: String,
    /// Type of its values.
    pub dtype: Dtype,
    /// Its dimensions; -1 where the model takes any.
    pub shape: Vec<i64>,
}

#[derive(Deserialize)]
struct Document {
    #[serde(default)]
    inputs: Vec<Input>,
}

#[derive(Deserialize)]
struct Input {
    name: String,
    datatype: String,
    #[serde(default)]
    shape: Vec<i64>,
}

/// The inputs that a metadata document names.
///
/// # Errors
/// One line: what is wrong with it.
pub fn from_json(text: &[u8]) -> Result<Vec<InputMeta>, String> {
    let document: Document = serde_json::from_slice(text)
        .map_err(|error| format!("the metadata is not what it should be: {error}"))?;
    let inputs = document.inputs.into_iter().map(|input| {
        let dtype = Dtype::from_name(&input.datatype)
            .ok_or_else(|| format!("input {:?} has the unknown type {:?}", input.name, input.datatype))?;
        Ok(InputMeta { name: input.name, dtype, shape: input.shape })
    });
    let inputs = inputs.collect::<Result<Vec<_>, String>>()?;
    match inputs.is_empty() {
        true => Err("the metadata names no inputs: give a file of inputs".to_owned()),
        false => Ok(inputs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn inputs_are_read_and_mistakes_are_named() {
        let good = br#"{"name":"m","inputs":[{"name":"x","datatype":"FP32","shape":[-1,4]}],"outputs":[]}"#;
        let meta = InputMeta { name: "x".into(), dtype: Dtype::Fp32, shape: vec![-1, 4] };
        assert_eq!(from_json(good).unwrap(), [meta]);
        for (text, part) in [
            ("{}", "names no inputs"),
            ("7", "not what it should be"),
            (r#"{"inputs":[{"name":"x","datatype":"FLOAT"}]}"#, "unknown type \"FLOAT\""),
        ] {
            assert!(from_json(text.as_bytes()).unwrap_err().contains(part), "{text}");
        }
    }
}
