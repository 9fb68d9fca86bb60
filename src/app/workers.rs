//! The data workers: one thread each, with its own runtime, listeners, pools and statistics.
//!
//! A worker that ends before its time, by a panic or otherwise, is started again on the same thread
//! and with the same sockets: its connections are lost, those in the kernel's queue are not, and the
//! other workers notice nothing.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use http::{Request, Response};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, LocalSet};

use crate::base::{Level, Pressure};
use crate::mirror::compare::Queue;
use crate::net::{
    self, ConnectionFault, ConnectionInfo, ConnectionWatch, DownstreamSpec, Drain, Handler, IncomingBody,
    Listener, Refusal,
};
use crate::proxy::reply::{self, Reply};
use crate::proxy::request;
use crate::proxy::worker::Worker;
use crate::routing::table::SharedTable;
use crate::stats::{Registry, WorkerShard};
use crate::telemetry::access_log::AccessLog;
use crate::wire::forward::Peer;

/// What every worker is given.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) table: SharedTable,
    pub(super) changes: watch::Receiver<u64>,
    pub(super) registry: Arc<Registry>,
    pub(super) downstream: DownstreamSpec,
    pub(super) access_log: Option<AccessLog>,
    pub(super) drain: Drain,
    pub(super) queue: Queue,
    pub(super) pressure: Arc<Pressure>,
    /// How often a worker was started again.
    pub(super) restarts: Arc<AtomicU64>,
}

/// A worker that fails more often than this within [`STORM`] is given up, and the process with it:
/// something is wrong that another start does not mend.
const MOST_RESTARTS: usize = 5;
const STORM: Duration = Duration::from_secs(60);

/// A worker's thread.
pub(super) struct WorkerThread {
    thread: JoinHandle<()>,
    done: oneshot::Receiver<anyhow::Result<usize>>,
}

impl WorkerThread {
    /// Starts worker `index`, which serves `listeners` until it is told to drain.
    ///
    /// # Errors
    /// When the system gives no thread.
    pub(super) fn start(index: usize, listeners: Vec<Listener>, shared: Shared) -> anyhow::Result<Self> {
        let (say, done) = oneshot::channel();
        let thread = std::thread::Builder::new()
            .name(format!("worker-{index}"))
            .spawn(move || {
                let _ = say.send(supervise(listeners, &shared));
            })
            .context("can't start a worker thread")?;
        Ok(Self { thread, done })
    }

    /// Waits for the worker's end: how many connections had to be cut.
    ///
    /// # Errors
    /// Whatever ended it before its time.
    pub(super) async fn ended(&mut self) -> anyhow::Result<usize> {
        (&mut self.done).await.unwrap_or_else(|_| Err(anyhow::anyhow!("a worker thread panicked")))
    }

    /// Reaps the thread after its end.
    pub(super) fn join(self) {
        let _ = self.thread.join();
    }
}

/// Runs a worker until it is told to drain, again and again should it fail.
fn supervise(listeners: Vec<Listener>, shared: &Shared) -> anyhow::Result<usize> {
    let mut failures: Vec<Instant> = Vec::new();
    // Kept for the next start, and let go of when draining begins: a socket that is open refuses
    // nobody.
    let spare = Rc::new(RefCell::new(listeners));
    loop {
        let mine: Vec<Listener> = spare
            .borrow()
            .iter()
            .map(Listener::try_clone)
            .collect::<Result<_, _>>()
            .context("can't share a socket")?;
        let ended = catch_unwind(AssertUnwindSafe(|| run(mine, shared.clone(), spare.clone())));
        let error = match ended {
            Ok(Ok(cut)) => return Ok(cut),
            Ok(Err(error)) => error,
            Err(_) => anyhow::anyhow!("it panicked; this is a bug"),
        };
        if shared.drain.deadline().is_some() {
            return Err(error);
        }
        let now = Instant::now();
        failures.retain(|failure| now.duration_since(*failure) < STORM);
        failures.push(now);
        if failures.len() > MOST_RESTARTS {
            return Err(error.context("a worker failed again and again"));
        }
        shared.restarts.fetch_add(1, Relaxed);
        tracing::error!(%error, "a worker failed and is started again");
    }
}

fn run(listeners: Vec<Listener>, shared: Shared, spare: Rc<RefCell<Vec<Listener>>>) -> anyhow::Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't make a worker's runtime")?;
    LocalSet::new().block_on(&runtime, serve(listeners, shared, spare))
}

async fn serve(
    listeners: Vec<Listener>,
    shared: Shared,
    spare: Rc<RefCell<Vec<Listener>>>,
) -> anyhow::Result<usize> {
    let pressure = shared.pressure.clone();
    let worker = Worker::new(
        shared.table,
        shared.registry,
        shared.access_log,
        shared.queue,
        shared.drain.clone(),
        shared.pressure,
    );
    let downstream = Rc::new(shared.downstream);
    let follow = tokio::task::spawn_local(follow(worker.clone(), shared.changes));
    let mut drain = shared.drain.clone();
    let letting_go = tokio::task::spawn_local(async move {
        drain.started().await;
        spare.borrow_mut().clear();
    });
    // On tasks of their own: what a `LocalSet` is blocked on is polled at every turn, and a turn is
    // taken for every request.
    let mut serving = Vec::new();
    for listener in listeners {
        let make = make_handler(worker.clone(), downstream.clone());
        let counts = Counts { shard: worker.shard().clone(), pressure: pressure.clone() };
        let serve = net::serve(listener, downstream.clone(), shared.drain.clone(), make, counts);
        serving.push(Apart::spawn(serve));
    }
    #[cfg(debug_assertions)]
    serving.extend(failpoint::panicking(shared.drain.clone()).map(Apart::spawn));
    let cut = all_ended(serving).await?;
    follow.abort();
    letting_go.abort();
    Ok(cut)
}

