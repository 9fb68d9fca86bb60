//! The value by which requests are told apart, such as a region or a tenant's tier: known before a
//! version is drawn, so that no version can influence it.

use serde::{Deserialize, Serialize};

use crate::inference::answer::{Content, Json, element};
use crate::inference::pointer;

/// Longest value, in bytes; longer ones are cut.
pub const MAX_SEGMENT: usize = 64;

/// Where the value stands in a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum SegmentSpec {
    /// The header of that name.
    Header(String),
    /// The scalar at a JSON pointer (RFC 6901) in the body.
    Pointer(String),
    /// A value of an input tensor.
    Column {
        /// Name of the tensor.
        input: String,
        /// Position in row-major order.
        #[serde(default)]
        index: usize,
    },
}

/// What is there of a request.
#[derive(Debug, Clone, Copy)]
pub struct Sources<'a> {
    /// Value of the header that the spec names.
    pub header: Option<&'a str>,
    /// The body without its content coding.
    pub body: &'a [u8],
    /// The body, understood; needed for [`SegmentSpec::Column`] only.
    pub content: Option<&'a Content>,
}

/// The segment of a request: at most [`MAX_SEGMENT`] bytes, without control characters and blanks
/// at the ends. None where there is no value.
pub fn read(spec: &SegmentSpec, from: &Sources<'_>) -> Option<String> {
    let value = match spec {
        SegmentSpec::Header(_) => from.header?.to_owned(),
        SegmentSpec::Pointer(at) => pointer::read(from.body, at)?,
        SegmentSpec::Column { input, index } => column(from.content?, input, *index)?,
    };
    let mut clean: String = value.trim().chars().take(MAX_SEGMENT).filter(|c| !c.is_control()).collect();
    clean.truncate(clean.floor_char_boundary(MAX_SEGMENT));
    let clean = clean.trim();
    (!clean.is_empty()).then(|| clean.to_owned())
}

fn column(content: &Content, input: &str, index: usize) -> Option<String> {
    let Content::Tensors(inputs) = content else { return None };
    let wanted = inputs.iter().find(|found| found.tensor.name() == input)?;
    match element(wanted.tensor.data(), index)? {
        Json::String(text) => Some(text.to_string()),
        // One class and not two: `3.0` and `3` are the same number.
        Json::Float(number) => Some(number.to_string()),
        other => Some(other.to_string()),
    }
}
