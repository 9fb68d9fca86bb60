//! The split: weights, sticky keys, ramps, pins.

use std::collections::{BTreeMap, HashMap};
use std::net::{Ipv4Addr, SocketAddr};

use super::support::{RawClient, Refusing, Sidecar, Upstream};

/// Versions of one model `m`, all at one server: `versions` is `(name, weight)`.
fn config(url: &str, versions: &[(&str, &str)], more: &str) -> String {
    let mut text = format!("models:\n  - name: m\n{more}    versions:\n");
    for (name, weight) in versions {
        text += &format!("      - {{name: {name}, weight: {weight}, upstream: {{url: \"{url}\"}}}}\n");
    }
    text
}

const HALVES: &[(&str, &str)] = &[("v1", "50%"), ("v2", "50%")];

/// Version of each key, with `header` as the whole header line of a key.
fn versions(sidecar: &Sidecar, keys: &[String]) -> BTreeMap<String, String> {
    let mut client = RawClient::connect(sidecar.main());
    let asked = keys.iter().map(|key| {
        let answer = client.post("/x", &format!("x-user: {key}\r\n"), b"{}");
        assert_eq!(answer.status, 200);
        (key.clone(), answer.version().to_owned())
    });
    asked.collect()
}

fn keys(count: usize) -> Vec<String> {
    (0..count).map(|i| format!("user-{i}")).collect()
}

#[test]
fn every_version_gets_its_weight_of_independent_draws() {
    let server = Upstream::echo("s");
    let weights = [("v1", "62.5%"), ("v2", "25%"), ("v3", "1000bp"), ("v4", "2.5%"), ("v5", "0%")];
    let sidecar = Sidecar::start(&config(&server.url(), &weights, ""));
    let mut client = RawClient::connect(sidecar.main());
    let mut counts: HashMap<String, f64> = HashMap::new();
    let mut changes = 0.0;
    let (n, mut last) = (3_000, String::new());
    for _ in 0..n {
        let version = client.post("/score", "", b"x").version().to_owned();
        changes += f64::from(u8::from(version != last));
        *counts.entry(version.clone()).or_default() += 1.0;
        last = version;
    }
    let n = f64::from(n);
    // Six standard deviations: a false alarm once in five hundred million runs.
    let near = |found: f64, p: f64| {
        assert!((found - n * p).abs() <= 6.0 * (n * p * (1.0 - p)).sqrt(), "{found} of {p}: {counts:?}")
    };
    for (version, p) in [("v1", 0.625), ("v2", 0.25), ("v3", 0.1), ("v4", 0.025)] {
        near(counts.get(version).copied().unwrap_or_default(), p);
    }
    assert_eq!(counts.get("v5"), None, "a version without weight got traffic");
    // Independent draws: the next one differs from the last as often as chance says.
    near(changes, 1.0 - [0.625, 0.25, 0.1, 0.025f64].iter().map(|p| p * p).sum::<f64>());
}

