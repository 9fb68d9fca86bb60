//! A stream of events that is being read.

use std::collections::VecDeque;
use std::io::Read;

use ureq::Body;

use super::sse::{Event, Parser};

/// Events as they come. Ends with the stream, for whatever reason: a stream that broke off and one
/// that was ended mean the same to whoever waits for something.
pub(in super::super) struct Events {
    body: Box<dyn Read>,
    parser: Parser,
    ready: VecDeque<Event>,
    ended: bool,
}

impl Events {
    pub(super) fn new(body: Body) -> Self {
        let body = Box::new(body.into_with_config().limit(u64::MAX).reader());
        Self { body, parser: Parser::default(), ready: VecDeque::new(), ended: false }
    }
}

impl Iterator for Events {
    type Item = Event;

    /// Waits for the next event.
    fn next(&mut self) -> Option<Event> {
        let mut buffer = vec![0; 16 * 1024];
        while self.ready.is_empty() && !self.ended {
            let read = self.body.read(&mut buffer).ok().and_then(|length| buffer.get(..length));
            match read.filter(|bytes| !bytes.is_empty()).map(|bytes| self.parser.push(bytes)) {
                Some(Ok(events)) => self.ready.extend(events),
                Some(Err(_)) | None => self.ended = true,
            }
        }
        self.ready.pop_front()
    }
}
