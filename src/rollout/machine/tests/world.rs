//! A model server's traffic, and a driver without I/O.

use std::collections::{BTreeMap, VecDeque};

use crate::base::{ModelName, Role, VersionName, Weight};
use crate::rollout::checks::Traffic;
use crate::rollout::counts::{Counts, Durations, SegmentCounts, TrialCounts};
use crate::rollout::effect::{Effect, Event, EventKind, GateRun};
use crate::rollout::live::Live;
use crate::rollout::machine::{Command, GateAnswer, Input, Refusal, Start, What};
use crate::rollout::policy::{
    Advance, Bake, CheckSpec, ErrorRate, Harm, Policy, Rule, SetWeight, Shadow, Signal, Step,
};
use crate::rollout::record::{DecisionRecord, verify};
use crate::rollout::state::{ModelState, Phase, Rollout};
use crate::rollout::time::{Millis, Timestamp};
use crate::rollout::version::{Actor, VersionRef};
use crate::stats::sequential::Arms;

/// Splitmix64: small, seeded, good enough to flip coins.
#[derive(Debug, Clone)]
pub struct Rng(pub u64);

impl Rng {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    pub fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1_u64 << 53) as f64
    }

    pub fn chance(&mut self, p: f64) -> bool {
        self.unit() < p
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.next() % n.max(1)
    }
}

/// How the two versions behave just now.
#[derive(Debug, Clone)]
pub struct Nature {
    pub errors: Arms<f64>,
    /// Median latency in milliseconds, and the share of requests that take ten times as long.
    pub latency_ms: Arms<f64>,
    pub slow: Arms<f64>,
    /// Share of copies that diverge: noise of stable, candidate.
    pub diverge: Arms<f64>,
    /// Share of copies that are lost on the way.
    pub lost: Arms<f64>,
    /// The candidate's share of the draws, where it is not what the table says.
    pub skew: f64,
    /// Only requests of this segment meet the candidate's error rate.
    pub only_segment: Option<u64>,
    pub segments: u64,
}

impl Default for Nature {
    fn default() -> Self {
        Self {
            errors: Arms::new(0.01, 0.01),
            latency_ms: Arms::new(40.0, 40.0),
            slow: Arms::new(0.02, 0.02),
            diverge: Arms::new(0.0, 0.0),
            lost: Arms::new(0.0, 0.0),
            skew: 1.0,
            only_segment: None,
            segments: 0,
        }
    }
}

/// The driver: carries out effects, counts, answers gates.
#[derive(Debug, Clone)]
pub struct World {
    pub state: ModelState,
    pub now: Timestamp,
    pub rng: Rng,
    pub nature: Nature,
    pub live: Option<Live>,
    pub counts: Counts,
    pub records: Vec<DecisionRecord>,
    pub events: Vec<Event>,
    pub alerts: Vec<Event>,
    pub gates: VecDeque<GateRun>,
    /// What lasts: the state at the latest `Persist`.
    pub disk: String,
    /// Names of all effects, in order.
    pub log: Vec<String>,
    /// Gates that say no.
    pub closed: Vec<String>,
    /// Gates that do not answer by themselves.
    pub silent: Vec<String>,
}

pub fn version(name: &str) -> VersionRef {
    VersionRef {
        name: VersionName::new(name).unwrap(),
        digest: format!("sha256:{name}"),
        origin: serde_json::json!({ "upstream": "http://127.0.0.1:9000" }),
    }
}

pub fn weight(text: &str) -> Weight {
    text.parse().unwrap()
}

/// Two live steps and a bake, quick to pass.
pub fn policy() -> Policy {
    let advance = |ratio| Advance {
        harm: Harm { ratio, min_rate: 0.005 },
        min_duration: Millis::seconds(10),
        max_duration: Some(Millis::hours(1)),
        ..Advance::default()
    };
    let mut policy = Policy {
        steps: vec![
            Step::SetWeight(SetWeight { weight: weight("10%"), advance: advance(4.0) }),
            Step::SetWeight(SetWeight { weight: weight("50%"), advance: advance(3.0) }),
            Step::Bake(Bake { duration: Millis::hours(1), holdback: weight("10%") }),
        ],
        ..Policy::default()
    };
    policy.analysis.checks.retain(|check| !matches!(check.rule, Rule::Divergence(_)));
    policy
}

