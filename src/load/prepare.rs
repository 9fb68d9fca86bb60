//! Everything that can be known before the first request is sent: addresses, inputs, and whether
//! the server answers at all.
//!
//! A mistake is found here, as one line, and not as ten thousand failed requests.

use std::net::{IpAddr, ToSocketAddrs as _};
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method, Request, Uri};

use super::ask::{self, Said};
use super::body::Whole;
use super::check::{Answered, judge};
use super::encode::{self, Sample};
use super::inputs::{self, InputError, InputMeta, Row, Rows};
use super::series::Failure;
use super::spec::{CheckSpec, FileKind, Format, InputSpec, RequestSpec, Scenario, TargetSpec};
use crate::base::Fault;
use crate::upstream::{Address, Protocol, Target, TargetError, UpstreamSpec};

/// A load test that can begin.
#[derive(Debug)]
pub struct Prepared {
    /// What is to be done.
    pub scenario: Scenario,
    /// Where to, in the scenario's order.
    pub targets: Vec<Arc<Target>>,
    /// What is sent, in the scenario's order.
    pub kinds: Vec<Kind>,
    /// What the user should know about the inputs.
    pub remarks: Vec<String>,
}

/// A kind of request, ready to be sent.
#[derive(Debug)]
pub struct Kind {
    /// What it is called.
    pub name: String,
    /// How it is written.
    pub format: Format,
    /// Its method.
    pub method: Method,
    /// Weights of this kind and of those before it, as a share of all.
    pub up_to: f64,
    /// Path and headers, one for each target.
    pub heads: Vec<(Uri, HeaderMap)>,
    /// Bodies; never empty.
    pub samples: Vec<Sample>,
    /// What a good answer is.
    pub check: CheckSpec,
}

/// Why a test cannot begin. One line each.
#[derive(Debug, thiserror::Error)]
pub enum PrepareError {
    /// An address that others may use.
    #[error("{url} is not on this machine: load tests of other machines need --allow-remote")]
    Remote {
        /// The URL.
        url: String,
    },
    /// Nobody there.
    #[error("{url}: {why}")]
    Unreachable {
        /// The URL.
        url: String,
        /// What happened.
        why: String,
    },
    /// The server has no such model, or wants other inputs.
    #[error("{what} answered {status}{said}: {fix}")]
    Refused {
        /// What was asked.
        what: String,
        /// With which status.
        status: String,
        /// What else it said, behind a colon; may be empty.
        said: String,
        /// What to do.
        fix: String,
    },
    /// An input that cannot be used.
    #[error(transparent)]
    Input(#[from] InputError),
    /// A target that cannot be used as it is.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// More requests than there may be.
    #[error(
        "the test would send {requests:.0} requests, more than the {most} that are allowed: write a shorter one, or a larger limits.maxRequests (--max-requests)"
    )]
    TooMany {
        /// How many.
        requests: f64,
        /// How many there may be.
        most: u64,
    },
}

/// Looks up addresses, reads and encodes inputs, and sends one request of each kind to each target.
/// Blocks, also on the network; not to be called from within a runtime.
///
/// # Errors
/// [`PrepareError`]: the first thing that is wrong.
pub fn prepare(scenario: Scenario) -> Result<Prepared, PrepareError> {
    let mut targets = Vec::new();
    for spec in &scenario.targets {
        reachable(spec, scenario.allow_remote)?;
        let grpc = scenario.requests.iter().any(|request| request.format == Format::Grpc);
        let mut upstream = spec.upstream.clone();
        upstream.max_connections = scenario.limits.max_connections;
        upstream.max_idle = scenario.limits.max_connections;
        upstream.connect_timeout = scenario.limits.timeout.min(Duration::from_secs(10));
        // `auto` speaks what each request speaks.
        if grpc && scenario.requests.iter().all(|request| request.format == Format::Grpc) {
            upstream.protocol = Protocol::Http2;
        }
        targets.push(Arc::new(Target::new(&upstream)?));
    }
    let mut remarks = Vec::new();
    let mut kinds = Vec::new();
    let total: u64 = scenario.requests.iter().map(|request| u64::from(request.weight)).sum();
    let mut so_far = 0;
    for request in &scenario.requests {
        so_far += u64::from(request.weight);
        let (samples, remark) = samples(request, &scenario, &targets)?;
        remarks.extend(remark);
        let has_body = samples.iter().any(|sample| !sample.body.is_empty());
        let heads = scenario.targets.iter().map(|target| head(request, target, has_body));
        kinds.push(Kind {
            name: request.name.clone(),
            format: request.format,
            method: method(request, has_body),
            up_to: so_far as f64 / total.max(1) as f64,
            heads: heads.collect::<Result<_, _>>()?,
            samples,
            check: request.check.clone(),
        });
    }
    let prepared = Prepared { scenario, targets, kinds, remarks };
    for (kind, request) in prepared.kinds.iter().zip(&prepared.scenario.requests) {
        for at in 0..prepared.targets.len() {
            try_one(&prepared, kind, request, at)?;
        }
    }
    Ok(prepared)
}

