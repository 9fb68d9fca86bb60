//! Changing what is live under load: weights and reloads lose no request, and what is wrong
//! changes nothing.

use std::io::{Read as _, Write as _};
use std::sync::mpsc;
use std::sync::{Arc, Mutex};

use super::support::load::{Load, echoed};
use super::support::{RawClient, Refusing, Sidecar, Upstream, raw_upstream, run, until};

/// Versions `(name, weight, url)` of the model `m`.
fn config(versions: &[(&str, &str, &str)], more: &str) -> String {
    let mut text = format!("workers: 2\nmodels:\n  - name: m\n{more}    versions:\n");
    for (name, weight, url) in versions {
        text += &format!("      - {{name: {name}, weight: {weight}, upstream: {{url: \"{url}\"}}}}\n");
    }
    text
}

/// Reloads that were applied or refused.
fn reloads(sidecar: &Sidecar, result: &str) -> f64 {
    sidecar.metric("switchback_config_reloads_total", &[&format!("result=\"{result}\"")])
}

async fn applied(sidecar: &Sidecar, count: f64) {
    until("the reload", async || (reloads(sidecar, "applied") >= count).then_some(())).await;
}

fn weights(sidecar: &Sidecar) -> Vec<String> {
    let status = sidecar.status();
    let versions = status["models"][0]["versions"].as_array().unwrap().clone();
    versions
        .iter()
        .map(|v| format!("{} {}", v["name"].as_str().unwrap(), v["weight"].as_str().unwrap()))
        .collect()
}

