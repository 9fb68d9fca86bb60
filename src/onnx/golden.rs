//! Known answers that a version must give before it gets traffic: `golden.json` in its folder.
//!
//! ```json
//! {
//!   "tolerance": {"absolute": 1e-5, "relative": 1e-3},
//!   "examples": [{
//!     "inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}],
//!     "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "data": [0.731]}]
//!   }]
//! }
//! ```
//!
//! Tensors are written as in the Open Inference Protocol. Outputs that are not named are not
//! compared, and an example may name none: it is a recorded sample then, which has to be answered. A number agrees when it differs by no more than `absolute` plus `relative` times the
//! number expected; everything else has to be the same. The inputs serve as the warm-up as well.

use std::path::Path;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::inference::tensor::{Tensor, TensorData};
use crate::inference::v2_json;

use super::error::EngineError;
use super::files;

/// Name of the file.
const FILE: &str = "golden.json";
/// Longest file, in bytes.
const LONGEST: u64 = 64 * 1024 * 1024;

/// The examples of a version.
#[derive(Debug, Clone, PartialEq)]
pub struct Golden {
    pub(super) examples: Vec<Example>,
}

/// Inputs and what must come out.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Example {
    pub(super) inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
    tolerance: Tolerance,
}

/// By how much numbers may differ.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
struct Tolerance {
    #[serde(default = "Tolerance::absolute")]
    absolute: f64,
    #[serde(default = "Tolerance::relative")]
    relative: f64,
}

impl Tolerance {
    fn absolute() -> f64 {
        1e-5
    }

    fn relative() -> f64 {
        1e-3
    }
}

impl Default for Tolerance {
    fn default() -> Self {
        Self { absolute: Self::absolute(), relative: Self::relative() }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Raw<'a> {
    #[serde(default)]
    tolerance: Tolerance,
    #[serde(borrow)]
    examples: Vec<RawExample<'a>>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RawExample<'a> {
    #[serde(borrow)]
    inputs: &'a RawValue,
    #[serde(borrow)]
    outputs: Option<&'a RawValue>,
    tolerance: Option<Tolerance>,
}

/// Reads the file in `folder`; `None` when there is none.
///
/// # Errors
/// What is wrong with it, in one line that names it.
pub(super) fn read(folder: &Path) -> Result<Option<Golden>, String> {
    let path = folder.join(FILE);
    let Some(bytes) = files::read_small(&path, LONGEST)? else { return Ok(None) };
    Golden::parse(&bytes).map(Some).map_err(|error| format!("{}: {error}", path.display()))
}

fn parse(bytes: &[u8]) -> Result<Golden, String> {
    let raw: Raw<'_> = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    let examples = raw.examples.iter().enumerate().map(|(at, example)| {
        let tensors = |what: &str, json: &RawValue| {
            // The decoder of requests reads tensors under one name.
            let request = format!(r#"{{"inputs":{}}}"#, json.get());
            let read = v2_json::decode(request.as_bytes()).map(|request| request.inputs);
            read.map_err(|error| format!("examples[{at}].{what}: {error}"))
        };
        Ok(Example {
            inputs: tensors("inputs", example.inputs)?,
            outputs: example.outputs.map_or(Ok(Vec::new()), |outputs| tensors("outputs", outputs))?,
            tolerance: example.tolerance.unwrap_or(raw.tolerance),
        })
    });
    let examples: Vec<Example> = examples.collect::<Result<_, String>>()?;
    if examples.is_empty() { Err("it has no examples".to_owned()) } else { Ok(Golden { examples }) }
}

impl Golden {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// What is wrong and where, in one line.
    pub fn parse(bytes: &[u8]) -> Result<Self, String> {
        parse(bytes)
    }

