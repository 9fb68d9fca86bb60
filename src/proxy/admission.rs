//! What a request holds while it is under way.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::Instant;

use crate::routing::limit::Permit;
use crate::routing::local::LocalVersion;

/// What a request that is let in holds until it is over.
#[derive(Debug, Default)]
pub(super) struct Admission {
    pub(super) permits: Option<Box<[Option<Permit>; 2]>>,
    /// Some are turned away: the arms are not alike.
    pub(super) is_tight: bool,
    /// Copies must be spared.
    pub(super) no_copies: bool,
}

/// What a request holds that nobody measures: stable answers it in a canary's place.
pub(super) struct Place {
    /// Its place among the requests of the model, and of stable.
    pub(super) admission: Admission,
    pub(super) stable: Rc<LocalVersion>,
}

impl Place {
    /// Whether others wait for a place like this: they were turned away within the last `span`, or wait
    /// for a connection.
    pub(super) fn is_wanted(&self, span: Duration) -> bool {
        self.admission.is_wanted(span)
            || self.stable.fleet.as_ref().is_some_and(|fleet| fleet.is_crowded(span))
    }
}

impl Admission {
    /// Whether somebody was turned away within the last `span` for lack of what it holds.
    pub(super) fn is_wanted(&self, span: Duration) -> bool {
        self.permits.as_ref().is_some_and(|permits| permits.iter().flatten().any(|one| one.is_wanted(span)))
    }

    /// The head of the answer has come. `whole` is when the request was, if its client was waited for.
    pub(super) fn answered(&mut self, whole: Option<Instant>) {
        if let Some(permits) = &mut self.permits {
            permits.iter_mut().flatten().for_each(|permit| permit.answered(whole));
        }
    }
}
