//! The beginning of a body, as text that people can read.

use std::fmt::{self, Write};

use serde::Serialize;

use super::redaction::Redaction;
use crate::inference::answer::{Content, Json, Limits, parse_json, to_json};

/// Values that are shown of a tensor.
const MAX_VALUES: usize = 1024;

/// A body, and what was understood of it.
#[derive(Debug, Clone, Copy)]
pub struct Body<'a> {
    /// The body without its content coding.
    pub bytes: &'a [u8],
    /// What it says.
    pub content: &'a Content,
}

/// The beginning of a body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Excerpt {
    /// What kind of content it is, such as `tensors` or `chat`.
    pub kind: &'static str,
    /// Length of the whole body, in bytes.
    pub bytes: u64,
    /// The text: JSON in the form in which it was sent, without blanks and with its keys sorted;
    /// binary tensors and streams as JSON.
    pub text: Option<String>,
    /// Whether more of it was there.
    pub truncated: bool,
    /// Why there is no text.
    pub left_out: Option<LeftOut>,
}

/// Why a body is not shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LeftOut {
    /// It is no text.
    Binary,
    /// Values are to be taken out, and pointers cannot reach into it.
    Redaction,
}

impl Excerpt {
    /// The first `max` bytes of a body's text; tensors stand under `list`.
    pub(super) fn of(body: Body<'_>, list: &str, redaction: &Redaction, max: usize) -> Self {
        let shown = show(body, list, redaction, max);
        let (text, truncated, left_out) = match shown {
            Ok((text, truncated)) => (Some(text), truncated, None),
            Err(why) => (None, false, Some(why)),
        };
        Self {
            kind: body.content.kind(),
            bytes: u64::try_from(body.bytes.len()).unwrap_or(u64::MAX),
            text,
            truncated,
            left_out,
        }
    }

    /// Memory that it takes, in bytes.
    pub(super) fn size(&self) -> usize {
        size_of::<Self>() + self.text.as_ref().map_or(0, String::len)
    }
}

fn show(body: Body<'_>, list: &str, redaction: &Redaction, max: usize) -> Result<(String, bool), LeftOut> {
    if matches!(body.content, Content::Empty) {
        return Ok((String::new(), false));
    }
    // A text that happens to be a number is still a text: pointers do not reach into it.
    let is_text = matches!(body.content, Content::Text(_));
    if let (false, Ok(mut json)) = (is_text, parse_json(body.bytes, &Limits::default())) {
        redaction.body(&mut json);
        return Ok(write(&json, max));
    }
    match (body.content, to_json(body.content, list, MAX_VALUES)) {
        (Content::Tensors(_), Some(mut json)) => {
            redaction.tensors(&mut json);
            Ok(write(&json, max))
        }
        _ if !redaction.is_empty() => Err(LeftOut::Redaction),
        (_, Some(json)) => Ok(write(&json, max)),
        (_, None) => {
            let text = std::str::from_utf8(body.bytes).map_err(|_| LeftOut::Binary)?;
            let cut = text.get(..text.floor_char_boundary(max)).unwrap_or_default();
            Ok((cut.to_owned(), cut.len() < text.len()))
        }
    }
}

/// The first `max` bytes of JSON text, and whether there were more.
fn write(json: &Json, max: usize) -> (String, bool) {
    let mut out = Bounded { text: String::new(), max };
    let truncated = write!(out, "{json}").is_err();
    (out.text, truncated)
}

/// Text up to a limit.
struct Bounded {
    text: String,
    max: usize,
}

impl Write for Bounded {
    fn write_str(&mut self, more: &str) -> fmt::Result {
        let left = self.max.saturating_sub(self.text.len());
        let fits = more.get(..more.floor_char_boundary(left)).unwrap_or_default();
        self.text.push_str(fits);
        if fits.len() < more.len() { Err(fmt::Error) } else { Ok(()) }
    }
}
