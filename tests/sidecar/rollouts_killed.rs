//! A process that dies before or after any effect of the state machine comes back with the same roles,
//! weights and step, and never gives traffic to a candidate that was rolled back.
//!
//! The process is told by `SWITCHBACK_TEST_ABORT` where to die, which only builds with debug assertions
//! understand. What was shown or told before must hold afterwards, and the story must come to the same
//! end as without a death.

use std::collections::BTreeSet;
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use switchback::rollout::effect::Effect;

use crate::support::rollouts::{good, model, webhook};
use crate::support::{Sidecar, Upstream};

/// No story takes this long.
const LIMIT: Duration = Duration::from_secs(90);

/// What happens until the process dies, and after it is back.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Story {
    /// v2 fails and is rolled back.
    Rollback,
    /// The same, and its latch is taken off.
    Clear,
    /// v3 takes the place of v2.
    Supersede,
    /// Both versions fail: an incident, which is told, and nothing else happens.
    Incident,
}

/// The story in which an effect of this kind occurs, and how many of them are died at.
fn story(kind: &str) -> (Story, usize) {
    match kind {
        // The start, the step, the rollback.
        "setLive" | "decide" | "notify" | "persist" => (Story::Rollback, 3),
        "runGate" | "latch" => (Story::Rollback, 1),
        "unlatch" => (Story::Clear, 1),
        "archive" => (Story::Supersede, 1),
        "alert" => (Story::Incident, 1),
        other => panic!("no story has the effect {other}"),
    }
}

#[test]
fn killed_at_any_effect_it_comes_back_whole() {
    let places: Vec<(Story, String)> = Effect::KINDS
        .iter()
        .flat_map(|kind| {
            let (story, most) = story(kind);
            let numbers = (1..=most).flat_map(|n| [("before", n), ("after", n)]);
            numbers.map(move |(when, n)| (story, format!("{when} {kind} {n}")))
        })
        .collect();
    let next = AtomicU64::new(0);
    // Each waits for timers and disks most of the time.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some((story, place)) =
                    places.get(usize::try_from(next.fetch_add(1, Ordering::Relaxed)).unwrap())
                {
                    Scene::new(*story).play(place);
                }
            });
        }
    });
}

/// Versions, clients and a receiver of news.
struct Scene {
    story: Story,
    v1: Upstream,
    v2: Upstream,
    v3: Upstream,
    trail: Upstream,
}

impl Scene {
    fn new(story: Story) -> Self {
        let says = |status: u16| model(move |n, _| (status, good(n)));
        let (v1, v2) = match story {
            Story::Rollback | Story::Clear => (says(200), says(500)),
            Story::Supersede => (says(200), says(200)),
            Story::Incident => (says(500), says(500)),
        };
        Self { story, v1, v2, v3: says(200), trail: webhook(|_| 200) }
    }

    fn config(&self) -> String {
        // What both versions suffer can be told from what one does once stable has had 20 requests.
        let (weight, analysis) = match self.story {
            Story::Incident => (
                "5%",
                "      analysis: {circuitBreaker: none, metrics: [{errorRate: {absolute: {max: 5%}}}]}\n",
            ),
            _ => ("50%", ""),
        };
        format!(
            "store: {{path: '{{dir}}/rollouts.db'}}
notifications: [{{name: trail, webhook: {{url: '{}'}}}}]
models:
  - name: m
    versions:
      - {{name: v1, upstream: {{url: '{}'}}}}
      - {{name: v2, upstream: {{url: '{}'}}}}
      - {{name: v3, upstream: {{url: '{}'}}}}
    rollout:
      steps: [{{setWeight: {{weight: {weight}, minDuration: 1h}}}}]
{analysis}",
            self.trail.url(),
            self.v1.url(),
            self.v2.url(),
            self.v3.url()
        )
    }

    /// Lives through the story with a death at `place`.
    fn play(&self, place: &str) {
        let mut sidecar =
            Sidecar::start_with_environment(&[("SWITCHBACK_TEST_ABORT", place)], &self.config());
        let clients = Clients::start(sidecar.main());
        let (began, mut before) = (Instant::now(), Value::Null);
        while !sidecar.has_ended() {
            if let Some(seen) = look(sidecar.admin()) {
                before = seen;
            }
            self.push_on(sidecar.admin(), &before);
            assert!(began.elapsed() < LIMIT, "{place} is never reached: {before:#}\n{}", sidecar.log());
        }
        drop(clients);
        let told = self.told();
        let sidecar = Sidecar::started_again(sidecar.killed());
        let after = look(sidecar.admin()).unwrap_or_default();
        self.holds(place, &sidecar, &before, &told, &after);
        // And it goes on to the end that it would have come to.
        let _clients = Clients::start(sidecar.main());
        let began = Instant::now();
        loop {
            let seen = look(sidecar.admin()).unwrap_or_default();
            if self.is_over(&seen) {
                break;
            }
            self.push_on(sidecar.admin(), &seen);
            assert!(began.elapsed() < LIMIT, "after {place}: {seen:#}\n{}", sidecar.log());
        }
        if self.story == Story::Rollback {
            self.gets_no_traffic(place, &sidecar);
            let (status, answer) = sidecar.start_rollout(&json!({"model": "m", "candidate": "v2"}));
            assert_eq!(status, 409, "{place}: {answer}");
        }
    }