/// Only errors, at full share.
pub fn errors_only(rule: ErrorRate) -> Policy {
    let mut policy = policy();
    policy.analysis.checks = vec![CheckSpec::new("error-rate", 1.0, Rule::ErrorRate(rule))];
    policy
}

pub fn shadow_first(mut policy: Policy) -> Policy {
    let step = Shadow {
        advance: Advance {
            harm: Harm { ratio: 3.0, min_rate: 0.05 },
            min_duration: Millis::seconds(10),
            ..Advance::default()
        },
        ..Shadow::default()
    };
    policy.steps.insert(0, Step::Shadow(step));
    policy.analysis.checks.push(CheckSpec::new("divergence", 0.2, Rule::Divergence(Default::default())));
    policy
}

pub fn start(id: &str, candidate: &str, policy: Policy) -> Start {
    Start {
        id: id.to_owned(),
        candidate: version(candidate),
        policy,
        config_hash: "c0ffee".to_owned(),
        baseline: BTreeMap::new(),
        supersede: false,
        by: actor("ci"),
    }
}

pub fn actor(name: &str) -> Actor {
    Actor { name: name.to_owned(), key: None }
}

impl World {
    pub fn new(seed: u64) -> Self {
        let model = ModelName::new("fraud").unwrap();
        let state = ModelState::new(model, version("v1"));
        Self {
            disk: serde_json::to_string(&state).unwrap(),
            state,
            now: Timestamp(1_700_000_000_000),
            rng: Rng(seed),
            nature: Nature::default(),
            live: None,
            counts: Counts { epoch: 1, trials: Vec::new() },
            records: Vec::new(),
            events: Vec::new(),
            alerts: Vec::new(),
            gates: VecDeque::new(),
            log: Vec::new(),
            closed: Vec::new(),
            silent: Vec::new(),
        }
    }

    /// A world in which a rollout of `v2` has its first traffic.
    pub fn running(seed: u64, policy: Policy) -> Self {
        let mut world = Self::new(seed);
        world.start(start("r1", "v2", policy)).unwrap();
        world
    }

    pub fn rollout(&self) -> &Rollout {
        self.state.rollout.as_ref().unwrap()
    }

    pub fn phase(&self) -> &Phase {
        &self.rollout().phase
    }

    pub fn start(&mut self, start: Start) -> Result<(), Refusal> {
        self.handle(Input::Start(Box::new(start)))
    }

    pub fn command(&mut self, what: What) -> Result<(), Refusal> {
        self.handle(Input::Command(Command { what, by: actor("ann") }))
    }

    /// Hands an input in, carries out what comes of it, and lets gates answer.
    pub fn handle(&mut self, input: Input) -> Result<(), Refusal> {
        let effects = self.state.handle(input, self.now)?;
        effects.into_iter().for_each(|effect| self.carry_out(effect));
        // The driver's next turn after a rollback comes at once.
        if matches!(self.state.rollout.as_ref().map(|r| &r.phase), Some(Phase::RollingBack(_))) {
            self.handle(Input::Tick)?;
        }
        while let Some(run) = self.gates.pop_front() {
            if self.silent.contains(&run.name) {
                continue;
            }
            let passed =
                (run.kind != crate::rollout::policy::GateKind::Rollback) != self.closed.contains(&run.name);
            self.handle(Input::Gate(GateAnswer { run: run.run, passed, detail: "test".to_owned() }))?;
        }
        Ok(())
    }

