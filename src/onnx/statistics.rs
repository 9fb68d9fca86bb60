//! What an engine has done: counts and nanoseconds in the shape of Triton's statistics, and what
//! operators ask for beside them.
//!
//! Many threads write: workers that run a model inline, and the owners of sessions. So these are
//! atomic additions, a handful per request, and no lock.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Batch sizes up to this have a row of their own; larger ones share one per power of two.
const EXACT: usize = 64;
/// Rows of the batch statistics: the exact ones, and the powers of two from 64 to 2^40.
const ROWS: usize = EXACT + 35;

/// How often something happened, and how long it took in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Timed {
    /// How often.
    pub count: u64,
    /// Nanoseconds in all.
    pub ns: u64,
}

/// A snapshot of what an engine has done since it was started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Rows that were inferred; a request of 8 rows counts as 8. Triton's `inference_count`.
    pub inferences: u64,
    /// Runs of the model; a batch of several requests counts as one. Triton's `execution_count`.
    pub executions: u64,
    /// When the latest request was answered, in milliseconds since 1970; 0 before the first.
    pub last_inference_ms: u64,
    /// Requests that were answered, from their arrival to their outputs.
    pub success: Timed,
    /// Requests that were not, whatever the reason.
    pub fail: Timed,
    /// Waiting for a session.
    pub queue: Timed,
    /// Bringing inputs together and handing them to the model; per request.
    pub compute_input: Timed,
    /// The model's own time; each request of a batch counts the whole of it.
    pub compute_infer: Timed,
    /// Taking outputs out of the model and apart; per request.
    pub compute_output: Timed,
    /// Writing answers in the form of their protocol.
    pub encode: Timed,
    /// The same by batch size, in rising order; only sizes that occurred.
    pub batches: Vec<BatchStatistics>,
    /// Requests that wait now.
    pub waiting: usize,
    /// Requests refused because the queue was full.
    pub rejected: u64,
    /// Requests whose deadline passed before they were answered.
    pub expired: u64,
    /// Requests that left the queue without a run, because their caller had gone or their deadline had
    /// passed.
    pub abandoned: u64,
    /// Runs on the caller's own thread.
    pub inline: u64,
    /// Batches that failed and were run again one by one.
    pub split_batches: u64,
}

/// What runs of one batch size took.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct BatchStatistics {
    /// Rows of the batch. Above 64 it is the lower end of a power of two.
    pub size: u64,
    /// Runs, and the time for bringing their inputs together.
    pub compute_input: Timed,
    /// Runs, and the model's own time.
    pub compute_infer: Timed,
    /// Runs, and the time for taking their outputs apart.
    pub compute_output: Timed,
}

/// What one run of a model took, by phase.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Took {
    /// Assembling inputs.
    pub(super) input: Duration,
    /// The run itself.
    pub(super) infer: Duration,
    /// Taking outputs out.
    pub(super) output: Duration,
}

/// The counters behind [`Statistics`].
#[derive(Debug)]
pub(super) struct Recorder {
    inferences: AtomicU64,
    executions: AtomicU64,
    last_inference_ms: AtomicU64,
    success: Cell,
    fail: Cell,
    queue: Cell,
    input: Cell,
    infer: Cell,
    output: Cell,
    encode: Cell,
    batches: Box<[Row]>,
    rejected: AtomicU64,
    expired: AtomicU64,
    abandoned: AtomicU64,
    inline: AtomicU64,
    split_batches: AtomicU64,
}

#[derive(Debug, Default)]
struct Cell {
    count: AtomicU64,
    ns: AtomicU64,
}

#[derive(Debug, Default)]
struct Row {
    runs: AtomicU64,
    input: AtomicU64,
    infer: AtomicU64,
    output: AtomicU64,
}

/// A time as it is added up; half a thousand years fit.
pub(super) fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

impl Cell {
    fn add(&self, count: u64, time: Duration) {
        self.count.fetch_add(count, Relaxed);
        self.ns.fetch_add(nanos(time).saturating_mul(count), Relaxed);
    }

    fn read(&self) -> Timed {
        Timed { count: self.count.load(Relaxed), ns: self.ns.load(Relaxed) }
    }
}

impl Default for Recorder {
    fn default() -> Self {
        Self {
            inferences: AtomicU64::default(),
            executions: AtomicU64::default(),
            last_inference_ms: AtomicU64::default(),
            success: Cell::default(),
            fail: Cell::default(),
            queue: Cell::default(),
            input: Cell::default(),
            infer: Cell::default(),
            output: Cell::default(),
            encode: Cell::default(),
            batches: (0..ROWS).map(|_| Row::default()).collect(),
            rejected: AtomicU64::default(),
            expired: AtomicU64::default(),
            abandoned: AtomicU64::default(),
            inline: AtomicU64::default(),
            split_batches: AtomicU64::default(),
        }
    }
}