/// Whether an address may be loaded, and its name is known.
fn reachable(spec: &TargetSpec, allow_remote: bool) -> Result<(), PrepareError> {
    let Address::Tcp { host, port } = &spec.upstream.address else { return Ok(()) };
    let addresses: Vec<IpAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![address],
        Err(_) => (host.as_str(), *port)
            .to_socket_addrs()
            .map_err(|error| PrepareError::Unreachable {
                url: spec.url.clone(),
                why: format!("there is no host {host:?} ({error})"),
            })?
            .map(|address| address.ip())
            .collect(),
    };
    match allow_remote || addresses.iter().all(|address| address.to_canonical().is_loopback()) {
        true => Ok(()),
        false => Err(PrepareError::Remote { url: spec.url.clone() }),
    }
}

fn method(request: &RequestSpec, has_body: bool) -> Method {
    match (request.format, &request.method) {
        (Format::Plain, method) if has_body && *method == Method::GET => Method::POST,
        (Format::Plain, method) => method.clone(),
        _ => Method::POST,
    }
}

fn head(
    request: &RequestSpec,
    target: &TargetSpec,
    has_body: bool,
) -> Result<(Uri, HeaderMap), PrepareError> {
    let path = format!("{}{}", target.prefix, encode::path(request));
    let uri: Uri = path.parse().map_err(|error| InputError {
        place: format!("path {path:?}"),
        message: format!("it is none: {error}"),
    })?;
    let mut headers = HeaderMap::new();
    for (name, value) in encode::headers(request, has_body).into_iter().chain(target.headers.iter().cloned())
    {
        headers.append(name, value);
    }
    Ok((uri, headers))
}

fn samples(
    request: &RequestSpec,
    scenario: &Scenario,
    targets: &[Arc<Target>],
) -> Result<(Vec<Sample>, Option<String>), PrepareError> {
    // Errors of the network are kept aside: the reader of rows knows only those of inputs.
    let mut failed = None;
    let mut known: Option<Vec<InputMeta>> = None;
    let mut metadata = || {
        if let Some(known) = &known {
            return Ok(known.clone());
        }
        let (Some(spec), Some(target)) = (scenario.targets.first(), targets.first()) else {
            return Ok(Vec::new());
        };
        match self::metadata(request, spec, target) {
            Ok(found) => {
                known = Some(found.clone());
                Ok(found)
            }
            Err(error) => {
                let message = error.to_string();
                failed = Some(error);
                Err(InputError { place: "metadata".to_owned(), message })
            }
        }
    };
    let row = |value: serde_json::Value| Rows::Rows(vec![Row { value, columns: None, label: None, line: 1 }]);
    let made = match &request.inputs {
        InputSpec::Generated { dynamic, count } => match request.format.has_tensors() {
            true => metadata().and_then(|meta| {
                inputs::generated(request, *dynamic, *count, scenario.seed, &meta).map(|made| (made, None))
            }),
            false => {
                inputs::generated(request, *dynamic, *count, scenario.seed, &[]).map(|made| (made, None))
            }
        },
        InputSpec::Text(text) => text_sample(request, text, &row, &mut metadata),
        InputSpec::File { path, kind, label } => {
            let rows = inputs::read_file(path, *kind, label.as_deref())?;
            inputs::samples(request, &path.display().to_string(), &rows, &mut metadata)
        }
        InputSpec::Pairs { server, model } => {
            let (place, body) = recorded(server, model)?;
            let rows = Rows::Rows(inputs::pairs(&place, &body)?);
            inputs::samples(request, &place, &rows, &mut metadata)
        }
    };
    match (made, failed) {
        (_, Some(error)) => Err(error),
        (made, None) => Ok(made?),
    }
}

