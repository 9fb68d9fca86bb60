//! Rollouts as streams of events.

use std::io::{BufRead as _, BufReader};

use super::*;
use crate::stats::Registry;

/// A stream of events.
struct Events(BufReader<TcpStream>);

impl Events {
    /// Asks for the stream of `id`: the status, and what comes.
    fn of(server: &AdminServer, id: &str) -> (u16, Self) {
        let BindAddress::Tcp(address) = server.address() else { panic!("not TCP") };
        let mut stream = TcpStream::connect(address).unwrap();
        let request = format!("GET /api/v1/rollouts/{id}/watch HTTP/1.1\r\nHost: {address}\r\n\r\n");
        stream.write_all(request.as_bytes()).unwrap();
        let mut events = Self(BufReader::new(stream));
        let status = events.line().unwrap().split(' ').nth(1).unwrap().parse().unwrap();
        (status, events)
    }

    fn line(&mut self) -> Option<String> {
        let mut line = String::new();
        let read = self.0.read_line(&mut line).unwrap();
        (read > 0).then(|| line.trim_end().to_owned())
    }

    /// The phase that the next event tells; nothing at the end of the stream (its last chunk).
    fn phase(&mut self) -> Option<String> {
        loop {
            let line = self.line()?;
            if line == "0" {
                return None;
            }
            if let Some(data) = line.strip_prefix("data: ") {
                let view: Value = serde_json::from_str(data).unwrap();
                return Some(view["phase"].as_str().unwrap().to_owned());
            }
        }
    }
}

fn rolling() -> (AdminServer, String) {
    let server = start(Arc::new(Fake::new(Registry::new()).rolling_out("v3")));
    let id = get(&server, "/api/v1/models/fraud/rollout").json()["id"].as_str().unwrap().to_owned();
    (server, id)
}

#[test]
fn a_stream_tells_how_the_rollout_stands_and_ends_with_it() {
    let (server, id) = rolling();
    let (status, mut events) = Events::of(&server, &id);
    assert_eq!((status, events.phase().as_deref()), (200, Some("Running")));
    for (command, phase) in [("pause", "Paused"), ("resume", "Running"), ("abort", "Aborted")] {
        assert_eq!(ask(&server, &format!("POST /api/v1/rollouts/{id}/{command}"), "", "").status, 200);
        // What is counted meanwhile makes events too.
        while events.phase().expect(phase) != phase {}
    }
    assert_eq!(events.phase(), None);
    // One that has ended is told once; one that never was is not found.
    let (_, mut events) = Events::of(&server, &id);
    assert_eq!((events.phase().as_deref(), events.phase()), (Some("Aborted"), None));
    assert_eq!(Events::of(&server, "nobody").0, 404);
}

#[test]
fn a_rollout_whose_place_another_takes_is_told_to_its_end() {
    let (server, id) = rolling();
    let (_, mut events) = Events::of(&server, &id);
    assert_eq!(events.phase().as_deref(), Some("Running"));
    let other = r#"{"model": "fraud", "candidate": "v2", "supersede": true}"#;
    assert_eq!(ask(&server, "POST /api/v1/rollouts", "", other).status, 201);
    while events.phase().expect("the end") != "Superseded" {}
    assert_eq!(events.phase(), None);
}

#[test]
fn the_seventeenth_watcher_is_told_to_ask_now_and_then_and_others_are_served() {
    let (server, id) = rolling();
    let watching: Vec<_> = (0..16).map(|_| Events::of(&server, &id)).collect();
    assert!(watching.iter().all(|(status, _)| *status == 200));
    assert_eq!(Events::of(&server, &id).0, 503);
    assert_eq!(get(&server, &format!("/api/v1/rollouts/{id}")).status, 200);
}
