//! One version of a model in process: its sessions, and the door to them.
//!
//! Starting never fails and never blocks: loading goes on in threads of its own (`load`) and ends in
//! one of two states, ready or unavailable with a reason. A request is checked against the model's
//! signature on the caller's thread. A small one is run right there when a session is free; any
//! other is queued, and run by an owner (`owner`), with others where the model allows it.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant as StdInstant};

use tokio::sync::{Notify, oneshot};
use tokio::time::{Instant, timeout_at};

use crate::inference::tensor::Tensor;

use super::batch;
use super::error::EngineError;
use super::inspect::Facts;
use super::load::{self, Files, Ready, Source};
use super::pace;
use super::queue::Job;
use super::repository::Repository;
use super::runtime::RuntimeSource;
use super::signature::Signature;
use super::spec::EngineSpec;
use super::statistics::{Statistics, Took};
use super::works::Works;

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

/// How loading ends.
struct Shared {
    outcome: OnceLock<Result<Arc<Ready>, Arc<str>>>,
    loaded: Notify,
    works: Arc<Works>,
    /// Counts it.
    tally: Arc<LoadTally>,
}

/// How often loading ended well and how often not.
#[derive(Debug, Default)]
pub(super) struct LoadTally {
    pub(super) ready: AtomicU64,
    pub(super) failed: AtomicU64,
}

impl Engine {
    /// Starts to load the model of `spec`, with the library of `source`. One that is unloaded is
    /// unavailable at once.
    pub fn start(spec: EngineSpec, source: RuntimeSource) -> Self {
        Self::start_in(spec, source, Repository::default(), Arc::default())
    }

    /// The same, in a repository that clients may ask about through it.
    pub(super) fn start_in(
        spec: EngineSpec,
        source: RuntimeSource,
        repository: Repository,
        tally: Arc<LoadTally>,
    ) -> Self {
        let files = Files { spec: spec.clone(), library: source };
        Self::begin(spec, Arc::new(files), repository, tally)
    }

    #[cfg(test)]
    fn start_with(spec: EngineSpec, source: Arc<dyn Source>) -> Self {
        Self::begin(spec, source, Repository::default(), Arc::default())
    }

    /// One whose load lasts until the test drops the other half, and then has failed.
    #[cfg(test)]
    pub(crate) fn loading(spec: EngineSpec) -> (Self, std::sync::mpsc::Sender<()>) {
        let (held, ended) = std::sync::mpsc::channel();
        let ended = std::sync::Mutex::new(ended);
        let source = move |_: &super::abort::Abort| -> Result<_, String> {
            let _ended = ended.lock().map(|ended| ended.recv());
            Err("no model".to_owned())
        };
        (Self::start_with(spec, Arc::new(source)), held)
    }

    fn begin(
        spec: EngineSpec,
        source: Arc<dyn Source>,
        repository: Repository,
        tally: Arc<LoadTally>,
    ) -> Self {
        let max_bytes = spec.max_body_bytes.saturating_mul(QUEUED_BODIES);
        let shared = Arc::new(Shared {
            outcome: OnceLock::new(),
            loaded: Notify::new(),
            works: Arc::new(Works::new(spec.max_queue, max_bytes)),
            tally,
        });
        let engine = Self { spec, shared, repository };
        if engine.spec.unloaded {
            engine.shared.settle(&engine.spec, Err("unloaded".to_owned()));
            return engine;
        }
        let (spec, shared) = (engine.spec.clone(), Arc::clone(&engine.shared));
        let spawned = std::thread::Builder::new().name("onnx-load".to_owned()).spawn(move || {
            let outcome = load::load(&spec, &shared.works, &source);
            shared.settle(&spec, outcome);
        });
        if let Err(error) = spawned {
            engine.shared.settle(&engine.spec, Err(format!("no thread for loading: {error}")));
        }
        engine
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
        self.ready().map(|ready| &ready.signature)
    }

    /// What is known of its files; `None` unless it is ready.
    pub fn facts(&self) -> Option<&Facts> {
        self.ready().ok().map(|ready| &ready.facts)
    }

    /// Most rows that share a run, as measured while it was warmed up; 1 where none do.
    pub fn max_batch_size(&self) -> usize {
        self.ready().map_or(1, |ready| if ready.sharing.is_on() { ready.sharing.max_rows } else { 1 })
    }

    fn ready(&self) -> Result<&Ready, EngineError> {
        match self.shared.outcome.get() {
            None => Err(EngineError::Loading),
            Some(Ok(ready)) => Ok(ready),
            Some(Err(reason)) => Err(EngineError::Unavailable(reason.to_string())),
        }
    }

    /// How many requests wait for a session now.
    pub fn waiting(&self) -> usize {
        self.shared.works.queue.waiting()
    }

