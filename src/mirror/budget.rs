//! Who gets a copy: sampling, and limits in count and bytes per worker and mirror.

use std::cell::Cell;
use std::rc::Rc;

use http::request;
use smallvec::SmallVec;

use super::compare::Queue;
use super::pair::Pairing;
use super::taken::Asked;
use crate::routing::local::{LocalMirror, LocalModel, LocalVersion};
use crate::stats::DropReason;
use crate::stats::segments::Memberships;

/// The copies one request was granted; nearly always none or one.
pub type Grants = SmallVec<[Grant; 1]>;

/// The right to send one copy of one request. It holds a slot and whatever bytes it has taken;
/// dropping it gives them back and counts why the copy came to nothing, unless it was completed.
pub struct Grant {
    mirror: Rc<LocalMirror>,
    bytes: usize,
    /// Where a control copy goes: back to stable.
    control: Option<Rc<LocalVersion>>,
    /// What brings its answer together with the primary's.
    pairing: Option<Rc<Pairing>>,
    /// What is counted when the grant is dropped; `None` once the copy was answered.
    reason: Cell<Option<DropReason>>,
}

/// Draws a copy of one request for each mirror of `model`. A rollout's mirror copies only what stable
/// answers (`is_stable`): it has nothing to compare other answers with.
///
/// `live` is how many live requests this worker has under way; `draw` gives a point 0..10 000 and
/// is asked once per mirror, and once more for a copy that may be a control.
pub fn grant(model: &LocalModel, is_stable: bool, live: usize, mut draw: impl FnMut() -> u16) -> Grants {
    let mut grants = Grants::new();
    for mirror in &model.mirrors {
        if mirror.trial.is_some() && !is_stable {
            continue;
        }
        mirror.shard.eligible.add(1);
        if draw() >= mirror.spec.sample.basis_points() {
            continue;
        }
        mirror.shard.sampled.add(1);
        let refused = if live > mirror.spec.suspend_above {
            Some(DropReason::Suspended)
        } else if mirror.load.in_flight.get() >= mirror.spec.max_in_flight {
            Some(DropReason::InFlight)
        } else {
            None
        };
        match refused {
            Some(reason) => mirror.shard.drop_copy(reason),
            None => {
                let control = mirror.control.as_ref();
                let control = control.filter(|_| draw() < mirror.spec.noise_control.basis_points());
                grants.push(Grant::new(mirror.clone(), control.cloned()));
            }
        }
    }
    grants
}

impl Grant {
    fn new(mirror: Rc<LocalMirror>, control: Option<Rc<LocalVersion>>) -> Self {
        let load = &mirror.load;
        load.in_flight.set(load.in_flight.get() + 1);
        mirror.shard.in_flight.add(1);
        let reason = Cell::new(Some(DropReason::RequestIncomplete));
        Self { mirror, bytes: 0, control, pairing: None, reason }
    }

    /// The version that the copy goes to.
    pub fn target(&self) -> &Rc<LocalVersion> {
        self.control.as_ref().unwrap_or(&self.mirror.target)
    }

    /// Has the copy's answer compared with the primary's, where the mirror compares. The handle is
    /// for the primary's side.
    pub fn pair(
        &mut self,
        model: &Rc<LocalModel>,
        head: &request::Parts,
        queue: &Queue,
        segments: Memberships,
    ) -> Option<Rc<Pairing>> {
        self.mirror.spec.compare.as_ref()?;
        let control = self.control.is_some();
        let (model, mirror, queue) = (model.clone(), self.mirror.clone(), queue.clone());
        let pairing = Pairing::new(model, mirror, control, queue, Asked::of(head), segments);
        self.pairing = Some(pairing.clone());
        Some(pairing)
    }

    /// What brings its answer together with the primary's, if anything does.
    pub fn pairing(&self) -> Option<&Rc<Pairing>> {
        self.pairing.as_ref()
    }

    /// The mirror it is a copy for.
    pub fn mirror(&self) -> &Rc<LocalMirror> {
        &self.mirror
    }

    /// Checks the length that a body announces, before any of it is kept.
    ///
    /// # Errors
    /// The reason for which the copy must be given up; it is then also what is counted.
    pub fn expect_bytes(&self, announced: u64) -> Result<(), DropReason> {
        if usize::try_from(announced).is_ok_and(|bytes| bytes <= self.mirror.spec.max_body_bytes) {
            return Ok(());
        }
        self.reason.set(Some(DropReason::TooLarge));
        Err(DropReason::TooLarge)
    }

    /// Takes `more` bytes of the mirror's budget.
    ///
    /// # Errors
    /// The reason for which the copy must be given up; it is then also what is counted.
    pub fn take(&mut self, more: usize) -> Result<(), DropReason> {
        let (spec, load) = (&self.mirror.spec, &self.mirror.load);
        let refused = if self.bytes.saturating_add(more) > spec.max_body_bytes {
            Some(DropReason::TooLarge)
        } else if load.retained.get().saturating_add(more) > spec.max_bytes {
            Some(DropReason::Bytes)
        } else {
            None
        };
        if let Some(reason) = refused {
            self.reason.set(Some(reason));
            return Err(reason);
        }
        self.bytes += more;
        load.retained.set(load.retained.get() + more);
        self.mirror.shard.retained_bytes.add(i64::try_from(more).unwrap_or(i64::MAX));
        Ok(())
    }

    /// Says what is counted should the copy come to nothing from here on.
    pub fn expect(&self, reason: DropReason) {
        self.reason.set(Some(reason));
    }

    /// The shadow answered in full.
    pub fn complete(&self) {
        self.reason.set(None);
        self.mirror.shard.completed.add(1);
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        let load = &self.mirror.load;
        load.in_flight.set(load.in_flight.get().saturating_sub(1));
        load.retained.set(load.retained.get().saturating_sub(self.bytes));
        self.mirror.shard.in_flight.add(-1);
        self.mirror.shard.retained_bytes.add(-i64::try_from(self.bytes).unwrap_or(i64::MAX));
        if let Some(reason) = self.reason.get() {
            self.mirror.shard.drop_copy(reason);
        }
    }
}
