//! Changing a request on its way to one version.
//!
//! Order: first the path prefix, then the names in the path that results, then the body, host and
//! headers. So a prefix may lead to an inference API, and its names are changed as well.

use std::sync::{Arc, OnceLock};

use bytes::{Bytes, BytesMut};
use http::header::{self, CONTENT_LENGTH, HOST, HeaderName};
use http::uri::{Authority, PathAndQuery};
use http::{HeaderValue, Method, Uri, request};

use super::editor::{Editor, Format};
use super::grpc::{Append, Encoding, GrpcEdit, Learn};
use super::json::{Asked, JsonEdit, Splice, Value, Values};
use super::restore::{DIGESTS, Kind, Restore, declared, is_encoded, literal, set_length};
use super::spec::{PathPrefix, RewriteSpec};
use crate::base::{Fault, FaultKind};
use crate::inference::json_scan::Field;
use crate::inference::path::{Api, GrpcMethod, ModelCall, Segment, parse};
use crate::inference::protobuf::put_field;

/// Why a [`RewriteSpec`] cannot be carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RewriteError {
    /// A model or version that no server can have.
    #[error(
        "rewrite.{key}: {value:?} is not a name: write 1 to 256 characters without control characters, and not \".\" or \"..\""
    )]
    Name {
        /// `model` or `modelVersion`.
        key: &'static str,
        /// What was written.
        value: String,
    },
    /// A prefix that is no path.
    #[error(
        "rewrite.pathPrefix.{key}: {value:?} is not a path: write one that starts with \"/\", without \"?\" or \"#\""
    )]
    Path {
        /// `from` or `to`.
        key: &'static str,
        /// What was written.
        value: String,
    },
    /// A host that is no authority.
    #[error("rewrite.host: {0:?} is not a host: write HOST or HOST:PORT")]
    Host(String),
    /// A header that belongs to the connection or has its own setting.
    #[error("rewrite.headers: {0} cannot be changed: it frames the message; the host is set by rewrite.host")]
    Header(HeaderName),
}

/// A [`RewriteSpec`] made ready for requests. Shared by all workers in the live table.
#[derive(Debug)]
pub struct Rewriter {
    noop: bool,
    model: Option<Name>,
    version: Option<Name>,
    prefix: Option<PathPrefix>,
    host: Option<(HeaderValue, Authority)>,
    set: Vec<(HeaderName, HeaderValue)>,
    remove: Vec<HeaderName>,
    /// Fields 1 and 2 of the gRPC requests, encoded.
    grpc_fields: Bytes,
}

/// A name in every form that is needed.
#[derive(Debug)]
struct Name {
    plain: String,
    segment: String,
    json: Bytes,
}

/// What is to be done with the bodies of one exchange.
#[derive(Debug, Default)]
pub struct Edits {
    /// Edits the request body. `None`: it passes as it is.
    pub body: Option<Editor>,
    /// Puts the answer back. `None`: it passes as it is.
    pub restore: Option<Restore>,
}

static MODEL: &[Field] = &[Field::top("model")];

impl Rewriter {
    /// Checks `spec` and makes it ready.
    ///
    /// # Errors
    /// [`RewriteError`] with the key, the value and what to write instead.
    pub fn new(spec: &RewriteSpec) -> Result<Self, RewriteError> {
        let model = spec.model.as_deref().map(|m| Name::new("model", m)).transpose()?;
        let version = spec.model_version.as_deref().map(|v| Name::new("modelVersion", v)).transpose()?;
        let prefix = spec.path_prefix.as_ref().map(check_prefix).transpose()?;
        let host = spec.host.as_deref().map(check_host).transpose()?;
        let named = spec.set_headers.iter().map(|(name, _)| name).chain(&spec.remove_headers);
        if let Some(name) = named.into_iter().find(|name| is_framing(name)) {
            return Err(RewriteError::Header(name.clone()));
        }
        let mut grpc_fields = BytesMut::new();
        for (field, name) in [(1, &model), (2, &version)] {
            if let Some(name) = name {
                put_field(&mut grpc_fields, field, name.plain.as_bytes());
            }
        }
        Ok(Self {
            noop: spec.is_empty(),
            model,
            version,
            prefix,
            host,
            set: spec.set_headers.clone(),
            remove: spec.remove_headers.clone(),
            grpc_fields: grpc_fields.freeze(),
        })
    }

    /// Whether nothing is changed: then [`Rewriter::request`] need not be called.
    pub fn is_noop(&self) -> bool {
        self.noop
    }

