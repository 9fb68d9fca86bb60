//! One model's rollouts, as the decider drives them: the machine's state, what counts for it, and
//! what is still to be done.

mod coming_back;
mod placing;
mod start;
mod telling;
mod writing;

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::Value;

use super::call::{Call, CallError, Done, Reply};
use super::candidate::Digests;
use super::clock::{self, Lead};
use super::counts::Gauge;
use super::live::Shared;
use super::ranks::Ranks;
use super::rows;
use super::spec::RolloutSpec;
use super::tools::{self, Tools};
use super::view::ModelView;
use crate::base::{ModelName, Role, VersionName, Weight};
use crate::control::board::declared_weights;
use crate::rollout::counts::Counts;
use crate::rollout::effect::Effect;
use crate::rollout::machine::{Command, GateAnswer, Input, What};
use crate::rollout::state::ModelState;
use crate::rollout::time::Timestamp;
use crate::rollout::version::{Actor, VersionRef};
use crate::routing::spec::{ModelSpec, VersionSpec};
use crate::store::Write;

/// Trials that are still looked at: late answers of older ones are lost.
const TRIALS: usize = 4;

/// One model.
pub(super) struct Model {
    state: ModelState,
    spec: Option<RolloutSpec>,
    /// The versions that the state speaks of, as they are served.
    versions: BTreeMap<VersionName, VersionSpec>,
    /// Weights that an operator has set since the last rollout.
    weights: Option<Vec<(VersionName, Weight)>>,
    /// What the configuration said when they were set.
    over: Option<Vec<(VersionName, Weight)>>,
    /// How far the state's time is ahead of this process's.
    lead: Lead,
    /// What both clocks said when the state was last to be kept: the system's, and ours.
    kept_at: (Timestamp, Timestamp),
    /// What is still to be done about how it was found.
    found: Option<coming_back::Trouble>,
    /// Whether something could not be put in place because the configuration does not have it.
    is_behind: bool,
    shared: Option<Shared>,
    /// Set once the rollout is over, for those who still load something for it.
    is_over: Arc<AtomicBool>,
    gauges: Vec<Gauge>,
    ranks: Ranks,
    /// Number of the trial whose table is in place.
    live: u32,
    /// The stable version of the table that was put in place; none before the first.
    placed: Option<VersionName>,
    /// When the look began that is being worked on.
    looked: Option<Instant>,
    todo: VecDeque<Todo>,
    /// Starts that wait until what was decided before them is written: no more than the admin API has
    /// threads, for each waits on one.
    held: VecDeque<Held>,
    /// Answers that go out once the view shows what they say.
    answers: Vec<(Reply, Done)>,
    /// The effects that the ledger has been asked to keep, as long as it has not answered.
    writing: Option<Vec<&'static str>>,
    /// Whether the last that was to be kept could be.
    written: bool,
    view: Option<(bool, Arc<ModelView>)>,
    changed: bool,
    /// The digest of the latest candidate that was told to be refused, and when.
    refused: Option<(String, Timestamp)>,
}

/// What was found of a model that was kept, beside its state.
#[derive(Default)]
pub(super) struct Found {
    pub(super) versions: BTreeMap<VersionName, VersionSpec>,
    pub(super) weights: Option<Vec<(VersionName, Weight)>>,
    pub(super) lead: Lead,
    /// Whether a version is not to be had any more.
    pub(super) is_lost: bool,
    /// Whether that is the stable one, and another one has taken its place.
    pub(super) is_replaced: bool,
}

/// Writes that are made together, and the effects that they come of.
#[derive(Default)]
struct Batch {
    writes: Vec<Write>,
    of: Vec<&'static str>,
}

/// What is still to be done, in order.
enum Todo {
    /// To be kept, all or nothing, before what follows.
    Write(Batch),
    /// An effect other than writing and telling.
    Effect(Effect),
    /// Something to be told, once what is before it is kept.
    Tell(Box<telling::Telling>),
    /// An answer to whoever asked.
    Answer(Reply, Option<Box<Before>>),
}

/// A call that waits, with the hash of the configuration that it came under.
struct Held {
    call: Call,
    digests: Digests,
    reply: Reply,
    config_hash: String,
}

/// What a call that cannot be written leaves as it was.
struct Before {
    state: ModelState,
    versions: BTreeMap<VersionName, VersionSpec>,
    weights: Option<Vec<(VersionName, Weight)>>,
    shared: Option<Shared>,
}

impl Model {
    /// A model that has had no rollout; none if it has no stable version, which is read when the first
    /// one begins.
    pub(super) fn new(declared: &ModelSpec, spec: Option<RolloutSpec>) -> Option<Self> {
        let stable = declared.versions.iter().find(|version| version.role == Role::Stable)?;
        let stable = VersionRef { name: stable.name.clone(), digest: String::new(), origin: Value::Null };
        Some(Self::with(ModelState::new(declared.name.clone(), stable), spec, Found::default()))
    }

