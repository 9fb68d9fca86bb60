//! What the rollouts of accepted configurations mean.

use std::collections::BTreeMap;
use std::path::Path;

use switchback::base::Weight;
use switchback::config;
use switchback::control::rollouts::spec::{Asked, FeatureSource, FeatureSpec, RolloutSpec};
use switchback::divergence::score::ScoreSpec;
use switchback::divergence::segment::{At, ColumnSpec};
use switchback::rollout::policy::{
    Advance, Analysis, Bake, CheckSpec, CircuitBreaker, Divergence, Drift, ErrorRate, Gate, GateKind, Harm,
    Latency, LatencyBound, Limit, Metric, OnInconclusive, Pause, Policy, Prediction, Profile, RelativeRate,
    Rule, Segments, SetWeight, Shadow, Signal, Step, Threshold, Unit, Warmup,
};
use switchback::rollout::time::Millis;
use switchback::routing::spec::SegmentSource::{Column, Key};
use switchback::routing::spec::{Dimension, SegmentSource, SegmentSpec};
use switchback::split::KeySource;

use super::{bp, folder, good};

/// A model with two versions and this rollout; `more` stands beside it.
fn yaml(more: &str, rollout: &str) -> String {
    let version = |name: &str| format!("{{name: {name}, upstream: {{url: \"http://h:1\"}}}}");
    let (a, b) = (version("a"), version("b"));
    format!(
        "store: {{path: s}}\nmodels:\n- name: m\n  versions: [{a}, {b}]\n  {more}\n  rollout: {rollout}\n"
    )
}

/// The rollout of a model that says this; the store's folder is there.
fn read(more: &str, rollout: &str) -> RolloutSpec {
    let text = yaml(more, rollout);
    let config = config::parse(&text, Path::new("/")).unwrap_or_else(|errors| panic!("{text}\n{errors}"));
    assert_eq!(config.warnings, [], "{text}");
    assert_eq!(config.rollouts.len(), 1);
    config.rollouts[0].clone()
}

fn analysis(text: &str) -> Analysis {
    read("", &format!("{{steps: [{{setWeight: 5%}}], analysis: {text}}}")).policy.analysis
}

fn rule(text: &str) -> Rule {
    analysis(&format!("{{metrics: [{text}]}}")).checks[0].rule.clone()
}

#[test]
fn one_step_is_a_whole_rollout() {
    let rollout = read("", "{steps: [{setWeight: 5%}]}");
    let step = SetWeight { weight: bp(500), advance: Advance::default() };
    let policy = Policy { steps: vec![Step::SetWeight(step)], ..Policy::default() };
    let expected = RolloutSpec {
        model: switchback::base::ModelName::new("m").unwrap(),
        candidate: None,
        policy,
        segment: None,
        scores: BTreeMap::new(),
        features: BTreeMap::new(),
        gates: Vec::new(),
    };
    assert_eq!(rollout, expected);
    // What the defaults promise: one false rollback in a hundred, no harm twice as large.
    let Analysis { alpha, beta, randomize_by, .. } = rollout.policy.analysis;
    assert_eq!((alpha, beta, randomize_by), (0.01, 0.05, Unit::Request));
}

