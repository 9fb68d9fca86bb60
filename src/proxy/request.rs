//! The life of one request, in the order in which it happens.
//!
//! 1. `net` has accepted the connection and read the head.
//! 2. Hygiene: what is malformed is refused, hop-by-hop fields go, forwarding fields come.
//! 3. The table of now is taken, once, and kept to the end.
//! 4. The model is found, a short body waited for, and the arm drawn. From here on a recorder stands
//!    by: however the request ends, it is written down, as cancelled unless it is seen to end
//!    otherwise.
//! 5. Copies for shadows are granted or refused; if one is granted, the body is kept as it passes.
//! 6. The version is asked. If it fails before its answer begins, stable may answer in its place.
//! 7. The answer's names are put back and its body is watched to its end.
//! 8. The recorder writes one observation to this worker's shard.
//!
//! Nothing on this way locks, wakes another thread or spawns a task; what is rare is boxed.

use std::pin::pin;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderValue, Request, Response, Version, header, request};
use http_body::Body as _;
use smallvec::SmallVec;

use super::ahead::Ahead;
use super::fallback::{Spare, Terms};
use super::finish::{Times, finish};
use super::progress::{self, Deadline, Elapsed, Pace};
use super::record::Recorder;
use super::reply::{self, Reply};
use super::retry::{self, Retry};
use super::seat::Seat;
use super::worker::Worker;
use super::{access, admit, local_answers, route, segments, upgrade};
use crate::base::{Fault, FaultKind};
use crate::mirror::budget::{self, Grants};
use crate::mirror::keep::Keeper;
use crate::mirror::pair::Pairing;
use crate::mirror::send::{Copy, Cut};
use crate::routing::body::ClientBody;
use crate::routing::call::{self, Called};
use crate::routing::local::{LocalModel, LocalVersion};
use crate::routing::origin::Failed;
use crate::stats::pairs::PairDrop;
use crate::stats::segments::Memberships;
use crate::wire::body::{IdleTimeout, Inbound, Limit, Meter, Side, Sink, Source, Tee};
use crate::wire::forward::{self, Peer};
use crate::wire::grpc;
use crate::wire::hygiene;

