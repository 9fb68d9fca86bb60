//! Bringing a version to life: look at its files, make its sessions, rehearse, start their owners.
//!
//! All of it happens beside the live version and must not be felt there. So it has a thread of its
//! own, at low priority, and a time limit. Low priority cannot be taken back without privileges and
//! is inherited, so the threads that serve are started by another one, and a model whose inferences
//! have threads of their own is loaded at ordinary priority.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Instant;

use super::abort::Abort;
use super::golden::{self, Golden};
use super::inspect::{self, Facts};
use super::lane::{Lane, Runner, panic_message};
use super::memory;
use super::owner::{Owner, Sharing};
use super::rehearse::Rehearsal;
use super::runtime::{self, RuntimeSource};
use super::session;
use super::signature::Signature;
use super::spec::EngineSpec;
use super::works::Works;

/// How much less than others a thread that loads gets of a busy processor (0 to 19).
const NICENESS: i32 = 15;

/// Where a version comes from: files, or what a test makes up.
pub(super) trait Source: Send + Sync {
    /// Looks at the files, before anything is loaded.
    ///
    /// # Errors
    /// Why they are refused.
    fn look(&self, _abort: &Abort) -> Result<(Facts, Option<Golden>), String> {
        Ok((Facts::default(), None))
    }

    /// Makes one session.
    ///
    /// # Errors
    /// Why there is none.
    fn session(&self, abort: &Abort) -> Result<(Signature, Box<dyn Runner>), String>;

    /// Whether each session is to be run before it serves.
    fn rehearses(&self) -> bool {
        false
    }
}

impl<F> Source for F
where
    F: Fn(&Abort) -> Result<(Signature, Box<dyn Runner>), String> + Send + Sync,
{
    fn session(&self, abort: &Abort) -> Result<(Signature, Box<dyn Runner>), String> {
        self(abort)
    }
}

/// The files of a repository.
pub(super) struct Files {
    pub(super) spec: EngineSpec,
    pub(super) library: RuntimeSource,
}

impl Source for Files {
    fn look(&self, abort: &Abort) -> Result<(Facts, Option<Golden>), String> {
        // Without the library nothing else matters.
        runtime::load(&self.library).map_err(|error| error.to_string())?;
        let facts = inspect::look(&self.spec, abort)?;
        let golden = golden::read(&self.spec.folder())?;
        memory::check(facts.bytes, self.spec.instances)
            .map_err(|error| format!("{}: {error}", self.spec.path().display()))?;
        Ok((facts, golden))
    }

    fn session(&self, abort: &Abort) -> Result<(Signature, Box<dyn Runner>), String> {
        let runtime = runtime::load(&self.library).map_err(|error| error.to_string())?;
        let (signature, runner) = session::load(&self.spec, runtime, abort)?;
        Ok((signature, Box::new(runner)))
    }

    fn rehearses(&self) -> bool {
        true
    }
}

/// A version that can serve.
pub(super) struct Ready {
    pub(super) signature: Signature,
    pub(super) lanes: Box<[Lane]>,
    pub(super) sharing: Sharing,
    pub(super) facts: Facts,
}