#[test]
fn every_step_arrives_with_its_settings() {
    let advance = Advance {
        harm: Harm { ratio: 3.5, min_rate: 0.02 },
        min_duration: Millis::minutes(2),
        max_duration: Some(Millis::hours(3)),
        max_requests: Some(4_000),
        on_inconclusive: OnInconclusive::Rollback,
    };
    let keys = "minDuration: 2m, maxDuration: 3h, maxRequests: 4000, onInconclusive: rollback, \
                harm: {ratio: 3.5, minRate: 2%}";
    let steps = format!(
        "[{{shadow: {{}}}}, {{shadow: {{sample: 50%, minPairs: 7, minCoverage: 80.5%, {keys}}}}}, \
         {{setWeight: 25bp}}, {{setWeight: {{weight: 5%, {keys}}}}}, {{pause: 5m}}, {{pause: {{}}}}, \
         {{pause: {{duration: 1h30m}}}}, {{setWeight: {{weight: 6%, maxDuration: none, \
         onInconclusive: advance}}}}, {{setWeight: {{weight: 7%, minDuration: 2h}}}}, \
         {{bake: {{duration: 48h, holdback: 2%}}}}]"
    );
    let shadow = Shadow { sample: bp(5_000), min_pairs: 7, min_coverage: 0.805, advance: advance.clone() };
    let patient =
        Advance { max_duration: None, on_inconclusive: OnInconclusive::Advance, ..Advance::default() };
    // A least time beyond the usual deadline moves it.
    let long = Advance {
        min_duration: Millis::hours(2),
        max_duration: Some(Millis::hours(2)),
        ..Advance::default()
    };
    let expected = [
        Step::Shadow(Shadow::default()),
        Step::Shadow(shadow),
        Step::SetWeight(SetWeight { weight: bp(25), advance: Advance::default() }),
        Step::SetWeight(SetWeight { weight: bp(500), advance }),
        Step::Pause(Pause { duration: Some(Millis::minutes(5)) }),
        Step::Pause(Pause { duration: None }),
        Step::Pause(Pause { duration: Some(Millis::minutes(90)) }),
        Step::SetWeight(SetWeight { weight: bp(600), advance: patient }),
        Step::SetWeight(SetWeight { weight: bp(700), advance: long }),
        Step::Bake(Bake { duration: Millis::hours(48), holdback: bp(200) }),
    ];
    let rollout = read("", &format!("{{candidate: b, autoStart: true, steps: {steps}}}"));
    assert_eq!(rollout.policy.steps, expected);
    assert!(rollout.policy.auto_start);
    assert_eq!(rollout.candidate.as_ref().map(|c| c.as_str()), Some("b"));
    let short = read("", "{steps: [{bake: 90m}]}");
    assert_eq!(
        short.policy.steps,
        [Step::Bake(Bake { duration: Millis::minutes(90), holdback: Weight::ZERO })]
    );
}

#[test]
fn sticky_traffic_is_judged_by_key_because_a_key_is_what_was_drawn() {
    let unit = |sticky, analysis: &str| {
        let rollout = format!("{{steps: [{{setWeight: 5%}}], analysis: {analysis}}}");
        read(sticky, &rollout).policy.analysis.randomize_by
    };
    assert_eq!(unit("", "{}"), Unit::Request);
    assert_eq!(unit("", "{randomizeBy: request}"), Unit::Request);
    assert_eq!(unit("sticky: {header: x-user}", "{}"), Unit::Key);
    assert_eq!(unit("sticky: {header: x-user}", "{randomizeBy: key}"), Unit::Key);
    assert_eq!(
        read("sticky: {header: x}", "{steps: [{setWeight: 5%}]}").policy.analysis.randomize_by,
        Unit::Key
    );
}

#[test]
fn what_concerns_the_whole_analysis_arrives() {
    let found = analysis(
        "{alpha: 0.02, beta: 0.1, warmup: {requests: 200, duration: 30s}, metrics: [], \
         circuitBreaker: {window: 40, maxFailures: 10}}",
    );
    let expected = Analysis {
        alpha: 0.02,
        beta: 0.1,
        randomize_by: Unit::Request,
        warmup: Warmup { requests: 200, duration: Millis::seconds(30) },
        checks: Vec::new(),
        segments: None,
        circuit_breaker: Some(CircuitBreaker { window: 40, max_failures: 10 }),
        thresholds: Vec::new(),
    };
    assert_eq!(found, expected);
    assert_eq!(analysis("{circuitBreaker: none}").circuit_breaker, None);
}

