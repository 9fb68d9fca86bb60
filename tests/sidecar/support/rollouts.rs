//! Rollouts from outside: models that answer as they are told, clients that go on until it is over,
//! and the services around that fail.

use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::Response;
use serde_json::Value;

use super::client::RawClient;
use super::process::Sidecar;
use super::upstream::{Body, Seen, Upstream, full, raw_upstream};

/// How long a rollout of a test may take: its steps are of seconds.
const PATIENCE: Duration = Duration::from_secs(300);
const PATH: &str = "/v2/models/m/infer";

/// What a model answers: HTTP status, and probabilities of two classes.
pub type Says = (u16, [f64; 2]);

/// A model server whose answer to a request is that of `says`, which is given the request's number
/// (its one input) and what was seen of it.
pub fn model(says: impl Fn(u64, &Seen) -> Says + Send + Sync + 'static) -> Upstream {
    Upstream::start(saying(says))
}

/// The same, which does not remember what it saw.
pub fn forgetful_model(says: impl Fn(u64, &Seen) -> Says + Send + Sync + 'static) -> Upstream {
    Upstream::forgetful(saying(says))
}

fn saying(says: impl Fn(u64, &Seen) -> Says) -> impl Fn(&Seen) -> Response<Body> {
    move |seen| {
        let (status, [a, b]) = says(number(seen), seen);
        let number = |value: f64| if value.is_nan() { "NaN".to_owned() } else { value.to_string() };
        let body = format!(
            r#"{{"model_name":"m","outputs":[{{"name":"probabilities","datatype":"FP32","shape":[1,2],"data":[{},{}]}}]}}"#,
            number(a),
            number(b)
        );
        Response::builder()
            .status(status)
            .header("content-type", "application/json")
            .body(full(body))
            .unwrap()
    }
}

/// The number that a request carries as its input.
fn number(seen: &Seen) -> u64 {
    let body: Value = serde_json::from_slice(&seen.body).unwrap_or_default();
    body["inputs"][0]["data"][0].as_u64().unwrap_or_default()
}

/// What the good model says: a class by the number's oddness, sure of it to a different degree.
pub fn good(n: u64) -> [f64; 2] {
    let sure = 0.6 + (n % 37) as f64 / 100.0;
    if n.is_multiple_of(2) { [sure, 1.0 - sure] } else { [1.0 - sure, sure] }
}

/// A configuration of model `m` with v1 at one URL and v2 at another; `rollout` is the flow or block
/// that stands under `rollout:`, indented by six.
pub fn config(v1: &Upstream, v2: &Upstream, rollout: &str) -> String {
    let (v1, v2) = (v1.url(), v2.url());
    format!(
        "store: {{path: '{{dir}}/rollouts.db'}}
workers: 1
models:
  - name: m
    versions:
      - {{name: v1, upstream: {{url: '{v1}'}}}}
      - {{name: v2, upstream: {{url: '{v2}'}}}}
    rollout:
      candidate: v2
      autoStart: true
{rollout}"
    )
}

/// Clients that send one numbered request after another until they are dropped.
pub struct Clients {
    stop: Arc<AtomicBool>,
    sent: Arc<AtomicUsize>,
    failed: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<()>>,
}

impl Clients {
    /// Starts `count` clients, with a header field for each request where `header` gives one.
    pub fn start(sidecar: &Sidecar, count: u64, header: fn(u64) -> String) -> Self {
        Self::start_at(sidecar, count, |_| PATH.to_owned(), header)
    }

    /// The same, each request at the path that `path` gives it.
    pub fn start_at(
        sidecar: &Sidecar,
        count: u64,
        path: fn(u64) -> String,
        header: fn(u64) -> String,
    ) -> Self {
        let address = sidecar.main();
        let (stop, sent, failed) =
            (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default(), Arc::<AtomicUsize>::default());
        let threads = (0..count).map(|client| {
            let (stop, sent, failed) = (stop.clone(), sent.clone(), failed.clone());
            std::thread::spawn(move || {
                let mut connection = RawClient::connect(address);
                let mut n = client;
                while !stop.load(Ordering::Relaxed) {
                    let body = format!(
                        r#"{{"inputs":[{{"name":"x","datatype":"INT64","shape":[1],"data":[{n}]}}]}}"#
                    );
                    let (path, extra, length) = (path(n), header(n), body.len());
                    let request = format!(
                        "POST {path} HTTP/1.1\r\nhost: test\r\ncontent-type: application/json\r\n{extra}content-length: {length}\r\n\r\n{body}"
                    );
                    let answer = connection.send(request).read();
                    sent.fetch_add(1, Ordering::Relaxed);
                    failed.fetch_add(usize::from(answer.status != 200), Ordering::Relaxed);
                    n += count;
                }
            })
        });
        let threads = threads.collect();
        Self { stop, sent, failed, threads }
    }

