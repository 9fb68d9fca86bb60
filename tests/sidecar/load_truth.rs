//! Load tests tell the truth: latencies of servers whose slowness is known, runs in which the
//! generator itself was slow, and runs that somebody stopped.

use std::io::Write as _;
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::load_support::{counting, load, reply, result, server, signal, start, until};

fn p(result: &Value, timing: &str, quantile: &str) -> f64 {
    result["targets"][0][timing][quantile]
        .as_f64()
        .unwrap_or_else(|| panic!("no {timing} {quantile}: {result}"))
}

#[test]
fn percentiles_are_those_of_a_server_whose_delays_are_known() {
    // 100 delays in turns: 90 of 40 ms, 9 of 120 ms, one of 300 ms. What the server itself
    // measured is kept: a busy machine delays a delay.
    let took = Arc::new(Mutex::new(Vec::new()));
    let seen = took.clone();
    let (address, _) = counting(move |number, stream| {
        let begin = Instant::now();
        let delay = match number % 100 {
            99 => 300,
            90.. => 120,
            _ => 40,
        };
        std::thread::sleep(Duration::from_millis(delay));
        seen.lock().unwrap().push(begin.elapsed().as_secs_f64());
        reply(stream, 200, "{}");
    });
    let url = format!("http://{address}/x");
    let arguments = ["--rate", "200", "--duration", "4s", "--warmup", "0s", "--arrivals", "constant"];
    let (code, result) = result(&[&[url.as_str()], &arguments[..]].concat());
    // Without goals a run passes, if it is valid; on a starved machine it may not be.
    assert!(code == 0 || code == 12, "{result}");
    assert_eq!(result["targets"][0]["requests"], 800);
    let mut truth = took.lock().unwrap().split_off(1); // the request that is sent before the run
    truth.sort_by(f64::total_cmp);
    for (name, q) in [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99)] {
        let known = truth[(q * truth.len() as f64).ceil() as usize - 1];
        let found = p(&result, "service", name);
        // Never faster than the server, to the histogram's thousandth; and not much slower: what is
        // between is the loopback, and threads that wait for a core.
        assert!(found >= known * 0.999, "{name}: found {found}, the server took {known}");
        assert!(found <= known * 1.001 + 0.04, "{name}: found {found}, the server took {known}");
    }
    assert!(p(&result, "latency", "p50") >= p(&result, "service", "p50") * 0.999);
}

/// A server that answers at once, but for a stall after its first `before` requests.
fn stalling(before: u64, stall: Duration) -> std::net::SocketAddr {
    let gate = Mutex::new(());
    let answer = move |number, stream: &mut TcpStream| {
        if number == before {
            let _closed = gate.lock().unwrap();
            std::thread::sleep(stall);
        }
        drop(gate.lock().unwrap());
        reply(stream, 200, "{}");
    };
    counting(answer).0
}

#[test]
fn a_stall_of_a_second_is_seen_as_open_loop_theory_says() {
    // 200 requests a second for 4 s, one second of which nobody is answered: a quarter of the
    // requests wait, evenly from a second down to nothing. So a share u of the requests waits for
    // longer than 1 s − 4 s · u: p99 is 960 ms, p90 is 600 ms, and p50 is not touched.
    let address = stalling(300, Duration::from_secs(1));
    let url = format!("http://{address}/x");
    let open = ["--rate", "200", "--duration", "4s", "--warmup", "0s", "--arrivals", "constant"];
    let (_, open) = result(&[&[url.as_str()], &open[..]].concat());
    assert_eq!(open["targets"][0]["requests"], 800);
    for (name, theory) in [("p99", 0.96), ("p95", 0.8), ("p90", 0.6)] {
        let found = p(&open, "latency", name);
        // A stall may last longer than was asked for, but never shorter; and the arrivals are 5 ms apart.
        assert!(found > theory - 0.011 && found < theory + 0.3, "{name}: {found}, theory {theory}");
    }
    assert!(p(&open, "latency", "max") > 0.989);

    // One polite client sees the same stall once, and its p99 knows nothing of it.
    let address = stalling(300, Duration::from_secs(1));
    let url = format!("http://{address}/x");
    let (_, closed) = result(&[&url, "--clients", "1", "--duration", "3s", "--warmup", "0s"]);
    assert!(closed["targets"][0]["requests"].as_u64().unwrap() > 400, "{}", closed["targets"][0]["requests"]);
    assert!(p(&closed, "latency", "max") > 0.99);
    assert!(p(&closed, "latency", "p99") < 0.5, "{}", p(&closed, "latency", "p99"));
    assert_eq!(closed["load"], "closed loop, 1 clients");
}