/// Loads on threads of its own, within the time limit, and starts the owners.
///
/// # Errors
/// Why there is no version, in one line.
pub(super) fn load(
    spec: &EngineSpec,
    works: &Arc<Works>,
    source: &Arc<dyn Source>,
) -> Result<Arc<Ready>, String> {
    let (report, reported) = mpsc::channel();
    let (of, with, from) = (spec.clone(), Arc::clone(works), Arc::clone(source));
    std::thread::Builder::new()
        .name("onnx-make".to_owned())
        .spawn(move || {
            if of.intra_op_threads <= 1 {
                lower_priority();
            }
            // ONNX Runtime's binding panics on a few kinds of graph.
            let made = catch_unwind(AssertUnwindSafe(|| make(&of, &with, &*from)));
            let made =
                made.unwrap_or_else(|panic| Err(format!("loading panicked: {}", panic_message(&*panic))));
            let _ = report.send(made);
        })
        .map_err(|error| format!("no thread for loading: {error}"))?;
    let ready = match reported.recv_timeout(spec.load_timeout) {
        Ok(made) => Arc::new(made?),
        Err(RecvTimeoutError::Timeout) => {
            return Err(format!("{}: not loaded within {:?}", spec.path().display(), spec.load_timeout));
        }
        Err(RecvTimeoutError::Disconnected) => return Err("its thread has ended".to_owned()),
    };
    for instance in 0..ready.lanes.len() {
        let (ready, works) = (Arc::clone(&ready), Arc::clone(works));
        std::thread::Builder::new()
            .name(format!("onnx-run-{instance}"))
            .spawn(move || {
                let Some(lane) = ready.lanes.get(instance) else { return };
                let (queue, sharing) = (&works.queue, &ready.sharing);
                Owner { lane, queue, sharing, pace: &works.pace, recorder: &works.recorder }.serve();
            })
            .map_err(|error| format!("no thread for instance {instance}: {error}"))?;
    }
    Ok(ready)
}

/// Everything that takes time.
fn make(spec: &EngineSpec, works: &Works, source: &dyn Source) -> Result<Ready, String> {
    let start = Instant::now();
    let abort = &works.abort;
    let about = |error: String| match source.rehearses() {
        true => format!("{}: {error}", spec.path().display()),
        false => error,
    };
    let (mut facts, golden) = source.look(abort)?;
    let before = memory::resident();
    let mut lanes = Vec::new();
    let mut first: Option<(Signature, usize)> = None;
    for _ in 0..spec.instances.max(1) {
        let (signature, mut runner) = source.session(abort).map_err(about)?;
        let mut max_rows = spec.max_batch_size;
        if source.rehearses() {
            // What one session has measured is true for the others: they are warmed up only.
            let max_rows_now = first.as_ref().map_or(max_rows, |(_, measured)| *measured);
            let (golden, pace) = (golden.as_ref(), &works.pace);
            let rehearsal = Rehearsal { signature: &signature, golden, max_rows: max_rows_now, pace, abort };
            max_rows = rehearsal.run(&mut *runner).map_err(about)?;
        }
        lanes.push(Lane::new(runner));
        first.get_or_insert((signature, max_rows));
    }
    inspect::unchanged(&facts)?;
    if abort.is_set() {
        return Err("nobody waits for it any more".to_owned());
    }
    let (signature, max_rows) = first.ok_or_else(|| "no instance".to_owned())?;
    let grown = before.zip(memory::resident()).map(|(before, after)| after.saturating_sub(before));
    facts.resident = grown.unwrap_or_default();
    tracing::info!(
        model = spec.model,
        version = spec.version,
        took_ms = start.elapsed().as_millis(),
        grown_mib = facts.resident >> 20,
        sha256 = facts.sha256,
        "model loaded"
    );
    let sharing = Sharing::new(max_rows, spec.max_queue_delay);
    Ok(Ready { signature, lanes: lanes.into(), sharing, facts })
}

/// Lets this thread, and those that it starts, run when others have nothing to do.
fn lower_priority() {
    // On Linux this is a thread's own, whatever POSIX says (setpriority(2), "C library/kernel differences").
    let this = rustix::thread::gettid();
    if let Err(error) = rustix::process::setpriority_process(Some(this), NICENESS) {
        tracing::debug!(%error, "models are loaded at ordinary priority");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn low_priority_is_the_threads_own() {
        let of = |thread| rustix::process::getpriority_process(Some(thread)).unwrap();
        let before = of(rustix::thread::gettid());
        let lowered = std::thread::spawn(move || {
            lower_priority();
            of(rustix::thread::gettid())
        });
        assert_eq!(lowered.join().unwrap(), NICENESS.max(before));
        assert_eq!(of(rustix::thread::gettid()), before);
    }
}
