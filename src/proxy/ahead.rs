//! Reading in a body before its version is drawn: for a name or a key that stands in it, or until a
//! short body is whole.
//!
//! Whoever is waited for here has no claim yet: neither to one of the places that limits leave, nor to
//! a connection to a model server, of which there are fewer than there may be slow clients.

use std::time::{Duration, Instant};

use bytes::Bytes;
use http_body::Body as _;
use tokio::time::timeout_at;

use super::worker::Worker;
use crate::base::{Fault, FaultKind, Level};
use crate::inference::peek::{Need, Peek, Peeked};
use crate::routing::local::LocalModel;
use crate::wire::body::{PATIENCE, Source, too_slow};

/// A body up to this many bytes is short.
const SHORT_BODY: u64 = 64 * 1024;

/// What one request's body is read ahead by, and how long its client was waited for.
pub(super) struct Ahead<'a> {
    worker: &'a Worker,
    /// Bytes per second that it must come at, once it has been waited for long enough. 0: any.
    rate: u64,
    /// When the whole exchange must be over.
    until: Option<tokio::time::Instant>,
    waited: Duration,
}

impl<'a> Ahead<'a> {
    /// For a body that must come at `rate` bytes per second (0: at any) in the long run.
    pub(super) fn new(worker: &'a Worker, rate: u64) -> Self {
        Self { worker, rate, until: None, waited: Duration::ZERO }
    }

    /// The whole exchange must be over at `until`.
    pub(super) fn ends(&mut self, until: Option<tokio::time::Instant>) {
        self.until = until;
    }

    /// How long the client was waited for.
    pub(super) fn waited(&self) -> Duration {
        self.waited
    }

    /// Reads one piece more; `None` when the body has ended.
    ///
    /// # Errors
    /// The body's own fault; `RequestTimeout` for one that stands still for longer than `idle`, that has
    /// come too slowly for too long, or that takes longer than the whole exchange may.
    ///
    /// # Cancel safety
    /// Nothing is lost. A client that leaves meanwhile is counted as such: no version has it.
    pub(super) async fn next(&mut self, source: &mut Source, idle: Duration) -> Result<Option<Bytes>, Fault> {
        let asked = Instant::now();
        let still = tokio::time::Instant::from_std(asked + idle);
        let limit = self.until.map_or(still, |until| until.min(still));
        let read = {
            let mut waiting = Waiting::new(self.worker);
            let read = timeout_at(limit, source.read_ahead()).await;
            waiting.leaves = false;
            read
        };
        self.waited += asked.elapsed();
        let next = match read {
            Ok(next) => next?,
            Err(_) if limit < still => return Err(too_long()),
            Err(_) => {
                let detail = format!("the request body stood still for {idle:?}");
                return Err(Fault::new(FaultKind::RequestTimeout, detail));
            }
        };
        let came = u64::try_from(source.ahead_len()).unwrap_or(u64::MAX);
        if next.is_some() && self.waited >= PATIENCE && came < self.rate.saturating_mul(self.waited.as_secs())
        {
            return Err(too_slow(self.rate));
        }
        Ok(next)
    }

    /// Reads ahead until what is needed was seen, the body ended or `limit` bytes are held. A body
    /// that is too long to tell counts as one that does not say.
    ///
    /// # Errors
    /// As [`Ahead::next`].
    pub(super) async fn find(
        &mut self,
        need: &Need,
        source: &mut Source,
        limit: usize,
        idle: Duration,
    ) -> Result<Option<String>, Fault> {
        let mut peek = Peek::new(need, limit);
        let mut chunk = source.ahead();
        loop {
            if !chunk.is_empty()
                && let Peeked::Done(value) = peek.push(&chunk)
            {
                return Ok(value);
            }
            if source.ahead_len() >= limit && !source.is_whole() {
                return Ok(None);
            }
            match self.next(source, idle).await? {
                Some(next) => chunk = next,
                None => return Ok(peek.finish()),
            }
        }
    }

    /// Waits for a short body to be whole.
    ///
    /// # Errors
    /// As [`Ahead::next`].
    pub(super) async fn short_body(&mut self, source: &mut Source, model: &LocalModel) -> Result<(), Fault> {
        if source.has_come() {
            return Ok(());
        }
        let spec = &model.model.spec;
        let most = SHORT_BODY.min(spec.max_request_bytes);
        let is_short = source.size_hint().exact().is_some_and(|length| length <= most);
        // Where memory is short nothing is held that can be passed on.
        if !is_short || source.read_what_came().await? || self.worker.pressure() > Level::Calm {
            return Ok(());
        }
        Box::pin(self.rest(source, spec.idle_timeout)).await
    }

    async fn rest(&mut self, source: &mut Source, idle: Duration) -> Result<(), Fault> {
        while self.next(source, idle).await?.is_some() {
            if self.worker.pressure() > Level::Calm {
                break;
            }
        }
        Ok(())
    }
}

/// A client that is waited for. Should this be dropped while it `leaves`, it has left before any
/// version had its request.
struct Waiting<'a> {
    worker: &'a Worker,
    leaves: bool,
}

impl<'a> Waiting<'a> {
    fn new(worker: &'a Worker) -> Self {
        worker.shard().requests_awaited.add(1);
        Self { worker, leaves: true }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.worker.shard().requests_awaited.add(-1);
        if self.leaves {
            let fault = Fault::new(FaultKind::Cancelled, "the client left while it sent its body");
            self.worker.count_refused(&fault);
        }
    }
}

/// What is said of a request whose client took longer to send it than the whole exchange may.
#[cold]
pub(super) fn too_long() -> Fault {
    Fault::new(FaultKind::RequestTimeout, "the request body took longer than the total timeout")
}
