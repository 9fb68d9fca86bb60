//! Load tests that know models: against models in this process, and every scenario that is shipped
//! and needs nothing else.

use std::path::Path;
use std::sync::{Arc, Mutex};

use http::Response;
use serde_json::{Value, json};

use crate::in_process::has_library;
use crate::load_support::{load, reply, result, server};
use crate::support::grpc::{INFER, fields, message};
use crate::support::{Sidecar, Upstream, full, run};

fn root(of: &str) -> String {
    format!("{}/{of}", env!("CARGO_MANIFEST_DIR"))
}

/// The models that the shipped scenarios ask for.
fn sidecar(mirror: &str) -> Sidecar {
    let sidecar = Sidecar::start(&format!(
        "listeners: [{{name: main, address: '127.0.0.1:0', allowPin: true}}]
models:
  - name: cancer
    versions:
      - {{name: v1, weight: 100%, onnx: {{repository: {demo}, model: cancer, version: 1}}}}
      - {{name: v2, weight: 0%, onnx: {{repository: {demo}, model: cancer, version: 2}}}}
      - {{name: v3, onnx: {{repository: {demo}, model: cancer, version: 3}}}}
{mirror}
  - name: digits
    versions: [{{name: v1, onnx: {{repository: {demo}, model: digits, version: 1}}}}]
  - name: pair
    versions: [{{name: only, onnx: {{repository: {fixtures}, model: pair, version: 1}}}}]
",
        demo = root("config/demo/models"),
        fixtures = root("tests/fixtures/models"),
    ));
    run(sidecar.ready());
    sidecar
}

#[test]
fn inputs_are_made_up_from_metadata_and_rows_are_checked_by_their_labels() {
    if !has_library() {
        return;
    }
    let sidecar = sidecar("");
    let folder = tempfile::tempdir().unwrap();
    let infer = format!("http://{}/v2/models/pair/infer", sidecar.main());
    let quick = ["--rate", "50", "--duration", "1s", "--warmup", "0s", "--arrivals", "constant"];

    // Three inputs of two types, from nothing but the metadata.
    let (_, made) = result(&[&[infer.as_str()], &quick[..]].concat());
    assert_eq!((&made["targets"][0]["ok"], &made["targets"][0]["failed"]), (&json!(50), &json!(0)), "{made}");

    // The same by the protocol's other two forms, metadata included.
    let server = format!("http://{}", sidecar.main());
    for format in ["v2-binary", "grpc"] {
        let flags = ["--format", format, "--model", "pair", "--check", "/outputs/1/data/0"];
        let (_, made) = result(&[&[server.as_str()], &quick[..], &flags[..]].concat());
        assert_eq!(
            (&made["targets"][0]["ok"], &made["targets"][0]["failed"]),
            (&json!(50), &json!(0)),
            "{made}"
        );
    }

    // Rows by name; the answer to each is known.
    let rows = folder.path().join("rows.jsonl");
    let lines: String = (0..10)
        .map(|n| format!("{{\"a\": [{n}, 0], \"b\": [1, 0], \"k\": 1, \"sum\": \"{}\"}}\n", n + 1))
        .collect();
    std::fs::write(&rows, &lines).unwrap();
    let rows_flags =
        ["--data", rows.to_str().unwrap(), "--label", "sum", "--check-label", "/outputs/0/data/0"];
    let (_, right) = result(&[&[infer.as_str()], &quick[..], &rows_flags[..]].concat());
    assert_eq!(right["targets"][0]["failed"], 0, "{right}");
    std::fs::write(&rows, lines.replace("\"sum\": \"5\"", "\"sum\": \"6\"")).unwrap();
    let (_, wrong) = result(&[&[infer.as_str()], &quick[..], &rows_flags[..]].concat());
    assert_eq!(wrong["targets"][0]["failures"], json!({"wrong label": 5}), "{wrong}");

    // V1, with instances.
    let v1 = format!("http://{}/v1/models/pair:predict", sidecar.main());
    let body = r#"{"inputs": {"a": [[1, 2]], "b": [[3, 4]], "k": [2]}}"#;
    let check = ["--body", body, "--check", "/outputs"];
    let (_, v1) = result(&[&[v1.as_str()], &quick[..], &check[..]].concat());
    assert_eq!((&v1["targets"][0]["ok"], &v1["targets"][0]["failed"]), (&json!(50), &json!(0)), "{v1}");
}