    pub fn carry_out(&mut self, effect: Effect) {
        let name = format!("{effect:?}");
        self.log.push(name.split(['(', ' ']).next().unwrap().to_owned());
        match effect {
            Effect::SetLive(live) => {
                check_live(&live, &self.state);
                if self.live.as_ref().is_none_or(|old| old.trial != live.trial) {
                    self.counts.trials.retain(|trial| trial.trial + 4 > live.trial);
                    self.counts.trials.push(TrialCounts {
                        trial: live.trial,
                        weight_bp: live.weight_bp,
                        coin_bp: live
                            .mirror
                            .as_ref()
                            .map_or(0, |mirror| ((1.0 - mirror.noise_control) * 10_000.0).round() as u16),
                        ..TrialCounts::default()
                    });
                }
                self.live = Some(live);
            }
            Effect::Persist => self.disk = serde_json::to_string(&self.state).unwrap(),
            Effect::Decide(record) => {
                let text = serde_json::to_string(&record).unwrap();
                let read: DecisionRecord = serde_json::from_str(&text).unwrap();
                assert_eq!(read, *record, "a record survives JSON");
                let verified = verify(&read);
                assert!(verified.is_ok(), "{verified:?} {}", record.sentence);
                self.records.push(*record);
            }
            Effect::Notify(event) => self.events.push(event),
            Effect::Alert(event) => self.alerts.push(event),
            Effect::RunGate(run) => self.gates.push_back(run),
            Effect::Archive(_) | Effect::Latch(_) | Effect::Unlatch(_) => {}
        }
    }

    /// Lets time go by with so many requests, and has a look.
    pub fn tick(&mut self, time: Millis, requests: u64) {
        self.traffic(requests);
        self.now = self.now.plus(time);
        let counts = self.counts.clone();
        self.handle(Input::Observed(counts)).unwrap();
    }

    pub fn ticks(&mut self, times: usize, time: Millis, requests: u64) {
        for _ in 0..times {
            if self.phase().is_terminal() {
                return;
            }
            self.tick(time, requests);
        }
    }

    /// Ticks until the rollout ends or waits for somebody.
    pub fn until_settled(&mut self, most: usize) {
        for _ in 0..most {
            if self.phase().is_terminal() || matches!(self.phase(), Phase::Paused(_)) {
                return;
            }
            self.tick(Millis::seconds(1), 100);
        }
    }

    fn traffic(&mut self, requests: u64) {
        let Some(live) = self.live.clone() else { return };
        let nature = self.nature.clone();
        let trial = self.counts.trials.iter_mut().find(|trial| trial.trial == live.trial).unwrap();
        let share = (f64::from(live.weight_bp) / 10_000.0 * nature.skew).min(1.0);
        let mut nanos: Arms<Vec<(u64, u64)>> = Arms::default();
        for _ in 0..requests {
            let candidate = self.rng.chance(share);
            let segment = self.rng.below(nature.segments);
            let harmed = candidate && nature.only_segment.is_none_or(|only| only == segment);
            let failed = self.rng.chance(pick(&nature.errors, harmed));
            let slow = self.rng.chance(*pick_ref(&nature.slow, candidate));
            let jitter = 0.7 + 0.6 * self.rng.unit();
            let ms = pick(&nature.latency_ms, candidate) * jitter * if slow { 10.0 } else { 1.0 };
            let arm = if candidate { &mut trial.arms.candidate } else { &mut trial.arms.stable };
            arm.assigned += 1;
            arm.requests += 1;
            arm.errors += u64::from(failed);
            let bucket = if candidate { &mut nanos.candidate } else { &mut nanos.stable };
            bucket.push((edge((ms * 1e6) as u64), 1));
            if nature.segments > 0 {
                let name = format!("region={segment}");
                let found = trial.segments.iter().position(|s| s.name == name).unwrap_or_else(|| {
                    trial.segments.push(SegmentCounts { name, ..SegmentCounts::default() });
                    trial.segments.len() - 1
                });
                let counts = &mut trial.segments[found];
                let (requests, errors) = if candidate {
                    (&mut counts.requests.candidate, &mut counts.errors.candidate)
                } else {
                    (&mut counts.requests.stable, &mut counts.errors.stable)
                };
                *requests += 1;
                *errors += u64::from(failed);
            }
            if let Some(mirror) = &live.mirror
                && self.rng.chance(mirror.sample.fraction())
            {
                let candidate = self.rng.chance(1.0 - mirror.noise_control);
                let side = if candidate { &mut trial.pairs.candidate } else { &mut trial.pairs.stable };
                side.sampled += 1;
                if !self.rng.chance(pick(&nature.lost, candidate)) {
                    side.compared += 1;
                    side.diverged += u64::from(self.rng.chance(pick(&nature.diverge, candidate)));
                }
            }
        }
        for (arm, nanos) in
            [(&mut trial.arms.stable, nanos.stable), (&mut trial.arms.candidate, nanos.candidate)]
        {
            arm.durations.entry(Signal::Latency).or_default().merge(&Durations::new(nanos));
        }
    }

