//! The engine with scripted sessions, and with real ones.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Barrier, Mutex};
use std::time::Duration;

use super::*;
use crate::inference::tensor::{Dtype, TensorData};
use crate::inference::v2_json;
use crate::onnx::abort::Abort;
use crate::onnx::lane::Runner;
use crate::onnx::signature::{Dim, Slot};
use crate::onnx::testing;

// === engines without ONNX Runtime: queue, threads, states ===

/// A runner that tells when it starts a row, and ends when it is told to.
struct Gated {
    started: Sender<f32>,
    go_on: Arc<Mutex<Receiver<()>>>,
}

impl Runner for Gated {
    fn run(&mut self, inputs: Vec<Tensor>, _: &mut Took) -> Result<Vec<Tensor>, EngineError> {
        let TensorData::Fp32(values) = inputs[0].data() else { panic!("not a number") };
        assert!(values[0] >= 0.0, "a negative row");
        self.started.send(values[0]).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
        Ok(inputs)
    }
}

struct Gate {
    engine: Arc<Engine>,
    started: Receiver<f32>,
    go_on: Sender<()>,
}

fn signature() -> Signature {
    let x = Slot { name: "x".into(), dtype: Dtype::Fp32, dims: vec![Dim::Any("n".into())] };
    Signature { inputs: vec![x.clone()], outputs: vec![x], hidden: Vec::new() }
}

fn spec() -> EngineSpec {
    EngineSpec { inline_below: Duration::ZERO, ..EngineSpec::new("/models".into(), "m".into(), 1) }
}

async fn gated(spec: EngineSpec) -> Gate {
    let (started, starts) = channel();
    let (go_on, gate) = channel();
    let gate = Arc::new(Mutex::new(gate));
    let engine = Engine::start_with(
        spec,
        Arc::new(move |_: &Abort| {
            let runner = Gated { started: started.clone(), go_on: Arc::clone(&gate) };
            Ok((signature(), Box::new(runner) as Box<dyn Runner>))
        }),
    );
    engine.wait_loaded().await;
    Gate { engine: Arc::new(engine), started: starts, go_on }
}

fn row(value: f32) -> Vec<Tensor> {
    vec![Tensor::new("x", vec![1], TensorData::Fp32(vec![value])).unwrap()]
}

type Call = tokio::task::JoinHandle<Result<Vec<Tensor>, EngineError>>;

/// Calls the engine from a task of its own, and returns when the request has been queued.
async fn call(engine: &Arc<Engine>, value: f32) -> Call {
    let engine = Arc::clone(engine);
    let task = tokio::spawn(async move { engine.infer(row(value), None).await });
    // On one thread the task runs up to its first wait, which comes after the push.
    tokio::task::yield_now().await;
    task
}

#[tokio::test]
async fn one_request_more_than_may_wait_is_refused_and_the_others_are_answered() {
    let gate = gated(EngineSpec { max_queue: 2, ..spec() }).await;
    let first = call(&gate.engine, 1.0).await;
    assert_eq!(gate.started.recv(), Ok(1.0));
    let waiting = [call(&gate.engine, 2.0).await, call(&gate.engine, 3.0).await];
    assert_eq!(gate.engine.waiting(), 2);
    let refused = gate.engine.infer(row(4.0), None).await;
    assert_eq!(refused, Err(EngineError::Overloaded { waiting: 2 }));
    for _ in 0..3 {
        gate.go_on.send(()).unwrap();
    }
    assert_eq!(first.await.unwrap().unwrap(), row(1.0));
    for (task, value) in waiting.into_iter().zip([2.0, 3.0]) {
        assert_eq!(task.await.unwrap().unwrap(), row(value));
    }
}

