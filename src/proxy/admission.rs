//! What a request holds while it is under way.

use crate::routing::limit::Permit;

/// What a request that is let in holds until it is over.
#[derive(Debug, Default)]
pub(super) struct Admission {
    pub(super) permits: Option<Box<[Option<Permit>; 2]>>,
    /// Some are turned away: the arms are not alike.
    pub(super) is_tight: bool,
    /// Copies must be spared.
    pub(super) no_copies: bool,
}

impl Admission {
    /// The head of the answer has come.
    pub(super) fn answered(&mut self) {
        if let Some(permits) = &mut self.permits {
            permits.iter_mut().flatten().for_each(Permit::answered);
        }
    }
}
