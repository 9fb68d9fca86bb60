//! Finds string values of chosen keys while a JSON object streams by in chunks of any size.
//!
//! The scanner says where such a value begins and ends; what happens to the bytes is its caller's
//! business: reading, replacing, or nothing. It keeps some forty bytes of state, whatever the
//! size of the text. It is no validator: text that is not a JSON object (RFC 8259) makes it give
//! up quietly, as if the keys were absent, and so does everything behind the object's end.

use smallvec::SmallVec;

/// A key of the top-level object, or of an object that is the value of its key `parent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field {
    /// Key of the enclosing object; `None` for the top level itself.
    pub parent: Option<&'static str>,
    /// The key, at most [`MAX_KEY`] bytes.
    pub key: &'static str,
}

impl Field {
    /// A key of the top-level object.
    pub const fn top(key: &'static str) -> Self {
        Self { parent: None, key }
    }

    /// Key `key` of the object at the top-level key `parent`.
    pub const fn within(parent: &'static str, key: &'static str) -> Self {
        Self { parent: Some(parent), key }
    }
}

/// Longest key that can be looked for, in bytes.
pub const MAX_KEY: usize = 32;

/// Something the scanner came upon, by the field's position in the list it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mark {
    /// The last byte consumed is the opening quote of the field's string value.
    Begin(usize),
    /// The last byte consumed is its closing quote.
    End(usize),
}

/// The scanner. One per JSON text.
#[derive(Debug, Clone)]
pub struct Scanner {
    fields: &'static [Field],
    state: State,
    /// The key being read or just read, decoded. Longer keys are cut and so match nothing.
    key: SmallVec<[u8; MAX_KEY + 1]>,
    /// The enclosing object's key when inside one that matters.
    parent: Option<&'static str>,
    /// The field whose string is being passed.
    wanted: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// Before the object.
    Start,
    /// Before a key or the end of the object.
    BeforeKey,
    InKey,
    InKeyEscape,
    InKeyHex {
        left: u8,
        value: u32,
    },
    BeforeColon,
    BeforeValue,
    InString {
        escaped: bool,
    },
    InScalar,
    /// In an array or object that does not matter, `depth` levels deep.
    InNested {
        depth: u64,
    },
    InNestedString {
        depth: u64,
        escaped: bool,
    },
    AfterValue,
    /// Behind the object.
    Done,
    /// Not a JSON object.
    Malformed,
}

impl Scanner {
    /// A scanner for `fields`.
    pub fn new(fields: &'static [Field]) -> Self {
        Self { fields, state: State::Start, key: SmallVec::new(), parent: None, wanted: None }
    }

    /// Starts over with a new text.
    pub fn reset(&mut self) {
        *self = Self::new(self.fields);
    }

    /// Gives up on this text.
    pub fn abandon(&mut self) {
        self.state = State::Malformed;
        self.wanted = None;
    }

    /// Whether nothing that follows can hold a value: the object has ended, or was none.
    pub fn is_settled(&self) -> bool {
        matches!(self.state, State::Done | State::Malformed)
    }

    /// Consumes bytes up to and including the next mark, or all of them. Returns how many, and
    /// the mark. Duplicate keys give a mark each.
    pub fn advance(&mut self, bytes: &[u8]) -> (usize, Option<Mark>) {
        let mut at = 0;
        while let Some(rest) = bytes.get(at..)
            && let Some(byte) = rest.first()
        {
            let (consumed, mark) = match self.state {
                State::Done | State::Malformed => (rest.len(), None),
                State::InString { escaped } => self.pass_string(rest, escaped),
                State::InNested { depth } => (self.pass_nested(rest, depth), None),
                State::InNestedString { depth, escaped } => {
                    (self.pass_nested_string(rest, depth, escaped), None)
                }
                _ => (1, self.step(*byte)),
            };
            at += consumed;
            if mark.is_some() {
                return (at, mark);
            }
        }
        (at, None)
    }