#[tokio::test]
async fn a_request_whose_caller_has_gone_never_runs_and_gives_its_place_back() {
    let gate = gated(EngineSpec { max_queue: 1, ..spec() }).await;
    let first = call(&gate.engine, 1.0).await;
    assert_eq!(gate.started.recv(), Ok(1.0));
    let gone = call(&gate.engine, 2.0).await;
    gone.abort();
    assert!(gone.await.unwrap_err().is_cancelled());
    let last = call(&gate.engine, 3.0).await;
    gate.go_on.send(()).unwrap();
    gate.go_on.send(()).unwrap();
    first.await.unwrap().unwrap();
    last.await.unwrap().unwrap();
    assert_eq!(gate.started.try_iter().collect::<Vec<_>>(), [3.0]);
}

#[tokio::test]
async fn a_request_past_its_deadline_is_answered_and_never_runs() {
    let gate = gated(spec()).await;
    let first = call(&gate.engine, 1.0).await;
    assert_eq!(gate.started.recv(), Ok(1.0));
    let late = gate.engine.infer(row(2.0), Some(Instant::now() + Duration::from_millis(1))).await;
    assert_eq!(late, Err(EngineError::DeadlineExceeded));
    gate.go_on.send(()).unwrap();
    first.await.unwrap().unwrap();
    gate.go_on.send(()).unwrap();
    gate.engine.infer(row(3.0), None).await.unwrap();
    assert_eq!(gate.started.try_iter().collect::<Vec<_>>(), [3.0]);
}

