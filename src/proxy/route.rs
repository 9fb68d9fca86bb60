//! Finding the model and the version of a request, reading ahead in its body only where a rule or
//! a sticky key stands there.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use http::{HeaderName, request};

use super::ahead::Ahead;
use crate::base::{Fault, FaultKind};
use crate::inference::path::{self, Action, Api, GrpcMethod, Segment};
use crate::inference::peek::Need;
use crate::routing::address::Addressed;
use crate::routing::local::{LocalModel, LocalTable};
use crate::routing::matcher::{Found, Matcher, Named};
use crate::split::{self, KeySource};
use crate::wire::body::{Inbound, Source};
use crate::wire::hygiene;

/// Chooses a version by name, where the listener allows it.
pub(super) const PIN: HeaderName = HeaderName::from_static("x-switchback-version");

/// Body bytes read ahead for a model name, before any model's own limit is known.
const NAME_WITHIN: usize = 1024 * 1024;

/// For the next piece of a body that is read ahead for a model name, before any model's own limit
/// is known.
const NAME_IDLE: Duration = Duration::from_secs(60);

/// The model that a request is for, and its body again.
///
/// # Errors
/// `NoRoute` where no rule matches; whatever reading ahead ran into.
pub(super) async fn model(
    table: &Rc<LocalTable>,
    head: &request::Parts,
    body: Inbound,
    ahead: &mut Ahead<'_>,
) -> Result<(Rc<LocalModel>, Source), Fault> {
    let matcher = &table.table.matcher;
    let host = host(matcher, head);
    let api = if matcher.by_name() { path::parse(head.uri.path()) } else { Api::Other };
    let in_path = api.model().and_then(Segment::decode);
    let named = match (&in_path, api) {
        (Some(name), _) => Named::Known(Some(name)),
        (None, Api::Grpc(_) | Api::OpenAi(_)) => Named::Unread,
        (None, _) => Named::Known(None),
    };
    let mut source = Source::stream(body);
    let mut found = matcher.find(host, head.uri.path(), &head.headers, named);
    if found == Found::NeedName {
        let need = Need::model_of(&api);
        let name = Box::pin(ahead.find(&need, &mut source, NAME_WITHIN, NAME_IDLE)).await?;
        found = matcher.find(host, head.uri.path(), &head.headers, Named::Known(name.as_deref()));
    }
    match found {
        Found::Model(index) => match table.models.get(index) {
            Some(model) => Ok((model.clone(), source)),
            None => Err(Fault::new(FaultKind::Internal, "the routing table is inconsistent")),
        },
        _ => Err(Fault::new(FaultKind::NoRoute, format!("no model matches {}", shorten(head.uri.path())))),
    }
}

/// What a request was drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Drawn {
    /// Index of the version.
    pub(super) arm: usize,
    /// Whether the coin, or the hash of a sticky key, has decided: only such requests say anything
    /// about a rollout.
    pub(super) by_coin: bool,
    /// Hash of the sticky key, where there is one.
    pub(super) key: Option<u64>,
}

impl Drawn {
    /// Decided by a pin or by what the request is.
    pub(super) fn without_coin(arm: usize) -> Self {
        Self { arm, by_coin: false, key: None }
    }
}

/// The arm that a request gets.
///
/// # Errors
/// `UnknownVersion` for a pin on a version that is not there; `NoRoute` where the request names a model
/// or version in process that is not there; whatever reading ahead ran into.
pub(super) async fn arm(
    model: &LocalModel,
    head: &request::Parts,
    pin: Option<&http::HeaderValue>,
    client: Option<IpAddr>,
    source: &mut Source,
    inference: bool,
    ahead: &mut Ahead<'_>,
) -> Result<Drawn, Fault> {
    if let Some(pin) = pin {
        return pinned(model, pin).map(Drawn::without_coin);
    }
    if let Addressed::Version(arm) = addressed(model, head, source, ahead).await? {
        return Ok(Drawn::without_coin(arm));
    }
    let layout = &model.model.layout;
    if !inference {
        return Ok(Drawn::without_coin(model.model.stable));
    }
    let Some(sticky) = &model.model.spec.sticky else {
        return Ok(Drawn { arm: layout.arm(fastrand::u16(..10_000)), by_coin: true, key: None });
    };
    let draw = |key: Option<&[u8]>| {
        let hash = key.map(|key| split::hash(&sticky.salt, key));
        let point = hash.map_or_else(|| fastrand::u16(..10_000), split::point);
        Drawn { arm: layout.arm(point), by_coin: true, key: hash }
    };
    keyed(&sticky.source, model, head, client, source, ahead, draw).await
}