#[test]
fn a_limit_alone_compares_with_nothing_else_and_both_may_be_asked_for() {
    let absolute = Some(Limit { max: 0.02 });
    let usual = RelativeRate { tolerance: 1.0, min_effect: 1.2, min_rate: 0.002 };
    let own = RelativeRate { tolerance: 1.5, min_effect: 2.0, min_rate: 0.03 };
    for (text, relative, absolute) in [
        ("{}", Some(usual), None),
        ("{relative: {}}", Some(usual), None),
        ("{absolute: {max: 2%}}", None, absolute),
        ("{relative: none, absolute: {max: 2%}}", None, absolute),
        ("{relative: {}, absolute: {max: 2%}}", Some(usual), absolute),
        ("{relative: {tolerance: 1.5, minEffect: 2, minRate: 3%}}", Some(own), None),
    ] {
        let expected = Rule::ErrorRate(ErrorRate { relative, absolute });
        assert_eq!(rule(&format!("{{errorRate: {text}}}")), expected, "{text}");
    }
}

#[test]
fn a_limit_of_a_duration_alone_compares_no_quantiles() {
    let absolute = Some(LatencyBound { quantile: 0.999, max_nanos: 500_000_000 });
    let usual = || vec![0.5, 0.9, 0.99];
    for (key, signal) in [
        ("latency", Signal::Latency),
        ("timeToFirstToken", Signal::TimeToFirstToken),
        ("interToken", Signal::InterToken),
    ] {
        for (text, quantiles, tolerance, min, absolute) in [
            ("{}", usual(), 1.1, 1, None),
            ("{minDifference: 20ms}", usual(), 1.1, 20, None),
            ("{minDifference: 0s, absolute: {p99.9: 500ms}}", usual(), 1.1, 0, absolute),
            ("{tolerance: 1.5}", usual(), 1.5, 1, None),
            ("{quantiles: [p50, p99.9]}", vec![0.5, 0.999], 1.1, 1, None),
            ("{absolute: {p99.9: 500ms}}", vec![], 1.1, 1, absolute),
            ("{tolerance: 1.5, absolute: {p99.9: 500ms}}", usual(), 1.5, 1, absolute),
            ("{quantiles: [p90], absolute: {p99.9: 500ms}}", vec![0.9], 1.1, 1, absolute),
            ("{quantiles: [], tolerance: 1.5, absolute: {p99.9: 500ms}}", vec![], 1.5, 1, absolute),
        ] {
            let min_difference_nanos = min * 1_000_000;
            let expected =
                Rule::Latency(Latency { signal, quantiles, tolerance, min_difference_nanos, absolute });
            assert_eq!(rule(&format!("{{{key}: {text}}}")), expected, "{key}: {text}");
        }
    }
}

#[test]
fn divergence_is_judged_beside_the_noise_unless_it_is_told_not_to() {
    let relative = RelativeRate { tolerance: 1.0, min_effect: 1.5, min_rate: 0.01 };
    let own = RelativeRate { tolerance: 2.0, min_effect: 3.0, min_rate: 0.04 };
    for (text, noise_control, relative, max) in [
        ("{}", 0.3, Some(relative), Some(0.05)),
        ("{noiseControl: 12.34%, max: 0.5%}", 0.1234, Some(relative), Some(0.005)),
        ("{relative: none}", 0.3, None, Some(0.05)),
        ("{max: none}", 0.3, Some(relative), None),
        ("{noiseControl: 0%}", 0.0, Some(relative), Some(0.05)),
        ("{relative: {tolerance: 2, minEffect: 3, minRate: 4%}}", 0.3, Some(own), Some(0.05)),
    ] {
        let expected = Rule::Divergence(Divergence { noise_control, relative, max });
        assert_eq!(rule(&format!("{{divergence: {text}}}")), expected, "{text}");
    }
}

