//! Which inference API a path belongs to, and which model and version it names.
//!
//! Paths are those of the Open Inference Protocol v2 (REST and gRPC, with Triton's extensions),
//! of V1 as TensorFlow Serving and KServe speak it, and of the OpenAI API. Everything borrows
//! from the path; nothing is allocated. Deliberately absent: reading of queries, and any notion
//! of which paths are *allowed* — what is not known is [`Api::Other`] and passes untouched.

use std::borrow::Cow;

/// The API that a request path belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Api<'a> {
    /// Open Inference Protocol v2, REST: `/v2/models/{m}…`.
    V2(ModelCall<'a>),
    /// V1: `/v1/models/{m}…`.
    V1(ModelCall<'a>),
    /// Open Inference Protocol v2, gRPC: `/inference.GRPCInferenceService/{Method}`. The model is
    /// named in the message.
    Grpc(GrpcMethod),
    /// About the server as a whole, over gRPC: its own methods of the inference service, health and
    /// reflection.
    GrpcServer(GrpcServer),
    /// OpenAI: `/v1/chat/completions` and its like. The model is named in the JSON body.
    OpenAi(OpenAiCall),
    /// About the server as a whole: `/v2`, `/v2/health/…`, `/v2/repository/…`, `/v2/models/stats`.
    Server,
    /// Anything else.
    Other,
}

/// A call of a model named in the path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ModelCall<'a> {
    /// The model.
    pub model: Segment<'a>,
    /// `/versions/{v}`.
    pub version: Option<Segment<'a>>,
    /// `/labels/{l}` (TensorFlow Serving).
    pub label: Option<Segment<'a>>,
    /// What is asked of it.
    pub action: Action,
    /// The path after model, version and label, as it stands: `""`, `/infer`, `:predict`, ….
    pub tail: &'a str,
}

/// What is asked of a model named in a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// Metadata (v2) or status (V1): the bare model path; `/metadata` in V1.
    Metadata,
    /// `/ready`.
    Ready,
    /// `/infer`.
    Infer,
    /// `/generate` (Triton).
    Generate,
    /// `/generate_stream` (Triton): an SSE answer.
    GenerateStream,
    /// `/config` (Triton).
    Config,
    /// `/stats` (Triton).
    Stats,
    /// `:predict`, `:classify`, `:regress` or `:explain`.
    Predict,
    /// Anything else below the model.
    Other,
}

/// A method of the gRPC service `inference.GRPCInferenceService`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrpcMethod {
    /// `ModelReady`.
    ModelReady,
    /// `ModelMetadata`.
    ModelMetadata,
    /// `ModelInfer`.
    ModelInfer,
    /// `ModelStreamInfer`: a stream of `ModelInferRequest` each way.
    ModelStreamInfer,
    /// `ModelConfig` (Triton).
    ModelConfig,
    /// `ModelStatistics` (Triton).
    ModelStatistics,
    /// Any other method.
    Other,
}

/// A gRPC call about the server as a whole. Nothing in it is ever renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GrpcServer {
    /// `inference.GRPCInferenceService/ServerLive`.
    Live,
    /// `inference.GRPCInferenceService/ServerReady`.
    Ready,
    /// `inference.GRPCInferenceService/ServerMetadata`.
    Metadata,
    /// `inference.GRPCInferenceService/RepositoryIndex` (Triton).
    RepositoryIndex,
    /// `inference.GRPCInferenceService/RepositoryModelLoad` (Triton).
    RepositoryModelLoad,
    /// `inference.GRPCInferenceService/RepositoryModelUnload` (Triton).
    RepositoryModelUnload,
    /// `grpc.health.v1.Health/Check`.
    HealthCheck,
    /// `grpc.health.v1.Health/Watch`: a stream of answers.
    HealthWatch,
    /// `ServerReflectionInfo` of `grpc.reflection.v1` or `v1alpha`: a stream each way.
    Reflection,
}

/// An OpenAI call whose JSON body names the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpenAiCall {
    /// `/v1/chat/completions`.
    ChatCompletions,
    /// `/v1/completions`.
    Completions,
    /// `/v1/embeddings`.
    Embeddings,
    /// `/v1/responses`.
    Responses,
}

/// Where a protobuf message names a model: field numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NameFields {
    /// The sub-message that holds the fields below, when it is not the message itself.
    pub within: Option<u32>,
    /// Field of the model's name.
    pub model: u32,
    /// Field of the model's version, if there is one string field of it.
    pub version: Option<u32>,
}

/// One percent-encoded path segment that is a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Segment<'a>(&'a str);

