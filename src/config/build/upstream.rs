//! A model server: its places, what is asked of them, and TLS, which belongs to `https` and nothing
//! else.

use std::path::Path;

use crate::upstream::{
    Address, BalanceSpec, EndpointSpec, HealthSpec, OutlierSpec, Question, UpstreamSpec, UpstreamTls,
};

use super::super::problem::Report;
use super::super::raw;
use super::super::read::Given;
use super::super::text::UrlText;
use super::{Unique, exactly_one, files, number, set_count, set_time, share};

/// What the pools to a model server are told.
pub(super) fn upstream(raw: &raw::Upstream, base: &Path, report: &mut Report) -> Option<UpstreamSpec> {
    let tls = raw.tls.get().map(|tls| tls_spec(tls, base, report));
    let balance = balance(raw, report);
    exactly_one(
        "place",
        &[("url", raw.url.is_missing()), ("endpoints", raw.endpoints.is_missing())],
        &raw.at,
        report,
    )?;
    let places = places(raw, report);
    let first = &places.first()?.value.0;
    let mut spec = UpstreamSpec::new(first.address.clone(), first.authority.clone());
    spec.others = places.iter().skip(1).map(|place| endpoint(&place.value)).collect();
    spec.balance = balance;
    if let (Some(section), false) = (raw.tls.get(), first.tls) {
        let fix = match &first.address {
            Address::Tcp { .. } => format!("write \"https://{}\" as url, or remove tls", first.authority),
            Address::Unix(_) => "remove it: a Unix socket does not leave this machine".to_owned(),
        };
        report.wrong(&section.at, "tls without https", fix);
    }
    spec.tls = first.tls.then(|| tls.unwrap_or_default());
    spec.protocol = raw.protocol.get().map_or(spec.protocol, |p| p.0);
    set_time(&mut spec.connect_timeout, &raw.connect_timeout);
    set_count(&mut spec.max_connections, &raw.max_connections);
    set_count(&mut spec.max_idle, &raw.max_idle);
    set_time(&mut spec.idle_timeout, &raw.idle_timeout);
    set_count(&mut spec.h2_streams_per_connection, &raw.h2_streams_per_connection);
    // More idle connections than there may be at all means: keep them all.
    spec.max_idle = spec.max_idle.min(spec.max_connections);
    Some(spec)
}

/// Every place that is written, once each, and all of them with TLS or none.
fn places<'r>(raw: &'r raw::Upstream, report: &mut Report) -> Vec<&'r Given<UrlText>> {
    let places: Vec<_> = match (raw.url.given(), raw.endpoints.get()) {
        (Some(url), _) => vec![url],
        (None, Some(list)) => list.items.iter().collect(),
        (None, None) => Vec::new(),
    };
    let mut seen = Unique::default();
    for place in &places {
        let url = &place.value.0;
        let name = match &url.address {
            Address::Tcp { host, port } => format!("{host}:{port}"),
            Address::Unix(path) => path.display().to_string(),
        };
        seen.add("endpoint", &name, &place.at, report);
        if places.first().is_some_and(|first| first.value.0.tls != url.tls) {
            report.wrong(
                &place.at,
                "some endpoints have TLS and some have not",
                "write all of them with https://, or none",
            );
        }
    }
    places
}

fn endpoint(url: &UrlText) -> EndpointSpec {
    EndpointSpec { address: url.0.address.clone(), authority: url.0.authority.clone() }
}

fn balance(raw: &raw::Upstream, report: &mut Report) -> BalanceSpec {
    let mut spec = BalanceSpec {
        resolve: raw.resolve_every.get().map(|time| time.0),
        max_requests: raw.max_requests.get().map(|n| number(n.0)),
        health: raw.health_check.get().and_then(|health| health_check(health, report)),
        outlier: outlier(raw.outlier.get()),
        ..BalanceSpec::default()
    };
    set_count(&mut spec.moves, &raw.moves);
    set_time(&mut spec.slow_start, &raw.slow_start);
    spec.panic_below = share(&raw.panic_below, spec.panic_below);
    spec
}

fn health_check(raw: &raw::HealthCheck, report: &mut Report) -> Option<HealthSpec> {
    let keys =
        [("http", raw.http.is_missing()), ("oip", raw.oip.is_missing()), ("grpc", raw.grpc.is_missing())];
    exactly_one("question", &keys, &raw.at, report)?;
    let http = raw.http.get().and_then(|http| Some(Question::Http { path: http.path.get()?.0.clone() }));
    let oip = raw.oip.get().map(|oip| Question::Oip { model: oip.model.get().map(|model| model.0.clone()) });
    let grpc = raw.grpc.get().map(|grpc| Question::Grpc {
        service: grpc.service.get().map(|service| service.0.clone()).unwrap_or_default(),
    });
    let mut spec = HealthSpec::new(http.or(oip).or(grpc)?);
    set_time(&mut spec.interval, &raw.interval);
    set_time(&mut spec.timeout, &raw.timeout);
    let count = |n: u64| u32::try_from(n).unwrap_or(u32::MAX);
    spec.unhealthy_after = raw.unhealthy_after.get().map_or(spec.unhealthy_after, |n| count(n.0));
    spec.healthy_after = raw.healthy_after.get().map_or(spec.healthy_after, |n| count(n.0));
    Some(spec)
}

fn outlier(raw: Option<&raw::Outlier>) -> Option<OutlierSpec> {
    let mut spec = OutlierSpec::default();
    let Some(raw) = raw else { return Some(spec) };
    if raw.enabled.get().is_some_and(|enabled| !enabled.0) {
        return None;
    }
    if let Some(failures) = raw.consecutive_failures.get() {
        spec.consecutive = u32::try_from(failures.0).unwrap_or(u32::MAX);
    }
    set_time(&mut spec.base, &raw.base_ejection);
    set_time(&mut spec.longest, &raw.max_ejection);
    spec.max_share = share(&raw.max_ejected, spec.max_share);
    Some(spec)
}

fn tls_spec(raw: &raw::UpstreamTls, base: &Path, report: &mut Report) -> UpstreamTls {
    let certificate = files::existing(&raw.certificate, base, report);
    let key = files::existing(&raw.key, base, report);
    if raw.certificate.is_missing() != raw.key.is_missing() {
        report.wrong(&raw.at, "a certificate and its key belong together", "write both, or neither");
    }
    UpstreamTls {
        ca: files::existing(&raw.ca, base, report),
        server_name: raw.server_name.get().map(|n| n.0.clone()),
        names: raw
            .names
            .get()
            .map(|list| list.items.iter().map(|item| item.value.0.clone()).collect())
            .unwrap_or_default(),
        identity: certificate.zip(key),
        min_version: raw.min_version.get().map(|version| version.0).unwrap_or_default(),
    }
}
