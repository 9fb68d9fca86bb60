//! Frames that cost their sender nothing and us something, counted as they come.
//!
//! `h2` bounds what it must keep. What it answers at once (PING, SETTINGS), throws away (PRIORITY,
//! empty DATA and CONTINUATION) or undoes (a stream that is opened and reset) keeps nothing, and
//! a client may send it for as long as it likes. So frames are told apart here by their nine
//! bytes of head, before `h2` sees them, in windows of ten seconds. Whoever floods is sent a GOAWAY
//! with ENHANCE_YOUR_CALM (RFC 9113 section 10.5).

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use h2::Reason;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::Instant;

use super::late::Begun;
use super::pressure::Pressure;
use super::refusals::Refusals;
use super::windows::Windows;
use crate::net::DownstreamSpec;

/// What frames are counted in.
const WINDOW: Duration = Duration::from_secs(10);
/// What a client says first.
const PREFACE: usize = 24;
/// Window updates that a client may send for each control frame that it may.
const UPDATES: u64 = 10;
/// What a client is sent earns it window updates and pings, one for each so many bytes: a stream of
/// tokens comes in frames of some fifty bytes, each of which a client may answer with two updates, and
/// with a ping where it measures its bandwidth by them (grpc-go does). It is little to the frames of
/// an answer, and a flood earns itself nothing: what it is answered with is taken off.
const BYTES_PER_UPDATE: u64 = 16;
const BYTES_PER_CONTROL: u64 = 32;
/// Kinds of frames, and the mark of the end of a header section (RFC 9113 section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
/// The longest of our own answers to control frames: that to a PING (RFC 9113 section 6.7).
const CONTROL_ANSWER: u64 = 17;

/// A byte stream whose incoming frames are counted.
pub(super) struct Counted<T> {
    io: T,
    counter: Counter,
    seen: Seen,
    refusals: Refusals,
    pressure: Rc<Pressure>,
}

/// What the frames tell.
#[derive(Clone, Default)]
pub(super) struct Seen {
    /// Set at a flood, and where the first frame is not SETTINGS; from then on nothing is read.
    pub(super) wrong: Rc<Cell<Option<Reason>>>,
    /// Since when the client has been in the middle of a head, or has owed its SETTINGS.
    pub(super) begun: Begun,
    /// Streams that were refused, and that nobody was told of.
    pub(super) refused: Rc<Cell<u32>>,
}

