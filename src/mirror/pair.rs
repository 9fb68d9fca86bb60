//! Pairs: what the primary and the shadow answered to the same request, brought together.
//!
//! Both legs live on one worker, each at its own pace. A [`Pairing`] waits for both; each [`Leg`]
//! copies its answer as it passes, within the mirror's budget of bytes. When both are whole, the
//! pair goes to the comparing thread ([`super::compare`]); whatever else happens, the pair is
//! dropped and the reason counted, exactly once. Neither leg ever waits for the other.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use http::HeaderMap;

use super::compare::{Job, PairJob, Queue};
use super::taken::{Answered, Asked, Form};
use crate::routing::local::{LocalMirror, LocalModel};
use crate::stats::pairs::PairDrop;
use crate::stats::segments::Memberships;
use crate::wire::body::{Capture, Captured, Sink as _};

/// Most chunks of one stream whose time is kept.
const MAX_TIMES: usize = 8192;

/// Which of the two answers a leg carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// The client's.
    Primary,
    /// Nobody's.
    Shadow,
}

/// A pair in the making. Dropped before both answers are there, it counts why.
pub struct Pairing {
    model: Rc<LocalModel>,
    mirror: Rc<LocalMirror>,
    queue: Queue,
    control: bool,
    at: SystemTime,
    segments: Memberships,
    halves: RefCell<Halves>,
    /// Charged to the mirror's budget.
    retained: Cell<usize>,
    /// What is counted when it is dropped; `None` once the pair has gone to be compared.
    why: Cell<Option<PairDrop>>,
}

struct Halves {
    asked: Option<Asked>,
    primary: Option<Answered>,
    shadow: Option<Answered>,
}

impl Pairing {
    /// A pair for a copy through `mirror`; `control` says that the copy goes back to stable.
    /// `segments` are those of the request in the trial that the mirror belongs to.
    pub fn new(
        model: Rc<LocalModel>,
        mirror: Rc<LocalMirror>,
        control: bool,
        queue: Queue,
        asked: Asked,
        segments: Memberships,
    ) -> Rc<Self> {
        if let Some(trial) = &mirror.trial {
            trial.shard.sample(control);
        }
        Rc::new(Self {
            model,
            mirror,
            queue,
            control,
            at: SystemTime::now(),
            segments,
            halves: RefCell::new(Halves { asked: Some(asked), primary: None, shadow: None }),
            retained: Cell::new(0),
            why: Cell::new(Some(PairDrop::Copy)),
        })
    }

    /// The whole body of the request is there.
    pub fn asked(&self, body: &Captured) {
        if self.take(body.len())
            && let Some(asked) = &mut self.halves.borrow_mut().asked
        {
            asked.body = body.chunks().to_vec();
        }
    }

    /// Begins to take the answer of one side, whose head this is. `started` is when the leg began.
    pub fn leg(
        self: Rc<Self>,
        side: Side,
        status: u16,
        grpc: Option<u8>,
        headers: &HeaderMap,
        started: Instant,
    ) -> Leg {
        let max = self.mirror.spec.max_answer_bytes;
        let form = Form::of(headers);
        let is_stream = form.is_event_stream();
        Leg {
            pairing: Some(self),
            side,
            answered: Answered { status, grpc, form, body: Vec::new(), times: Vec::new() },
            capture: Capture::new(max, None),
            is_stream,
            started,
        }
    }

    /// Gives the pair up: what it holds is let go of, and the first reason is what counts.
    pub fn give_up(&self, why: PairDrop) {
        if self.is_given_up() {
            return;
        }
        self.why.set(Some(why));
        *self.halves.borrow_mut() = Halves { asked: None, primary: None, shadow: None };
        self.give_back();
    }

    fn is_given_up(&self) -> bool {
        self.halves.borrow().asked.is_none()
    }

    /// Takes `more` bytes of the mirror's budget, or gives up.
    fn take(&self, more: usize) -> bool {
        let load = &self.mirror.load;
        if self.is_given_up() {
            return false;
        }
        if load.retained.get().saturating_add(more) > self.mirror.spec.max_bytes {
            self.give_up(PairDrop::Bytes);
            return false;
        }
        load.retained.set(load.retained.get() + more);
        self.mirror.shard.retained_bytes.add(i64::try_from(more).unwrap_or(i64::MAX));
        self.retained.set(self.retained.get() + more);
        true
    }

