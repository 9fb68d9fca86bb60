//! The state machine of a model's rollouts: `(state, input, now) → (state, effects)`.
//!
//! ```text
//! Start ─► Pending ─► Running ⇄ Paused ─► … ─► Baking ─► Succeeded
//!             │         │  ▲ Confirming           │
//!             │         ▼                         ▼
//!             └──────► RollingBack ─► RolledBack (latched)        Aborted, Superseded: by hand
//! ```
//!
//! An input that is refused changes nothing. What is accepted changes the state and gives effects,
//! to be carried out in their order. `Persist`, `Archive`, `Decide` and `Latch` that follow each
//! other may be written in one transaction. After a restart the driver reads the state back and
//! hands in [`Input::Restarted`].

mod commands;
mod gates;
mod report;
mod stand_in;
mod start;
mod steps;
mod watch;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::counts::{Counts, Durations};
use super::effect::{Effect, EventKind};
use super::policy::{Policy, PolicyError, Signal};
use super::state::{MAX_KEYS, ModelState, Phase, Rollout};
use super::time::Timestamp;
use super::version::{Actor, VersionRef};
use crate::base::VersionName;

/// What the machine is told.
#[derive(Debug, Clone, PartialEq)]
pub enum Input {
    /// Begin a rollout.
    Start(Box<Start>),
    /// What was counted, and the time.
    Observed(Counts),
    /// The time alone.
    Tick,
    /// A gate has answered.
    Gate(GateAnswer),
    /// Somebody wants something.
    Command(Command),
    /// The process began anew with this state.
    Restarted,
}

/// A rollout to begin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Start {
    /// An identifier that no other rollout has.
    pub id: String,
    /// The version to move to.
    pub candidate: VersionRef,
    /// What is asked for.
    pub policy: Policy,
    /// Hash of the configuration that the policy comes from.
    pub config_hash: String,
    /// How long the stable version's requests took lately, if that is known.
    #[serde(default)]
    pub baseline: BTreeMap<Signal, Durations>,
    /// Whether to take the place of a rollout that runs.
    #[serde(default)]
    pub supersede: bool,
    /// Who asks.
    pub by: Actor,
}

/// The answer of a gate.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct GateAnswer {
    /// The run that was asked for.
    pub run: u32,
    /// Yes or no.
    pub passed: bool,
    /// What it said, in one line.
    pub detail: String,
}

/// Something that somebody wants.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Command {
    /// What.
    pub what: What,
    /// Who.
    pub by: Actor,
}

/// What can be wanted of a rollout.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub enum What {
    /// Go to the next step, or, in the bake, end it well. `full`: past all steps that are left, to
    /// the bake. Skips a confirmation that is waited for, never golden examples or loading.
    Promote {
        /// Past all steps that are left.
        full: bool,
    },
    /// Let nothing move. Checks go on.
    Pause,
    /// Go on.
    Resume,
    /// Back to the stable version, without a latch.
    Abort,
    /// Take the latch off a digest.
    Clear {
        /// The digest.
        digest: String,
    },
    /// Begin the last rollout again, which did not succeed.
    Retry {
        /// Identifier of the new one.
        id: String,
    },
}

impl What {
    /// The command's word.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::Promote { .. } => "promote",
            Self::Pause => "pause",
            Self::Resume => "resume",
            Self::Abort => "abort",
            Self::Clear { .. } => "clear",
            Self::Retry { .. } => "retry",
        }
    }
}

/// Why an input is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Another rollout runs.
    #[error(
        "rollout {running} of this model is still running ({phase}): wait, abort it, or start with supersede"
    )]
    Conflict {
        /// Its identifier.
        running: String,
        /// Its phase.
        phase: &'static str,
    },
    /// The candidate was rolled back before.
    #[error("{version} (digest {digest}) was rolled back: {reason}; clear it to try again")]
    Latched {
        /// The candidate's name then.
        version: VersionName,
        /// Its digest.
        digest: String,
        /// Why it was rolled back.
        reason: String,
    },
    /// The candidate is the stable version.
    #[error("{version} is the stable version already, or has its digest")]
    SameVersion {
        /// The name.
        version: VersionName,
    },
    /// The identifier is in use.
    #[error("there is a rollout {id} already")]
    SameId {
        /// The identifier.
        id: String,
    },
    /// The policy can't be used.
    #[error("the policy can't be used: {}", first(.0))]
    Policy(Vec<PolicyError>),
    /// There is nothing that the command could be about.
    #[error("no rollout of this model is running")]
    NothingRunning,
    /// The command makes no sense now.
    #[error("{command} is not possible while the rollout is {phase}")]
    NotNow {
        /// The command.
        command: &'static str,
        /// The phase.
        phase: &'static str,
    },
    /// Nothing is latched under this digest.
    #[error("digest {digest} is not latched")]
    NotLatched {
        /// The digest.
        digest: String,
    },
    /// So many candidates are latched that another one could not be.
    #[error("too many candidates are latched: clear some first")]
    TooManyLatches,
}

