//! Sending a copy: a task of its own, a deadline of its own, an outcome nobody waits for.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::HeaderName;
use http_body::Body as _;
use http_body_util::BodyExt as _;
use tokio::task::AbortHandle;

use super::budget::Grant;
use super::pair::Side;
use crate::base::{Fault, FaultKind};
use crate::routing::body::bare;
use crate::routing::call;
use crate::routing::limit::Importance;
use crate::routing::local::{LocalVersion, MirrorLoad};
use crate::routing::streamed::Streamed;
use crate::stats::{DropReason, Observation, Outcome};
use crate::upstream::Yields;
use crate::wire::body::{Captured, Source};
use crate::wire::grpc;
use crate::wire::kept::KeptHead;
use crate::wire::rewrite::Edited;

/// Names the version on a copy, so that a model server can tell it from a live request.
const SHADOW: HeaderName = HeaderName::from_static("x-switchback-shadow");

/// Bytes of answers that are read per second, for one mirror on one worker. It is far more than
/// models answer, and little of what a worker can read: the rest of its time is the clients'.
const READ_PER_SECOND: u64 = 128 * 1024 * 1024;
/// Answers may come in bursts as long as this at that pace.
const BURST: Duration = Duration::from_millis(10);

/// The head of a request that copies are made of: as the live leg got it, cleaned and with
/// `x-request-id` and `traceparent`, before any version's rewrite.
#[derive(Debug, Clone)]
pub struct Copy(KeptHead);

/// Ends the copies of a request whose client has gone away.
#[derive(Debug, Default)]
pub struct Cut {
    done: Cell<bool>,
    tasks: RefCell<Vec<AbortHandle>>,
}

impl Cut {
    /// Ends the copies that are under way and keeps others from starting.
    pub fn cut(&self) {
        self.done.set(true);
        for task in self.tasks.borrow_mut().drain(..) {
            task.abort();
        }
    }
}

impl Copy {
    /// What is needed of the request of `head`.
    pub fn of(head: &http::request::Parts) -> Self {
        Self(KeptHead::of(head))
    }

    /// Sends a copy with this body for each grant, each on a task of this worker. The last one takes
    /// the head; mostly it is the only one.
    pub(super) fn send(self, grants: impl ExactSizeIterator<Item = Grant>, body: &Captured, cut: &Cut) {
        let mut left = grants.len();
        let mut copy = Some(self);
        for grant in grants {
            left -= 1;
            grant.expect(DropReason::PrimaryCancelled);
            if let Some(pairing) = grant.pairing() {
                pairing.asked(body);
            }
            let mine = if left == 0 { copy.take() } else { copy.clone() };
            let Some(mine) = mine.filter(|_| !cut.done.get()) else { continue };
            // The runtime moves a task's future several times: cheaper in a box.
            let task = tokio::task::spawn_local(Box::pin(deliver(mine, grant, body.clone())));
            cut.tasks.borrow_mut().push(task.abort_handle());
        }
    }

    fn head(self, target: &LocalVersion, dropped: &[HeaderName]) -> http::request::Parts {
        let mut head = self.0.into_parts();
        for name in dropped {
            head.headers.remove(name);
        }
        head.headers.insert(SHADOW, target.version.header.clone());
        head
    }
}

/// The whole exchange with the shadow. Dropping it (the client went away, the worker ends) closes
/// the shadow's connection or resets its stream, and the grant counts the reason.
async fn deliver(copy: Copy, grant: Grant, body: Captured) {
    let mirror = grant.mirror().clone();
    let target = grant.target().clone();
    // A copy is a request to the version that gets it, and the first that a limit turns away.
    let limiter = target.version.limiter.as_ref();
    let permit = limiter.map(|limiter| limiter.enter(Importance::Shadow));
    if matches!(permit, Some(None)) {
        grant.expect(DropReason::Suspended);
        return;
    }
    let mut head = copy.head(&target, &mirror.spec.drop_headers);
    head.extensions.insert(Yields);
    mirror.shard.sent.add(1);
    let mut answer = Answer::new(target, body.len(), grpc::is_grpc(&head.headers));
    let exchange = async {
        let body = bare(Source::replay(body));
        let called = call::call(&answer.target, head, body).await.map_err(|failed| failed.fault)?;
        answer.head(&called.response);
        let (mut head, body) = called.response.into_parts();
        // Names are put back as for a client, so that what is compared differs by the model alone.
        let editor = called.restore.and_then(|restore| restore.response(&mut head));
        let mut leg = grant.pairing().map(|pairing| {
            let (status, grpc) = (answer.status, answer.grpc);
            pairing.clone().leg(Side::Shadow, status, grpc, &head.headers, answer.started)
        });
        let mut body = Edited::new(body, editor);
        while !body.is_end_stream()
            && let Some(frame) = body.frame().await
        {
            let frame = frame?;
            if let (Some(leg), Some(chunk)) = (&mut leg, frame.data_ref()) {
                leg.data(chunk);
            }
            let read = answer.frame(&frame);
            pace(&mirror.load, read).await;
        }
        if let Some(leg) = &mut leg {
            leg.end(answer.grpc);
        }
        Ok::<(), Fault>(())
    };
    let result = tokio::time::timeout(mirror.spec.deadline, exchange).await;
    match result {
        Ok(Ok(())) => {
            grant.complete();
            answer.finish(None);
        }
        Ok(Err(fault)) => {
            grant.expect(reason(fault.kind));
            answer.finish(Some(fault.kind));
        }
        Err(_) => {
            grant.expect(DropReason::Deadline);
            answer.finish(Some(FaultKind::ResponseTimeout));
        }
    }
}

