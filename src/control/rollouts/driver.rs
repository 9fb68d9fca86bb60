//! The deciding thread: messages and ticks in, effects out.
//!
//! Every tick the counters of each rollout under way go to the machine. What it asks for is carried
//! out in order: a table is put in place at once; what is to be kept goes to the ledger, and what
//! comes after it waits for the ledger's word. Only a way back overtakes: it begins with its table,
//! and a table that is older than the one in place is never put.

use std::collections::BTreeMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::{oneshot, watch};

use super::call::{Call, CallError, Reply};
use super::candidate::{self, Digests};
use super::handle::{Rollouts, StoreState};
use super::ledger::Ledger;
use super::message::Message;
use super::model::Model;
use super::pace::Pace;
use super::recover;
use super::rows::Kept;
use super::setup::{Setup, StartError};
use super::spec::RolloutSpec;
use super::tell::{Apart, Teller};
use super::tools::{Tools, now};
use super::view::Views;
use crate::base::{ModelName, Role};
use crate::notify::EventKind;
use crate::routing::spec::VersionSpec;

/// Between two looks at the clock while nothing is under way.
const IDLE: Duration = Duration::from_secs(1);
/// Between two views of a rollout about which nothing happens but counting.
const VIEW: Duration = Duration::from_millis(250);

/// The running thread. It ends when this is dropped.
pub struct Deciding {
    messages: Sender<Message>,
    /// Closed when the thread has ended, in whatever way.
    ended: oneshot::Receiver<()>,
    thread: Option<JoinHandle<()>>,
}

impl Deciding {
    /// Waits for the end of the thread, which comes before this is dropped only where it or the
    /// ledger's has panicked. Nothing is decided after it.
    ///
    /// # Cancel safety
    /// Safe; not to be called again once it has returned.
    pub async fn ended(&mut self) {
        let _ = (&mut self.ended).await;
    }
}