/// The API that `path` (without its query) belongs to.
pub fn parse(path: &str) -> Api<'_> {
    if let Some(rest) = path.strip_prefix("/v2") {
        return parse_v2(rest);
    }
    if let Some(rest) = path.strip_prefix("/v1/") {
        return match rest {
            "chat/completions" => Api::OpenAi(OpenAiCall::ChatCompletions),
            "completions" => Api::OpenAi(OpenAiCall::Completions),
            "embeddings" => Api::OpenAi(OpenAiCall::Embeddings),
            "responses" => Api::OpenAi(OpenAiCall::Responses),
            _ => rest.strip_prefix("models/").and_then(parse_v1).map_or(Api::Other, Api::V1),
        };
    }
    if let Some(method) = path.strip_prefix("/inference.GRPCInferenceService/") {
        return GrpcServer::parse(method)
            .map_or_else(|| Api::Grpc(GrpcMethod::parse(method)), Api::GrpcServer);
    }
    match path {
        "/grpc.health.v1.Health/Check" => Api::GrpcServer(GrpcServer::HealthCheck),
        "/grpc.health.v1.Health/Watch" => Api::GrpcServer(GrpcServer::HealthWatch),
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo"
        | "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo" => {
            Api::GrpcServer(GrpcServer::Reflection)
        }
        _ => Api::Other,
    }
}

fn parse_v2(rest: &str) -> Api<'_> {
    // As Triton has it: the statistics of all models, not metadata of a model of that name.
    if rest == "/models/stats" {
        return Api::Server;
    }
    if let Some(rest) = rest.strip_prefix("/models/") {
        let call = || {
            let (model, rest) = split_segment(rest);
            let (version, tail) = match rest.strip_prefix("/versions/") {
                Some(rest) => {
                    let (version, tail) = split_segment(rest);
                    (Some(Segment::new(version)?), tail)
                }
                None => (None, rest),
            };
            let action = match tail {
                "" | "/" => Action::Metadata,
                "/infer" => Action::Infer,
                "/ready" => Action::Ready,
                "/generate" => Action::Generate,
                "/generate_stream" => Action::GenerateStream,
                "/config" => Action::Config,
                "/stats" => Action::Stats,
                _ => Action::Other,
            };
            Some(ModelCall { model: Segment::new(model)?, version, label: None, action, tail })
        };
        return call().map_or(Api::Other, Api::V2);
    }
    match rest {
        "" | "/" | "/health/live" | "/health/ready" => Api::Server,
        _ if rest.starts_with("/repository/") => Api::Server,
        _ => Api::Other,
    }
}

/// `{m}[/versions/{v}|/labels/{l}][:verb|/metadata]`.
fn parse_v1(rest: &str) -> Option<ModelCall<'_>> {
    let (model, after) = split_segment(rest);
    let (mut version, mut label) = (None, None);
    let (model, tail) = if let Some(rest) = after.strip_prefix("/versions/") {
        let (name, tail) = split_verb(rest);
        version = Some(Segment::new(name)?);
        (model, tail)
    } else if let Some(rest) = after.strip_prefix("/labels/") {
        let (name, tail) = split_verb(rest);
        label = Some(Segment::new(name)?);
        (model, tail)
    } else {
        split_verb(rest)
    };
    let action = match tail {
        "" | "/" | "/metadata" => Action::Metadata,
        _ if tail.starts_with(':') => Action::Predict,
        _ => Action::Other,
    };
    Some(ModelCall { model: Segment::new(model)?, version, label, action, tail })
}

/// A segment and what follows it, from its `/` on.
fn split_segment(text: &str) -> (&str, &str) {
    text.find('/').and_then(|at| text.split_at_checked(at)).unwrap_or((text, ""))
}

/// A segment and what follows it, from a known `:verb` or its `/` on. Other colons belong to the
/// name (`llama3:8b`).
fn split_verb(text: &str) -> (&str, &str) {
    let (segment, after) = split_segment(text);
    let verb = segment.rfind(':').filter(|_| after.is_empty()).and_then(|at| segment.split_at_checked(at));
    match verb {
        Some((name, verb @ (":predict" | ":classify" | ":regress" | ":explain"))) => (name, verb),
        _ => (segment, after),
    }
}

// === impl Api ===

impl<'a> Api<'a> {
    /// The model named in the path.
    pub fn model(&self) -> Option<Segment<'a>> {
        match self {
            Self::V2(call) | Self::V1(call) => Some(call.model),
            Self::Grpc(_) | Self::GrpcServer(_) | Self::OpenAi(_) | Self::Server | Self::Other => None,
        }
    }

    /// The version named in the path.
    pub fn version(&self) -> Option<Segment<'a>> {
        match self {
            Self::V2(call) | Self::V1(call) => call.version,
            Self::Grpc(_) | Self::GrpcServer(_) | Self::OpenAi(_) | Self::Server | Self::Other => None,
        }
    }
}

