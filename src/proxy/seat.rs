//! A live request's part in a rollout: on which side it counts, in which segments, as which user.
//!
//! Only requests that the coin has drawn count: pins, upgrades and health checks do not. Where users
//! are kept on a version the user was drawn, so each counts once per rollout: as a request with its
//! first one, as an error with its first one that fails.

use std::rc::Rc;
use std::sync::Arc;

use bytes::Bytes;
use http::response;

use super::route::Drawn;
use crate::base::FaultKind;
use crate::mirror::compare::{Job, Queue, ScoreJob};
use crate::mirror::taken::{Answered, Form};
use crate::routing::local::LocalTrial;
use crate::routing::scores::Scores;
use crate::stats::segments::Memberships;
use crate::stats::trial::{Arm, Seen, TrialShard, is_error};
use crate::stats::{Observation, Outcome};

/// Longest answer that a prediction is read from.
const SCORED_BYTES: usize = 64 * 1024;

/// Counts one request of a trial when it is over.
pub(super) struct Seat {
    shard: Arc<TrialShard>,
    trial: Rc<LocalTrial>,
    arm: Arm,
    segments: Memberships,
    /// Hash of the user's key, where the split is sticky.
    key: Option<u64>,
    /// Whether it counts as a request: the first of its user.
    counts: bool,
    scored: Option<Box<Scored>>,
}

/// An answer whose prediction is wanted.
struct Scored {
    scores: Arc<Scores>,
    queue: Queue,
    path: Box<str>,
    answered: Answered,
    bytes: usize,
}

/// Told apart from the hashes of keys themselves, so that one set holds both.
const FAILED: u64 = 0x5bd1_e995_9d1b_58d3;

impl Seat {
    /// The seat of a request that was drawn what `drawn` says; none if the trial is about others.
    pub(super) fn new(trial: &Rc<LocalTrial>, drawn: Drawn, segments: Memberships) -> Option<Self> {
        let arm = trial.arm(drawn.arm)?;
        let keys = trial.live.trial.keys.as_ref();
        let counts = match (drawn.key, keys) {
            (Some(key), Some(keys)) => keys.insert(key) == Seen::First,
            _ => true,
        };
        if counts {
            trial.shard.assign(arm);
        }
        Some(Self {
            shard: trial.shard.clone(),
            trial: trial.clone(),
            arm,
            segments,
            key: drawn.key,
            counts,
            scored: None,
        })
    }

    /// The request's segments.
    pub(super) fn segments(&self) -> Memberships {
        self.segments
    }

    /// Has the prediction read out of the answer, where the rollout watches predictions.
    pub(super) fn score(&mut self, queue: &Queue, path: &str) {
        let Some(scores) = &self.trial.live.scores else { return };
        self.scored = Some(Box::new(Scored {
            scores: scores.clone(),
            queue: queue.clone(),
            path: path.into(),
            answered: Answered {
                status: 0,
                grpc: None,
                form: Form::default(),
                body: Vec::new(),
                times: Vec::new(),
            },
            bytes: 0,
        }));
    }

    /// The head of the answer has come.
    pub(super) fn head(&mut self, head: &response::Parts) {
        if let Some(scored) = &mut self.scored {
            scored.answered.status = head.status.as_u16();
            scored.answered.form = Form::of(&head.headers);
        }
    }

    /// The time between two tokens of a streamed answer, in nanoseconds.
    pub(super) fn gap(&self, nanos: u64) {
        self.shard.record_gap(self.arm, nanos);
    }

    /// A chunk of the answer has come.
    pub(super) fn data(&mut self, chunk: &Bytes) {
        if let Some(scored) = &mut self.scored {
            scored.bytes += chunk.len();
            match scored.bytes <= SCORED_BYTES {
                // Copied: a slice would keep the whole read buffer alive.
                true => scored.answered.body.push(Bytes::copy_from_slice(chunk)),
                false => self.scored = None,
            }
        }
    }

    /// The request is over.
    pub(super) fn finish(mut self, observation: &Observation) {
        let is_ours = observation.fault == Some(FaultKind::Exhausted);
        if observation.outcome == Outcome::Cancelled || is_ours {
            return;
        }
        let error = is_error(observation.outcome);
        let keys = self.trial.live.trial.keys.as_ref();
        let fails = match (self.key, keys) {
            (Some(key), Some(keys)) => error && keys.insert(key ^ FAILED) == Seen::First,
            _ => error,
        };
        match self.counts {
            true => self.shard.record(self.arm, self.segments, observation, fails),
            false if fails => self.shard.record_error(self.arm, self.segments),
            false => {}
        }
        if let Some(scored) = self.scored.take()
            && observation.fault.is_none()
            && !error
        {
            let Scored { scores, queue, path, mut answered, .. } = *scored;
            answered.grpc = observation.grpc;
            // A full queue loses a number, never a request; the thread counts what it can't read.
            let _ =
                queue.push(Job::Score(Box::new(ScoreJob { arm: self.arm, path, answer: answered, scores })));
        }
    }
}
