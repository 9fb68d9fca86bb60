//! `/api/v1/status`: how things stand and what was counted, as one JSON document.
//!
//! A version's counts are over all the roles it has had since the start; `/metrics` keeps the
//! roles apart.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::{ModelName, Role, VersionName};
use crate::divergence::Reason;
use crate::onnx::{Facts, Metadata};
use crate::stats::pairs::{PairDrop, PairTally};
use crate::stats::{DropReason, Merged, MirrorShard, Outcome, Snapshot, VersionShard};
use crate::telemetry::rfc3339;

use super::sidecar::{
    ConcurrencyState, ListenerState, Live, MirrorState, Readiness, State, UpstreamState, VersionState,
};

/// The document.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    version: &'static str,
    state: State,
    ready: bool,
    uptime_seconds: f64,
    config: Config,
    listeners: Vec<ListenerState>,
    models: Vec<Model>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    path: String,
    hash: String,
    loaded_at: String,
    reloads: Reloads,
    last_error: Option<String>,
}

#[derive(Debug, Serialize)]
struct Reloads {
    applied: u64,
    refused: u64,
}

#[derive(Debug, Serialize)]
struct Model {
    name: String,
    stable: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<ConcurrencyState>,
    versions: Vec<Version>,
    mirrors: Vec<Mirror>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    name: String,
    role: &'static str,
    weight: String,
    weight_basis_points: u16,
    backend: &'static str,
    target: String,
    ready: bool,
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    model_file: Option<ModelFile>,
    #[serde(flatten)]
    upstream: Option<UpstreamState>,
    #[serde(skip_serializing_if = "Option::is_none")]
    concurrency: Option<ConcurrencyState>,
    in_flight: i64,
    requests: Requests,
    latency_seconds: Quantiles,
    first_byte_seconds: Quantiles,
}

/// What is known of a model that is loaded in this process.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ModelFile {
    sha256: String,
    bytes: u64,
    resident_bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<Metadata>,
}

