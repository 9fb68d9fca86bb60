//! Reports of made-up runs.

use std::path::Path;
use std::time::{Duration, SystemTime};

use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

use super::*;
use crate::load::drive::Counted;
use crate::load::histogram::Histogram;
use crate::load::result::{Outcome, SearchResult, TryResult, result};
use crate::load::series::{Done, Failure, Series};

/// A run of 10 s with 100 requests/s to each of two targets, of which B is half as fast again and
/// one in `fail_every` fails.
fn ran(slos: &str, fail_every: u64, late: u64) -> Ran {
    let text = format!(
        "{{compare: {{a: 'http://127.0.0.1:1', b: 'http://127.0.0.1:2'}}, \
         requests: [{{format: plain}}], load: {{rate: 100, duration: 10s}}, slos: {slos}}}"
    );
    let mut scenario = crate::config::parse_scenario(&text, "s", Path::new("")).unwrap();
    // No scenario may be called so: reports don't rely on that.
    scenario.name = "<a & b>".to_owned();
    let series = |times: f64| {
        let mut series = Series::new(10.0);
        for n in 0..1000_u64 {
            let latency = ((5.0 + (n % 100) as f64 / 10.0) * times * 1e6) as u64;
            let failure = (fail_every > 0 && n % fail_every == 0).then_some(Failure::Status(503));
            let done = Done {
                intended: n as f64 / 100.0,
                latency,
                service: latency,
                bytes: 10,
                failure,
                ..Done::default()
            };
            series.record(&done, 10.0);
        }
        vec![series]
    };
    let mut lag = Histogram::default();
    (0..2000).for_each(|_| lag.record(50_000));
    let counted = Counted {
        series: vec![series(1.0), series(1.5)],
        lag,
        late,
        cut: 0,
        interrupted: false,
        spent: false,
        seconds: 10.0,
        began: SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        threads: 1,
        cpu_seconds: Some(0.1),
        sent: 2000,
        connections: 7,
    };
    let result = result(&scenario, &counted, Vec::new(), Some(100.0));
    Ran { result, counted }
}

#[test]
fn the_verdict_is_the_worst_of_the_goals_and_an_invalid_run_has_none() {
    for (slos, fail_every, late, outcome) in [
        ("[p50 < 1s]", 0, 0, Outcome::Pass),
        ("[]", 0, 0, Outcome::Pass),
        ("[p50 < 1s, p99.9 < 1s]", 0, 0, Outcome::Inconclusive),
        ("[p50 < 1s, p99.9 < 1s, p50 < 1ms]", 0, 0, Outcome::Fail),
        ("[B/A p50 < 1.1]", 0, 0, Outcome::Fail),
        ("[B/A p50 < 1.6]", 0, 0, Outcome::Pass),
        ("[p50 < 1s]", 0, 100, Outcome::Invalid),
        ("[max < 1s]", 100, 0, Outcome::Fail),
        ("['goodput(10ms) > 5%']", 0, 0, Outcome::Pass),
        ("['goodput(10ms) > 90%']", 0, 0, Outcome::Fail),
        ("[throughput > 99/s]", 0, 0, Outcome::Pass),
        ("[throughput > 99/s]", 20, 0, Outcome::Fail),
        ("[ttft < 1s]", 0, 0, Outcome::Inconclusive),
    ] {
        let ran = ran(slos, fail_every, late);
        assert_eq!(ran.result.outcome, outcome, "{slos}: {:?}", ran.result.goals);
    }
}