// === impl GrpcMethod ===

impl GrpcMethod {
    fn parse(method: &str) -> Self {
        match method {
            "ModelInfer" => Self::ModelInfer,
            "ModelStreamInfer" => Self::ModelStreamInfer,
            "ModelMetadata" => Self::ModelMetadata,
            "ModelReady" => Self::ModelReady,
            "ModelConfig" => Self::ModelConfig,
            "ModelStatistics" => Self::ModelStatistics,
            _ => Self::Other,
        }
    }

    /// Where its request messages name the model: `name`/`model_name` = 1, `version`/
    /// `model_version` = 2 in every method (`grpc_service.proto` of the protocol).
    pub fn request_fields(self) -> Option<NameFields> {
        match self {
            Self::Other => None,
            _ => Some(NameFields { within: None, model: 1, version: Some(2) }),
        }
    }

    /// Where its answers name the model. `ModelStatisticsResponse` is a list and not covered;
    /// `ModelMetadataResponse.versions` lists what there is, so it is no version of the answer.
    pub fn response_fields(self) -> Option<NameFields> {
        match self {
            Self::ModelInfer => Some(NameFields { within: None, model: 1, version: Some(2) }),
            Self::ModelStreamInfer => Some(NameFields { within: Some(2), model: 1, version: Some(2) }),
            Self::ModelMetadata => Some(NameFields { within: None, model: 1, version: None }),
            Self::ModelConfig => Some(NameFields { within: Some(1), model: 1, version: None }),
            Self::ModelReady | Self::ModelStatistics | Self::Other => None,
        }
    }
}

// === impl GrpcServer ===

impl GrpcServer {
    fn parse(method: &str) -> Option<Self> {
        Some(match method {
            "ServerLive" => Self::Live,
            "ServerReady" => Self::Ready,
            "ServerMetadata" => Self::Metadata,
            "RepositoryIndex" => Self::RepositoryIndex,
            "RepositoryModelLoad" => Self::RepositoryModelLoad,
            "RepositoryModelUnload" => Self::RepositoryModelUnload,
            _ => return None,
        })
    }
}

// === impl Segment ===

impl<'a> Segment<'a> {
    /// A segment that can be a name: not empty, not a dot segment (RFC 3986 section 3.3).
    fn new(raw: &'a str) -> Option<Self> {
        (!matches!(raw, "" | "." | "..") && !raw.contains('/')).then_some(Self(raw))
    }

    /// As it stands in the path.
    pub fn raw(self) -> &'a str {
        self.0
    }

    /// Whether it is `name` once percent-decoded (RFC 3986 section 2.1). Nothing is allocated.
    pub fn is(self, name: &str) -> bool {
        let mut rest = self.0.as_bytes();
        for want in name.bytes() {
            let Some((got, after)) = next_decoded(rest) else { return false };
            if got != want {
                return false;
            }
            rest = after;
        }
        rest.is_empty()
    }

    /// The percent-decoded name. `None` where it cannot be a name: a broken escape, bytes that are
    /// not UTF-8, or control characters. It may hold any other character, `/` too: it is a name
    /// to compare, never a path to put together.
    pub fn decode(self) -> Option<Cow<'a, str>> {
        let text = if self.0.contains('%') {
            let mut bytes = Vec::with_capacity(self.0.len());
            let mut rest = self.0.as_bytes();
            while !rest.is_empty() {
                let (byte, after) = next_decoded(rest)?;
                bytes.push(byte);
                rest = after;
            }
            Cow::Owned(String::from_utf8(bytes).ok()?)
        } else {
            Cow::Borrowed(self.0)
        };
        (!text.chars().any(char::is_control)).then_some(text)
    }
}

