//! Reading JSON that model servers write, tolerantly and within bounds.
//!
//! Beside RFC 8259 it takes NaN and infinities in the spellings of Python, JavaScript and C, with
//! a sign or without, because servers in those languages write them and they are just what a
//! comparison must see. Values are pulled one after the other, so tensors become typed vectors
//! without a tree between. Depth, number of values and length of strings are bounded.

use std::borrow::Cow;

use super::json::Json;
use super::types::{Limits, Undecodable};

/// A place in a JSON text.
#[derive(Debug)]
pub(super) struct Reader<'a> {
    text: &'a str,
    at: usize,
    depth: usize,
    elements: usize,
    limits: &'a Limits,
}

type Result<T> = std::result::Result<T, Undecodable>;

impl<'a> Reader<'a> {
    /// A reader of `body`, which must be UTF-8; a byte order mark is passed over.
    pub(super) fn new(body: &'a [u8], limits: &'a Limits) -> Result<Self> {
        let text = std::str::from_utf8(body)
            .map_err(|error| Undecodable::malformed(format!("JSON that is not UTF-8: {error}")))?;
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        Ok(Self { text, at: 0, depth: 0, elements: limits.elements, limits })
    }

    /// Reads one whole text.
    pub(super) fn read(body: &'a [u8], limits: &'a Limits) -> Result<Json> {
        let mut reader = Self::new(body, limits)?;
        let value = reader.value()?;
        reader.end()?;
        Ok(value)
    }

    /// A reader of a part of this text that [`Reader::skip`] gave, with what is left of the bounds.
    pub(super) fn part(&self, text: &'a str) -> Self {
        Self { text, at: 0, depth: self.depth, elements: self.elements, limits: self.limits }
    }

    /// Takes over what reading `part` used up of the bounds.
    pub(super) fn spend(&mut self, part: &Self) {
        self.elements = part.elements;
    }

    /// The next value.
    pub(super) fn value(&mut self) -> Result<Json> {
        self.count()?;
        Ok(match self.peek() {
            Some(b'{') => {
                let mut members = Vec::new();
                self.object(|reader, key| {
                    members.push((key.into(), reader.value()?));
                    Ok(())
                })?;
                Json::object(members)
            }
            Some(b'[') => {
                let mut items = Vec::new();
                self.array(|reader| {
                    items.push(reader.value()?);
                    Ok(())
                })?;
                items.shrink_to_fit();
                Json::Array(items)
            }
            Some(b'"') => Json::String(self.string()?.into()),
            _ => scalar(self.token()).ok_or_else(|| self.unexpected("a value"))?,
        })
    }

