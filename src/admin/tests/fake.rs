//! A sidecar for tests: its state and counts are made up, its rollouts are real ones, kept in memory.

use std::net::TcpListener;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use serde_json::Value;

use crate::admin::*;
use crate::base::{FaultKind, ModelName, Role, VersionName, Weight};
use crate::config;
use crate::control::board::Switchboard;
use crate::control::rollouts::{self, Call, CandidateCall, Deciding, Rollouts, Setup, StartCall, TICK};
use crate::divergence::Reason;
use crate::divergence::pairs::PairSpec;
use crate::mirror::compare::Books;
use crate::notify::{NotifySpec, Receiver, Receivers, Secret};
use crate::onnx::statistics::{BatchStatistics, Statistics, Timed};
use crate::onnx::{Engine, EngineSpec, Loads};
use crate::rollout::policy::Policy;
use crate::rollout::version::Actor;
use crate::stats::segments::Memberships;
use crate::stats::{DropReason, Observation, Outcome, Registry};

/// Model, and versions with their weights.
pub(super) type Asked = (String, Vec<(String, String)>);

pub(super) struct Fake {
    pub(super) registry: Registry,
    pub(super) ready: Mutex<bool>,
    pub(super) asked: Mutex<Vec<Asked>>,
    pub(super) books: Books,
    rollouts: Rollouts,
    /// Where v2 and v3 are: somebody listens there.
    _server: TcpListener,
    /// Decides until it is dropped.
    _deciding: Deciding,
}

/// What the decider is told of the model: v1 serves, v2 and v3 stand by.
const CONFIG: &str = "
models:
  - name: fraud
    versions:
      - {name: v1, upstream: {url: 'http://127.0.0.1:1'}}
      - {name: v2, upstream: {url: 'http://SERVER'}}
      - {name: v3, upstream: {url: 'http://SERVER'}, rewrite: {model: other}}
    rollout:
      steps: [{setWeight: {weight: 10%, maxDuration: none}}, {pause: {}}, {bake: 1h}]
      analysis: {metrics: [{errorRate: {}}]}
";

impl Fake {
    /// A sidecar that has counted nothing yet.
    pub(super) fn new(registry: Registry) -> Self {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let text = CONFIG.replace("SERVER", &server.local_addr().unwrap().to_string());
        let config = config::parse(&text, Path::new("")).unwrap();
        let engines = |_: &EngineSpec| -> Arc<Engine> { panic!("no model is in process") };
        let setup = Setup {
            board: Arc::new(Switchboard::new(config.models, engines).unwrap()),
            store: None,
            specs: config.rollouts,
            config_hash: config.hash,
            // Nobody is there: what is sent to it is tried again and again.
            receivers: Receivers::prepare(vec![NotifySpec::new(
                "ops",
                Receiver::Slack { url: Secret::new("http://127.0.0.1:9") },
            )])
            .unwrap(),
            instance: "test".to_owned(),
            remake: Box::new(|_, _| Err("nothing is made again".to_owned())),
            forget_pairs: Box::new(|_| {}),
            tick: TICK,
        };
        let (rollouts, deciding) = rollouts::start(setup).unwrap();
        let (books, spec) = (Books::default(), PairSpec::default());
        books.keep([("fraud", &spec)]);
        Self {
            registry,
            ready: Mutex::new(true),
            asked: Mutex::default(),
            books,
            rollouts,
            _server: server,
            _deciding: deciding,
        }
    }

    /// The same, with a rollout to `candidate` whose first step runs.
    pub(super) fn rolling_out(self, candidate: &str) -> Self {
        let start = StartCall {
            model: "fraud".to_owned(),
            candidate: CandidateCall::Declared(name(candidate)),
            policy: None,
            supersede: false,
            by: Actor { name: "test".to_owned(), key: None },
        };
        self.rollouts.ask(Call::Start(Box::new(start))).unwrap();
        let started = Instant::now();
        while self.rollouts.views()["fraud"].rollout.as_ref().unwrap().phase != "Running" {
            assert!(started.elapsed() < Duration::from_secs(20), "{:?}", self.rollouts.views());
            std::thread::yield_now();
        }
        self
    }
}

fn name(text: &str) -> VersionName {
    VersionName::new(text).unwrap()
}

impl Sidecar for Fake {
    fn engines(&self) -> Vec<EngineState> {
        let batch =
            BatchStatistics { size: 3, compute_infer: Timed { count: 1, ns: 5 }, ..Default::default() };
        let statistics = Statistics { inferences: 3, batches: vec![batch], ..Default::default() };
        let (model, version) = ("fraud".to_owned(), "v1".to_owned());
        vec![EngineState { model, version, statistics, resident_bytes: 4096 }]
    }

    fn loads(&self) -> Vec<Loads> {
        vec![Loads { model: "fraud".to_owned(), ready: 1, failed: 0 }]
    }