    /// What an operator asks for, again and again until it is so.
    fn push_on(&self, admin: SocketAddr, seen: &Value) {
        let start = |candidate: &str, supersede: bool| {
            let body = json!({"model": "m", "candidate": candidate, "supersede": supersede}).to_string();
            let _ = ask(admin, "POST", "/api/v1/rollouts", &body);
        };
        let rollout = &seen["rollout"];
        match self.story {
            _ if rollout.is_null() => start("v2", false),
            Story::Supersede if rollout["candidate"] == "v2" && rollout["phase"] == "Running" => {
                start("v3", true);
            }
            Story::Clear if rollout["phase"] == "RolledBack" => {
                let digest = rollout["digest"].as_str().unwrap().replace(':', "%3A");
                let path = format!("/api/v1/models/m/latches/{digest}/clear");
                let _ = ask(admin, "POST", &path, "");
            }
            _ => {}
        }
        std::thread::sleep(Duration::from_millis(5));
    }

    fn is_over(&self, seen: &Value) -> bool {
        let (phase, latches) = (&seen["rollout"]["phase"], seen["latches"].as_array());
        let latched = latches.is_some_and(|latches| !latches.is_empty());
        match self.story {
            Story::Rollback => phase == "RolledBack" && latched && self.told().contains("rolledBack"),
            Story::Clear => phase == "RolledBack" && !latched && self.told().contains("latchCleared"),
            Story::Supersede => {
                seen["rollout"]["candidate"] == "v3"
                    && phase == "Running"
                    && self.told().contains("superseded")
            }
            Story::Incident => phase == "Running" && self.told().contains("held"),
        }
    }

    /// What was shown and told before the death holds after it.
    fn holds(&self, place: &str, sidecar: &Sidecar, before: &Value, told: &BTreeSet<String>, after: &Value) {
        let context = || format!("{place}, told {told:?}\nbefore: {before:#}\nafter: {after:#}");
        let (was, is) = (&before["rollout"], &after["rollout"]);
        if was.is_null() && told.is_empty() {
            return;
        }
        assert!(!is.is_null(), "forgotten: {}", context());
        let replaced = told.contains("superseded") || is["candidate"] == "v3";
        assert!(was.is_null() || was["id"] == is["id"] || replaced, "another one: {}", context());
        if told.contains("rolledBack") || was["phase"] == "RolledBack" {
            assert_eq!(is["phase"], "RolledBack", "{}", context());
            self.gets_no_traffic(place, sidecar);
        }
        let cleared = told.contains("latchCleared");
        if before["latches"].as_array().is_some_and(|latches| !latches.is_empty())
            && self.story != Story::Clear
        {
            assert_eq!(before["latches"], after["latches"], "{}", context());
        }
        assert!(!cleared || after["latches"] == json!([]), "{}", context());
        if was["id"] == is["id"] && was["phase"] == is["phase"] {
            assert_eq!((&was["step"], &was["versions"]), (&is["step"], &is["versions"]), "{}", context());
        }
        assert!(
            was["step"].as_u64().unwrap_or(0) <= is["step"].as_u64().unwrap() || replaced,
            "{}",
            context()
        );
        // The table is what the rollout says, from the first request on.
        for version in is["versions"].as_array().unwrap() {
            let (name, weight) = (version["version"].as_str().unwrap(), version["weight"].as_u64().unwrap());
            let live = sidecar.version(name);
            // Until its candidate is reached again nothing is asked of it.
            if is["phase"] != "Pending" {
                assert_eq!(live["weightBasisPoints"], weight, "{name}: {live}\n{}", context());
            }
        }
    }

    fn gets_no_traffic(&self, place: &str, sidecar: &Sidecar) {
        // What was under way has come to an end once its clients have.
        let before = self.v2.count();
        for n in 0..100 {
            let status = request(sidecar.main(), n).unwrap();
            assert_eq!(status, 200, "{place}");
        }
        assert!(self.v2.count() <= before + 4, "{place}: {} requests to v2", self.v2.count() - before);
        assert_eq!(sidecar.version("v1")["weight"], "100%", "{place}");
    }

    /// Kinds of what was told so far.
    fn told(&self) -> BTreeSet<String> {
        let kind = |body: &[u8]| {
            let event: Value = serde_json::from_slice(body).unwrap();
            event["kind"].as_str().unwrap().to_owned()
        };
        self.trail.seen().iter().map(|seen| kind(&seen.body)).collect()
    }
}

/// The model as the admin API shows it; nothing while nobody answers or it has had no rollout.
fn look(admin: SocketAddr) -> Option<Value> {
    match ask(admin, "GET", "/api/v1/models/m", "") {
        Ok((200, body)) => serde_json::from_str(&body).ok(),
        _ => None,
    }
}

/// Clients that do not mind whether anybody answers.
struct Clients {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    fn start(address: SocketAddr) -> Self {
        let stop = Arc::<AtomicBool>::default();
        let threads = (0..2).map(|first| {
            let stop = Arc::clone(&stop);
            std::thread::spawn(move || {
                let mut n = first;
                while !stop.load(Ordering::Relaxed) {
                    if request(address, n).is_err() {
                        std::thread::sleep(Duration::from_millis(5));
                    }
                    n += 2;
                }
            })
        });
        Self { threads: threads.collect(), stop }
    }
}

impl Drop for Clients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

fn request(address: SocketAddr, n: u64) -> io::Result<u16> {
    let body = format!(r#"{{"inputs":[{{"name":"x","datatype":"INT64","shape":[1],"data":[{n}]}}]}}"#);
    ask(address, "POST", "/v2/models/m/infer", &body).map(|(status, _)| status)
}

/// One request on a connection of its own: the status and the body.
fn ask(address: SocketAddr, method: &str, path: &str, body: &str) -> io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    let length = body.len();
    stream.write_all(
        format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\
             content-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
        )
        .as_bytes(),
    )?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    let body = answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned());
    status.zip(body).ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
}
