//! gRPC calls of a model, over real sessions.

use prost::Message as _;

use super::*;
use crate::inference::answer::{Content, Limits, RawAnswer, read as understand};
use crate::inference::path;
use crate::inference::tensor::TensorData;
use crate::inference::v2_grpc::about::ModelMetadata;
use crate::inference::v2_grpc::triton::StatisticsAnswer;
use crate::onnx::EngineSpec;
use crate::onnx::testing;
use crate::wire::body::{Inbound, Source};

async fn engine(spec: EngineSpec) -> Arc<Engine> {
    let engine = Engine::start(spec, testing::source());
    engine.wait_loaded().await;
    assert_eq!(engine.state(), State::Ready);
    Arc::new(engine)
}

/// A family of one, called `mine`.
fn family(engine: &Arc<Engine>) -> Family {
    Family::new(["mine".to_owned(), "alias".to_owned()], [engine.clone()])
}

fn field(number: u8, value: &[u8]) -> Vec<u8> {
    [&[number << 3 | 2, u8::try_from(value.len()).unwrap()], value].concat()
}

/// A request for the model `logarithm`, whose input is x FP32 [n].
fn logarithm(model: &str, version: &str, id: &str, values: &[f32]) -> Bytes {
    let shape = [u8::try_from(values.len()).unwrap()];
    let tensor = [field(1, b"x"), field(2, b"FP32"), field(3, &shape)].concat();
    let raw: Vec<u8> = values.iter().flat_map(|value| value.to_le_bytes()).collect();
    let parts = [(1, model.as_bytes()), (2, version.as_bytes()), (3, id.as_bytes()), (5, &tensor), (7, &raw)];
    parts.iter().flat_map(|(number, value)| field(*number, value)).collect::<Vec<u8>>().into()
}

fn about(name: &str, version: &str) -> Bytes {
    ModelAndVersion { name: name.to_owned(), version: version.to_owned() }.encode_to_vec().into()
}

/// A message out of its frame.
fn opened<M: Message + Default>(frame: Bytes) -> M {
    M::decode(frame.slice(5..)).unwrap()
}

/// The values of the only output of an answer.
fn values(body: &[u8], method: &str) -> Vec<TensorData> {
    let raw = RawAnswer {
        status: 200,
        grpc: Some(0),
        api: path::parse(method),
        content_type: Some("application/grpc"),
        content_encoding: None,
        inference_header_length: None,
        body,
        chunk_times: &[],
    };
    match understand(&raw, &Limits::default()).content {
        Content::Tensors(outputs) => outputs.into_iter().map(|output| output.tensor.into_parts().2).collect(),
        other => panic!("{other:?}"),
    }
}

const INFER: &str = "/inference.GRPCInferenceService/ModelInfer";
const STREAM: &str = "/inference.GRPCInferenceService/ModelStreamInfer";

#[tokio::test]
async fn an_inference_answers_with_every_bit() {
    let engine = engine(testing::fixture("logarithm")).await;
    let family = family(&engine);
    for name in ["mine", "alias"] {
        let request = logarithm(name, "1", "7", &[1.0, 0.0, -1.0]);
        let body = answer(&engine, Some(&family), GrpcMethod::ModelInfer, request).await.unwrap();
        let TensorData::Fp32(found) = values(&body, INFER).remove(0) else { panic!() };
        assert!(found[0] == 0.0 && found[1] == f32::NEG_INFINITY && found[2].is_nan(), "{found:?}");
    }
}

#[tokio::test]
async fn what_is_wrong_has_its_status() {
    let engine = engine(testing::fixture("logarithm")).await;
    let family = family(&engine);
    let wrong = [
        (
            GrpcMethod::ModelInfer,
            logarithm("other", "", "", &[1.0]),
            FaultKind::NoRoute,
            "\"other\" here, expected \"mine\"",
        ),
        (
            GrpcMethod::ModelInfer,
            logarithm("mine", "2", "", &[1.0]),
            FaultKind::NoRoute,
            "no version \"2\", expected 1",
        ),
        (
            GrpcMethod::ModelInfer,
            logarithm("mine", "", "", &[]),
            FaultKind::BadRequest,
            "expected one row at least",
        ),
        (
            GrpcMethod::ModelInfer,
            Bytes::from_static(&[0x0b]),
            FaultKind::BadRequest,
            "not a protobuf message",
        ),
        (GrpcMethod::ModelReady, about("other", ""), FaultKind::NoRoute, "there is no model"),
        (GrpcMethod::ModelConfig, about("mine", "9"), FaultKind::NoRoute, "no version \"9\""),
        (GrpcMethod::Other, about("mine", ""), FaultKind::NotImplemented, "no such method"),
    ];
    for (method, message, kind, line) in wrong {
        let fault = answer(&engine, Some(&family), method, message).await.unwrap_err();
        assert_eq!(fault.kind, kind, "{fault}");
        assert!(fault.detail.contains(line), "{fault}");
    }
    // Beside model servers the names are theirs.
    let request = logarithm("other", "9", "", &[1.0]);
    assert!(answer(&engine, None, GrpcMethod::ModelInfer, request).await.is_ok());
}

