//! Replaces string values of chosen keys in a JSON text that streams by.
//!
//! A value is held from its opening to its closing quote and no longer; every other byte passes
//! as it came. Malformed text, values that are no strings and names longer than anything that is
//! a name pass untouched.
//!
//! Where the length of the body was declared, it must be known before the first value is found.
//! So the declared length grows by the length of all that may be put in, and what was not needed
//! is made up by spaces behind the object, which JSON allows (RFC 8259 section 2).

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use smallvec::SmallVec;

use super::out::Out;
use crate::inference::json_scan::{Field, Mark, Scanner};

/// A name as the client wrote it, known from its path or learnt while its body passes: a JSON
/// string with its quotes for the JSON APIs, plain UTF-8 for gRPC.
pub(super) type Asked = Arc<OnceLock<Bytes>>;

/// What is put in the place of a value.
#[derive(Debug, Clone)]
pub(super) enum Value {
    /// The value stays.
    Keep,
    /// This JSON string.
    Put(Bytes),
    /// What the client asked for, once that is known.
    PutAsked(Asked),
}

/// One per field looked for, in the scanner's order.
pub(super) type Values = SmallVec<[Value; 3]>;

/// Longest value that is held, in bytes with its quotes. A longer one is no name and stays.
const MAX_VALUE: usize = 4096;

/// Replaces values in the bytes at an [`Out`]'s cursor.
#[derive(Debug)]
pub(super) struct Splice {
    scanner: Scanner,
    values: Values,
    /// Where the first value that was replaced is kept.
    learn: Option<Asked>,
    held: SmallVec<[Bytes; 2]>,
    holding: bool,
    /// Bytes by which the text may still grow; `None` is any number.
    room: Option<usize>,
}

impl Splice {
    pub(super) fn new(fields: &'static [Field], values: Values, learn: Option<Asked>) -> Self {
        let scanner = Scanner::new(fields);
        Self { scanner, values, learn, held: SmallVec::new(), holding: false, room: None }
    }

    /// Passes the next `left` bytes, values in them replaced.
    pub(super) fn feed(&mut self, out: &mut Out, mut left: usize) {
        while let Some(bytes) = out.rest().get(..left).filter(|bytes| !bytes.is_empty()) {
            let (consumed, mark) = self.scanner.advance(bytes);
            left -= consumed;
            match mark {
                Some(Mark::Begin(field)) if self.replacement(field).is_some() => {
                    out.pass(consumed - 1);
                    self.holding = true;
                    self.held.push(out.cut(1));
                }
                Some(Mark::End(field)) if self.holding => {
                    self.held.push(out.cut(consumed));
                    self.close(field, out);
                }
                _ if self.holding => {
                    self.held.push(out.cut(consumed));
                    if self.held_bytes() > MAX_VALUE {
                        self.release(out);
                    }
                }
                _ => out.pass(consumed),
            }
        }
    }

    /// Lets go of a value that has not ended, as it was.
    pub(super) fn release(&mut self, out: &mut Out) {
        self.holding = false;
        for piece in self.held.drain(..) {
            out.put(piece);
        }
    }

    /// The text has ended and another one begins.
    pub(super) fn next_text(&mut self, out: &mut Out) {
        self.release(out);
        self.scanner.reset();
    }

    /// The line ends inside of the text (SSE). In a value that is not JSON: it is given up.
    pub(super) fn line_break(&mut self, out: &mut Out) {
        if self.holding {
            self.release(out);
            self.scanner.abandon();
        }
        self.scanner.advance(b"\n");
    }

    fn close(&mut self, field: usize, out: &mut Out) {
        let held = self.held_bytes();
        if held > MAX_VALUE {
            return self.release(out);
        }
        if let Some(asked) = self.learn.take() {
            let literal = self.held.concat();
            // Only what is a JSON string is ever put into an answer.
            if serde_json::from_slice::<String>(&literal).is_ok() {
                let _ = asked.set(literal.into());
            }
        }
        let Some(new) = self.replacement(field).cloned() else { return self.release(out) };
        if let Some(room) = &mut self.room {
            match (*room + held).checked_sub(new.len()) {
                Some(after) => *room = after,
                None => return self.release(out),
            }
        }
        self.holding = false;
        self.held.clear();
        out.put(new);
    }

    fn held_bytes(&self) -> usize {
        self.held.iter().map(Bytes::len).sum()
    }

    fn replacement(&self, field: usize) -> Option<&Bytes> {
        match self.values.get(field)? {
            Value::Keep => None,
            Value::Put(literal) => Some(literal),
            Value::PutAsked(asked) => asked.get(),
        }
    }
}

/// The editor of a body that is a JSON text, or begins with one.
#[derive(Debug)]
pub(super) struct JsonEdit {
    splice: Splice,
    /// Bytes of JSON still to come; `None` is the whole body.
    left: Option<u64>,
    /// Whether padding is still to be put behind the text.
    open: bool,
}

impl JsonEdit {
    /// Edits a whole body.
    pub(super) fn new(splice: Splice) -> Self {
        Self { splice, left: None, open: true }
    }

    /// Edits only the first `length` bytes of a body.
    pub(super) fn of_head(splice: Splice, length: u64) -> Self {
        Self { splice, left: Some(length), open: true }
    }

    /// Makes the text grow by exactly as many bytes as are returned, whatever is replaced.
    pub(super) fn pad(&mut self) -> usize {
        let count = self.splice.values.len();
        let growth = (0..count).filter_map(|f| self.splice.replacement(f)).map(Bytes::len).sum();
        self.splice.room = Some(growth);
        growth
    }

    /// Takes the promise of [`JsonEdit::pad`] back, unless it is that of a head.
    pub(super) fn unpad(&mut self) {
        if self.left.is_none() {
            self.splice.room = None;
        }
    }

    pub(super) fn push(&mut self, out: &mut Out) {
        let all = out.rest().len();
        let text = match &mut self.left {
            None => all,
            Some(left) => {
                let text = usize::try_from(*left).unwrap_or(usize::MAX).min(all);
                *left -= u64::try_from(text).unwrap_or(0);
                text
            }
        };
        self.splice.feed(out, text);
        if self.left == Some(0) {
            self.finish(out);
        }
    }

    pub(super) fn finish(&mut self, out: &mut Out) {
        if std::mem::take(&mut self.open) {
            self.splice.release(out);
            out.put(vec![b' '; self.splice.room.unwrap_or(0)].into());
        }
    }
}
