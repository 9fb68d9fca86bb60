//! What it costs to make a request and an answer fit to be passed on.
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use criterion::{BatchSize, Criterion};
use http::{Request, Response, Version, request, response};
use switchback::wire::forward::{self, Peer};
use switchback::wire::hygiene;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    head(&mut criterion);
    criterion.final_summary();
}

/// What a Python client sends.
fn request() -> request::Parts {
    let request = Request::post("/v2/models/fraud/infer")
        .header("host", "fraud.example")
        .header("user-agent", "python-requests/2.32.3")
        .header("accept-encoding", "gzip, deflate")
        .header("accept", "*/*")
        .header("connection", "keep-alive")
        .header("content-type", "application/json")
        .header("content-length", "312")
        .header("authorization", "Bearer 0123456789abcdef0123456789abcdef")
        .header("x-request-id", "5f1f9a52-1c0e-4a0c-9b5e-3a4de0b9a6a7")
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    request.body(()).unwrap().into_parts().0
}

/// What a model server answers.
fn response() -> response::Parts {
    let response = Response::builder()
        .header("date", "Mon, 23 Nov 2026 19:00:00 GMT")
        .header("server", "uvicorn")
        .header("content-length", "148")
        .header("content-type", "application/json")
        .header("connection", "keep-alive");
    response.body(()).unwrap().into_parts().0
}

fn head(criterion: &mut Criterion) {
    let peer = Peer::new(Some(IpAddr::V4(Ipv4Addr::new(10, 1, 2, 3))), false, "main".into(), false);
    let mut group = criterion.benchmark_group("hygiene");
    group.bench_function("request", |b| {
        b.iter_batched_ref(request, |head| hygiene::request(head).is_ok(), BatchSize::SmallInput);
    });
    group.bench_function("request, with forwarding fields", |b| {
        let both = |head: &mut request::Parts| {
            let fine = hygiene::request(head).is_ok();
            forward::request(head, &peer);
            fine
        };
        b.iter_batched_ref(request, both, BatchSize::SmallInput);
    });
    group.bench_function("answer", |b| {
        let fit = |head: &mut response::Parts| hygiene::response(head, Version::HTTP_11).is_ok();
        b.iter_batched_ref(response, fit, BatchSize::SmallInput);
    });
    group.finish();
}