    /// Has `run` answer each example.
    ///
    /// # Errors
    /// The first difference: example, output, place, what was expected and what was found.
    pub fn check(
        &self,
        mut run: impl FnMut(Vec<Tensor>) -> Result<Vec<Tensor>, EngineError>,
    ) -> Result<(), String> {
        for (at, example) in self.examples.iter().enumerate() {
            let about = |reason: String| format!("{FILE}, examples[{at}]: {reason}");
            let outputs = run(example.inputs.clone()).map_err(|error| about(error.to_string()))?;
            for expected in &example.outputs {
                let found = outputs.iter().find(|output| output.name() == expected.name());
                let found = found.ok_or_else(|| about(format!("no output {:?}", expected.name())))?;
                if let Some(difference) = difference(expected, found, example.tolerance) {
                    return Err(about(format!("output {:?}: {difference}", expected.name())));
                }
            }
        }
        Ok(())
    }
}

fn difference(expected: &Tensor, found: &Tensor, tolerance: Tolerance) -> Option<String> {
    if expected.shape() != found.shape() {
        return Some(format!("expected shape {:?}, found {:?}", expected.shape(), found.shape()));
    }
    let differ = |at: usize, expected: &dyn std::fmt::Display, found: &dyn std::fmt::Display| {
        Some(format!("value {at}: expected {expected}, found {found}"))
    };
    if let (TensorData::Bytes(expected), TensorData::Bytes(found)) = (expected.data(), found.data()) {
        let at = expected.iter().zip(found).position(|(a, b)| a != b)?;
        return differ(at, &format!("{:?}", expected.get(at)?), &format!("{:?}", found.get(at)?));
    }
    if expected.dtype() != found.dtype() {
        return Some(format!("expected datatype {}, found {}", expected.dtype(), found.dtype()));
    }
    match (numbers(expected.data()), numbers(found.data())) {
        (Some(expected), Some(found)) => {
            let agrees = |a: f64, b: f64| (a - b).abs() <= tolerance.absolute + tolerance.relative * a.abs();
            let at = expected.iter().zip(&found).position(|(a, b)| !agrees(*a, *b))?;
            differ(at, expected.get(at)?, found.get(at)?)
        }
        // Whole numbers and truth values.
        _ if expected.data() == found.data() => None,
        _ => Some(format!("expected {}, found {}", start(expected.data()), start(found.data()))),
    }
}

/// Values of fractional types.
fn numbers(data: &TensorData) -> Option<Vec<f64>> {
    Some(match data {
        TensorData::Fp16(values) => values.iter().map(|value| value.to_f64()).collect(),
        TensorData::Bf16(values) => values.iter().map(|value| value.to_f64()).collect(),
        TensorData::Fp32(values) => values.iter().map(|value| f64::from(*value)).collect(),
        TensorData::Fp64(values) => values.clone(),
        _ => return None,
    })
}

/// The first values, for people.
fn start(data: &TensorData) -> String {
    let text = crate::inference::tensor::with_values!(data, values => {
        format!("{:?}", values.get(..values.len().min(8)).unwrap_or_default())
    });
    if data.len() > 8 { format!("{text} and so on") } else { text }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TEXT: &str = r#"{"tolerance": {"absolute": 0.01, "relative": 0}, "examples": [
        {"inputs": [{"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2]}],
         "outputs": [{"name": "y", "datatype": "FP32", "shape": [2], "data": [1, 4]},
                     {"name": "label", "datatype": "INT64", "shape": [1], "data": [3]}]}]}"#;

    fn answers(y: [f32; 2], label: i64) -> Vec<Tensor> {
        vec![
            Tensor::new("label", vec![1], TensorData::Int64(vec![label])).unwrap(),
            Tensor::new("y", vec![2], TensorData::Fp32(y.to_vec())).unwrap(),
        ]
    }

    fn checked(outputs: Vec<Tensor>) -> Result<(), String> {
        parse(TEXT.as_bytes()).unwrap().check(|inputs| {
            assert_eq!(inputs[0].data(), &TensorData::Fp32(vec![1.0, 2.0]));
            Ok(outputs.clone())
        })
    }

    #[test]
    fn answers_within_the_tolerance_are_right_and_others_are_named() {
        checked(answers([1.009, 3.991], 3)).unwrap();
        assert_eq!(
            checked(answers([1.0, 4.5], 3)).unwrap_err(),
            "golden.json, examples[0]: output \"y\": value 1: expected 4, found 4.5"
        );
        assert!(checked(answers([1.0, f32::NAN], 3)).unwrap_err().contains("found NaN"));
        assert_eq!(
            checked(answers([1.0, 4.0], 2)).unwrap_err(),
            "golden.json, examples[0]: output \"label\": expected [3], found [2]"
        );
        assert!(checked(Vec::new()).unwrap_err().contains("no output \"y\""));
        let failed = parse(TEXT.as_bytes()).unwrap().check(|_| Err(EngineError::Failed("odd".into())));
        assert!(failed.unwrap_err().contains("examples[0]: the model failed: odd"));
    }

    #[test]
    fn an_example_without_outputs_is_a_sample_that_has_to_be_answered() {
        let text = r#"{"examples": [{"inputs": [{"name": "x", "datatype": "BOOL", "shape": [1], "data": [true]}]}]}"#;
        let golden = parse(text.as_bytes()).unwrap();
        golden.check(|_| Ok(answers([1.0, 2.0], 3))).unwrap();
        assert!(golden.check(|_| Err(EngineError::Failed("odd".into()))).is_err());
    }

    #[test]
    fn mistakes_in_the_file_have_a_place() {
        let says = |text: &str| parse(text.as_bytes()).unwrap_err();
        assert!(says(r#"{"examples": []}"#).contains("no examples"));
        assert!(says(r#"{"examples": [{"inputs": [], "output": []}]}"#).contains("output"));
        let short = TEXT.replace("[1, 4]", "[1]");
        assert!(says(&short).contains("examples[0].outputs"), "{}", says(&short));
    }

    proptest! {
        #[test]
        fn whatever_the_file_holds_nothing_panics(text in "[\\[\\]{}\":,a-z0-9 ]{0,100}") {
            let _ = parse(text.as_bytes());
        }
    }
}
