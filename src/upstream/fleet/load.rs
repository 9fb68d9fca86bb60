//! What one worker knows of an endpoint: requests under way and how long answers take.
//!
//! The time is a *peak* EWMA: a slower answer counts at once and whole, a faster one brings the
//! figure down over some seconds, and so does silence. The cost of an endpoint is that time for
//! each request under way there and the one to come.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::Arc;

use http::{HeaderMap, Response};
use tokio::time::Instant;

use crate::upstream::cluster::{Cluster, Endpoint};
use crate::wire::grpc;

/// In so many seconds a figure falls to 1/e of what it was.
const DECAY: f64 = 10.0;
/// What a first answer is expected to take: little, so that a new endpoint is tried.
const INITIAL: f64 = 0.001;
/// What a failure counts as, in seconds, however fast it was: one that fails fast must not draw
/// all requests.
const PENALTY: f64 = 1.0;

/// What one worker knows of one endpoint.
#[derive(Debug)]
pub(super) struct Load {
    pub(super) endpoint: Arc<Endpoint>,
    cluster: Arc<Cluster>,
    /// The model's time for an answer is over, and whoever drops a request now does so for that.
    blamed: Rc<Cell<bool>>,
    active: Cell<usize>,
    /// Seconds to the head of an answer.
    time: Cell<f64>,
    seen: Cell<Instant>,
}

impl Load {
    pub(super) fn new(cluster: Arc<Cluster>, endpoint: Arc<Endpoint>, blamed: Rc<Cell<bool>>) -> Rc<Self> {
        let (time, seen) = (Cell::new(INITIAL), Cell::new(Instant::now()));
        Rc::new(Self { endpoint, cluster, blamed, active: Cell::new(0), time, seen })
    }

    /// Requests under way.
    pub(super) fn active(&self) -> usize {
        self.active.get()
    }

    /// What one more request would cost it.
    pub(super) fn cost(&self, now: Instant) -> f64 {
        self.time_at(now) * (self.active.get() + 1) as f64
    }

    fn time_at(&self, now: Instant) -> f64 {
        let silent = now.saturating_duration_since(self.seen.get()).as_secs_f64();
        (self.time.get() * (-silent / DECAY).exp()).max(f64::MIN_POSITIVE)
    }

    fn observe(&self, took: f64, now: Instant) {
        let silent = now.saturating_duration_since(self.seen.get()).as_secs_f64();
        let (old, weight) = (self.time.get(), (-silent / DECAY).exp());
        self.time.set(if took > old { took } else { old * weight + took * (1.0 - weight) });
        self.seen.set(now);
    }
}

/// A request under way at an endpoint. Dropping it says that it is over.
#[derive(Debug)]
pub(in crate::upstream) struct Busy {
    load: Rc<Load>,
    stage: Stage,
}

/// How far a request has come.
#[derive(Debug, Clone, Copy)]
enum Stage {
    /// Sent at this time; there is no answer yet.
    Asked(Instant),
    /// An answer began as it should.
    Answered,
    /// What is to say of it has been said.
    Settled,
}

impl Busy {
    pub(super) fn new(load: Rc<Load>, now: Instant) -> Self {
        load.active.set(load.active.get() + 1);
        Self { load, stage: Stage::Asked(now) }
    }

    /// The head of an answer has come.
    pub(super) fn answered<B>(&mut self, response: &Response<B>) {
        match is_failure(response) {
            true => self.failed(),
            false => {
                let Stage::Asked(asked) = self.stage else { return };
                let now = Instant::now();
                self.load.observe(now.saturating_duration_since(asked).as_secs_f64(), now);
                self.load.cluster.answered(&self.load.endpoint);
                self.stage = Stage::Answered;
            }
        }
    }

    /// The answer has come to its end, with these trailers.
    pub(in crate::upstream) fn ended(&mut self, trailers: Option<&HeaderMap>) {
        let Stage::Answered = self.stage else { return };
        if trailers.is_some_and(says_trouble) {
            return self.failed();
        }
        self.stage = Stage::Settled;
        self.load.cluster.succeeded(&self.load.endpoint);
    }

    /// No answer came, or a bad one, or it broke off: one failure, whatever comes of the rest.
    pub(in crate::upstream) fn failed(&mut self) {
        let now = Instant::now();
        let (asked, in_answer) = match std::mem::replace(&mut self.stage, Stage::Settled) {
            Stage::Asked(asked) => (asked, false),
            Stage::Answered => (now, true),
            Stage::Settled => return,
        };
        let took = now.saturating_duration_since(asked).as_secs_f64();
        self.load.observe(took.max(PENALTY), now);
        self.load.cluster.failed(&self.load.endpoint, in_answer);
    }

    /// It has not happened: the fault is not the endpoint's.
    pub(super) fn void(&mut self) {
        self.stage = Stage::Settled;
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // A request that is dropped without an answer is its client's affair, but for a timeout.
        if matches!(self.stage, Stage::Asked(_)) && self.load.blamed.get() {
            self.failed();
        }
        self.load.active.set(self.load.active.get().saturating_sub(1));
    }
}

