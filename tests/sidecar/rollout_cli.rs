//! Rollouts from the command line: the real binary asks a real sidecar, and the exit code says how
//! it went.

use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use http::Response;
use serde_json::Value;

use crate::support::{RawClient, Sidecar, Upstream, blocking_until, full};

/// The binary, with nothing of this environment that would name another sidecar.
fn switchback() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_switchback"));
    command.env_remove("SWITCHBACK_SERVER").env_remove("SWITCHBACK_TOKEN").stdin(Stdio::null());
    command
}

/// `switchback rollout …` for the sidecar whose admin API is at `admin`.
fn asking(admin: SocketAddr, arguments: &[&str]) -> Command {
    let mut command = switchback();
    command.arg("rollout").args(arguments).env("SWITCHBACK_SERVER", format!("http://{admin}"));
    command
}

fn rollout(sidecar: &Sidecar, arguments: &[&str]) -> Output {
    asking(sidecar.admin(), arguments).output().unwrap()
}

/// Runs it and expects this exit code; gives what it printed.
fn exits(code: i32, sidecar: &Sidecar, arguments: &[&str]) -> String {
    let output = rollout(sidecar, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {output:?}");
    text(&output.stdout)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

/// A model server that answers with this status.
fn server(status: u16) -> Upstream {
    Upstream::start(move |seen| Response::builder().status(status).body(full(seen.body.clone())).unwrap())
}

/// A model `m` with v1 and v2, and this policy.
fn config(v1: &Upstream, v2: &Upstream, steps: &str) -> String {
    format!(
        "\
models:
  - name: m
    versions:
      - {{name: v1, upstream: {{url: '{}'}}}}
      - {{name: v2, upstream: {{url: '{}'}}}}
    rollout:
      steps: {steps}
      analysis: {{warmup: {{requests: 0, duration: 0s}}, metrics: [{{errorRate: {{}}}}]}}
",
        v1.url(),
        v2.url()
    )
}

/// One step of half of the traffic that asks for little.
const HALF: &str = "[{setWeight: {weight: 50%, minDuration: 0s, harm: {ratio: 5, minRate: 20%}}}]";

/// Somebody who asks the model again and again, until dropped.
struct Traffic {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Traffic {
    fn to(sidecar: &Sidecar) -> Self {
        let (stop, address) = (Arc::new(AtomicBool::new(false)), sidecar.main());
        let stopped = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut client = RawClient::connect(address);
            while !stopped.load(Ordering::Relaxed) {
                client.post("/x", "", b"{}");
            }
        });
        Self { stop, thread: Some(thread) }
    }
}

impl Drop for Traffic {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

/// Hands `input` to `rollout verify -`.
fn verify(input: &str, arguments: &[&str]) -> Output {
    let mut child = switchback()
        .args(["rollout", "verify", "-"])
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

#[test]
fn a_good_candidate_is_promoted_and_its_report_verifies_in_every_form() {
    let (v1, v2) = (server(200), server(200));
    let sidecar = Sidecar::start(&config(&v1, &v2, HALF));
    let traffic = Traffic::to(&sidecar);
    let start = ["start", "m", "--to", "v2", "--wait", "--timeout", "30s", "--output", "junit"];
    let output = rollout(&sidecar, &start);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let (junit, progress) = (text(&output.stdout), text(&output.stderr));
    assert!(junit.starts_with("<?xml") && junit.contains("failures=\"0\""), "{junit}");
    for part in ["v1 → v2 Running, step 1 of 1 (setWeight 50%)", "worse ", "no harm ", "Succeeded"] {
        assert!(progress.contains(part), "no {part:?} in\n{progress}");
    }
    drop(traffic);

    let status = exits(0, &sidecar, &["status", "m", "--exit-code"]);
    assert!(status.contains("Succeeded") && status.contains("v2 stable 100%"), "{status}");
    let report = exits(0, &sidecar, &["report", "m", "--output", "json"]);
    let (shown, id) = (json(&report), json(&report)["rollout"]["id"].as_str().unwrap().to_owned());
    assert_eq!((&shown["outcome"], &shown["rollout"]["phase"]), (&"promoted".into(), &"Succeeded".into()));
    let markdown = exits(0, &sidecar, &["report", &id]);
    for part in ["# PROMOTED: m from v1 to v2", "## Decisions", "error-rate", "ADVANCE"] {
        assert!(markdown.contains(part), "no {part:?} in\n{markdown}");
    }
    assert_eq!(exits(0, &sidecar, &["report", &id, "--output", "markdown"]), markdown);
    let yaml = exits(0, &sidecar, &["report", &id, "--output", "yaml"]);
    assert!(yaml.starts_with("outcome: promoted\nrollout:\n"), "{yaml}");

    let verified = verify(&report, &[]);
    assert_eq!(verified.status.code(), Some(0), "{verified:?}");
    assert!(text(&verified.stdout).lines().all(|line| line.starts_with("agrees: ")), "{verified:?}");
    let mut forged = shown;
    forged["decisions"][1]["evidence"]["eValue"] = 0.123.into();
    let verified = verify(&forged.to_string(), &["--output", "junit"]);
    assert_eq!(verified.status.code(), Some(1), "{verified:?}");
    assert!(text(&verified.stdout).contains("failures=\"1\""), "{verified:?}");
    let history = exits(0, &sidecar, &["history", "m"]);
    assert!(history.lines().count() == 2 && history.contains(&id), "{history}");
}

#[test]
fn a_bad_candidate_is_rolled_back_and_refused_until_it_is_cleared() {
    let (v1, v2) = (server(200), server(500));
    let sidecar = Sidecar::start(&config(&v1, &v2, HALF));
    let traffic = Traffic::to(&sidecar);
    let output = rollout(&sidecar, &["start", "m", "--to", "v2", "--wait", "--output", "junit"]);
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    assert!(text(&output.stdout).contains("<failure type=\"rolledBack\""), "{output:?}");
    assert!(text(&output.stderr).contains("ROLLBACK v2 → v1"), "{output:?}");
    drop(traffic);
    exits(3, &sidecar, &["watch", "m"]);
    exits(3, &sidecar, &["status", "m", "--exit-code"]);
    exits(0, &sidecar, &["status", "m"]);

    let refused = rollout(&sidecar, &["start", "m", "--to", "v2"]);
    assert_eq!(refused.status.code(), Some(9), "{refused:?}");
    assert!(text(&refused.stderr).contains("rolled back"), "{refused:?}");
    exits(0, &sidecar, &["clear", "m"]);
    let shown = json(&exits(0, &sidecar, &["start", "m", "--to", "v2", "--output", "json"]));
    assert_eq!(shown["attempt"], 2);
}

#[test]
fn by_hand_a_rollout_is_paused_resumed_promoted_and_aborted() {
    let (v1, v2) = (server(200), server(200));
    let steps = "[{setWeight: {weight: 10%, maxDuration: none}}, {pause: {}}, {bake: {duration: 1h}}]";
    let sidecar = Sidecar::start(&config(&v1, &v2, steps));
    let key = ["start", "m", "--to", "v2", "--idempotency-key", "build-17", "--output", "json"];
    let first = json(&exits(0, &sidecar, &key));
    assert_eq!(json(&exits(0, &sidecar, &key))["id"], first["id"], "the same key is the same rollout");
    let phase = |what: &str| {
        blocking_until(what, || {
            let view = json(&exits(0, &sidecar, &["status", "--output", "json"]));
            (view["phase"] == what).then_some(view)
        })
    };
    phase("Running");
    let conflict = rollout(&sidecar, &["start", "m", "--to", "v2"]);
    assert_eq!(conflict.status.code(), Some(9), "{conflict:?}");
    exits(7, &sidecar, &["watch", "m", "--timeout", "300ms"]);
    assert!(exits(0, &sidecar, &["pause", "m"]).contains("Paused"));
    exits(9, &sidecar, &["retry", "m"]);
    exits(0, &sidecar, &["resume", "m"]);
    phase("Running");
    exits(0, &sidecar, &["promote", "m"]);
    phase("WaitingForPromotion");
    exits(0, &sidecar, &["promote", "m", "--full"]);
    phase("Baking");
    // Promoted, and the bake goes on.
    exits(0, &sidecar, &["watch", "m"]);
    exits(7, &sidecar, &["watch", "m", "--until", "ended", "--timeout", "300ms"]);
    exits(0, &sidecar, &["abort", "m"]);
    exits(5, &sidecar, &["watch", "m"]);
    exits(0, &sidecar, &["retry", "m"]);
    assert_eq!(json(&exits(0, &sidecar, &["status", "m", "--output", "json"]))["attempt"], 2);
    exits(1, &sidecar, &["status", "nobody"]);
}

#[test]
fn no_traffic_is_inconclusive_and_another_rollout_supersedes() {
    let (v1, v2) = (server(200), server(200));
    let sidecar = Sidecar::start(&config(&v1, &v2, HALF));
    let policy = sidecar.folder().join("policy.yaml");
    let short = "steps: [{setWeight: {weight: 10%, minDuration: 0s, maxDuration: 1s}}]\nanalysis: {metrics: [{errorRate: {}}]}\n";
    std::fs::write(&policy, short).unwrap();
    let policy = policy.to_str().unwrap();
    let output = rollout(&sidecar, &["start", "m", "--to", "v2", "--policy", policy, "--wait"]);
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    assert!(text(&output.stderr).contains("INCONCLUSIVE after"), "{output:?}");

    let watching = asking(sidecar.admin(), &["start", "m", "--to", "v2", "--supersede", "--wait"]);
    let mut watching = spawned(watching);
    let running = blocking_until("another rollout", || {
        let view = json(&exits(0, &sidecar, &["status", "m", "--output", "json"]));
        (view["phase"] == "Running").then(|| view["id"].as_str().unwrap().to_owned())
    });
    let candidate = sidecar.folder().join("v3.yaml");
    let v3 = server(200);
    std::fs::write(&candidate, format!("name: v3\nupstream: {{url: '{}'}}\ndigest: 'build 9'\n", v3.url()))
        .unwrap();
    let candidate = candidate.to_str().unwrap();
    let third =
        exits(0, &sidecar, &["start", "m", "--candidate", candidate, "--supersede", "--output", "yaml"]);
    assert!(third.contains("candidate: v3\n") && third.contains("given:build 9"), "{third}");
    assert_eq!(watching.wait().unwrap().code(), Some(6));
    assert_eq!(json(&exits(0, &sidecar, &["status", &running, "--output", "json"]))["phase"], "Superseded");
    // A policy that is none is refused with the places of its mistakes.
    std::fs::write(policy, "steps: [{setWeight: 110%}]\n").unwrap();
    let output = rollout(&sidecar, &["start", "m", "--to", "v2", "--policy", policy]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(text(&output.stderr).contains("policy.yaml:1:"), "{output:?}");
}

fn spawned(mut command: Command) -> Child {
    command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

#[test]
fn waiting_outlives_a_sidecar_that_is_killed_and_comes_back() {
    let (v1, v2) = (server(200), server(500));
    let folder = tempfile::tempdir().unwrap();
    let admin = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let store = folder.path().join("rollouts.db");
    let config = format!(
        "admin: {{address: '{admin}'}}\nstore: {{path: '{}'}}\n{}",
        store.display(),
        config(&v1, &v2, HALF)
    );
    let sidecar = Sidecar::start(&config);
    let waiting = asking(admin, &["start", "m", "--to", "v2", "--wait", "--timeout", "40s"]);
    let mut waiting = spawned(waiting);
    blocking_until("the rollout", || {
        let output = rollout(&sidecar, &["status", "m", "--output", "json"]);
        (output.status.success() && json(&text(&output.stdout))["phase"] == "Running").then_some(())
    });
    // No traffic so far: nothing can have been decided.
    sidecar.signal("KILL");
    drop(sidecar);
    assert_eq!(waiting.try_wait().unwrap(), None, "it waits for a sidecar that is away");
    let sidecar = Sidecar::start(&config);
    let _traffic = Traffic::to(&sidecar);
    assert_eq!(waiting.wait().unwrap().code(), Some(3));
}

#[test]
fn who_does_not_answer_and_who_does_not_let_in_are_told_apart() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    for arguments in
        [&["status"][..], &["start", "m", "--to", "v2", "--wait"], &["watch", "m"], &["report", "m"]]
    {
        let output = asking(nobody, arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(8), "{output:?}");
        assert!(text(&output.stderr).contains("--server"), "{output:?}");
    }
    let (v1, v2) = (server(200), server(200));
    let tokens = "admin: {address: '127.0.0.1:0', tokens: [{name: ci, role: operate, file: '{dir}/ci'}, {name: eye, role: read, file: '{dir}/eye'}]}\n";
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ci"), "0123456789abcdef-ci\n").unwrap();
    std::fs::write(folder.path().join("eye"), "0123456789abcdef-eye\n").unwrap();
    let sidecar = Sidecar::start_in(folder, &format!("{tokens}{}", config(&v1, &v2, HALF)));
    let file = |name: &str| sidecar.folder().join(name).to_str().unwrap().to_owned();
    let start = ["start", "m", "--to", "v2"];
    exits(10, &sidecar, &start);
    let with =
        |token: &str| rollout(&sidecar, &[&start[..], &["--token-file", token]].concat()).status.code();
    assert_eq!(with(&file("eye")), Some(10), "who may read may not operate");
    assert_eq!(with(&file("ci")), Some(0));
    let shown = asking(sidecar.admin(), &["status", "m"])
        .env("SWITCHBACK_TOKEN", "0123456789abcdef-eye")
        .output()
        .unwrap();
    assert!(text(&shown.stdout).contains("by ci"), "{shown:?}");
}

#[test]
fn check_says_what_a_sidecar_does_otherwise() {
    let (v1, v2) = (server(200), server(200));
    let sidecar = Sidecar::start(&config(&v1, &v2, HALF));
    let path = sidecar.folder().join("switchback.yaml");
    let against = |path: &Path, url: &str| {
        let output = switchback().args(["check", "--against", url, "--config"]).arg(path).output().unwrap();
        (output.status.code(), text(&output.stdout))
    };
    let url = format!("http://{}", sidecar.admin());
    let (code, said) = against(&path, &url);
    assert_eq!((code, said.contains("ok")), (Some(0), true), "{said}");
    sidecar.ramp("v1", "v2", 30);
    let (code, said) = against(&path, &url);
    let expected = "m: weight of v1 is 70%, the configuration says 100%\nm: weight of v2 is 30%, the configuration says 0%\n";
    assert_eq!((code, said.as_str()), (Some(1), expected));
    let other = sidecar.folder().join("other.yaml");
    std::fs::write(&other, std::fs::read_to_string(&path).unwrap().replace("{name: v2", "{name: v9"))
        .unwrap();
    let (code, said) = against(&other, &url);
    assert_eq!(code, Some(1));
    for part in ["config: the sidecar runs ", "m: version v9 is not there", "m: version v2 is there"] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    assert_eq!(against(&path, &format!("http://{nobody}")).0, Some(8));
}

#[test]
fn plan_needs_no_sidecar_and_repeats_itself() {
    let config = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/rollout.yaml");
    let plan = |more: &[&str]| {
        let arguments = ["plan", "--rps", "200", "--error-rate", "0.5%", "--runs", "2", "--model", "fraud"];
        switchback().args(arguments).args(more).arg("--config").arg(&config).output().unwrap()
    };
    let shown = plan(&[]);
    assert_eq!(shown.status.code(), Some(0), "{shown:?}");
    let said = text(&shown.stdout);
    for part in ["fraud at 200 requests/s", "healthy passes", "How 2 rollouts end", "the same"] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    assert_eq!(text(&plan(&[]).stdout), said);
    let forecast = json(&text(&plan(&["--output", "json"]).stdout));
    assert_eq!(forecast["assumptions"]["errorRate"], 0.005);
    assert!(text(&plan(&["--output", "yaml"]).stdout).contains("assumptions:\n  rps: 200"));
    assert_eq!(plan(&["--output", "junit"]).status.code(), Some(2));
    assert_eq!(plan(&["--model", "nobody"]).status.code(), Some(2), "given twice");
    let wrong = switchback().args(["plan", "--rps", "0", "--config"]).arg(&config).output().unwrap();
    assert_eq!(wrong.status.code(), Some(2), "{wrong:?}");
}

#[test]
fn pairs_that_differ_can_be_looked_at() {
    let (v1, v2) = (server(200), Upstream::start(|_| Response::new(full("{\"answer\": 2}"))));
    let steps = "[{shadow: {minDuration: 1h, maxDuration: none}}]";
    let config = config(&v1, &v2, steps).replace("[{errorRate: {}}]", "[{divergence: {max: 50%}}]");
    let sidecar = Sidecar::start(&config);
    assert!(exits(0, &sidecar, &["pairs", "m"]).contains("no pair"));
    exits(0, &sidecar, &["start", "m", "--to", "v2"]);
    let _traffic = Traffic::to(&sidecar);
    let said = blocking_until("a pair", || {
        let said = exits(0, &sidecar, &["pairs", "m", "--worst", "--limit", "2"]);
        said.contains("v2 got the copy").then_some(said)
    });
    for part in ["request  {}", "primary  {}", "shadow   {\"answer\":2}"] {
        assert!(said.contains(part), "no {part:?} in\n{said}");
    }
    let pairs = json(&exits(0, &sidecar, &["pairs", "m", "--limit", "1", "--output", "json"]));
    assert_eq!(pairs.as_array().unwrap().len(), 1);
}

#[test]
fn help_teaches_every_command_and_every_exit_code() {
    let help = switchback().args(["rollout", "--help"]).output().unwrap();
    let help = text(&help.stdout);
    let commands = [
        "start", "status", "history", "watch", "promote", "pause", "resume", "abort", "retry", "clear",
        "pairs", "report", "verify",
    ];
    for word in commands.iter().chain(&["--output", "SWITCHBACK_SERVER", "--token-file", "--wait --timeout"])
    {
        assert!(help.contains(word), "no {word} in\n{help}");
    }
    for code in 0..=10 {
        let stands = |line: &str| line.split_whitespace().next() == Some(&code.to_string());
        assert!(help.lines().any(stands), "nothing about exit code {code} in\n{help}");
    }
    for command in commands {
        let help = switchback().args(["rollout", command, "--help"]).output().unwrap();
        assert!(help.status.success() && text(&help.stdout).contains("--server"), "{command}: {help:?}");
    }
    // A token is never shown, not even as a default.
    let help =
        switchback().args(["rollout", "start", "--help"]).env("SWITCHBACK_TOKEN", "secret-word").output();
    assert!(!text(&help.unwrap().stdout).contains("secret-word"));
    for wrong in [&["start"][..], &["start", "m"], &["start", "m", "--to", "a", "--candidate", "b"], &["fly"]]
    {
        let output = switchback().arg("rollout").args(wrong).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{output:?}");
    }
}