/// The next byte of a percent-encoded text and what follows; `None` at its end or a broken escape.
fn next_decoded(text: &[u8]) -> Option<(u8, &[u8])> {
    let (first, rest) = text.split_first()?;
    if *first != b'%' {
        return Some((*first, rest));
    }
    let (digits, rest) = rest.split_at_checked(2)?;
    let digit = |at: usize| char::from(*digits.get(at)?).to_digit(16);
    Some((u8::try_from(digit(0)? * 16 + digit(1)?).ok()?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(path: &str) -> (&str, Option<&str>, Option<&str>, Action, &str) {
        let (Api::V2(c) | Api::V1(c)) = parse(path) else { panic!("{path}: {:?}", parse(path)) };
        (c.model.raw(), c.version.map(Segment::raw), c.label.map(Segment::raw), c.action, c.tail)
    }

    #[test]
    fn v2_paths_name_model_version_and_action() {
        use Action::*;
        for (path, want) in [
            ("/v2/models/m", ("m", None, None, Metadata, "")),
            ("/v2/models/m/infer", ("m", None, None, Infer, "/infer")),
            ("/v2/models/m/versions/3/infer", ("m", Some("3"), None, Infer, "/infer")),
            ("/v2/models/m/versions/3", ("m", Some("3"), None, Metadata, "")),
            ("/v2/models/m/ready", ("m", None, None, Ready, "/ready")),
            ("/v2/models/m/generate_stream", ("m", None, None, GenerateStream, "/generate_stream")),
            ("/v2/models/versions/infer", ("versions", None, None, Infer, "/infer")),
            ("/v2/models/m/trace/setting", ("m", None, None, Other, "/trace/setting")),
        ] {
            assert!(matches!(parse(path), Api::V2(_)));
            assert_eq!(call(path), want, "{path}");
        }
    }

    #[test]
    fn v1_paths_split_at_known_verbs_only() {
        use Action::*;
        for (path, want) in [
            ("/v1/models/m:predict", ("m", None, None, Predict, ":predict")),
            ("/v1/models/m/versions/3:classify", ("m", Some("3"), None, Predict, ":classify")),
            ("/v1/models/m/labels/canary:predict", ("m", None, Some("canary"), Predict, ":predict")),
            ("/v1/models/m/versions/3/metadata", ("m", Some("3"), None, Metadata, "/metadata")),
            ("/v1/models/m/metadata", ("m", None, None, Metadata, "/metadata")),
            ("/v1/models/m", ("m", None, None, Metadata, "")),
            ("/v1/models/llama3:8b", ("llama3:8b", None, None, Metadata, "")),
            ("/v1/models/llama3:8b:predict", ("llama3:8b", None, None, Predict, ":predict")),
        ] {
            assert!(matches!(parse(path), Api::V1(_)));
            assert_eq!(call(path), want, "{path}");
        }
    }

    #[test]
    fn what_names_no_model_is_told_apart() {
        for path in
            ["/v2", "/v2/", "/v2/health/live", "/v2/health/ready", "/v2/repository/index", "/v2/models/stats"]
        {
            assert_eq!(parse(path), Api::Server, "{path}");
        }
        for path in [
            "",
            "/",
            "/v2x",
            "/v2/models",
            "/v2/models/",
            "/v2/models//infer",
            "/v2/models/../x",
            "/v2/models/m/versions/",
            "/v1/models/",
            "/v1/models/:predict",
            "/v1/chat",
            "/score",
            "/api/v1/chat/completions",
            "/V2/models/m",
        ] {
            assert_eq!(parse(path), Api::Other, "{path}");
        }
        assert_eq!(parse("/v1/chat/completions"), Api::OpenAi(OpenAiCall::ChatCompletions));
        assert_eq!(parse("/inference.GRPCInferenceService/ModelInfer"), Api::Grpc(GrpcMethod::ModelInfer));
        assert_eq!(
            parse("/inference.GRPCInferenceService/RepositoryModelLoad"),
            Api::GrpcServer(GrpcServer::RepositoryModelLoad)
        );
        assert_eq!(parse("/inference.GRPCInferenceService/TraceSetting"), Api::Grpc(GrpcMethod::Other));
        assert_eq!(parse("/grpc.health.v1.Health/Check"), Api::GrpcServer(GrpcServer::HealthCheck));
        assert_eq!(
            parse("/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo"),
            Api::GrpcServer(GrpcServer::Reflection)
        );
        assert_eq!(parse("/grpc.health.v1.Health/List"), Api::Other);
    }

    #[test]
    fn names_are_compared_and_decoded_without_trusting_escapes() {
        let Some(model) = parse("/v2/models/org%2Ffra%75d/infer").model() else { panic!() };
        assert!(model.is("org/fraud") && !model.is("org/frau") && !model.is("org/fraudx"));
        assert_eq!(model.decode().as_deref(), Some("org/fraud"));
        for broken in ["%", "%2", "%zz", "%ff", "a%00", "a%0d%0ab", "%+1"] {
            assert_eq!(Segment(broken).decode(), None, "{broken}");
        }
        assert!(!Segment("%zz").is("%zz"));
        assert_eq!(Segment("caf%C3%A9").decode().as_deref(), Some("café"));
    }
}
