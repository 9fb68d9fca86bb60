//! What is counted of one kind of request at one target, by one thread; and how such counts add up.
//!
//! Memory does not grow with the length of a run: there are as many slices of time for a minute as
//! for a day, and everything else is a histogram or a number.

use std::collections::BTreeMap;
use std::fmt;

use super::histogram::{Coarse, Histogram};
use crate::base::FaultKind;

/// Slices that a run is divided into.
pub const SLICES: usize = 120;

/// How a request failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Failure {
    /// An HTTP status that is not a good one.
    Status(u16),
    /// A gRPC status other than 0.
    Grpc(u8),
    /// The answer is not what it should be: which check said so.
    Check(CheckKind),
    /// No whole answer in time.
    Timeout,
    /// No whole answer: what went wrong, as a position in [`FaultKind::ALL`].
    Fault(usize),
    /// Too many were under way, so it was not sent.
    NotSent,
}

/// Which check an answer failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum CheckKind {
    /// A value is missing or another one.
    Value,
    /// The class is another one.
    Label,
    /// A stream ended without having said anything.
    EmptyStream,
    /// A gRPC answer without a status.
    NoStatus,
    /// The answer is longer than what is kept for checks.
    TooLong,
}

impl From<FaultKind> for Failure {
    fn from(kind: FaultKind) -> Self {
        Self::Fault(kind.index())
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(status) => write!(f, "status {status}"),
            Self::Grpc(status) => write!(f, "grpc-status {status}"),
            Self::Check(CheckKind::Value) => f.write_str("wrong value"),
            Self::Check(CheckKind::Label) => f.write_str("wrong label"),
            Self::Check(CheckKind::EmptyStream) => f.write_str("empty stream"),
            Self::Check(CheckKind::NoStatus) => f.write_str("no grpc-status"),
            Self::Check(CheckKind::TooLong) => f.write_str("answer too long to check"),
            Self::Timeout => f.write_str("timeout"),
            Self::Fault(index) => {
                f.write_str(FaultKind::ALL.get(*index).map_or("fault", |kind| kind.reason()))
            }
            Self::NotSent => f.write_str("not sent: too many under way"),
        }
    }
}

/// A request that is over.
#[derive(Debug, Clone, Copy, Default)]
pub struct Done {
    /// Seconds since the measured time began at which it was meant to leave; negative in warm-up.
    pub intended: f64,
    /// From when it was meant to leave to its end, in nanoseconds.
    pub latency: u64,
    /// From when it left to its end.
    pub service: u64,
    /// From when it was meant to leave to its first token.
    pub first_token: Option<u64>,
    /// Tokens of the answer.
    pub tokens: u64,
    /// Bytes of the answer's body.
    pub bytes: u64,
    /// How it failed, if it did.
    pub failure: Option<Failure>,
}

/// One slice of time, by when requests were meant to leave.
#[derive(Debug, Clone, Default)]
pub struct Slice {
    /// Requests that failed.
    pub failed: u64,
    /// Latencies of the good ones.
    pub latency: Coarse,
    /// Times to first tokens, where there are any.
    pub first_token: Option<Box<Coarse>>,
    /// Times between tokens, where there are any, in the slice of their request.
    pub inter_token: Option<Box<Coarse>>,
}

/// Counts of one kind of request at one target.
#[derive(Debug, Clone)]
pub struct Series {
    /// Good answers.
    pub ok: u64,
    /// Good answers that came before the measured time was over.
    pub in_time: u64,
    /// Failed requests by how they failed. As many entries as there are statuses, at most.
    pub failures: BTreeMap<Failure, u64>,
    /// Of good answers: from when requests were meant to leave.
    pub latency: Histogram,
    /// Of good answers: from when requests left.
    pub service: Histogram,
    /// Times to first tokens.
    pub first_token: Histogram,
    /// Times between tokens.
    pub inter_token: Histogram,
    /// Tokens of good answers.
    pub tokens: u64,
    /// Bytes of answers.
    pub bytes: u64,
    /// Slices of the measured time, each `slice_seconds` long.
    pub slices: Vec<Slice>,
    /// Length of a slice.
    pub slice_seconds: f64,
}

impl Series {
    /// Nothing counted yet of a measured time of so many seconds.
    pub fn new(seconds: f64) -> Self {
        // A slice of a short run still holds more than a few requests.
        let count = ((seconds / 0.05) as usize).clamp(1, SLICES);
        Self {
            ok: 0,
            in_time: 0,
            failures: BTreeMap::new(),
            latency: Histogram::default(),
            service: Histogram::default(),
            first_token: Histogram::default(),
            inter_token: Histogram::default(),
            tokens: 0,
            bytes: 0,
            slices: (0..count).map(|_| Slice::default()).collect(),
            slice_seconds: seconds / count as f64,
        }
    }