#[tokio::test]
async fn waiting_inputs_are_bounded_in_bytes_too() {
    // Room for 4 * 10 bytes of waiting inputs, each of 16.
    let gate = gated(EngineSpec { max_body_bytes: 10, ..spec() }).await;
    let inputs = || vec![Tensor::new("x", vec![4], TensorData::Fp32(vec![1.0; 4])).unwrap()];
    let first = call(&gate.engine, 1.0).await;
    gate.started.recv().unwrap();
    let mut waiting = Vec::new();
    for _ in 0..2 {
        let engine = Arc::clone(&gate.engine);
        waiting.push(tokio::spawn(async move { engine.infer(inputs(), None).await }));
        tokio::task::yield_now().await;
    }
    assert_eq!(gate.engine.infer(inputs(), None).await, Err(EngineError::Overloaded { waiting: 2 }));
    for _ in 0..3 {
        gate.go_on.send(()).unwrap();
    }
    first.await.unwrap().unwrap();
    for task in waiting {
        task.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn two_instances_run_two_requests_at_the_same_time() {
    struct Meeting(Arc<Barrier>);
    impl Runner for Meeting {
        fn run(&mut self, inputs: Vec<Tensor>, _: &mut Took) -> Result<Vec<Tensor>, EngineError> {
            self.0.wait();
            Ok(inputs)
        }
    }
    let barrier = Arc::new(Barrier::new(2));
    let engine = Engine::start_with(
        EngineSpec { instances: 2, ..spec() },
        Arc::new(move |_: &Abort| {
            Ok((signature(), Box::new(Meeting(Arc::clone(&barrier))) as Box<dyn Runner>))
        }),
    );
    engine.wait_loaded().await;
    // One alone would wait for the other for ever.
    let both = async { tokio::join!(engine.infer(row(1.0), None), engine.infer(row(2.0), None)) };
    let (one, two) = tokio::time::timeout(Duration::from_secs(60), both).await.unwrap();
    assert_eq!((one.unwrap(), two.unwrap()), (row(1.0), row(2.0)));
}

#[tokio::test]
async fn a_panic_in_a_run_fails_that_request_only() {
    let gate = gated(spec()).await;
    let failed = gate.engine.infer(row(-1.0), None).await;
    assert_eq!(failed, Err(EngineError::Failed("it panicked: a negative row".into())));
    gate.go_on.send(()).unwrap();
    assert_eq!(gate.engine.infer(row(1.0), None).await.unwrap(), row(1.0));
}

#[tokio::test]
async fn dropping_an_engine_ends_its_thread_and_does_not_wait_for_a_run() {
    let gate = gated(spec()).await;
    let call = call(&gate.engine, 1.0).await;
    gate.started.recv().unwrap();
    call.abort();
    assert!(call.await.unwrap_err().is_cancelled());
    drop(Arc::into_inner(gate.engine).unwrap());
    gate.go_on.send(()).unwrap();
    // The runner goes with its thread, and the sending end with it.
    assert!(gate.started.recv().is_err());
}

#[tokio::test]
async fn a_load_that_fails_or_panics_ends_in_a_reason() {
    let reason = |load: Arc<dyn Source>| async {
        let engine = Engine::start_with(spec(), load);
        engine.wait_loaded().await;
        assert!(matches!(engine.infer(row(1.0), None).await, Err(EngineError::Unavailable(_))));
        let State::Unavailable { reason } = engine.state() else { panic!("{engine:?}") };
        reason.to_string()
    };
    assert_eq!(reason(Arc::new(|_: &Abort| Err("no such graph".to_owned()))).await, "no such graph");
    assert_eq!(reason(Arc::new(|_: &Abort| panic!("odd graph"))).await, "loading panicked: odd graph");
}

#[tokio::test]
async fn a_load_past_its_limit_is_ended_and_says_so() {
    let (aborted, saw_abort) = channel();
    let saw_abort = Mutex::new(saw_abort);
    let engine = Engine::start_with(
        EngineSpec { load_timeout: Duration::from_millis(10), ..spec() },
        Arc::new(move |abort: &Abort| {
            let aborted = aborted.clone();
            abort.when(move || aborted.send(()).unwrap());
            // As long as the load lasts; the hook ends it.
            saw_abort.lock().unwrap().recv().unwrap();
            Err("ended".to_owned())
        }),
    );
    assert_eq!(engine.state(), State::Loading);
    assert_eq!(engine.infer(row(1.0), None).await, Err(EngineError::Loading));
    engine.wait_loaded().await;
    let State::Unavailable { reason } = engine.state() else { panic!("{engine:?}") };
    assert_eq!(&*reason, "/models/m/1/model.onnx: not loaded within 10ms");
}

// === shared runs and inline runs, without ONNX Runtime ===

/// Tells the rows of each run when it starts, and ends when it is told to. A negative row fails.
struct Batches {
    started: Sender<usize>,
    go_on: Arc<Mutex<Receiver<()>>>,
}

impl Runner for Batches {
    fn run(&mut self, inputs: Vec<Tensor>, _: &mut Took) -> Result<Vec<Tensor>, EngineError> {
        let TensorData::Fp32(values) = inputs[0].data() else { panic!("not a number") };
        self.started.send(values.len()).unwrap();
        self.go_on.lock().unwrap().recv().unwrap();
        match values.iter().any(|value| *value < 0.0) {
            true => Err(EngineError::Failed("a negative row".into())),
            false => Ok(inputs),
        }
    }
}

struct BatchGate {
    engine: Arc<Engine>,
    started: Receiver<usize>,
    go_on: Sender<()>,
}

async fn batching(spec: EngineSpec) -> BatchGate {
    let (started, starts) = channel();
    let (go_on, gate) = channel();
    let gate = Arc::new(Mutex::new(gate));
    let source = move |_: &Abort| {
        let runner = Batches { started: started.clone(), go_on: Arc::clone(&gate) };
        Ok((signature(), Box::new(runner) as Box<dyn Runner>))
    };
    let engine = Engine::start_with(spec, Arc::new(source));
    engine.wait_loaded().await;
    BatchGate { engine: Arc::new(engine), started: starts, go_on }
}

#[tokio::test]
async fn what_waits_shares_a_run_and_everybody_gets_their_own_rows() {
    let gate = batching(EngineSpec { max_batch_size: 4, ..spec() }).await;
    let first = call(&gate.engine, 1.0).await;
    assert_eq!(gate.started.recv(), Ok(1));
    let mut waiting = Vec::new();
    for value in [2.0, 3.0, 4.0, 5.0, 6.0] {
        waiting.push((value, call(&gate.engine, value).await));
    }
    for _ in 0..3 {
        gate.go_on.send(()).unwrap();
    }
    first.await.unwrap().unwrap();
    for (value, call) in waiting {
        assert_eq!(call.await.unwrap().unwrap(), row(value));
    }
    // Four fit, the fifth runs after them.
    assert_eq!(gate.started.try_iter().collect::<Vec<_>>(), [4, 1]);
    let found = gate.engine.statistics();
    assert_eq!((found.inferences, found.executions, found.success.count), (6, 3, 6));
    assert_eq!(
        found.batches.iter().map(|b| (b.size, b.compute_infer.count)).collect::<Vec<_>>(),
        [(1, 2), (4, 1)]
    );
    assert_eq!(found.queue.count, 6);
}

#[tokio::test]
async fn a_bad_request_in_a_batch_fails_alone() {
    let gate = batching(EngineSpec { max_batch_size: 8, ..spec() }).await;
    let first = call(&gate.engine, 1.0).await;
    gate.started.recv().unwrap();
    let waiting =
        [call(&gate.engine, 2.0).await, call(&gate.engine, -1.0).await, call(&gate.engine, 3.0).await];
    for _ in 0..5 {
        gate.go_on.send(()).unwrap();
    }
    first.await.unwrap().unwrap();
    let [two, bad, three] = waiting;
    assert_eq!(two.await.unwrap().unwrap(), row(2.0));
    assert_eq!(bad.await.unwrap(), Err(EngineError::Failed("a negative row".into())));
    assert_eq!(three.await.unwrap().unwrap(), row(3.0));
    assert_eq!(gate.started.try_iter().collect::<Vec<_>>(), [3, 1, 1, 1]);
    assert_eq!(gate.engine.statistics().split_batches, 1);
}

#[tokio::test]
async fn with_a_delay_a_request_waits_for_others_until_its_run_is_full() {
    // The run is full before the delay is over, or this test would not end.
    let gate =
        batching(EngineSpec { max_batch_size: 2, max_queue_delay: Duration::from_secs(3600), ..spec() })
            .await;
    let one = call(&gate.engine, 1.0).await;
    assert!(gate.started.try_recv().is_err());
    let two = call(&gate.engine, 2.0).await;
    assert_eq!(gate.started.recv(), Ok(2));
    gate.go_on.send(()).unwrap();
    assert_eq!((one.await.unwrap().unwrap(), two.await.unwrap().unwrap()), (row(1.0), row(2.0)));
}

#[tokio::test]
async fn a_model_that_is_quick_runs_on_the_callers_thread_and_a_slow_one_does_not() {
    struct Where(Arc<Mutex<Vec<std::thread::ThreadId>>>, Duration);
    impl Runner for Where {
        fn run(&mut self, inputs: Vec<Tensor>, took: &mut Took) -> Result<Vec<Tensor>, EngineError> {
            self.0.lock().unwrap().push(std::thread::current().id());
            took.infer = self.1;
            Ok(inputs)
        }
    }
    for (takes, inline) in [(Duration::from_micros(1), true), (Duration::from_millis(1), false)] {
        let threads = Arc::<Mutex<Vec<_>>>::default();
        let seen = Arc::clone(&threads);
        let source =
            move |_: &Abort| Ok((signature(), Box::new(Where(Arc::clone(&seen), takes)) as Box<dyn Runner>));
        let engine = Engine::start_with(
            EngineSpec { inline_below: Duration::from_micros(100), ..spec() },
            Arc::new(source),
        );
        engine.wait_loaded().await;
        for _ in 0..3 {
            engine.infer(row(1.0), None).await.unwrap();
        }
        let here = std::thread::current().id();
        let found: Vec<bool> = threads.lock().unwrap().iter().map(|thread| *thread == here).collect();
        // Of the first run nobody knows how long it will take.
        assert_eq!(found, [false, inline, inline]);
        assert_eq!(engine.statistics().inline, if inline { 2 } else { 0 });
    }
}

// === engines with ONNX Runtime ===

async fn real(spec: EngineSpec) -> Engine {
    let engine = Engine::start(spec, testing::source());
    engine.wait_loaded().await;
    engine
}

async fn refusal(spec: EngineSpec) -> String {
    let engine = real(spec).await;
    let State::Unavailable { reason } = engine.state() else { panic!("{engine:?}") };
    reason.to_string()
}

#[tokio::test]
async fn all_fourteen_types_go_through_json_and_a_model_and_come_back_exactly() {
    let engine = real(testing::fixture("identity")).await;
    let body = br#"{"inputs":[
        {"name":"in_bool","datatype":"BOOL","shape":[2],"data":[true,false]},
        {"name":"in_uint8","datatype":"UINT8","shape":[2],"data":[0,255]},
        {"name":"in_uint16","datatype":"UINT16","shape":[2],"data":[0,65535]},
        {"name":"in_uint32","datatype":"UINT32","shape":[2],"data":[0,4294967295]},
        {"name":"in_uint64","datatype":"UINT64","shape":[2],"data":[0,18446744073709551615]},
        {"name":"in_int8","datatype":"INT8","shape":[2],"data":[-128,127]},
        {"name":"in_int16","datatype":"INT16","shape":[2],"data":[-32768,32767]},
        {"name":"in_int32","datatype":"INT32","shape":[2],"data":[-2147483648,2147483647]},
        {"name":"in_int64","datatype":"INT64","shape":[2],"data":[-9223372036854775808,9223372036854775807]},
        {"name":"in_fp16","datatype":"FP16","shape":[3],"data":[65504.0,-0.00000005960464477539063,0.5]},
        {"name":"in_fp32","datatype":"FP32","shape":[3],"data":[3.4028235e38,1e-45,0.1]},
        {"name":"in_fp64","datatype":"FP64","shape":[3],"data":[1.7976931348623157e308,5e-324,0.1]},
        {"name":"in_bytes","datatype":"BYTES","shape":[3],"data":["","a\"\n","\u00e9\ud83d\ude80"]},
        {"name":"in_bf16","datatype":"BF16","shape":[2],"data":[3.3895314e38,-1.5]}]}"#;
    let inputs = v2_json::decode(body).unwrap().inputs;
    let outputs = engine.infer(inputs.clone(), None).await.unwrap();
    let answer = v2_json::InferAnswer { model_name: "m", model_version: "1", id: None };
    let text = String::from_utf8(v2_json::encode(answer, &outputs).unwrap()).unwrap();
    // The outputs have the fields of an input, so the answer can be read as a request.
    let back = v2_json::decode(text.replace("outputs", "inputs").as_bytes()).unwrap().inputs;
    assert_eq!(outputs.len(), Dtype::ALL.len());
    for (sent, got) in inputs.iter().zip(&back) {
        assert_eq!(got.name(), sent.name().replace("in_", "out_"));
        assert_eq!((got.shape(), got.data()), (sent.shape(), sent.data()), "{}", sent.name());
    }
}

