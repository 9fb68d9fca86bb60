//! Putting an answer back to the names the client asked for.

use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, ETAG, HeaderName,
};
use http::{HeaderMap, HeaderValue, StatusCode, response};

use super::editor::{Editor, Format};
use super::grpc::{Append, Encoding, GrpcEdit};
use super::json::{Asked, JsonEdit, Splice, Value, Values};
use super::sse::SseEdit;
use crate::inference::json_scan::Field;
use crate::inference::path::{Action, NameFields};

/// What is to be done with the answer to one request.
#[derive(Debug, Clone)]
pub struct Restore(Names);

#[derive(Debug, Clone)]
enum Names {
    Json { fields: &'static [Field], values: Values },
    Grpc { at: NameFields, model: Option<Asked>, version: Option<Asked> },
}

/// The digests of RFC 9530 and their forerunners: of an edited body they are wrong.
pub(super) const DIGESTS: [HeaderName; 4] = [
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("digest"),
    HeaderName::from_static("content-digest"),
    HeaderName::from_static("repr-digest"),
];
const HEAD_LENGTH: HeaderName = HeaderName::from_static("inference-header-content-length");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");

static V2_INFERENCE: &[Field] = &[Field::top("model_name"), Field::top("model_version")];
static V2_ABOUT: &[Field] = &[Field::top("name")];
static V1: &[Field] =
    &[Field::top("name"), Field::within("model_spec", "name"), Field::within("model_spec", "version")];
static OPENAI: &[Field] = &[Field::top("model"), Field::within("response", "model")];

impl Restore {
    /// For OIP v2 REST.
    pub(super) fn v2(action: Action, model: Option<Asked>, version: Option<Asked>) -> Self {
        let (model, version) = (value(model), value(version));
        Self(match action {
            Action::Metadata | Action::Ready | Action::Config | Action::Stats => {
                Names::Json { fields: V2_ABOUT, values: Values::from_iter([model]) }
            }
            _ => Names::Json { fields: V2_INFERENCE, values: Values::from_iter([model, version]) },
        })
    }

    /// For V1.
    pub(super) fn v1(model: Option<Asked>, version: Option<Asked>) -> Self {
        let (model, version) = (value(model), value(version));
        Self(Names::Json { fields: V1, values: Values::from_iter([model.clone(), model, version]) })
    }

    /// For OpenAI.
    pub(super) fn openai(model: Asked) -> Self {
        let model = Value::PutAsked(model);
        Self(Names::Json { fields: OPENAI, values: Values::from_iter([model.clone(), model]) })
    }

    /// For OIP gRPC.
    pub(super) fn grpc(at: NameFields, model: Option<Asked>, version: Option<Asked>) -> Self {
        Self(Names::Grpc { at, model, version })
    }

    /// Asks for an answer that can be edited: one that is not compressed. Clients that never
    /// offered anything else see no difference but in the bytes on the wire.
    pub(super) fn limit_encodings(&self, headers: &mut HeaderMap) {
        let name = match self.0 {
            Names::Json { .. } => ACCEPT_ENCODING,
            Names::Grpc { .. } => GRPC_ACCEPT_ENCODING,
        };
        if headers.contains_key(&name) {
            headers.insert(name, HeaderValue::from_static("identity"));
        }
    }

