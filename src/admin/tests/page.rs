//! The metrics page, read as strictly as Prometheus reads it.

use std::sync::Arc;

use super::{Fake, busy, get, start};
use crate::stats::{Registry, Snapshot};
use crate::telemetry::catalog::{self, Kind};

/// Name, type, and the samples with their labels as text.
type Family = (String, String, Vec<(String, f64)>);

/// What a strict reader makes of the page: families in order, each with its samples.
fn families(page: &str) -> Vec<Family> {
    let mut families: Vec<Family> = Vec::new();
    let mut lines = page.lines().peekable();
    while let Some(line) = lines.next() {
        let (name, _) = line.strip_prefix("# HELP ").expect(line).split_once(' ').unwrap();
        let kind = lines.next().unwrap().strip_prefix(&format!("# TYPE {name} ")).unwrap();
        assert!(families.iter().all(|(known, ..)| known != name), "{name} stands twice");
        let mut samples = Vec::new();
        while let Some(sample) = lines.next_if(|l| !l.starts_with('#')) {
            let (series, value) = sample.rsplit_once(' ').unwrap();
            let base = series.split('{').next().unwrap();
            let suffix = base.strip_prefix(name).expect(series);
            let suffixes: &[_] = if kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
            assert!(suffixes.contains(&suffix), "{series}");
            assert!(samples.iter().all(|(known, _)| known != series), "{series} stands twice");
            samples.push((series.to_owned(), value.parse().unwrap()));
        }
        assert!(!samples.is_empty(), "{name}");
        families.push((name.to_owned(), kind.to_owned(), samples));
    }
    families
}

fn value(page: &str, series: &str) -> f64 {
    let all = families(page);
    let found = all.iter().flat_map(|(_, _, samples)| samples).find(|(known, _)| known == series);
    found.unwrap_or_else(|| panic!("{series} is not on the page")).1
}

#[test]
fn the_page_holds_every_metric_of_the_catalogue_and_no_other() {
    let busy = Arc::into_inner(busy()).unwrap().rolling_out("v3");
    let answer = get(&start(Arc::new(busy)), "/metrics");
    assert!(answer.head.contains("content-type: text/plain; version=0.0.4"), "{}", answer.head);
    let on_page: Vec<_> = families(&answer.body).into_iter().map(|(n, k, _)| (n, k)).collect();
    let mut sorted = on_page.clone();
    sorted.sort();
    let mut known: Vec<_> =
        catalog::ALL.iter().map(|m| (m.name.to_owned(), m.kind.as_str().to_owned())).collect();
    known.sort();
    assert_eq!(sorted, known);
}

