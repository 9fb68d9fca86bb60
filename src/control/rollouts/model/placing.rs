//! Putting in place what the machine wants live.

use std::sync::atomic::Ordering;
use std::time::Instant;

use super::super::stand_in::held;
use super::super::tools::Tools;
use super::super::{abort, live};
use super::{Model, TRIALS};
use crate::base::VersionName;
use crate::rollout::live::Live;
use crate::rollout::state::{Phase, Rollout};
use crate::routing::overlay::Overlay;

impl Model {
    /// Puts the table in place, unless a later one is there.
    pub(super) fn apply(&mut self, live: &Live, tools: &Tools) {
        if live.trial < self.live {
            return;
        }
        self.live = live.trial;
        let is_on = |rollout: &&Rollout| !matches!(rollout.phase, Phase::RollingBack(_));
        if self.state.running().filter(is_on).is_none() {
            self.call_off();
        }
        abort::before("setLive");
        let Some(declared) = tools.board.declared(self.name().as_str()) else {
            self.is_behind = true;
            let stable = self.versions.get(&self.state.stable.name).cloned();
            if let Some(overlay) = held(&self.state, stable) {
                self.placed = overlay.stable().cloned();
                tools.board.hold(self.name(), overlay);
            }
            return;
        };
        let table = tools.board.table();
        let served = |name: &VersionName| {
            table.model(self.state.model.as_str()).is_some_and(|model| model.version(name.as_str()).is_some())
        };
        let (spec, shared) = (self.spec.as_ref(), self.shared.as_ref());
        let (overlay, gauge) =
            live::overlay(live, &self.state, &declared, spec, &self.versions, served, shared);
        if let Some(gauge) = gauge {
            self.gauges.push(gauge);
            let old = self.gauges.len().saturating_sub(TRIALS);
            self.gauges.drain(..old);
        }
        self.placed = overlay.stable().cloned().or(self.placed.take());
        self.put(overlay, tools);
        abort::after("setLive");
        if let Some(looked) = self.looked {
            tools.pace.decided(looked);
        }
    }

    /// Whoever loads something for the rollout of until now finds that it is over. To be called before
    /// the table of its end is put in place: what was loaded before gives way to that table.
    pub(super) fn call_off(&mut self) {
        std::mem::take(&mut self.is_over).store(true, Ordering::Relaxed);
    }

    pub(super) fn put(&self, overlay: Overlay, tools: &Tools) {
        let began = Instant::now();
        match tools.board.set_overlay(self.name().as_str(), overlay) {
            Ok(()) => tools.pace.swapped(began),
            Err(error) => {
                tracing::error!(model = %self.name(), %error, "what was decided cannot be put in place");
            }
        }
    }
}