async fn accuracy(version: u64, rows: &[(i64, String)]) -> f64 {
    let engine = real(testing::demo("cancer", version)).await;
    let mut right = 0;
    for (label, body) in rows {
        let outputs = engine.infer(v2_json::decode(body.as_bytes()).unwrap().inputs, None).await.unwrap();
        assert_eq!(outputs[0].name(), "label");
        right += usize::from(outputs[0].data() == &TensorData::Int64(vec![*label]));
        let TensorData::Fp32(probabilities) = outputs[1].data() else { panic!("{outputs:?}") };
        assert!((probabilities.iter().sum::<f32>() - 1.0).abs() < 1e-4);
    }
    right as f64 / rows.len() as f64
}

#[tokio::test]
async fn the_good_models_are_right_and_the_broken_one_is_confidently_wrong() {
    let rows = testing::demo_rows();
    let [good, broken, again] =
        [accuracy(1, &rows).await, accuracy(2, &rows).await, accuracy(3, &rows).await];
    assert!((0.94..0.98).contains(&good), "{good}");
    assert!((0.55..0.65).contains(&broken), "{broken}");
    assert!((0.94..0.98).contains(&again), "{again}");
    // The slow one has the weights of the good one.
    let few = &rows[..8];
    assert_eq!(accuracy(4, few).await, accuracy(1, few).await);
}