/// Whether an answer's head says that the endpoint is in trouble: 5xx, or a gRPC status that says as
/// much. A request for what is not implemented there is no trouble.
fn is_failure<B>(response: &Response<B>) -> bool {
    let status = response.status();
    (status.is_server_error() && status != http::StatusCode::NOT_IMPLEMENTED)
        || says_trouble(response.headers())
}

/// Whether a gRPC status, in a head or in trailers, says so.
fn says_trouble(headers: &HeaderMap) -> bool {
    matches!(grpc::status(headers), Some(13..=15))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::upstream::{Address, UpstreamSpec};

    fn load() -> Rc<Load> {
        let address = Address::Tcp { host: "127.0.0.1".to_owned(), port: 1 };
        let cluster = Arc::new(Cluster::new(&UpstreamSpec::new(address, "a".to_owned())).unwrap());
        let endpoint = cluster.members()[0].clone();
        Load::new(cluster, endpoint, Rc::default())
    }

    fn answer(status: u16) -> Response<()> {
        Response::builder().status(status).body(()).unwrap()
    }

    /// The time, in whole milliseconds.
    fn time(load: &Load) -> f64 {
        (load.cost(Instant::now()) * 1_000.0).round()
    }

    async fn ask(load: &Rc<Load>, took: u64, status: u16) {
        let mut busy = Busy::new(load.clone(), Instant::now());
        tokio::time::advance(Duration::from_millis(took)).await;
        busy.answered(&answer(status));
    }

    #[tokio::test(start_paused = true)]
    async fn slow_counts_at_once_and_fast_little_by_little() {
        let load = load();
        assert_eq!(time(&load), 1.0);
        ask(&load, 200, 200).await;
        assert_eq!(time(&load), 200.0);
        ask(&load, 1, 200).await;
        assert!(time(&load) > 190.0);
        for _ in 0..100 {
            tokio::time::advance(Duration::from_millis(999)).await;
            ask(&load, 1, 200).await;
        }
        assert_eq!(time(&load), 1.0);
        ask(&load, 500, 200).await;
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!(time(&load), (500.0 / std::f64::consts::E).round());
    }

    #[tokio::test(start_paused = true)]
    async fn who_fails_fast_does_not_look_fast() {
        let load = load();
        ask(&load, 1, 503).await;
        assert_eq!(time(&load), 1_000.0);
        ask(&load, 3_000, 500).await;
        assert_eq!(time(&load), 3_000.0);
    }

    #[tokio::test(start_paused = true)]
    async fn requests_under_way_cost() {
        let load = load();
        ask(&load, 100, 200).await;
        let one = Busy::new(load.clone(), Instant::now());
        assert_eq!((load.active(), time(&load)), (1, 200.0));
        let two = Busy::new(load.clone(), Instant::now());
        assert_eq!((load.active(), time(&load)), (2, 300.0));
        drop((one, two));
        // Clients that leave are no failures.
        assert_eq!((load.active(), time(&load)), (0, 100.0));
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_that_is_given_up_for_its_time_is_a_failure() {
        let load = load();
        let busy = Busy::new(load.clone(), Instant::now());
        tokio::time::advance(Duration::from_secs(60)).await;
        load.blamed.set(true);
        drop(busy);
        load.blamed.set(false);
        assert_eq!(time(&load), 60_000.0);
    }

    #[tokio::test(start_paused = true)]
    async fn a_request_fails_once_and_trailers_can_say_so() {
        let load = load();
        let failures = || load.endpoint.failures();
        let trailers = |status: &'static str| {
            HeaderMap::from_iter([(grpc::GRPC_STATUS, http::HeaderValue::from_static(status))])
        };
        let begun = |status| {
            let mut busy = Busy::new(load.clone(), Instant::now());
            busy.answered(&answer(status));
            busy
        };
        let mut busy = begun(503);
        busy.failed();
        assert_eq!((failures(), time(&load)), (1, 2_000.0));
        drop(busy);
        begun(503).ended(None);
        assert_eq!(failures(), 2);
        begun(200).ended(Some(&trailers("14")));
        assert_eq!(failures(), 1, "its head has ended the row of those without one");
        begun(200).failed();
        assert_eq!(failures(), 2);
        begun(200).ended(Some(&trailers("5")));
        assert_eq!(failures(), 0);
    }

    #[test]
    fn trouble_is_what_says_so() {
        for (status, failed) in
            [(200, false), (404, false), (429, false), (500, true), (501, false), (503, true)]
        {
            assert_eq!(is_failure(&answer(status)), failed, "{status}");
        }
        for (code, failed) in [("0", false), ("3", false), ("8", false), ("13", true), ("14", true)] {
            let answer = Response::builder().header("grpc-status", code).body(()).unwrap();
            assert_eq!(is_failure(&answer), failed, "{code}");
        }
    }
}
