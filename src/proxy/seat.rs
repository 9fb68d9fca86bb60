//! A live request's part in a rollout: on which side it counts, in which segment, as which user.
//!
//! Only requests that the coin has drawn count: pins, upgrades and health checks do not. Where users
//! are kept on a version the user was drawn, so each counts once per rollout: as a request with its
//! first one, as an error with its first one that fails.

use std::net::IpAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderMap, request, response};

use super::route::{self, Drawn};
use crate::base::Fault;

use crate::mirror::compare::{Job, Queue, ScoreJob};
use crate::mirror::taken::{Answered, Form};
use crate::routing::local::{LocalModel, LocalTrial};
use crate::routing::scores::Scores;
use crate::stats::trial::{Arm, Seen, TrialShard, is_error};
use crate::stats::{Observation, Outcome};
use crate::wire::body::Source;

/// Longest answer that a prediction is read from.
const SCORED_BYTES: usize = 64 * 1024;

/// Counts one request of a trial when it is over.
pub(super) struct Seat {
    shard: Arc<TrialShard>,
    trial: Rc<LocalTrial>,
    arm: Arm,
    segment: Option<usize>,
    /// Hash of the user's key, where the split is sticky.
    key: Option<u64>,
    /// Whether it counts as a request: the first of its user.
    counts: bool,
    /// When the last chunk of an event stream came.
    last_chunk: Option<Instant>,
    is_stream: bool,
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

/// The segment of a request that was drawn for one of the two sides of `trial`. Time spent waiting for
/// the client is added to `waited`.
///
/// # Errors
/// Whatever reading ahead for it ran into.
pub(super) async fn segment(
    trial: &LocalTrial,
    model: &LocalModel,
    head: &request::Parts,
    client: Option<IpAddr>,
    source: &mut Source,
    waited: &mut Duration,
) -> Result<Option<usize>, Fault> {
    let Some(spec) = &trial.live.segment else { return Ok(None) };
    let name = route::segment(spec, model, head, client, source, waited).await?;
    Ok(name.map(|name| trial.segment(&name)))
}

impl Seat {
    /// The seat of a request that was drawn what `drawn` says; none if the trial is about others.
    pub(super) fn new(trial: &Rc<LocalTrial>, drawn: Drawn, segment: Option<usize>) -> Option<Self> {
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
            segment,
            key: drawn.key,
            counts,
            last_chunk: None,
            is_stream: false,
            scored: None,
        })
    }

    /// The number of the request's segment.
    pub(super) fn segment(&self) -> Option<usize> {
        self.segment
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
        self.is_stream = is_event_stream(&head.headers);
        if let Some(scored) = &mut self.scored {
            scored.answered.status = head.status.as_u16();
            scored.answered.form = Form::of(&head.headers);
        }
    }

    /// A chunk of the answer has come.
    pub(super) fn data(&mut self, chunk: &Bytes) {
        if self.is_stream {
            let now = Instant::now();
            if let Some(last) = self.last_chunk.replace(now) {
                let gap = u64::try_from(now.saturating_duration_since(last).as_nanos()).unwrap_or(u64::MAX);
                self.shard.record_gap(self.arm, gap);
            }
        }
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
        if observation.outcome == Outcome::Cancelled {
            return;
        }
        let error = is_error(observation.outcome);
        let keys = self.trial.live.trial.keys.as_ref();
        let fails = match (self.key, keys) {
            (Some(key), Some(keys)) => error && keys.insert(key ^ FAILED) == Seen::First,
            _ => error,
        };
        match self.counts {
            true => self.shard.record(self.arm, self.segment, observation, fails),
            false if fails => self.shard.record_error(self.arm, self.segment),
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

fn is_event_stream(headers: &HeaderMap) -> bool {
    let value = headers.get(http::header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    value.is_some_and(|value| value.starts_with("text/event-stream"))
}