    /// Makes the answer's head ready for its edited body and returns the editor of that. `None`
    /// leaves head and body as they are: no body, a format without names, or a compressed one.
    ///
    /// A declared `Content-Length` stays declared and exact: JSON is padded with spaces behind its
    /// end. That of event streams, gRPC and bodies without a `Content-Type` is dropped, and so are
    /// `ETag` and digests.
    /// `Inference-Header-Content-Length` (OIP binary extension) grows with the JSON it measures.
    ///
    /// Not for answers to `HEAD`, which have a length but no body; [`super::Rewriter::request`]
    /// makes no `Restore` for them.
    pub fn response(&self, parts: &mut response::Parts) -> Option<Editor> {
        let headers = &mut parts.headers;
        let bodiless = parts.status.is_informational()
            || matches!(
                parts.status,
                StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT
            );
        if bodiless || headers.contains_key(CONTENT_RANGE) || is_encoded(headers) {
            return None;
        }
        let kind = Kind::of(headers);
        let editor = match (&self.0, kind) {
            (Names::Json { fields, values }, Kind::Json | Kind::Binary(_)) => {
                let splice = Splice::new(fields, values.clone(), None);
                let mut edit = match kind {
                    Kind::Binary(head) => JsonEdit::of_head(splice, head),
                    _ => JsonEdit::new(splice),
                };
                let length = declared(headers, &CONTENT_LENGTH);
                if headers.contains_key(CONTENT_LENGTH) && matches!(length, None | Some(0)) {
                    return None;
                }
                let growth = match kind {
                    Kind::Binary(head) => {
                        let growth = edit.pad();
                        set_length(headers, HEAD_LENGTH, head, growth);
                        Some(growth)
                    }
                    // Without a type it may be anything, and spaces may hurt: no length is declared.
                    _ if !headers.contains_key(CONTENT_TYPE) => {
                        headers.remove(CONTENT_LENGTH);
                        None
                    }
                    _ => length.map(|_| edit.pad()),
                };
                if let (Some(length), Some(growth)) = (length, growth) {
                    set_length(headers, CONTENT_LENGTH, length, growth);
                }
                Editor::new(Format::Json(edit), growth.and_then(|g| u64::try_from(g).ok()))
            }
            (Names::Json { fields, values }, Kind::Events) => {
                headers.remove(CONTENT_LENGTH);
                Editor::new(Format::Sse(SseEdit::new(Splice::new(fields, values.clone(), None))), None)
            }
            (Names::Grpc { at, model, version }, Kind::Grpc) => {
                headers.remove(CONTENT_LENGTH);
                let append = Append::Asked { at: *at, model: model.clone(), version: version.clone() };
                Editor::new(Format::Grpc(GrpcEdit::new(append, Encoding::of(headers))), None)
            }
            _ => return None,
        };
        headers.remove(ETAG);
        for digest in &DIGESTS {
            headers.remove(digest);
        }
        Some(editor)
    }
}

/// What a body is, by its headers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    /// JSON of so many bytes, and raw tensors behind it.
    Binary(u64),
    Events,
    Grpc,
    Other,
}

impl Kind {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        if headers.contains_key(HEAD_LENGTH) {
            return declared(headers, &HEAD_LENGTH).map_or(Self::Other, Self::Binary);
        }
        // Some model servers' JSON has no type; what is not JSON the editor passes untouched.
        let Some(kind) = headers.get(CONTENT_TYPE) else { return Self::Json };
        let kind = kind.as_bytes().split(|b| *b == b';').next().unwrap_or_default().trim_ascii();
        let is = |text: &str| kind.eq_ignore_ascii_case(text.as_bytes());
        let ends = |end: &[u8]| kind.len() > end.len() && kind.to_ascii_lowercase().ends_with(end);
        if is("application/json") {
            Self::Json
        } else if is("text/event-stream") {
            Self::Events
        } else if is("application/grpc")
            || is("application/grpc+proto")
            || is("application/grpc-web")
            || is("application/grpc-web+proto")
        {
            Self::Grpc
        } else if ends(b"+json") && !is("application/grpc+json") && !is("application/grpc-web+json") {
            Self::Json
        } else {
            Self::Other
        }
    }
}

/// Whether a body is compressed as a whole (RFC 9110 section 8.4).
pub(super) fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|v| {
        let coding = v.as_bytes().trim_ascii();
        !coding.is_empty() && !coding.eq_ignore_ascii_case(b"identity")
    })
}

/// The number in a header.
pub(super) fn declared(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let text = headers.get(name)?.to_str().ok()?;
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// Declares `length` and `growth` together.
pub(super) fn set_length(headers: &mut HeaderMap, name: HeaderName, length: u64, growth: usize) {
    let grown = length.saturating_add(u64::try_from(growth).unwrap_or(0));
    headers.insert(name, HeaderValue::from(grown));
}

fn value(asked: Option<Asked>) -> Value {
    asked.map_or(Value::Keep, Value::PutAsked)
}

/// `name` as a JSON string.
pub(super) fn literal(name: &str) -> Bytes {
    // A string always serialises.
    serde_json::to_vec(name).unwrap_or_default().into()
}
