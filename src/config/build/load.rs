//! From a scenario as written to a load test: defaults, and rules that relate several values.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Method};

use super::super::choice::ArrivalWord;
use super::super::either::Short;
use super::super::problem::{At, Report};
use super::super::raw;
use super::super::read::{Field, Given, List, Pairs};
use super::super::text::{HeaderValueText, LoadUrl, LoadUrlText, SloText};
use super::{Unique, exactly_one, files, number, set_count, set_number, set_time};
use crate::load::inputs;
use crate::load::prepare::file_kind;
use crate::load::schedule::Stage;
use crate::load::slo::{Metric, Slo};
use crate::load::spec::{
    ArrivalSpec, CheckSpec, FindMaxSpec, Format, InputSpec, LabelCheck, LimitSpec, LoadSpec, RequestSpec,
    ResourceSource, ResourceSpec, Scenario, TargetSpec, ValueCheck,
};
use crate::upstream::{UpstreamSpec, UpstreamTls};

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
    upstream.tls = url.url.tls.then_some(UpstreamTls { ca: None, server_name: None });
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

fn requests(list: &List<raw::LoadRequest, 1, 32>, base: &Path, report: &mut Report) -> Vec<RequestSpec> {
    let mut names = Unique::default();
    list.items.iter().filter_map(|item| request(item, base, &mut names, report)).collect()
}

fn request(
    item: &Given<raw::LoadRequest>,
    base: &Path,
    names: &mut Unique,
    report: &mut Report,
) -> Option<RequestSpec> {
    let raw = &item.value;
    let format = raw.format.get()?.0;
    let model = raw.model.get().map(|model| model.0.clone());
    if model.is_none()
        && raw.model.is_missing()
        && format != Format::Plain
        && !report.has_unknown_key(&raw.at)
    {
        let message = format!("a request of the format {:?} names a model", format.word());
        report.wrong(&raw.at, message, "add the key \"model\" here");
    }
    let name = match (raw.name.get(), &model) {
        (Some(name), _) => name.0.clone(),
        (None, Some(model)) => model.clone(),
        (None, None) => format.word().to_owned(),
    };
    let at = raw.name.given().map_or(&item.at, |given| &given.at);
    names.add("kind of request", &name, at, report);
    if let (Some(given), true) = (raw.method.given(), format != Format::Plain) {
        report.wrong(&given.at, "only plain requests have a method of their own", "remove it");
    }
    let inputs = inputs_spec(raw, format, model.as_deref(), base, report)?;
    let mut spec = RequestSpec {
        name,
        format,
        version: raw.version.get().map(|version| version.0.clone()),
        weight: raw.weight.get().map_or(1, |weight| u32::try_from(weight.0).unwrap_or(u32::MAX)),
        method: raw.method.get().map_or(Method::GET, |method| method.0.clone()),
        path: raw.path.get().map(|path| path.0.clone()),
        headers: headers(&raw.headers, report),
        inputs,
        batch: 1,
        max_tokens: raw.max_tokens.get().map_or(64, |count| u32::try_from(count.0).unwrap_or(u32::MAX)),
        check: raw.check.get().map(|check| check_spec(check, raw, report)).unwrap_or_default(),
        model,
    };
    set_count(&mut spec.batch, &raw.batch);
    Some(spec)
}