#[test]
fn checks_have_the_name_of_their_rule_unless_they_have_one_of_their_own() {
    let rules = [
        ("errorRate: {}", "error-rate"),
        ("latency: {}", "latency"),
        ("timeToFirstToken: {}", "time-to-first-token"),
        ("interToken: {}", "inter-token"),
        ("divergence: {}", "divergence"),
        ("prediction: {output: p}", "prediction"),
        ("drift: {profiles: [{feature: f, input: x, edges: [1], shares: [0.5, 0.5]}]}", "drift"),
        ("name: mine, share: 0.25, latency: {}", "mine"),
    ];
    let written: Vec<_> = rules.iter().map(|(rule, _)| format!("{{{rule}}}")).collect();
    let found = analysis(&format!("{{metrics: [{}]}}", written.join(", ")));
    let names: Vec<_> = found.checks.iter().map(|check| check.name.as_str()).collect();
    assert_eq!(names, rules.map(|(_, name)| name));
    let shares: Vec<_> = found.checks.iter().map(|check| check.share).collect();
    assert_eq!(shares, [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.25]);
}

#[test]
fn what_the_policy_knows_by_name_only_is_found_where_the_name_leads() {
    let rollout = read(
        "",
        "{steps: [{setWeight: 5%}], analysis: {segments: {by: {cookie: region}, max: 7}, metrics: [\
         {name: a, prediction: {output: p, index: 3, rankShift: 0.1}}, {name: b, prediction: {pointer: /s/0}}, \
         {drift: {warn: 0.2, alert: 0.3, profiles: [\
         {feature: amount, input: x, column: 2, edges: [-1.5, 2], shares: [0.2, 0.3, 0.5]}, \
         {feature: age, pointer: /age, edges: [1], shares: [0.5, 0.5]}]}}]}}",
    );
    let score = ScoreSpec::Output { name: "p".to_owned(), index: 3 };
    let pointer = ScoreSpec::Pointer("/s/0".to_owned());
    let scores = [("p[3]".to_owned(), score), ("/s/0".to_owned(), pointer)];
    assert_eq!(rollout.scores, BTreeMap::from(scores));
    let column = FeatureSource::Column { input: "x".to_owned(), column: 2 };
    let pointer = FeatureSource::Pointer("/age".to_owned());
    let features = [
        ("amount".to_owned(), FeatureSpec { source: column, edges: vec![-1.5, 2.0] }),
        ("age".to_owned(), FeatureSpec { source: pointer, edges: vec![1.0] }),
    ];
    assert_eq!(rollout.features, BTreeMap::from(features));
    let source = SegmentSource::Key(KeySource::Cookie("region".to_owned()));
    let dimension = Dimension { name: None, source, edges: Vec::new(), max: 7 };
    assert_eq!(rollout.segment, Some(SegmentSpec { dimensions: vec![dimension] }));

    let analysis = &rollout.policy.analysis;
    assert_eq!(analysis.segments, Some(Segments { by: vec!["region".to_owned()], max: 7 }));
    let profile =
        |feature: &str, shares: &[f64]| Profile { feature: feature.to_owned(), shares: shares.to_vec() };
    let profiles = vec![profile("amount", &[0.2, 0.3, 0.5]), profile("age", &[0.5, 0.5])];
    let prediction =
        |value: &str, rank_shift| Rule::Prediction(Prediction { value: value.to_owned(), rank_shift });
    let expected = [
        CheckSpec::new("a", 1.0, prediction("p[3]", 0.1)),
        CheckSpec::new("b", 1.0, prediction("/s/0", 0.02)),
        CheckSpec::new("drift", 1.0, Rule::Drift(Drift { profiles, warn: 0.2, alert: 0.3 })),
    ];
    assert_eq!(analysis.checks, expected);
}

