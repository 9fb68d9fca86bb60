//! Load tests at their edges: too little to say, nothing that works, ends before the time.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::load_support::{counting, load, reply, result, server, signal, start, until};

fn quick() -> String {
    format!("http://{}/x", server(|_, stream| reply(stream, 200, "{}")))
}

#[test]
fn a_search_that_is_too_short_to_show_anything_claims_nothing() {
    // A p99 takes some 370 requests to be shown; no try here has as many. On a busy machine a request may
    // leave late, and that is not what this is about.
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("short.yaml");
    let text = format!(
        "target: {}\nrequests: [{{format: plain}}]\nwarmup: 0s\nslos: [p99 < 10s]\n\
         load: {{findMax: {{to: 40, probe: 1s}}}}\nlimits: {{maxLag: 10s}}\n",
        quick().trim_end_matches("/x")
    );
    std::fs::write(&scenario, text).unwrap();
    let (code, found) = result(&["--scenario", scenario.to_str().unwrap()]);
    assert_eq!((code, &found["outcome"]), (4, &json!("inconclusive")), "{}", found["search"]);
    assert_eq!(found["search"]["rate"], Value::Null);
    let sentence = found["search"]["sentence"].as_str().unwrap();
    assert!(sentence.contains("no rate could be shown") && sentence.contains("--duration"), "{sentence}");
    // It went on to where there would have been more requests.
    assert_eq!(found["search"]["tries"].as_array().unwrap().last().unwrap()["rate"], 40.0);
}

#[test]
fn a_server_that_never_answers_well_is_no_pass_even_without_goals() {
    let url = format!("http://{}/x", server(|_, stream| reply(stream, 503, "{}")));
    let (code, failed) = result(&[&url, "--rate", "50", "--duration", "1s", "--warmup", "0s"]);
    assert!(code == 11 || code == 12, "{failed}");
    let output = load(&[&url, "--rate", "50", "--duration", "1s", "--warmup", "0s"]);
    assert!(!String::from_utf8_lossy(&output.stdout).contains("PASS"), "{output:?}");
}

#[test]
fn a_closed_loop_whose_requests_are_spent_has_the_length_that_it_had() {
    let arguments = ["--clients", "3", "--duration", "60s", "--warmup", "0s", "--max-requests", "200"];
    let begin = Instant::now();
    let (_, spent) = result(&[&[quick().as_str()], &arguments[..]].concat());
    let took = begin.elapsed().as_secs_f64();
    assert_eq!(spent["targets"][0]["requests"], 200);
    let (seconds, rate) =
        (spent["seconds"].as_f64().unwrap(), spent["targets"][0]["throughput"].as_f64().unwrap());
    assert!(seconds <= took && took < 30.0, "{seconds} {took}");
    assert!((rate * seconds - 200.0).abs() < 1.0, "{rate} {seconds}");
    assert!(spent["remarks"].to_string().contains("--max-requests"), "{}", spent["remarks"]);
    // Threads without a client have nothing to do with it.
    let threads = [&arguments[..], &["--threads", "5"]].concat();
    let (_, spent) = result(&[&[quick().as_str()], &threads[..]].concat());
    assert!(spent["seconds"].as_f64().unwrap() < 30.0, "{spent}");
}

#[test]
fn a_closed_loop_that_was_held_up_is_invalid_too() {
    let (address, seen) = counting(|_, stream| reply(stream, 200, "{}"));
    let url = format!("http://{address}/x");
    let child = start(&[&url, "--clients", "2", "--duration", "4s", "--warmup", "0s", "--quiet"]);
    for begun in 1..30 {
        until(&seen, 20 * begun);
        signal(&child, "STOP");
        std::thread::sleep(Duration::from_millis(60));
        signal(&child, "CONT");
    }
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(12), "{said}");
    assert!(said.contains("the load generator fell behind"), "{said}");
}

#[test]
fn what_is_cut_off_by_the_end_is_told() {
    let (address, seen) = counting(|number, stream| match number {
        0..50 => reply(stream, 200, "{}"),
        _ => std::thread::sleep(Duration::from_secs(3600)),
    });
    let url = format!("http://{address}/x");
    let child =
        start(&[&url, "--rate", "100", "--duration", "60s", "--timeout", "60s", "--warmup", "0s", "--quiet"]);
    until(&seen, 80);
    signal(&child, "INT");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(14), "{said}");
    assert!(said.contains("requests were still under way at the end"), "{said}");
}

#[test]
fn an_interrupt_before_the_first_request_ends_at_once() {
    let begun = Instant::now();
    let (address, asked) = counting(|_, _| std::thread::sleep(Duration::from_secs(3600)));
    let child = start(&[&format!("http://{address}/x"), "--report", "never.html"]);
    until(&asked, 1);
    signal(&child, "INT");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(14));
    assert!(String::from_utf8_lossy(&output.stderr).contains("stopped before the test began"), "{output:?}");
    assert!(begun.elapsed() < Duration::from_secs(9), "it waited for the server");
}

#[test]
fn a_comparison_of_a_few_requests_says_nothing_of_the_slowest_hundredth() {
    let slow = server(|_, stream| {
        std::thread::sleep(Duration::from_millis(15));
        reply(stream, 200, "{}");
    });
    let (a, b) = (format!("A={}", quick()), format!("B=http://{slow}/x"));
    let rest = ["--rate", "20", "--duration", "2s", "--warmup", "0s", "--slo", "B/A p99<1000"];
    let (_, few) = result(&[&["--compare", a.as_str(), b.as_str()], &rest[..]].concat());
    assert_eq!(few["goals"][0]["verdict"], "inconclusive", "{}", few["goals"]);
    assert_eq!(few["goals"][0]["interval"], json!({"low": 0.0, "high": null}));
}