#[test]
fn a_run_in_which_the_generator_was_held_up_is_invalid_and_not_slow() {
    let (address, seen) = counting(|_, stream| reply(stream, 200, "{}"));
    let url = format!("http://{address}/x");
    let arguments = ["--rate", "300", "--duration", "2s", "--warmup", "0s", "--slo", "p99<60s", "--quiet"];
    let child = start(&[&[url.as_str()], &arguments[..]].concat());
    until(&seen, 100);
    // Held up for a while: what was due then leaves late, and that is not the server's fault.
    signal(&child, "STOP");
    std::thread::sleep(Duration::from_millis(600));
    signal(&child, "CONT");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(12), "{said}");
    assert!(said.contains("the load generator fell behind") && said.contains("INVALID"), "{said}");
}

#[test]
fn an_interrupted_run_ends_with_a_report_of_its_part() {
    for name in ["INT", "TERM"] {
        let (address, seen) = counting(|_, stream| reply(stream, 200, "{}"));
        let url = format!("http://{address}/x");
        let folder = tempfile::tempdir().unwrap();
        let (html, hlog) = (folder.path().join("r.html"), folder.path().join("r.hlog"));
        let rest = ["--rate", "200", "--duration", "10m", "--warmup", "0s", "--output", "json"];
        let reports = ["--report", html.to_str().unwrap(), "--report", hlog.to_str().unwrap()];
        let child = start(&[&[url.as_str()], &rest[..], &reports[..]].concat());
        until(&seen, 150);
        signal(&child, name);
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(14), "{output:?}");
        let result: Value = serde_json::from_slice(&output.stdout).unwrap();
        assert_eq!(result["outcome"], "interrupted");
        let (requests, seconds) =
            (result["targets"][0]["requests"].as_u64().unwrap(), result["seconds"].as_f64().unwrap());
        assert!(requests >= 100 && seconds < 500.0, "{requests} in {seconds}");
        // What is a part is counted as a part: the rate is that of the part.
        let throughput = result["targets"][0]["throughput"].as_f64().unwrap();
        assert!(throughput > 50.0, "{throughput}");
        assert!(std::fs::read_to_string(html).unwrap().contains("interrupted"));
        assert!(std::fs::read_to_string(hlog).unwrap().contains("Tag=target"));
    }
}

#[test]
fn failures_are_slower_than_any_limit() {
    let (address, _) = counting(|number, stream| match number % 20 {
        0 => reply(stream, 500, "{}"),
        _ => reply(stream, 200, "{}"),
    });
    let url = format!("http://{address}/x");
    let run = |slo: &str| {
        let arguments =
            ["--rate", "200", "--duration", "3s", "--warmup", "0s", "--arrivals", "constant", "--slo", slo];
        result(&[&[url.as_str()], &arguments[..]].concat())
    };
    // One in twenty fails at once: the 99th percentile falls among them, however fast the others are.
    let (code, failed) = run("p99<10s");
    assert!(code == 11 || code == 12, "{failed}");
    assert_eq!(failed["goals"][0]["verdict"], "fail");
    assert_eq!(failed["goals"][0]["observed"], Value::Null);
    assert_eq!(failed["targets"][0]["failures"]["status 500"], 30);
    // Half the requests are far from those: not even a busy machine, whose bursts widen an interval, joins them.
    let (_, held) = run("p50<10s");
    assert_eq!(held["goals"][0]["verdict"], "pass", "{held}");
    let (_, unclear) = run("errors<5.5%");
    assert_eq!(unclear["goals"][0]["verdict"], "inconclusive", "{unclear}");
}