    /// The process dies and comes back with what lasts.
    pub fn crash(&mut self) {
        self.state = serde_json::from_str(&self.disk).unwrap();
        self.counts = Counts { epoch: self.counts.epoch + 1, trials: Vec::new() };
        self.live = None;
        self.gates.clear();
        self.handle(Input::Restarted).unwrap();
    }

    pub fn kinds(&self) -> Vec<EventKind> {
        self.events.iter().map(|event| event.kind).collect()
    }

    pub fn last_sentence(&self) -> &str {
        &self.records.last().unwrap().sentence
    }

    /// The candidate's live weight now.
    pub fn candidate_weight(&self) -> Weight {
        let live = self.live.as_ref().unwrap();
        live.versions.iter().find(|v| v.version == self.rollout().candidate.name).unwrap().weight
    }
}

fn pick(of: &Arms<f64>, candidate: bool) -> f64 {
    *pick_ref(of, candidate)
}

fn pick_ref(of: &Arms<f64>, candidate: bool) -> &f64 {
    if candidate { &of.candidate } else { &of.stable }
}

/// Upper edge of the histogram's bucket.
fn edge(nanos: u64) -> u64 {
    let width = 10_u64.pow(nanos.max(1_001).ilog10() - 1);
    nanos.div_ceil(width) * width
}

/// What must hold of every table that goes live.
pub fn check_live(live: &Live, state: &ModelState) {
    let sum: u32 = live.versions.iter().map(|version| u32::from(version.weight.basis_points())).sum();
    assert_eq!(sum, 10_000, "weights sum to 100 %: {live:?}");
    let stable: Vec<_> = live.versions.iter().filter(|version| version.role == Role::Stable).collect();
    assert_eq!(stable.len(), 1, "one version is stable: {live:?}");
    let names: Vec<_> = live.versions.iter().map(|version| &version.version).collect();
    assert_ne!(names.first(), names.get(1));
    for version in &live.versions {
        let zero = version.weight == Weight::ZERO;
        match version.role {
            Role::Retired | Role::Shadow => assert!(zero, "{live:?}"),
            Role::Canary => assert!(!zero, "{live:?}"),
            Role::Stable | Role::Standby => {}
        }
    }
    if let Some(mirror) = &live.mirror {
        assert!(live.versions.iter().any(|v| v.version == mirror.to && v.role == Role::Shadow), "{live:?}");
    }
    let Some(rollout) = &state.rollout else { return };
    let over = rollout.phase.is_terminal() || matches!(rollout.phase, Phase::RollingBack(_));
    assert_eq!(rollout.traffic == Traffic::Copies && !over, live.mirror.is_some());
    for latch in state.latches.values() {
        for version in live.versions.iter().filter(|version| version.version == latch.version) {
            assert_eq!(version.weight, Weight::ZERO, "a latched candidate gets traffic: {live:?}");
            assert!(live.mirror.as_ref().is_none_or(|mirror| mirror.to != version.version));
        }
    }
}