    /// Waits until `count` more requests are answered; says how many of them were not answered well.
    pub fn more(&self, count: usize) -> usize {
        let (sent, failed) = self.counts();
        super::blocking_until("more requests", || (self.counts().0 >= sent + count).then_some(()));
        self.counts().1 - failed
    }

    /// Requests so far, and those among them that were not answered well.
    pub fn counts(&self) -> (usize, usize) {
        (self.sent.load(Ordering::Relaxed), self.failed.load(Ordering::Relaxed))
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

/// No further header field.
pub fn plain(_: u64) -> String {
    String::new()
}

/// A webhook that answers its calls, counted from 0, with these statuses.
pub fn webhook(says: impl Fn(usize) -> u16 + Send + Sync + 'static) -> Upstream {
    let calls = AtomicUsize::new(0);
    Upstream::start(move |_| {
        let status = says(calls.fetch_add(1, Ordering::Relaxed));
        Response::builder().status(status).body(full("so it is")).unwrap()
    })
}

/// A server that takes every connection and never says a word.
pub fn hanging() -> SocketAddr {
    raw_upstream(|mut stream| _ = stream.read_to_end(&mut Vec::new()))
}

/// A disk of 1 MiB that is there until this is dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts one. Nothing, and a word on stderr, where the user may not mount.
    pub fn mount() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mut mount = Command::new("mount");
        let mount = mount.args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"]).arg(folder.path()).output();
        match mount {
            Ok(mount) if mount.status.success() => Some(Self(folder)),
            other => {
                eprintln!("skipped, a small disk cannot be mounted here: {other:?}");
                None
            }
        }
    }

    /// A path on it.
    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// From now on nothing can be written there. Says whether that worked.
    pub fn seal(&self) -> bool {
        let mut mount = Command::new("mount");
        mount.args(["-o", "remount,ro"]).arg(self.0.path()).status().is_ok_and(|status| status.success())
    }

    /// Takes all the room there is.
    pub fn fill(&self) {
        let mut file = std::fs::File::create(self.path("ballast")).unwrap();
        while std::io::Write::write_all(&mut file, &[0; 512]).is_ok() {}
    }

    /// Gives it back.
    pub fn free(&self) {
        std::fs::remove_file(self.path("ballast")).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily: a process that a failing test has left behind may still have files open there.
        let _ = Command::new("umount").arg("-l").arg(self.0.path()).status();
    }
}

impl Sidecar {
    /// The rollout of model `m`, as the admin API tells it.
    pub fn rollout(&self) -> Value {
        self.rollout_of("m")
    }

    /// The rollout of a model.
    pub fn rollout_of(&self, model: &str) -> Value {
        self.json(&format!("/api/v1/models/{model}/rollout"))
    }

    /// Starts a rollout as `start` says: the status and the document of the answer.
    pub fn start_rollout(&self, start: &Value) -> (u16, Value) {
        let answer = self.ask_admin("POST", "/api/v1/rollouts", &start.to_string());
        (answer.status, serde_json::from_slice(&answer.body).unwrap())
    }

    /// Waits until `wanted` holds of the rollout, and returns it.
    pub fn rollout_until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let started = Instant::now();
        loop {
            let rollout = self.rollout();
            if wanted(&rollout) {
                return rollout;
            }
            assert!(started.elapsed() < PATIENCE, "waited in vain for {what}: {rollout:#}\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Waits until the rollout has ended, and returns it.
    pub fn rollout_end(&self) -> Value {
        self.rollout_until("the end", |rollout| rollout["ended"] == true)
    }
}