/// A task that is waited for by what a `LocalSet` is blocked on.
///
/// That one is polled for every request, so it is told by a flag that the task has not ended:
/// asking its handle costs a hundred times as much.
struct Apart<T> {
    task: tokio::task::JoinHandle<T>,
    over: Rc<Cell<bool>>,
    asked: bool,
}

impl<T: 'static> Apart<T> {
    fn spawn(future: impl Future<Output = T> + 'static) -> Self {
        let over = Rc::<Cell<bool>>::default();
        let tell = Tell(over.clone());
        let task = tokio::task::spawn_local(async move {
            let _tell = tell;
            future.await
        });
        Self { task, over, asked: false }
    }

    /// Its end. To be polled with one and the same waker.
    fn poll_ended(&mut self, cx: &mut Context<'_>) -> Poll<Result<T, JoinError>> {
        if std::mem::replace(&mut self.asked, true) && !self.over.get() {
            return Poll::Pending;
        }
        Pin::new(&mut self.task).poll(cx)
    }
}

/// Waits for the end of all of them: how many connections had to be cut. The first that fails ends it,
/// whichever that is.
async fn all_ended(mut serving: Vec<Apart<io::Result<net::Drained>>>) -> anyhow::Result<usize> {
    let mut cut = 0;
    poll_fn(|cx| {
        let mut at = 0;
        while let Some(one) = serving.get_mut(at) {
            match one.poll_ended(cx) {
                Poll::Pending => at += 1,
                Poll::Ready(served) => {
                    cut += served??.aborted;
                    serving.swap_remove(at);
                }
            }
        }
        if serving.is_empty() { Poll::Ready(Ok(cut)) } else { Poll::Pending }
    })
    .await
}

/// Sets its flag however its task ends.
struct Tell(Rc<Cell<bool>>);

impl Drop for Tell {
    fn drop(&mut self) {
        self.0.set(true);
    }
}

/// Takes up each new table at once, so that a worker without requests does not keep what is gone.
async fn follow(worker: Rc<Worker>, mut changes: watch::Receiver<u64>) {
    while changes.changed().await.is_ok() {
        let _ = worker.table();
    }
}

fn make_handler(worker: Rc<Worker>, limits: Rc<DownstreamSpec>) -> impl Fn(&ConnectionInfo) -> Requests {
    move |connection| {
        let address = connection.peer.map(|peer| peer.ip());
        let listener = Arc::from(&*connection.listener);
        let peer = Peer::new(address, connection.tls, listener, connection.allow_pin);
        let peer = Peer {
            max_fields: limits.header_count,
            body_rate: limits.body_rate,
            trusted: connection.trusted,
            ..peer
        };
        Requests { worker: worker.clone(), peer: Rc::new(peer) }
    }
}

/// Hands a connection's requests to the proxy.
#[derive(Clone)]
struct Requests {
    worker: Rc<Worker>,
    peer: Rc<Peer>,
}

impl Handler for Requests {
    type Body = Reply;

    fn handle(&self, request: Request<IncomingBody>) -> impl Future<Output = Response<Reply>> + use<> {
        request::serve(self.worker.clone(), self.peer.clone(), request)
    }

    fn is_in_the_way(rest: &Reply) -> bool {
        reply::is_in_the_way(rest)
    }
}

/// Counts connections.
struct Counts {
    shard: Arc<WorkerShard>,
    pressure: Arc<Pressure>,
}

impl ConnectionWatch for Counts {
    fn may_open(&self) -> bool {
        self.pressure.level() < Level::All
    }

    fn opened(&self) {
        self.shard.connections_opened.add(1);
        self.shard.connections_active.add(1);
    }

    fn closed(&self) {
        self.shard.connections_active.add(-1);
    }

    fn refused(&self, why: Refusal) {
        match why {
            Refusal::TooManyConnections | Refusal::OutOfMemory => self.shard.connections_refused.add(1),
            Refusal::OutOfResources | Refusal::AcceptFailed => self.shard.accept_errors.add(1),
        }
    }

    fn failed(&self, why: ConnectionFault) {
        self.shard.connection_failed(why.index());
        match why {
            ConnectionFault::Handshake
            | ConnectionFault::HandshakeTimeout
            | ConnectionFault::TooManyHandshakes => self.shard.handshake_failures.add(1),
            ConnectionFault::Protocol | ConnectionFault::HeadersTooLarge | ConnectionFault::Flood => {
                self.shard.protocol_errors.add(1)
            }
            _ => {}
        }
    }
}

/// A way for tests to make a worker panic. It is not there in release builds.
#[cfg(debug_assertions)]
mod failpoint {
    use std::path::PathBuf;
    use std::time::Duration;

    use crate::net::{Drain, Drained};

    /// A worker that panics when the file that `SWITCHBACK_PANIC_WORKER` names appears; the file is
    /// removed, so that it happens once.
    pub(super) fn panicking(drain: Drain) -> Option<impl Future<Output = std::io::Result<Drained>>> {
        let path = PathBuf::from(std::env::var_os("SWITCHBACK_PANIC_WORKER")?);
        Some(async move {
            while drain.deadline().is_none() {
                tokio::time::sleep(Duration::from_millis(20)).await;
                if std::fs::remove_file(&path).is_ok() {
                    die();
                }
            }
            Ok(Drained { aborted: 0 })
        })
    }

    #[expect(clippy::panic, reason = "this is what it is for")]
    fn die() {
        panic!("told to panic")
    }
}
