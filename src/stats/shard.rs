//! What one worker counts: per version, per mirror, and for itself.
//!
//! A shard has one writer, the worker that registered it. The fields are public because recording
//! is the whole of their behaviour; sums over shards are shards again, owned by the reader.

use crate::base::FaultKind;

use super::cell::{Counter, Gauge, add_row, count};
use super::pairs::PairDrop;
use super::{DropReason, Histogram, Outcome};

/// How one request went, to be recorded when its last byte is sent or it is dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Observation {
    /// How it ended.
    pub outcome: Outcome,
    /// What failed, if something in or behind Switchback did.
    pub fault: Option<FaultKind>,
    /// The gRPC status, if the answer was a gRPC one. Codes above 16 count as 2 (unknown).
    pub grpc: Option<u8>,
    /// From the request's head to the end of the answer, in nanoseconds.
    pub latency_ns: u64,
    /// From the request's head to the first byte of the answer's body, if there was one.
    pub first_byte_ns: Option<u64>,
    /// Whether the answer was a stream of events.
    pub streamed: bool,
    /// Of a stream of events: from the request's head to its first token, if one came.
    pub first_token_ns: Option<u64>,
    /// Of the latency, what was spent inside Switchback and not waiting for anybody.
    pub overhead_ns: u64,
    /// Length of the request's body as far as it was read.
    pub request_bytes: u64,
    /// Length of the answer's body as far as it was sent.
    pub response_bytes: u64,
}

/// What one worker counts for one version in one role. Aligned so that no two share a cache line.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct VersionShard {
    /// Finished requests, by [`Outcome::index`].
    pub outcomes: [Counter; Outcome::ALL.len()],
    /// Faults, by [`FaultKind::index`].
    pub faults: [Counter; FaultKind::ALL.len()],
    /// gRPC answers, by status code 0 to 16.
    pub grpc: [Counter; 17],
    /// Whole duration of requests, whatever their outcome.
    pub latency: Histogram,
    /// Time to the first byte of the answer's body, where there was one.
    pub first_byte: Histogram,
    /// Time to the first token of streamed answers.
    pub first_token: Histogram,
    /// Time between tokens of streamed answers.
    pub gap: Histogram,
    /// Time spent inside Switchback.
    pub overhead: Histogram,
    /// Requests under way. [`VersionShard::finish`] leaves it alone: whoever adds takes away.
    pub in_flight: Gauge,
    /// Bytes of request bodies.
    pub request_bytes: Counter,
    /// Bytes of answers' bodies.
    pub response_bytes: Counter,
    /// Requests sent again: they had never left, or the retry policy asked for it.
    pub retries: Counter,
    /// Requests of this version that stable answered in its place.
    pub fallbacks: Counter,
    /// Requests that were turned away because of a limit or for want of memory.
    pub shed: Counter,
    /// Requests that were not sent again because the budget for that was used up.
    pub retries_refused: Counter,
}

impl VersionShard {
    /// Records a finished request. Leaves [`in_flight`](Self::in_flight) alone.
    pub fn finish(&self, observation: &Observation) {
        count(&self.outcomes, observation.outcome.index());
        if let Some(fault) = observation.fault {
            count(&self.faults, fault.index());
        }
        if let Some(code) = observation.grpc {
            // A status that no one defined is UNKNOWN, as the gRPC specification asks of clients.
            count(&self.grpc, if code <= 16 { usize::from(code) } else { 2 });
        }
        self.latency.record(observation.latency_ns);
        if let Some(first_byte) = observation.first_byte_ns {
            self.first_byte.record(first_byte);
        }
        if let Some(first_token) = observation.first_token_ns {
            self.first_token.record(first_token);
        }
        self.overhead.record(observation.overhead_ns);
        self.request_bytes.add(observation.request_bytes);
        self.response_bytes.add(observation.response_bytes);
    }

