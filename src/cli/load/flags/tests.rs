//! Flags, and what they mean.

use std::time::Duration;

use super::*;
use crate::load::spec::{ArrivalSpec, Format, InputSpec, LoadSpec};

fn of(url: &str, flags: Flags) -> Scenario {
    flags.scenario(Some(url)).unwrap_or_else(|error| panic!("{url}: {error}"))
}

#[test]
fn a_url_says_what_is_sent() {
    for (url, format, model, version) in [
        ("http://h:1/v2/models/fraud/infer", Format::V2, Some("fraud"), None),
        ("http://h:1/v2/models/fraud/versions/3/infer", Format::V2, Some("fraud"), Some("3")),
        ("http://h:1/score?x=1", Format::Plain, None, None),
        ("http://h:1", Format::Plain, None, None),
        ("unix:/run/x.sock", Format::Plain, None, None),
    ] {
        let scenario = of(url, Flags::default());
        let request = &scenario.requests[0];
        assert_eq!(
            (request.format, request.model.as_deref(), request.version.as_deref()),
            (format, model, version)
        );
        assert_eq!(request.path.as_deref(), (url == "http://h:1/score?x=1").then_some("/score?x=1"));
    }
    let body = || Some("{\"instances\": [1]}".to_owned());
    let v1 = of("http://h:1/v1/models/m:predict", Flags { body: body(), ..Flags::default() });
    assert_eq!(
        (v1.requests[0].format, v1.requests[0].inputs.clone()),
        (Format::V1, InputSpec::Text(body().unwrap()))
    );
    let chat = Flags { model: Some("llm".into()), ..Flags::default() };
    let chat = of("http://h:1/v1/chat/completions", chat);
    assert_eq!(
        (chat.requests[0].format, chat.requests[0].model.as_deref()),
        (Format::ChatStream, Some("llm"))
    );
}

#[test]
fn defaults_are_those_that_the_help_tells() {
    let scenario = of("http://h:1/", Flags::default());
    let LoadSpec::Open { stages, arrivals } = &scenario.load else { panic!() };
    assert_eq!((stages[0].from, stages[0].duration), (10.0, Duration::from_secs(30)));
    assert_eq!(arrivals, &ArrivalSpec::Poisson);
    assert_eq!((scenario.warmup, scenario.seed), (Duration::from_secs(1), 1));
    assert_eq!(
        (scenario.limits.timeout, scenario.limits.max_requests),
        (Duration::from_secs(10), 10_000_000)
    );
    assert!(!scenario.allow_remote);
}

#[test]
fn targets_are_compared_by_url_or_by_version() {
    let flags = |a: &str, b: &str| Flags { compare: vec![a.into(), b.into()], ..Flags::default() };
    let urls = flags("A=http://a:1/score", "B=http://b:1/score").scenario(None).unwrap();
    assert_eq!(urls.targets.iter().map(|t| t.url.as_str()).collect::<Vec<_>>(), ["http://a:1", "http://b:1"]);
    assert_eq!(urls.requests[0].path.as_deref(), Some("/score"));
    let versions = of("http://h:1/v2/models/m/infer", flags("A=v1", "B=v2"));
    let pin = |at: usize| versions.targets[at].headers[0].1.to_str().unwrap().to_owned();
    assert_eq!((pin(0), pin(1)), ("v1".to_owned(), "v2".to_owned()));
    assert!(flags("A=v1", "B=v2").scenario(None).unwrap_err().contains("--compare"));
    assert!(flags("B=http://b:1", "A=http://a:1").scenario(None).unwrap_err().contains("write A=URL"));
}

#[test]
fn every_mistake_is_one_line_that_names_its_flag() {
    let flags = Flags::default;
    let text = |text: &str| Some(text.to_owned());
    for (flags, url, part) in [
        (Flags { rate: Some(0.0), ..flags() }, "http://h:1", "--rate: 0 requests per second"),
        (
            Flags { duration: text("30"), ..flags() },
            "http://h:1",
            "--duration: \"30\" is not a duration: write the unit",
        ),
        (Flags { slo: vec!["p99<80".into()], ..flags() }, "http://h:1", "--slo \"p99<80\""),
        (
            Flags { slo: vec!["B/A p99<2".into()], ..flags() },
            "http://h:1",
            "--slo: there is nothing to compare",
        ),
        (
            Flags { find_max: true, ..flags() },
            "http://h:1",
            "--slo: a search for the highest rate needs a goal",
        ),
        (Flags { format: text("v3"), ..flags() }, "http://h:1", "--format: \"v3\" is not a format"),
        (
            Flags { format: text("v2"), ..flags() },
            "http://h:1",
            "--model: a request of the format \"v2\" names a model",
        ),
        (
            Flags { data: Some("/no/such.csv".into()), ..flags() },
            "http://h:1/v1/models/m:predict",
            "--data: /no/such.csv does not exist",
        ),
        (Flags { header: vec!["x".into()], ..flags() }, "http://h:1", "--header \"x\": write NAME:VALUE"),
        (Flags { watch: vec!["x".into()], ..flags() }, "http://h:1", "--watch \"x\": write NAME=PID"),
        (Flags { slo: vec!["x.cpu<1%".into()], ..flags() }, "http://h:1", "--slo: no process of that name"),
        (flags(), "ftp://h:1", "URL: \"ftp://h:1\" has a scheme that is not known"),
        (flags(), "127.0.0.1:80", "URL: \"127.0.0.1:80\" has no scheme: write \"http://127.0.0.1:80\""),
    ] {
        let said = flags.scenario(Some(url)).unwrap_err();
        assert!(said.contains(part) && !said.contains('\n'), "{said}");
    }
}

