//! What is measured of one live request, written down once: at the end of its answer's body, with
//! the trailers, or when it is dropped before that.
//!
//! A recorder starts out as *cancelled*; only seeing the end, or a fault, makes it anything else.
//! So a client that leaves at any point is counted as what it is, and against nobody.

use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::HeaderMap;
use smallvec::SmallVec;

use super::access;
use super::admission::Admission;
use super::seat::Seat;
use super::worker::Worker;
use crate::base::{Fault, FaultKind};
use crate::mirror::pair::{Leg, Pairing, Side};
use crate::mirror::send::Cut;
use crate::routing::call::Called;
use crate::routing::local::LocalVersion;
use crate::routing::origin::Failed;
use crate::routing::streamed::Streamed;
use crate::stats::{Observation, Outcome};
use crate::telemetry::access_log::Entry;
use crate::wire::body::{Meter, Watch};
use crate::wire::grpc;
use crate::wire::upgrade::Joined;

/// Whoever was turned away may be about to ask again for so long.
pub(super) const JUST_NOW: Duration = Duration::from_secs(2);

/// Records one request of one version in its `Drop`.
pub(super) struct Recorder {
    worker: Rc<Worker>,
    version: Rc<LocalVersion>,
    arrived: Instant,
    first_byte: Option<u64>,
    own_time: Duration,
    received: Rc<Meter>,
    response_bytes: u64,
    is_grpc: bool,
    status: u16,
    grpc: Option<u8>,
    end: End,
    /// Copies to end when the client goes away.
    cut: Option<Rc<Cut>>,
    /// Pairs that this answer is the primary half of, and their legs once its head has come.
    pairings: SmallVec<[Rc<Pairing>; 1]>,
    legs: SmallVec<[Leg; 1]>,
    /// Of an answer that is a stream of events: when its tokens come.
    stream: Option<Box<Streamed>>,
    /// Its part in a rollout.
    seat: Option<Box<Seat>>,
    /// The access log line, where this request was sampled for one.
    line: Option<Box<Entry>>,
    /// What it holds of limits.
    admission: Admission,
}

#[derive(Clone, Copy)]
enum End {
    Cancelled,
    Whole,
    Fault(FaultKind),
}

impl Recorder {
    /// Starts recording a request of `version` that arrived at `arrived`.
    pub(super) fn new(
        worker: Rc<Worker>,
        version: Rc<LocalVersion>,
        arrived: Instant,
        is_grpc: bool,
        received: Rc<Meter>,
        admission: Admission,
    ) -> Self {
        version.shard.in_flight.add(1);
        worker.live.set(worker.live.get() + 1);
        Self {
            worker,
            version,
            arrived,
            first_byte: None,
            own_time: Duration::ZERO,
            received,
            response_bytes: 0,
            is_grpc,
            status: 0,
            grpc: None,
            end: End::Cancelled,
            cut: None,
            pairings: SmallVec::new(),
            legs: SmallVec::new(),
            stream: None,
            seat: None,
            line: None,
            admission,
        }
    }

    /// Whether others wait for a place like the one that this request has: for a connection to its version,
    /// or because they were turned away just now.
    pub(super) fn is_in_the_way(&self) -> bool {
        self.admission.is_wanted(JUST_NOW)
            || self.version.fleet.as_ref().is_some_and(|fleet| fleet.is_crowded(JUST_NOW))
    }

    /// What it holds of limits.
    pub(super) fn admission(&mut self) -> &mut Admission {
        &mut self.admission
    }

    /// It was sent again.
    pub(super) fn repeated(&self) {
        self.version.shard.retries.add(1);
    }

    /// It was not sent again, because too many were.
    pub(super) fn not_repeated(&self) {
        self.version.shard.retries_refused.add(1);
    }

    /// It counts in a rollout.
    pub(super) fn takes(&mut self, seat: Option<Seat>) {
        self.seat = seat.map(Box::new);
    }

    /// Copies were granted; they end should the client go away. Those of `pairings` are compared
    /// with this answer.
    pub(super) fn mirrored(&mut self, cut: Rc<Cut>, pairings: SmallVec<[Rc<Pairing>; 1]>) {
        self.cut = Some(cut);
        self.pairings = pairings;
        if let Some(line) = &mut self.line {
            line.mirrored = true;
        }
    }

    /// Writes this line to the access log when the request is over.
    pub(super) fn logs(&mut self, line: Box<Entry>) {
        self.line = Some(line);
    }

    /// Adds time spent inside Switchback.
    pub(super) fn spent(&mut self, own: Duration) {
        self.own_time += own;
    }