#[tokio::test]
async fn two_real_instances_answer_many_requests_rightly() {
    let engine = Arc::new(real(EngineSpec { instances: 2, ..testing::fixture("logarithm") }).await);
    let calls: Vec<Call> = (1..=64)
        .map(|n| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { engine.infer(row(n as f32), None).await })
        })
        .collect();
    for (call, n) in calls.into_iter().zip(1..) {
        let outputs = call.await.unwrap().unwrap();
        let TensorData::Fp32(values) = outputs[0].data() else { panic!("{outputs:?}") };
        assert!((values[0] - (n as f32).ln()).abs() < 1e-6, "{n}: {values:?}");
    }
}

#[tokio::test]
async fn a_missing_library_makes_the_model_unavailable_and_names_the_path() {
    let source = RuntimeSource { library: Some("/nowhere/libonnxruntime.so".into()) };
    let engine = Engine::start(testing::demo("cancer", 1), source);
    engine.wait_loaded().await;
    let State::Unavailable { reason } = engine.state() else { panic!("{engine:?}") };
    assert!(reason.contains("/nowhere/libonnxruntime.so"), "{reason}");
    let answer = engine.infer(row(1.0), None).await;
    assert!(answer.unwrap_err().to_string().contains("/nowhere/libonnxruntime.so"));
}