fn text_sample(
    request: &RequestSpec,
    text: &str,
    row: &dyn Fn(serde_json::Value) -> Rows,
    metadata: &mut dyn FnMut() -> Result<Vec<InputMeta>, InputError>,
) -> Result<(Vec<Sample>, Option<String>), InputError> {
    let place = format!("inputs of {:?}", request.name);
    let rows = match (request.format, serde_json::from_str(text)) {
        (Format::Plain, _) => return Ok((vec![Sample::new(text.as_bytes().to_vec())], None)),
        (_, Ok(value)) => row(value),
        (Format::Chat | Format::ChatStream, Err(_)) => row(serde_json::Value::String(text.to_owned())),
        (_, Err(error)) => {
            return Err(InputError { place, message: format!("the text is no JSON: {error}") });
        }
    };
    inputs::samples(request, &place, &rows, metadata)
}

/// Pairs that a sidecar has kept, and where they are from.
fn recorded(server: &str, model: &str) -> Result<(String, Vec<u8>), PrepareError> {
    let spec = http_address(server).map_err(|message| InputError { place: server.to_owned(), message })?;
    let path = format!("/api/v1/models/{model}/pairs?which=latest&limit=100");
    let place = format!("{server}{path}");
    let said = ask::get(&Arc::new(Target::new(&spec)?), &path, &HeaderMap::new()).map_err(|fault| {
        PrepareError::Unreachable { url: server.to_owned(), why: fault.detail.into_owned() }
    })?;
    match said.status {
        200 => Ok((place, said.body.to_vec())),
        _ => Err(refused(&format!("GET {place}"), &said, "name a model whose `compare.pairs` are kept")),
    }
}

/// The upstream at `http://HOST:PORT` or `unix:/PATH`.
///
/// # Errors
/// What to write instead.
pub fn http_address(url: &str) -> Result<UpstreamSpec, String> {
    let wrong = || format!("{url:?} is not an address: write http://HOST:PORT or unix:/PATH");
    if let Some(path) = url.strip_prefix("unix:") {
        return Ok(UpstreamSpec::new(Address::Unix(path.into()), "localhost".to_owned()));
    }
    let uri: Uri = url.parse().map_err(|_| wrong())?;
    let authority = uri.authority().filter(|_| uri.scheme_str() == Some("http")).ok_or_else(wrong)?;
    let host = authority.host().trim_start_matches('[').trim_end_matches(']').to_owned();
    let address = Address::Tcp { host, port: authority.port_u16().unwrap_or(80) };
    Ok(UpstreamSpec::new(address, authority.to_string()))
}

/// What the model takes, as its server says.
fn metadata(
    request: &RequestSpec,
    spec: &TargetSpec,
    target: &Arc<Target>,
) -> Result<Vec<InputMeta>, PrepareError> {
    let path = format!("{}{}", spec.prefix, encode::metadata_path(request));
    let headers: HeaderMap = spec.headers.iter().cloned().collect();
    let what = format!("GET {}{path}", spec.origin());
    // A server of gRPC alone has no such page; it is asked in its own language.
    if request.format == Format::Grpc {
        let (body, name) = inputs::metadata_request(request);
        let said = grpc(target, spec, name, body)?;
        return inputs::metadata_answer(&said.body)
            .map_err(|message| InputError { place: format!("{} {name}", spec.url), message }.into());
    }
    let said = ask::get(target, &path, &headers).map_err(|fault| unreachable(spec, &fault))?;
    match said.status {
        200 => inputs::from_json(&said.body).map_err(|message| InputError { place: what, message }.into()),
        _ => Err(refused(&what, &said, "check the model's name, or give a file of inputs")),
    }
}

fn grpc(
    target: &Arc<Target>,
    spec: &TargetSpec,
    path: &str,
    body: bytes::Bytes,
) -> Result<Said, PrepareError> {
    let mut request = Request::new(Whole::from(body));
    *request.method_mut() = Method::POST;
    *request.version_mut() = http::Version::HTTP_2;
    *request.uri_mut() = Uri::try_from(path).unwrap_or_default();
    request.headers_mut().extend(encode::grpc_headers());
    request.headers_mut().extend(spec.headers.iter().cloned());
    let said =
        ask::send(target, request, Duration::from_secs(30)).map_err(|fault| unreachable(spec, &fault))?;
    match said.grpc {
        Some(0) => Ok(said),
        _ => Err(refused(
            &format!("{} {path}", spec.url),
            &said,
            "check the model's name, or give a file of inputs",
        )),
    }
}

