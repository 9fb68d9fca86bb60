//! The data workers: one thread each, with its own runtime, listeners, pools and statistics.

use std::cell::Cell;
use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;
use std::thread::JoinHandle;

use anyhow::Context as _;
use http::{Request, Response};
use tokio::sync::{oneshot, watch};
use tokio::task::{JoinError, LocalSet};

use crate::mirror::compare::Queue;
use crate::net::{
    self, ConnectionFault, ConnectionInfo, ConnectionWatch, DownstreamSpec, Drain, Handler, IncomingBody,
    Listener, Refusal,
};
use crate::proxy::reply::Reply;
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
}

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
                let _ = say.send(run(listeners, shared));
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

fn run(listeners: Vec<Listener>, shared: Shared) -> anyhow::Result<usize> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("can't make a worker's runtime")?;
    LocalSet::new().block_on(&runtime, serve(listeners, shared))
}

async fn serve(listeners: Vec<Listener>, shared: Shared) -> anyhow::Result<usize> {
    let worker =
        Worker::new(shared.table, shared.registry, shared.access_log, shared.queue, shared.drain.clone());
    let downstream = Rc::new(shared.downstream);
    let follow = tokio::task::spawn_local(follow(worker.clone(), shared.changes));
    // On tasks of their own: what a `LocalSet` is blocked on is polled at every turn, and a turn is
    // taken for every request.
    let mut serving = Vec::new();
    for listener in listeners {
        let make = make_handler(worker.clone(), downstream.header_count);
        let counts = Counts(worker.shard().clone());
        let serve = net::serve(listener, downstream.clone(), shared.drain.clone(), make, counts);
        serving.push(Apart::spawn(serve));
    }
    let mut cut = 0;
    for served in serving {
        cut += served.ended().await??.aborted;
    }
    follow.abort();
    Ok(cut)
}

/// A task that is waited for by what a `LocalSet` is blocked on.
///
/// That one is polled for every request, so it is told by a flag that the task has not ended:
/// asking its handle costs a hundred times as much.
struct Apart<T> {
    task: tokio::task::JoinHandle<T>,
    over: Rc<Cell<bool>>,
}

impl<T: 'static> Apart<T> {
    fn spawn(future: impl Future<Output = T> + 'static) -> Self {
        let over = Rc::<Cell<bool>>::default();
        let tell = Tell(over.clone());
        let task = tokio::task::spawn_local(async move {
            let _tell = tell;
            future.await
        });
        Self { task, over }
    }

    /// Waits for its end. To be polled with one and the same waker.
    async fn ended(mut self) -> Result<T, JoinError> {
        let mut asked = false;
        poll_fn(|cx| {
            if std::mem::replace(&mut asked, true) && !self.over.get() {
                return Poll::Pending;
            }
            Pin::new(&mut self.task).poll(cx)
        })
        .await
    }
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

fn make_handler(worker: Rc<Worker>, max_fields: usize) -> impl Fn(&ConnectionInfo) -> Requests {
    move |connection| {
        let address = connection.peer.map(|peer| peer.ip());
        let listener = Arc::from(&*connection.listener);
        let peer = Peer::new(address, connection.tls, listener, connection.allow_pin);
        let peer = Peer { max_fields, ..peer };
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
}

/// Counts connections.
struct Counts(Arc<WorkerShard>);

impl ConnectionWatch for Counts {
    fn opened(&self) {
        self.0.connections_opened.add(1);
        self.0.connections_active.add(1);
    }

    fn closed(&self) {
        self.0.connections_active.add(-1);
    }

    fn refused(&self, why: Refusal) {
        match why {
            Refusal::TooManyConnections => self.0.connections_refused.add(1),
            Refusal::OutOfResources | Refusal::AcceptFailed => self.0.accept_errors.add(1),
        }
    }

    fn failed(&self, why: ConnectionFault) {
        match why {
            ConnectionFault::Handshake | ConnectionFault::HandshakeTimeout => {
                self.0.handshake_failures.add(1)
            }
            ConnectionFault::Protocol | ConnectionFault::HeadersTooLarge => self.0.protocol_errors.add(1),
            _ => {}
        }
    }
}