#[test]
fn two_targets_get_the_same_requests_in_turns_and_are_compared() {
    let log = |delay: u64| {
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let seen = bodies.clone();
        let address = server(move |asked, stream| {
            std::thread::sleep(Duration::from_millis(delay));
            seen.lock().unwrap().push(String::from_utf8(asked.body.clone()).unwrap());
            reply(stream, 200, "{}");
        });
        (address, bodies)
    };
    let ((a, seen_by_a), (b, seen_by_b)) = (log(20), log(60));
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("rows.jsonl");
    std::fs::write(&data, (0..7).map(|n| format!("{{\"n\": {n}}}\n")).collect::<String>()).unwrap();
    let (a, b) = (format!("A=http://{a}/x"), format!("B=http://{b}/x"));
    let (code, result) = result(&[
        "--compare",
        &a,
        &b,
        "--data",
        data.to_str().unwrap(),
        "--rate",
        "100",
        "--duration",
        "3s",
        "--warmup",
        "0s",
        "--arrivals",
        "constant",
        "--slo",
        "B/A p50<1.5",
    ]);
    assert!(code == 11 || code == 12, "{result}");
    let ratio = result["comparison"][0]["ratio"].as_f64().unwrap();
    assert!(ratio > 1.5, "{result}");
    assert_eq!(result["goals"][0]["verdict"], "fail");
    assert_eq!(
        (result["targets"][0]["requests"].as_u64(), result["targets"][1]["requests"].as_u64()),
        (Some(300), Some(300))
    );
    let count = |seen: &Mutex<Vec<String>>| {
        let mut bodies = seen.lock().unwrap().clone();
        bodies.sort();
        bodies
    };
    assert_eq!(count(&seen_by_a), count(&seen_by_b));
}

#[test]
fn the_highest_rate_is_found_between_what_holds_and_what_does_not() {
    // Ten workers of 50 ms each could do 200 a second; a queue forms before that.
    let workers = Arc::new((Mutex::new(10), std::sync::Condvar::new()));
    let address = server(move |_, stream| {
        let (free, waiting) = &*workers;
        {
            let mut free = waiting.wait_while(free.lock().unwrap(), |free| *free == 0).unwrap();
            *free -= 1;
        }
        std::thread::sleep(Duration::from_millis(50));
        *free.lock().unwrap() += 1;
        waiting.notify_one();
        reply(stream, 200, "{}");
    });
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("max.yaml");
    let text = format!(
        "target: http://{address}\nrequests: [{{format: plain, path: /x}}]\nwarmup: 0s\nslos: [\"p90 < 400ms\"]\n\
         load: {{findMax: {{from: 40, to: 2000, probe: 2s, precision: 25%, confirmations: 1, arrivals: constant}}}}\n\
         limits: {{maxLag: 2s}}\n"
    );
    std::fs::write(&scenario, text).unwrap();
    let scenario = ["--scenario", scenario.to_str().unwrap()];
    // A machine that is busy otherwise may leave a search without a result, and that is no fault of its.
    let (mut code, mut found) = result(&scenario);
    for _ in 0..3 {
        if code == 0 {
            break;
        }
        (code, found) = result(&scenario);
    }
    assert_eq!(code, 0, "{found}");
    let search = &found["search"];
    let tries = search["tries"].as_array().unwrap();
    let rate_of = |one: &Value| one["rate"].as_f64().unwrap();
    let (held, others): (Vec<_>, Vec<_>) = tries.iter().partition(|one| one["outcome"] == "pass");
    // More than 200 a second cannot be done by this server, however fast the machine is.
    assert!(held.iter().all(|one| rate_of(one) < 300.0), "{search}");
    // What is named held, and held again last of all; what was tried above it did not, or not to the end.
    let rate = rate_of(search);
    let last = tries.last().unwrap();
    assert!(rate >= 40.0 && rate_of(last) == rate, "{search}");
    assert!(last["confirms"] == true && last["outcome"] == "pass", "{search}");
    assert!(held.iter().any(|one| rate_of(one) == rate && one["confirms"] == false), "{search}");
    assert!(others.iter().any(|one| rate_of(one) > rate && rate_of(one) <= rate * 1.26), "{search}");
}