fn inputs_spec(
    raw: &raw::LoadRequest,
    format: Format,
    model: Option<&str>,
    base: &Path,
    report: &mut Report,
) -> Option<InputSpec> {
    let generated = |dynamic, count| Some(InputSpec::Generated { dynamic, count });
    let Some(given) = raw.inputs.given() else {
        if format == Format::V1 && raw.inputs.is_missing() {
            report.wrong(
                &raw.at,
                "V1 has no metadata to make inputs from",
                "add `inputs` with a `file` or a `text`",
            );
        }
        return generated(4, 16);
    };
    let section: &raw::LoadInputs = &given.value;
    let keys = [
        ("generate", section.generate.is_missing()),
        ("text", section.text.is_missing()),
        ("file", section.file.is_missing()),
        ("pairs", section.pairs.is_missing()),
    ];
    exactly_one("source of inputs", &keys, &given.at, report)?;
    if let (Some(label), true) = (section.label.given(), section.file.is_missing()) {
        report.wrong(&label.at, "only rows of a file have labels", "remove it, or give a `file`");
    }
    if let Some(generate) = section.generate.get() {
        let (mut dynamic, mut count) = (4, 16);
        set_count(&mut dynamic, &generate.dynamic);
        set_count(&mut count, &generate.count);
        return generated(dynamic, count);
    }
    if let Some(text) = section.text.get() {
        return Some(InputSpec::Text(text.0.clone()));
    }
    if let Some(pairs) = section.pairs.given() {
        let named = pairs.value.model.get().map(|model| model.0.as_str()).or(model);
        let Some(model) = named else {
            report.wrong(&pairs.at, "it names no model whose pairs are meant", "add the key \"model\" here");
            return None;
        };
        let server = pairs.value.server.get()?.0.clone();
        return Some(InputSpec::Pairs { server, model: model.to_owned() });
    }
    let path = files::existing(&section.file, base, report)?;
    let file = section.file.given()?;
    let Some(kind) = file_kind(&path) else {
        let fix = "name it .jsonl, .csv, .npy, or .json for recorded pairs";
        report.wrong(&file.at, "it is not told by its name what the file holds", fix);
        return None;
    };
    Some(InputSpec::File { path, kind, label: section.label.get().map(|label| label.0.clone()) })
}

fn check_spec(raw: &raw::LoadCheck, request: &raw::LoadRequest, report: &mut Report) -> CheckSpec {
    let values = raw.values.get().map(|list| list.items.as_slice()).unwrap_or_default();
    let labelled = request.inputs.get().is_some_and(|inputs| !inputs.label.is_missing());
    if let (Some(given), false) = (raw.label.given(), labelled) {
        report.wrong(&given.at, "there is no label to compare with", "name its column in `inputs.label`");
    }
    CheckSpec {
        status: raw.status.get().and_then(|status| u16::try_from(status.0).ok()),
        values: values
            .iter()
            .filter_map(|item| {
                let pointer = item.value.pointer.get()?.0.clone();
                Some(ValueCheck { pointer, equals: item.value.equals.get().map(|text| text.0.clone()) })
            })
            .collect(),
        label: raw.label.get().and_then(|label| {
            let pointer = label.pointer.get()?.0.clone();
            Some(LabelCheck { pointer, argmax: label.argmax.get().is_some_and(|flag| flag.0) })
        }),
    }
}

/// A rate as written, which must be above zero and not beyond what can be meant.
fn rate(given: &Given<super::super::measure::Number>, may_be_zero: bool, report: &mut Report) -> Option<f64> {
    let rate = given.value.0;
    if rate > 1e7 || (rate <= 0.0 && !may_be_zero) {
        report.wrong(
            &given.at,
            format!("{rate} requests per second cannot be sent"),
            "write 0.001 to 10000000",
        );
        return None;
    }
    Some(rate)
}