fn first(errors: &[PolicyError]) -> String {
    errors.first().map(ToString::to_string).unwrap_or_default()
}

impl ModelState {
    /// Takes an input and says what is to be done about it.
    ///
    /// # Errors
    /// A [`Refusal`], and then nothing has changed. Counts, times and answers of gates are never
    /// refused.
    pub fn handle(&mut self, input: Input, now: Timestamp) -> Result<Vec<Effect>, Refusal> {
        let now = now.max(self.clock);
        let key = match &input {
            Input::Start(start) => start.by.key.clone(),
            Input::Command(command) => command.by.key.clone(),
            _ => None,
        };
        if key.as_ref().is_some_and(|key| self.keys.contains(key)) {
            return Ok(Vec::new());
        }
        let effects = match input {
            Input::Start(start) => self.start(*start, now)?,
            Input::Command(command) => self.command(command, now)?,
            Input::Observed(counts) => self.turn(now, |turn| turn.watch(Some(&counts))),
            Input::Tick => self.turn(now, |turn| turn.watch(None)),
            Input::Gate(answer) => self.turn(now, |turn| turn.answer(&answer)),
            Input::Restarted => self.restarted(now),
        };
        self.clock = now;
        if let Some(key) = key {
            self.keys.push_back(key);
            if self.keys.len() > MAX_KEYS {
                self.keys.pop_front();
            }
        }
        Ok(effects)
    }

    /// Lets `act` change the rollout that runs; without one nothing happens.
    fn turn(&mut self, now: Timestamp, act: impl FnOnce(&mut Turn<'_>)) -> Vec<Effect> {
        let running = self.rollout.take_if(|rollout| !rollout.phase.is_terminal());
        let Some(rollout) = running else { return Vec::new() };
        let mut turn = Turn { model: self, rollout, now, effects: Vec::new() };
        act(&mut turn);
        let Turn { rollout, effects, .. } = turn;
        self.rollout = Some(rollout);
        effects
    }

    /// Says again what is live, what is latched and who is to be asked.
    fn restarted(&mut self, now: Timestamp) -> Vec<Effect> {
        let mut effects: Vec<Effect> = self.live().map(Effect::SetLive).into_iter().collect();
        effects.extend(self.latches.values().cloned().map(Effect::Latch));
        effects.extend(self.turn(now, |turn| turn.restarted()));
        effects
    }
}

/// One turn of a rollout that runs: what it may change, and what comes of it.
struct Turn<'a> {
    model: &'a mut ModelState,
    rollout: Rollout,
    now: Timestamp,
    effects: Vec<Effect>,
}

impl Turn<'_> {
    fn push(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    fn persist(&mut self) {
        self.rollout.times.kept = self.now;
        self.push(Effect::Persist);
    }

    /// Makes what the phase says live, under a new trial.
    fn set_live(&mut self) {
        self.model.trial = self.model.trial.saturating_add(1);
        let live = self.rollout.live(self.model.trial);
        self.push(Effect::SetLive(live));
    }

    fn set_phase(&mut self, phase: Phase) {
        self.rollout.phase = phase;
        self.rollout.times.phase = self.now;
    }

    /// After a restart: questions that nobody will answer any more are asked again.
    fn restarted(&mut self) {
        self.rollout.polls.values_mut().for_each(|poll| poll.run = None);
        match self.rollout.phase.clone() {
            Phase::Pending(waiting) | Phase::Confirming(waiting) => {
                self.ask(waiting.stage, waiting.at);
                self.persist_first();
            }
            Phase::RollingBack(_) => self.finish_rollback(),
            _ => {}
        }
    }

    fn tell(&mut self, kind: EventKind, decision: Option<u64>, sentence: &str) {
        let event = self.event(kind, decision, sentence);
        self.push(Effect::Notify(event));
    }

    /// Puts a `Persist` before everything else of this turn.
    fn persist_first(&mut self) {
        self.rollout.times.kept = self.now;
        self.effects.insert(0, Effect::Persist);
    }
}

#[cfg(test)]
mod tests;
