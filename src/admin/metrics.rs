//! `/metrics`: every family of the catalogue, from the merged shards and the state of now.

use std::sync::atomic::Ordering::Relaxed;

use crate::base::FaultKind;
use crate::divergence::Reason;
use crate::net::ConnectionFault;
use crate::stats::pairs::PairDrop;
use crate::stats::sequential::Arms;
use crate::stats::{Counter, DropReason, Merged, MirrorShard, Outcome, Snapshot, VersionShard};
use crate::telemetry::catalog::{self, Metric};
use crate::upstream::Standing;

use super::access::{Access, Denial};
use super::document::Document;
use super::sidecar::{Live, Readiness, Sidecar};
use super::{engine_metrics, process, rollout_metrics};

/// What of a shard is on the page.
type Get<S, T> = fn(&S) -> T;
type Cell<S> = for<'s> fn(&'s S) -> &'s Counter;

/// The page of this moment, in Prometheus' text format 0.0.4.
pub(super) fn page(sidecar: &dyn Sidecar, access: &Access) -> String {
    let merged = sidecar.registry().merged();
    let mut page = Document::default();
    versions(&mut page, &merged);
    state(&mut page, &sidecar.live(), &sidecar.readiness());
    mirrors(&mut page, &merged);
    engine_metrics::write(&mut page, sidecar);
    rollout_metrics::write(&mut page, sidecar.rollouts());
    workers(&mut page, &merged);
    admin(&mut page, access);
    process(&mut page);
    page.into_text()
}

fn admin(page: &mut Document, access: &Access) {
    let mut denied = page.family(&catalog::ADMIN_DENIED);
    for denial in Denial::ALL {
        denied.sample(&[denial.as_str()], access.denied(denial));
    }
    page.single(&catalog::ADMIN_DISPLACED, access.displaced.load(Relaxed));
}

fn versions(page: &mut Document, merged: &Merged) {
    let mut requests = page.family(&catalog::REQUESTS);
    each_version(merged, |[model, version, role], shard| {
        for outcome in Outcome::ALL {
            requests.sample(&[model, version, role, outcome.as_str()], shard.outcome(outcome));
        }
    });
    let histograms: [(&Metric, Get<VersionShard, Snapshot>); 3] = [
        (&catalog::REQUEST_DURATION, |s| s.latency.snapshot()),
        (&catalog::TIME_TO_FIRST_BYTE, |s| s.first_byte.snapshot()),
        (&catalog::OVERHEAD_TIME, |s| s.overhead.snapshot()),
    ];
    for (metric, snapshot) in histograms {
        let mut family = page.family(metric);
        each_version(merged, |labels, shard| family.histogram(&labels, &snapshot(shard)));
    }
    let tokens: [(&Metric, Get<VersionShard, Snapshot>); 2] = [
        (&catalog::TIME_TO_FIRST_TOKEN, |s| s.first_token.snapshot()),
        (&catalog::INTER_TOKEN, |s| s.gap.snapshot()),
    ];
    for (metric, snapshot) in tokens {
        let mut family = page.family(metric);
        each_version(merged, |labels, shard| {
            // A model that streams nothing should not fill the page with zeros.
            let snapshot = snapshot(shard);
            if snapshot.count() > 0 {
                family.histogram(&labels, &snapshot);
            }
        });
    }
    let mut in_flight = page.family(&catalog::REQUESTS_IN_FLIGHT);
    each_version(merged, |labels, shard| in_flight.sample(&labels, shard.in_flight.get()));
    let counters: [(&Metric, Cell<VersionShard>); 6] = [
        (&catalog::REQUEST_BODY, |s| &s.request_bytes),
        (&catalog::RESPONSE_BODY, |s| &s.response_bytes),
        (&catalog::UPSTREAM_RETRIES, |s| &s.retries),
        (&catalog::RETRIES_REFUSED, |s| &s.retries_refused),
        (&catalog::SHED, |s| &s.shed),
        (&catalog::FALLBACKS, |s| &s.fallbacks),
    ];
    for (metric, counter) in counters {
        let mut family = page.family(metric);
        each_version(merged, |labels, shard| family.sample(&labels, counter(shard).get()));
    }
    let mut faults = page.family(&catalog::FAULTS);
    each_version(merged, |[model, version, role], shard| {
        for (kind, counter) in FaultKind::ALL.into_iter().zip(&shard.faults) {
            faults.sample(&[model, version, role, kind.reason()], counter.get());
        }
    });
    let mut grpc = page.family(&catalog::GRPC_RESPONSES);
    each_version(merged, |[model, version, role], shard| {
        // All codes or none: a model that speaks no gRPC should not fill the page with zeros.
        if shard.grpc.iter().any(|counter| counter.get() > 0) {
            for (code, counter) in shard.grpc.iter().enumerate() {
                grpc.sample(&[model, version, role, &code.to_string()], counter.get());
            }
        }
    });
}

