//! Server-sent events, read as the HTML standard says (section 9.2.6): bytes in, events out.

/// Longest event. A rollout's view takes some tens of kilobytes.
const EVENT_BYTES: usize = 16 * 1024 * 1024;

/// One event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in super::super) struct Event {
    /// Its kind; `message` unless it says otherwise.
    pub(in super::super) kind: String,
    /// Its data; several lines are joined by line feeds.
    pub(in super::super) data: String,
}

/// An event was longer than any of ours.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TooLong;

/// Reads a stream piece by piece.
#[derive(Debug, Default)]
pub(super) struct Parser {
    /// A line whose end has not come yet.
    line: Vec<u8>,
    /// Whether the last byte was a carriage return, whose line feed may still come.
    returned: bool,
    begun: bool,
    kind: String,
    data: String,
}

impl Parser {
    /// Takes the next bytes, and gives the events that end in them.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<Vec<Event>, TooLong> {
        let mut events = Vec::new();
        for byte in bytes {
            let feed_of_return = std::mem::replace(&mut self.returned, *byte == b'\r') && *byte == b'\n';
            match byte {
                b'\n' if feed_of_return => {}
                b'\n' | b'\r' => events.extend(self.end_of_line()),
                byte if self.line.len() + self.data.len() < EVENT_BYTES => self.line.push(*byte),
                _ => return Err(TooLong),
            }
        }
        Ok(events)
    }

    fn end_of_line(&mut self) -> Option<Event> {
        let line = std::mem::take(&mut self.line);
        let line = String::from_utf8_lossy(&line);
        let line = match std::mem::replace(&mut self.begun, true) {
            false => line.strip_prefix('\u{feff}').unwrap_or(&line),
            true => &line,
        };
        if line.is_empty() {
            return self.end_of_event();
        }
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => {
                self.data.push_str(value);
                self.data.push('\n');
            }
            "event" => value.clone_into(&mut self.kind),
            // Comments begin with a colon. Every event of ours is whole, so that ids mean nothing.
            _ => {}
        }
        None
    }

    fn end_of_event(&mut self) -> Option<Event> {
        let (kind, mut data) = (std::mem::take(&mut self.kind), std::mem::take(&mut self.data));
        // The line feed behind the last line.
        data.pop()?;
        let kind = if kind.is_empty() { "message".to_owned() } else { kind };
        Some(Event { kind, data })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, data: &str) -> Event {
        Event { kind: kind.to_owned(), data: data.to_owned() }
    }

    const STREAM: &str = "\u{feff}: hello\n\ndata: {\"a\": 1}\n\nevent: end\r\ndata:x\r\ndata:  y\r\nid: 7\r\n\r\nevent: nothing\n\ndata\rretry: 9\r\rdata: cut off";

    fn expected() -> Vec<Event> {
        vec![event("message", "{\"a\": 1}"), event("end", "x\n y"), event("message", "")]
    }

    #[test]
    fn a_stream_is_read_as_the_standard_says() {
        assert_eq!(Parser::default().push(STREAM.as_bytes()).unwrap(), expected());
    }

    #[test]
    fn it_does_not_matter_where_the_pieces_are_cut() {
        for size in 1..STREAM.len() {
            let mut parser = Parser::default();
            let pieces = STREAM.as_bytes().chunks(size);
            let events: Vec<_> = pieces.flat_map(|piece| parser.push(piece).unwrap()).collect();
            assert_eq!(events, expected(), "pieces of {size}");
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut parser = Parser::default();
        let mebibyte = vec![b'x'; 1024 * 1024];
        let given_up = (0..32).any(|_| parser.push(&mebibyte) == Err(TooLong));
        assert!(given_up);
        let (mut parser, line) = (Parser::default(), [b"data: ", &mebibyte[..], b"\n"].concat());
        assert!((0..32).any(|_| parser.push(&line) == Err(TooLong)));
    }
}