    /// Finished requests with this outcome.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.index()).map_or(0, Counter::get)
    }

    /// Adds what `other` counted. To be called by the writer of this shard.
    pub fn absorb(&self, other: &Self) {
        add_row(&self.outcomes, &other.outcomes);
        add_row(&self.faults, &other.faults);
        add_row(&self.grpc, &other.grpc);
        self.latency.absorb(&other.latency);
        self.first_byte.absorb(&other.first_byte);
        self.first_token.absorb(&other.first_token);
        self.gap.absorb(&other.gap);
        self.overhead.absorb(&other.overhead);
        self.in_flight.add(other.in_flight.get());
        self.request_bytes.add(other.request_bytes.get());
        self.response_bytes.add(other.response_bytes.get());
        self.retries.add(other.retries.get());
        self.fallbacks.add(other.fallbacks.get());
        self.shed.add(other.shed.get());
        self.retries_refused.add(other.retries_refused.get());
    }
}

/// What one worker counts for one mirror of one model.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct MirrorShard {
    /// Requests that the mirror could have copied.
    pub eligible: Counter,
    /// Of the eligible ones, those drawn by the sampling percentage.
    pub sampled: Counter,
    /// Copies that left for the shadow.
    pub sent: Counter,
    /// Copies that the shadow answered whole, in time.
    pub completed: Counter,
    /// Sampled requests without an answer, by [`DropReason::index`].
    pub dropped: [Counter; DropReason::ALL.len()],
    /// Copies under way.
    pub in_flight: Gauge,
    /// Bytes of bodies held for copies.
    pub retained_bytes: Gauge,
    /// Pairs that went to be compared.
    pub pairs: Counter,
    /// Copies that were to make a pair and did not, by [`PairDrop::index`].
    pub pairs_dropped: [Counter; PairDrop::ALL.len()],
}

impl MirrorShard {
    /// Counts a sampled request that will have no answer.
    #[inline]
    pub fn drop_copy(&self, reason: DropReason) {
        count(&self.dropped, reason.index());
    }

    /// Counts a copy that will make no pair.
    #[inline]
    pub fn drop_pair(&self, reason: PairDrop) {
        count(&self.pairs_dropped, reason.index());
    }

    /// Copies that made no pair for this reason.
    pub fn pairs_dropped(&self, reason: PairDrop) -> u64 {
        self.pairs_dropped.get(reason.index()).map_or(0, Counter::get)
    }

    /// Sampled requests that were dropped for this reason.
    pub fn dropped(&self, reason: DropReason) -> u64 {
        self.dropped.get(reason.index()).map_or(0, Counter::get)
    }

    /// The share of sampled requests whose copy was answered, 0 to 1, or `None` before the first
    /// one. Copies under way count as not answered.
    pub fn coverage(&self) -> Option<f64> {
        // Completed is read first: the other way round a race could show more than 1.
        let completed = self.completed.get();
        let sampled = self.sampled.get();
        (sampled > 0).then(|| (completed as f64 / sampled as f64).min(1.0))
    }

    /// Adds what `other` counted. To be called by the writer of this shard.
    pub fn absorb(&self, other: &Self) {
        self.completed.add(other.completed.get());
        add_row(&self.dropped, &other.dropped);
        self.sent.add(other.sent.get());
        self.sampled.add(other.sampled.get());
        self.eligible.add(other.eligible.get());
        self.in_flight.add(other.in_flight.get());
        self.retained_bytes.add(other.retained_bytes.get());
        self.pairs.add(other.pairs.get());
        add_row(&self.pairs_dropped, &other.pairs_dropped);
    }
}

/// Reasons for which a connection may end other than by agreement; `net` names them.
pub const CONNECTION_FAULTS: usize = 14;

/// What one worker counts for itself.
#[derive(Debug, Default)]
#[repr(align(64))]
pub struct WorkerShard {
    /// Connections accepted and kept.
    pub connections_opened: Counter,
    /// Connections open now.
    pub connections_active: Gauge,
    /// Connections closed at once because of the limit.
    pub connections_refused: Counter,
    /// TLS handshakes that failed or took too long.
    pub handshake_failures: Counter,
    /// Connections that ended because the client broke HTTP.
    pub protocol_errors: Counter,
    /// Requests whose clients are waited for before any version has them.
    pub requests_awaited: Gauge,
    /// Calls of `accept` that failed.
    pub accept_errors: Counter,
    /// Lines for the access log that its full queue refused.
    pub access_log_dropped: Counter,
    /// Connections that ended other than by agreement, by the index of their reason.
    pub connection_faults: [Counter; CONNECTION_FAULTS],
    /// Requests answered before any version was chosen, by [`FaultKind::index`].
    pub unrouted: [Counter; FaultKind::ALL.len()],
}