/// Waits where the answers of a mirror's copies come faster than [`READ_PER_SECOND`], so that a
/// shadow that floods is held back by its own connection and not by the worker's time.
async fn pace(load: &MirrorLoad, bytes: u64) {
    let now = tokio::time::Instant::now();
    let from = load.read_until.get().map_or(now, |until| until.max(now));
    let until = from + Duration::from_nanos(bytes.saturating_mul(1_000_000_000) / READ_PER_SECOND);
    load.read_until.set(Some(until));
    if until > now + BURST {
        tokio::time::sleep_until(until - BURST).await;
    }
}

fn reason(kind: FaultKind) -> DropReason {
    match kind {
        FaultKind::ConnectFailed | FaultKind::ConnectTimeout => DropReason::Connect,
        FaultKind::UpstreamReset | FaultKind::UpstreamProtocol => DropReason::Reset,
        FaultKind::ResponseTimeout | FaultKind::IdleTimeout | FaultKind::DeadlineExceeded => {
            DropReason::Deadline
        }
        FaultKind::Unavailable | FaultKind::Overloaded | FaultKind::Exhausted => DropReason::Unavailable,
        _ => DropReason::Other,
    }
}

/// What is seen of a shadow's answer.
struct Answer {
    target: Rc<LocalVersion>,
    started: Instant,
    first_byte: Option<u64>,
    stream: Option<Box<Streamed>>,
    request_bytes: u64,
    response_bytes: u64,
    status: u16,
    is_grpc: bool,
    grpc: Option<u8>,
}

impl Answer {
    fn new(target: Rc<LocalVersion>, request_bytes: usize, is_grpc: bool) -> Self {
        target.shard.in_flight.add(1);
        Self {
            target,
            started: Instant::now(),
            first_byte: None,
            stream: None,
            request_bytes: u64::try_from(request_bytes).unwrap_or(u64::MAX),
            response_bytes: 0,
            status: 0,
            is_grpc,
            grpc: None,
        }
    }

    fn head<B>(&mut self, response: &http::Response<B>) {
        self.first_byte = Some(nanos(self.started));
        self.status = response.status().as_u16();
        self.grpc = grpc::status(response.headers());
        self.stream = Streamed::of(response.headers(), self.started);
    }

    /// Takes note of a frame; says how many bytes it has.
    fn frame(&mut self, frame: &http_body::Frame<bytes::Bytes>) -> u64 {
        let bytes = frame.data_ref().map_or(0, |data| u64::try_from(data.len()).unwrap_or(u64::MAX));
        self.response_bytes = self.response_bytes.saturating_add(bytes);
        if let (Some(stream), Some(data)) = (&mut self.stream, frame.data_ref())
            && let Some(gap) = stream.data(data)
        {
            self.target.shard.gap.record(gap);
        }
        if let Some(trailers) = frame.trailers_ref() {
            self.grpc = grpc::status(trailers).or(self.grpc);
        }
        bytes
    }

    fn finish(&self, fault: Option<FaultKind>) {
        let grpc = self.is_grpc.then_some(self.grpc).flatten();
        self.target.shard.finish(&Observation {
            outcome: match fault {
                Some(_) => Outcome::Fault,
                None => Outcome::of(self.status, grpc),
            },
            fault,
            grpc,
            latency_ns: nanos(self.started),
            first_byte_ns: self.first_byte,
            streamed: self.stream.is_some(),
            first_token_ns: self.stream.as_ref().and_then(|stream| stream.first_token()),
            overhead_ns: 0,
            request_bytes: self.request_bytes,
            response_bytes: self.response_bytes,
        });
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.target.shard.in_flight.add(-1);
    }
}

fn nanos(since: Instant) -> u64 {
    u64::try_from(since.elapsed().as_nanos()).unwrap_or(u64::MAX)
}
