//! The numbers of a request whose distribution is held against that of the training.

use serde::{Deserialize, Serialize};

use super::values::{Value, json_numbers, tensor_numbers, tensors, width};
use crate::inference::answer::Content;

/// Most rows of one request that are looked at.
const ROWS: usize = 1024;

/// An input feature whose distribution is watched.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct FeatureSpec {
    /// Where it stands in a request.
    pub source: FeatureSource,
    /// Where one bin ends and the next begins: finite, rising, one fewer than bins. The value itself
    /// belongs to the next bin.
    pub edges: Vec<f64>,
}

/// Where a feature stands in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum FeatureSource {
    /// A column of an input tensor, or of a key that holds rows of numbers, such as `instances`.
    Column {
        /// Name of the tensor or key.
        input: String,
        /// Position along the last axis.
        column: usize,
    },
    /// A JSON pointer (RFC 6901) into a JSON request.
    Pointer(String),
}

/// The bins that the values of one request fall into: one for each row, at most 1024. Values that are
/// no numbers, NaN or infinite are left out.
pub fn bins(spec: &FeatureSpec, request: &Content) -> Vec<usize> {
    values(&spec.source, request)
        .into_iter()
        .filter(|value| value.is_finite())
        .map(|value| spec.edges.partition_point(|edge| *edge <= value))
        .collect()
}

fn values(source: &FeatureSource, request: &Content) -> Vec<f64> {
    match (source, request) {
        (FeatureSource::Column { input, column }, Content::Tensors(inputs)) => {
            let named = tensors(inputs);
            let found = named.iter().find(|tensor| tensor.name == *input).map(|tensor| &tensor.value);
            let Some(Value::Tensor(tensor)) = found else { return Vec::new() };
            let Some(numbers) = tensor_numbers(tensor.data()) else { return Vec::new() };
            at(&numbers, width(tensor.shape()), *column)
        }
        (FeatureSource::Column { input, column }, Content::Json(json) | Content::Predictions(json)) => {
            let Some(rows) = json.get(input).and_then(json_numbers) else { return Vec::new() };
            at(&rows.values, width(&rows.shape), *column)
        }
        (FeatureSource::Pointer(pointer), Content::Json(json) | Content::Predictions(json)) => {
            json.at(pointer).and_then(|value| value.as_f64()).into_iter().collect()
        }
        _ => Vec::new(),
    }
}

fn at(values: &[f64], width: usize, column: usize) -> Vec<f64> {
    if column >= width {
        return Vec::new();
    }
    values.chunks_exact(width).take(ROWS).filter_map(|row| row.get(column).copied()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::answer::{Limits, RawRequest, read_request};
    use crate::inference::path;

    fn request(path: &str, body: &str) -> Content {
        let raw = RawRequest {
            api: path::parse(path),
            content_type: Some("application/json"),
            content_encoding: None,
            inference_header_length: None,
            body: body.as_bytes(),
        };
        read_request(&raw, &Limits::default())
    }

    fn column(input: &str, column: usize) -> FeatureSpec {
        let source = FeatureSource::Column { input: input.to_owned(), column };
        FeatureSpec { source, edges: vec![0.0, 10.0] }
    }

    #[test]
    fn each_row_of_a_tensor_falls_into_a_bin_and_an_edge_belongs_to_the_next() {
        let body = r#"{"inputs":[{"name":"x","datatype":"FP32","shape":[3,2],"data":[-1,5,0,9,3,10]}]}"#;
        let request = request("/v2/models/m/infer", body);
        assert_eq!(bins(&column("x", 0), &request), [0, 1, 1]);
        assert_eq!(bins(&column("x", 1), &request), [1, 1, 2]);
        assert_eq!(bins(&column("x", 2), &request), [0; 0]);
        assert_eq!(bins(&column("y", 0), &request), [0; 0]);
    }

    #[test]
    fn rows_of_json_and_single_values_are_read_and_what_is_no_number_is_left_out() {
        let rows = request("/v1/models/m:predict", r#"{"instances":[[1,20],[-3,4]],"age":7,"name":"x"}"#);
        assert_eq!(bins(&column("instances", 1), &rows), [2, 1]);
        let at = |pointer: &str| FeatureSpec {
            source: FeatureSource::Pointer(pointer.to_owned()),
            edges: vec![0.0, 10.0],
        };
        assert_eq!(bins(&at("/age"), &rows), [1]);
        assert_eq!(bins(&at("/instances/0/1"), &rows), [2]);
        assert_eq!(bins(&at("/name"), &rows), [0; 0]);
        assert_eq!(bins(&at("/age"), &Content::Empty), [0; 0]);
    }
}