    /// Changes the head of a request and says what is to be done with its body and its answer.
    /// Each leg of a request (live, mirror, fallback) starts from the client's own head.
    ///
    /// The host goes into the `Host` header, which is what adapters send as `Host` or
    /// `:authority`; where the URI has an authority, it is changed to the same. Without a host in
    /// the spec both are left alone. A declared `Content-Length` stays declared and exact: JSON
    /// is padded with spaces behind its end. That of gRPC is dropped.
    ///
    /// # Errors
    /// [`FaultKind::NotImplemented`] for a JSON body with a `Content-Encoding` whose model would
    /// have to be changed; [`FaultKind::BadRequest`] where the changed URI is none.
    pub fn request(&self, parts: &mut request::Parts) -> Result<Edits, Fault> {
        if self.noop {
            return Ok(Edits::default());
        }
        let mut edits = self.names(parts)?;
        if parts.method == Method::HEAD {
            edits.restore = None;
        }
        if let Some((value, authority)) = &self.host {
            parts.headers.insert(HOST, value.clone());
            if parts.uri.authority().is_some() && parts.method != Method::CONNECT {
                let mut uri = std::mem::take(&mut parts.uri).into_parts();
                uri.authority = Some(authority.clone());
                parts.uri = Uri::from_parts(uri).map_err(|_| bad_uri())?;
            }
        }
        for name in &self.remove {
            parts.headers.remove(name);
        }
        for (name, _) in &self.set {
            parts.headers.remove(name);
        }
        for (name, value) in &self.set {
            parts.headers.append(name, value.clone());
        }
        if edits.body.is_some() {
            for digest in &DIGESTS {
                parts.headers.remove(digest);
            }
        }
        if let Some(restore) = &edits.restore {
            restore.limit_encodings(&mut parts.headers);
        }
        Ok(edits)
    }

    /// The path and, where it names no model, the body.
    fn names(&self, parts: &mut request::Parts) -> Result<Edits, Fault> {
        let moved = self.prefix.as_ref().and_then(|prefix| replace_prefix(prefix, parts.uri.path()));
        let path = moved.as_deref().unwrap_or(parts.uri.path());
        let mut edits = Edits::default();
        let mut renamed = None;
        if self.model.is_some() || self.version.is_some() {
            match parse(path) {
                Api::V2(call) => {
                    let (model, version) = self.asked(&call);
                    if model.is_some() || version.is_some() {
                        edits.restore = Some(Restore::v2(call.action, model, version));
                    }
                    renamed = Some(self.model_path("/v2/models/", &call));
                }
                Api::V1(call) => {
                    let (model, version) = self.asked(&call);
                    if model.is_some() || version.is_some() {
                        edits.restore = Some(Restore::v1(model, version));
                    }
                    renamed = Some(self.model_path("/v1/models/", &call));
                }
                Api::Grpc(method) if Kind::of(&parts.headers) == Kind::Grpc => {
                    edits = self.grpc(method, parts);
                }
                Api::OpenAi(_) if parts.method == Method::POST => edits = self.openai(parts)?,
                Api::Grpc(_) | Api::GrpcServer(_) | Api::OpenAi(_) | Api::Server | Api::Other => {}
            }
        }
        if let Some(path) = renamed.or(moved) {
            set_path(&mut parts.uri, path)?;
        }
        Ok(edits)
    }

    /// What the client called model and version, as JSON strings, where the server calls them
    /// something else.
    fn asked(&self, call: &ModelCall<'_>) -> (Option<Asked>, Option<Asked>) {
        let differs = |segment: Segment<'_>, name: &Option<Name>| {
            let name = name.as_ref()?;
            let asked = segment.decode().filter(|asked| *asked != name.plain.as_str())?;
            Some(Arc::new(OnceLock::from(literal(&asked))))
        };
        (differs(call.model, &self.model), call.version.and_then(|v| differs(v, &self.version)))
    }

    fn model_path(&self, root: &str, call: &ModelCall<'_>) -> String {
        let model = self.model.as_ref().map_or(call.model.raw(), |m| &m.segment);
        let version = self.version.as_ref().map(|v| v.segment.as_str()).or(call.version.map(Segment::raw));
        let (kind, which) = match (version, call.label) {
            (Some(version), _) => ("/versions/", version),
            (None, Some(label)) => ("/labels/", label.raw()),
            (None, None) => ("", ""),
        };
        [root, model, kind, which, call.tail].concat()
    }

    fn grpc(&self, method: GrpcMethod, parts: &mut request::Parts) -> Edits {
        let Some(at) = method.request_fields() else { return Edits::default() };
        // A place for each name that is changed here and stands in the answer.
        let answer = method.response_fields();
        let place = |name: &Option<Name>| name.as_ref().map(|_| Asked::default());
        let model = answer.and_then(|_| place(&self.model));
        let version = answer.and_then(|a| a.version).and_then(|_| place(&self.version));
        let restore = answer.filter(|_| model.is_some() || version.is_some());
        let restore = restore.map(|at| Restore::grpc(at, model.clone(), version.clone()));
        let learn = restore.as_ref().map(|_| Learn { at, model, version, head: BytesMut::new() });
        let append = Append::Names { fields: self.grpc_fields.clone(), learn };
        let edit = GrpcEdit::new(append, Encoding::of(&parts.headers));
        parts.headers.remove(CONTENT_LENGTH);
        Edits { body: Some(Editor::new(Format::Grpc(edit), None)), restore }
    }

    fn openai(&self, parts: &mut request::Parts) -> Result<Edits, Fault> {
        let Some(model) = &self.model else { return Ok(Edits::default()) };
        let headers = &mut parts.headers;
        let length = declared(headers, &CONTENT_LENGTH);
        if Kind::of(headers) != Kind::Json || length == Some(0) {
            return Ok(Edits::default());
        }
        if is_encoded(headers) {
            return Err(Fault::new(
                FaultKind::NotImplemented,
                "the model of a request body with a content-encoding cannot be renamed; send it uncompressed",
            ));
        }
        let asked = Asked::default();
        let values = Values::from_iter([Value::Put(model.json.clone())]);
        let mut edit = JsonEdit::new(Splice::new(MODEL, values, Some(asked.clone())));
        let growth = length.map(|length| {
            let growth = edit.pad();
            set_length(headers, CONTENT_LENGTH, length, growth);
            growth
        });
        let editor = Editor::new(Format::Json(edit), growth.and_then(|g| u64::try_from(g).ok()));
        Ok(Edits { body: Some(editor), restore: Some(Restore::openai(asked)) })
    }
}

