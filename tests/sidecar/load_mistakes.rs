//! What a load test refuses: one clear line each, and the exit code of its kind.

use std::path::Path;
use std::process::Command;

use crate::load_support::{load, reply, server};
use crate::support::Refusing;

/// Runs `load` with these arguments, which cannot work: the exit code and the one line.
fn refused(arguments: &[&str]) -> (i32, String) {
    let output = load(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "", "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!said.contains("panicked"), "{said}");
    (output.status.code().unwrap(), said)
}

const BAD_INPUT: i32 = 13;
const UNREACHABLE: i32 = 8;

#[test]
fn addresses_that_cannot_or_may_not_be_loaded() {
    let refusing = Refusing::start();
    let (code, said) = refused(&[&format!("{}/x", refusing.url())]);
    assert!(code == UNREACHABLE && said.contains("connection refused"), "{said}");
    let (code, said) = refused(&["http://no-such-host.invalid/x", "--allow-remote"]);
    assert!(code == UNREACHABLE && said.contains("there is no host \"no-such-host.invalid\""), "{said}");
    let (code, said) = refused(&["unix:/no/such/socket"]);
    assert!(code == UNREACHABLE && said.contains("/no/such/socket"), "{said}");
    // Nothing is sent to the address: it is not even looked for.
    let (code, said) = refused(&["http://192.0.2.1/x"]);
    assert!(
        code == BAD_INPUT && said.contains("not on this machine") && said.contains("--allow-remote"),
        "{said}"
    );
    let (code, said) = refused(&["http://[::ffff:192.0.2.1]:80/x"]);
    assert!(code == BAD_INPUT && said.contains("--allow-remote"), "{said}");
}

#[test]
fn a_model_that_is_not_there_and_inputs_that_it_does_not_take() {
    let address = server(|asked, stream| match asked.line.split(' ').nth(1).unwrap() {
        "/v2/models/fraud" => reply(
            stream,
            200,
            r#"{"name":"fraud","inputs":[{"name":"x","datatype":"FP32","shape":[-1,3]}],"outputs":[]}"#,
        ),
        "/v2/models/fraud/infer" => reply(stream, 400, r#"{"error":"not today"}"#),
        _ => reply(stream, 404, r#"{"error":"no such model"}"#),
    });
    let url = |model: &str| format!("http://{address}/v2/models/{model}/infer");
    let (code, said) = refused(&[&url("frud")]);
    assert_eq!(code, BAD_INPUT);
    for part in ["GET http://", "/v2/models/frud answered 404", "no such model", "check the model's name"] {
        assert!(said.contains(part), "{said}");
    }
    let (code, said) = refused(&[&url("fraud")]);
    assert!(code == BAD_INPUT && said.contains("answered 400") && said.contains("not today"), "{said}");
    // A row that does not fit is found before anything is sent.
    let folder = tempfile::tempdir().unwrap();
    let rows = folder.path().join("rows.csv");
    std::fs::write(&rows, "a,b\n1,2\n").unwrap();
    let (code, said) = refused(&[&url("fraud"), "--data", rows.to_str().unwrap()]);
    assert!(code == BAD_INPUT && said.contains("rows.csv:2") && said.contains("[-1, 3]"), "{said}");
}

#[test]
fn files_that_hold_nothing_or_nonsense() {
    let address = server(|_, stream| reply(stream, 200, "{}"));
    let url = format!("http://{address}/x");
    let folder = tempfile::tempdir().unwrap();
    for (name, text, part) in [
        ("empty.jsonl", "", "the file is empty"),
        ("blank.jsonl", "\n \n", "holds no row"),
        ("broken.jsonl", "{\"a\": 1}\n{\"a\"\n", "broken.jsonl:2: the line is no JSON"),
        ("head.csv", "a,b\n", "holds no row"),
        ("ragged.csv", "a,b\n1\n", "ragged.csv:2"),
        ("no.npy", "PK", "does not begin as a .npy"),
        ("pairs.json", "[]", "no pair is kept"),
        ("rows.txt", "x", "name it .jsonl, .csv, .npy"),
    ] {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        let (code, said) = refused(&[&url, "--data", path.to_str().unwrap()]);
        assert!(code == BAD_INPUT && said.contains(part), "{name}: {code} {said}");
    }
    let (code, said) = refused(&[&url, "--data", folder.path().to_str().unwrap()]);
    assert!(code == BAD_INPUT && said.contains("is not a file"), "{said}");
    let (code, said) = refused(&[&url, "--data", "no/such.csv"]);
    assert!(code == BAD_INPUT && said.contains("--data: ") && said.contains("does not exist"), "{said}");
}

#[test]
fn goals_and_other_flags_that_mean_nothing() {
    for (flags, part) in [
        (&["--slo", "p99<80"][..], "write the unit: \"80ms\" or \"80s\""),
        (&["--slo", "fast"], "compares nothing"),
        (&["--slo", "p99<0ms"], "write more than 0"),
        (&["--rate", "NaN"], "--rate: NaN is no number"),
        (&["--rate", "-5"], "--rate: -5.0 is below zero"),
        (&["--rate", "1e300"], "--rate: 1e300 requests per second cannot be sent"),
        (&["--duration", "-5s"], "--duration: \"-5s\" is not a duration"),
        (&["--format", "v2"], "--model: a request of the format \"v2\" names a model: name it"),
        (&["--report", "no/such/folder/r.html"], "there is no folder no/such/folder"),
        (&["--slo", "B/A p99<2"], "nothing to compare"),
        (&["--slo", "side.cpu<50%"], "no process of that name"),
        (&["--rate", "0"], "--rate: 0 requests per second"),
        (&["--duration", "1"], "--duration: \"1\" is not a duration"),
        (&["--find-max"], "needs a goal to hold"),
        (&["--rate", "100000", "--duration", "1h"], "more than the 10000000 that are allowed"),
        (&["--watch", "gone=4294967290"], "resource \"gone\": process 4294967290"),
    ] {
        let address = server(|_, stream| reply(stream, 200, "{}"));
        let url = format!("http://{address}/x");
        let (code, said) = refused(&[&[url.as_str()], flags].concat());
        assert!(code == BAD_INPUT && said.contains(part), "{flags:?}: {code} {said}");
    }
    let output = load(&["http://127.0.0.1:1/x", "--report", "report.pdf"]);
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(load(&[]).status.code(), Some(2));
    assert_eq!(load(&["http://127.0.0.1:1/x", "--output", "yaml"]).status.code(), Some(2));
}

#[test]
fn two_targets_that_would_not_get_the_same_requests() {
    let (code, said) = refused(&["--compare", "A=http://127.0.0.1:1/a", "B=http://127.0.0.1:2/b"]);
    assert!(code == BAD_INPUT && said.contains("\"/a\" and \"/b\" are two"), "{said}");
    // The same path in other words is one.
    let (code, said) = refused(&["--compare", "A=http://127.0.0.1:1", "B=http://127.0.0.1:2/"]);
    assert!(code == UNREACHABLE, "{said}");
}

#[test]
fn a_scenario_says_all_its_mistakes_with_their_places_and_check_says_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("wrong.yaml");
    std::fs::write(
        &path,
        "target: 127.0.0.1:8080\nrequests:\n  - {format: v2}\n  - {format: v9, model: m}\n\
         load: {rate: 5, clients: 3}\nslos:\n  - p99 < 80\n  - other.cpu < 5%\nwarmpu: 3s\n",
    )
    .unwrap();
    let output = load(&["--scenario", path.to_str().unwrap()]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(BAD_INPUT), "{said}");
    for (line, about) in [
        (1, "write \"http://127.0.0.1:8080\""),
        (3, "names a model"),
        (4, "\"v9\" is not a format of requests"),
        (5, "more than one way for requests to arrive: rate, clients"),
        (7, "write the unit"),
        (8, "no process of that name"),
        (9, "did you mean \"warmup\"?"),
    ] {
        let place = format!("wrong.yaml:{line}:");
        assert!(said.lines().any(|l| l.contains(&place) && l.contains(about)), "{line} {about}:\n{said}");
    }
    let check = |path: &Path| {
        let arguments = ["check", "--scenario", path.to_str().unwrap()];
        Command::new(env!("CARGO_BIN_EXE_switchback")).args(arguments).output().unwrap()
    };
    let checked = check(&path);
    assert_eq!(checked.status.code(), Some(1));
    assert_eq!(
        String::from_utf8_lossy(&checked.stderr).trim(),
        said.trim().trim_start_matches("switchback: ")
    );

    std::fs::write(&path, "target: http://127.0.0.1:1\nrequests: [{format: plain}]\nload: {rate: 5}\n")
        .unwrap();
    let checked = check(&path);
    assert!(checked.status.success());
    assert!(
        String::from_utf8_lossy(&checked.stdout).contains("ok, 1 kind of requests, 0 goals"),
        "{checked:?}"
    );
}

#[test]
fn the_schema_of_scenarios_is_a_json_schema() {
    let arguments = ["schema", "--load"];
    let output = Command::new(env!("CARGO_BIN_EXE_switchback")).args(arguments).output().unwrap();
    let schema: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(schema["title"], "Scenario of a Switchback load test");
    assert!(schema["properties"]["requests"].is_object() && schema["properties"]["load"].is_object());
    assert_eq!(schema["additionalProperties"], false);
}