    /// The head of the answer has come.
    pub(super) fn head<B>(&mut self, response: &http::Response<B>) {
        self.status = response.status().as_u16();
        if self.is_grpc {
            self.grpc = grpc::status(response.headers());
        }
    }

    /// The head of the version's answer as the client gets it: from here on its body is watched for
    /// whoever compares or scores it.
    pub(super) fn answers(&mut self, head: &http::response::Parts) {
        if let Some(seat) = &mut self.seat {
            seat.head(head);
        }
        self.stream = Streamed::of(&head.headers, self.arrived);
        let (status, grpc, arrived) = (self.status, self.grpc, self.arrived);
        for pairing in self.pairings.drain(..) {
            self.legs.push(pairing.leg(Side::Primary, status, grpc, &head.headers, arrived));
        }
    }

    /// The request failed.
    pub(super) fn failed(&mut self, kind: FaultKind) {
        if kind == FaultKind::ResponseTimeout {
            self.admission.answered(self.received.came());
        }
        self.end = End::Fault(kind);
    }

    /// An upgraded connection is over.
    pub(super) fn joined(&mut self, joined: &Joined) {
        self.response_bytes = joined.from_server;
        self.end = joined.fault.as_ref().map_or(End::Whole, |fault| End::Fault(fault.kind));
    }

    /// The version failed, and stable answers in its place. An answer is judged by its head alone:
    /// its body is not wanted.
    pub(super) fn fell_back(&mut self, called: &Result<Called, Failed>) {
        self.version.shard.fallbacks.add(1);
        match called {
            Err(failed) => self.failed(failed.fault.kind),
            Ok(called) => {
                self.head(&called.response);
                self.end = End::Whole;
            }
        }
    }

    /// The whole answer has passed.
    fn complete(&mut self) {
        self.end = End::Whole;
        self.legs.iter_mut().for_each(|leg| leg.end(self.grpc));
    }

    fn observation(&self) -> Observation {
        let fault = match self.end {
            End::Fault(kind) => Some(kind),
            _ => None,
        };
        Observation {
            outcome: match self.end {
                End::Cancelled | End::Fault(FaultKind::Cancelled) => Outcome::Cancelled,
                End::Fault(kind) if kind.is_upstream() => Outcome::Fault,
                End::Fault(FaultKind::Internal | FaultKind::Exhausted) => Outcome::Fault,
                End::Fault(_) => Outcome::ClientError,
                End::Whole => Outcome::of(self.status, self.grpc),
            },
            fault,
            grpc: self.grpc,
            latency_ns: nanos(self.arrived.elapsed()),
            first_byte_ns: self.first_byte,
            streamed: self.stream.is_some(),
            first_token_ns: self.stream.as_ref().and_then(|stream| stream.first_token()),
            overhead_ns: nanos(self.own_time),
            request_bytes: self.received.bytes(),
            response_bytes: self.response_bytes,
        }
    }
}

impl Watch for Recorder {
    fn data(&mut self, chunk: &Bytes) {
        if self.first_byte.is_none() {
            self.first_byte = Some(nanos(self.arrived.elapsed()));
        }
        self.response_bytes += u64::try_from(chunk.len()).unwrap_or(0);
        if let Some(gap) = self.stream.as_mut().and_then(|stream| stream.data(chunk)) {
            self.version.shard.gap.record(gap);
            if let Some(seat) = &self.seat {
                seat.gap(gap);
            }
        }
        self.legs.iter_mut().for_each(|leg| leg.data(chunk));
        if let Some(seat) = &mut self.seat {
            seat.data(chunk);
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        if let (true, Some(trailers)) = (self.is_grpc, trailers) {
            self.grpc = grpc::status(trailers).or(self.grpc);
        }
        self.complete();
    }

    fn fault(&mut self, fault: &Fault) {
        self.end = End::Fault(fault.kind);
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        self.version.shard.in_flight.add(-1);
        self.worker.live.set(self.worker.live.get().saturating_sub(1));
        match (self.end, &self.stream, &self.cut) {
            // Clients of the OpenAI API close at `[DONE]`, before the body's own end: they have it all.
            (End::Cancelled, Some(stream), _) if stream.is_done() => self.complete(),
            (End::Cancelled, _, Some(cut)) => cut.cut(),
            _ => {}
        }
        let observation = self.observation();
        self.version.shard.finish(&observation);
        if let Some(seat) = self.seat.take() {
            seat.finish(&observation);
        }
        if let Some(line) = self.line.take() {
            self.worker.log(access::finished(*line, self.status, &observation));
        }
    }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
