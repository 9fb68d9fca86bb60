//! From a scenario as written to a load test: defaults, and rules that relate several values.

mod arrivals;
mod requests;

use std::path::Path;
use std::time::Duration;

use http::{HeaderName, HeaderValue};

use super::super::either::Short;
use super::super::problem::{At, Report};
use super::super::raw;
use super::super::read::{Field, Given, List, Pairs};
use super::super::text::{HeaderValueText, LoadUrl, LoadUrlText, SloText};
use super::{Unique, exactly_one, files, set_count, set_time};
use crate::load::slo::{Metric, Slo};
use crate::load::spec::{
    ArrivalSpec, LimitSpec, LoadSpec, ResourceSource, ResourceSpec, Scenario, TargetSpec,
};
use crate::upstream::{UpstreamSpec, UpstreamTls};

use arrivals::load_spec;
use requests::requests;

const PIN: HeaderName = HeaderName::from_static("x-switchback-version");

/// The load test that `raw` describes; of no use when there is a mistake in `report`. `name`: what it
/// is called unless it says so itself.
pub(in crate::config) fn load_test(
    raw: &raw::LoadTest,
    name: &str,
    base: &Path,
    report: &mut Report,
) -> Scenario {
    let targets = targets(raw, base, report);
    let requests = raw.requests.get().map(|list| requests(list, base, report)).unwrap_or_default();
    let load = raw.load.get().and_then(|load| load_spec(load, base, report));
    let resources = resources(raw, report);
    let mut slos: Vec<Slo> = goals(raw.slos.get(), None);
    for (at, request) in raw.requests.get().iter().flat_map(|list| list.items.iter()).enumerate() {
        slos.extend(goals(request.value.slos.get(), Some(at)));
    }
    let mut confidence = 0.95;
    super::set_rate(&mut confidence, &raw.confidence);
    if let Some(given) = raw.confidence.given()
        && !(0.5..1.0).contains(&given.value.0)
    {
        report.wrong(&given.at, "an interval of that confidence says nothing", "write 50% to 99.9999%");
    }
    let mut warmup = Duration::from_secs(1);
    set_time(&mut warmup, &raw.warmup);
    let mut limits = LimitSpec::default();
    if let Some(section) = raw.limits.get() {
        bounds(section, &mut limits);
    }
    check_goals(raw, targets.len(), &resources, load.as_ref(), report);
    let forever = LoadSpec::Closed { clients: 1, duration: Duration::from_secs(1) };
    let scenario = Scenario {
        name: raw.name.get().map_or_else(|| name.to_owned(), |name| name.0.clone()),
        targets,
        requests,
        load: load.unwrap_or(forever),
        warmup,
        slos,
        confidence,
        limits,
        resources,
        seed: raw.seed.get().map_or(1, |seed| seed.0),
        // Said on the command line only: a file that is copied must not say it.
        allow_remote: false,
    };
    long_trace(raw, &scenario, report);
    scenario
}

fn goals(list: Option<&List<SloText, 0, 64>>, kind: Option<usize>) -> Vec<Slo> {
    let items = list.map(|list| list.items.as_slice()).unwrap_or_default();
    items.iter().map(|item| Slo { kind, ..item.value.0.clone() }).collect()
}

fn targets(raw: &raw::LoadTest, base: &Path, report: &mut Report) -> Vec<TargetSpec> {
    let keys = [("target", raw.target.is_missing()), ("compare", raw.compare.is_missing())];
    if exactly_one("target", &keys, &raw.at, report).is_none() {
        return Vec::new();
    }
    if let Some(compare) = raw.compare.get() {
        let first = compare.a.get().and_then(|a| target(a, "A", base, report));
        let second = compare.b.get().and_then(|b| target(b, "B", base, report));
        return first.into_iter().chain(second).collect();
    }
    raw.target.get().and_then(|one| target(one, "target", base, report)).into_iter().collect()
}

fn target(
    raw: &Short<LoadUrlText, raw::LoadTarget>,
    name: &str,
    base: &Path,
    report: &mut Report,
) -> Option<TargetSpec> {
    let section = match raw {
        Short::Value(url) => return Some(bare_target(&url.0, name)),
        Short::Section(section) => section,
    };
    let url = section.url.get()?;
    let mut spec = bare_target(&url.0, name);
    if let Some(protocol) = section.protocol.get() {
        spec.upstream.protocol = protocol.0;
    }
    if let Some(given) = section.ca.given() {
        let ca = files::existing(&section.ca, base, report);
        match &mut spec.upstream.tls {
            Some(tls) => tls.ca = ca,
            None => report.wrong(&given.at, "there are no authorities to trust without https", "remove it"),
        }
    }
    spec.headers = headers(&section.headers, report);
    if let Some(version) = section.version.get()
        && let Ok(value) = HeaderValue::from_str(version.0.as_str())
    {
        spec.headers.push((PIN, value));
    }
    Some(spec)
}