impl From<Facts> for ModelFile {
    fn from(facts: Facts) -> Self {
        let Facts { sha256, bytes, resident, metadata, .. } = facts;
        Self { sha256, bytes, resident_bytes: resident, metadata }
    }
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Requests {
    success: u64,
    client_error: u64,
    server_error: u64,
    fault: u64,
    cancelled: u64,
}

#[derive(Debug, Serialize)]
struct Quantiles {
    count: u64,
    p50: Option<f64>,
    p90: Option<f64>,
    p99: Option<f64>,
}

#[derive(Debug, Serialize)]
struct Mirror {
    to: String,
    sample: String,
    eligible: u64,
    sampled: u64,
    sent: u64,
    completed: u64,
    dropped: BTreeMap<&'static str, u64>,
    coverage: Option<f64>,
    pairs: Pairs,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Pairs {
    candidate: PairCounts,
    control: PairCounts,
    dropped: BTreeMap<&'static str, u64>,
    /// Compared pairs as a share of the requests that could have been copied.
    coverage: Option<f64>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct PairCounts {
    compared: u64,
    diverged: u64,
    not_comparable: u64,
    reasons: BTreeMap<&'static str, u64>,
}

impl Status {
    /// The document of this moment.
    pub fn new(live: Live, readiness: &Readiness, merged: &Merged) -> Self {
        let models = live.models.into_iter().map(|model| Model {
            versions: model.versions.into_iter().map(|v| version(&model.name, v, merged)).collect(),
            mirrors: model.mirrors.iter().map(|m| mirror(&model.name, m, merged)).collect(),
            stable: model.stable.to_string(),
            concurrency: model.concurrency,
            name: model.name.to_string(),
        });
        Self {
            version: env!("CARGO_PKG_VERSION"),
            state: live.state,
            ready: readiness.ready,
            uptime_seconds: live.uptime.as_secs_f64(),
            models: models.collect(),
            listeners: live.listeners,
            config: Config {
                path: live.config.path,
                hash: live.config.hash,
                loaded_at: rfc3339(live.config.loaded_at),
                reloads: Reloads { applied: live.config.applied, refused: live.config.refused },
                last_error: live.config.last_error,
            },
        }
    }
}

fn version(model: &ModelName, state: VersionState, merged: &Merged) -> Version {
    let counts = counts(model, &state.name, state.role, merged);
    Version {
        name: state.name.to_string(),
        role: state.role.as_str(),
        weight: state.weight.to_string(),
        weight_basis_points: state.weight.basis_points(),
        backend: state.backend,
        target: state.target,
        ready: state.ready,
        reason: state.reason,
        model_file: state.facts.map(ModelFile::from),
        upstream: state.upstream,
        concurrency: state.concurrency,
        in_flight: counts.in_flight.get(),
        requests: Requests {
            success: counts.outcome(Outcome::Success),
            client_error: counts.outcome(Outcome::ClientError),
            server_error: counts.outcome(Outcome::ServerError),
            fault: counts.outcome(Outcome::Fault),
            cancelled: counts.outcome(Outcome::Cancelled),
        },
        latency_seconds: quantiles(&counts.latency.snapshot()),
        first_byte_seconds: quantiles(&counts.first_byte.snapshot()),
    }
}

/// What was counted for a version, in whatever role; but copies count only for one that is a shadow:
/// to any other they are no requests.
fn counts(model: &ModelName, version: &VersionName, role: Role, merged: &Merged) -> VersionShard {
    let sum = VersionShard::default();
    for (key, shard) in &merged.versions {
        let is_copy = key.role == Role::Shadow && role != Role::Shadow;
        if !is_copy && *key.model == *model.as_str() && *key.version == *version.as_str() {
            sum.absorb(shard);
        }
    }
    sum
}

fn quantiles(snapshot: &Snapshot) -> Quantiles {
    let seconds = |q| snapshot.quantile(q).map(|nanos| nanos as f64 / 1e9);
    Quantiles { count: snapshot.count(), p50: seconds(0.5), p90: seconds(0.9), p99: seconds(0.99) }
}

fn mirror(model: &ModelName, state: &MirrorState, merged: &Merged) -> Mirror {
    let nothing = MirrorShard::default();
    let counts = merged
        .mirrors
        .iter()
        .find(|(key, _)| *key.model == *model.as_str() && *key.to == *state.to.as_str())
        .map_or(&nothing, |(_, shard)| shard);
    Mirror {
        to: state.to.to_string(),
        sample: state.sample.to_string(),
        eligible: counts.eligible.get(),
        sampled: counts.sampled.get(),
        sent: counts.sent.get(),
        completed: counts.completed.get(),
        dropped: DropReason::ALL.into_iter().map(|r| (r.as_str(), counts.dropped(r))).collect(),
        coverage: counts.coverage(),
        pairs: pairs(model, state, counts, merged),
    }
}

fn pairs(model: &ModelName, state: &MirrorState, counts: &MirrorShard, merged: &Merged) -> Pairs {
    let nothing = PairTally::default();
    let tally = merged
        .pairs
        .iter()
        .find(|(key, _)| *key.model == *model.as_str() && *key.to == *state.to.as_str())
        .map_or(&nothing, |(_, tally)| tally);
    let sum = tally.sum();
    let reasons = |control| {
        let counted = Reason::ALL.into_iter().map(|r| (r.as_str(), tally.reason(control, r.index())));
        counted.filter(|(_, count)| *count > 0).collect()
    };
    let eligible = counts.eligible.get();
    Pairs {
        candidate: PairCounts {
            compared: sum.compared.candidate,
            diverged: sum.diverged.candidate,
            not_comparable: sum.not_comparable.candidate,
            reasons: reasons(false),
        },
        control: PairCounts {
            compared: sum.compared.stable,
            diverged: sum.diverged.stable,
            not_comparable: sum.not_comparable.stable,
            reasons: reasons(true),
        },
        dropped: PairDrop::ALL.into_iter().map(|r| (r.as_str(), counts.pairs_dropped(r))).collect(),
        coverage: (eligible > 0).then(|| (sum.compared.total() as f64 / eligible as f64).min(1.0)),
    }
}