#[test]
fn versions_of_one_sidecar_are_compared_by_pinning_them() {
    if !has_library() {
        return;
    }
    let sidecar = sidecar("");
    let infer = format!("http://{}/v2/models/cancer/infer", sidecar.main());
    let arguments =
        [&infer, "--compare", "A=v1", "B=v2", "--rate", "40", "--duration", "1s", "--warmup", "0s"];
    let (_, result) = result(&arguments);
    assert_eq!(result["targets"][1]["failed"], 0, "{result}");
    assert!(result["comparison"][0]["ratio"].as_f64().unwrap() > 0.0, "{result}");
    let of = |version: &str| {
        let version = format!("version=\"{version}\"");
        sidecar.metric("switchback_requests_total", &["model=\"cancer\"", &version])
    };
    assert!(of("v1") > 20.0 && of("v2") > 20.0, "{} {}", of("v1"), of("v2"));
}

#[test]
fn grpc_requests_name_their_model_and_answers_are_judged_by_their_own_status() {
    let upstream = Upstream::start(|seen| {
        let status = if seen.uri.ends_with(INFER) { "0" } else { "5" };
        let answer =
            Response::builder().header("content-type", "application/grpc").header("grpc-status", status);
        answer.body(full(message(&[(1, "m")]))).unwrap()
    });
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("grpc.yaml");
    let body = r#"{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}]}"#;
    let text = format!(
        "target: {}\nrequests: [{{format: grpc, model: fraud, version: '3', inputs: {{text: '{body}'}}}}]\nwarmup: 0s\n\
         load: {{rate: 50, duration: 1s, arrivals: constant}}\n",
        upstream.url()
    );
    std::fs::write(&scenario, text).unwrap();
    let (_, result) = result(&["--scenario", scenario.to_str().unwrap()]);
    assert_eq!(
        (&result["targets"][0]["ok"], &result["targets"][0]["failed"]),
        (&json!(50), &json!(0)),
        "{result}"
    );
    let seen = upstream.seen();
    assert_eq!(seen[0].version, http::Version::HTTP_2);
    let names = &fields(&seen[0].body)[0];
    assert!(names.contains(&(1, "fraud".to_owned())) && names.contains(&(2, "3".to_owned())), "{names:?}");

    // Metadata is asked for by gRPC too, and this server has none.
    let output = load(&[&upstream.url(), "--format", "grpc", "--model", "fraud"]);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(13), "{said}");
    assert!(said.contains("ModelMetadata answered grpc-status 5"), "{said}");
}

#[test]
fn a_mix_of_kinds_follows_their_weights_and_each_has_its_own_numbers() {
    let upstream = Upstream::echo("u");
    let folder = tempfile::tempdir().unwrap();
    let scenario = folder.path().join("mix.yaml");
    let text = format!(
        "target: {}/base\nrequests:\n  - {{name: often, format: plain, path: /a, weight: 3, slos: ['p50 < 20s']}}\n\
         \x20 - {{name: seldom, format: plain, path: /b, method: PUT, inputs: {{text: hi}}}}\nwarmup: 0s\n\
         load: {{stages: [{{rate: 100, duration: 1s}}, {{rampTo: 300, duration: 2s}}], arrivals: constant}}\n",
        upstream.url()
    );
    std::fs::write(&scenario, text).unwrap();
    let (_, result) = result(&["--scenario", scenario.to_str().unwrap()]);
    let count = |at: usize| result["targets"][0]["kinds"][at]["ok"].as_f64().unwrap();
    assert_eq!(count(0) + count(1), 500.0, "{result}");
    let share = count(0) / 500.0;
    assert!((share - 0.75).abs() < 0.08, "{share}");
    assert_eq!(
        (&result["goals"][0]["request"], &result["goals"][0]["verdict"]),
        (&json!("often"), &json!("pass"))
    );
    let seen = upstream.seen();
    assert!(
        seen.iter()
            .all(|s| matches!((s.method.as_str(), s.uri.as_str()), ("GET", "/base/a") | ("PUT", "/base/b")))
    );
}

