//! Finding the model and the version of a request, reading ahead in its body only where a rule or
//! a sticky key stands there.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use http::{HeaderName, request};
use tokio::time::timeout;

use crate::base::{Fault, FaultKind};
use crate::inference::path::{self, Action, Api, GrpcMethod, Segment};
use crate::inference::peek::{Need, Peek, Peeked};
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

/// The model that a request is for, and its body again. Time spent waiting for the client is added
/// to `waited`.
///
/// # Errors
/// `NoRoute` where no rule matches; whatever reading ahead ran into.
pub(super) async fn model(
    table: &Rc<LocalTable>,
    head: &request::Parts,
    body: Inbound,
    waited: &mut Duration,
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
        let name = Box::pin(read_ahead(&need, &mut source, NAME_WITHIN, NAME_IDLE, waited)).await?;
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

/// The arm that a request gets. Time spent waiting for the client is added to `waited`.
///
/// # Errors
/// `UnknownVersion` for a pin on a version that is not there; whatever reading ahead ran into.
pub(super) async fn arm(
    model: &LocalModel,
    head: &request::Parts,
    pin: Option<&http::HeaderValue>,
    client: Option<IpAddr>,
    source: &mut Source,
    inference: bool,
    waited: &mut Duration,
) -> Result<usize, Fault> {
    if let Some(pin) = pin {
        return pinned(model, pin);
    }
    let layout = &model.model.layout;
    if !inference {
        return Ok(model.model.stable);
    }
    let Some(sticky) = &model.model.spec.sticky else {
        return Ok(layout.arm(fastrand::u16(..10_000)));
    };
    let point = |key: Option<&[u8]>| match key {
        Some(key) => split::bucket(&sticky.salt, key),
        None => fastrand::u16(..10_000),
    };
    let point = match &sticky.source {
        KeySource::Header(name) => point(head.headers.get(name).map(http::HeaderValue::as_bytes)),
        KeySource::Cookie(name) => point(split::cookie(&head.headers, name)),
        KeySource::ClientAddress => {
            let octets = client.map(|ip| match ip.to_canonical() {
                IpAddr::V4(v4) => v4.octets().to_vec(),
                IpAddr::V6(v6) => v6.octets().to_vec(),
            });
            point(octets.as_deref())
        }
        KeySource::JsonPointer(pointer) => {
            let need = Need::JsonPointer(pointer.as_str().into());
            let spec = &model.model.spec;
            let key =
                Box::pin(read_ahead(&need, source, spec.max_peek_bytes, spec.idle_timeout, waited)).await?;
            point(key.as_deref().map(str::as_bytes))
        }
    };
    Ok(layout.arm(point))
}

/// Whether a request asks a model to infer. What is about a model or a server (readiness,
/// metadata) is not split or copied: it goes to stable, so that clients see one answer.
pub(super) fn is_inference(path: &str) -> bool {
    match path::parse(path) {
        Api::Server => false,
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

/// Reads ahead until what is needed was seen, the body ended or `limit` bytes are held. A body
/// that is too long to tell counts as one that does not say; one that stands still for longer than
/// `idle` fails.
async fn read_ahead(
    need: &Need,
    source: &mut Source,
    limit: usize,
    idle: Duration,
    waited: &mut Duration,
) -> Result<Option<String>, Fault> {
    let mut peek = Peek::new(need, limit);
    let mut chunk = source.ahead();
    loop {
        if !chunk.is_empty()
            && let Peeked::Done(value) = peek.push(&chunk)
        {
            return Ok(value);
        }
        if source.ahead_len() >= limit && !source.is_whole() {
            return Ok(None);
        }
        let asked = Instant::now();
        let read = timeout(idle, source.read_ahead()).await;
        *waited += asked.elapsed();
        let still =
            || Fault::new(FaultKind::RequestTimeout, format!("the request body stood still for {idle:?}"));
        match read.map_err(|_| still())?? {
            Some(next) => chunk = next,
            None => return Ok(peek.finish()),
        }
    }
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