    /// Passes over the next value and gives its text.
    pub(super) fn skip(&mut self) -> Result<&'a str> {
        self.peek();
        let from = self.at;
        self.pass()?;
        Ok(self.text.get(from..self.at).unwrap_or_default())
    }

    fn pass(&mut self) -> Result<()> {
        match self.peek() {
            Some(b'{') => self.object(|reader, _| reader.pass()),
            Some(b'[') => self.array(Self::pass),
            Some(b'"') => self.raw_string().map(drop),
            _ => scalar(self.token()).map(drop).ok_or_else(|| self.unexpected("a value")),
        }
    }

    /// The members of an object; `member` must read or skip the value.
    pub(super) fn object(&mut self, mut member: impl FnMut(&mut Self, &str) -> Result<()>) -> Result<()> {
        self.enter(b'{', "an object")?;
        if self.take(b'}') {
            return self.leave();
        }
        loop {
            self.count()?;
            let key = self.string()?;
            if !self.take(b':') {
                return Err(self.unexpected("a colon"));
            }
            member(self, &key)?;
            if self.take(b'}') {
                return self.leave();
            }
            if !self.take(b',') {
                return Err(self.unexpected("a comma or the end of an object"));
            }
        }
    }

    /// The items of an array; `item` must read or skip each.
    pub(super) fn array(&mut self, mut item: impl FnMut(&mut Self) -> Result<()>) -> Result<()> {
        self.enter(b'[', "an array")?;
        if self.take(b']') {
            return self.leave();
        }
        loop {
            item(self)?;
            if self.take(b']') {
                return self.leave();
            }
            if !self.take(b',') {
                return Err(self.unexpected("a comma or the end of an array"));
            }
        }
    }

    /// A string.
    pub(super) fn string(&mut self) -> Result<Cow<'a, str>> {
        let quoted = self.raw_string()?;
        if !quoted.contains('\\') {
            let inner = quoted.get(1..quoted.len().saturating_sub(1));
            return Ok(Cow::Borrowed(inner.unwrap_or_default()));
        }
        serde_json::from_str(quoted)
            .map(Cow::Owned)
            .map_err(|error| Undecodable::malformed(format!("a string is not valid JSON: {error}")))
    }

    /// The bytes of a number, a word or anything else up to the next delimiter.
    pub(super) fn token(&mut self) -> &'a str {
        self.peek();
        let rest = self.rest();
        let end = rest.bytes().position(is_delimiter).unwrap_or(rest.len());
        let token = rest.get(..end).unwrap_or_default();
        self.at += token.len();
        token
    }

    /// The first byte of what comes, blanks passed over.
    pub(super) fn peek(&mut self) -> Option<u8> {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_ascii_start().len();
        self.text.as_bytes().get(self.at).copied()
    }

    /// Nothing may follow.
    pub(super) fn end(&mut self) -> Result<()> {
        if self.peek().is_none() { Ok(()) } else { Err(self.unexpected("the end")) }
    }

    /// Counts one value.
    pub(super) fn count(&mut self) -> Result<()> {
        self.elements = self.elements.checked_sub(1).ok_or(Undecodable::Limit("JSON values"))?;
        Ok(())
    }

    /// What comes is not what was expected.
    pub(super) fn unexpected(&self, expected: &str) -> Undecodable {
        let found: String = self.rest().chars().take(16).collect();
        Undecodable::malformed(match found.is_empty() {
            true => format!("JSON is cut off, expected {expected}"),
            false => format!("JSON has {found:?} at byte {}, expected {expected}", self.at),
        })
    }

    fn rest(&self) -> &'a str {
        self.text.get(self.at..).unwrap_or_default()
    }

    fn take(&mut self, byte: u8) -> bool {
        let here = self.peek() == Some(byte);
        self.at += usize::from(here);
        here
    }

    fn enter(&mut self, byte: u8, what: &str) -> Result<()> {
        if !self.take(byte) {
            return Err(self.unexpected(what));
        }
        self.depth += 1;
        if self.depth > self.limits.depth { Err(Undecodable::Limit("JSON depth")) } else { Ok(()) }
    }

    fn leave(&mut self) -> Result<()> {
        self.depth -= 1;
        Ok(())
    }

    /// A string with its quotes, escapes as they are written.
    fn raw_string(&mut self) -> Result<&'a str> {
        if self.peek() != Some(b'"') {
            return Err(self.unexpected("a string"));
        }
        let rest = self.rest();
        let bytes = rest.as_bytes();
        let mut end = 1;
        loop {
            let Some(next) = bytes.get(end..).and_then(|b| b.iter().position(|b| matches!(b, b'"' | b'\\')))
            else {
                return Err(Undecodable::malformed("JSON is cut off within a string"));
            };
            end += next + 1;
            if bytes.get(end - 1) == Some(&b'"') {
                break;
            }
            end += 1;
        }
        if end > self.limits.string_bytes.saturating_add(2) {
            return Err(Undecodable::Limit("string bytes"));
        }
        self.at += end;
        rest.get(..end).ok_or_else(|| self.unexpected("a string"))
    }
}

fn is_delimiter(byte: u8) -> bool {
    matches!(byte, b',' | b']' | b'}' | b'[' | b'{' | b':' | b'"' | b' ' | b'\n' | b'\r' | b'\t')
}

/// The value that a bare token stands for.
fn scalar(token: &str) -> Option<Json> {
    Some(match token {
        "null" => Json::Null,
        "true" => Json::Bool(true),
        "false" => Json::Bool(false),
        _ => match integer(token) {
            Some(number) => Json::Integer(number),
            None => Json::Float(float(token)?),
        },
    })
}

/// The integer of a token that has neither fraction nor exponent.
pub(super) fn integer(token: &str) -> Option<i128> {
    let digits = token.strip_prefix('-').unwrap_or(token);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    plain.then(|| token.parse().ok()).flatten()
}

/// The number of a token; also the words for NaN and infinity.
pub(super) fn float(token: &str) -> Option<f64> {
    let (sign, size) = match token.strip_prefix('-') {
        Some(size) => (-1.0, size),
        None => (1.0, token.strip_prefix('+').unwrap_or(token)),
    };
    let size = match size {
        "NaN" | "nan" | "NAN" => f64::NAN,
        "Infinity" | "infinity" | "Inf" | "inf" | "INF" => f64::INFINITY,
        _ if size.starts_with(|c: char| c.is_ascii_digit()) => size.parse().ok()?,
        _ => return None,
    };
    Some(sign * size)
}
