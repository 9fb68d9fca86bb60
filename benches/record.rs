//! What it costs to write a request down, and to read all of it for a metrics page.
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use switchback::base::{ModelName, Role, VersionName};
use switchback::stats::{Histogram, Observation, Outcome, Registry, VersionShard};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    record(&mut criterion);
    criterion.final_summary();
}

fn observation() -> Observation {
    Observation {
        outcome: Outcome::Success,
        fault: None,
        grpc: None,
        latency_ns: fastrand::u64(100_000..50_000_000),
        first_byte_ns: Some(fastrand::u64(100_000..50_000_000)),
        streamed: false,
        first_token_ns: None,
        overhead_ns: fastrand::u64(1_000..100_000),
        request_bytes: 312,
        response_bytes: 148,
    }
}

fn record(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("record");
    let shard = VersionShard::default();
    group.bench_function("one request", |b| b.iter(|| shard.finish(&black_box(observation()))));
    let histogram = Histogram::default();
    group.bench_function("one value in a histogram", |b| {
        b.iter(|| histogram.record(black_box(fastrand::u64(1_000..1_000_000_000))));
    });

    let registry = Registry::new();
    let model = ModelName::new("fraud").unwrap();
    let shards: Vec<_> = (0..8)
        .flat_map(|_worker| ["v1", "v2", "v3"])
        .map(|version| registry.version(&model, &VersionName::new(version).unwrap(), Role::Canary))
        .collect();
    for _ in 0..1000 {
        shards.iter().for_each(|shard| shard.finish(&observation()));
    }
    group.bench_function("merge of 8 workers, 3 versions", |b| b.iter(|| registry.merged()));
    group.finish();
}
