//! The values by which requests are told apart, such as a region, a tenant's tier or an age group:
//! known before a version is drawn, so that no version can influence them.

use super::values::width;
use crate::inference::answer::{Content, Json, element};

/// Longest value, in bytes; longer ones are cut.
pub const MAX_SEGMENT: usize = 64;

/// Where a value stands among the inputs of a request: in the first row, where there are several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    /// Name of the input tensor, or of the key that holds rows, such as `instances`.
    pub input: String,
    /// Which value of a row.
    pub at: At,
}

/// Which value of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum At {
    /// The one at this position along the last axis.
    Index(usize),
    /// The one under this key, where rows are objects, or where columns have keys.
    Key(String),
}

/// The value of a request as text; none where there is no single value.
pub fn column(spec: &ColumnSpec, request: &Content) -> Option<String> {
    match request {
        Content::Tensors(inputs) => {
            let At::Index(index) = spec.at else { return None };
            let wanted = inputs.iter().find(|found| found.tensor.name() == spec.input)?;
            if index >= width(wanted.tensor.shape()) {
                return None;
            }
            text(&element(wanted.tensor.data(), index)?)
        }
        Content::Json(json) | Content::Predictions(json) => {
            let rows = json.get(&spec.input)?;
            match &spec.at {
                At::Index(index) => {
                    let mut row = rows;
                    // The last axis, however many stand before it.
                    while let Some([first @ Json::Array(_), ..]) = row.as_array() {
                        row = first;
                    }
                    text(row.as_array()?.get(*index)?)
                }
                At::Key(key) => {
                    let row = rows.as_array().map_or(Some(rows), <[Json]>::first)?;
                    let mut value = row.get(key)?;
                    while let Some([first, ..]) = value.as_array() {
                        value = first;
                    }
                    text(value)
                }
            }
        }
        _ => None,
    }
}

fn text(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.to_string()),
        Json::Integer(number) => Some(number.to_string()),
        // One class and not two: `3.0` and `3` are the same number.
        Json::Float(number) => Some(number.to_string()),
        Json::Bool(flag) => Some(flag.to_string()),
        Json::Null | Json::Array(_) | Json::Object(_) => None,
    }
}

/// A value as a segment's name: at most [`MAX_SEGMENT`] bytes, without control characters and blanks at
/// the ends. None where nothing is left of it.
pub fn clean(value: &str) -> Option<String> {
    let mut clean: String = value.trim().chars().take(MAX_SEGMENT).filter(|c| !c.is_control()).collect();
    clean.truncate(clean.floor_char_boundary(MAX_SEGMENT));
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

/// The name of the bin that a number falls into: `<18`, `18..65` or `>=65` for the edges 18 and 65. An
/// edge belongs to the bin above it. None for what is no finite number.
pub fn bin(edges: &[f64], value: &str) -> Option<String> {
    let number: f64 = value.trim().parse().ok().filter(|number: &f64| number.is_finite())?;
    let above = edges.partition_point(|edge| *edge <= number);
    let (low, high) = (above.checked_sub(1).and_then(|at| edges.get(at)), edges.get(above));
    match (low, high) {
        (None, Some(high)) => Some(format!("<{high}")),
        (Some(low), Some(high)) => Some(format!("{low}..{high}")),
        (Some(low), None) => Some(format!(">={low}")),
        (None, None) => None,
    }
}