fn each_version(merged: &Merged, mut write: impl FnMut([&str; 3], &VersionShard)) {
    for (key, shard) in &merged.versions {
        write([&key.model, &key.version, key.role.as_str()], shard);
    }
}

fn state(page: &mut Document, live: &Live, readiness: &Readiness) {
    let mut weights = page.family(&catalog::SPLIT_WEIGHT);
    let versions = || live.models.iter().flat_map(|m| m.versions.iter().map(|v| (m.name.as_str(), v)));
    for (model, version) in versions() {
        let labels = [model, version.name.as_str(), version.role.as_str()];
        weights.sample(&labels, version.weight.fraction());
    }
    let mut ready = page.family(&catalog::VERSION_READY);
    for (model, version) in versions() {
        let labels = [model, version.name.as_str(), version.role.as_str()];
        ready.sample(&labels, u8::from(version.ready));
    }
    upstreams(page, live);
    limits(page, live);
    let (applied, refused) = live.process.tls_reloads;
    let mut tls = page.family(&catalog::TLS_RELOADS);
    tls.sample(&["applied"], applied);
    tls.sample(&["refused"], refused);
    page.single(&catalog::WORKER_RESTARTS, live.process.worker_restarts);
    let mut tasks = page.family(&catalog::TASK_RESTARTS);
    for (task, restarts) in &live.process.task_restarts {
        tasks.sample(&[task], restarts);
    }
    if let Some(share) = live.process.memory_share {
        page.single(&catalog::MEMORY_USED, share);
    }
    let mut reloads = page.family(&catalog::CONFIG_RELOADS);
    reloads.sample(&["applied"], live.config.applied);
    reloads.sample(&["refused"], live.config.refused);
    page.single(&catalog::CONFIG_LAST_RELOAD, u8::from(live.config.last_error.is_none()));
    page.single(&catalog::READY, u8::from(readiness.ready));
    page.family(&catalog::BUILD_INFO).sample(&[env!("CARGO_PKG_VERSION")], 1);
}

/// Endpoints, of versions that have several or are asked.
fn upstreams(page: &mut Document, live: &Live) {
    let all = || {
        let versions = live.models.iter().flat_map(|m| m.versions.iter().map(move |v| (m, v)));
        versions.filter_map(|(m, v)| Some((m.name.as_str(), v.name.as_str(), v.upstream.as_ref()?)))
    };
    let mut endpoints = page.family(&catalog::ENDPOINTS);
    for (model, version, state) in all() {
        for standing in Standing::ALL.map(Standing::as_str) {
            let count = state.endpoints.iter().filter(|endpoint| endpoint.standing == standing).count();
            endpoints.sample(&[model, version, standing], count);
        }
    }
    let mut ejections = page.family(&catalog::EJECTIONS);
    all().for_each(|(model, version, state)| ejections.sample(&[model, version], state.ejections));
    let mut checks = page.family(&catalog::HEALTH_CHECKS);
    for (model, version, state) in all() {
        checks.sample(&[model, version, "passed"], state.checks_passed);
        checks.sample(&[model, version, "failed"], state.checks_failed);
    }
    let mut lookups = page.family(&catalog::LOOKUPS_FAILED);
    all().for_each(|(model, version, state)| lookups.sample(&[model, version], state.lookups_failed));
}

/// Limits of requests under way, of models and of versions.
fn limits(page: &mut Document, live: &Live) {
    let all = || {
        live.models.iter().flat_map(|m| {
            let versions = m.versions.iter().map(|v| (v.name.as_str(), v.concurrency));
            let own = std::iter::once(("", m.concurrency)).chain(versions);
            own.filter_map(|(version, state)| Some((m.name.as_str(), version, state?)))
        })
    };
    let mut limit = page.family(&catalog::CONCURRENCY_LIMIT);
    all().for_each(|(model, version, state)| limit.sample(&[model, version], state.limit));
    let mut under_way = page.family(&catalog::CONCURRENCY);
    all().for_each(|(model, version, state)| under_way.sample(&[model, version], state.under_way));
}

