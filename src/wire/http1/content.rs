//! The body of a message, taken off what was read of it (RFC 9112 section 6).

use bytes::Bytes;
use http_body::{Frame, SizeHint};

use super::{Chunked, Malformed, Next};

/// From here on a body is long, and read in large blocks while its sender keeps up with them.
const LONG: u64 = 64 * 1024;

/// How the body of a message is delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Length {
    /// By its length, which may be none.
    Known(u64),
    /// By chunks.
    Chunked,
    /// By the end of the connection.
    Close,
}

/// A body that is being read.
#[derive(Debug)]
pub struct Content {
    kind: Kind,
    over: bool,
    /// Read since the last small read.
    streak: u64,
}

#[derive(Debug)]
enum Kind {
    /// Bytes to come.
    Known(u64),
    Chunked(Chunked),
    Close,
}

impl Content {
    /// The body of a request, of which nothing has been read.
    pub fn of_request(length: Length) -> Self {
        Self::new(length, Chunked::of_request)
    }

    /// The body of an answer, of which nothing has been read.
    pub fn of_answer(length: Length) -> Self {
        Self::new(length, Chunked::of_answer)
    }

    fn new(length: Length, chunked: fn() -> Chunked) -> Self {
        let kind = match length {
            Length::Known(length) => Kind::Known(length),
            Length::Chunked => Kind::Chunked(chunked()),
            Length::Close => Kind::Close,
        };
        Self { over: matches!(kind, Kind::Known(0)), kind, streak: 0 }
    }

    /// Whether it has ended and nothing is left to hand out.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// What is known of the length of what is still to come.
    pub fn size_hint(&self) -> SizeHint {
        match self.kind {
            Kind::Known(left) => SizeHint::with_exact(left),
            _ if self.over => SizeHint::with_exact(0),
            _ => SizeHint::default(),
        }
    }

    /// Takes a frame off `rest`; `None` where it is over or more must be read. `limit` is for the
    /// bytes of the trailer section.
    ///
    /// # Errors
    /// [`Malformed`], now and whenever it is called again.
    pub fn take(&mut self, rest: &mut Bytes, limit: usize) -> Result<Option<Frame<Bytes>>, Malformed> {
        if self.over {
            return Ok(None);
        }
        let data = match &mut self.kind {
            Kind::Chunked(chunked) => match chunked.next(rest, limit)? {
                Next::Content => chunked.take(rest),
                Next::Unknown => return Ok(None),
                Next::Trailers(trailers) => {
                    self.over = true;
                    return Ok(Some(Frame::trailers(trailers)));
                }
                Next::End => {
                    self.over = true;
                    return Ok(None);
                }
            },
            _ if rest.is_empty() => return Ok(None),
            Kind::Close => std::mem::take(rest),
            Kind::Known(left) => {
                let size = usize::try_from(*left).unwrap_or(usize::MAX).min(rest.len());
                *left = left.saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
                match size == rest.len() {
                    true => std::mem::take(rest),
                    false => rest.split_to(size),
                }
            }
        };
        self.look_ahead(rest);
        Ok(Some(Frame::data(data)))
    }

    /// Ends it where nothing more of it can come, as far as `rest` tells. Trailers must be handed
    /// out, and an error told, when the time comes.
    pub fn look_ahead(&mut self, rest: &mut Bytes) {
        self.over |= match &mut self.kind {
            Kind::Known(left) => *left == 0,
            Kind::Chunked(chunked) => !rest.is_empty() && chunked.is_over(rest),
            Kind::Close => false,
        };
    }

    /// The connection has ended. `true` where that is its end.
    pub fn is_ended_by_close(&mut self) -> bool {
        let by_close = matches!(self.kind, Kind::Close);
        self.over |= by_close;
        by_close
    }

    /// Whether to read in large blocks: a body of known length has much to come, another has kept
    /// filling its buffers.
    pub fn is_long(&self) -> bool {
        match self.kind {
            Kind::Known(left) => left >= LONG / 2,
            Kind::Chunked(_) | Kind::Close => self.streak >= LONG,
        }
    }

    /// How much of it may pass unseen, if its length is known. What was read of it already must be
    /// taken first.
    pub fn unseen(&self) -> Option<u64> {
        match self.kind {
            Kind::Known(left) if left > 0 => Some(left),
            _ => None,
        }
    }

    /// Notes that `size` bytes of it have passed unseen.
    pub fn note_unseen(&mut self, size: usize) {
        if let Kind::Known(left) = &mut self.kind {
            *left = left.saturating_sub(u64::try_from(size).unwrap_or(u64::MAX));
            self.over |= *left == 0;
        }
    }

    /// Notes a read of `size` bytes, `full` where it filled all the room it had.
    pub fn note_read(&mut self, size: usize, full: bool) {
        let size = u64::try_from(size).unwrap_or(u64::MAX);
        self.streak = if full || size >= LONG / 4 { self.streak.saturating_add(size) } else { 0 };
    }
}
