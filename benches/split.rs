//! What it costs to choose a version: per request, before anything is sent.
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use std::hint::black_box;
use std::time::Duration;

use criterion::Criterion;
use http::HeaderMap;
use switchback::base::Weight;
use switchback::split::{Layout, cookie, hash, point};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    split(&mut criterion);
    criterion.final_summary();
}

fn split(criterion: &mut Criterion) {
    let weights: Vec<Weight> = ["80%", "15%", "5%"].iter().map(|w| w.parse().unwrap()).collect();
    let layout = Layout::new(&weights, 0).unwrap();
    let mut group = criterion.benchmark_group("split");

    group.bench_function("arm of a random point", |b| {
        b.iter(|| layout.arm(black_box(fastrand::u16(..10_000))));
    });
    group.bench_function("point of a 16 byte key", |b| {
        b.iter(|| point(hash(black_box("fraud"), black_box(b"user-00000012345"))));
    });

    let mut headers = HeaderMap::new();
    for (name, value) in [
        ("host", "fraud.example"),
        ("content-type", "application/json"),
        ("user-agent", "python-requests/2.32"),
        ("x-user-id", "user-00000012345"),
        ("cookie", "theme=dark; session=abcdef0123456789; uid=user-00000012345"),
    ] {
        headers.insert(name, value.parse().unwrap());
    }
    group.bench_function("sticky by header", |b| {
        b.iter(|| {
            let key = black_box(&headers).get("x-user-id").unwrap();
            layout.arm(point(hash("fraud", key.as_bytes())))
        });
    });
    group.bench_function("sticky by cookie", |b| {
        b.iter(|| layout.arm(point(hash("fraud", cookie(black_box(&headers), "uid").unwrap()))));
    });
    group.finish();
}