impl Drop for Deciding {
    fn drop(&mut self) {
        let _ = self.messages.send(Message::Stop);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Reads what was kept, puts it in place, and starts deciding. To be called before anything is
/// served, so that no request is answered by a table that was left behind.
///
/// A store that can't be opened is no error: what is decided is then kept in memory, the alarm is
/// up, and no rollout is started.
///
/// # Errors
/// [`StartError`].
pub fn start(setup: Setup) -> Result<(Rollouts, Deciding), StartError> {
    let opened = recover::open(setup.store.as_deref())?;
    let reader = opened.store.reader()?;
    let teller = Teller::start(setup.receivers, &opened.store, &setup.instance)?;
    let told = teller.stats();
    let health = StoreState { health: opened.store.health(), lost: 0, refused: opened.refused.clone() };
    let health = Arc::new(ArcSwap::from_pointee(health));
    let pace = Arc::<Pace>::default();
    let (messages, received) = channel();
    let (changed, changes) = watch::channel(0);
    let views = Arc::new(ArcSwap::from_pointee(Views::new()));
    let board = Arc::clone(&setup.board);
    let tools = Tools {
        board: setup.board,
        ledger: Ledger::start(opened.store)?,
        teller,
        remake: setup.remake,
        forget_pairs: setup.forget_pairs,
        pace: Arc::clone(&pace),
        messages: messages.clone(),
        refused: opened.refused,
        epoch: now().0,
    };
    let mut decider = Decider {
        models: BTreeMap::new(),
        aside: BTreeMap::new(),
        specs: setup.specs,
        config_hash: setup.config_hash,
        tools,
        views: Arc::clone(&views),
        changed,
        health: Arc::clone(&health),
        viewed: Instant::now(),
        tick: setup.tick,
        degraded: false,
    };
    // Tables first, before a single request is served.
    for kept in opened.recovered {
        decider.aside.insert(kept.state.model.clone(), kept);
    }
    let kept = decider.aside.values().flat_map(|kept| recover::to_read(kept, &decider.tools));
    let digests = Digests::of(kept);
    decider.take_up(&digests, false);
    decider.aside.values().for_each(|kept| recover::hold(kept, &decider.tools));
    let digests = Digests::of(decider.to_read());
    decider.start_declared(&digests);
    decider.publish();
    let (alive, ended) = oneshot::channel();
    let thread = std::thread::Builder::new().name("decide".to_owned()).spawn(move || {
        let _alive: oneshot::Sender<()> = alive;
        decider.run(&received);
    })?;
    let deciding = Deciding { messages: messages.clone(), ended, thread: Some(thread) };
    Ok((
        Rollouts { messages, views, changes, reader: Mutex::new(reader), health, pace, told, board },
        deciding,
    ))
}

struct Decider {
    models: BTreeMap<ModelName, Model>,
    /// What the store holds of models that the configuration does not have.
    aside: BTreeMap<ModelName, Kept>,
    specs: Vec<RolloutSpec>,
    config_hash: String,
    tools: Tools,
    views: Arc<ArcSwap<Views>>,
    changed: watch::Sender<u64>,
    health: Arc<ArcSwap<StoreState>>,
    viewed: Instant,
    tick: Duration,
    /// Whether it was told that the store cannot be written.
    degraded: bool,
}

impl Decider {
    fn run(mut self, messages: &Receiver<Message>) {
        let mut next = Instant::now();
        let mut before = 0;
        loop {
            if self.tools.ledger.has_ended() {
                tracing::error!("the thread that writes decisions down has ended; this is a bug");
                return;
            }
            let busy = self.models.values().filter(|model| model.is_under_way()).count();
            if busy < before {
                // What the configuration has named in the meantime had to wait for this end.
                self.read_declared();
            }
            before = busy;
            let pause = if busy > 0 { self.tick } else { IDLE };
            match messages.recv_timeout(next.saturating_duration_since(Instant::now())) {
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(message) => {
                    self.handle(message);
                    self.publish();
                    // What was idle may have begun: its first look is not a second away.
                    next = next.min(Instant::now() + self.tick);
                }
                Err(RecvTimeoutError::Timeout) => {
                    // A look that took too long is not made up for by several at once.
                    next = Instant::now() + pause;
                    let happened = self.each(|model, tools| model.look(now(), tools));
                    if happened || self.viewed.elapsed() >= VIEW {
                        self.publish();
                    }
                }
            }
        }
    }

    /// Does something with every model; says whether anything happened but counting.
    fn each(&mut self, mut act: impl FnMut(&mut Model, &Tools) -> bool) -> bool {
        let mut happened = false;
        for model in self.models.values_mut() {
            happened |= act(model, &self.tools);
        }
        happened
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Stop => {}
            Message::Call(call, digests, reply) => self.call(call, digests, reply),
            Message::Wanted(digests) => self.go_on(&digests),
            Message::Gate(name, answer) => {
                if let Some(model) = self.models.get_mut(&name) {
                    model.answered(answer, now(), &self.tools);
                }
            }
            Message::Committed(name, outcome) => {
                if let Some(model) = self.models.get_mut(&name) {
                    model.committed(outcome, &self.tools);
                }
            }
            Message::Declared(specs, config_hash, receivers) => {
                if let Some(receivers) = receivers {
                    self.tools.teller.replace(receivers);
                }
                self.specs = specs;
                self.config_hash = config_hash;
                for model in self.models.values_mut() {
                    let spec = self.specs.iter().find(|spec| spec.model == *model.name());
                    model.declared(spec.cloned(), now(), &self.tools);
                }
                self.read_declared();
            }
        }
    }

    fn call(&mut self, call: Call, digests: Digests, reply: Reply) {
        let name = match &call {
            Call::Start(start) => &start.model,
            Call::Command { model, .. } | Call::Weights { model, .. } => model,
        };
        let name = name.clone();
        let Some(model) = self.model(&name) else {
            let error = match self.is_coming_back(&name) {
                true => CallError::Conflict(format!(
                    "model {name} has come back, and its files are still being read: try again"
                )),
                false => CallError::NotFound(format!("there is no model {name:?}")),
            };
            let _ = reply.try_send(Err(error));
            return;
        };
        let (config_hash, tools) = (self.config_hash.clone(), &self.tools);
        if let Some(model) = self.models.get_mut(&model) {
            model.call(call, digests, reply, &config_hash, now(), tools);
        }
    }

    /// Takes up what was left of models that the configuration has, where all that is to be read for it
    /// is read. The rest stays aside, with all traffic where it is safe.
    fn take_up(&mut self, digests: &Digests, is_serving: bool) {
        let tools = &self.tools;
        let mut taken = Vec::new();
        for (name, kept) in &self.aside {
            if tools.board.declared(name.as_str()).is_none()
                || !recover::to_read(kept, tools).iter().all(|version| digests.has(version))
            {
                continue;
            }
            // None where the configuration has lost it again by now.
            if let Some(model) = recover::model(kept, digests, is_serving, &self.specs, tools) {
                taken.push((name.clone(), model));
            }
        }
        for (name, mut model) in taken {
            self.aside.remove(&name);
            model.restarted(now(), &self.tools);
            self.models.insert(name, model);
        }
    }

    /// Whether what was left of a model that the configuration has is still to be taken up.
    fn is_coming_back(&self, name: &str) -> bool {
        let is_aside = self.aside.keys().any(|known| known.as_str() == name);
        is_aside && self.tools.board.declared(name).is_some()
    }

    /// The model of this name, with what is known of it; made where it has had no rollout.
    fn model(&mut self, name: &str) -> Option<ModelName> {
        self.take_up(&Digests::default(), true);
        if self.is_coming_back(name) {
            return None;
        }
        if let Some((name, _)) = self.models.iter().find(|(known, _)| known.as_str() == name) {
            return Some(name.clone());
        }
        let declared = self.tools.board.declared(name)?;
        let spec = self.specs.iter().find(|spec| spec.model == declared.name).cloned();
        let model = Model::new(&declared, spec)?;
        self.models.insert(declared.name.clone(), model);
        Some(declared.name)
    }

    /// What the configuration asks for by naming a candidate.
    fn wanted(&self) -> impl Iterator<Item = &RolloutSpec> {
        self.specs.iter().filter(|spec| spec.policy.auto_start && spec.candidate.is_some())
    }

    /// The versions whose digests must be known before the configuration can be followed: of what it
    /// asks for, of models whose stable version is in doubt, and of those that come back.
    fn to_read(&self) -> Vec<VersionSpec> {
        let mut versions: Vec<_> = self.wanted().flat_map(|spec| self.candidates(spec)).collect();
        versions.extend(self.models.values().flat_map(|model| model.to_read(&self.tools)));
        versions.extend(self.aside.values().flat_map(|kept| recover::to_read(kept, &self.tools)));
        versions
    }

    /// The versions that are to be read before what a configuration asks for can start.
    fn candidates(&self, spec: &RolloutSpec) -> Vec<VersionSpec> {
        let Some(declared) = self.tools.board.declared(spec.model.as_str()) else { return Vec::new() };
        let is_first = self.models.get(&spec.model).is_none_or(Model::is_first);
        let is_read = |version: &VersionSpec| {
            Some(&version.name) == spec.candidate.as_ref() || is_first && version.role == Role::Stable
        };
        declared.versions.into_iter().filter(is_read).collect()
    }

    /// Follows the configuration: at once where nothing is to be read for it, and otherwise when a thread
    /// of its own has read it and says so.
    fn read_declared(&mut self) {
        let versions = self.to_read();
        self.go_on(&Digests::default());
        if !versions.iter().any(candidate::is_file) {
            return;
        }
        let messages = self.tools.messages.clone();
        let read = move || _ = messages.send(Message::Wanted(Digests::of(versions)));
        if let Err(error) = std::thread::Builder::new().name("digest".to_owned()).spawn(read) {
            tracing::error!(%error, "no thread to read model files: what needs them stays as it is");
        }
    }

    /// Does what the configuration asks for, as far as these digests tell. Where others are needed
    /// they are being read, or it has changed since and is about to be heard of.
    fn go_on(&mut self, digests: &Digests) {
        for model in self.models.values_mut() {
            model.reconsider(digests, now(), &self.tools);
        }
        self.take_up(digests, true);
        self.start_declared(digests);
    }

    /// Starts what the configuration asks for by naming a candidate.
    fn start_declared(&mut self, digests: &Digests) {
        let is_read = |spec: &&RolloutSpec| self.candidates(spec).iter().all(|version| digests.has(version));
        let wanted: Vec<ModelName> = self.wanted().filter(is_read).map(|spec| spec.model.clone()).collect();
        for model in wanted {
            let Some(name) = self.model(model.as_str()) else { continue };
            let (config_hash, tools) = (self.config_hash.clone(), &self.tools);
            if let Some(model) = self.models.get_mut(&name) {
                model.start_declared(digests, &config_hash, now(), tools);
            }
        }
    }

    fn publish(&mut self) {
        let mut views = Views::new();
        for (name, model) in &mut self.models {
            if let Some(view) = model.view(now(), &self.tools) {
                views.insert(name.to_string(), view);
            }
        }
        self.views.store(Arc::new(views));
        self.viewed = Instant::now();
        let ledger = &self.tools.ledger;
        let state =
            StoreState { health: ledger.health(), lost: ledger.lost(), refused: self.tools.refused.clone() };
        self.tell_store(&state);
        self.health.store(Arc::new(state));
        self.changed.send_modify(|number| *number += 1);
        self.models.values_mut().for_each(Model::answer);
    }

    /// Says once that the store cannot be written, and once that it is written again.
    fn tell_store(&mut self, state: &StoreState) {
        let last = state.health.last_error.as_ref().map(ToString::to_string);
        let wrong = state.refused.clone().or(last);
        if wrong.is_some() == self.degraded {
            return;
        }
        self.degraded = wrong.is_some();
        let (kind, sentence) = match wrong {
            Some(wrong) => (
                EventKind::StoreDegraded,
                format!("STORE: {wrong}; what is decided is kept in memory only, and no rollout is started"),
            ),
            None => {
                let lost = match state.lost {
                    0 => "nothing was lost".to_owned(),
                    lost => format!("{lost} entries were lost"),
                };
                (EventKind::StoreRestored, format!("STORE: it is written again; {lost}"))
            }
        };
        self.tools.teller.tell_apart(Apart { kind, at: now(), about: None, sentence });
    }
}
