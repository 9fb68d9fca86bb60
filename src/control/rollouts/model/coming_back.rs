//! A model that comes back: with a new process, or with a configuration that has it again.

use super::super::clock;
use super::super::live::Shared;
use super::super::spec::RolloutSpec;
use super::super::stand_in::stand_in;
use super::super::tools::Tools;
use super::{Batch, Model, Todo};
use crate::rollout::effect::Effect;
use crate::rollout::machine::{Command, Input, What};
use crate::rollout::state::Phase;
use crate::rollout::time::Timestamp;
use crate::rollout::version::Actor;
use crate::routing::overlay::Overlay;

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
        let is_declared = tools.board.declared(self.name().as_str()).is_some();
        let was_declared = std::mem::replace(&mut self.is_declared, is_declared);
        let overlay = tools.board.overlay(self.name().as_str());
        if self.is_first() {
            if self.weights.is_some() && overlay.is_none() {
                // The file's own weights are newer.
                (self.weights, self.over) = (None, None);
                self.keep_now(self.lead.time(now), tools);
            }
        } else if is_declared {
            // Nothing is missing that was never put in place: a start may still be being written.
            let stable = overlay.as_ref().and_then(Overlay::stable);
            let is_kept = self.placed.is_none() || self.placed.as_ref() == stable;
            // It may have gone and come back before the first of the two was heard of here.
            if !was_declared || !is_kept || self.is_behind {
                self.is_back(is_kept, self.lead.time(now), tools);
            }
        }
    }

    /// The configuration has the model again; with what was made of it on top, if that `is_kept`.
    fn is_back(&mut self, is_kept: bool, now: Timestamp, tools: &Tools) {
        let is_behind = std::mem::take(&mut self.is_behind);
        if is_kept && !is_behind {
            return;
        }
        let Some(declared) = tools.board.declared(self.name().as_str()) else { return };
        if !is_kept
            && let Some(stable) = stand_in(&self.state, &declared)
            && stable != self.state.stable
        {
            // Its stable version has not come back with it.
            self.versions.extend(declared.find(&stable.name).map(|spec| (stable.name.clone(), spec)));
            self.state.replace_stable(stable);
            self.weights = None;
            self.give_up(Trouble { is_replaced: true }, now, tools);
        }
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
