//! What is counted for a trial: a candidate beside its stable version, at one weight.
//!
//! A rollout decides on requests whose arm was drawn by the coin, and each belongs to the weight
//! at which it was drawn, however late it ends. So every change of a rollout's weight opens a new
//! [`Trial`], and a request is counted in the one it began in. Counts only grow and add up over
//! workers; the decider takes what was added since its last look.
//!
//! Where users are kept on a version, the user is what was drawn, not the request: [`Keys`] lets
//! each be counted once per rollout.
//!
//! Deliberately absent: what follows from the counts (`sequential`, `rollout`).

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::cell::Counter;
use super::segments::{Memberships, OTHER, Segments};
use super::sequential::Arms;
use super::{Histogram, Observation, Outcome, Snapshot};

/// Which side of a trial a request was drawn for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arm {
    /// The version that serves now.
    Stable,
    /// The version that is to replace it.
    Candidate,
}

/// What one worker counts for one arm, or for one segment of an arm.
#[derive(Debug, Default)]
pub struct ArmShard {
    /// Requests (of sticky traffic: users) that were drawn for the arm, whether they have ended or not.
    pub assigned: Counter,
    /// Requests that ended, but not by the client's leaving.
    pub requests: Counter,
    /// Those that failed by the version's doing: 5xx, a gRPC status of that kind, no whole answer.
    pub errors: Counter,
    /// Those that the version refused as the client's mistake. Both arms get the same clients.
    pub rejected: Counter,
    /// Whole duration.
    pub latency: Histogram,
    /// Time to the first byte of the answer's body; of a stream, to its first token.
    pub first_byte: Histogram,
    /// Time between tokens of streams.
    pub gap: Histogram,
}

/// What one worker counts for one trial.
#[derive(Debug)]
pub struct TrialShard {
    arms: Arms<ArmShard>,
    /// Copies that were to make a pair: back to stable, and to the candidate.
    sampled: Arms<Counter>,
    segments: Box<[OnceLock<Box<Arms<ArmShard>>>]>,
}

/// The sums of one arm over all workers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct ArmSum {
    /// See [`ArmShard::assigned`].
    pub assigned: u64,
    /// See [`ArmShard::requests`].
    pub requests: u64,
    /// See [`ArmShard::errors`].
    pub errors: u64,
    /// See [`ArmShard::rejected`].
    pub rejected: u64,
    /// See [`ArmShard::latency`].
    pub latency: Snapshot,
    /// See [`ArmShard::first_byte`].
    pub first_byte: Snapshot,
    /// See [`ArmShard::gap`].
    pub gap: Snapshot,
}

/// The sums of a trial over all workers.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct TrialSum {
    /// All requests.
    pub arms: Arms<ArmSum>,
    /// Copies that were to make a pair: back to stable, and to the candidate.
    pub sampled: Arms<u64>,
    /// Per segment that was seen, in the order of [`Segments::names`].
    pub segments: Vec<(Arc<str>, Arms<ArmSum>)>,
}

/// One weight of one rollout: what is shared by all workers.
#[derive(Debug)]
pub struct Trial {
    /// Number of this trial in its rollout.
    pub number: u32,
    /// The candidate's share of the requests of both arms, in basis points.
    pub share: u16,
    /// Segments that are told apart.
    pub segments: Arc<Segments>,
    /// Users that were counted, where the split is sticky. One set per rollout.
    pub keys: Option<Arc<Keys>>,
    shards: Mutex<Vec<Arc<TrialShard>>>,
}

impl Trial {
    /// A trial that nobody has counted in yet.
    pub fn new(number: u32, share: u16, segments: Arc<Segments>, keys: Option<Arc<Keys>>) -> Self {
        Self { number, share, segments, keys, shards: Mutex::default() }
    }

    /// A new shard, to be written by the calling worker alone.
    pub fn register(&self) -> Arc<TrialShard> {
        let shard = Arc::new(TrialShard::new(self.segments.limit() + 1));
        self.lock().push(Arc::clone(&shard));
        shard
    }