#[test]
fn segments_come_from_a_header_a_cookie_the_body_or_an_input() {
    let column = |at| ColumnSpec { input: "x".to_owned(), at };
    let pointer = KeySource::JsonPointer("/user/region".to_owned());
    for (text, name, source, edges) in [
        ("header: X-Region", "x-region", Key(KeySource::Header("x-region".parse().unwrap())), vec![]),
        ("cookie: r", "r", Key(KeySource::Cookie("r".to_owned())), vec![]),
        ("jsonPointer: /user/region", "/user/region", Key(pointer), vec![]),
        ("input: x", "x[0]", Column(column(At::Index(0))), vec![]),
        ("input: x, column: 3, edges: [-1, 2.5]", "x[3]", Column(column(At::Index(3))), vec![-1.0, 2.5]),
        ("input: x, key: age", "x.age", Column(column(At::Key("age".to_owned()))), vec![]),
    ] {
        let rollout =
            read("", &format!("{{steps: [{{setWeight: 5%}}], analysis: {{segments: {{by: {{{text}}}}}}}}}"));
        let dimensions = vec![Dimension { name: None, source, edges, max: 50 }];
        assert_eq!(rollout.segment, Some(SegmentSpec { dimensions }));
        let by = rollout.policy.analysis.segments;
        assert_eq!(by, Some(Segments { by: vec![name.to_owned()], max: 50 }));
    }
}

#[test]
fn requests_are_told_apart_in_several_ways_at_once_each_with_its_own_limit() {
    let rollout = read(
        "",
        "{steps: [{setWeight: 5%}], analysis: {segments: {by: [{name: region, header: x-region, max: 20}, \
         {name: age, input: features, column: 2, edges: [18, 65], max: 3}, {name: tier, cookie: t}]}}}",
    );
    let dimensions = rollout.segment.unwrap().dimensions;
    let said: Vec<_> =
        dimensions.iter().map(|d| (d.name.as_deref().unwrap(), d.edges.len(), d.max)).collect();
    assert_eq!(said, [("region", 0, 20), ("age", 2, 3), ("tier", 0, 50)]);
    let by = ["region", "age", "tier"].map(str::to_owned).to_vec();
    assert_eq!(rollout.policy.analysis.segments, Some(Segments { by, max: 73 }));
}

#[test]
fn thresholds_arrive_in_seconds_and_fractions() {
    let found = analysis(
        "{thresholds: [{metric: errorRate, max: 5%}, {metric: successRate, min: 95%, window: 5m, minRequests: 9}, \
         {metric: divergenceRate, min: 10bp, max: 20bp}, {name: slow, metric: p99.9, max: 1500ms}, \
         {metric: p50, signal: interToken, max: 2s}]}",
    );
    let threshold = |name: &str, metric, max, min| Threshold {
        name: name.to_owned(),
        metric,
        max,
        min,
        window: Millis::minutes(1),
        min_requests: 50,
    };
    let quantile = |signal, quantile| Metric::Quantile { signal, quantile };
    let patient = Threshold {
        window: Millis::minutes(5),
        min_requests: 9,
        ..threshold("successRate", Metric::SuccessRate, None, Some(0.95))
    };
    let expected = [
        threshold("errorRate", Metric::ErrorRate, Some(0.05), None),
        patient,
        threshold("divergenceRate", Metric::DivergenceRate, Some(0.002), Some(0.001)),
        threshold("slow", quantile(Signal::Latency, 0.999), Some(1.5), None),
        threshold("p50", quantile(Signal::InterToken, 0.5), Some(2.0), None),
    ];
    assert_eq!(found.thresholds, expected);
}