impl Recorder {
    /// A run of the model for `requests` requests with `rows` rows in all went well.
    pub(super) fn ran(&self, requests: usize, rows: usize, took: &Took) {
        let requests = u64::try_from(requests).unwrap_or(u64::MAX);
        self.inferences.fetch_add(u64::try_from(rows).unwrap_or(u64::MAX), Relaxed);
        self.executions.fetch_add(1, Relaxed);
        self.input.add(requests, took.input);
        self.infer.add(requests, took.infer);
        self.output.add(requests, took.output);
        if let Some(row) = self.batches.get(row_of(rows)) {
            row.runs.fetch_add(1, Relaxed);
            row.input.fetch_add(nanos(took.input), Relaxed);
            row.infer.fetch_add(nanos(took.infer), Relaxed);
            row.output.fetch_add(nanos(took.output), Relaxed);
        }
    }

    /// A request waited this long for its session.
    pub(super) fn waited(&self, time: Duration) {
        self.queue.add(1, time);
    }

    /// A request is over.
    pub(super) fn ended(&self, well: bool, after: Duration) {
        if well {
            self.success.add(1, after);
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            self.last_inference_ms.store(u64::try_from(now.as_millis()).unwrap_or(u64::MAX), Relaxed);
        } else {
            self.fail.add(1, after);
        }
    }

    /// An answer was written in this time.
    pub(super) fn encoded(&self, time: Duration) {
        self.encode.add(1, time);
    }

    pub(super) fn rejected(&self) {
        self.rejected.fetch_add(1, Relaxed);
    }

    pub(super) fn expired(&self) {
        self.expired.fetch_add(1, Relaxed);
    }

    pub(super) fn abandoned(&self, requests: usize) {
        self.abandoned.fetch_add(u64::try_from(requests).unwrap_or(u64::MAX), Relaxed);
    }

    pub(super) fn ran_inline(&self) {
        self.inline.fetch_add(1, Relaxed);
    }

    pub(super) fn split_batch(&self) {
        self.split_batches.fetch_add(1, Relaxed);
    }

    /// The counts of now. Counters are read one after the other, so a request that ends meanwhile
    /// may be in some of them only.
    pub(super) fn snapshot(&self, waiting: usize) -> Statistics {
        let batches = self.batches.iter().enumerate().filter_map(|(row, cells)| {
            let count = cells.runs.load(Relaxed);
            let timed = |ns: &AtomicU64| Timed { count, ns: ns.load(Relaxed) };
            (count > 0).then(|| BatchStatistics {
                size: size_of_row(row),
                compute_input: timed(&cells.input),
                compute_infer: timed(&cells.infer),
                compute_output: timed(&cells.output),
            })
        });
        Statistics {
            inferences: self.inferences.load(Relaxed),
            executions: self.executions.load(Relaxed),
            last_inference_ms: self.last_inference_ms.load(Relaxed),
            success: self.success.read(),
            fail: self.fail.read(),
            queue: self.queue.read(),
            compute_input: self.input.read(),
            compute_infer: self.infer.read(),
            compute_output: self.output.read(),
            encode: self.encode.read(),
            batches: batches.collect(),
            waiting,
            rejected: self.rejected.load(Relaxed),
            expired: self.expired.load(Relaxed),
            abandoned: self.abandoned.load(Relaxed),
            inline: self.inline.load(Relaxed),
            split_batches: self.split_batches.load(Relaxed),
        }
    }
}

/// The row of a batch of this size.
fn row_of(size: usize) -> usize {
    let size = size.max(1);
    if size <= EXACT {
        return size - 1;
    }
    // 65..128 is the first row of powers, named 64 + 1 at its lower end.
    let power = usize::try_from(size.ilog2()).unwrap_or(usize::MAX) - 6;
    (EXACT + power).min(ROWS - 1)
}

/// The smallest size in a row.
fn size_of_row(row: usize) -> u64 {
    let row = u64::try_from(row).unwrap_or(u64::MAX);
    let exact = EXACT as u64;
    match row.checked_sub(exact) {
        None => row + 1,
        Some(0) => exact + 1,
        Some(power) => 1 << (power + 6),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_batch_size_has_a_row_that_names_it() {
        for size in 1..=64_usize {
            assert_eq!(size_of_row(row_of(size)), size as u64);
        }
        for (size, named) in [(65, 65), (127, 65), (128, 128), (255, 128), (256, 256), (1 << 20, 1 << 20)] {
            assert_eq!(size_of_row(row_of(size)), named, "{size}");
        }
        assert_eq!(row_of(usize::MAX), ROWS - 1);
        assert_eq!(row_of(0), 0);
    }

    #[test]
    fn a_batch_counts_once_as_a_run_and_for_each_of_its_requests_as_time() {
        let recorder = Recorder::default();
        let ms = Duration::from_millis;
        recorder.ran(3, 5, &Took { input: ms(1), infer: ms(4), output: ms(2) });
        recorder.ended(true, ms(9));
        recorder.ended(false, ms(1));
        let found = recorder.snapshot(7);
        assert_eq!((found.inferences, found.executions, found.waiting), (5, 1, 7));
        assert_eq!(found.compute_infer, Timed { count: 3, ns: 12_000_000 });
        assert_eq!(found.success, Timed { count: 1, ns: 9_000_000 });
        assert_eq!(found.fail, Timed { count: 1, ns: 1_000_000 });
        assert!(found.last_inference_ms > 1_600_000_000_000);
        let batch = found.batches.as_slice();
        assert_eq!(batch.len(), 1);
        assert_eq!((batch[0].size, batch[0].compute_infer), (5, Timed { count: 1, ns: 4_000_000 }));
    }
}
