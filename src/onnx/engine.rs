//! One version of a model in process: the threads that own its sessions, and the door to them.
//!
//! Starting never fails and never blocks: loading goes on in its own threads and ends in one of two
//! states, ready or unavailable with a reason. A request is checked against the model's signature
//! on the caller's thread, queued, and run by an owner. Absent here: batching, running small models
//! on the caller's thread, replacing a model; the queue and the `Runner` seam are made for them.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, OnceLock};
use std::time::Instant as StdInstant;

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::inference::tensor::Tensor;

use super::abort::Abort;
use super::error::EngineError;
use super::queue::{Job, Queue, Runner, panic_message};
use super::repository::Repository;
use super::runtime::{self, RuntimeSource};
use super::session;
use super::signature::Signature;
use super::spec::EngineSpec;
use super::statistics::{Recorder, Statistics};

/// Waiting inputs may take this many times the largest body.
const QUEUED_BODIES: usize = 4;

/// Whether an engine can answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// The model is being loaded and warmed up.
    Loading,
    /// It answers.
    Ready,
    /// It does not answer and will not.
    Unavailable {
        /// Why, in one line.
        reason: Arc<str>,
    },
}

/// A model version served in process. Dropping it ends its threads and does not wait for them.
pub struct Engine {
    spec: EngineSpec,
    shared: Arc<Shared>,
    repository: Repository,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("spec", &self.spec).field("state", &self.state()).finish()
    }
}

struct Shared {
    outcome: OnceLock<Result<Signature, Arc<str>>>,
    loaded: Notify,
    queue: Queue,
    abort: Abort,
    recorder: Recorder,
}

/// What makes the sessions: one call per instance, on the thread that will own it.
type Load = dyn Fn(&Abort) -> Result<(Signature, Box<dyn Runner>), String> + Send + Sync;

impl Engine {
    /// Starts to load the model of `spec`, with the library of `source`.
    pub fn start(spec: EngineSpec, source: RuntimeSource) -> Self {
        let what = spec.clone();
        Self::start_with(
            spec,
            Arc::new(move |abort: &Abort| {
                let runtime = runtime::load(&source).map_err(|error| error.to_string())?;
                let (signature, runner) = session::load(&what, runtime, abort)?;
                Ok((signature, Box::new(runner) as Box<dyn Runner>))
            }),
        )
    }

    fn start_with(spec: EngineSpec, load: Arc<Load>) -> Self {
        let max_bytes = spec.max_body_bytes.saturating_mul(QUEUED_BODIES);
        let shared = Arc::new(Shared {
            outcome: OnceLock::new(),
            loaded: Notify::new(),
            queue: Queue::new(spec.max_queue, max_bytes),
            abort: Abort::default(),
            recorder: Recorder::default(),
        });
        let loading = (spec.clone(), Arc::clone(&shared));
        let spawned = std::thread::Builder::new().name("onnx-load".to_owned()).spawn(move || {
            let (spec, shared) = loading;
            let outcome = load_all(&spec, &shared, &load);
            shared.settle(&spec, outcome);
        });
        if let Err(error) = spawned {
            shared.settle(&spec, Err(format!("no thread for loading: {error}")));
        }
        Self { spec, shared, repository: Repository::default() }
    }

    /// What it was started with.
    pub fn spec(&self) -> &EngineSpec {
        &self.spec
    }

    /// Whether it can answer.
    pub fn state(&self) -> State {
        match self.shared.outcome.get() {
            None => State::Loading,
            Some(Ok(_)) => State::Ready,
            Some(Err(reason)) => State::Unavailable { reason: Arc::clone(reason) },
        }
    }

    /// What the model takes and gives.
    ///
    /// # Errors
    /// [`EngineError::Loading`] or [`EngineError::Unavailable`] when it is not ready.
    pub fn signature(&self) -> Result<&Signature, EngineError> {
        match self.shared.outcome.get() {
            None => Err(EngineError::Loading),
            Some(Ok(signature)) => Ok(signature),
            Some(Err(reason)) => Err(EngineError::Unavailable(reason.to_string())),
        }
    }

    /// How many requests wait for a session now.
    pub fn waiting(&self) -> usize {
        self.shared.queue.waiting()
    }

    /// What it has done since it was started.
    pub fn statistics(&self) -> Statistics {
        self.shared.recorder.snapshot(self.shared.queue.waiting())
    }

