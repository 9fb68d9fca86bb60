//! The comparing thread: pairs in, counts out.
//!
//! One thread of its own reads and compares answers, so that neither costs a data worker more than
//! handing over a few pointers. The queue to it is bounded in count and in bytes; what does not fit
//! is refused, and the worker counts it. Being alone, the thread is the one writer of every tally.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::SystemTime;

use bytes::Bytes;

use super::taken::{Answered, Asked, Form};
use crate::base::{ModelName, VersionName};
use crate::divergence::pairs::{Body, PairBook, PairSpec, Seen};
use crate::divergence::{self, CompareSpec, Comparison};
use crate::inference::answer::{self, Answer, Content, Limits, RawAnswer, RawRequest};
use crate::inference::{content, path};
use crate::routing::inputs::Inputs;
use crate::routing::scores::Scores;
use crate::stats::pairs::PairTally;
use crate::stats::segments::Memberships;
use crate::stats::trial::Arm;

/// Pairs that may wait.
const QUEUE: usize = 1024;
/// Bytes that may wait.
const QUEUE_BYTES: usize = 64 * 1024 * 1024;
/// Models whose pairs are kept for people.
const BOOKS: usize = 256;

/// What the thread is asked to do.
pub enum Job {
    /// To compare a pair.
    Pair(Box<PairJob>),
    /// To read a number out of a live answer.
    Score(Box<ScoreJob>),
}

/// A pair to be compared.
pub struct PairJob {
    /// The model.
    pub model: ModelName,
    /// The version that answered the client.
    pub stable: VersionName,
    /// The version that the mirror is for.
    pub shadow: VersionName,
    /// The copy went back to stable: a measurement of noise.
    pub control: bool,
    /// When the request came.
    pub at: SystemTime,
    /// The request's segments, where a rollout tells them apart.
    pub segments: Memberships,
    /// Where the request's inputs are counted, if a rollout watches them.
    pub inputs: Option<Arc<Inputs>>,
    /// How to compare.
    pub compare: Arc<CompareSpec>,
    /// Where to count: for the mirror, and for the rollout it belongs to.
    pub tallies: [Option<Arc<PairTally>>; 2],
    /// The request.
    pub asked: Asked,
    /// The client's answer.
    pub primary: Answered,
    /// The copy's answer.
    pub answer: Answered,
}

/// A live answer whose prediction is to be read.
pub struct ScoreJob {
    /// Side of the trial.
    pub arm: Arm,
    /// Path of the request.
    pub path: Box<str>,
    /// The answer.
    pub answer: Answered,
    /// Where the number stands, and where it goes.
    pub scores: Arc<Scores>,
}

/// The way to the thread. Cheap to clone.
#[derive(Clone)]
pub struct Queue {
    sender: SyncSender<Job>,
    bytes: Arc<AtomicUsize>,
}

/// The queue holds all it may.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue of comparisons is full")]
pub struct QueueFull;

impl Queue {
    /// Hands a job over.
    ///
    /// # Errors
    /// [`QueueFull`]: the job is gone.
    pub fn push(&self, job: Job) -> Result<(), QueueFull> {
        let bytes = job.bytes();
        let waiting = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        if waiting.saturating_add(bytes) > QUEUE_BYTES || self.sender.try_send(job).is_err() {
            self.bytes.fetch_sub(bytes, Ordering::Relaxed);
            return Err(QueueFull);
        }
        Ok(())
    }
}

impl PairJob {
    fn tallies(&self) -> impl Iterator<Item = &PairTally> {
        self.tallies.iter().flatten().map(Arc::as_ref)
    }
}

impl Job {
    fn bytes(&self) -> usize {
        let of = |chunks: &[Bytes]| chunks.iter().map(Bytes::len).sum::<usize>();
        match self {
            Self::Pair(pair) => of(&pair.asked.body) + of(&pair.primary.body) + of(&pair.answer.body),
            Self::Score(score) => of(&score.answer.body),
        }
    }
}

/// Diverged pairs that are kept for people, by model.
#[derive(Clone, Default)]
pub struct Books(Arc<Mutex<HashMap<String, Shelf>>>);

struct Shelf {
    spec: PairSpec,
    book: PairBook,
}

impl Books {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Shelf>> {
        // A book is whole again after every call on it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Says what may be kept of the pairs of each of these models, and that nothing may be kept of
    /// any other. What was kept under other rules is let go of.
    pub fn keep<'a>(&self, models: impl IntoIterator<Item = (&'a str, &'a PairSpec)>) {
        let mut books = self.lock();
        let mut kept = HashMap::new();
        for (model, spec) in models.into_iter().take(BOOKS) {
            let shelf = match books.remove(model).filter(|shelf| shelf.spec == *spec) {
                Some(same) => same,
                None => Shelf { spec: spec.clone(), book: PairBook::new(spec.clone()) },
            };
            kept.insert(model.to_owned(), shelf);
        }
        *books = kept;
    }

    /// Reads the book of `model`, if it has one.
    pub fn read<T>(&self, model: &str, read: impl FnOnce(&PairBook) -> T) -> Option<T> {
        self.lock().get(model).map(|shelf| read(&shelf.book))
    }

    /// Forgets the pairs of `model`: another candidate is looked at.
    pub fn clear(&self, model: &str) {
        if let Some(shelf) = self.lock().get_mut(model) {
            shelf.book.clear();
        }
    }

