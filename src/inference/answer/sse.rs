//! Server-sent events, as the WHATWG HTML standard, section 9.2, has them: the data of each event
//! and where it ends. Names, ids and retry times say nothing about an answer and are passed over.

use super::types::{Limits, Undecodable};

/// An event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Event {
    /// Its data lines, joined by line feeds.
    pub(super) data: String,
    /// Where it ends in the body: behind the last byte that was needed to know it.
    pub(super) end: usize,
}

/// The events of `body` that have data. A last event without its blank line counts, as a server
/// that closes early has still said it.
pub(super) fn events(body: &[u8], limits: &Limits) -> Result<Vec<Event>, Undecodable> {
    let mut events = Vec::new();
    let mut data: Option<String> = None;
    let mut at = 0;
    let mut rest = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    at += body.len() - rest.len();
    while !rest.is_empty() {
        let length = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')).unwrap_or(rest.len());
        let (line, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        let ending = match after {
            [b'\r', b'\n', ..] => 2,
            [] => 0,
            _ => 1,
        };
        rest = after.get(ending..).unwrap_or_default();
        at += length + ending;
        match field(line) {
            _ if line.is_empty() => {
                if let Some(data) = data.take() {
                    push(&mut events, Event { data, end: at }, limits)?;
                }
            }
            Some(value) => match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(&String::from_utf8_lossy(value));
                }
                None => data = Some(String::from_utf8_lossy(value).into_owned()),
            },
            None => {}
        }
    }
    if let Some(data) = data {
        push(&mut events, Event { data, end: at }, limits)?;
    }
    Ok(events)
}

fn push(events: &mut Vec<Event>, event: Event, limits: &Limits) -> Result<(), Undecodable> {
    if events.len() >= limits.messages {
        return Err(Undecodable::Limit("events"));
    }
    events.push(event);
    Ok(())
}

/// The value of a `data` line.
fn field(line: &[u8]) -> Option<&[u8]> {
    let rest = line.strip_prefix(b"data")?;
    if rest.is_empty() {
        return Some(rest);
    }
    let value = rest.strip_prefix(b":")?;
    Some(value.strip_prefix(b" ").unwrap_or(value))
}
