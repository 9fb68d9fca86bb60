//! The command line: what it teaches, what it refuses, and how it exits.

use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};

use crate::support::{RawClient, Sidecar, Upstream, run};

fn switchback(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchback")).args(arguments).output().unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn file(folder: &tempfile::TempDir, text: &str) -> String {
    let path = folder.path().join("switchback.yaml");
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Runs `serve` with a configuration that cannot be served: exit code 1, nothing on stdout.
fn refused(config: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, &config.replace("{dir}", folder.path().to_str().unwrap()));
    let output = switchback(&["serve", "--config", &path]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(text(&output.stdout), "");
    let complaint = text(&output.stderr);
    assert!(!complaint.contains("panicked") && !complaint.contains("RUST_BACKTRACE"), "{complaint}");
    complaint
}

const MODELS: &str = "models: [{name: m, versions: [{name: v1, upstream: {url: \"http://127.0.0.1:9\"}}]}]\n";

const MISTAKES: &str = "\
listeners:
  - {name: main, address: 127.0.0.1:8080}
  - {name: main, address: nowhere}
modles: []
models:
  - name: fraud
    versions:
      - {name: v1, weight: 90%, upstream: {url: \"ftp://127.0.0.1:9001\"}}
      - {name: v1, weight: 20%, upstream: {url: \"http://127.0.0.1:9002\"}}
    mirror:
      - {to: v9}
";

#[test]
fn check_names_every_mistake_on_its_own_line_and_serve_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(&folder, MISTAKES);
    let output = switchback(&["check", "--config", &path]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output.stderr);
    for (line, about) in [(3, "nowhere"), (4, "modles"), (8, "ftp"), (11, "v9")] {
        let place = format!("switchback.yaml:{line}:");
        assert!(
            said.lines().any(|l| l.contains(&place) && l.contains(about)),
            "nothing about {about} on line {line}:\n{said}"
        );
    }
    assert!(said.lines().all(|l| l.contains("switchback.yaml:")), "{said}");

    let served = switchback(&["serve", "--config", &path]);
    assert_eq!(served.status.code(), Some(1));
    let served = text(&served.stderr);
    for line in said.lines() {
        assert!(served.contains(line), "serve does not say {line:?}:\n{served}");
    }
}

#[test]
fn check_says_ok_to_what_is_right_and_serves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    // An address in use is no mistake in the file.
    let config =
        format!("listeners: [{{name: main, address: \"{}\"}}]\n{MODELS}", taken.local_addr().unwrap());
    let output = switchback(&["check", "--config", &file(&folder, &config)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output.stdout).contains("ok"), "{output:?}");
}

#[test]
fn check_calls_a_warning_one_once_and_says_ok() {
    let folder = tempfile::tempdir().unwrap();
    let config = MODELS.to_owned() + "admin: {address: 0.0.0.0:9901}\n";
    let output = switchback(&["check", "--config", &file(&folder, &config)]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let said = text(&output.stderr);
    assert_eq!((said.lines().count(), said.matches("warning: ").count()), (1, 1), "{said}");
}

#[test]
fn every_shipped_example_is_right() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config");
    let mut seen = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            // Certificates of the TLS example are the reader's own.
            let output = switchback(&["check", "--config", path.to_str().unwrap()]);
            let said = text(&output.stderr);
            let fine =
                output.status.success() || (!said.is_empty() && said.lines().all(|l| l.contains("/certs/")));
            assert!(fine, "{said}");
            seen += 1;
        }
    }
    assert!(seen >= 5, "{seen}");
}

#[test]
fn the_schema_is_a_json_schema() {
    let output = switchback(&["schema"]);
    assert!(output.status.success());
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(schema["$schema"].as_str().unwrap().contains("json-schema.org"), "{}", schema["$schema"]);
    assert!(schema["properties"]["models"].is_object());
}

#[test]
fn help_teaches_and_what_is_unknown_exits_with_2() {
    let help = switchback(&["--help"]);
    assert_eq!(help.status.code(), Some(0));
    let help = text(&help.stdout);
    for word in ["serve", "check", "schema", "listeners:", "weight: 90%", "curl", "/metrics"] {
        assert!(help.contains(word), "no {word} in\n{help}");
    }
    let serve = text(&switchback(&["serve", "--help"]).stdout);
    for word in ["--config", "SIGTERM", "SIGHUP", "switchback ready"] {
        assert!(serve.contains(word), "no {word} in\n{serve}");
    }
    assert!(text(&switchback(&["--version"]).stdout).contains(env!("CARGO_PKG_VERSION")));
    for wrong in [&["swerve"][..], &["serve", "--colour"], &["serve"], &[]] {
        let output = Command::new(env!("CARGO_BIN_EXE_switchback"))
            .args(wrong)
            .env_remove("SWITCHBACK_CONFIG")
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{wrong:?}: {output:?}");
        assert!(text(&output.stderr).contains("Usage"), "{output:?}");
    }
}

#[test]
fn a_port_in_use_is_one_clear_line_and_nothing_is_half_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for (listener, admin) in [(port, free), (free, port)] {
        let said = refused(&format!(
            "listeners: [{{name: main, address: \"{listener}\"}}]\nadmin: {{address: \"{admin}\"}}\n{MODELS}"
        ));
        let complaints: Vec<_> = said.lines().filter(|l| l.starts_with("switchback: ")).collect();
        assert_eq!(complaints.len(), 1, "{said}");
        assert!(complaints[0].contains(&port.to_string()) && complaints[0].contains("in use"), "{said}");
        assert!(!said.contains("panick"), "{said}");
    }
}

