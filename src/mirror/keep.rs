//! Keeping a request's body while the live leg reads it.
//!
//! [`Keeper`] is the sink of the live leg's tee. It never polls: it is handed each chunk as the
//! live leg takes it. What it keeps serves the copies for shadows, and a fallback where there is
//! one. As soon as nobody can use it any more, what was kept is let go.

use std::cell::RefCell;
use std::rc::Rc;

use bytes::Bytes;
use http::HeaderMap;
use http_body::SizeHint;

use super::budget::Grants;
use super::send::{Copy, Cut};
use crate::wire::body::{Capture, CaptureState, Captured, Sink};

/// The sink of a live request's tee.
pub struct Keeper {
    capture: Rc<RefCell<Capture>>,
    grants: Grants,
    copy: Option<Copy>,
    cut: Rc<Cut>,
    /// Longest body that a fallback may want; 0 where there is none.
    replay_limit: usize,
}

/// The body of a live request, as far as it was read, for a fallback or a repetition.
#[derive(Debug, Clone)]
pub struct Replay {
    capture: Rc<RefCell<Capture>>,
    /// What is kept for copies may be longer than what a fallback may send again.
    limit: usize,
}

impl Keeper {
    /// A keeper of a body of this size: for the copies of `grants`, sent as `copy` says, and for a
    /// fallback of up to `replay_limit` bytes (0: none). `cut` ends the copies when the client
    /// goes away.
    pub fn new(
        mut grants: Grants,
        copy: Option<Copy>,
        cut: Rc<Cut>,
        replay_limit: usize,
        size: &SizeHint,
    ) -> Self {
        grants.retain(|grant| grant.expect_bytes(size.lower()).is_ok());
        let copied = grants.iter().map(|g| g.mirror().spec.max_body_bytes).max().unwrap_or(0);
        let capture = Capture::new(copied.max(replay_limit), None).expecting(size);
        Self { capture: Rc::new(RefCell::new(capture)), grants, copy, cut, replay_limit }
    }

    /// A handle on what is kept, for whoever sends a body of up to `limit` bytes again.
    pub fn replay(&self, limit: usize) -> Replay {
        Replay { capture: self.capture.clone(), limit }
    }
}

impl Sink for Keeper {
    fn data(&mut self, chunk: &Bytes) {
        self.grants.retain(|grant| grant.take(chunk.len()).is_ok());
        let mut capture = self.capture.borrow_mut();
        match self.grants.is_empty() && capture.len() + chunk.len() > self.replay_limit {
            true => capture.abort(),
            false => capture.data(chunk),
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        let mut capture = self.capture.borrow_mut();
        capture.end(trailers);
        let Some(body) = capture.whole() else { return };
        if let Some(copy) = self.copy.take() {
            copy.send(self.grants.drain(..), &body, &self.cut);
        }
    }
}

impl Replay {
    /// The whole body, if it was read to its end within the limit.
    pub fn take(&self) -> Option<Captured> {
        self.is_whole().then(|| self.capture.borrow_mut().complete()).flatten()
    }

    /// A copy of the whole body, if it was read to its end within the limit.
    pub fn copy(&self) -> Option<Captured> {
        self.is_whole().then(|| self.capture.borrow().whole()).flatten()
    }

    /// Whether the whole body is there.
    pub fn is_whole(&self) -> bool {
        let capture = self.capture.borrow();
        capture.state() == CaptureState::Complete && capture.len() <= self.limit
    }
}
