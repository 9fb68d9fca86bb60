//! Replaces names in the JSON data of server-sent events, event by event, as they pass.
//!
//! Lines are those of the WHATWG HTML standard, section 9.2.6: ended by CR, LF or CRLF; the data
//! of an event is that of its `data` lines joined by line feeds; an empty line ends the event.
//! Comments, other fields and data that is no JSON object (`[DONE]`) pass untouched.

use super::json::Splice;
use super::out::Out;

/// The editor of an event stream.
#[derive(Debug)]
pub(super) struct SseEdit {
    splice: Splice,
    state: State,
    /// A CR ended the line; an LF that follows belongs to it.
    after_cr: bool,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// In the field's name, of which this many bytes are those of `data`.
    Name(usize),
    /// Behind `data:`.
    Data,
    /// In a line that does not matter.
    Other,
}

const DATA: &[u8] = b"data";

impl SseEdit {
    pub(super) fn new(splice: Splice) -> Self {
        Self { splice, state: State::Name(0), after_cr: false }
    }

    pub(super) fn push(&mut self, out: &mut Out) {
        while let Some(byte) = out.rest().first().copied() {
            if std::mem::take(&mut self.after_cr) && byte == b'\n' {
                out.pass(1);
                continue;
            }
            let end_of_line = matches!(byte, b'\r' | b'\n');
            match self.state {
                _ if end_of_line => {
                    match self.state {
                        State::Name(0) => self.splice.next_text(out),
                        State::Data => self.splice.line_break(out),
                        State::Name(_) | State::Other => {}
                    }
                    out.pass(1);
                    self.after_cr = byte == b'\r';
                    self.state = State::Name(0);
                }
                State::Name(matched) => {
                    out.pass(1);
                    self.state = match DATA.get(matched) {
                        Some(want) if *want == byte => State::Name(matched + 1),
                        None if byte == b':' => State::Data,
                        _ => State::Other,
                    };
                }
                State::Data => {
                    let line = line_length(out.rest());
                    self.splice.feed(out, line);
                }
                State::Other => out.pass(line_length(out.rest())),
            }
        }
    }

    pub(super) fn finish(&mut self, out: &mut Out) {
        self.splice.release(out);
    }
}

/// Bytes up to the end of the line.
fn line_length(bytes: &[u8]) -> usize {
    bytes.iter().position(|b| matches!(b, b'\r' | b'\n')).unwrap_or(bytes.len())
}
