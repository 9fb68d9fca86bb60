//! A connection: reads and writes the frames of all of its streams, and sees whether its peer lives.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection, SendRequest};
use h2::{Ping, PingPong};
use tokio::time::{Instant, Sleep, sleep};

use super::Activity;
use crate::upstream::io::Io;
use crate::wire::gather::Gather;

/// Window of a stream: so much of an answer arrives without waiting for us, and so much of it a client
/// that does not read can leave lying here. The window of a connection is that of all the streams that
/// it may have: however many of them are not read, the others go on.
const STREAM_WINDOW: u32 = 256 * 1024;
/// The largest window there is (RFC 9113 section 6.9.1).
const LARGEST_WINDOW: u32 = (1 << 31) - 1;
/// Request bytes buffered per stream.
const SEND_BUFFER: usize = 512 * 1024;
/// A peer of which nothing was heard for this long, though requests are in flight, is pinged. Rare
/// on purpose: gRPC servers take more than one ping in five minutes for abuse and close
/// (ENHANCE_YOUR_CALM). TCP keepalive finds dead hosts sooner; the ping finds a live host with a
/// dead server.
const PING_EVERY: Duration = Duration::from_secs(330);
/// For the answer to a ping.
const PING_TIMEOUT: Duration = Duration::from_secs(20);
/// A limit on streams that no peer can set, so that it tells whether the peer has set one.
const UNTOLD: usize = usize::MAX - 1;

/// What makes a connection go on; must be polled until it is ready.
pub(in crate::upstream) struct Driver {
    connection: Connection<Gather<Io>, Bytes>,
    /// What the connection says leaves through it at the end of each poll.
    io: Gather<Io>,
    activity: Rc<Activity>,
    pings: Option<PingPong>,
    /// Until the next look, or while pinged until the peer is given up.
    alarm: Pin<Box<Sleep>>,
    pinged: bool,
}

/// Speaks HTTP/2 on `io`, with answers' heads up to `max_header_bytes` and up to so many streams.
///
/// # Errors
/// None of the peer's: the preface leaves when the driver is first polled.
pub(in crate::upstream) async fn handshake(
    io: Io,
    max_header_bytes: usize,
    streams: usize,
    activity: Rc<Activity>,
) -> Result<(SendRequest<Bytes>, Driver), h2::Error> {
    let io = Gather::new(io);
    let window = STREAM_WINDOW.saturating_mul(u32::try_from(streams.max(1)).unwrap_or(u32::MAX));
    let (sender, mut connection) = Builder::new()
        .initial_window_size(STREAM_WINDOW)
        .initial_connection_window_size(window.min(LARGEST_WINDOW))
        .max_send_buffer_size(SEND_BUFFER)
        .max_header_list_size(u32::try_from(max_header_bytes).unwrap_or(u32::MAX))
        .initial_max_send_streams(UNTOLD)
        .enable_push(false)
        .handshake(io.handle())
        .await?;
    let pings = connection.ping_pong();
    let alarm = Box::pin(sleep(PING_EVERY));
    Ok((sender, Driver { connection, io, activity, pings, alarm, pinged: false }))
}

impl Driver {
    /// Streams that the peer allows; `None` until its SETTINGS have come (RFC 9113 section 3.4).
    pub(in crate::upstream) fn peer_limit(&self) -> Option<usize> {
        let limit = self.connection.max_concurrent_send_streams();
        (limit != UNTOLD).then_some(limit)
    }

    /// Moves frames until the connection ends.
    pub(in crate::upstream) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        loop {
            self.io.woken();
            let polled = Pin::new(&mut self.connection).poll(cx);
            if polled.is_ready() {
                return polled;
            }
            if !self.io.push(cx) {
                break;
            }
        }
        self.poll_alarm(cx).map(Ok)
    }

    /// Ready when the peer is to be given up.
    fn poll_alarm(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        if self.pinged && pings.poll_pong(cx).is_ready() {
            self.pinged = false;
            self.alarm.as_mut().reset(Instant::now() + PING_EVERY);
        }
        while self.alarm.as_mut().poll(cx).is_ready() {
            if self.pinged {
                self.activity.silent.set(true);
                return Poll::Ready(());
            }
            let waits = !self.activity.heard.replace(false) && self.activity.in_flight.get() > 0;
            self.pinged = waits && pings.send_ping(Ping::opaque()).is_ok();
            let next = if self.pinged { PING_TIMEOUT } else { PING_EVERY };
            self.alarm.as_mut().reset(Instant::now() + next);
            if self.pinged && pings.poll_pong(cx).is_ready() {
                self.pinged = false;
            }
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;

    use tokio::io::AsyncReadExt;
    use tokio::net::UnixStream;

    use super::*;
    use crate::upstream::io::Socket;

    /// Leaves a peer that takes everything and says nothing for `time`: how the driver ended,
    /// whether it found the peer silent, and what the peer was sent after the handshake.
    async fn leave(in_flight: usize, time: Duration) -> (bool, bool, Vec<u8>) {
        let (ours, mut theirs) = UnixStream::pair().unwrap();
        let activity = Rc::<Activity>::default();
        activity.in_flight.set(in_flight);
        let io = Io::Plain(Socket::Unix(ours));
        let (sender, mut driver) = handshake(io, 1024, 100, Rc::clone(&activity)).await.unwrap();
        assert_eq!(driver.peer_limit(), None);
        let ended = tokio::time::timeout(time, poll_fn(|cx| driver.poll(cx))).await.is_ok();
        drop((sender, driver));
        let mut sent = Vec::new();
        theirs.read_to_end(&mut sent).await.unwrap();
        (ended, activity.silent.get(), sent)
    }

    fn has_ping(sent: &[u8]) -> bool {
        sent.windows(9).any(|head| head == [0, 0, 8, 6, 0, 0, 0, 0, 0])
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_is_waited_for_and_answers_no_ping_is_given_up() {
        let (ended, silent, sent) = leave(1, PING_EVERY - Duration::from_secs(1)).await;
        assert!(!ended && !silent && !has_ping(&sent));
        let (ended, silent, sent) = leave(1, PING_EVERY + PING_TIMEOUT + Duration::from_secs(1)).await;
        assert!(ended && silent && has_ping(&sent));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_nobody_waits_for_is_left_alone() {
        let (ended, silent, sent) = leave(0, 10 * PING_EVERY).await;
        assert!(!ended && !silent && !has_ping(&sent));
    }
}