/// Answers one request of the client `peer`.
///
/// # Cancel safety
/// Dropping the future gives the request up wherever it is, and records it as cancelled.
pub async fn serve(worker: Rc<Worker>, peer: Rc<Peer>, request: Request<Inbound>) -> Response<Reply> {
    let arrived = Instant::now();
    let (mut head, body) = request.into_parts();
    let client_version = head.version;

    let asked = match hygiene::request(&mut head) {
        Ok(asked) => asked,
        Err(fault) => return refuse_and_close(&worker, &fault, &head),
    };
    if head.headers.len() > peer.max_fields {
        let detail = format!("more than {} header fields", peer.max_fields);
        return reply::refuse(&worker, &Fault::new(FaultKind::HeadersTooLarge, detail), asked.grpc);
    }
    let pin = head.headers.remove(route::PIN).filter(|_| peer.allow_pin);
    forward::request(&mut head, &peer);

    let table = worker.table();
    let inference = route::is_inference(head.uri.path());
    if (!inference || asked.grpc)
        && let Some(question) = local_answers::asked(&table, &head)
    {
        return reply::local(Box::pin(local_answers::answer(worker, table, question, head, body)).await);
    }
    // gRPC streams may rest for as long as they like, and their length is not known.
    let rate = if asked.grpc { 0 } else { peer.body_rate };
    let mut ahead = Ahead::new(&worker, rate);
    let (model, mut source) = match route::model(&table, &head, body, &mut ahead).await {
        Ok(found) => found,
        Err(fault) => return reply::refuse(&worker, &fault, asked.grpc),
    };
    let until = model.model.spec.total_timeout.and_then(|total| arrived.checked_add(total)).map(Into::into);
    ahead.ends(until);
    // Whoever waits to be asked for its body is asked by the version, if there is one to take it.
    if !asked.expects_continue
        && let Err(fault) = ahead.short_body(&mut source, &model).await
    {
        return reply::refuse(&worker, &fault, asked.grpc);
    }
    let pin = pin.as_ref();
    let drawn = match route::arm(&model, &head, pin, peer.address, &mut source, inference, &mut ahead).await {
        Ok(drawn) if asked.upgrade.is_none() => drawn,
        Ok(_) => route::Drawn::without_coin(model.model.stable),
        Err(fault) => return reply::refuse(&worker, &fault, asked.grpc),
    };
    let arm = drawn.arm;
    let Some(version) = model.versions.get(arm).cloned() else {
        return reply::refuse(&worker, &Fault::new(FaultKind::Internal, "no such arm"), asked.grpc);
    };
    let trial = model.trial.as_ref().filter(|_| drawn.by_coin);
    let mut segments = Memberships::default();
    if let Some(trial) = trial.filter(|trial| trial.live.segment.is_some()) {
        let read = segments::read(trial, &model, &head, peer.address, &mut source, &mut ahead);
        segments = match Box::pin(read).await {
            Ok(segments) => segments,
            Err(fault) => return reply::refuse(&worker, &fault, asked.grpc),
        };
    }
    let waited = ahead.waited();
    let admission = match admit::admit(&worker, &model, &version) {
        Ok(admission) => admission,
        Err(fault) => return admit::turn_away(&fault, asked.grpc),
    };
    let no_copies = admission.no_copies;
    let mut seat = None;
    if let Some(trial) = trial.filter(|_| !admission.is_tight) {
        seat = Seat::new(trial, drawn, segments);
        if let Some(seat) = &mut seat {
            seat.score(worker.queue(), head.uri.path());
        }
    }
    let segments = seat.as_ref().map(Seat::segments).unwrap_or_default();
    if let Err(fault) = Limit::check(&source.size_hint(), model.model.spec.max_request_bytes) {
        return reply::refuse(&worker, &fault, asked.grpc);
    }
    let meter = Rc::new(Meter::default());
    let mut recorder =
        Recorder::new(worker.clone(), version.clone(), arrived, asked.grpc, meter.clone(), admission);
    recorder.takes(seat);
    if worker.is_logged() {
        recorder.logs(access::begun(&head, &model, &version));
    }
    if let Some(protocol) = asked.upgrade {
        return Box::pin(upgrade::serve(recorder, model, version, head, source, protocol)).await;
    }

    let grpc = asked.grpc;
    let live = Live { worker: &worker, model: &model, version, meter, grpc, inference, until, rate };
    let Prepared { body, spare, copies, retry } = live.prepare(&head, source, (arm, segments), no_copies);
    if let Some(retry) = retry.as_ref().filter(|_| live.version.has_choice()) {
        head.extensions.insert(retry.tried());
    }
    if let Some((cut, pairings)) = copies {
        recorder.mirrored(cut, pairings);
    }
    let own_deadline = if asked.grpc { grpc::timeout(&head.headers) } else { None };
    let deadline = own_deadline.and_then(|own| arrived.checked_add(own)).map(Into::into);
    let deadline = Deadline::new(own_deadline, deadline, until);
    recorder.spent(arrived.elapsed().saturating_sub(waited));
    let limit = retry.as_ref().map_or(model.model.spec.response_timeout, |retry| retry.limit());
    let called = {
        // Pinned where it is made: it is large, and would be moved along with its timeout.
        let call = pin!(call::call(&live.version, head, body));
        let called = progress::within(limit, deadline.at, &live.meter, live.pace(&recorder), call).await;
        live.version.blame(matches!(called, Err(Elapsed::Limit)));
        called
    };
    let mut called = live.settle(called, limit, &deadline);
    if let Some(retry) = retry
        && retry.is_called_for(&called)
    {
        called = Box::pin(live.ask_again(*retry, called, &deadline, &recorder)).await;
    }
    let answered = Instant::now();
    if let Some(spare) =
        spare.filter(|spare| spare.is_called_for(&called) && !deadline.is_over(Duration::ZERO))
        && let Some(place) = spare.place(&mut recorder, &called)
    {
        drop(recorder);
        let unsent = called.err().and_then(|failed| failed.unsent);
        let terms = Terms { deadline: &deadline, meter: &live.meter, rate, until, client_version };
        return Box::pin(spare.answer(unsent, place, terms)).await;
    }
    live.end(recorder, called, client_version, answered)
}

