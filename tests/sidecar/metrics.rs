//! What is counted: exactly what was sent, in its own place, and never backwards.

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::process::{Command, Stdio};
use std::time::Duration;

use http::{HeaderMap, HeaderValue, Response};
use http_body_util::{BodyExt as _, Full};

use crate::support::{Body, Http, RawClient, Seen, Sidecar, Upstream, full, raw_upstream, run, until};

/// Answers with the status that the path ends with; `/grpc/N` with that gRPC status in trailers,
/// `/early/N` with it in the head.
fn answer(seen: &Seen) -> Response<Body> {
    let last = seen.uri.rsplit('/').next().unwrap().to_owned();
    let response = Response::builder();
    if seen.uri.contains("/grpc/") {
        let trailers =
            HeaderMap::from_iter([("grpc-status".parse().unwrap(), HeaderValue::from_str(&last).unwrap())]);
        let body = Full::new(seen.body.clone()).with_trailers(async move { Some(Ok(trailers)) });
        return response.header("content-type", "application/grpc").body(body.boxed()).unwrap();
    }
    if seen.uri.contains("/early/") {
        let response = response.header("content-type", "application/grpc").header("grpc-status", last);
        return response.body(full("")).unwrap();
    }
    let status: u16 = last.parse().unwrap_or(200);
    let body = if matches!(status, 204 | 304) { full("") } else { full(seen.body.clone()) };
    response.status(status).body(body).unwrap()
}