#[test]
fn a_second_sidecar_on_the_same_port_is_refused_although_workers_share_theirs() {
    run(async {
        let upstream = Upstream::echo("v1");
        let models = format!(
            "models: [{{name: m, versions: [{{name: v1, upstream: {{url: \"{}\"}}}}]}}]\n",
            upstream.url()
        );
        let first = Sidecar::start(&format!("workers: 2\n{models}"));
        first.ready().await;
        let said = refused(&format!(
            "listeners: [{{name: main, address: \"{}\"}}]\nadmin: {{address: \"127.0.0.1:0\"}}\n{models}",
            first.main()
        ));
        assert!(said.contains("in use"), "{said}");
        for _ in 0..20 {
            assert_eq!(RawClient::connect(first.main()).post("/x", "", b"hi").text(), "hi");
        }
    });
}

#[test]
fn files_that_cannot_be_read_are_one_clear_line_each() {
    let listeners = |certificate: &str, key: &str| {
        format!(
            "listeners: [{{name: main, address: \"127.0.0.1:0\", tls: {{certificate: {certificate}, key: {key}}}}}]\nadmin: {{address: \"127.0.0.1:0\"}}\n{MODELS}"
        )
    };
    let said = refused(&listeners("no-cert.pem", "no-key.pem"));
    assert!(said.contains("no-cert.pem"), "{said}");
    // A certificate that is none: the configuration file itself.
    let said = refused(&listeners("switchback.yaml", "switchback.yaml"));
    assert!(said.contains("switchback.yaml") && said.contains("ertificate"), "{said}");

    let said = refused(&format!(
        "accessLog: {{path: no/such/folder/log}}\n{MODELS}admin: {{address: \"127.0.0.1:0\"}}\nlisteners: [{{name: main, address: \"127.0.0.1:0\"}}]\n"
    ));
    assert!(said.contains("no/such/folder"), "{said}");

    for path in ["/no/such/file.yaml", "/"] {
        let output = switchback(&["serve", "--config", path]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = text(&output.stderr);
        assert!(said.contains(path) && said.lines().count() == 1, "{said}");
        assert_eq!(switchback(&["check", "--config", path]).status.code(), Some(1));
    }
    let folder = tempfile::tempdir().unwrap();
    for garbage in ["", "\u{0}", "[", "- 1", "a: &a [*a]", "models: {", "\u{feff}models: 7", "%"] {
        let output = switchback(&["check", "--config", &file(&folder, garbage)]);
        assert_eq!(output.status.code(), Some(1), "{garbage:?}: {output:?}");
        let said = text(&output.stderr);
        assert!(!said.trim().is_empty() && !said.contains("panicked"), "{garbage:?}: {said}");
    }
}