    fn give_back(&self) {
        let load = &self.mirror.load;
        let bytes = self.retained.replace(0);
        load.retained.set(load.retained.get().saturating_sub(bytes));
        self.mirror.shard.retained_bytes.add(-i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn complete(&self, side: Side, answered: Answered) {
        let mut halves = self.halves.borrow_mut();
        match side {
            Side::Primary => halves.primary = Some(answered),
            Side::Shadow => halves.shadow = Some(answered),
        }
        // Until the shadow answers too, the copy is what is missing.
        if halves.shadow.is_some() {
            self.why.set(Some(PairDrop::Primary));
        }
        if halves.primary.is_none() || halves.shadow.is_none() {
            return;
        }
        let (Some(asked), Some(primary), Some(shadow)) =
            (halves.asked.take(), halves.primary.take(), halves.shadow.take())
        else {
            return;
        };
        let Some(compare) = self.mirror.spec.compare.clone() else { return };
        drop(halves);
        self.give_back();
        let job = PairJob {
            model: self.model.model.spec.name.clone(),
            stable: self.model.model.stable_name.clone(),
            shadow: self.mirror.spec.to.clone(),
            control: self.control,
            at: self.at,
            segments: self.segments,
            inputs: self.mirror.trial.as_ref().and_then(|trial| trial.live.inputs.clone()),
            compare,
            tallies: [
                Some(self.mirror.tally.clone()),
                self.mirror.trial.as_ref().map(|trial| trial.live.pairs.clone()),
            ],
            asked,
            primary,
            answer: shadow,
        };
        match self.queue.push(Job::Pair(Box::new(job))) {
            Ok(()) => {
                self.why.set(None);
                self.mirror.shard.pairs.add(1);
            }
            Err(_) => self.why.set(Some(PairDrop::QueueFull)),
        }
    }
}

impl Drop for Pairing {
    fn drop(&mut self) {
        self.give_back();
        if let Some(why) = self.why.get() {
            self.mirror.shard.drop_pair(why);
        }
    }
}

/// One side's answer on its way by. Dropped before its end, it gives the pair up.
pub struct Leg {
    pairing: Option<Rc<Pairing>>,
    side: Side,
    answered: Answered,
    capture: Capture,
    is_stream: bool,
    started: Instant,
}

impl Leg {
    /// A chunk of the answer.
    pub fn data(&mut self, chunk: &Bytes) {
        let Some(pairing) = &self.pairing else { return };
        if self.capture.len() + chunk.len() > pairing.mirror.spec.max_answer_bytes {
            pairing.give_up(PairDrop::TooLarge);
        } else if pairing.take(chunk.len()) {
            if self.is_stream && self.answered.times.len() < MAX_TIMES {
                let since = u64::try_from(self.started.elapsed().as_nanos()).unwrap_or(u64::MAX);
                self.answered.times.push((self.capture.len(), since));
            }
            self.capture.data(chunk);
            return;
        }
        self.capture.abort();
        self.pairing = None;
    }

    /// The whole answer is there. `grpc` is the status of its trailers, where it has one.
    pub fn end(&mut self, grpc: Option<u8>) {
        let Some(pairing) = self.pairing.take() else { return };
        self.capture.end(None);
        let Some(body) = self.capture.complete() else { return };
        let form = std::mem::take(&mut self.answered.form);
        let answered = Answered {
            status: self.answered.status,
            grpc: grpc.or(self.answered.grpc),
            form,
            body: body.chunks().to_vec(),
            times: std::mem::take(&mut self.answered.times),
        };
        if !pairing.is_given_up() {
            pairing.complete(self.side, answered);
        }
    }
}

impl Drop for Leg {
    fn drop(&mut self) {
        if let Some(pairing) = self.pairing.take() {
            pairing.give_up(match self.side {
                Side::Primary => PairDrop::Primary,
                Side::Shadow => PairDrop::Copy,
            });
        }
    }
}