#[tokio::test]
async fn a_model_file_that_is_missing_empty_truncated_or_garbage_is_refused_with_its_path() {
    let missing = testing::demo("cancer", 99);
    let path = missing.path().display().to_string();
    let reason = refusal(missing).await;
    assert!(reason.contains(&path) && reason.contains("No such file"), "{reason}");

    let whole = std::fs::read(testing::demo("digits", 1).path()).unwrap();
    for bytes in [&whole[..whole.len() / 2], &b"hello, world"[..], &[0xff; 4096], &[]] {
        let (_folder, spec) = testing::repository(bytes);
        let path = spec.path().display().to_string();
        let reason = refusal(spec).await;
        assert!(reason.starts_with(&path) && reason.len() > path.len() + 5, "{reason}");
    }

    let (_folder, spec) = testing::repository(b"x");
    std::fs::remove_file(spec.path()).unwrap();
    std::fs::create_dir(spec.path()).unwrap();
    let reason = refusal(spec).await;
    assert!(reason.ends_with("it is no file"), "{reason}");
}

#[tokio::test]
async fn outputs_that_are_not_tensors_are_hidden_or_refused() {
    let engine = real(testing::fixture("hidden")).await;
    let signature = engine.signature().unwrap();
    assert_eq!(signature.hidden, ["parts"]);
    let outputs = engine.infer(row(5.0), None).await.unwrap();
    assert_eq!(outputs.iter().map(Tensor::name).collect::<Vec<_>>(), ["y"]);

    let reason = refusal(testing::fixture("sequence")).await;
    assert!(reason.contains("\"parts\" is Sequence"), "{reason}");
}

#[tokio::test]
async fn scalars_and_failures_inside_the_graph_are_told_apart() {
    let scalar = real(testing::fixture("scalar")).await;
    let x = Tensor::new("x", vec![], TensorData::Fp32(vec![2.0])).unwrap();
    let outputs = scalar.infer(vec![x], None).await.unwrap();
    assert_eq!((outputs[0].shape(), outputs[0].data()), (&[][..], &TensorData::Fp32(vec![-2.0])));
    // ONNX Runtime does not tell a scalar from an unknown shape, and takes a vector as well.
    assert_eq!(scalar.infer(row(1.0), None).await.unwrap()[0].shape(), [1]);

    let reshape = real(testing::fixture("reshape")).await;
    let six = Tensor::new("x", vec![6], TensorData::Fp32(vec![1.0; 6])).unwrap();
    assert!(matches!(reshape.infer(row(1.0), None).await, Err(EngineError::Failed(_))));
    assert_eq!(reshape.infer(vec![six], None).await.unwrap()[0].shape(), [2, 3]);

    let reason = refusal(testing::fixture("stillborn")).await;
    assert!(reason.contains("model.onnx: warm-up: ") && !reason.contains('\n'), "{reason}");
}

