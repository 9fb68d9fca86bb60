//! The rollouts of the soak: candidates that differ, fail, or are called off, one after the other.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::clients::Counts;
use crate::support::rollouts::{forgetful_model, good};
use crate::support::{Sidecar, Upstream};

/// What becomes of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// It answers otherwise: found in shadow.
    Differs,
    /// It fails once it has traffic.
    Fails,
    /// Someone calls it off.
    CalledOff,
}

/// How long a rollout may take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(120);
/// So many rolled-back builds stay latched. A model takes 256, and the soak makes more.
const LATCHED: usize = 100;
const WELL: u8 = 0;
const WRONG: u8 = 1;
const BROKEN: u8 = 2;

/// The steps of each rollout, and the model that has them.
pub fn config(stable: &str) -> String {
    format!(
        "- name: r\n\
         \x20 fallback: {{enabled: true}}\n\
         \x20 versions: [{{name: v1, upstream: {{url: '{stable}'}}}}]\n\
         \x20 rollout:\n\
         \x20   steps:\n\
         \x20   - shadow: {{minPairs: 50, minDuration: 0s}}\n\
         \x20   - setWeight: {{weight: 50%, minDuration: 1h}}\n"
    )
}

/// A candidate that behaves as it is told.
pub struct Candidate {
    behaviour: Arc<AtomicU8>,
    server: Upstream,
}

impl Candidate {
    pub fn start() -> Self {
        let behaviour = Arc::<AtomicU8>::default();
        let now = behaviour.clone();
        let server = forgetful_model(move |n, _| match now.load(Relaxed) {
            WRONG => (200, good(n + 1)),
            BROKEN => (500, good(n)),
            _ => (200, good(n)),
        });
        Self { behaviour, server }
    }

    /// Rollouts of it until the clients stop.
    pub fn roll_out(&self, counts: &Counts, sidecar: &Sidecar, seed: u64) {
        let mut random = fastrand::Rng::with_seed(seed);
        let (mut n, mut latched) = (0, VecDeque::new());
        while !counts.stopped() {
            n += 1;
            let fate = [Fate::Differs, Fate::Fails, Fate::CalledOff][random.usize(..3)];
            match self.once(counts, sidecar, n, fate) {
                Ok(digest) => {
                    counts.swaps.fetch_add(1, Relaxed);
                    latched.extend(digest);
                }
                Err(why) => counts.report(format!("rollout {n}, {fate:?}: {why}")),
            }
            if latched.len() > LATCHED
                && let Some(digest) = latched.pop_front()
            {
                let path = format!("/api/v1/models/r/latches/{digest}/clear");
                let answer = sidecar.ask_admin("POST", &path, "{}");
                if answer.status != 200 && !counts.stopped() {
                    counts.report(format!("{digest} is not cleared: {answer:?}"));
                }
            }
        }
    }

    /// One rollout to its end: the digest that it left latched.
    fn once(&self, counts: &Counts, sidecar: &Sidecar, n: u64, fate: Fate) -> Result<Option<String>, String> {
        self.behaviour.store(if fate == Fate::Differs { WRONG } else { WELL }, Relaxed);
        let candidate =
            json!({"name": "v2", "upstream": {"url": self.server.url()}, "digest": format!("build:{n}")});
        let (status, answer) = sidecar.start_rollout(&json!({"model": "r", "candidate": candidate}));
        let id = answer["rollout"]["id"].as_str().filter(|_| status == 201);
        let id = id.ok_or_else(|| format!("does not start: {answer}"))?.to_owned();
        let until = |what: &str, wanted: &dyn Fn(&Value) -> bool| {
            let started = Instant::now();
            loop {
                let rollout = sidecar.json(&format!("/api/v1/rollouts/{id}"));
                if wanted(&rollout) || counts.stopped() {
                    return Ok(rollout);
                }
                if started.elapsed() > PATIENCE {
                    return Err(format!("{what} never comes: {rollout:#}"));
                }
                std::thread::sleep(Duration::from_millis(50));
            }
        };
        if fate != Fate::Differs {
            let there =
                until("the canary", &|rollout| rollout["weight"] == "50%" || rollout["ended"] == true)?;
            if there["ended"] == true {
                return Err(format!("it ended in shadow: {there:#}"));
            }
        }
        if fate == Fate::Fails {
            self.behaviour.store(BROKEN, Relaxed);
        } else if fate == Fate::CalledOff {
            sidecar.ask_admin("POST", &format!("/api/v1/rollouts/{id}/abort"), "{}");
        }
        let ended = until("the end", &|rollout| rollout["ended"] == true)?;
        let phase = if fate == Fate::CalledOff { "Aborted" } else { "RolledBack" };
        match ended["phase"] == phase || counts.stopped() {
            true if ended["phase"] == "RolledBack" => Ok(ended["digest"].as_str().map(str::to_owned)),
            true => Ok(None),
            false => Err(format!("it ended otherwise: {ended:#}")),
        }
    }
}
