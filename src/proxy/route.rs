//! Finding the model and the version of a request, reading ahead in its body only where a rule or
//! a sticky key stands there.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderName, request};
use http_body::Body as _;
use tokio::time::timeout;

use super::worker::Worker;
use crate::base::{Fault, FaultKind, Level};
use crate::inference::path::{self, Action, Api, GrpcMethod, Segment};
use crate::inference::peek::{Need, Peek, Peeked};
use crate::routing::address::Addressed;
use crate::routing::local::{LocalModel, LocalTable};
use crate::routing::matcher::{Found, Matcher, Named};
use crate::split::{self, KeySource};
use crate::wire::body::{Inbound, PATIENCE, Source, too_slow};
use crate::wire::hygiene;

/// Chooses a version by name, where the listener allows it.
pub(super) const PIN: HeaderName = HeaderName::from_static("x-switchback-version");

/// Body bytes read ahead for a model name, before any model's own limit is known.
const NAME_WITHIN: usize = 1024 * 1024;

/// For the next piece of a body that is read ahead for a model name, before any model's own limit
/// is known.
const NAME_IDLE: Duration = Duration::from_secs(60);

/// A body up to this many bytes is short.
const SHORT_BODY: u64 = 64 * 1024;

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

/// The arm that a request gets. Time spent waiting for the client is added to `waited`.
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
    waited: &mut Duration,
) -> Result<Drawn, Fault> {
    if let Some(pin) = pin {
        return pinned(model, pin).map(Drawn::without_coin);
    }
    if let Addressed::Version(arm) = addressed(model, head, source, waited).await? {
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
    keyed(&sticky.source, model, head, client, source, waited, draw).await
}

/// What the request's own names leave open, where versions of the model are in this process.
async fn addressed(
    model: &LocalModel,
    head: &request::Parts,
    source: &mut Source,
    waited: &mut Duration,
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
            let read = read_ahead(&need, source, NAME_WITHIN, spec.idle_timeout, waited);
            match Box::pin(read).await?.as_deref() {
                None | Some("") => Ok(Addressed::Any),
                Some(version) => model.model.at_version(version),
            }
        }
        _ => Ok(Addressed::Any),
    }
}

/// Hands what stands at `key` to `take`, reading ahead where it stands in the body. Time spent waiting
/// for the client is added to `waited`.
///
/// # Errors
/// Whatever reading ahead ran into.
pub(super) async fn keyed<T>(
    key: &KeySource,
    model: &LocalModel,
    head: &request::Parts,
    client: Option<IpAddr>,
    source: &mut Source,
    waited: &mut Duration,
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
            let key =
                Box::pin(read_ahead(&need, source, spec.max_peek_bytes, spec.idle_timeout, waited)).await?;
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
        match next_ahead(source, idle, waited).await? {
            Some(next) => chunk = next,
            None => return Ok(peek.finish()),
        }
    }
}

/// Reads one piece more ahead; `None` when the body has ended.
///
/// # Errors
/// The body's own fault; `RequestTimeout` for one that stands still for longer than `idle`.
pub(super) async fn next_ahead(
    source: &mut Source,
    idle: Duration,
    waited: &mut Duration,
) -> Result<Option<Bytes>, Fault> {
    let asked = Instant::now();
    let read = timeout(idle, source.read_ahead()).await;
    *waited += asked.elapsed();
    let still =
        || Fault::new(FaultKind::RequestTimeout, format!("the request body stood still for {idle:?}"));
    read.map_err(|_| still())?
}

/// Waits for a short body to be whole. Whoever sends one slowly has no claim yet: neither to one of the
/// places that limits leave, nor to one of the connections to a model server, of which there are
/// fewer than there may be slow clients.
///
/// # Errors
/// The body's own fault; `RequestTimeout` for one that stands still for longer than it may, that takes
/// longer than the whole exchange may, or that has been waited for long enough and came at fewer than
/// `rate` bytes per second (0: any).
pub(super) async fn short_body(
    worker: &Worker,
    source: &mut Source,
    model: &LocalModel,
    rate: u64,
    waited: &mut Duration,
) -> Result<(), Fault> {
    if source.has_come() {
        return Ok(());
    }
    let spec = &model.model.spec;
    let most = SHORT_BODY.min(spec.max_request_bytes);
    let is_short = source.size_hint().exact().is_some_and(|length| length <= most);
    // Where memory is short nothing is held that can be passed on.
    if !is_short || source.read_what_came().await? || worker.pressure() > Level::Calm {
        return Ok(());
    }
    let mut unless_it_ends = Leaves(Some(worker));
    let read = Box::pin(slow_body(source, spec.idle_timeout, rate, waited));
    let read = match spec.total_timeout {
        None => read.await,
        Some(total) => timeout(total, read).await.unwrap_or_else(|_| {
            let detail = format!("the request body took longer than the total timeout of {total:?}");
            Err(Fault::new(FaultKind::RequestTimeout, detail))
        }),
    };
    unless_it_ends.0 = None;
    read
}

/// Counts a client that leaves before the body that it began to send is whole: no version has it.
struct Leaves<'a>(Option<&'a Worker>);

impl Drop for Leaves<'_> {
    fn drop(&mut self) {
        if let Some(worker) = self.0 {
            worker.count_refused(&Fault::new(FaultKind::Cancelled, "the client left while it sent its body"));
        }
    }
}

async fn slow_body(
    source: &mut Source,
    idle: Duration,
    rate: u64,
    waited: &mut Duration,
) -> Result<(), Fault> {
    let before = *waited;
    while next_ahead(source, idle, waited).await?.is_some() {
        let seconds = waited.saturating_sub(before).as_secs();
        let came = u64::try_from(source.ahead_len()).unwrap_or(u64::MAX);
        if seconds >= PATIENCE.as_secs() && came < rate.saturating_mul(seconds) {
            return Err(too_slow(rate));
        }
    }
    Ok(())
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