fn bare_target(url: &LoadUrl, name: &str) -> TargetSpec {
    let mut upstream = UpstreamSpec::new(url.url.address.clone(), url.url.authority.clone());
    upstream.tls = url.url.tls.then_some(UpstreamTls::default());
    TargetSpec {
        name: name.to_owned(),
        url: url.written.clone(),
        upstream,
        prefix: url.prefix.clone(),
        headers: Vec::new(),
    }
}

fn headers(raw: &Field<Pairs<HeaderValueText>>, report: &mut Report) -> Vec<(HeaderName, HeaderValue)> {
    let mut found = Vec::new();
    for (name, value) in raw.get().map(|pairs| pairs.0.as_slice()).unwrap_or_default() {
        let framing =
            ["content-length", "transfer-encoding", "connection", "upgrade", "expect", "trailer", "te"];
        match HeaderName::try_from(name.value.as_str()) {
            Ok(header) if framing.contains(&header.as_str()) => {
                let message = format!("the header {:?} belongs to the connection", header.as_str());
                report.wrong(&name.at, message, "remove it");
            }
            Ok(header) => found.push((header, value.0.clone())),
            Err(_) => {
                let message = format!("{:?} is not the name of a header", name.value);
                report.wrong(&name.at, message, "use letters, digits and '-', such as \"x-user-id\"");
            }
        }
    }
    found
}

fn bounds(raw: &raw::LoadLimits, limits: &mut LimitSpec) {
    set_time(&mut limits.timeout, &raw.timeout);
    set_count(&mut limits.max_in_flight, &raw.max_in_flight);
    set_count(&mut limits.threads, &raw.threads);
    if let Some(most) = raw.max_requests.get() {
        limits.max_requests = most.0;
    }
    limits.max_lag = raw.max_lag.get().map(|time| time.0);
    // As many connections as there may be requests: none should wait for another one's.
    limits.max_connections = limits.max_in_flight;
}

fn resources(raw: &raw::LoadTest, report: &mut Report) -> Vec<ResourceSpec> {
    let mut names = Unique::default();
    let mut found = Vec::new();
    for item in raw.resources.get().map(|list| list.items.as_slice()).unwrap_or_default() {
        let resource: &raw::LoadResource = &item.value;
        let keys = [("pid", resource.pid.is_missing()), ("metrics", resource.metrics.is_missing())];
        let Some(()) = exactly_one("way to watch it", &keys, &item.at, report) else { continue };
        let Some(name) = resource.name.given() else { continue };
        names.add("watched process", &name.value.0, &name.at, report);
        let source = match (resource.pid.get(), resource.metrics.get()) {
            (Some(pid), _) => ResourceSource::Pid(u32::try_from(pid.0).unwrap_or(u32::MAX)),
            (_, Some(url)) => ResourceSource::Metrics(url.0.clone()),
            _ => continue,
        };
        found.push(ResourceSpec { name: name.value.0.clone(), source });
    }
    found
}

/// Goals that cannot be judged by what is measured.
fn check_goals(
    raw: &raw::LoadTest,
    targets: usize,
    resources: &[ResourceSpec],
    load: Option<&LoadSpec>,
    report: &mut Report,
) {
    let own = raw.requests.get().into_iter().flat_map(|list| list.items.iter());
    let own = own.filter_map(|request| request.value.slos.get());
    let all: Vec<&Given<SloText>> =
        raw.slos.get().into_iter().chain(own).flat_map(|list| list.items.iter()).collect();
    for goal in &all {
        let (message, fix) = match &goal.value.0.metric {
            Metric::Ratio(..) if targets == 1 => {
                ("there is nothing to compare", "write `compare` instead of `target`")
            }
            Metric::Resource(name, _) if resources.iter().all(|resource| resource.name != *name) => {
                ("no process of that name is watched", "add it to `resources`")
            }
            Metric::Goodput(None) if !all.iter().any(|goal| goal.value.0.latency_limit().is_some()) => {
                ("it names no limit, and no other goal limits a latency", "write \"goodput(80ms) > 99%\"")
            }
            _ => continue,
        };
        report.wrong(&goal.at, message, fix);
    }
    if let (Some(LoadSpec::FindMax(_)), true) = (load, all.is_empty() && !raw.slos.is_wrong()) {
        let at: &At = raw.load.given().map_or(&raw.at, |given| &given.at);
        report.wrong(
            at,
            "a search for the highest rate needs a goal to hold",
            "add `slos`, such as \"p99 < 80ms\"",
        );
    }
}

/// A trace is not preceded by a warm-up: part of it is.
fn long_trace(raw: &raw::LoadTest, scenario: &Scenario, report: &mut Report) {
    if let LoadSpec::Open { arrivals: ArrivalSpec::Trace(times), .. } = &scenario.load
        && times.last().is_some_and(|last| *last <= scenario.warmup)
    {
        let at = raw.load.given().map_or(&raw.at, |given| &given.at);
        let message = format!("the trace is over before the warm-up of {:?} is", scenario.warmup);
        report.wrong(at, message, "write a shorter `warmup`, such as 0s");
    }
}
