//! A model that comes back: with a new process, or with a configuration that has it again.

use super::super::candidate::{self, Digests};
use super::super::clock;
use super::super::live::Shared;
use super::super::spec::RolloutSpec;
use super::super::stand_in::{UNREADABLE, choices, stand_in};
use super::super::tools::Tools;
use super::{Batch, Model, Todo};
use crate::rollout::effect::Effect;
use crate::rollout::machine::{Command, Input, What};
use crate::rollout::state::Phase;
use crate::rollout::time::Timestamp;
use crate::rollout::version::Actor;
use crate::routing::overlay::Overlay;
use crate::routing::spec::{ModelSpec, VersionSpec};

/// What is not as it was left.
#[derive(Debug, Clone, Copy)]
pub(super) struct Trouble {
    is_replaced: bool,
}

impl Trouble {
    pub(super) fn of(is_lost: bool, is_replaced: bool) -> Option<Self> {
        is_lost.then_some(Self { is_replaced })
    }
}

impl Model {
    /// The process has begun with this state, or knows it again.
    pub(in super::super) fn restarted(&mut self, now: Timestamp, tools: &Tools) {
        let now = self.lead.time(now);
        let declared = tools.board.declared(self.name().as_str());
        if let (Some(rollout), Some(declared)) = (self.state.running(), &declared) {
            self.shared = Some(Shared::new(rollout, declared));
        }
        if let Some(trouble) = self.found.take() {
            self.give_up(trouble, now, tools);
        }
        self.input(Input::Restarted, now, tools);
        if let Some(weights) = self.weights.clone()
            && !self.is_under_way()
        {
            self.over = declared.as_ref().map(super::declared_weights);
            let mut overlay = tools.board.overlay(self.name().as_str()).unwrap_or_default();
            overlay.weights = weights;
            self.put(overlay, tools);
        }
    }

    /// A rollout whose versions are not all to be had ends, and what has taken a place is kept.
    fn give_up(&mut self, trouble: Trouble, now: Timestamp, tools: &Tools) {
        let is_going_back = |phase: &Phase| matches!(phase, Phase::RollingBack(_));
        // One that goes back already ends by itself, with its latch.
        if self.state.running().is_some_and(|rollout| !is_going_back(&rollout.phase)) {
            let by = Actor { name: "switchback".to_owned(), key: None };
            self.input(Input::Command(Command { what: What::Abort, by }), now, tools);
        } else if trouble.is_replaced {
            self.keep_now(now, tools);
        }
    }

    /// The configuration is another one. What runs keeps the policy it began with.
    pub(in super::super) fn declared(&mut self, spec: Option<RolloutSpec>, now: Timestamp, tools: &Tools) {
        self.spec = spec;
        self.changed = true;
        let name = self.name().as_str();
        let is_declared = tools.board.declared(name).is_some();
        if self.is_first() && is_declared && self.weights.is_some() && tools.board.overlay(name).is_none() {
            // The file's own weights are newer.
            (self.weights, self.over) = (None, None);
            self.keep_now(self.lead.time(now), tools);
        }
    }

    /// The versions that are to be read before it is known which one is stable; none where that stands.
    pub(in super::super) fn to_read(&self, tools: &Tools) -> Vec<VersionSpec> {
        let declared = tools.board.declared(self.name().as_str());
        let doubtful = declared.filter(|declared| self.is_lost(tools) || self.is_another(declared));
        doubtful.map(|declared| choices(&self.state, &declared)).unwrap_or_default()
    }

    /// Whether what was put in place is there no more: the configuration may have lost the model and had
    /// it back before the first of the two was heard of here. Nothing is missing that was never put in
    /// place: a start may still be being written.
    fn is_lost(&self, tools: &Tools) -> bool {
        let overlay = tools.board.overlay(self.name().as_str());
        self.placed.is_some() && self.placed.as_ref() != overlay.as_ref().and_then(Overlay::stable)
    }

    /// Whether the configuration has come to mean another version by the stable one's name. A rollout
    /// that runs keeps its versions as they were.
    fn is_another(&self, declared: &ModelSpec) -> bool {
        let stable = &self.state.stable;
        let is_free = !self.is_first() && !self.is_under_way() && stable.origin.is_null();
        let written = declared.versions.iter().find(|version| is_free && version.name == stable.name);
        let known = self.versions.get(&stable.name);
        written.is_some_and(|written| known.is_none_or(|known| !candidate::is_same(known, written)))
    }

    /// Puts in place what the configuration has made of the model, as far as that can be told by these
    /// digests: another stable version, or a table that could not be put while it was gone.
    pub(in super::super) fn reconsider(&mut self, digests: &Digests, now: Timestamp, tools: &Tools) {
        let now = self.lead.time(now);
        let Some(declared) = tools.board.declared(self.name().as_str()) else { return };
        let (is_lost, is_another) = (self.is_lost(tools), self.is_another(&declared));
        if is_lost || is_another {
            // Where something is still to be read, it is being read.
            if !choices(&self.state, &declared).iter().all(|version| digests.has(version)) {
                return;
            }
            let is_replaced = self.choose_stable(&declared, digests, now, tools);
            if !is_lost && !is_replaced {
                return;
            }
        } else if !self.is_behind {
            return;
        }
        self.is_behind = false;
        if let Some(live) = self.state.live() {
            self.apply(&live, tools);
        }
        if let Some(weights) = self.weights.clone()
            && !self.is_under_way()
        {
            let mut overlay = tools.board.overlay(self.name().as_str()).unwrap_or_default();
            overlay.weights = weights;
            self.put(overlay, tools);
        }
    }

    /// Takes the configuration's version for the stable one. Says whether it is another one.
    fn choose_stable(
        &mut self,
        declared: &ModelSpec,
        digests: &Digests,
        now: Timestamp,
        tools: &Tools,
    ) -> bool {
        let Some(stable) = stand_in(&self.state, declared, digests) else { return false };
        if stable.digest == UNREADABLE && stable.name == self.state.stable.name {
            // Nothing is known of it, and the next configuration is a new attempt.
            return false;
        }
        self.versions.extend(declared.find(&stable.name).map(|spec| (stable.name.clone(), spec)));
        if stable == self.state.stable {
            return false;
        }
        tracing::warn!(model = %self.name(), version = %stable.name, digest = stable.digest, "it is stable now, as the configuration has it");
        if stable.name != self.state.stable.name {
            // What was set by hand spoke of another one.
            self.weights = None;
        }
        self.state.replace_stable(stable);
        self.changed = true;
        self.give_up(Trouble { is_replaced: true }, now, tools);
        true
    }

    /// Keeps the state where the system's clock was set meanwhile: what went by until the next process
    /// is to be counted from what it says now.
    pub(super) fn keep_if_set(&mut self, now: Timestamp, tools: &Tools) {
        if clock::was_set(self.kept_at, (clock::wall(), now)) {
            self.keep_now(now, tools);
        }
    }

    /// Has the state kept, though nothing was decided.
    fn keep_now(&mut self, now: Timestamp, tools: &Tools) {
        if self.state.rollout.is_none() && !tools.ledger.is_durable() {
            return;
        }
        let mut writes = vec![self.kept(now)];
        writes.extend(self.row(now));
        let batch = Batch { writes, of: vec![Effect::Persist.kind()] };
        self.todo.push_back(Todo::Write(batch));
        self.pump(tools);
    }
}