impl<T> Counted<T> {
    /// Counts the frames of `io` by the limits of `spec`, and what it takes by `pressure`.
    pub(super) fn new(io: T, spec: &DownstreamSpec, pressure: Rc<Pressure>) -> (Self, Seen) {
        let counter = Counter::new(spec.h2_resets, spec.h2_control_frames);
        let seen = Seen::default();
        seen.begun.set(Some(Instant::now()));
        let refusals = Refusals::default();
        (Self { io, counter, seen: seen.clone(), refusals, pressure }, seen)
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Counted<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.seen.wrong.get().is_some() {
            return Poll::Pending;
        }
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        if read.is_ready()
            && let Some(new) = buf.filled().get(before..)
        {
            let begun = self.counter.begun;
            if let Err(reason) = self.counter.bytes(new) {
                self.seen.wrong.set(Some(reason));
            }
            if std::mem::take(&mut self.counter.narrowed) {
                self.pressure.narrowed();
            }
            match self.counter.is_within() {
                false => self.seen.begun.set(None),
                // It is not what had begun before.
                true if self.counter.begun != begun || self.seen.begun.get().is_none() => {
                    self.seen.begun.set(Some(Instant::now()));
                }
                true => {}
            }
        }
        read
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Counted<T> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, bytes);
        if let Poll::Ready(Ok(written)) = &written {
            let refused = self.refusals.bytes(bytes.get(..*written).unwrap_or_default());
            self.seen.refused.set(self.seen.refused.get().saturating_add(refused));
            self.counter.sent = self.counter.sent.saturating_add(u64::try_from(*written).unwrap_or(0));
            let content = self.refusals.take_data();
            self.pressure.wrote(*written, content);
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

/// The counts of a window, and where in a frame the bytes stand.
struct Counter {
    most_resets: u32,
    most_control: u32,
    /// SETTINGS have come, with which every client begins (RFC 9113 section 3.4).
    greeted: bool,
    /// Bytes to pass over.
    skip: usize,
    /// The head of a frame, as far as it has come.
    head: [u8; 9],
    had: usize,
    /// The header section that has begun goes on in another frame.
    open: bool,
    /// Header sections, and frames that are of none, that have begun.
    begun: u64,
    since: Instant,
    opened: u32,
    resets: u32,
    control: u32,
    updates: u64,
    /// Bytes that the client was sent.
    sent: u64,
    windows: Windows,
    /// The client has taken back windows, and nobody was told.
    narrowed: bool,
}

impl Counter {
    fn new(most_resets: u32, most_control: u32) -> Self {
        Self {
            most_resets,
            most_control,
            greeted: false,
            skip: PREFACE,
            head: [0; 9],
            had: 0,
            open: false,
            begun: 0,
            since: Instant::now(),
            opened: 0,
            resets: 0,
            control: 0,
            updates: 0,
            sent: 0,
            windows: Windows::new(),
            narrowed: false,
        }
    }

    /// Whether the bytes end within what is no content: before the SETTINGS are whole, or in the middle
    /// of a header section or of what may become one.
    fn is_within(&self) -> bool {
        let [.., kind, _, _, _, _, _] = self.head;
        !self.greeted || self.open || self.had > 0 || (self.skip > 0 && kind != DATA)
    }

    /// Takes note of what has come; why to give up, where it is a flood or no beginning.
    fn bytes(&mut self, mut bytes: &[u8]) -> Result<(), Reason> {
        while !bytes.is_empty() {
            let passed = self.skip.min(bytes.len());
            if let [.., SETTINGS, _, _, _, _, _] = self.head {
                self.narrowed |= self.windows.narrow(bytes.get(..passed).unwrap_or_default());
            }
            self.skip -= passed;
            bytes = bytes.get(passed..).unwrap_or_default();
            let (Some((first, rest)), 0) = (bytes.split_first(), self.skip) else { continue };
            if let Some(place) = self.head.get_mut(self.had) {
                *place = *first;
            }
            self.had += 1;
            bytes = rest;
            if self.had == self.head.len() {
                self.had = 0;
                self.frame()?;
            }
        }
        Ok(())
    }

    /// Takes note of the frame whose head has come (RFC 9113 section 4.1).
    fn frame(&mut self) -> Result<(), Reason> {
        let [a, b, c, kind, flags, ..] = self.head;
        let length = usize::from(a) << 16 | usize::from(b) << 8 | usize::from(c);
        self.skip = length;
        let ends = flags & 1 == 1;
        self.begun = self.begun.wrapping_add(u64::from(!self.open));
        if matches!(kind, HEADERS | CONTINUATION) {
            self.open = flags & END_HEADERS == 0;
        }
        if !self.greeted {
            // `h2` takes any frame for the first.
            self.greeted = kind == SETTINGS && !ends;
            return if self.greeted { Ok(()) } else { Err(Reason::PROTOCOL_ERROR) };
        }
        match kind {
            DATA if length > 0 || ends => return Ok(()),
            HEADERS => self.opened = self.opened.saturating_add(1),
            3 => self.resets = self.resets.saturating_add(1),
            8 => self.updates += 1,
            CONTINUATION if length > 0 => return Ok(()),
            // DATA and CONTINUATION without content, PRIORITY, SETTINGS, PING, what nobody knows.
            _ => self.control = self.control.saturating_add(1),
        }
        let resets = self.resets > self.most_resets && u64::from(self.resets) * 2 > u64::from(self.opened);
        let earned = self.sent.saturating_sub(u64::from(self.control) * CONTROL_ANSWER);
        let most_control = u64::from(self.most_control).saturating_add(earned / BYTES_PER_CONTROL);
        let control = u64::from(self.control) > most_control;
        let most_updates = u64::from(self.most_control) * UPDATES;
        let updates = self.updates > most_updates.saturating_add(earned / BYTES_PER_UPDATE);
        if !(resets || control || updates) {
            return Ok(());
        }
        // Only here is the time looked at: a count that took longer than a window is no flood.
        let now = Instant::now();
        let slow = now.saturating_duration_since(self.since) >= WINDOW;
        (self.since, self.opened, self.resets) = (now, 0, 0);
        (self.control, self.updates, self.sent) = (0, 0, 0);
        if slow { Ok(()) } else { Err(Reason::ENHANCE_YOUR_CALM) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: u8, flags: u8, length: usize) -> Vec<u8> {
        let mut frame = vec![0, 0, u8::try_from(length).unwrap(), kind, flags, 0, 0, 0, 1];
        frame.resize(9 + length, 0xff);
        frame
    }

    /// How many of these frames, one after the other, pass before it is a flood; at most a thousand.
    fn passed(counter: &mut Counter, frames: &[Vec<u8>]) -> usize {
        (0..1_000).position(|i| counter.bytes(&frames[i % frames.len()]).is_err()).unwrap_or(1_000)
    }

    fn counter() -> Counter {
        let mut counter = Counter::new(20, 50);
        assert!(counter.bytes(&[b'P'; PREFACE]).is_ok());
        assert!(counter.bytes(&frame(4, 0, 6)).is_ok());
        counter
    }

    #[tokio::test(start_paused = true)]
    async fn what_costs_nothing_is_counted_and_what_does_is_not() {
        for (name, kind, flags, length) in [
            ("ping", 6, 0, 8),
            ("settings", 4, 0, 6),
            ("priority", 2, 0, 5),
            ("empty data", 0, 0, 0),
            ("unknown", 99, 0, 1),
        ] {
            assert_eq!(passed(&mut counter(), &[frame(kind, flags, length)]), 50, "{name}");
        }
        for (name, kind, flags, length) in
            [("headers", 1, 5, 20), ("data", 0, 0, 20), ("the end", 0, 1, 0), ("more of a head", 9, 0, 9)]
        {
            assert_eq!(passed(&mut counter(), &[frame(kind, flags, length)]), 1_000, "{name}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_frame_is_settings() {
        for (kind, flags, expected) in [(4, 0, None), (4, 1, Some(())), (1, 5, Some(())), (6, 0, Some(()))] {
            let mut counter = Counter::new(20, 50);
            assert!(counter.bytes(&[b'P'; PREFACE]).is_ok());
            let first = counter.bytes(&frame(kind, flags, 0));
            assert_eq!(first.err(), expected.map(|()| Reason::PROTOCOL_ERROR), "{kind} {flags}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn streams_that_are_opened_and_reset_are_a_flood_and_some_that_are_cancelled_are_not() {
        let (open, reset) = (frame(1, 5, 10), frame(3, 0, 4));
        assert_eq!(passed(&mut counter(), &[open.clone(), reset.clone()]), 41);
        assert_eq!(passed(&mut counter(), &[open.clone(), open.clone(), reset]), 1_000);
    }

    #[tokio::test(start_paused = true)]
    async fn how_the_bytes_are_cut_makes_no_difference() {
        let stream: Vec<u8> = (0..60).flat_map(|_| frame(6, 0, 8)).collect();
        for step in [1, 3, 9, 17, 100] {
            let mut counter = counter();
            let flood = stream.chunks(step).position(|chunk| counter.bytes(chunk).is_err()).unwrap();
            assert_eq!(flood, (50 * 17 + 9 - 1) / step, "{step}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn the_same_over_a_longer_time_is_no_flood() {
        let mut counter = counter();
        for _ in 0..20 {
            for _ in 0..40 {
                assert!(counter.bytes(&frame(6, 0, 8)).is_ok());
            }
            tokio::time::advance(WINDOW).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn window_updates_are_measured_by_what_was_sent() {
        let update = frame(8, 0, 4);
        let mut few = counter();
        let flood = (0..20_000).position(|_| few.bytes(&update).is_err());
        assert_eq!(flood, Some(500));
        let mut many = counter();
        many.sent = BYTES_PER_UPDATE * 20_000;
        assert!((0..20_500).all(|_| many.bytes(&update).is_ok()));
    }

    #[tokio::test(start_paused = true)]
    async fn pings_of_a_client_that_is_sent_a_stream_are_no_flood_and_answers_to_pings_earn_none() {
        let ping = frame(6, 0, 8);
        let mut streaming = counter();
        assert!((0..10_000).all(|_| {
            // A token in its frame, and the answer to the ping before.
            streaming.sent += 49 + CONTROL_ANSWER;
            streaming.bytes(&ping).is_ok()
        }));
        let mut flooding = counter();
        let flood = (0..10_000).position(|_| {
            flooding.sent += CONTROL_ANSWER;
            flooding.bytes(&ping).is_err()
        });
        assert_eq!(flood, Some(50));
    }
}