    fn step(&mut self, byte: u8) -> Option<Mark> {
        let blank = matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
        self.state = match (self.state, byte) {
            (State::Start, b'{') => State::BeforeKey,
            (State::BeforeKey, b'"') => {
                self.key.clear();
                State::InKey
            }
            (State::BeforeKey | State::AfterValue, b'}') => match self.parent.take() {
                Some(_) => State::AfterValue,
                None => State::Done,
            },
            (State::InKey, b'"') => State::BeforeColon,
            (State::InKey, b'\\') => State::InKeyEscape,
            (State::InKey, _) => {
                self.key_byte(byte);
                State::InKey
            }
            (State::InKeyEscape, b'u') => State::InKeyHex { left: 4, value: 0 },
            (State::InKeyEscape, _) => {
                self.key_byte(match byte {
                    b'b' => 8,
                    b'f' => 12,
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    other => other,
                });
                State::InKey
            }
            (State::InKeyHex { left, value }, _) => match char::from(byte).to_digit(16) {
                Some(digit) => self.key_hex(left - 1, value << 4 | digit),
                None => State::Malformed,
            },
            (State::BeforeColon, b':') => State::BeforeValue,
            (State::BeforeValue, b'"') => {
                self.wanted = self.field();
                self.state = State::InString { escaped: false };
                return self.wanted.map(Mark::Begin);
            }
            (State::BeforeValue, b'{') => match self.enters() {
                Some(parent) => {
                    self.parent = Some(parent);
                    State::BeforeKey
                }
                None => State::InNested { depth: 1 },
            },
            (State::BeforeValue, b'[') => State::InNested { depth: 1 },
            (State::BeforeValue, b'}' | b']' | b',' | b':') => State::Malformed,
            (State::InScalar, b'}') => {
                self.state = State::AfterValue;
                return self.step(byte);
            }
            (State::AfterValue | State::InScalar, b',') => State::BeforeKey,
            (State::InScalar, _) if blank => State::AfterValue,
            (State::InScalar, b'"' | b'{' | b'[' | b']' | b':') => State::Malformed,
            (State::InScalar, _) => State::InScalar,
            (state, _) if blank => state,
            (State::BeforeValue, _) => State::InScalar,
            _ => State::Malformed,
        };
        None
    }

    fn key_byte(&mut self, byte: u8) {
        if self.key.len() <= MAX_KEY {
            self.key.push(byte);
        }
    }

    /// A `\u` escape in a key. Fields are ASCII, so any other character can only be a mismatch.
    fn key_hex(&mut self, left: u8, value: u32) -> State {
        if left > 0 {
            return State::InKeyHex { left, value };
        }
        self.key_byte(u8::try_from(value).ok().filter(u8::is_ascii).unwrap_or(0xff));
        State::InKey
    }

    fn field(&self) -> Option<usize> {
        self.fields.iter().position(|f| f.parent == self.parent && f.key.as_bytes() == self.key.as_slice())
    }

    /// The key just read, if its value is an object in which a field is looked for.
    fn enters(&self) -> Option<&'static str> {
        if self.parent.is_some() {
            return None;
        }
        self.fields.iter().find_map(|f| f.parent.filter(|p| p.as_bytes() == self.key.as_slice()))
    }

    fn pass_string(&mut self, rest: &[u8], escaped: bool) -> (usize, Option<Mark>) {
        let (consumed, end) = string_end(rest, escaped);
        match end {
            StringEnd::Closed => {
                self.state = State::AfterValue;
                (consumed, self.wanted.take().map(Mark::End))
            }
            StringEnd::Open { escaped } => {
                self.state = State::InString { escaped };
                (consumed, None)
            }
        }
    }

    fn pass_nested_string(&mut self, rest: &[u8], depth: u64, escaped: bool) -> usize {
        let (consumed, end) = string_end(rest, escaped);
        self.state = match end {
            StringEnd::Closed => State::InNested { depth },
            StringEnd::Open { escaped } => State::InNestedString { depth, escaped },
        };
        consumed
    }

    fn pass_nested(&mut self, rest: &[u8], mut depth: u64) -> usize {
        for (at, byte) in rest.iter().enumerate() {
            match byte {
                b'"' => {
                    self.state = State::InNestedString { depth, escaped: false };
                    return at + 1;
                }
                b'{' | b'[' => depth += 1,
                b'}' | b']' => {
                    depth -= 1;
                    if depth == 0 {
                        self.state = State::AfterValue;
                        return at + 1;
                    }
                }
                _ => {}
            }
        }
        self.state = State::InNested { depth };
        rest.len()
    }
}

enum StringEnd {
    Closed,
    Open { escaped: bool },
}

/// How far a string goes on in `rest`, its closing quote included.
fn string_end(rest: &[u8], mut escaped: bool) -> (usize, StringEnd) {
    let mut at = 0;
    while let Some(tail) = rest.get(at..).filter(|tail| !tail.is_empty()) {
        if escaped {
            escaped = false;
            at += 1;
            continue;
        }
        let Some(found) = tail.iter().position(|b| matches!(b, b'"' | b'\\')) else { break };
        at += found + 1;
        if tail.get(found) == Some(&b'"') {
            return (at, StringEnd::Closed);
        }
        escaped = true;
    }
    (rest.len(), StringEnd::Open { escaped })
}

#[cfg(test)]
mod tests;