fn mirrors(page: &mut Document, merged: &Merged) {
    let counters: [(&Metric, Cell<MirrorShard>); 4] = [
        (&catalog::MIRROR_ELIGIBLE, |s| &s.eligible),
        (&catalog::MIRROR_SAMPLED, |s| &s.sampled),
        (&catalog::MIRROR_SENT, |s| &s.sent),
        (&catalog::MIRROR_COMPLETED, |s| &s.completed),
    ];
    for (metric, counter) in counters {
        let mut family = page.family(metric);
        each_mirror(merged, |labels, shard| family.sample(&labels, counter(shard).get()));
    }
    let mut dropped = page.family(&catalog::MIRROR_DROPPED);
    each_mirror(merged, |[model, to], shard| {
        for reason in DropReason::ALL {
            dropped.sample(&[model, to, reason.as_str()], shard.dropped(reason));
        }
    });
    let mut coverage = page.family(&catalog::MIRROR_COVERAGE);
    each_mirror(merged, |labels, shard| {
        // Of nothing there is no share; 1 would look like agreement.
        if let Some(share) = shard.coverage() {
            coverage.sample(&labels, share);
        }
    });
    pairs(page, merged);
    let mut in_flight = page.family(&catalog::MIRROR_IN_FLIGHT);
    each_mirror(merged, |labels, shard| in_flight.sample(&labels, shard.in_flight.get()));
    let mut retained = page.family(&catalog::MIRROR_RETAINED);
    each_mirror(merged, |labels, shard| retained.sample(&labels, shard.retained_bytes.get()));
}

/// Pairs of candidates, and of controls: copies that went back to stable.
fn pairs(page: &mut Document, merged: &Merged) {
    let kinds = [("candidate", false), ("control", true)];
    let pick = |arms: Arms<u64>, control| if control { arms.stable } else { arms.candidate };
    let mut compared = page.family(&catalog::PAIRS);
    for (key, tally) in &merged.pairs {
        let sum = tally.sum();
        for (kind, control) in kinds {
            let (all, diverged) = (pick(sum.compared, control), pick(sum.diverged, control));
            compared.sample(&[&key.model, &key.to, kind, "agreed"], all - diverged);
            compared.sample(&[&key.model, &key.to, kind, "diverged"], diverged);
            let not_comparable = pick(sum.not_comparable, control);
            compared.sample(&[&key.model, &key.to, kind, "not_comparable"], not_comparable);
        }
    }
    let mut divergences = page.family(&catalog::DIVERGENCES);
    for (key, tally) in &merged.pairs {
        for (kind, control) in kinds {
            for reason in Reason::ALL {
                let labels = [&*key.model, &*key.to, kind, reason.as_str()];
                divergences.sample(&labels, tally.reason(control, reason.index()));
            }
        }
    }
    let mut dropped = page.family(&catalog::PAIRS_DROPPED);
    each_mirror(merged, |[model, to], shard| {
        for reason in PairDrop::ALL {
            dropped.sample(&[model, to, reason.as_str()], shard.pairs_dropped(reason));
        }
    });
}

fn each_mirror(merged: &Merged, mut write: impl FnMut([&str; 2], &MirrorShard)) {
    for (key, shard) in &merged.mirrors {
        write([&key.model, &key.to], shard);
    }
}

fn workers(page: &mut Document, merged: &Merged) {
    let shard = &merged.workers;
    let mut unrouted = page.family(&catalog::UNROUTED);
    for (kind, counter) in FaultKind::ALL.into_iter().zip(&shard.unrouted) {
        unrouted.sample(&[kind.reason()], counter.get());
    }
    page.single(&catalog::CONNECTIONS_OPENED, shard.connections_opened.get());
    page.single(&catalog::CONNECTIONS_ACTIVE, shard.connections_active.get());
    page.single(&catalog::CONNECTIONS_REFUSED, shard.connections_refused.get());
    let mut faults = page.family(&catalog::CONNECTION_FAULTS);
    for (fault, counter) in ConnectionFault::ALL.into_iter().zip(&shard.connection_faults) {
        faults.sample(&[fault.reason()], counter.get());
    }
    page.single(&catalog::HANDSHAKE_FAILURES, shard.handshake_failures.get());
    page.single(&catalog::PROTOCOL_ERRORS, shard.protocol_errors.get());
    page.single(&catalog::ACCEPT_ERRORS, shard.accept_errors.get());
    page.single(&catalog::ACCESS_LOG_DROPPED, shard.access_log_dropped.get());
    page.single(&catalog::STATISTICS_OVERFLOWS, merged.overflowed);
}

fn process(page: &mut Document) {
    if let Some(seconds) = process::cpu_seconds() {
        page.single(&catalog::PROCESS_CPU, seconds);
    }
    if let Some(bytes) = process::resident_bytes() {
        page.single(&catalog::PROCESS_MEMORY, bytes);
    }
    if let Some(count) = process::open_fds() {
        page.single(&catalog::PROCESS_FDS, count);
    }
}