fn unreachable(spec: &TargetSpec, fault: &Fault) -> PrepareError {
    PrepareError::Unreachable { url: spec.url.clone(), why: fault.detail.to_string() }
}

/// What a server said no to, with the beginning of its reasons. One that says that it cannot serve
/// now is not there, as far as a load test goes.
fn refused(what: &str, said: &Said, fix: &str) -> PrepareError {
    let not_now = matches!(said.status, 502..=504) || said.grpc == Some(14);
    let grpc_message =
        said.headers.get(crate::wire::grpc::GRPC_MESSAGE).and_then(|value| value.to_str().ok());
    let text = match grpc_message {
        Some(message) => message.to_owned(),
        None if said.grpc.is_some() => String::new(),
        None => String::from_utf8_lossy(&said.body).into_owned(),
    };
    let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).take(200).collect();
    let line = line.trim();
    let status = match said.grpc.filter(|status| *status != 0) {
        Some(grpc) => format!("grpc-status {grpc}"),
        None => said.status.to_string(),
    };
    if not_now {
        let reason = if line.is_empty() { String::new() } else { format!(" ({line})") };
        let why = format!("answered {status}{reason}: wait until it is ready");
        return PrepareError::Unreachable { url: what.to_owned(), why };
    }
    PrepareError::Refused {
        what: what.to_owned(),
        status,
        said: if line.is_empty() { String::new() } else { format!(" ({line})") },
        fix: fix.to_owned(),
    }
}

/// Sends the first request of a kind. That it fails as a server fails is for the test to find; that
/// the server says it is not for it at all is a mistake.
fn try_one(prepared: &Prepared, kind: &Kind, request: &RequestSpec, at: usize) -> Result<(), PrepareError> {
    let (Some(spec), Some(target)) = (prepared.scenario.targets.get(at), prepared.targets.get(at)) else {
        return Ok(());
    };
    let (Some((uri, _)), Some(message)) = (kind.heads.get(at), message(kind, at, 0)) else { return Ok(()) };
    // A model that is still cold is none of the mistakes that are looked for here: no longer than this.
    let limit = prepared.scenario.limits.timeout.max(Duration::from_secs(10));
    let said = match ask::send(target, message, limit) {
        Ok(said) => said,
        Err(fault)
            if matches!(fault.kind.http_status(), 504)
                && fault.kind != crate::base::FaultKind::ConnectTimeout =>
        {
            return Ok(());
        }
        Err(fault) => return Err(unreachable(spec, &fault)),
    };
    let answer = Answered {
        status: said.status,
        grpc: said.grpc,
        inference_header_length: None,
        content_type: None,
        body: &[],
        too_long: false,
    };
    let status_only = CheckSpec { status: request.check.status, ..CheckSpec::default() };
    let what = || format!("{} {}{uri}", kind.method, spec.origin());
    let fix = match &request.model {
        Some(model) => format!("check that {model:?} is the model's name and takes these inputs"),
        None => "check the path and the body".to_owned(),
    };
    match judge(&status_only, kind.format, &answer, None) {
        Some(Failure::Status(400..500)) => Err(refused(&what(), &said, &fix)),
        // Invalid argument, not found, unimplemented, unauthenticated, permission denied.
        Some(Failure::Grpc(3 | 5 | 7 | 12 | 16)) => Err(refused(&what(), &said, &fix)),
        _ => Ok(()),
    }
}

/// The request of a kind to a target that carries sample `sample`, which goes round.
pub fn message(kind: &Kind, target: usize, sample: u64) -> Option<Request<Whole>> {
    let (uri, headers) = kind.heads.get(target)?;
    let count = kind.samples.len().max(1) as u64;
    let sample = kind.samples.get(usize::try_from(sample % count).unwrap_or(0))?;
    let mut request = Request::new(Whole::from(sample.body.clone()));
    *request.method_mut() = kind.method.clone();
    *request.uri_mut() = uri.clone();
    *request.headers_mut() = headers.clone();
    request.headers_mut().extend(sample.header());
    if kind.format == Format::Grpc {
        *request.version_mut() = http::Version::HTTP_2;
    }
    Some(request)
}

/// What a file is, by its name.
pub fn file_kind(path: &std::path::Path) -> Option<FileKind> {
    match path.extension()?.to_str()? {
        "jsonl" | "ndjson" => Some(FileKind::JsonLines),
        "csv" => Some(FileKind::Csv),
        "npy" => Some(FileKind::Npy),
        "json" => Some(FileKind::Pairs),
        _ => None,
    }
}