#[test]
fn recorded_requests_are_sent_at_recorded_times() {
    let bodies = Arc::new(Mutex::new(Vec::new()));
    let seen = bodies.clone();
    let pairs = json!({"pairs": [
        {"request": {"text": "{\"instances\":[1]}", "truncated": false}},
        {"request": {"text": "{\"instances\":[2", "truncated": true}},
        {"request": {"text": "{\"instances\":[3]}", "truncated": false}},
    ]});
    // One server plays both the model and the admin API that has kept its pairs.
    let address = server(move |asked, stream| {
        let path = asked.line.split(' ').nth(1).unwrap().to_owned();
        match path.as_str() {
            "/v1/models/m:predict" => {
                seen.lock().unwrap().push(String::from_utf8(asked.body.clone()).unwrap());
                reply(stream, 200, "{\"predictions\": [0]}");
            }
            path if path.starts_with("/api/v1/models/m/pairs") => reply(stream, 200, &pairs.to_string()),
            other => panic!("{other}"),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("times.csv"), "at\n100\n100.4\n101\n101.2\n102\n").unwrap();
    let scenario = folder.path().join("replay.yaml");
    let text = format!(
        "target: http://{address}\nrequests: [{{format: v1, model: m, inputs: {{pairs: {{server: 'http://{address}'}}}}}}]\n\
         warmup: 0s\nload: {{trace: {{file: times.csv, speed: 2}}}}\n"
    );
    std::fs::write(&scenario, text).unwrap();
    let (_, result) = result(&["--scenario", scenario.to_str().unwrap()]);
    assert_eq!((&result["targets"][0]["ok"], &result["seconds"]), (&json!(5), &json!(1.0)), "{result}");
    assert!(result["load"].as_str().unwrap().contains("as recorded"), "{result}");
    // The one before the run, and five in turns.
    let (one, three) = ("{\"instances\":[1]}", "{\"instances\":[3]}");
    let mut seen = bodies.lock().unwrap().clone();
    seen.sort();
    assert_eq!(seen, [one, one, one, one, three, three]);
}

/// Every scenario in `load-tests/` is right; those that need nothing but models in this process are
/// run for two seconds.
#[test]
fn shipped_scenarios_run() {
    let folder = root("load-tests");
    let library = has_library();
    let sidecars = library.then(|| (sidecar(""), sidecar("    mirror: [{to: v3}]")));
    let mut ran = Vec::new();
    for entry in std::fs::read_dir(&folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|e| e != "yaml") {
            continue;
        }
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let checked = std::process::Command::new(env!("CARGO_BIN_EXE_switchback"))
            .args(["check", "--scenario", path.to_str().unwrap()])
            .output()
            .unwrap();
        assert!(checked.status.success(), "{checked:?}");
        // These have their real parts in tests/real.
        if matches!(name.as_str(), "mlserver.yaml" | "llm.yaml") {
            continue;
        }
        let Some((sidecar, shadowed)) = &sidecars else { continue };
        let text = std::fs::read_to_string(&path).unwrap();
        let local = text
            .replace("127.0.0.1:8080", &sidecar.main().to_string())
            .replace("127.0.0.1:8081", &shadowed.main().to_string())
            .replace("127.0.0.1:9901", &sidecar.admin().to_string())
            .replace("../config", &root("config"));
        let copy = sidecar.folder().join(&name);
        std::fs::write(&copy, local).unwrap();
        // Goals are those of a real machine: what is tested is that they can be judged.
        let quick = match name.as_str() {
            "find-max.yaml" => &["--find-max", "--max-rate", "40", "--duration", "1s", "--warmup", "0s"][..],
            "stages.yaml" => &["--max-requests", "100000"],
            _ => &["--duration", "2s", "--warmup", "0s"],
        };
        let (code, result) = result(&[&["--scenario", copy.to_str().unwrap()], quick].concat());
        assert!([0, 4, 11, 12].contains(&code), "{name}: {code} {result}");
        for target in result["targets"].as_array().unwrap() {
            assert_eq!(target["failed"], 0, "{name}: {result}");
            assert!(target["ok"].as_u64().unwrap() > 10, "{name}: {result}");
        }
        ran.push(name);
    }
    if library {
        assert!(ran.len() >= 5, "{ran:?}");
    }
}

/// What `docs/load.md` shows of a result is what results have.
#[test]
fn a_result_has_the_fields_that_the_guide_names() {
    let upstream = Upstream::echo("u");
    let (_, result) = result(&[&upstream.url(), "--rate", "50", "--duration", "1s", "--warmup", "0s"]);
    let guide = std::fs::read_to_string(Path::new(&root("docs/load.md"))).unwrap();
    let named: Vec<&str> = guide
        .split("<!-- fields -->")
        .nth(1)
        .unwrap()
        .lines()
        .filter_map(|line| line.strip_prefix("| `/")?.split('`').next())
        .collect();
    assert!(named.len() >= 8, "{named:?}");
    for field in named {
        let pointer = format!("/{field}");
        let found: Option<&Value> = result.pointer(&pointer);
        assert!(found.is_some(), "{pointer} is not in {result}");
    }
}