#[test]
fn the_numbers_on_the_page_are_those_of_all_workers() {
    let page = get(&start(busy()), "/metrics").body;
    let v1 = r#"model="fraud",version="v1",role="stable""#;
    for (series, expected) in [
        (format!("switchback_requests_total{{{v1},outcome=\"success\"}}"), 2.0),
        (format!("switchback_requests_total{{{v1},outcome=\"cancelled\"}}"), 2.0),
        (format!("switchback_request_duration_seconds_bucket{{{v1},le=\"0.001\"}}"), 0.0),
        (format!("switchback_request_duration_seconds_bucket{{{v1},le=\"0.0025\"}}"), 10.0),
        (format!("switchback_request_duration_seconds_bucket{{{v1},le=\"+Inf\"}}"), 10.0),
        (format!("switchback_request_duration_seconds_count{{{v1}}}"), 10.0),
        (format!("switchback_request_duration_seconds_sum{{{v1}}}"), 0.025),
        (format!("switchback_time_to_first_byte_seconds_bucket{{{v1},le=\"0.001\"}}"), 10.0),
        (format!("switchback_overhead_seconds_bucket{{{v1},le=\"0.000005\"}}"), 0.0),
        (format!("switchback_overhead_seconds_bucket{{{v1},le=\"0.00001\"}}"), 10.0),
        (format!("switchback_faults_total{{{v1},reason=\"connect_failed\"}}"), 2.0),
        (format!("switchback_grpc_responses_total{{{v1},code=\"0\"}}"), 10.0),
        (format!("switchback_request_body_bytes_total{{{v1}}}"), 100.0),
        (format!("switchback_split_weight_ratio{{{v1}}}"), 0.9),
        (r#"switchback_version_ready{model="fraud",version="v3",role="shadow"}"#.into(), 0.0),
        (r#"switchback_mirror_dropped_total{model="fraud",version="v3",reason="too_large"}"#.into(), 2.0),
        (r#"switchback_mirror_coverage_ratio{model="fraud",version="v3"}"#.into(), 0.75),
        (r#"switchback_unrouted_requests_total{reason="no_route"}"#.into(), 2.0),
        (r#"switchback_config_reloads_total{result="refused"}"#.into(), 1.0),
        ("switchback_config_last_reload_success".into(), 0.0),
    ] {
        assert_eq!(value(&page, &series), expected, "{series}");
    }
    assert!(!page.contains(r#"switchback_grpc_responses_total{model="fraud",version="v2""#));
}

#[test]
fn a_rollout_is_on_the_page_with_its_evidence_beside_its_thresholds() {
    let sidecar = Arc::into_inner(busy()).unwrap().rolling_out("v3");
    let page = get(&start(Arc::new(sidecar)), "/metrics").body;
    for (series, expected) in [
        (r#"switchback_rollout_phase{model="fraud",phase="Running"}"#, 1.0),
        (r#"switchback_rollout_phase{model="fraud",phase="Paused"}"#, 0.0),
        (r#"switchback_rollout_step{model="fraud"}"#, 0.0),
        (r#"switchback_rollout_steps{model="fraud"}"#, 3.0),
        (r#"switchback_rollout_weight_ratio{model="fraud"}"#, 0.1),
        (r#"switchback_rollout_verdict{model="fraud",verdict="hold"}"#, 1.0),
        (r#"switchback_rollout_evidence{model="fraud"}"#, 0.0),
        (r#"switchback_rollout_threshold{model="fraud"}"#, 100.0),
        (r#"switchback_rollout_pass_threshold{model="fraud"}"#, 20.0),
        (r#"switchback_rollout_check_evidence{model="fraud",check="error-rate"}"#, 0.0),
        (r#"switchback_rollout_check_threshold{model="fraud",check="error-rate"}"#, 100.0),
        (r#"switchback_latched_candidates{model="fraud"}"#, 0.0),
        ("switchback_store_well", 1.0),
        ("switchback_store_durable", 0.0),
    ] {
        assert_eq!(value(&page, series), expected, "{series}");
    }
    assert!(value(&page, "switchback_swap_duration_seconds_count") > 0.0);
}

#[test]
fn an_idle_sidecar_has_a_valid_page_without_empty_families() {
    let idle = Fake::new(Registry::new());
    let page = get(&start(Arc::new(idle)), "/metrics").body;
    assert!(families(&page).iter().all(|(name, ..)| name != "switchback_mirror_coverage_ratio"));
}

#[test]
fn every_bound_of_the_catalogue_is_an_edge_of_the_histograms() {
    for metric in catalog::ALL {
        if let Kind::Histogram(bounds) = metric.kind {
            assert!(bounds.iter().all(|b| Snapshot::is_edge(*b)), "{}", metric.name);
        }
    }
}

#[test]
fn endpoints_and_limits_are_on_the_page() {
    let page = get(&start(busy()), "/metrics").body;
    for (series, expected) in [
        (r#"switchback_upstream_endpoints{model="fraud",version="v1",standing="available"}"#, 1.0),
        (r#"switchback_upstream_endpoints{model="fraud",version="v1",standing="unhealthy"}"#, 0.0),
        (r#"switchback_upstream_endpoints{model="fraud",version="v1",standing="ejected"}"#, 1.0),
        (r#"switchback_upstream_health_checks_total{model="fraud",version="v1",result="failed"}"#, 2.0),
        (r#"switchback_concurrency_limit{model="fraud",version=""}"#, 100.0),
        (r#"switchback_concurrency{model="fraud",version=""}"#, 3.0),
        (r#"switchback_connection_faults_total{reason="flood"}"#, 0.0),
    ] {
        assert!((value(&page, series) - expected).abs() < f64::EPSILON, "{series}");
    }
}