// === impl Name ===

impl Name {
    fn new(key: &'static str, plain: &str) -> Result<Self, RewriteError> {
        let fits = (1..=256).contains(&plain.chars().count());
        if !fits || matches!(plain, "." | "..") || plain.chars().any(char::is_control) {
            let value = plain.chars().take(80).collect();
            return Err(RewriteError::Name { key, value });
        }
        Ok(Self { plain: plain.to_owned(), segment: encode_segment(plain), json: literal(plain) })
    }
}

/// `name` as one path segment: everything but unreserved characters, `:` and `@` is
/// percent-encoded (RFC 3986 section 3.3).
fn encode_segment(name: &str) -> String {
    let mut out = String::with_capacity(name.len());
    for byte in name.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b':' | b'@') {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn check_prefix(prefix: &PathPrefix) -> Result<PathPrefix, RewriteError> {
    let check = |key, value: &str| {
        let path = value.starts_with('/') && !value.contains(['?', '#']);
        if path && value.parse::<PathAndQuery>().is_ok() {
            Ok(value.trim_end_matches('/').to_owned())
        } else {
            Err(RewriteError::Path { key, value: value.chars().take(80).collect() })
        }
    };
    Ok(PathPrefix { from: check("from", &prefix.from)?, to: check("to", &prefix.to)? })
}

/// `path` with the prefix replaced, if it begins with it by whole segments.
fn replace_prefix(prefix: &PathPrefix, path: &str) -> Option<String> {
    let rest = path.strip_prefix(prefix.from.as_str())?;
    if !(rest.is_empty() || rest.starts_with('/')) {
        return None;
    }
    let moved = [prefix.to.as_str(), rest].concat();
    Some(if moved.is_empty() { "/".to_owned() } else { moved })
}

fn check_host(host: &str) -> Result<(HeaderValue, Authority), RewriteError> {
    let error = || RewriteError::Host(host.chars().take(80).collect());
    let authority: Authority = host.parse().map_err(|_| error())?;
    if host.contains('@') || authority.host().is_empty() {
        return Err(error());
    }
    Ok((HeaderValue::from_str(host).map_err(|_| error())?, authority))
}

/// Headers that frame the message or belong to the connection.
fn is_framing(name: &HeaderName) -> bool {
    const FRAMING: [HeaderName; 7] = [
        CONTENT_LENGTH,
        header::TRANSFER_ENCODING,
        header::CONNECTION,
        HOST,
        header::UPGRADE,
        header::TE,
        header::TRAILER,
    ];
    FRAMING.contains(name)
}

fn set_path(uri: &mut Uri, mut path: String) -> Result<(), Fault> {
    if let Some(query) = uri.query() {
        path.push('?');
        path.push_str(query);
    }
    let path = PathAndQuery::from_maybe_shared(Bytes::from(path)).map_err(|_| bad_uri())?;
    let mut new = std::mem::take(uri).into_parts();
    new.path_and_query = Some(path);
    *uri = Uri::from_parts(new).map_err(|_| bad_uri())?;
    Ok(())
}

fn bad_uri() -> Fault {
    Fault::new(FaultKind::BadRequest, "the request's URI cannot be rewritten")
}