impl WorkerShard {
    /// Counts a request that was answered before any version was chosen.
    #[inline]
    pub fn refuse(&self, fault: FaultKind) {
        count(&self.unrouted, fault.index());
    }

    /// Counts a connection that ended for the reason of this index.
    #[inline]
    pub fn connection_failed(&self, reason: usize) {
        count(&self.connection_faults, reason);
    }

    /// Adds what `other` counted. To be called by the writer of this shard.
    pub fn absorb(&self, other: &Self) {
        self.connections_opened.add(other.connections_opened.get());
        self.connections_active.add(other.connections_active.get());
        self.connections_refused.add(other.connections_refused.get());
        self.handshake_failures.add(other.handshake_failures.get());
        self.protocol_errors.add(other.protocol_errors.get());
        self.requests_awaited.add(other.requests_awaited.get());
        self.accept_errors.add(other.accept_errors.get());
        self.access_log_dropped.add(other.access_log_dropped.get());
        add_row(&self.connection_faults, &other.connection_faults);
        add_row(&self.unrouted, &other.unrouted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(crate) fn observation(outcome: Outcome) -> Observation {
        Observation {
            outcome,
            fault: None,
            grpc: None,
            latency_ns: 2_000_000,
            first_byte_ns: Some(1_000_000),
            streamed: false,
            first_token_ns: None,
            overhead_ns: 20_000,
            request_bytes: 100,
            response_bytes: 50,
        }
    }

    #[test]
    fn finishing_a_request_records_everything_about_it_once() {
        let shard = VersionShard::default();
        shard.in_flight.add(1);
        shard.finish(&Observation {
            fault: Some(FaultKind::UpstreamReset),
            grpc: Some(14),
            ..observation(Outcome::Fault)
        });
        shard.finish(&Observation {
            grpc: Some(200),
            first_byte_ns: None,
            streamed: true,
            first_token_ns: Some(3),
            ..observation(Outcome::ServerError)
        });
        assert_eq!(shard.outcome(Outcome::Fault), 1);
        assert_eq!(shard.outcome(Outcome::ServerError), 1);
        assert_eq!(shard.faults[FaultKind::UpstreamReset.index()].get(), 1);
        assert_eq!(shard.faults.iter().map(Counter::get).sum::<u64>(), 1);
        assert_eq!((shard.grpc[14].get(), shard.grpc[2].get()), (1, 1));
        assert_eq!(shard.latency.snapshot().count(), 2);
        assert_eq!(shard.first_byte.snapshot().count(), 1);
        assert_eq!(shard.first_token.snapshot().count(), 1);
        assert_eq!(shard.overhead.snapshot().sum_nanos(), 40_000);
        assert_eq!((shard.request_bytes.get(), shard.response_bytes.get()), (200, 100));
        assert_eq!(shard.in_flight.get(), 1, "whoever adds takes away");
    }

    #[test]
    fn a_shard_of_ordinary_latencies_stays_below_16_kib() {
        let shard = VersionShard::default();
        for exponent in 4..11 {
            shard.latency.record(3 * 10u64.pow(exponent));
            shard.first_byte.record(3 * 10u64.pow(exponent));
        }
        for exponent in 3..7 {
            shard.overhead.record(3 * 10u64.pow(exponent));
        }
        let heap = [&shard.latency, &shard.first_byte, &shard.overhead].map(Histogram::heap_bytes);
        assert!(size_of::<VersionShard>() + heap.iter().sum::<usize>() < 16 * 1024);
    }

    #[test]
    fn coverage_is_the_share_of_sampled_requests_that_were_answered() {
        let mirror = MirrorShard::default();
        assert_eq!(mirror.coverage(), None);
        mirror.eligible.add(10);
        mirror.sampled.add(4);
        mirror.completed.add(3);
        mirror.drop_copy(DropReason::Deadline);
        assert_eq!(mirror.coverage(), Some(0.75));
        assert_eq!(mirror.dropped(DropReason::Deadline), 1);
    }
}