/// Refuses a request that servers could read differently, and reads no other after it: where this
/// one ends may be among the things they disagree on (RFC 9112 section 11.2).
fn refuse_and_close(worker: &Worker, fault: &Fault, head: &request::Parts) -> Response<Reply> {
    let mut response = reply::refuse(worker, fault, grpc::is_grpc(&head.headers));
    // HTTP/2 frames its requests by itself and knows no such field (RFC 9113 section 8.2.2).
    if head.version != Version::HTTP_2 {
        response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A request's body as it will be sent, and what is kept of the request meanwhile.
struct Prepared {
    body: ClientBody,
    spare: Option<Spare>,
    copies: Option<Copies>,
    retry: Option<Box<Retry>>,
}

/// What ends the copies of a request, and the pairs that they are to make with its answer.
type Copies = (Rc<Cut>, SmallVec<[Rc<Pairing>; 1]>);

/// A request whose version is drawn.
struct Live<'a> {
    worker: &'a Rc<Worker>,
    model: &'a Rc<LocalModel>,
    version: Rc<LocalVersion>,
    meter: Rc<Meter>,
    grpc: bool,
    inference: bool,
    /// When the whole exchange must be over.
    until: Option<tokio::time::Instant>,
    /// Bytes per second that its body must come at.
    rate: u64,
}

impl Live<'_> {
    /// The body as it will be sent: limited, watched, and kept where a copy or a fallback may
    /// want it.
    fn prepare(
        &self,
        head: &request::Parts,
        source: Source,
        (arm, segments): (usize, Memberships),
        no_copies: bool,
    ) -> Prepared {
        let spec = &self.model.model.spec;
        let size = source.size_hint();
        let idle = IdleTimeout::new(source, Some(spec.idle_timeout), Side::Request).at_least(self.rate);
        let idle = idle.beside(self.grpc.then(|| self.meter.clone()));
        let body = Limit::new(idle, spec.max_request_bytes, self.meter.clone());

        let mut grants = match self.model.mirrors.is_empty() || !self.inference {
            true => Grants::new(),
            false => {
                let live = if no_copies { usize::MAX } else { self.worker.live() };
                budget::grant(self.model, arm == self.model.model.stable, live, || fastrand::u16(..10_000))
            }
        };
        let fallback = spec.fallback && arm != self.model.model.stable;
        let again = retry::policy(self.model, head);
        if grants.is_empty() && !fallback && again.is_none_or(|limit| limit == 0) {
            let retry = again.map(|_| Box::new(Retry::new(self.model.clone(), head, None)));
            return Prepared { body: Tee::new(body, None), spare: None, copies: None, retry };
        }

        let fallback_limit = if fallback { spec.fallback_body_bytes } else { 0 };
        let replay_limit = fallback_limit.max(again.unwrap_or(0));
        let copy = (!grants.is_empty()).then(|| Copy::of(head));
        let cut = Rc::<Cut>::default();
        let copies = copy.is_some().then(|| (cut.clone(), self.pair(&mut grants, head, arm, segments)));
        let keeper = Keeper::new(grants, copy, cut, replay_limit, &size);
        let replay = |limit| keeper.replay(limit);
        let spare = fallback.then(|| Spare::new(self.model.clone(), head, replay(fallback_limit)));
        let retry = again.map(|limit| {
            let replay = (limit > 0).then(|| replay(limit));
            Box::new(Retry::new(self.model.clone(), head, replay))
        });
        let sink: Box<dyn Sink> = Box::new(keeper);
        Prepared { body: Tee::new(body, Some(sink)), spare, copies, retry }
    }

    /// How slowly its body may come.
    fn pace(&self, recorder: &Recorder) -> Pace<impl Fn() -> bool> {
        Pace::new(self.rate, self.grpc, || recorder.is_in_the_way())
    }

    /// Sends the request again, as often as the policy says and the budget allows.
    async fn ask_again(
        &self,
        mut retry: Retry,
        mut called: Result<Called, Failed>,
        deadline: &Deadline,
        recorder: &Recorder,
    ) -> Result<Called, Failed> {
        while retry.is_called_for(&called) {
            let again = match retry.next(called, deadline).await {
                Ok(again) => again,
                Err(called) => {
                    recorder.not_repeated();
                    return called;
                }
            };
            recorder.repeated();
            let answered = {
                let call = pin!(call::call(&self.version, again.head, again.body));
                let answered =
                    progress::within(again.limit, deadline.at, &self.meter, self.pace(recorder), call).await;
                self.version.blame(matches!(answered, Err(Elapsed::Limit)));
                answered
            };
            called = self.settle(answered, again.limit, deadline);
        }
        called
    }

    /// Has the answers to copies compared with this one's, where it is stable's.
    fn pair(
        &self,
        grants: &mut Grants,
        head: &request::Parts,
        arm: usize,
        segments: Memberships,
    ) -> SmallVec<[Rc<Pairing>; 1]> {
        let is_stable = arm == self.model.model.stable;
        let mut pairings = SmallVec::new();
        for grant in grants {
            match is_stable {
                true => pairings.extend(grant.pair(self.model, head, self.worker.queue(), segments)),
                false if grant.mirror().spec.compare.is_some() => {
                    grant.mirror().shard.drop_pair(PairDrop::NotStable);
                }
                false => {}
            }
        }
        pairings
    }

    /// What came of a call, which has been dropped if its time was over. The head of an answer may take
    /// the model's timeout, and a gRPC call no longer than its client's own deadline.
    fn settle(
        &self,
        called: Result<Result<Called, Failed>, Elapsed>,
        limit: Duration,
        deadline: &Deadline,
    ) -> Result<Called, Failed> {
        self.version.blame(false);
        let fault = match called {
            Ok(Ok(called)) => return Ok(called),
            // The request's own fault is the cause of whatever the upstream made of it.
            Ok(Err(failed)) => match self.meter.fault() {
                Some(fault) => fault.clone(),
                None => return Err(failed),
            },
            Err(elapsed) => elapsed.fault(limit, deadline),
        };
        Err(Failed { fault, unsent: None })
    }

    /// What the client gets: the version's answer, or its fault.
    fn end(
        &self,
        recorder: Recorder,
        called: Result<Called, Failed>,
        client_version: http::Version,
        answered: Instant,
    ) -> Response<Reply> {
        let spec = &self.model.model.spec;
        let name = spec.expose_version.then(|| self.version.version.header.clone());
        match called {
            Err(failed) => {
                let mut response = reply::fail(recorder, &failed.fault, self.grpc);
                if let Some(name) = name {
                    response.headers_mut().insert(reply::SERVED_BY, name);
                }
                response
            }
            Ok(called) => {
                let times = Times { idle: spec.idle_timeout, until: self.until, sent: &self.meter, answered };
                finish(recorder.into(), called, name, client_version, times, self.grpc)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One is kept for every request under way, and it is moved where it is kept, so its size is
    /// memory and time per request.
    #[test]
    fn the_future_of_a_request_stays_small() {
        fn size<A, B, C, F: Future>(_: impl Fn(A, B, C) -> F) -> usize {
            size_of::<F>()
        }
        assert!(size(serve) <= 3_648, "{} bytes", size(serve));
    }
}