#[test]
fn every_kind_of_gate_arrives_with_who_answers_it() {
    let kinds = [
        ("confirm-rollout", GateKind::ConfirmRollout),
        ("pre-rollout", GateKind::PreRollout),
        ("confirm-traffic-increase", GateKind::ConfirmTrafficIncrease),
        ("confirm-promotion", GateKind::ConfirmPromotion),
        ("post-rollout", GateKind::PostRollout),
        ("rollback", GateKind::Rollback),
        ("event", GateKind::Event),
    ];
    let mut gates: Vec<_> = kinds
        .iter()
        .map(|(word, _)| {
            format!("{{name: g-{word}, kind: {word}, url: \"http://h/{word}?k=1\", metadata: {{a: b}}}}")
        })
        .collect();
    gates
        .push("{name: golden, kind: golden, examples: golden.jsonl, timeout: 5m, retryEvery: 1m}".to_owned());
    let text = yaml("", &format!("{{steps: [{{setWeight: 5%}}], gates: [{}]}}", gates.join(", ")));
    let folder = folder();
    let config = config::parse(&text, folder.path()).unwrap_or_else(|errors| panic!("{errors}"));
    let rollout = &config.rollouts[0];
    for (i, (word, kind)) in kinds.into_iter().enumerate() {
        assert_eq!(rollout.policy.gates[i], Gate::new(&format!("g-{word}"), kind));
        let Asked::Webhook { url, metadata } = &rollout.gates[i].asked else { panic!("{word}") };
        assert_eq!(url.expose(), format!("http://h/{word}?k=1"));
        assert_eq!(*metadata, BTreeMap::from([("a".to_owned(), "b".to_owned())]));
        assert_eq!(rollout.gates[i].name, rollout.policy.gates[i].name);
    }
    let golden = Gate {
        timeout: Millis::minutes(5),
        retry_every: Millis::minutes(1),
        ..Gate::new("golden", GateKind::Golden)
    };
    assert_eq!(rollout.policy.gates[7], golden);
    assert_eq!(rollout.gates[7].asked, Asked::Golden { examples: folder.path().join("golden.jsonl") });
}

#[test]
fn a_rollout_that_would_be_forgotten_or_never_start_is_warned_about_once() {
    let model = |name: &str| {
        let version = "versions: [{name: a, upstream: {url: \"http://h:1\"}}]";
        format!("- name: {name}\n  {version}\n  rollout: {{autoStart: true, steps: [{{setWeight: 5%}}]}}\n")
    };
    let config = good(&format!("models:\n{}{}", model("m"), model("n")));
    let lines: Vec<_> = config.warnings.iter().map(ToString::to_string).collect();
    assert_eq!(
        lines,
        [
            "config:4:12: warning: models[0].rollout: there is no `store`: a restart forgets rollouts, and what \
             was rolled back may be tried again: write `store: {path: switchback.db}`",
            "config:4:24: warning: models[0].rollout.autoStart: no candidate is named, so nothing starts: name \
             one with `candidate`",
            "config:7:24: warning: models[1].rollout.autoStart: no candidate is named, so nothing starts: name \
             one with `candidate`",
        ]
    );
}

#[test]
fn a_harm_that_cannot_be_is_warned_about_where_it_is_declared() {
    let warnings = |steps: &str, quantiles: &str| {
        let text = yaml(
            "",
            &format!(
                "{{steps: [{steps}], analysis: {{metrics: [{{latency: {{quantiles: [{quantiles}]}}}}]}}}}"
            ),
        );
        let config = config::parse(&text, Path::new("/")).unwrap_or_else(|errors| panic!("{errors}"));
        config.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    let said = warnings("{setWeight: {weight: 5%, harm: {ratio: 2}}}", "p50");
    assert_eq!(said.len(), 1, "{said:?}");
    assert!(
        said[0].contains(
            "steps[0].setWeight.harm.ratio: 2 times as many requests beyond p50 as stable has cannot be, so \
             \"latency\" rules nothing out: write a harm ratio below 2.000, or give the check a higher quantile"
        ),
        "{said:?}"
    );
    // The default ratio is 2, too.
    assert_eq!(warnings("{setWeight: 5%}, {pause: 1m}, {setWeight: 10%}", "p50").len(), 2);
    assert_eq!(warnings("{setWeight: {weight: 5%, harm: {ratio: 1.9}}}", "p50"), [""; 0]);
    assert_eq!(warnings("{setWeight: 5%}", "p50, p90"), [""; 0]);
    assert_eq!(warnings("{setWeight: {weight: 5%, harm: {ratio: 10}}}", "p90").len(), 1);
}