#[test]
fn text_tells_what_happened_and_what_it_comes_to() {
    let text = write(Form::Text, &ran("[p50 < 1s, B/A p50 < 1.1]", 50, 0)).unwrap();
    for part in [
        "<a & b>: open loop, 100 requests/s to each target, Poisson",
        "A: http://127.0.0.1:1",
        "requests    1,000 in 10.0 s, 980 good, 20 failed (status 503: 20)",
        "latency",
        "p99.9",
        "failed",
        "PASS  p50 < 1s (A)",
        "FAIL  B/A p50 < 1.1",
        "1.5",
        "FAIL: a goal does not hold",
        "50.0 µs CPU per request",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
}

#[test]
fn junit_has_a_case_for_each_goal_and_calls_no_unknown_a_pass() {
    let xml = write(Form::Junit, &ran("[p50 < 1s, p99.9 < 1s, p50 < 1ms]", 0, 0)).unwrap();
    // Each goal is judged at both targets.
    assert!(xml.contains("tests=\"7\" failures=\"3\" errors=\"2\""), "{xml}");
    assert!(xml.contains("name=\"&lt;a &amp; b&gt;\"") && xml.contains("2023-11-14T22:13:20Z"), "{xml}");
    assert!(xml.contains("<error type=\"fail\" message=\"inconclusive: p99.9 &lt; 1s"), "{xml}");
}

#[test]
fn markdown_and_html_hold_foreign_text_in_its_place() {
    let run = ran("[p50 < 1s]", 50, 0);
    let markdown = write(Form::Markdown, &run).unwrap();
    assert!(markdown.starts_with("## Load test \\<a & b\\>: pass"), "{markdown}");
    assert!(markdown.contains("| p50 \\< 1s (A) |"), "{markdown}");
    let html = write(Form::Html, &run).unwrap();
    assert!(html.contains("&lt;a &amp; b&gt;") && !html.contains("<a & b>"));
    assert_eq!(html.matches("<svg").count(), html.matches("</svg>").count());
    assert!(html.matches("<svg").count() >= 3, "{}", html.matches("<svg").count());
    for outside in ["src=", "href=", "@import", "<script", "url("] {
        assert!(!html.contains(outside), "{outside}");
    }
}

#[test]
fn a_search_is_told_try_by_try() {
    let mut run = ran("[p50 < 1s]", 0, 0);
    let one = |rate, outcome| TryResult { rate, confirms: false, outcome, p99: Some(0.01), errors: 0.0 };
    let tries = vec![one(100.0, Outcome::Pass), one(200.0, Outcome::Fail)];
    run.result.search = Some(SearchResult { rate: Some(100.0), sentence: "100 hold".into(), tries });
    for form in [Form::Text, Form::Markdown, Form::Html, Form::Junit, Form::Json] {
        assert!(write(form, &run).unwrap().contains("100 hold"), "{form:?}");
    }
}

#[test]
fn the_log_of_hdr_histogram_reads_back() {
    let run = ran("[]", 0, 0);
    let log = write(Form::Hdr, &run).unwrap();
    let mut found = Vec::new();
    for entry in IntervalLogIterator::new(log.as_bytes()) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let bytes = decoded(interval.encoded_histogram());
            let histogram: hdrhistogram::Histogram<u64> =
                Deserializer::new().deserialize(&mut bytes.as_slice()).unwrap();
            found.push((
                interval.tag().unwrap().as_str().to_owned(),
                histogram.len(),
                histogram.value_at_quantile(0.5),
            ));
        }
    }
    assert_eq!(
        found.iter().map(|(tag, n, _)| (tag.as_str(), *n)).collect::<Vec<_>>(),
        [("A", 1000), ("B", 1000)]
    );
    let ratio = found[1].2 as f64 / found[0].2 as f64;
    assert!((ratio - 1.5).abs() < 0.01, "{ratio}");
}

/// Base64, for the test alone.
fn decoded(text: &str) -> Vec<u8> {
    let value = |c: u8| {
        b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/".iter().position(|b| *b == c)
    };
    let mut bits = 0_u32;
    let (mut count, mut out) = (0, Vec::new());
    for six in text.bytes().filter_map(value) {
        bits = (bits << 6) | six as u32;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    out
}

#[test]
fn durations_have_three_digits_and_moments_are_dates() {
    for (seconds, text) in [(0.000_812, "812 µs"), (0.0124, "12.4 ms"), (1.5, "1.50 s"), (f64::INFINITY, "∞")]
    {
        assert_eq!(duration(seconds), text);
    }
    assert_eq!(numbers::moment(951_782_400_000), "2000-02-29T00:00:00Z");
    assert_eq!(numbers::grouped(1_234_567), "1,234,567");
    assert_eq!(numbers::percent(0.999_12), "99.912%");
}