fn config(upstream: &Upstream, shadow: &str) -> String {
    format!(
        "models:
  - name: m
    versions:
      - {{name: v1, upstream: {{url: \"{}\"}}}}
      - {{name: v2, upstream: {{url: \"{shadow}\"}}}}
    mirror: [{{to: v2, deadline: 5s}}]
    match: [{{pathPrefix: /m}}]
",
        upstream.url()
    )
}

/// Whether promtool finds nothing wrong with a page; `None` where there is no promtool.
fn promtool(page: &str) -> Option<Result<(), String>> {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .ok()?;
    child.stdin.take().unwrap().write_all(page.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    Some(if output.status.success() && said.trim().is_empty() { Ok(()) } else { Err(said) })
}

/// Samples of counters and of histograms' counts, by series.
fn counters(page: &str) -> BTreeMap<String, f64> {
    let samples = page.lines().filter(|l| !l.starts_with('#')).filter_map(|l| l.rsplit_once(' '));
    let counting = samples.filter(|(series, _)| {
        let family = series.split('{').next().unwrap();
        ["_total", "_count", "_sum", "_bucket"].iter().any(|end| family.ends_with(end))
    });
    counting.map(|(series, value)| (series.to_owned(), value.parse().unwrap())).collect()
}

/// Sends some of everything; returns how many requests v1 got.
async fn busy(sidecar: &Sidecar) -> u32 {
    let mut h1 = RawClient::connect(sidecar.main());
    for (status, times) in [(200, 5), (204, 2), (304, 1), (404, 3), (500, 2), (503, 1)] {
        for _ in 0..times {
            assert_eq!(h1.post(&format!("/m/{status}"), "", b"four").status, status);
        }
    }
    // A head alone is an answer as well.
    h1.send("HEAD /m/200 HTTP/1.1\r\nhost: t\r\n\r\n");
    assert_eq!(h1.head().0, 200);
    let mut h2 = Http::two(sidecar.main()).await;
    let grpc = [("content-type", "application/grpc"), ("te", "trailers")];
    for (path, times) in
        [("/m/grpc/0", 3), ("/m/grpc/3", 2), ("/m/grpc/13", 1), ("/m/early/14", 1), ("/m/grpc/1", 1)]
    {
        for _ in 0..times {
            assert_eq!(h2.post(path, &grpc, b"12345678").await.status(), 200);
        }
    }
    // To nobody.
    assert_eq!(h1.get("/elsewhere").status, 404);
    assert_eq!(h1.send("GET /m/200 HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n").read().status, 400);
    15 + 8
}

#[test]
fn every_figure_is_what_was_sent() {
    run(async {
        let (upstream, shadow) = (Upstream::start(answer), Upstream::start(answer));
        let sidecar = Sidecar::start(&config(&upstream, &shadow.url()));
        sidecar.ready().await;
        let sent = f64::from(busy(&sidecar).await);
        until("all copies to be answered", async || {
            (sidecar.mirrored("v2", "completed") == sent).then_some(())
        })
        .await;

        let outcomes = ["success", "client_error", "server_error", "fault", "cancelled"];
        let counted = outcomes.map(|outcome| sidecar.finished("v1", outcome));
        // 200, 204, 304, HEAD, gRPC 0 | 404, gRPC 3 | 5xx, gRPC 13 and 14 | - | gRPC 1
        assert_eq!(counted, [12.0, 5.0, 5.0, 0.0, 1.0], "{outcomes:?}");
        assert_eq!(counted.iter().sum::<f64>(), sent);

        let v1 = "version=\"v1\"";
        let of = |name: &str| sidecar.metric(name, &[v1, "role=\"stable\""]);
        assert_eq!(of("switchback_request_duration_seconds_count"), sent);
        assert_eq!(of("switchback_overhead_seconds_count"), sent);
        // Answers without a body have no first byte: 204, 304, HEAD and the trailers-only one.
        assert_eq!(of("switchback_time_to_first_byte_seconds_count"), sent - 5.0);
        assert_eq!(of("switchback_request_body_bytes_total"), 14.0 * 4.0 + 8.0 * 8.0);
        assert_eq!(of("switchback_response_body_bytes_total"), 11.0 * 4.0 + 7.0 * 8.0);
        assert_eq!(of("switchback_requests_in_flight"), 0.0);
        for (code, count) in [("0", 3.0), ("1", 1.0), ("3", 2.0), ("13", 1.0), ("14", 1.0), ("2", 0.0)] {
            let code = format!("code=\"{code}\"");
            assert_eq!(sidecar.metric("switchback_grpc_responses_total", &[v1, &code]), count, "{code}");
        }
        assert_eq!(sidecar.metric("switchback_unrouted_requests_total", &["reason=\"no_route\""]), 1.0);
        assert_eq!(sidecar.metric("switchback_unrouted_requests_total", &["reason=\"bad_request\""]), 1.0);
        assert_eq!(sidecar.metric("switchback_faults_total", &[]), 0.0);

        // The shadow: the same, in its own series, and none of it live traffic.
        for figure in ["eligible", "sampled", "sent"] {
            assert_eq!(sidecar.mirrored("v2", figure), sent, "{figure}");
        }
        assert_eq!(sidecar.metric("switchback_mirror_coverage_ratio", &[]), 1.0);
        assert_eq!(sidecar.metric("switchback_mirror_dropped_total", &[]), 0.0);
        assert_eq!(sidecar.metric("switchback_mirror_in_flight", &[]), 0.0);
        let shadows = ["version=\"v2\"", "role=\"shadow\""];
        assert_eq!(sidecar.metric("switchback_requests_total", &shadows), sent);
        assert_eq!(sidecar.metric("switchback_split_weight_ratio", &[v1]), 1.0);
        assert_eq!(sidecar.metric("switchback_ready", &[]), 1.0);
        assert_eq!(sidecar.metric("switchback_connections_opened_total", &[]), 2.0);
    });
}

#[test]
fn promtool_finds_nothing_wrong_with_a_busy_page() {
    run(async {
        let upstream = Upstream::start(answer);
        let sidecar = Sidecar::start(&config(&upstream, "http://127.0.0.1:9"));
        let idle = sidecar.metrics();
        sidecar.ready().await;
        busy(&sidecar).await;
        for page in [idle, sidecar.metrics()] {
            match promtool(&page) {
                None => {
                    eprintln!("SKIPPED: no promtool. It comes with the package `prometheus`");
                    return;
                }
                Some(checked) => assert_eq!(checked, Ok(()), "{page}"),
            }
        }
        assert!(promtool("a 1\na 1\n").unwrap().is_err(), "promtool says yes to everything");
    });
}

#[test]
fn faults_have_reasons_and_cancellations_are_nobodys() {
    run(async {
        // Says half of what it promises; or nothing at all.
        let liar = raw_upstream(|mut stream| {
            let mut head = [0; 4096];
            let read = stream.read(&mut head).unwrap_or(0);
            let head = String::from_utf8_lossy(&head[..read]).into_owned();
            if head.contains("/half") {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
            } else if head.contains("/junk") {
                let _ = stream.write_all(b"JUNK\r\n\r\n");
            } else {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf");
                let _ = stream.read(&mut [0; 1]);
            }
        });
        let sidecar = Sidecar::start(&format!(
            "models:
  - name: m
    timeouts: {{response: 1s}}
    limits: {{requestBytes: 10}}
    versions: [{{name: v1, upstream: {{url: \"http://{liar}\"}}}}]
  - name: gone
    versions: [{{name: v1, upstream: {{url: \"http://127.0.0.1:9\"}}}}]
"
        ));
        let ask = |path: &str| RawClient::connect(sidecar.main()).get(path).status;
        assert_eq!(ask("/v2/models/gone/infer"), 502);
        assert_eq!(ask("/v2/models/m/junk"), 502);
        let mut client = RawClient::connect(sidecar.main());
        client.send("GET /v2/models/m/half HTTP/1.1\r\nhost: t\r\n\r\n");
        assert_eq!(client.head().0, 200);
        assert_eq!(client.exactly(4), b"half");
        assert!(client.is_closed(), "a cut answer must not look whole");
        let too_long = RawClient::connect(sidecar.main()).post("/v2/models/m/infer", "", &[0; 11]);
        assert_eq!(too_long.status, 413);
        // Clients that go: in the middle of the answer, and in the middle of their own body.
        let mut client = RawClient::connect(sidecar.main());
        client.send("GET /v2/models/m/long HTTP/1.1\r\nhost: t\r\n\r\n");
        assert_eq!(client.head().0, 200);
        drop(client);
        let mut client = RawClient::connect(sidecar.main());
        client.send(
            "POST /v2/models/m/infer HTTP/1.1\r\nhost: t\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n",
        );
        until("the request to be under way", async || {
            (sidecar.metric("switchback_requests_in_flight", &["model=\"m\""]) > 0.0).then_some(())
        })
        .await;
        drop(client);
        until("nothing to be in flight", async || {
            (sidecar.metric("switchback_requests_in_flight", &[]) == 0.0).then_some(())
        })
        .await;

        let reason = |model: &str, reason: &str| {
            let labels = [format!("model=\"{model}\""), format!("reason=\"{reason}\"")];
            sidecar.metric("switchback_faults_total", &[&labels[0], &labels[1]])
        };
        assert_eq!(reason("gone", "connect_failed"), 1.0);
        assert_eq!(reason("m", "upstream_protocol"), 1.0);
        assert_eq!(reason("m", "upstream_reset"), 1.0);
        let outcome = |outcome: &str| {
            sidecar.metric("switchback_requests_total", &["model=\"m\"", &format!("outcome=\"{outcome}\"")])
        };
        assert_eq!((outcome("fault"), outcome("cancelled"), outcome("success")), (2.0, 2.0, 0.0));
        assert_eq!(
            sidecar.metric("switchback_unrouted_requests_total", &["reason=\"payload_too_large\""]),
            1.0
        );
    });
}

#[test]
fn own_time_is_small_whatever_upstreams_and_clients_take_and_the_first_byte_is_not_the_last() {
    run(async {
        const PAUSE: Duration = Duration::from_millis(300);
        let slow = raw_upstream(|mut stream| {
            let mut head = [0; 4096];
            while stream.read(&mut head).is_ok_and(|n| n > 0) {
                std::thread::sleep(PAUSE);
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\na");
                std::thread::sleep(PAUSE);
                let _ = stream.write_all(b"b");
            }
        });
        // The sticky key stands in the body, so that the proxy must wait for it.
        let sidecar = Sidecar::start(&format!(
            "models:
  - name: m
    sticky: {{jsonPointer: /user}}
    versions: [{{name: v1, upstream: {{url: \"http://{slow}\"}}}}]
"
        ));
        sidecar.ready().await;
        let mut client = RawClient::connect(sidecar.main());
        client.send("POST /m HTTP/1.1\r\nhost: t\r\ncontent-length: 12\r\n\r\n{\"user\":");
        tokio::time::sleep(PAUSE).await;
        assert_eq!(client.send("\"a\"}").read().text(), "ab");

        let sum = |name: &str| sidecar.metric(&format!("switchback_{name}_seconds_sum"), &[]);
        let (whole, first, own) = (sum("request_duration"), sum("time_to_first_byte"), sum("overhead"));
        // Three pauses, two before the first byte; bounds that a busy machine cannot blur.
        let pause = PAUSE.as_secs_f64();
        assert!(whole > 2.0 * pause, "{whole}");
        assert!(first > 1.5 * pause && whole - first > pause / 2.0, "{first} of {whole}");
        assert!(own > 0.0 && own < pause / 2.0, "{own} s of own time");
        assert_eq!(sidecar.metric("switchback_overhead_seconds_count", &[]), 1.0);
    });
}

#[test]
fn a_body_that_stands_still_before_its_sticky_key_is_given_up() {
    run(async {
        let upstream = Upstream::start(answer);
        let sidecar = Sidecar::start(&format!(
            "models:
  - name: m
    sticky: {{jsonPointer: /user}}
    timeouts: {{idle: 200ms}}
    versions: [{{name: v1, upstream: {{url: \"{}\"}}}}]
",
            upstream.url()
        ));
        let mut client = RawClient::connect(sidecar.main());
        client.send("POST /m HTTP/1.1\r\nhost: t\r\ncontent-length: 12\r\n\r\n{\"user\":");
        assert_eq!(client.read().status, 408);
        assert_eq!(
            sidecar.metric("switchback_unrouted_requests_total", &["reason=\"request_timeout\""]),
            1.0
        );
        assert_eq!(upstream.count(), 0);
    });
}

#[test]
fn counters_never_go_backwards_over_reloads() {
    run(async {
        let upstream = Upstream::start(answer);
        let shadow = Upstream::start(answer);
        let first = config(&upstream, &shadow.url());
        let sidecar = Sidecar::start(&first);
        sidecar.ready().await;
        busy(&sidecar).await;
        sidecar.mirror_settled("v2").await;
        let mut before = counters(&sidecar.metrics());
        // Another shadow, none at all, another model, and the first again.
        let fewer = format!(
            "models: [{{name: other, match: [{{pathPrefix: /m}}], versions: [{{name: v1, upstream: {{url: \"{}\"}}}}]}}]\n",
            shadow.url()
        );
        let swapped = first.replace("name: v1", "name: v7");
        for next in [&first.replace("deadline: 5s", "deadline: 6s"), &swapped, &fewer, &first] {
            sidecar.rewrite(next);
            assert_eq!(sidecar.reload().status, 200);
            busy(&sidecar).await;
            until("copies to be over", async || {
                (sidecar.metric("switchback_mirror_in_flight", &[]) == 0.0).then_some(())
            })
            .await;
            let after = counters(&sidecar.metrics());
            for (series, value) in &before {
                let now = after.get(series).unwrap_or_else(|| panic!("{series} is gone"));
                assert!(now >= value, "{series} fell from {value} to {now}");
            }
            before = after;
        }
        // All five rounds, and nothing lost at the seams.
        let all = sidecar.metric("switchback_requests_total", &["role=\"stable\""]);
        assert_eq!(all, 5.0 * 23.0);
        assert!(sidecar.metric("switchback_config_reloads_total", &["result=\"applied\""]) >= 4.0);
        assert_eq!(sidecar.metric("switchback_requests_in_flight", &[]), 0.0);
    });
}