#[test]
fn weights_that_are_set_before_any_rollout_last_where_there_is_a_store() {
    let (v1, v2) = (Upstream::echo("v1"), Upstream::echo("v2"));
    let models = config(&[("v1", "90%", &v1.url()), ("v2", "10%", &v2.url())], "");
    for (store, is_durable) in [("store: {path: '{dir}/rollouts.db'}\n", true), ("", false)] {
        let sidecar = Sidecar::start(&(store.to_owned() + &models));
        let answer = sidecar.put_weights("m", r#"{"v1": "0%", "v2": "100%"}"#);
        let done: serde_json::Value = serde_json::from_str(&answer.text()).unwrap();
        assert_eq!((answer.status, &done["durable"]), (200, &is_durable.into()), "{done}");
        let sidecar = sidecar.killed_and_started();
        let expected = if is_durable { ["v1 0%", "v2 100%"] } else { ["v1 90%", "v2 10%"] };
        assert_eq!(weights(&sidecar), expected);
    }
}

#[test]
fn a_file_that_a_link_leads_to_is_read_again_where_no_event_tells_of_it() {
    run(async {
        let (v1, v2) = (Upstream::echo("v1"), Upstream::echo("v2"));
        let sidecar = Sidecar::start(&config(&[("v1", "100%", &v1.url()), ("v2", "0%", &v2.url())], ""));
        // From here on the file lies elsewhere.
        let (link, elsewhere) = (sidecar.folder().join("switchback.yaml"), tempfile::tempdir().unwrap());
        let file = elsewhere.path().join("real.yaml");
        std::fs::copy(&link, &file).unwrap();
        std::os::unix::fs::symlink(&file, sidecar.folder().join("link")).unwrap();
        std::fs::rename(sidecar.folder().join("link"), &link).unwrap();
        let text = std::fs::read_to_string(&file).unwrap();
        let other = text.replace("100%", "30%").replace(" 0%", " 70%");
        assert_ne!(text, other);
        std::fs::write(&file, other).unwrap();
        until("the first change", async || (weights(&sidecar) == ["v1 30%", "v2 70%"]).then_some(())).await;
        // The folder of the link stays as it is.
        std::fs::write(&file, text).unwrap();
        until("the second", async || (weights(&sidecar) == ["v1 100%", "v2 0%"]).then_some(())).await;
    });
}

/// The versions that answer the next forty requests.
fn answering(sidecar: &Sidecar) -> Vec<String> {
    let mut client = RawClient::connect(sidecar.main());
    let mut seen: Vec<_> = (0..40).map(|_| client.post("/x", "", b"").version().to_owned()).collect();
    seen.sort();
    seen.dedup();
    seen
}

#[test]
fn weights_and_reloads_under_load_fail_no_request_and_are_in_force_afterwards() {
    run(async {
        let (one, two) = (Upstream::echo("one"), Upstream::echo("two"));
        let (one, two) = (one.url(), two.url());
        let split =
            |a: u32| config(&[("v1", &format!("{}%", 100 - a), &one), ("v2", &format!("{a}%"), &two)], "");
        let sidecar = Sidecar::start(&split(10));
        let load = Load::start(sidecar.main(), 6, echoed);
        load.wait(100);
        for round in 1..=10 {
            sidecar.ramp("v1", "v2", if round % 2 == 0 { 0 } else { 100 });
            let only = if round % 2 == 0 { "v1" } else { "v2" };
            assert_eq!(answering(&sidecar), [only], "in force when the answer to the PUT is there");
            load.wait(50);
        }
        // By change of the file, by SIGHUP, by the API; each with other weights.
        sidecar.rewrite(&split(100));
        applied(&sidecar, 1.0).await;
        assert_eq!(answering(&sidecar), ["v2"]);
        load.wait(50);
        sidecar.rewrite(&split(0));
        sidecar.signal("HUP");
        until("the new weights", async || (weights(&sidecar) == ["v1 100%", "v2 0%"]).then_some(())).await;
        assert_eq!(answering(&sidecar), ["v1"]);
        load.wait(50);
        // Versions come and go.
        for round in 0..4 {
            let name = format!("w{round}");
            sidecar.rewrite(&config(&[("v1", "50%", &one), (&name, "50%", &two)], ""));
            assert_eq!(sidecar.reload().status, 200);
            assert_eq!(answering(&sidecar), ["v1", &name]);
            load.wait(50);
        }
        load.stop().is_fine(1_000);
        assert_eq!(reloads(&sidecar, "refused"), 0.0, "{}", sidecar.status()["config"]);
    });
}

#[test]
fn changes_that_meet_are_all_carried_out() {
    run(async {
        let one = Upstream::echo("one");
        let url = one.url();
        let text = |salt: usize| {
            config(
                &[("v1", "100%", &url), ("v2", "0%", &url)],
                &format!("    sticky: {{header: x, salt: s{salt}}}\n"),
            )
        };
        let sidecar = Sidecar::start(&text(0));
        std::thread::scope(|scope| {
            let put = scope.spawn(|| (0..60).for_each(|n| sidecar.ramp("v1", "v2", n)));
            for n in 1..=30 {
                sidecar.rewrite(&text(n));
                let answer = sidecar.reload();
                assert_eq!(answer.status, 200, "{}", answer.text());
            }
            put.join().unwrap();
        });
        assert_eq!(weights(&sidecar), ["v1 41%", "v2 59%"]);
        assert_eq!(reloads(&sidecar, "refused"), 0.0);
    });
}

#[test]
fn wrong_weights_are_refused_with_one_clear_error_and_change_nothing() {
    let one = Upstream::echo("one");
    let url = one.url();
    let text = config(&[("v1", "90%", &url), ("v2", "10%", &url)], "    mirror: [{to: v3}]\n");
    let sidecar = Sidecar::start(&format!("{text}      - {{name: v3, upstream: {{url: \"{url}\"}}}}\n"));
    for (model, body, status, says) in [
        ("m", r#"{"v1": "90%", "v2": "9%"}"#, 400, "99"),
        ("m", r#"{"v1": "100%", "v2": "100%"}"#, 400, "20000bp"),
        ("m", r#"{}"#, 400, "100%"),
        ("m", r#"{"v1": "90%", "v9": "10%"}"#, 400, "v9"),
        ("m", r#"{"v1": 90, "v2": 10}"#, 400, "string"),
        ("m", r#"{"v1": "90", "v2": "10"}"#, 400, "\"90\""),
        ("m", r#"{"v1": "101%"}"#, 400, "101%"),
        ("m", r#"{"v1": "-1%", "v2": "101%"}"#, 400, "-1%"),
        ("m", r#"{"v1": "99.999%", "v2": "0.001%"}"#, 400, "99.999%"),
        ("m", r#"{"v1": "50%", "v1": "50%"}"#, 400, "twice"),
        ("m", r#"["v1"]"#, 400, "object"),
        ("m", r#"{"v1": "90%""#, 400, ""),
        ("m", r#"{"v1": "90%", "v3": "10%"}"#, 400, "v3"),
        ("other", r#"{"v1": "100%"}"#, 404, "other"),
    ] {
        let answer = sidecar.put_weights(model, body);
        let text = answer.text();
        assert_eq!(answer.status, status, "{body}: {text}");
        let error: serde_json::Value = serde_json::from_str(&text).unwrap();
        let error = error["error"].as_str().unwrap();
        assert!(error.contains(says) && !error.contains('\n'), "{body}: {error}");
        assert_eq!(weights(&sidecar), ["v1 90%", "v2 10%", "v3 0%"], "{body}");
    }
    // Versions that are left out get nothing.
    assert_eq!(sidecar.put_weights("m", r#"{"v2": "100%"}"#).status, 200);
    assert_eq!(weights(&sidecar), ["v1 0%", "v2 100%", "v3 0%"]);
    assert_eq!(
        (sidecar.version("v1")["role"].clone(), sidecar.version("v2")["role"].clone()),
        ("stable".into(), "canary".into())
    );
}

#[test]
fn a_wrong_configuration_is_refused_whole_and_the_reason_stands_everywhere() {
    run(async {
        let one = Upstream::echo("one");
        let url = one.url();
        let good = config(&[("v1", "100%", &url), ("v2", "0%", &url)], "");
        let sidecar = Sidecar::start(&good);
        let hash = sidecar.status()["config"]["hash"].clone();
        let load = Load::start(sidecar.main(), 2, echoed);
        let mut refused = 0.0;
        for (bad, says) in [
            (config(&[("v1", "50%", &url), ("v2", "10%", &url)], ""), "60%"),
            (config(&[("v1", "100%", &url), ("v1", "0%", &url)], ""), "v1"),
            (good.replace("workers", "wrokers"), "wrokers"),
            (good.replace("weight: 0%", "weight: 7"), "7"),
            ("models: [".to_owned(), "not YAML"),
            (good.replace("workers: 2", "workers: 1"), "workers"),
            (format!("listeners: [{{name: main, address: 127.0.0.1:1}}]\n{good}"), "listeners"),
        ] {
            // The valid half of a wrong file must not come in force either.
            sidecar.rewrite(&bad.replace("name: v2", "name: v2b"));
            refused += 1.0;
            until(says, async || (reloads(&sidecar, "refused") >= refused).then_some(())).await;
            let status = sidecar.status();
            let error = status["config"]["lastError"].as_str().unwrap_or_default().to_owned();
            assert!(error.contains(says), "{says}: {error}");
            assert!(sidecar.log().contains("configuration refused"), "nothing in the log");
            assert_eq!(status["config"]["hash"], hash);
            assert_eq!(weights(&sidecar), ["v1 100%", "v2 0%"]);
            assert_eq!(sidecar.metric("switchback_config_last_reload_success", &[]), 0.0);
            assert_eq!(answering(&sidecar), ["v1"]);
            let answer = sidecar.reload();
            assert_eq!(answer.status, 400);
            assert!(answer.text().contains(says), "{}", answer.text());
            refused += 1.0;
        }
        let error = sidecar.status()["config"]["lastError"].to_string();
        assert!(error.contains("restart"), "{error}");
        sidecar.rewrite(
            &good.replace("weight: 100%", "weight: 0%").replace("v2, weight: 0%", "v2, weight: 100%"),
        );
        applied(&sidecar, 1.0).await;
        assert_eq!(answering(&sidecar), ["v2"]);
        assert!(sidecar.status()["config"]["lastError"].is_null());
        assert_eq!(sidecar.metric("switchback_config_last_reload_success", &[]), 1.0);
        load.stop().is_fine(100);
    });
}

#[test]
fn an_operators_weights_outlive_reloads_until_the_files_own_weights_change() {
    run(async {
        let one = Upstream::echo("one");
        let url = one.url();
        let text = |a: &str, b: &str, more: &str| config(&[("v1", a, &url), ("v2", b, &url)], more);
        let sidecar = Sidecar::start(&text("90%", "10%", ""));
        sidecar.ramp("v1", "v2", 100);
        sidecar.rewrite(&text("90%", "10%", "    exposeVersion: true\n"));
        applied(&sidecar, 1.0).await;
        assert_eq!(weights(&sidecar), ["v1 0%", "v2 100%"], "an unrelated change undid the operator's");
        sidecar.rewrite(&text("90%", "10%", ""));
        applied(&sidecar, 2.0).await;
        assert_eq!(weights(&sidecar), ["v1 0%", "v2 100%"], "a second one did");
        sidecar.signal("HUP");
        applied(&sidecar, 3.0).await;
        assert_eq!(weights(&sidecar), ["v1 0%", "v2 100%"], "a reload of the same file undid the operator's");
        sidecar.rewrite(&text("80%", "20%", ""));
        applied(&sidecar, 4.0).await;
        assert_eq!(weights(&sidecar), ["v1 80%", "v2 20%"], "the file's new weights did not win");
        sidecar.rewrite(&text("90%", "10%", ""));
        applied(&sidecar, 5.0).await;
        assert_eq!(weights(&sidecar), ["v1 90%", "v2 10%"], "old weights came back");
    });
}

#[test]
fn requests_under_way_finish_on_the_version_that_is_taken_away() {
    run(async {
        let (release, gate) = mpsc::channel::<()>();
        let gate = Arc::new(Mutex::new(gate));
        let slow = raw_upstream(move |mut stream| {
            while stream.read(&mut [0; 4096]).is_ok_and(|n| n > 0) {
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nol");
                let _ = gate.lock().unwrap().recv();
                let _ = stream.write_all(b"d!");
            }
        });
        let new = Upstream::echo("new");
        let (slow, new) = (format!("http://{slow}"), new.url());
        let sidecar = Sidecar::start(&config(&[("v1", "0%", &new), ("old", "100%", &slow)], ""));
        let mut client = RawClient::connect(sidecar.main());
        client.send("POST /x HTTP/1.1\r\nhost: test\r\ncontent-length: 0\r\n\r\n");
        let (status, head) = client.head();
        assert!(status == 200 && head.contains("x-switchback-version: old"), "{head}");
        assert_eq!(client.exactly(2), b"ol");
        sidecar.rewrite(&config(&[("v1", "100%", &new)], ""));
        applied(&sidecar, 1.0).await;
        assert_eq!(answering(&sidecar), ["v1"]);
        release.send(()).unwrap();
        assert_eq!(client.exactly(2), b"d!");
        assert_eq!(client.post("/x", "", b"b").version(), "v1", "the connection goes on with the new table");
    });
}

#[test]
fn a_sidecar_starts_before_its_upstream_and_becomes_ready_when_that_appears() {
    run(async {
        let address = Refusing::start().address();
        let sidecar = Sidecar::start(&config(&[("v1", "100%", &format!("http://{address}"))], ""));
        let readiness = || {
            let answer = sidecar.ask_admin("GET", "/readyz", "");
            (answer.status, answer.text())
        };
        until("the reason", async || readiness().1.contains("refused").then_some(())).await;
        let (status, text) = readiness();
        assert_eq!(status, 503);
        assert!(text.contains("model m, version v1"), "{text}");
        assert_eq!(sidecar.version("v1")["ready"], false);
        assert_eq!(sidecar.metric("switchback_ready", &[]), 0.0);
        assert_eq!(sidecar.ask_admin("GET", "/healthz", "").status, 200);
        assert_eq!(RawClient::connect(sidecar.main()).post("/x", "", b"").status, 502);
        let _server = Upstream::start_on(&address.to_string(), |seen| {
            http::Response::new(super::support::full(seen.body.clone()))
        });
        sidecar.ready().await;
        assert_eq!(sidecar.version("v1")["ready"], true);
        assert_eq!(RawClient::connect(sidecar.main()).post("/x", "", b"b").text(), "b");
    });
}
