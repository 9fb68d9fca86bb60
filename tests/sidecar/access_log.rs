//! The access log: whole, bounded lines of a sample, and nothing per request anywhere else.

use serde_json::Value;

use crate::support::{RawClient, Sidecar, Upstream, run, until};

fn config(upstream: &Upstream, sample: &str, shadow: &Upstream) -> String {
    format!(
        "accessLog: {{path: access.log, sample: {sample}}}
models:
  - name: m
    versions:
      - {{name: v1, upstream: {{url: \"{}\"}}}}
      - {{name: v2, upstream: {{url: \"{}\"}}}}
    mirror: [{{to: v2}}]
",
        upstream.url(),
        shadow.url()
    )
}

fn lines(sidecar: &Sidecar) -> Vec<Value> {
    let text = std::fs::read_to_string(sidecar.folder().join("access.log")).unwrap_or_default();
    let whole = text.rfind('\n').map_or("", |end| &text[..=end]);
    assert!(whole.lines().all(|l| l.len() <= 4096));
    whole.lines().map(|l| serde_json::from_str(l).unwrap_or_else(|e| panic!("{e}: {l}"))).collect()
}

#[test]
fn every_line_is_valid_and_bounded_whatever_the_request_says() {
    run(async {
        let (upstream, shadow) = (Upstream::echo("v1"), Upstream::echo("v2"));
        let mut sidecar = Sidecar::start(&config(&upstream, "100%", &shadow));
        sidecar.ready().await;
        let mut client = RawClient::connect(sidecar.main());
        let long =
            format!("/{}", "\u{1}%22\\\"".replace('\u{1}', "a").repeat(3000).replace(['"', '\\'], "x"));
        let id = format!("x-request-id: {}\r\n", "i".repeat(500));
        assert_eq!(client.post("/one?secret=7", "x-request-id: abc\r\n", b"12345").status, 200);
        assert_eq!(client.post(&long, &id, b"").status, 200);
        assert_eq!(client.request(&"M".repeat(200), "/three", "", b"").status, 200);

        let seen = until("three lines", async || Some(lines(&sidecar)).filter(|l| l.len() == 3)).await;
        let first = &seen[0];
        assert_eq!(first["path"], "/one", "no query: it may hold secrets");
        assert_eq!(first["request_id"], "abc");
        assert_eq!(
            (&first["model"], &first["version"], &first["role"]),
            (&"m".into(), &"v1".into(), &"stable".into())
        );
        assert_eq!((&first["status"], &first["outcome"]), (&200.into(), &"success".into()));
        assert_eq!((&first["request_bytes"], &first["response_bytes"]), (&5.into(), &5.into()));
        assert_eq!(first["mirrored"], true);
        assert!(first["duration_seconds"].as_f64().unwrap() > 0.0);
        assert!(first["time"].as_str().unwrap().ends_with('Z'));
        assert!(
            seen[1]["path"].as_str().unwrap().len() <= 448
                && seen[1]["request_id"].as_str().unwrap().len() <= 80
        );
        assert!(seen[2]["method"].as_str().unwrap().len() <= 16);

        // What is under way at the end is written before the end.
        assert_eq!(client.get("/last").status, 200);
        sidecar.signal("TERM");
        assert_eq!(sidecar.wait().code(), Some(0));
        assert_eq!(lines(&sidecar).len(), 4);
    });
}

#[test]
fn a_sample_is_a_sample_and_the_ordinary_log_says_nothing_of_requests() {
    run(async {
        let (upstream, shadow) = (Upstream::echo("v1"), Upstream::echo("v2"));
        let config = config(&upstream, "10%", &shadow);
        let mut sidecar = Sidecar::start_with(&["--log", "info"], &config);
        sidecar.ready().await;
        let before = sidecar.log();
        let mut client = RawClient::connect(sidecar.main());
        for _ in 0..500 {
            assert_eq!(client.post("/x", "", b"x").status, 200);
        }
        // Nor of those that go wrong.
        assert_eq!(client.request("POST", "/x", "host: second\r\n", b"").status, 400);
        let logged = sidecar.log();
        assert_eq!(logged.lines().count(), before.lines().count(), "{logged}");
        sidecar.signal("TERM");
        sidecar.wait();
        // Six standard deviations of 500 draws at 10 %.
        let written = lines(&sidecar).len();
        assert!((50 - 41..=50 + 41).contains(&written), "{written} of 500");
    });
}

#[test]
fn a_log_that_cannot_be_written_to_harms_nobody() {
    run(async {
        let (upstream, shadow) = (Upstream::echo("v1"), Upstream::echo("v2"));
        let config = config(&upstream, "100%", &shadow).replace("access.log", "/dev/full");
        let sidecar = Sidecar::start(&config);
        sidecar.ready().await;
        let mut client = RawClient::connect(sidecar.main());
        for _ in 0..300 {
            assert_eq!(client.post("/x", "", b"x").status, 200);
        }
        until("the failure to be logged", async || sidecar.log().contains("access log cannot").then_some(()))
            .await;
        assert!(sidecar.log().matches("access log cannot").count() < 10, "told once, not once per line");
    });
}