    /// A model in this state.
    pub(super) fn with(state: ModelState, spec: Option<RolloutSpec>, found: Found) -> Self {
        let Found { versions, weights, lead, is_lost, is_replaced } = found;
        let seed = xxhash_rust::xxh3::xxh3_64(state.model.as_str().as_bytes());
        Self {
            state,
            spec,
            versions,
            // Those that were kept lie over what the configuration says now.
            over: None,
            weights,
            lead,
            kept_at: (clock::wall(), lead.time(clock::now())),
            found: coming_back::Trouble::of(is_lost, is_replaced),
            is_behind: false,
            shared: None,
            is_over: Arc::default(),
            gauges: Vec::new(),
            ranks: Ranks::new(seed),
            live: 0,
            placed: None,
            looked: None,
            todo: VecDeque::new(),
            held: VecDeque::new(),
            answers: Vec::new(),
            writing: None,
            written: true,
            view: None,
            changed: true,
            refused: None,
        }
    }

    pub(super) fn name(&self) -> &ModelName {
        &self.state.model
    }

    /// Whether a rollout is under way.
    pub(super) fn is_under_way(&self) -> bool {
        self.state.running().is_some()
    }

    /// Whether it has had no rollout.
    pub(super) fn is_first(&self) -> bool {
        self.state.rollout.is_none()
    }

    /// Looks at what was counted. Says whether anything happened but counting.
    pub(super) fn look(&mut self, now: Timestamp, tools: &Tools) -> bool {
        let Some(rollout) = self.state.running() else { return false };
        let now = self.lead.time(now);
        self.looked = Some(Instant::now());
        let edges = rollout.reducer.slow_edges(&rollout.policy.analysis);
        let ranks = &mut self.ranks;
        let trials = self.gauges.iter_mut().map(|gauge| gauge.look(edges, ranks)).collect();
        let counts = Counts { epoch: tools.epoch, trials };
        let happened = self.input(Input::Observed(counts), now, tools);
        self.looked = None;
        self.keep_if_set(now, tools);
        happened
    }

    /// A gate has answered.
    pub(super) fn answered(&mut self, answer: GateAnswer, now: Timestamp, tools: &Tools) {
        self.input(Input::Gate(answer), self.lead.time(now), tools);
    }

    /// Hands something to the machine that it never refuses. Says whether anything came of it.
    fn input(&mut self, input: Input, now: Timestamp, tools: &Tools) -> bool {
        match self.state.handle(input, now) {
            Ok(effects) => {
                let happened = !effects.is_empty();
                self.push(effects, now, tools);
                happened
            }
            Err(refusal) => {
                tracing::error!(model = %self.name(), %refusal, "the state machine refused what it never should");
                false
            }
        }
    }

    /// Does what somebody asks for, and answers once it is durable.
    ///
    /// What cannot be written of a start is undone, and of nothing else: so a start waits until all that
    /// was decided before it is written, or waits for the store to be well again.
    pub(super) fn call(
        &mut self,
        call: Call,
        digests: Digests,
        reply: Reply,
        config_hash: &str,
        now: Timestamp,
        tools: &Tools,
    ) {
        let is_start = matches!(call, Call::Start(_) | Call::Command { what: What::Retry { .. }, .. });
        if is_start && !self.is_written_down() {
            let config_hash = config_hash.to_owned();
            self.held.push_back(Held { call, digests, reply, config_hash });
            return;
        }
        let now = self.lead.time(now);
        let before = Box::new(Before {
            state: self.state.clone(),
            versions: self.versions.clone(),
            weights: self.weights.clone(),
            shared: self.shared.clone(),
        });
        let done = match call {
            Call::Start(start) => self.start(*start, &digests, config_hash, now, tools),
            Call::Command { id, what, by, .. } => {
                self.command(id.as_deref(), Command { what, by }, now, tools)
            }
            Call::Weights { weights, by, .. } => self.set_weights(weights, &by, now, tools),
        };
        match done {
            Ok((effects, undo)) => {
                self.take_on(effects, now, tools);
                self.todo.push_back(Todo::Answer(reply, undo.then_some(before)));
                self.pump(tools);
            }
            Err(error) => {
                if let CallError::Refused(refusal) = &error {
                    self.tell_refused(refusal, now, tools);
                }
                let _ = reply.try_send(Err(error));
            }
        }
    }

    fn command(
        &mut self,
        id: Option<&str>,
        command: Command,
        now: Timestamp,
        tools: &Tools,
    ) -> Result<(Vec<Effect>, bool), CallError> {
        let current = self.state.rollout.as_ref().map(|rollout| rollout.id.clone());
        if let Some(id) = id
            && current.as_deref() != Some(id)
        {
            let current = current.as_deref().unwrap_or("none");
            return Err(CallError::Conflict(format!(
                "rollout {id} is over; the latest of this model is {current}"
            )));
        }
        if matches!(command.what, What::Retry { .. }) {
            start::can_begin(tools)?;
        }
        let effects = self.state.handle(Input::Command(command), now)?;
        let is_new = self.began_again(current.as_deref(), tools);
        Ok((effects, is_new))
    }