fn load_spec(raw: &raw::Load, base: &Path, report: &mut Report) -> Option<LoadSpec> {
    let keys = [
        ("rate", raw.rate.is_missing()),
        ("stages", raw.stages.is_missing()),
        ("trace", raw.trace.is_missing()),
        ("clients", raw.clients.is_missing()),
        ("findMax", raw.find_max.is_missing()),
    ];
    exactly_one("way for requests to arrive", &keys, &raw.at, report)?;
    let mut duration = Duration::from_secs(30);
    set_time(&mut duration, &raw.duration);
    if let (Some(given), true) = (raw.duration.given(), raw.rate.is_missing() && raw.clients.is_missing()) {
        let message = "only `rate` and `clients` have a duration here";
        report.wrong(&given.at, message, "remove it; stages, traces and probes have their own");
    }
    if let (Some(given), true) = (raw.arrivals.given(), raw.rate.is_missing() && raw.stages.is_missing()) {
        report.wrong(&given.at, "only `rate` and `stages` are spread in a way of their own", "remove it");
    }
    let arrivals = match raw.arrivals.get().map(|word| word.0) {
        Some(ArrivalWord::Constant) => ArrivalSpec::Constant,
        Some(ArrivalWord::Poisson) | None => ArrivalSpec::Poisson,
    };
    if let Some(given) = raw.rate.given() {
        let rate = rate(given, false, report)?;
        return Some(LoadSpec::Open { stages: vec![Stage { from: rate, to: rate, duration }], arrivals });
    }
    if let Some(list) = raw.stages.get() {
        return Some(LoadSpec::Open { stages: stages(list, report), arrivals });
    }
    if let Some(clients) = raw.clients.get() {
        return Some(LoadSpec::Closed { clients: number(clients.0), duration });
    }
    if let Some(find) = raw.find_max.given() {
        return find_max(find, report).map(LoadSpec::FindMax);
    }
    let trace = raw.trace.get()?;
    let path = files::existing(&trace.file, base, report)?;
    let mut speed = 1.0;
    set_number(&mut speed, &trace.speed);
    if let (Some(given), true) = (trace.speed.given(), speed <= 0.0) {
        report.wrong(&given.at, "a trace without speed never ends", "write more than 0");
        return None;
    }
    let given = trace.file.given()?;
    match inputs::trace(&path, speed) {
        Ok(times) => {
            Some(LoadSpec::Open { stages: Vec::new(), arrivals: ArrivalSpec::Trace(Arc::from(times)) })
        }
        Err(error) => {
            report.wrong(&given.at, error.to_string(), "");
            None
        }
    }
}

fn stages(list: &List<raw::LoadStage, 1, 64>, report: &mut Report) -> Vec<Stage> {
    let mut found: Vec<Stage> = Vec::new();
    for item in &list.items {
        let keys = [("rate", item.value.rate.is_missing()), ("rampTo", item.value.ramp_to.is_missing())];
        let Some(()) = exactly_one("rate", &keys, &item.at, report) else { continue };
        let Some(duration) = item.value.duration.get() else { continue };
        let before = found.last().map_or(0.0, |stage| stage.to);
        let stage = match (item.value.rate.given(), item.value.ramp_to.given()) {
            (Some(given), _) => rate(given, true, report).map(|rate| (rate, rate)),
            (_, Some(given)) => rate(given, true, report).map(|rate| (before, rate)),
            _ => None,
        };
        found.extend(stage.map(|(from, to)| Stage { from, to, duration: duration.0 }));
    }
    found
}

fn find_max(find: &Given<raw::LoadFindMax>, report: &mut Report) -> Option<FindMaxSpec> {
    let raw = &find.value;
    let mut spec = FindMaxSpec {
        from: 10.0,
        to: 10_000.0,
        precision: 0.05,
        probe: Duration::from_secs(10),
        confirmations: 2,
        poisson: raw.arrivals.get().is_none_or(|word| word.0 == ArrivalWord::Poisson),
    };
    set_number(&mut spec.from, &raw.from);
    set_number(&mut spec.to, &raw.to);
    super::set_rate(&mut spec.precision, &raw.precision);
    set_time(&mut spec.probe, &raw.probe);
    set_count(&mut spec.confirmations, &raw.confirmations);
    for given in [raw.from.given(), raw.to.given()].into_iter().flatten() {
        rate(given, false, report)?;
    }
    if let (Some(given), true) = (raw.precision.given(), spec.precision < 0.001) {
        report.wrong(&given.at, "no search is that exact", "write 0.1% or more");
        return None;
    }
    if spec.to < spec.from {
        let at = raw.to.given().map_or(&find.at, |given| &given.at);
        report.wrong(
            at,
            format!("the search would end at {} and begin at {}", spec.to, spec.from),
            "swap them",
        );
        return None;
    }
    Some(spec)
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