    fn offer(&self, model: &str, seen: &Seen<'_>) {
        if let Some(shelf) = self.lock().get_mut(model) {
            let _ = shelf.book.offer(seen);
        }
    }
}

/// The running thread. It ends when every [`Queue`] is dropped.
pub struct Comparing {
    thread: JoinHandle<()>,
}

/// Starts the thread.
///
/// # Errors
/// When the system gives no thread.
pub fn start() -> std::io::Result<(Queue, Books, Comparing)> {
    let (sender, receiver) = sync_channel(QUEUE);
    let bytes = Arc::new(AtomicUsize::new(0));
    let books = Books::default();
    let (waiting, kept) = (Arc::clone(&bytes), books.clone());
    let thread = std::thread::Builder::new()
        .name("compare".to_owned())
        .spawn(move || run(&receiver, &waiting, &kept))?;
    Ok((Queue { sender, bytes }, books, Comparing { thread }))
}

impl Comparing {
    /// Waits for the end, once every queue is dropped.
    pub fn join(self) {
        let _ = self.thread.join();
    }
}

fn run(jobs: &Receiver<Job>, waiting: &AtomicUsize, books: &Books) {
    while let Ok(job) = jobs.recv() {
        let bytes = job.bytes();
        // What a model sends is read here. Should it ever break the reader, one pair is lost.
        if catch_unwind(AssertUnwindSafe(|| work(&job, books))).is_err() {
            tracing::error!("comparing a pair panicked");
            if let Job::Pair(pair) = &job {
                pair.tallies().for_each(|tally| tally.record_not_comparable(pair.control));
            }
        }
        waiting.fetch_sub(bytes, Ordering::Relaxed);
    }
}

fn work(job: &Job, books: &Books) {
    match job {
        Job::Pair(pair) => compare(pair, books),
        Job::Score(job) => {
            let answer = understood(&job.path, &job.answer);
            job.scores.put(job.arm, divergence::score::read(&job.scores.at, &answer));
        }
    }
}

fn compare(pair: &PairJob, books: &Books) {
    if let Some(inputs) = &pair.inputs {
        inputs.put(&asked(&pair.asked));
    }
    let primary = understood(&pair.asked.path, &pair.primary);
    let answer = understood(&pair.asked.path, &pair.answer);
    match divergence::compare(&pair.compare, &primary, &answer) {
        Err(_) => pair.tallies().for_each(|tally| tally.record_not_comparable(pair.control)),
        Ok(comparison) => {
            let reason = comparison.reason.map(divergence::Reason::index);
            pair.tallies().for_each(|tally| tally.record(pair.control, pair.segments, reason));
            if comparison.diverged {
                keep(pair, [&primary.content, &answer.content], &comparison, books);
            }
        }
    }
}

/// Keeps a diverged pair for people. Its request is read only now: most pairs agree.
fn keep(pair: &PairJob, [primary, shadow]: [&Content; 2], comparison: &Comparison, books: &Books) {
    let request = asked(&pair.asked);
    let form = &pair.asked.form;
    let plain = |form: &Form, body: &[Bytes]| {
        let body = joined(body);
        if form.content_type.as_ref().is_some_and(|value| value.starts_with("application/grpc")) {
            // Its messages are coded one by one.
            return body.to_vec();
        }
        match content::decode(form.content_encoding.as_deref(), &body, Limits::default().decoded_bytes) {
            Ok(decoded) => decoded.into_owned(),
            Err(_) => body.to_vec(),
        }
    };
    let bodies = [
        plain(form, &pair.asked.body),
        plain(&pair.primary.form, &pair.primary.body),
        plain(&pair.answer.form, &pair.answer.body),
    ];
    let [requested, answered, shadowed] = &bodies;
    let version = if pair.control { &pair.stable } else { &pair.shadow };
    let at = pair.at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
    let seen = Seen {
        at: u64::try_from(at).unwrap_or(u64::MAX),
        model: pair.model.as_str(),
        primary_version: pair.stable.as_str(),
        shadow_version: version.as_str(),
        control: pair.control,
        request: Body { bytes: requested, content: &request },
        primary: Body { bytes: answered, content: primary },
        shadow: Body { bytes: shadowed, content: shadow },
        comparison,
    };
    books.offer(pair.model.as_str(), &seen);
}

fn asked(asked: &Asked) -> Content {
    let (form, body) = (&asked.form, joined(&asked.body));
    let raw = RawRequest {
        api: path::parse(&asked.path),
        content_type: form.content_type.as_deref(),
        content_encoding: form.content_encoding.as_deref(),
        inference_header_length: form.inference_header_length,
        body: &body,
    };
    answer::read_request(&raw, &Limits::default())
}

fn understood(path: &str, answered: &Answered) -> Answer {
    let body = joined(&answered.body);
    let raw = RawAnswer {
        api: path::parse(path),
        status: answered.status,
        grpc: answered.grpc,
        content_type: answered.form.content_type.as_deref(),
        content_encoding: answered.form.content_encoding.as_deref(),
        inference_header_length: answered.form.inference_header_length,
        body: &body,
        chunk_times: &answered.times,
    };
    answer::read(&raw, &Limits::default())
}

fn joined(chunks: &[Bytes]) -> Bytes {
    match chunks {
        [] => Bytes::new(),
        [one] => one.clone(),
        many => many.concat().into(),
    }
}