#[tokio::test]
#[ignore = "a measurement, not a test: run it by hand with --nocapture"]
async fn measure_the_latency_of_small_models() {
    for (model, columns) in [("cancer", 30), ("digits", 64)] {
        let engine = real(testing::demo(model, 1)).await;
        let body = format!(
            r#"{{"inputs":[{{"name":"features","datatype":"FP32","shape":[1,{columns}],"data":{:?}}}]}}"#,
            vec![1.25_f32; columns]
        );
        let inputs = v2_json::decode(body.as_bytes()).unwrap().inputs;
        let mut engine_only = Vec::new();
        let mut with_json = Vec::new();
        for _ in 0..5000 {
            let start = StdInstant::now();
            engine.infer(inputs.clone(), None).await.unwrap();
            engine_only.push(start.elapsed());
            let start = StdInstant::now();
            let request = v2_json::decode(body.as_bytes()).unwrap();
            let outputs = engine.infer(request.inputs, None).await.unwrap();
            let answer = v2_json::InferAnswer { model_name: "m", model_version: "1", id: None };
            std::hint::black_box(v2_json::encode(answer, &outputs).unwrap());
            with_json.push(start.elapsed());
        }
        for (what, mut times) in [("engine", engine_only), ("engine and JSON", with_json)] {
            times.sort();
            println!("{model} {what}: p50 {:?} p99 {:?}", times[2500], times[4950]);
        }
    }
}

fn ids(values: &[i64]) -> Vec<Tensor> {
    vec![Tensor::new("x", vec![values.len() as i64], TensorData::Int64(values.to_vec())).unwrap()]
}

#[tokio::test]
async fn real_requests_share_runs_and_one_that_is_wrong_fails_alone() {
    let spec = EngineSpec { max_batch_size: 16, inline_below: Duration::ZERO, ..testing::fixture("lookup") };
    let engine = Arc::new(real(spec).await);
    let calls: Vec<_> = (0..64_i64)
        .map(|n| {
            let engine = Arc::clone(&engine);
            tokio::spawn(async move { (n, engine.infer(ids(&[n % 11, 1]), None).await) })
        })
        .collect();
    for call in calls {
        let (n, outcome) = call.await.unwrap();
        match n % 11 {
            10 => assert!(outcome.is_err(), "{outcome:?}"),
            small => {
                let expected = TensorData::Fp32(vec![(small * small) as f32, 1.0]);
                assert_eq!(outcome.unwrap()[0].data(), &expected, "{n}");
            }
        }
    }
    let found = engine.statistics();
    assert_eq!((found.success.count, found.fail.count), (59, 5));
}

#[tokio::test]
async fn a_model_whose_rows_depend_on_one_another_is_not_batched() {
    let spec = EngineSpec { max_batch_size: 16, ..testing::fixture("total") };
    let engine = real(spec).await;
    assert_eq!(engine.max_batch_size(), 1);
    let spec = EngineSpec { max_batch_size: 16, ..testing::fixture("logarithm") };
    assert!(real(spec).await.max_batch_size() > 1);
}

#[tokio::test]
async fn weights_in_a_file_of_their_own_are_served_and_looked_at() {
    let engine = real(testing::fixture("external")).await;
    let x = Tensor::new("x", vec![1, 4], TensorData::Fp32(vec![1.0, 2.0, 3.0, 4.0])).unwrap();
    let outputs = engine.infer(vec![x], None).await.unwrap();
    assert_eq!(outputs[0].data(), &TensorData::Fp32(vec![1.0, 20.0, 300.0, 4000.0]));
    assert_eq!(engine.facts().unwrap().bytes, 16 + std::fs::metadata(engine.spec().path()).unwrap().len());

    let model = std::fs::read(testing::fixture("external").path()).unwrap();
    let (folder, spec) = testing::repository(&model);
    let reason = refusal(spec.clone()).await;
    assert!(reason.contains("weights.bin") && reason.contains("No such file"), "{reason}");
    // The same length, so the lengths around it stay right: "weights.bin" and "../../../xx".
    let at = model.windows(11).position(|part| part == b"weights.bin").unwrap();
    let mut escaped = model.clone();
    escaped[at..at + 11].copy_from_slice(b"../../../xx");
    std::fs::write(folder.path().join("xx"), [0; 16]).unwrap();
    std::fs::write(spec.path(), escaped).unwrap();
    let reason = refusal(spec).await;
    assert!(reason.contains("outside of the version's folder"), "{reason}");
}

