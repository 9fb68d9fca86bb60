//! Words to whoever started the process: results on standard output, everything else on standard
//! error.

use std::fmt::Display;
use std::io::Write as _;

/// Writes a result. Says whether it could be written: a closed pipe is not worth a message.
pub(super) fn result(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}

/// Writes a line for people.
pub(super) fn note(text: &dyn Display) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

/// Writes part of a line for people, for whoever draws on a terminal.
pub(super) fn draw(text: &str) {
    let mut err = std::io::stderr().lock();
    let _ = err.write_all(text.as_bytes()).and_then(|()| err.flush());
}
