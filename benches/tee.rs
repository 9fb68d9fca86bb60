//! What it costs to pass a body on, with nobody and with somebody keeping a copy of it.
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use std::cell::RefCell;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use criterion::{BatchSize, Criterion, Throughput};
use http_body::Body;
use switchback::wire::body::{Budget, ByteBody, Capture, Inbound, Sink, Source, Tap, Tee};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    tee(&mut criterion);
    criterion.final_summary();
}

fn tee(criterion: &mut Criterion) {
    for (name, chunk, chunks) in [("1 KiB", 1024, 1), ("1 MiB in 64 KiB chunks", 64 * 1024, 16)] {
        let chunk = Bytes::from(vec![7; chunk]);
        let source =
            || Source::with_ahead(std::iter::repeat_n(chunk.clone(), chunks), Source::<Inbound>::empty());
        let mut group = criterion.benchmark_group(format!("tee of {name}"));
        group.throughput(Throughput::Bytes((chunk.len() * chunks) as u64));
        group.bench_function("bare", |b| b.iter_batched(source, drain, BatchSize::SmallInput));
        group.bench_function("without a copy", |b| {
            b.iter_batched(|| Tee::new(source(), None::<Tap>), drain, BatchSize::SmallInput);
        });
        let budget = Rc::new(Budget::new(64 * 1024 * 1024));
        group.bench_function("with a copy", |b| {
            let copied = || {
                let capture = Capture::new(2 * 1024 * 1024, Some(budget.clone()));
                let tap: Box<dyn Sink> = Box::new(Tap::new(Rc::new(RefCell::new(capture))));
                Tee::new(source(), Some(tap))
            };
            b.iter_batched(copied, drain, BatchSize::SmallInput);
        });
        group.finish();
    }
}

/// Reads a body to its end; how long it was.
fn drain(mut body: impl ByteBody) -> usize {
    let mut context = Context::from_waker(Waker::noop());
    let mut length = 0;
    while let Poll::Ready(Some(frame)) = Body::poll_frame(Pin::new(&mut body), &mut context) {
        length += frame.unwrap().into_data().map_or(0, |data| data.len());
    }
    length
}