    fn live(&self) -> Live {
        let version = |text, role, weight: &str, ready: bool| VersionState {
            name: name(text),
            role,
            weight: weight.parse().unwrap(),
            backend: "upstream",
            target: format!("http://127.0.0.1/{text}"),
            ready,
            reason: (!ready).then(|| "connection refused".to_owned()),
            facts: None,
            upstream: (text == "v1").then(|| UpstreamState {
                endpoints: vec![
                    EndpointState { address: "127.0.0.1:1".to_owned(), standing: "available" },
                    EndpointState { address: "127.0.0.1:2".to_owned(), standing: "ejected" },
                ],
                ejections: 1,
                checks_passed: 7,
                checks_failed: 2,
                lookups_failed: 0,
            }),
            concurrency: None,
        };
        Live {
            state: State::Ready,
            uptime: Duration::from_millis(1500),
            config: ConfigState {
                path: "switchback.yaml".into(),
                hash: "00ff".into(),
                loaded_at: SystemTime::UNIX_EPOCH,
                applied: 2,
                refused: 1,
                last_error: Some("line 3: no such key".into()),
            },
            process: ProcessState {
                memory_share: Some(0.5),
                task_restarts: vec![("memory", 0), ("health", 1)],
                ..ProcessState::default()
            },
            listeners: vec![ListenerState { name: "main".into(), address: "127.0.0.1:8080".into() }],
            models: vec![ModelState {
                name: ModelName::new("fraud").unwrap(),
                stable: name("v1"),
                versions: vec![
                    version("v1", Role::Stable, "90%", true),
                    version("v2", Role::Canary, "10%", true),
                    version("v3", Role::Shadow, "0%", false),
                ],
                concurrency: Some(ConcurrencyState { limit: 100, under_way: 3 }),
                mirrors: vec![MirrorState { to: name("v3"), sample: Weight::FULL }],
            }],
        }
    }

    fn readiness(&self) -> Readiness {
        let ready = *self.ready.lock().unwrap();
        Readiness { ready, reasons: if ready { vec![] } else { vec!["draining".into()] } }
    }

    fn set_weights(
        &self,
        model: &str,
        weights: &[(String, String)],
        _by: &Actor,
    ) -> Result<WeightsSet, AdminError> {
        if model != "fraud" {
            return Err(AdminError::NotFound(format!("there is no model {model:?}")));
        }
        self.asked.lock().unwrap().push((model.to_owned(), weights.to_vec()));
        let weights = weights.iter().map(|(version, weight)| match weight.parse() {
            Ok(weight) => Ok((name(version), weight)),
            Err(e) => Err(AdminError::Invalid(format!("{e}"))),
        });
        Ok(WeightsSet { weights: weights.collect::<Result<_, _>>()?, durable: false })
    }

    fn reload(&self) -> Result<Reloaded, AdminError> {
        match *self.ready.lock().unwrap() {
            true => Ok(Reloaded { hash: "11ee".into(), changed: true }),
            false => Err(AdminError::Conflict("the process is draining".into())),
        }
    }

    fn registry(&self) -> &Registry {
        &self.registry
    }

    fn rollouts(&self) -> &Rollouts {
        &self.rollouts
    }

    fn books(&self) -> &Books {
        &self.books
    }

    fn candidate(&self, model: &ModelName, mut written: Value) -> Result<CandidateCall, AdminError> {
        let digest = written.as_object_mut().and_then(|keys| keys.remove("digest"));
        let digest = digest.map(|digest| digest.as_str().unwrap().to_owned());
        let spec = config::parse_version(&written.to_string(), model, Path::new(""))
            .map_err(|e| AdminError::Invalid(e.to_string()))?;
        Ok(CandidateCall::Given { spec: Box::new(spec), origin: written, digest })
    }

    fn policy(&self, model: &ModelName, written: &Value) -> Result<Policy, AdminError> {
        let spec = config::parse_policy(&written.to_string(), model, false, Path::new(""));
        spec.map(|spec| spec.policy).map_err(|e| AdminError::Invalid(e.to_string()))
    }
}

/// A sidecar that has served a little of everything.
pub(super) fn busy() -> Arc<Fake> {
    let registry = Registry::new();
    let model = ModelName::new("fraud").unwrap();
    for _worker in 0..2 {
        for (version, role) in [("v1", Role::Stable), ("v2", Role::Canary), ("v2", Role::Standby)] {
            let shard = registry.version(&model, &name(version), role);
            shard.first_token.record(40_000_000);
            shard.gap.record(3_000_000);
            for outcome in Outcome::ALL {
                shard.finish(&Observation {
                    outcome,
                    fault: (outcome == Outcome::Fault).then_some(FaultKind::ConnectFailed),
                    grpc: (version == "v1").then_some(0),
                    latency_ns: 2_500_000,
                    first_byte_ns: Some(1_000_000),
                    streamed: false,
                    first_token_ns: None,
                    overhead_ns: 7_000,
                    request_bytes: 10,
                    response_bytes: 1,
                });
            }
        }
        let mirror = registry.mirror(&model, &name("v3"));
        mirror.eligible.add(4);
        mirror.sampled.add(4);
        mirror.sent.add(3);
        mirror.completed.add(3);
        mirror.drop_copy(DropReason::TooLarge);
        let pairs = registry.pairs(&model, &name("v3"));
        pairs.record(false, Memberships::default(), None);
        pairs.record(false, Memberships::default(), Some(Reason::Numeric.index()));
        pairs.record(true, Memberships::default(), None);
        registry.worker().refuse(FaultKind::NoRoute);
    }
    Arc::new(Fake::new(registry))
}