#[test]
fn tokens_of_a_stream_are_timed() {
    let address = server(|asked, stream| {
        assert!(asked.line.starts_with("POST /v1/chat/completions"), "{}", asked.line);
        let body: Value = serde_json::from_slice(&asked.body).unwrap();
        assert_eq!((&body["stream"], &body["model"]), (&Value::Bool(true), &Value::from("llm")));
        let _ = stream.write_all(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n",
        );
        let mut say = |text: &str| {
            let _ = stream.write_all(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
        };
        std::thread::sleep(Duration::from_millis(60));
        for _ in 0..4 {
            say("data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n");
            std::thread::sleep(Duration::from_millis(20));
        }
        say("data: {\"choices\":[],\"usage\":{\"completion_tokens\":9}}\n\ndata: [DONE]\n\n");
        let _ = stream.write_all(b"0\r\n\r\n");
    });
    let url = format!("http://{address}/v1/chat/completions");
    let arguments =
        ["--model", "llm", "--rate", "20", "--duration", "2s", "--warmup", "0s", "--arrivals", "constant"];
    let (_, result) = result(&[&[url.as_str()], &arguments[..]].concat());
    let target = &result["targets"][0];
    assert_eq!((&target["ok"], &target["failed"]), (&Value::from(40), &Value::from(0)), "{target}");
    assert!(target["firstToken"]["p50"].as_f64().unwrap() >= 0.0599);
    assert!(target["interToken"]["p50"].as_f64().unwrap() >= 0.015);
    // Nine tokens each, as the server says; a rate is of the measured time.
    assert!((target["tokensPerSecond"].as_f64().unwrap() - 180.0).abs() < 1e-6);
}

#[test]
fn what_is_under_way_is_bounded_and_what_is_not_sent_has_failed() {
    let address = server(|_, _| std::thread::sleep(Duration::from_secs(3600)));
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("bound.yaml");
    let text = format!(
        "target: http://{address}\nrequests: [{{format: plain, path: /x, inputs: {{text: hi}}}}]\nwarmup: 0s\n\
         load: {{rate: 100, duration: 1s, arrivals: constant}}\nlimits: {{maxInFlight: 5, timeout: 1s, maxLag: 1s}}\n"
    );
    std::fs::write(&scenario, text).unwrap();
    let (_, result) = result(&["--scenario", scenario.to_str().unwrap()]);
    let failures = &result["targets"][0]["failures"];
    let (unsent, timeouts) =
        (failures["not sent: too many under way"].as_u64().unwrap(), failures["timeout"].as_u64().unwrap());
    assert!(timeouts >= 5 && unsent + timeouts == 100, "{failures}");
    assert_eq!(result["targets"][0]["ok"], 0);
}

#[test]
fn reports_of_every_form_are_written_and_need_nothing_else() {
    let address = server(|_, stream| reply(stream, 200, "{\"a\": 1}"));
    let url = format!("http://{address}/x");
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
    let files = ["r.html", "r.json", "r.xml", "r.md", "r.hlog", "r.txt"].map(file);
    let mut arguments = vec![
        url.as_str(),
        "--rate",
        "200",
        "--duration",
        "1s",
        "--warmup",
        "0s",
        "--check",
        "/a=1",
        "--slo",
        "p50<20s",
    ];
    files.iter().for_each(|file| arguments.extend(["--report", file]));
    let pid = format!("me={}", std::process::id());
    arguments.extend(["--watch", &pid, "--slo", "me.rss<100Gi"]);
    let output = load(&arguments);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("p50<20s") && said.contains("generator"), "{said}");
    let text = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    let html = text("r.html");
    assert!(html.matches("<svg").count() >= 3 && html.contains("Latency over time"), "{html}");
    for outside in ["src=\"http", "href=", "@import", "<script"] {
        assert!(!html.contains(outside), "{outside}");
    }
    let json: Value = serde_json::from_str(&text("r.json")).unwrap();
    assert_eq!(
        (json["version"].as_u64(), json["goals"][1]["goal"].as_str()),
        (Some(1), Some("me.rss<100Gi"))
    );
    assert!(
        text("r.xml").contains("<testcase classname=\"load.")
            && text("r.xml").contains("name=\"p50&lt;20s\"")
    );
    assert!(text("r.md").contains("| goal | measured | verdict |"));
    assert!(text("r.hlog").contains("#[StartTime: ") && text("r.txt").contains("throughput"));
}