#[tokio::test]
async fn a_model_is_described() {
    let engine = engine(testing::fixture("pair")).await;
    let family = family(&engine);
    let ask = async |method| answer(&engine, Some(&family), method, about("alias", "")).await.unwrap();
    assert!(opened::<YesOrNo>(ask(GrpcMethod::ModelReady).await).yes);
    let metadata: ModelMetadata = opened(ask(GrpcMethod::ModelMetadata).await);
    assert_eq!((metadata.name.as_str(), metadata.versions), ("alias", vec!["1".to_owned()]));
    assert_eq!((metadata.inputs[0].name.as_str(), metadata.inputs[0].shape.as_slice()), ("a", &[-1, 2][..]));
    let config: ModelConfigAnswer = opened(ask(GrpcMethod::ModelConfig).await);
    assert_eq!(config.config.unwrap().input[2].data_type, 9);
    let stats: StatisticsAnswer = opened(ask(GrpcMethod::ModelStatistics).await);
    assert_eq!(stats.model_stats[0].version, "1");
}

#[tokio::test]
async fn a_model_that_is_not_there_says_that_it_is_not_ready() {
    let source = crate::onnx::RuntimeSource { library: Some("/nowhere/libonnxruntime.so".into()) };
    let engine = Engine::start(testing::fixture("pair"), source);
    engine.wait_loaded().await;
    let ready = answer(&engine, None, GrpcMethod::ModelReady, about("m", "")).await.unwrap();
    assert!(!opened::<YesOrNo>(ready).yes);
    let fault =
        answer(&engine, None, GrpcMethod::ModelInfer, logarithm("m", "", "", &[1.0])).await.unwrap_err();
    assert_eq!(fault.kind, FaultKind::Unavailable);
}

/// Data of a stream's answer, and the status that ends it.
async fn streamed_to_the_end(
    engine: &Arc<Engine>,
    messages: &[Bytes],
    deadline: Option<Instant>,
) -> (Vec<u8>, Option<u8>) {
    let body: Vec<u8> = messages
        .iter()
        .flat_map(|message| frame(message.len(), |out| out.extend_from_slice(message)).unwrap())
        .collect();
    let body = Source::<Inbound>::from(Bytes::from(body));
    let family = Arc::new(family(engine));
    let frames = stream(engine.clone(), Some(family), &HeaderMap::new(), body, deadline);
    let frames: Vec<_> = frames.map(Result::unwrap).collect().await;
    let data = frames.iter().filter_map(|frame| frame.data_ref()).flat_map(|data| data.iter().copied());
    let status = frames.last().and_then(|frame| frame.trailers_ref()).and_then(crate::wire::grpc::status);
    (data.collect(), status)
}

#[tokio::test]
async fn a_stream_answers_each_request_in_order() {
    let engine = engine(testing::fixture("logarithm")).await;
    let requests: Vec<_> = (1..=30_u8).map(|n| logarithm("mine", "", "", &[f32::from(n).exp()])).collect();
    let (data, status) = streamed_to_the_end(&engine, &requests, None).await;
    assert_eq!(status, Some(0));
    let found = values(&data, STREAM);
    assert_eq!(found.len(), 30);
    for (n, values) in (1..).zip(found) {
        let TensorData::Fp32(values) = values else { panic!() };
        assert!((values[0] - n as f32).abs() < 1e-4, "{n}: {values:?}");
    }
    assert_eq!(streamed_to_the_end(&engine, &[], None).await, (Vec::new(), Some(0)));
}

#[tokio::test]
async fn an_error_in_a_stream_is_an_answer_with_the_id_of_its_request() {
    let engine = engine(testing::fixture("logarithm")).await;
    let requests = [
        logarithm("mine", "", "a", &[1.0]),
        logarithm("other", "", "b", &[1.0]),
        logarithm("mine", "", "c", &[1.0]),
    ];
    let (data, status) = streamed_to_the_end(&engine, &requests, None).await;
    assert_eq!(status, Some(0));
    let text = String::from_utf8_lossy(&data);
    assert!(text.contains("there is no model \"other\" here"), "{text}");
    assert_eq!(text.matches("\"other\"").count(), 1);
}

#[tokio::test]
async fn a_stream_ends_at_its_deadline() {
    let engine = engine(testing::demo("cancer", 4)).await;
    let (_, status) = streamed_to_the_end(&engine, &[Bytes::new()], Some(Instant::now())).await;
    // Refused at once, or ended before: either way it says so.
    assert!(matches!(status, Some(0 | 4)), "{status:?}");
    let body = Never;
    let frames = stream(engine, None, &HeaderMap::new(), body, Some(Instant::now()));
    let frames: Vec<_> = frames.map(Result::unwrap).collect().await;
    let trailers = frames.last().and_then(|frame| frame.trailers_ref()).unwrap();
    assert_eq!(crate::wire::grpc::status(trailers), Some(4));
}

/// A body that never goes on.
struct Never;

impl http_body::Body for Never {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Option<Result<Frame<Bytes>, Fault>>> {
        std::task::Poll::Pending
    }
}
