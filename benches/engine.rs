//! What a request to a model in process costs: on the caller's thread, through the queue, and in
//! shared runs. Needs ONNX Runtime (`ORT_DYLIB_PATH`, or `.cache/onnxruntime`).
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use criterion::Criterion;
use switchback::inference::tensor::{Tensor, TensorData};
use switchback::onnx::{Engine, EngineSpec, RuntimeSource};

/// Requests under way at the same time.
const CLIENTS: usize = 32;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let specs = [
        ("inline", EngineSpec { inline_below: Duration::from_secs(1), ..digits() }),
        ("queued", EngineSpec { inline_below: Duration::ZERO, ..digits() }),
        ("shared", EngineSpec { inline_below: Duration::ZERO, max_batch_size: CLIENTS, ..digits() }),
    ];
    let mut group = criterion.benchmark_group("engine");
    for (name, spec) in specs {
        let engine = Arc::new(Engine::start(spec, library()));
        runtime.block_on(engine.wait_loaded());
        engine.signature().unwrap();
        group.bench_function(format!("{name}, one client"), |b| {
            b.iter(|| runtime.block_on(engine.infer(row(), None)).unwrap());
        });
        group.bench_function(format!("{name}, {CLIENTS} clients"), |b| {
            b.iter_custom(|rounds| {
                let started = Instant::now();
                runtime.block_on(async {
                    for _ in 0..rounds {
                        let calls: Vec<_> = (0..CLIENTS).map(|_| engine.infer(row(), None)).collect();
                        for outcome in futures_util::future::join_all(calls).await {
                            outcome.unwrap();
                        }
                    }
                });
                started.elapsed() / u32::try_from(CLIENTS).unwrap()
            });
        });
    }
    group.finish();
    criterion.final_summary();
}

fn digits() -> EngineSpec {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/demo/models");
    EngineSpec::new(root, "digits".to_owned(), 1)
}

fn library() -> RuntimeSource {
    let fetched = Path::new(env!("CARGO_MANIFEST_DIR")).join(".cache/onnxruntime/libonnxruntime.so");
    let named = std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty());
    RuntimeSource { library: Some(named.map_or(fetched, Into::into)) }
}

fn row() -> Vec<Tensor> {
    vec![Tensor::new("features", vec![1, 64], TensorData::Fp32(vec![1.25; 64])).unwrap()]
}