    /// What all workers have counted so far.
    pub fn sum(&self) -> TrialSum {
        let names = self.segments.names();
        let mut sum = TrialSum::default();
        let mut segments: Vec<Arms<ArmSum>> = Vec::new();
        for shard in self.lock().iter() {
            sum.arms.stable.add(&shard.arms.stable);
            sum.arms.candidate.add(&shard.arms.candidate);
            sum.sampled.stable += shard.sampled.stable.get();
            sum.sampled.candidate += shard.sampled.candidate.get();
            for (index, counted) in shard.segments.iter().enumerate() {
                let Some(counted) = counted.get() else { continue };
                if segments.len() <= index {
                    segments.resize_with(index + 1, Arms::default);
                }
                if let Some(into) = segments.get_mut(index) {
                    into.stable.add(&counted.stable);
                    into.candidate.add(&counted.candidate);
                }
            }
        }
        sum.segments = segments
            .into_iter()
            .enumerate()
            .filter(|(_, arms)| arms.stable.requests + arms.candidate.requests > 0)
            .map(|(index, arms)| (names.get(index).cloned().unwrap_or_else(|| OTHER.into()), arms))
            .collect();
        sum
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Arc<TrialShard>>> {
        // A list of handles is never half changed.
        self.shards.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl TrialShard {
    fn new(segments: usize) -> Self {
        let segments = (0..segments).map(|_| OnceLock::new()).collect();
        Self { arms: Arms::default(), sampled: Arms::default(), segments }
    }

    /// Counts a request that is drawn for `arm`. To be called by the one writing thread only.
    pub fn assign(&self, arm: Arm) {
        pick(&self.arms, arm).assigned.add(1);
    }

    /// Counts a copy that is to make a pair: back to stable (`control`), or to the candidate.
    pub fn sample(&self, control: bool) {
        pick(&self.sampled, if control { Arm::Stable } else { Arm::Candidate }).add(1);
    }

    /// Counts a request that was drawn for `arm`, and in its segments. A request whose client left
    /// says nothing about either version. To be called by the one writing thread only.
    pub fn record(&self, arm: Arm, segments: Memberships, observation: &Observation, error: bool) {
        if observation.outcome == Outcome::Cancelled {
            return;
        }
        pick(&self.arms, arm).record(observation, error);
        for slot in segments.iter().filter_map(|index| self.segments.get(index)) {
            pick(slot.get_or_init(Box::default), arm).record(observation, error);
        }
    }

    /// Counts an error alone: of a user who was counted before.
    pub fn record_error(&self, arm: Arm, segments: Memberships) {
        pick(&self.arms, arm).errors.add(1);
        for slot in segments.iter().filter_map(|index| self.segments.get(index)) {
            pick(slot.get_or_init(Box::default), arm).errors.add(1);
        }
    }

    /// Counts the time between two tokens of a stream, in nanoseconds.
    pub fn record_gap(&self, arm: Arm, nanos: u64) {
        pick(&self.arms, arm).gap.record(nanos);
    }
}

fn pick<T>(arms: &Arms<T>, arm: Arm) -> &T {
    match arm {
        Arm::Stable => &arms.stable,
        Arm::Candidate => &arms.candidate,
    }
}

/// Whether a request failed by the version's doing.
pub fn is_error(outcome: Outcome) -> bool {
    matches!(outcome, Outcome::ServerError | Outcome::Fault)
}

impl ArmShard {
    fn record(&self, observation: &Observation, error: bool) {
        self.requests.add(1);
        if error {
            self.errors.add(1);
        }
        if observation.outcome == Outcome::ClientError {
            self.rejected.add(1);
        }
        self.latency.record(observation.latency_ns);
        // A stream's first byte may come long before it says anything.
        let first = if observation.streamed { observation.first_token_ns } else { observation.first_byte_ns };
        if let Some(first) = first {
            self.first_byte.record(first);
        }
    }
}

impl ArmSum {
    fn add(&mut self, shard: &ArmShard) {
        // Errors are read first, so that a race never shows more of them than requests.
        self.assigned += shard.assigned.get();
        self.errors += shard.errors.get();
        self.rejected += shard.rejected.get();
        self.requests += shard.requests.get();
        shard.latency.add_to(&mut self.latency);
        shard.first_byte.add_to(&mut self.first_byte);
        shard.gap.add_to(&mut self.gap);
    }
}

/// A set of users, by a hash of their key: at most `capacity` of them, without a lock. Once it is
/// full nobody new is counted, and that is counted.
#[derive(Debug)]
pub struct Keys {
    slots: Box<[AtomicU64]>,
    refused: AtomicU64,
}

/// What became of a key that was to be remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Seen {
    /// It is new, and is remembered from now on.
    First,
    /// It was there already.
    Again,
    /// There is no room for it: it must not be counted, or it would be counted more than once.
    NoRoom,
}

/// How far from its own place a key may lie. Beyond it the set counts as full.
const PROBES: usize = 64;

impl Keys {
    /// Room for about `capacity` keys, 8 bytes each; at least 64.
    pub fn new(capacity: usize) -> Self {
        let slots = capacity.clamp(PROBES, 1 << 24).next_power_of_two();
        Self { slots: (0..slots).map(|_| AtomicU64::new(0)).collect(), refused: AtomicU64::new(0) }
    }

    /// Remembers the key of this hash. Safe from any thread; of several that come with one key at
    /// the same time exactly one is the first.
    pub fn insert(&self, hash: u64) -> Seen {
        // Zero marks a free slot.
        let hash = hash.max(1);
        let mask = self.slots.len() - 1;
        let start = usize::try_from(hash).unwrap_or(usize::MAX);
        for step in 0..PROBES {
            let Some(slot) = self.slots.get(start.wrapping_add(step) & mask) else { break };
            match slot.compare_exchange(0, hash, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return Seen::First,
                Err(there) if there == hash => return Seen::Again,
                Err(_) => {}
            }
        }
        self.refused.fetch_add(1, Ordering::Relaxed);
        Seen::NoRoom
    }

    /// How often there was no room.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seen(outcome: Outcome) -> Observation {
        Observation {
            outcome,
            fault: None,
            grpc: None,
            latency_ns: 2_000_000,
            first_byte_ns: Some(1_000_000),
            streamed: false,
            first_token_ns: None,
            overhead_ns: 0,
            request_bytes: 0,
            response_bytes: 0,
        }
    }

    fn trial(segments: usize) -> Trial {
        Trial::new(1, 500, Arc::new(Segments::new(segments)), None)
    }

    #[test]
    fn a_request_counts_once_in_the_whole_and_once_in_each_of_its_segments() {
        let trial = trial(3);
        let shard = trial.register();
        let segments = &trial.segments;
        for (region, tier) in [("eu", "gold"), ("us", "gold"), ("asia", "free"), ("eu", "gold")] {
            let both = [segments.number(0, 2, region), segments.number(1, 2, tier)];
            shard.record(Arm::Candidate, both.into_iter().collect(), &seen(Outcome::Fault), true);
        }
        shard.record_error(Arm::Candidate, Memberships::from_iter([0, 1]));
        let sum = trial.sum();
        let counted: Vec<_> = sum
            .segments
            .iter()
            .map(|(name, arms)| (&**name, arms.candidate.requests, arms.candidate.errors))
            .collect();
        assert_eq!(counted, [("eu", 2, 3), ("gold", 3, 4), ("us", 1, 1), (OTHER, 1, 1)]);
        assert_eq!((sum.arms.candidate.requests, sum.arms.candidate.errors), (4, 5));
    }

    #[test]
    fn workers_add_up_and_a_client_that_left_counts_for_nobody() {
        let trial = trial(4);
        for _ in 0..2 {
            let shard = trial.register();
            shard.record(Arm::Stable, Memberships::default(), &seen(Outcome::Success), false);
            shard.record(Arm::Candidate, Memberships::default(), &seen(Outcome::Fault), true);
            shard.record(Arm::Candidate, Memberships::default(), &seen(Outcome::Cancelled), false);
            shard.record(Arm::Candidate, Memberships::default(), &seen(Outcome::ClientError), false);
        }
        let sum = trial.sum();
        assert_eq!((sum.arms.stable.requests, sum.arms.stable.errors), (2, 0));
        let candidate = &sum.arms.candidate;
        assert_eq!((candidate.requests, candidate.errors, candidate.rejected), (4, 2, 2));
        assert_eq!(candidate.latency.count(), 4);
        assert!(sum.segments.is_empty());
    }

    #[test]
    fn a_stream_is_measured_by_its_first_token_and_not_by_its_first_byte() {
        let trial = trial(0);
        let shard = trial.register();
        for (streamed, first_token_ns) in [(false, None), (true, None), (true, Some(5_000_000))] {
            let seen = Observation { streamed, first_token_ns, ..seen(Outcome::Success) };
            shard.record(Arm::Stable, Memberships::default(), &seen, false);
        }
        let first = trial.sum().arms.stable.first_byte;
        assert_eq!((first.count(), first.count_le(1_000_000)), (2, 1));
    }

    #[test]
    fn of_all_threads_that_come_with_one_key_exactly_one_is_the_first() {
        let keys = Keys::new(1 << 12);
        let firsts = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in 1..=1_000u64 {
                        let hash = key.wrapping_mul(0x9E37_79B9_7F4A_7C15);
                        if keys.insert(hash) == Seen::First {
                            firsts.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                });
            }
        });
        assert_eq!((firsts.into_inner(), keys.refused()), (1_000, 0));
    }

    #[test]
    fn a_full_set_refuses_and_says_so() {
        let keys = Keys::new(64);
        let kept = (1..=1_000u64).filter(|key| keys.insert(*key) == Seen::First).count();
        assert_eq!(kept, 64);
        assert_eq!(keys.refused(), 936);
        assert_eq!(keys.insert(5), Seen::Again);
    }
}