#[tokio::test]
async fn known_answers_decide_whether_a_version_may_serve() {
    let model = std::fs::read(testing::fixture("lookup").path()).unwrap();
    let (_folder, spec) = testing::repository(&model);
    let golden = |y: f64| {
        let text = format!(
            r#"{{"examples": [{{"inputs": [{{"name": "x", "datatype": "INT64", "shape": [2], "data": [2, 3]}}],
                "outputs": [{{"name": "y", "datatype": "FP32", "shape": [2], "data": [4, {y}]}}]}}]}}"#
        );
        std::fs::write(spec.folder().join("golden.json"), text).unwrap();
    };
    golden(9.0);
    assert_eq!(real(spec.clone()).await.state(), State::Ready);
    golden(8.0);
    let reason = refusal(spec.clone()).await;
    assert!(
        reason.contains("golden.json, examples[0]: output \"y\": value 1: expected 8, found 9"),
        "{reason}"
    );
    std::fs::write(spec.folder().join("golden.json"), "{").unwrap();
    assert!(refusal(spec).await.contains("golden.json: "));
}

#[tokio::test]
async fn providers_and_digests_that_are_not_there_are_refused_with_the_reason() {
    let wrong = EngineSpec { sha256: Some("0".repeat(64)), ..testing::demo("digits", 1) };
    assert!(refusal(wrong).await.contains("the configuration says sha256"));
    let cuda = EngineSpec { provider: crate::onnx::Provider::Cuda, ..testing::demo("digits", 1) };
    let reason = refusal(cuda).await;
    let expected = if cfg!(feature = "cuda") { "provider cuda: " } else { "built without cuda" };
    assert!(reason.contains(expected), "{reason}");
}

#[tokio::test]
async fn every_setting_of_a_session_is_one_that_the_library_takes() {
    use crate::onnx::Optimization;
    for optimization in [Optimization::None, Optimization::Basic, Optimization::Extended, Optimization::All] {
        let spec = EngineSpec {
            optimization,
            arena: false,
            spinning: true,
            intra_op_threads: 2,
            ..testing::demo("digits", 1)
        };
        assert_eq!(real(spec).await.state(), State::Ready);
    }
}

#[tokio::test]
#[ignore = "it measures the memory of the process, which other tests use too: run it alone, with --nocapture"]
async fn a_thousand_loads_leave_memory_as_it_was() {
    let resident = || crate::onnx::memory::resident().unwrap() >> 10;
    let mut took = Vec::new();
    let mut before = 0;
    for cycle in 0..1_000 {
        let start = StdInstant::now();
        let engine = real(testing::demo("digits", 1)).await;
        took.push(start.elapsed());
        let x = Tensor::new("features", vec![1, 64], TensorData::Fp32(vec![1.0; 64])).unwrap();
        engine.infer(vec![x], None).await.unwrap();
        let remains = engine.remains();
        drop(engine);
        while remains.strong_count() > 0 {
            std::thread::yield_now();
        }
        if cycle == 99 {
            before = resident();
        }
        if cycle % 100 == 99 {
            let mut last = took[cycle - 99..].to_vec();
            last.sort();
            println!("{} loads: {} KiB, a load takes {:?}", cycle + 1, resident(), last[50]);
        }
    }
    assert!(resident() < before + 5 * 1024, "{before} KiB after 100 loads, {} KiB after 1000", resident());
}
