//! The one number of an answer whose distribution is compared between versions.

use serde::{Deserialize, Serialize};

use super::values::{Named, Value, predictions, tensor_numbers, tensors};
use crate::inference::answer::{Answer, Content};

/// Where the number stands.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum ScoreSpec {
    /// In an output: a tensor, or a key of V1 predictions (`predictions` or `outputs` where they
    /// have none).
    Output {
        /// Its name.
        name: String,
        /// Position in row-major order.
        #[serde(default)]
        index: usize,
    },
    /// At a JSON pointer (RFC 6901) in a JSON answer.
    Pointer(String),
}

/// The number in `answer`; none where there is none, or where it is NaN or infinite. Truth values
/// are 0 and 1.
pub fn read(spec: &ScoreSpec, answer: &Answer) -> Option<f64> {
    let score = match (spec, &answer.content) {
        (ScoreSpec::Output { name, index }, Content::Tensors(outputs)) => {
            named(&tensors(outputs), name, *index)
        }
        (ScoreSpec::Output { name, index }, Content::Predictions(json)) => {
            named(&predictions(json), name, *index)
        }
        (ScoreSpec::Pointer(pointer), Content::Predictions(json) | Content::Json(json)) => {
            json.at(pointer)?.as_f64()
        }
        _ => None,
    };
    score.filter(|score| score.is_finite())
}

fn named(outputs: &[Named<'_>], name: &str, index: usize) -> Option<f64> {
    match &outputs.iter().find(|output| output.name == name)?.value {
        Value::Tensor(tensor) => tensor_numbers(tensor.data())?.get(index).copied(),
        Value::Numbers(numbers) => numbers.values.get(index).copied(),
        Value::Json(_) | Value::Said(_) => None,
    }
}