    /// What it has done since it was started.
    pub fn statistics(&self) -> Statistics {
        self.shared.works.recorder.snapshot(self.shared.works.queue.waiting())
    }

    /// Counts the writing of an answer, which the protocols do.
    pub fn encoded(&self, took: Duration) {
        self.shared.works.recorder.encoded(took);
    }

    /// The repository that this engine's process serves: its index, and its commands.
    pub fn repository(&self) -> &Repository {
        &self.repository
    }

    /// What outlives this engine while its threads end.
    pub(super) fn remains(&self) -> Weak<Works> {
        Arc::downgrade(&self.shared.works)
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
        let arrived = StdInstant::now();
        let outcome = self.answer(inputs, deadline, arrived).await;
        if matches!(outcome, Err(EngineError::DeadlineExceeded)) {
            self.shared.works.recorder.expired();
        }
        self.shared.works.recorder.ended(outcome.is_ok(), arrived.elapsed());
        outcome
    }

    async fn answer(
        &self,
        inputs: Vec<Tensor>,
        deadline: Option<Instant>,
        arrived: StdInstant,
    ) -> Result<Vec<Tensor>, EngineError> {
        let ready = self.ready()?;
        if deadline.is_some_and(|deadline| deadline <= Instant::now()) {
            return Err(EngineError::DeadlineExceeded);
        }
        let inputs = ready.signature.check(inputs)?;
        let disagreement = ready.signature.disagreement(&inputs);
        let outcome = match self.run_inline(ready, inputs) {
            Ok(outcome) => outcome,
            Err(inputs) => self.queue(ready, inputs, deadline, arrived).await,
        };
        match (outcome, disagreement) {
            // The request's mistake, not the model's.
            (Err(EngineError::Failed(_)), Some(why)) => Err(EngineError::Refused(why)),
            (outcome, _) => outcome,
        }
    }

    /// Runs `inputs` on this thread if that is expected to be quick, nobody waits, and a session is
    /// free; gives them back otherwise.
    fn run_inline(
        &self,
        ready: &Ready,
        inputs: Vec<Tensor>,
    ) -> Result<Result<Vec<Tensor>, EngineError>, Vec<Tensor>> {
        let Works { queue, pace, recorder, .. } = &*self.shared.works;
        let quick = pace.expects(pace::values(&inputs)).is_some_and(|time| time < self.spec.inline_below);
        if !quick || queue.waiting() > 0 {
            return Err(inputs);
        }
        let rows = if ready.sharing.max_rows > 1 { batch::rows(&inputs).unwrap_or(1) } else { 1 };
        let mut inputs = inputs;
        for lane in &ready.lanes {
            let mut took = Took::default();
            match lane.try_run(inputs, pace, &mut took) {
                Ok(outcome) => {
                    recorder.waited(Duration::ZERO);
                    recorder.ran_inline();
                    if outcome.is_ok() {
                        recorder.ran(1, rows, &took);
                    }
                    return Ok(outcome);
                }
                Err(back) => inputs = back,
            }
        }
        Err(inputs)
    }

    async fn queue(
        &self,
        ready: &Ready,
        inputs: Vec<Tensor>,
        deadline: Option<Instant>,
        arrived: StdInstant,
    ) -> Result<Vec<Tensor>, EngineError> {
        let bytes = inputs.iter().map(Tensor::size).sum();
        let rows = if ready.sharing.is_on() { batch::rows(&inputs) } else { None };
        let (answer, answered) = oneshot::channel();
        let job = Job { inputs, rows, bytes, deadline, arrived, answer };
        self.shared.works.queue.push(job, &self.shared.works.recorder)?;
        let answered = match deadline {
            None => answered.await,
            Some(deadline) => {
                timeout_at(deadline, answered).await.map_err(|_| EngineError::DeadlineExceeded)?
            }
        };
        answered.unwrap_or_else(|_| Err(EngineError::Failed("its thread has ended".to_owned())))
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.shared.works.end();
    }
}

impl Shared {
    fn settle(&self, spec: &EngineSpec, outcome: Result<Arc<Ready>, String>) {
        match &outcome {
            Ok(_) => {
                self.tally.ready.fetch_add(1, Relaxed);
                tracing::info!(model = spec.model, version = spec.version, "model ready");
            }
            Err(reason) => {
                if spec.unloaded {
                    tracing::info!(model = spec.model, version = spec.version, "model unloaded");
                } else {
                    self.tally.failed.fetch_add(1, Relaxed);
                    tracing::error!(model = spec.model, version = spec.version, reason, "model unavailable");
                }
                self.works.abort.set();
                self.works.queue.close();
            }
        }
        self.works.abort.forget();
        let _ = self.outcome.set(outcome.map_err(Arc::from));
        self.loaded.notify_waiters();
    }
}

#[cfg(test)]
mod tests;