    fn set_weights(
        &mut self,
        weights: Vec<(VersionName, Weight)>,
        by: &Actor,
        now: Timestamp,
        tools: &Tools,
    ) -> Result<(Vec<Effect>, bool), CallError> {
        if let Some(running) = self.state.running() {
            return Err(CallError::Conflict(format!(
                "rollout {} of this model is under way and has its weights: abort it first",
                running.id
            )));
        }
        let name = self.name().clone();
        tools
            .board
            .set_weights(name.as_str(), weights.clone())
            .map_err(|e| CallError::Invalid(e.to_string()))?;
        tracing::info!(model = %name, ?weights, by = %by.name, "weights set");
        if self.state.rollout.is_some() || tools.ledger.is_durable() {
            self.weights = Some(weights);
            self.over = tools.board.declared(name.as_str()).map(|declared| declared_weights(&declared));
            let batch = Batch { writes: vec![self.kept(now)], of: vec![Effect::Persist.kind()] };
            self.todo.push_back(Todo::Write(batch));
        }
        Ok((Vec::new(), false))
    }

    /// Takes on effects, and does what can be done of them.
    fn push(&mut self, effects: Vec<Effect>, now: Timestamp, tools: &Tools) {
        self.take_on(effects, now, tools);
        self.pump(tools);
    }

    /// Takes on effects. A way back begins with its table, which is put in place before anything else.
    fn take_on(&mut self, effects: Vec<Effect>, now: Timestamp, tools: &Tools) {
        self.changed |= !effects.is_empty();
        let mut effects = effects.into_iter().peekable();
        while let Some(Effect::SetLive(live)) = effects.next_if(|e| matches!(e, Effect::SetLive(_))) {
            self.apply(&live, tools);
        }
        let mut batch = Batch::default();
        for effect in effects {
            let kind = effect.kind();
            let before = batch.writes.len();
            match effect {
                Effect::Persist => {
                    batch.writes.push(self.kept(now));
                    batch.writes.extend(self.row(now));
                }
                Effect::Archive(rollout) => batch.writes.extend(rows::row(&self.state, &rollout, now)),
                Effect::Decide(record) => {
                    tools.pace.made(record.action);
                    tracing::info!(model = %record.model, rollout = %record.rollout, action = record.action.as_str(), "{}", record.sentence);
                    batch.writes.extend(rows::decision(&record));
                }
                Effect::Latch(latch) => batch.writes.push(rows::latch(self.name(), &latch)),
                Effect::Unlatch(digest) => {
                    batch.writes.push(Write::Unlatch { model: self.name().to_string(), digest });
                }
                Effect::Notify(event) => self.announce(event, false, &mut batch, tools),
                Effect::Alert(event) => self.announce(event, true, &mut batch, tools),
                other => {
                    self.flush(&mut batch);
                    self.todo.push_back(Todo::Effect(other));
                }
            }
            if batch.writes.len() > before {
                batch.of.push(kind);
            }
        }
        self.flush(&mut batch);
    }

    fn flush(&mut self, batch: &mut Batch) {
        if !batch.writes.is_empty() {
            self.todo.push_back(Todo::Write(std::mem::take(batch)));
        }
    }

    /// Sends what waited for the views to be published.
    pub(super) fn answer(&mut self) {
        for (reply, done) in self.answers.drain(..) {
            let _ = reply.try_send(Ok(done));
        }
    }

    fn reply(&mut self, reply: Reply, tools: &Tools) {
        let view = self.view(tools::now(), tools);
        let rollout = view.and_then(|view| view.rollout.clone());
        let durable = tools.refused.is_none() && tools.ledger.is_well() && tools.ledger.is_durable();
        self.answers.push((reply, Done { rollout, durable }));
    }

    /// The write that keeps the state.
    fn kept(&mut self, now: Timestamp) -> Write {
        let wall = clock::wall();
        self.kept_at = (wall, now);
        rows::kept(&self.state, self.weights.as_deref(), self.over.as_deref(), now, wall)
    }

    /// The write that keeps the rollout for people.
    fn row(&self, now: Timestamp) -> Option<Write> {
        self.state.rollout.as_ref().and_then(|rollout| rows::row(&self.state, rollout, now))
    }

    /// How the model stands; none before its first rollout. Made anew when something happened, or
    /// while a rollout is under way.
    pub(super) fn view(&mut self, now: Timestamp, tools: &Tools) -> Option<Arc<ModelView>> {
        self.state.rollout.as_ref()?;
        // What is shown can also be looked up: an end is not seen before its record is there.
        if let Some((_, view)) = self.view.as_ref().filter(|_| self.writing.is_some()) {
            return Some(Arc::clone(view));
        }
        let now = self.lead.time(now);
        let under_way = self.is_under_way();
        if let Some((_, view)) = self.view.as_ref().filter(|(last, _)| !self.changed && !under_way && !last) {
            return Some(Arc::clone(view));
        }
        let differences = rows::differences(&self.state, tools.board.declared(self.name().as_str()).as_ref());
        let view = Arc::new(ModelView::of(&self.state, now, differences));
        self.changed = false;
        self.view = Some((under_way, Arc::clone(&view)));
        Some(view)
    }
}
