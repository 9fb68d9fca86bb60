//! When the tokens of a streamed answer come.

use std::time::Instant;

use http::{HeaderMap, header};

use crate::inference::stream_watch::StreamWatch;

/// Takes the times of one stream of server-sent events as it passes.
#[derive(Debug)]
pub struct Streamed {
    started: Instant,
    /// None for a stream that is packed: then each piece of it counts as a token.
    watch: Option<StreamWatch>,
    first: Option<u64>,
    last: Option<Instant>,
}

impl Streamed {
    /// Watches an answer with this head, if it is a stream of events. Times count from `started`.
    pub fn of(headers: &HeaderMap, started: Instant) -> Option<Box<Self>> {
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        if !text(header::CONTENT_TYPE).starts_with("text/event-stream") {
            return None;
        }
        let is_plain = matches!(text(header::CONTENT_ENCODING), "" | "identity");
        let watch = is_plain.then(StreamWatch::default);
        Some(Box::new(Self { started, watch, first: None, last: None }))
    }

    /// A piece has come. Gives the time since the token before, in nanoseconds, where it brings a
    /// further one. Tokens that come together are one.
    pub fn data(&mut self, piece: &[u8]) -> Option<u64> {
        let tokens = self.watch.as_mut().map_or(1, |watch| watch.push(piece));
        if tokens == 0 {
            return None;
        }
        let now = Instant::now();
        let nanos = |since: Instant| {
            u64::try_from(now.saturating_duration_since(since).as_nanos()).unwrap_or(u64::MAX)
        };
        let gap = self.last.replace(now).map(nanos);
        if self.first.is_none() {
            self.first = Some(nanos(self.started));
        }
        gap
    }

    /// From the start to the first token, in nanoseconds, if there was one.
    pub fn first_token(&self) -> Option<u64> {
        self.first
    }

    /// Whether the stream has said that it is over: a client that leaves then has all of it.
    pub fn is_done(&self) -> bool {
        self.watch.as_ref().is_some_and(StreamWatch::is_done)
    }
}