    /// Counts the writing of an answer, which the protocols do.
    pub fn encoded(&self, took: std::time::Duration) {
        self.shared.recorder.encoded(took);
    }

    /// The repository that this engine's process serves: its index, and its commands.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// Waits until loading is over, one way or the other.
    ///
    /// # Cancel safety
    /// Dropping the future has no effect.
    pub async fn wait_loaded(&self) {
        let notified = self.shared.loaded.notified();
        tokio::pin!(notified);
        // Registered before the look, so that the end of loading cannot fall between the two.
        notified.as_mut().enable();
        if self.shared.outcome.get().is_none() {
            notified.await;
        }
    }

    /// Runs the model on `inputs`, in any order; outputs come in the graph's order.
    ///
    /// # Errors
    /// [`EngineError`]; its [`kind`](EngineError::kind) says the status to answer. A deadline that
    /// passes while the model runs ends the wait, not the run.
    ///
    /// # Cancel safety
    /// A request whose future is dropped while it waits is never run.
    pub async fn infer(
        &self,
        inputs: Vec<Tensor>,
        deadline: Option<Instant>,
    ) -> Result<Vec<Tensor>, EngineError> {
        let signature = self.signature()?;
        let inputs = signature.check(inputs)?;
        let disagreement = signature.disagreement(&inputs);
        let bytes = inputs.iter().map(Tensor::size).sum();
        let (answer, answered) = oneshot::channel();
        self.shared.queue.push(Job { inputs, bytes, deadline, answer })?;
        let answered = match deadline {
            None => answered.await,
            Some(deadline) => {
                timeout_at(deadline, answered).await.map_err(|_| EngineError::DeadlineExceeded)?
            }
        };
        let outcome =
            answered.unwrap_or_else(|_| Err(EngineError::Failed("its thread has ended".to_owned())));
        match (outcome, disagreement) {
            // The request's mistake, not the model's.
            (Err(EngineError::Failed(_)), Some(why)) => Err(EngineError::Refused(why)),
            (outcome, _) => outcome,
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.queue.close();
        self.shared.abort.set();
    }
}

impl Shared {
    fn settle(&self, spec: &EngineSpec, outcome: Result<Signature, String>) {
        match &outcome {
            Ok(_) => tracing::info!(model = spec.model, version = spec.version, "model ready"),
            Err(reason) => {
                tracing::error!(model = spec.model, version = spec.version, reason, "model unavailable");
                self.abort.set();
                self.queue.close();
            }
        }
        self.abort.forget();
        let _ = self.outcome.set(outcome.map_err(Arc::from));
        self.loaded.notify_waiters();
    }
}

/// Starts one owner after the other and waits for each to have loaded, all within the limit.
fn load_all(spec: &EngineSpec, shared: &Arc<Shared>, load: &Arc<Load>) -> Result<Signature, String> {
    let limit = StdInstant::now() + spec.load_timeout;
    let (report, reports) = mpsc::channel();
    let mut signature = None;
    for instance in 0..spec.instances.max(1) {
        let (shared, load, report) = (Arc::clone(shared), Arc::clone(load), report.clone());
        std::thread::Builder::new()
            .name(format!("onnx-run-{instance}"))
            .spawn(move || own(&shared, &*load, &report))
            .map_err(|error| format!("no thread for instance {instance}: {error}"))?;
        let left = limit.saturating_duration_since(StdInstant::now());
        signature = Some(match reports.recv_timeout(left) {
            Ok(loaded) => loaded?,
            Err(RecvTimeoutError::Timeout) => {
                return Err(format!("{}: not loaded within {:?}", spec.path().display(), spec.load_timeout));
            }
            Err(RecvTimeoutError::Disconnected) => return Err("its thread has ended".to_owned()),
        });
    }
    signature.ok_or_else(|| "no instance".to_owned())
}

/// The life of an owner: load, report, serve until the engine is dropped.
fn own(shared: &Shared, load: &Load, report: &mpsc::Sender<Result<Signature, String>>) {
    // ONNX Runtime's binding panics on a few kinds of graph.
    let loaded = catch_unwind(AssertUnwindSafe(|| load(&shared.abort)))
        .unwrap_or_else(|panic| Err(format!("loading panicked: {}", panic_message(&*panic))));
    match loaded {
        Ok((signature, mut runner)) => {
            let _ = report.send(Ok(signature));
            shared.queue.serve(&mut *runner);
        }
        Err(reason) => {
            let _ = report.send(Err(reason));
        }
    }
}

#[cfg(test)]
mod tests;