/// What the request's own names leave open, where versions of the model are in this process.
async fn addressed(
    model: &LocalModel,
    head: &request::Parts,
    source: &mut Source,
    ahead: &mut Ahead<'_>,
) -> Result<Addressed, Fault> {
    let spec = &model.model.spec;
    if !model.model.has_engine() {
        return Ok(Addressed::Any);
    }
    match path::parse(head.uri.path()) {
        Api::V2(call) | Api::V1(call) => {
            model.model.answers_to(&call.model.decode().unwrap_or_default())?;
            match (call.version, call.label) {
                (Some(version), _) => model.model.at_version(&version.decode().unwrap_or_default()),
                (None, Some(label)) => model.model.at_label(&label.decode().unwrap_or_default()),
                (None, None) => Ok(Addressed::Any),
            }
        }
        // With one version there is nothing to choose; it judges the name itself.
        Api::Grpc(method) if model.model.family.is_some() && model.versions.len() > 1 => {
            let Some(field) = method.request_fields().and_then(|fields| fields.version) else {
                return Ok(Addressed::Any);
            };
            let need = Need::GrpcString { field, in_order: true };
            let read = ahead.find(&need, source, NAME_WITHIN, spec.idle_timeout);
            match Box::pin(read).await?.as_deref() {
                None | Some("") => Ok(Addressed::Any),
                Some(version) => model.model.at_version(version),
            }
        }
        _ => Ok(Addressed::Any),
    }
}

/// Hands what stands at `key` to `take`, reading ahead where it stands in the body.
///
/// # Errors
/// Whatever reading ahead ran into.
pub(super) async fn keyed<T>(
    key: &KeySource,
    model: &LocalModel,
    head: &request::Parts,
    client: Option<IpAddr>,
    source: &mut Source,
    ahead: &mut Ahead<'_>,
    take: impl FnOnce(Option<&[u8]>) -> T,
) -> Result<T, Fault> {
    Ok(match key {
        KeySource::Header(name) => take(head.headers.get(name).map(http::HeaderValue::as_bytes)),
        KeySource::Cookie(name) => take(split::cookie(&head.headers, name)),
        KeySource::ClientAddress => {
            let octets = client.map(|ip| match ip.to_canonical() {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            });
            take(octets.as_deref())
        }
        KeySource::JsonPointer(pointer) => {
            let need = Need::JsonPointer(pointer.as_str().into());
            let spec = &model.model.spec;
            let key = Box::pin(ahead.find(&need, source, spec.max_peek_bytes, spec.idle_timeout)).await?;
            take(key.as_deref().map(str::as_bytes))
        }
    })
}

/// Whether a request asks a model to infer. What is about a model or a server (readiness,
/// metadata) is not split or copied: it goes to stable, so that clients see one answer.
pub(super) fn is_inference(path: &str) -> bool {
    match path::parse(path) {
        Api::Server | Api::GrpcServer(_) => false,
        Api::V2(call) | Api::V1(call) => {
            !matches!(call.action, Action::Metadata | Action::Ready | Action::Config | Action::Stats)
        }
        Api::Grpc(method) => matches!(method, GrpcMethod::ModelInfer | GrpcMethod::ModelStreamInfer),
        Api::OpenAi(_) | Api::Other => true,
    }
}

fn pinned(model: &LocalModel, pin: &http::HeaderValue) -> Result<usize, Fault> {
    let name = pin.to_str().unwrap_or_default();
    model.model.version(name).map(|(arm, _)| arm).ok_or_else(|| {
        let known: Vec<_> = model.model.versions.iter().map(|v| v.spec.name.as_str()).collect();
        let detail = format!(
            "model {} has no version {:?}; its versions are {}",
            model.model.spec.name,
            shorten(name),
            known.join(", ")
        );
        Fault::new(FaultKind::UnknownVersion, detail)
    })
}

/// Host of the request without its port, where a rule asks for it.
pub(super) fn host<'a>(matcher: &Matcher, head: &'a request::Parts) -> &'a str {
    if !matcher.by_host() {
        return "";
    }
    let authority = hygiene::authority(head).unwrap_or_default();
    match authority.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => authority,
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(120).collect()
}