    /// Counts a request of the measured time, which is `seconds` long.
    pub fn record(&mut self, done: &Done, seconds: f64) {
        let at = self.position(done.intended);
        self.bytes += done.bytes;
        let slice = self.slices.get_mut(at);
        match done.failure {
            Some(failure) => {
                *self.failures.entry(failure).or_default() += 1;
                if let Some(slice) = slice {
                    slice.failed += 1;
                }
            }
            None => {
                self.ok += 1;
                self.in_time += u64::from(done.intended + done.latency as f64 * 1e-9 <= seconds);
                self.latency.record(done.latency);
                self.service.record(done.service);
                self.tokens += done.tokens;
                if let Some(first) = done.first_token {
                    self.first_token.record(first);
                }
                if let Some(slice) = slice {
                    slice.latency.record(done.latency);
                    if let Some(first) = done.first_token {
                        slice.first_token.get_or_insert_default().record(first);
                    }
                }
            }
        }
    }

    /// Counts a time between two tokens of a request that was meant to leave at `intended`.
    pub fn record_gap(&mut self, intended: f64, nanos: u64) {
        self.inter_token.record(nanos);
        let at = self.position(intended);
        if let Some(slice) = self.slices.get_mut(at) {
            slice.inter_token.get_or_insert_default().record(nanos);
        }
    }

    /// The slice of a request that was meant to leave at `intended`.
    fn position(&self, intended: f64) -> usize {
        ((intended / self.slice_seconds).max(0.0) as usize).min(self.slices.len() - 1)
    }

    /// Adds what was counted elsewhere of the same measured time.
    pub fn add(&mut self, other: &Self) {
        self.ok += other.ok;
        self.in_time += other.in_time;
        for (failure, count) in &other.failures {
            *self.failures.entry(*failure).or_default() += count;
        }
        self.latency.add(&other.latency);
        self.service.add(&other.service);
        self.first_token.add(&other.first_token);
        self.inter_token.add(&other.inter_token);
        self.tokens += other.tokens;
        self.bytes += other.bytes;
        for (mine, theirs) in self.slices.iter_mut().zip(&other.slices) {
            mine.failed += theirs.failed;
            mine.latency.add(&theirs.latency);
            let pairs =
                [(&mut mine.first_token, &theirs.first_token), (&mut mine.inter_token, &theirs.inter_token)];
            for (mine, theirs) in pairs {
                if let Some(theirs) = theirs {
                    mine.get_or_insert_default().add(theirs);
                }
            }
        }
    }

    /// Failed requests.
    pub fn failed(&self) -> u64 {
        self.failures.values().sum()
    }

    /// Requests, good and failed.
    pub fn requests(&self) -> u64 {
        self.ok + self.failed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn done(intended: f64, latency_ms: u64) -> Done {
        Done { intended, latency: latency_ms * 1_000_000, service: 500_000, ..Done::default() }
    }

    #[test]
    fn a_request_lies_in_the_slice_it_was_meant_for_and_counts_in_time_by_its_end() {
        let mut series = Series::new(10.0);
        assert_eq!(series.slices.len(), SLICES);
        series.record(&done(0.0, 1), 10.0);
        series.record(&done(9.999, 20), 10.0);
        series.record(&Done { failure: Some(Failure::Status(500)), ..done(5.0, 1) }, 10.0);
        assert_eq!((series.ok, series.in_time, series.failed(), series.requests()), (2, 1, 1, 3));
        assert_eq!(series.slices[0].latency.count(), 1);
        assert_eq!(series.slices[SLICES / 2].failed, 1);
        assert_eq!(series.slices[SLICES - 1].latency.count(), 1);
    }

    #[test]
    fn threads_counts_add_up() {
        let (mut one, mut two, mut all) = (Series::new(5.0), Series::new(5.0), Series::new(5.0));
        for n in 0..500 {
            let done = Done {
                failure: (n % 50 == 0).then_some(Failure::Timeout),
                ..done(n as f64 / 100.0, 1 + n % 7)
            };
            if n % 2 == 0 {
                one.record(&done, 5.0)
            } else {
                two.record(&done, 5.0)
            }
            all.record(&done, 5.0);
        }
        one.add(&two);
        assert_eq!((one.ok, one.failed(), one.in_time), (all.ok, all.failed(), all.in_time));
        assert_eq!(one.latency.quantile(0.9, one.failed()), all.latency.quantile(0.9, all.failed()));
        let counts = |series: &Series| series.slices.iter().map(|s| s.latency.count()).collect::<Vec<_>>();
        assert_eq!(counts(&one), counts(&all));
    }
}