#[test]
fn flags_change_a_scenario() {
    let text = "{name: s, target: 'http://h:1/base', requests: [{format: plain, path: /x}], load: {rate: 5}, slos: [p99<1s]}";
    let scenario = || config::parse_scenario(text, "s", Path::new("")).unwrap();
    let same = Flags::default().change(scenario(), None).unwrap();
    assert_eq!(same, scenario());
    let flags = Flags {
        rate: Some(7.0),
        duration: Some("3s".into()),
        slo: vec!["p50<1ms".into()],
        seed: Some(9),
        ..Flags::default()
    };
    let changed = flags.change(scenario(), Some("http://other:2")).unwrap();
    let LoadSpec::Open { stages, .. } = &changed.load else { panic!() };
    assert_eq!((stages[0].from, stages[0].duration), (7.0, Duration::from_secs(3)));
    assert_eq!((changed.slos[0].text.as_str(), changed.seed), ("p50<1ms", 9));
    assert_eq!((changed.targets[0].url.as_str(), changed.targets[0].prefix.as_str()), ("http://other:2", ""));
    assert_eq!(changed.requests, scenario().requests);
    let only = Flags { duration: Some("3s".into()), ..Flags::default() };
    let LoadSpec::Open { stages, .. } = only.change(scenario(), None).unwrap().load else { panic!() };
    assert_eq!((stages[0].from, stages[0].duration), (5.0, Duration::from_secs(3)));
    let model = Flags { model: Some("m".into()), ..Flags::default() };
    assert!(model.change(scenario(), None).unwrap_err().contains("--model: a scenario says what is sent"));
}

/// A scenario as a file has it, with what `flags` say otherwise.
fn changed(load: &str, url: Option<&str>, flags: Flags) -> Result<Scenario, String> {
    let text = format!(
        "{{target: 'http://h:1', requests: [{{format: plain, path: /x}}], load: {load}, slos: ['p50 < 1s']}}"
    );
    flags.change(config::parse_scenario(&text, "s", Path::new("")).unwrap(), url)
}

#[test]
fn a_flag_changes_what_it_says_of_a_scenario_and_nothing_else() {
    let load = |load: &str, flags: Flags| changed(load, None, flags).map(|scenario| scenario.load);
    let minute = Duration::from_secs(60);
    let stage = |rate: f64, duration| vec![crate::load::schedule::Stage { from: rate, to: rate, duration }];
    let constant = "{rate: 20, duration: 1m, arrivals: constant}";
    let open = |rate, duration, arrivals| Ok(LoadSpec::Open { stages: stage(rate, duration), arrivals });
    assert_eq!(
        load(constant, Flags { rate: Some(5.0), ..Flags::default() }),
        open(5.0, minute, ArrivalSpec::Constant)
    );
    assert_eq!(
        load(constant, Flags { arrivals: Some("poisson".into()), ..Flags::default() }),
        open(20.0, minute, ArrivalSpec::Poisson)
    );
    assert_eq!(
        load(constant, Flags { duration: Some("2s".into()), ..Flags::default() }),
        open(20.0, Duration::from_secs(2), ArrivalSpec::Constant)
    );
    assert_eq!(
        load(constant, Flags { clients: Some(3), ..Flags::default() }),
        Ok(LoadSpec::Closed { clients: 3, duration: minute })
    );
    let clients = "{clients: 3, duration: 1m}";
    let said = load(clients, Flags { arrivals: Some("poisson".into()), ..Flags::default() }).unwrap_err();
    assert!(said.starts_with("--arrivals: "), "{said}");
    let stages = "{stages: [{rate: 1, duration: 1s}, {rate: 2, duration: 1s}]}";
    let said = load(stages, Flags { duration: Some("2s".into()), ..Flags::default() }).unwrap_err();
    assert!(said.starts_with("--duration: "), "{said}");

    let search = "{findMax: {from: 50, to: 900, probe: 3s, precision: 10%, confirmations: 4}}";
    let flags = Flags { find_max: true, max_rate: Some(200.0), ..Flags::default() };
    let Ok(LoadSpec::FindMax(found)) = load(search, flags) else { panic!() };
    assert_eq!((found.from, found.to, found.probe), (50.0, 200.0, Duration::from_secs(3)));
    assert_eq!((found.precision, found.confirmations), (0.1, 4));
}

#[test]
fn a_path_in_a_url_stands_in_front_of_a_scenarios_paths() {
    let scenario = changed("{rate: 1}", Some("http://o:2/base"), Flags::default()).unwrap();
    let target = &scenario.targets[0];
    assert_eq!((target.prefix.as_str(), target.upstream.authority.as_str()), ("/base", "o:2"));
    assert_eq!(scenario.requests[0].path.as_deref(), Some("/x"));
}

#[test]
fn a_search_that_may_not_go_far_begins_below_its_end() {
    let flags = Flags { find_max: true, max_rate: Some(5.0), slo: vec!["p50<1s".into()], ..Flags::default() };
    let LoadSpec::FindMax(spec) = of("http://h:1/", flags).load else { panic!() };
    assert_eq!((spec.from, spec.to), (5.0, 5.0));
}