#[test]
fn a_ramp_never_takes_a_key_away_from_the_canary_and_every_replica_agrees() {
    let server = Upstream::echo("s");
    let sticky = "    sticky: {header: x-user}\n";
    let fresh = |percent: u32| {
        let (v1, v2) = (format!("{}%", 95 - percent.min(95)), format!("{percent}%"));
        let v3 = if percent > 95 { "0%" } else { "5%" };
        config(&server.url(), &[("v1", &v1), ("v2", &v2), ("v3", v3)], sticky)
    };
    let keys = keys(400);
    let ramped = Sidecar::start(&fresh(0));
    let mut before = versions(&ramped, &keys);
    for percent in [1, 5, 10, 25, 50, 100] {
        let v3 = if percent == 100 { 0 } else { 5 };
        let weights = format!(r#"{{"v1": "{}%", "v2": "{percent}%", "v3": "{v3}%"}}"#, 100 - percent - v3);
        assert_eq!(ramped.put_weights("m", &weights).status, 200);
        let now = versions(&ramped, &keys);
        for key in &keys {
            let (old, new) = (&before[key], &now[key]);
            let kept = old == new || (old == "v1" && new == "v2") || percent == 100;
            assert!(kept, "{key} went from {old} to {new} at {percent}%");
        }
        let share = now.values().filter(|v| *v == "v2").count();
        let expected = percent as usize * keys.len() / 100;
        assert!(share.abs_diff(expected) <= 10 + expected / 4, "{share} keys of {expected} at {percent}%");
        if percent == 10 || percent == 50 {
            // A new process with these weights in its file: a replica, or this one after a restart.
            assert_eq!(versions(&Sidecar::start(&fresh(percent)), &keys), now, "at {percent}%");
        }
        before = now;
    }
    assert!(before.values().all(|v| v == "v2"));
}

#[test]
fn either_of_two_canaries_is_ramped_without_moving_the_others_keys() {
    let server = Upstream::echo("s");
    let weights = [("v1", "90%"), ("v2", "10%"), ("v3", "0%")];
    let sidecar = Sidecar::start(&config(&server.url(), &weights, "    sticky: {header: x-user}\n"));
    let keys = keys(300);
    let mut before = versions(&sidecar, &keys);
    for (v2, v3) in [(10, 1), (10, 5), (10, 25), (25, 25), (40, 25), (40, 60)] {
        let weights = format!(r#"{{"v1": "{}%", "v2": "{v2}%", "v3": "{v3}%"}}"#, 100 - v2 - v3);
        assert_eq!(sidecar.put_weights("m", &weights).status, 200);
        let now = versions(&sidecar, &keys);
        let moved = keys.iter().filter(|key| before[*key] != now[*key]);
        moved.for_each(|key| assert_eq!(before[key], "v1", "{key} went to {} at {v2}, {v3}", now[key]));
        before = now;
    }
}

#[test]
fn a_rollback_gives_every_key_back_to_the_version_it_had() {
    let server = Upstream::echo("s");
    let weights = [("v1", "100%"), ("v2", "0%")];
    let sidecar = Sidecar::start(&config(&server.url(), &weights, "    sticky: {header: x-user}\n"));
    let keys = keys(100);
    sidecar.ramp("v1", "v2", 25);
    let at_25 = versions(&sidecar, &keys);
    sidecar.ramp("v1", "v2", 0);
    assert!(versions(&sidecar, &keys).values().all(|v| v == "v1"));
    sidecar.ramp("v1", "v2", 25);
    assert_eq!(versions(&sidecar, &keys), at_25);
}

#[test]
fn two_models_do_not_share_their_unlucky_users_unless_they_share_a_salt() {
    let server = Upstream::echo("s");
    let model = |name: &str, salt: &str| {
        let body = config(
            &server.url(),
            HALVES,
            &format!("    match: [{{pathPrefix: /{name}}}]\n    sticky: {{header: x-user{salt}}}\n"),
        );
        body.replace("models:\n", "").replace("name: m\n", &format!("name: {name}\n"))
    };
    let text = ["models:\n", &model("a", ""), &model("b", ""), &model("c", ", salt: a")].concat();
    let sidecar = Sidecar::start(&text);
    let mut client = RawClient::connect(sidecar.main());
    let mut of = |model: &str| -> Vec<String> {
        let ask =
            |i| client.post(&format!("/{model}/x"), &format!("x-user: u{i}\r\n"), b"").version().to_owned();
        (0..100).map(ask).collect()
    };
    let (a, b, c) = (of("a"), of("b"), of("c"));
    assert_ne!(a, b);
    assert_eq!(a, c);
}

/// Asks sixteen times for each of eight keys: one version for each key, both versions in all; and
/// without a key both versions, too.
fn is_sticky(mut ask: impl FnMut(Option<&str>) -> String, keys: &[&str]) {
    let mut seen = Vec::new();
    for key in keys {
        let first = ask(Some(key));
        assert!((0..15).all(|_| ask(Some(key)) == first), "the key {key} does not stick");
        seen.push(first);
    }
    assert!(seen.iter().any(|v| v == "v1") && seen.iter().any(|v| v == "v2"), "{seen:?}");
    // All on one side: once in 2^63.
    let free: Vec<_> = (0..64).map(|_| ask(None)).collect();
    assert!(free.iter().any(|v| v == "v1") && free.iter().any(|v| v == "v2"), "no draw without a key");
}

#[test]
fn a_header_keeps_its_version_and_without_it_every_request_is_drawn() {
    let server = Upstream::echo("s");
    let sidecar = Sidecar::start(&config(&server.url(), HALVES, "    sticky: {header: X-User}\n"));
    let mut client = RawClient::connect(sidecar.main());
    let ask = |key: Option<&str>| {
        let line = key.map(|k| format!("x-user: {k}\r\n")).unwrap_or_default();
        client.post("/x", &line, b"").version().to_owned()
    };
    is_sticky(ask, &["a", "b", "c", "d", "e", "f", "g", "h"]);
}

#[test]
fn a_cookie_keeps_its_version_whatever_other_cookies_there_are() {
    let server = Upstream::echo("s");
    let sidecar = Sidecar::start(&config(&server.url(), HALVES, "    sticky: {cookie: uid}\n"));
    let mut client = RawClient::connect(sidecar.main());
    let mut turn = 0;
    let ask = |key: Option<&str>| {
        turn += 1;
        let line = match key {
            None => format!("cookie: xuid=1; uidx=2; n={turn}\r\n"),
            Some(key) if turn % 2 == 0 => format!("cookie: n={turn}; uid={key}; z=1\r\n"),
            Some(key) => format!("cookie: n={turn}\r\ncookie: uid={key}\r\n"),
        };
        client.post("/x", &line, b"").version().to_owned()
    };
    is_sticky(ask, &["a", "b", "c", "d", "e", "f", "g", "h"]);
}

#[test]
fn a_json_pointer_keeps_its_version_and_the_body_passes_unchanged() {
    let server = Upstream::echo("s");
    let more = "    sticky: {jsonPointer: /user/0/id}\n    limits: {peekBytes: 4Ki}\n";
    let sidecar = Sidecar::start(&config(&server.url(), HALVES, more));
    let mut client = RawClient::connect(sidecar.main());
    let mut turn = 0;
    let ask = |key: Option<&str>| {
        turn += 1;
        // The place of the key, the rest of the body and how it comes differ from turn to turn.
        let rows = "[1.5, 2],".repeat(turn % 40);
        let user = key.map(|k| format!("\"user\": [{{\"id\": {k}}}]")).unwrap_or("\"user\": []".to_owned());
        let body = match turn % 2 {
            0 => format!("{{{user}, \"rows\": [{rows} [0]]}}"),
            _ => format!("{{\"rows\": [{rows} [0]], {user}}}"),
        };
        let answer = if turn % 3 == 0 {
            let (one, two) = body.split_at(body.len() / 2);
            let head = "POST /x HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
            client.send(format!("{head}{:x}\r\n{one}\r\n", one.len()));
            client.send(format!("{:x}\r\n{two}\r\n0\r\n\r\n", two.len())).read()
        } else {
            client.post("/x", "", body.as_bytes())
        };
        assert_eq!(answer.text(), body);
        answer.version().to_owned()
    };
    is_sticky(ask, &["\"a\"", "\"b\"", "17", "true", "\"\\u00e9\"", "18", "\"g\"", "-1.5"]);
}

#[test]
fn a_body_longer_than_the_peek_is_drawn_and_passes_unchanged() {
    let server = Upstream::echo("s");
    let more = "    sticky: {jsonPointer: /user}\n    limits: {peekBytes: 1Ki}\n";
    let sidecar = Sidecar::start(&config(&server.url(), HALVES, more));
    let mut client = RawClient::connect(sidecar.main());
    let body = format!("{{\"user\": \"a\", \"rows\": \"{}\"}}", "x".repeat(300_000));
    let mut seen = Vec::new();
    for _ in 0..32 {
        let answer = client.post("/x", "", body.as_bytes());
        assert!(answer.body == body.as_bytes(), "the body was changed");
        seen.push(answer.version().to_owned());
    }
    assert!(seen.iter().any(|v| v == "v1") && seen.iter().any(|v| v == "v2"), "{seen:?}");
}

#[test]
fn a_client_address_keeps_its_version_over_all_its_connections() {
    let server = Upstream::echo("s");
    let sidecar = Sidecar::start(&config(&server.url(), HALVES, "    sticky: {clientAddress: true}\n"));
    let ask = |last: u8| {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((Ipv4Addr::new(127, 0, 0, last), 0)).into()).unwrap();
        socket.connect(&sidecar.main().into()).unwrap();
        let mut client = RawClient(socket.into());
        client.post("/x", "", b"").version().to_owned()
    };
    let seen: Vec<String> = (2..18).map(&ask).collect();
    assert!(seen.iter().any(|v| v == "v1") && seen.iter().any(|v| v == "v2"), "{seen:?}");
    for _ in 0..3 {
        assert_eq!((2..18).map(&ask).collect::<Vec<_>>(), seen);
    }
}

#[test]
fn questions_about_a_model_go_to_stable_and_only_inferences_are_split() {
    let server = Upstream::echo("s");
    let sidecar = Sidecar::start(&config(&server.url(), &[("v1", "0%"), ("v2", "100%")], ""));
    let mut client = RawClient::connect(sidecar.main());
    for path in ["/v2/models/m", "/v2/models/m/ready", "/v1/models/m", "/v2/models/m/config"] {
        assert_eq!(client.get(path).version(), "v1", "{path}");
    }
    for path in ["/v2/models/m/infer", "/v1/models/m:predict", "/v1/chat/completions", "/anything"] {
        assert_eq!(client.post(path, "", b"{}").version(), "v2", "{path}");
    }
}

#[test]
fn a_pin_is_heard_on_the_listener_that_allows_it_and_nowhere_forwarded() {
    let server = Upstream::echo("s");
    let mut text = "listeners:\n  - {name: main, address: 127.0.0.1:0}\n  - {name: lab, address: 127.0.0.1:0, allowPin: true}\n  - {name: ours, address: 127.0.0.1:0, allowPin: true, trustedPeers: [127.0.0.1]}\n  - {name: theirs, address: 127.0.0.1:0, allowPin: true, trustedPeers: [192.0.2.1]}\n".to_owned();
    text += &config(&server.url(), &[("v1", "100%"), ("v2", "0%"), ("v3", "0%")], "");
    let sidecar = Sidecar::start(&text);
    let mut lab = RawClient::connect(sidecar.address("lab"));
    for version in ["v1", "v2", "v3"] {
        let answer = lab.post("/x", &format!("x-switchback-version: {version}\r\n"), b"");
        assert_eq!(answer.version(), version);
    }
    for (listener, heard) in [("ours", "v2"), ("theirs", "v1")] {
        let mut client = RawClient::connect(sidecar.address(listener));
        assert_eq!(client.post("/x", "x-switchback-version: v2\r\n", b"").version(), heard, "{listener}");
    }
    let unknown = lab.post("/x", "x-switchback-version: v9\r\n", b"");
    assert_eq!(unknown.status, 400);
    assert_eq!(unknown.header("x-switchback-error"), Some("unknown_version"));
    let text = unknown.text();
    assert!(text.contains("v9") && text.contains("v1, v2, v3"), "{text}");
    let mut main = RawClient::connect(sidecar.main());
    assert_eq!(main.post("/x", "x-switchback-version: v2\r\n", b"").version(), "v1");
    assert_eq!(main.post("/x", "x-switchback-version: v9\r\n", b"").version(), "v1");
    assert_eq!(server.count(), 7);
    assert!(
        server.seen().iter().all(|s| !s.headers.contains_key("x-switchback-version")),
        "the pin was forwarded"
    );
}

#[test]
fn the_version_is_not_named_where_the_model_keeps_it_to_itself() {
    let server = Upstream::echo("s");
    let sidecar = Sidecar::start(&config(&server.url(), HALVES, "    exposeVersion: false\n"));
    let answer = RawClient::connect(sidecar.main()).post("/x", "", b"body");
    assert_eq!((answer.status, answer.text().as_str()), (200, "body"));
    assert_eq!(answer.header("x-switchback-version"), None, "{answer:?}");
}

#[test]
fn a_failed_answer_names_the_version_that_failed() {
    let nobody = Refusing::start();
    let sidecar = Sidecar::start(&config(&nobody.url(), &[("v1", "0%"), ("v2", "100%")], ""));
    let answer = RawClient::connect(sidecar.main()).post("/x", "", b"");
    assert_eq!((answer.status, answer.header("x-switchback-error")), (502, Some("connect_failed")));
    assert_eq!(answer.version(), "v2");
}

#[test]
fn reading_ahead_in_a_body_of_tiny_chunks_does_not_hold_up_other_clients() {
    let server = Upstream::echo("s");
    let sidecar = Sidecar::start(&config(&server.url(), HALVES, "    sticky: {jsonPointer: /user}\n"));
    let body = format!("{{\"rows\": \"{}\", \"user\": \"a\"}}", "x".repeat(600_000));
    let mut sent = "POST /x HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n".to_owned();
    body.chars().for_each(|c| sent += &format!("1\r\n{c}\r\n"));
    sent += "0\r\n\r\n";
    let mut slow = RawClient::connect(sidecar.main());
    let (mut other, mut answered) = (RawClient::connect(sidecar.main()), 0);
    std::thread::scope(|scope| {
        let answer = scope.spawn(move || slow.send(sent).read());
        while !answer.is_finished() {
            assert_eq!(other.post("/x", "", b"{}").status, 200);
            answered += 1;
        }
        assert!(answer.join().unwrap().body == body.as_bytes(), "the body was changed");
    });
    // There are 600,000 chunks to be read, with a turn for others at least after every few hundred;
    // if they were read in one go, a request or two would be answered beside them.
    assert!(answered > 50, "{answered} requests of others were answered meanwhile");
}
