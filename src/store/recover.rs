//! What a process must know to go on where the last one stopped.

use super::error::StoreError;
use super::reader::Reader;
use super::rows::{Candidate, Latch, Roles, Rollout};

/// What was in the store when it was opened.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Recovered {
    /// Whether the store is new: nothing has ever been in it.
    pub created: bool,
    /// The schema it had, where it was brought up to date.
    pub migrated_from: Option<i64>,
    /// Rollouts that have not ended, oldest first.
    pub live: Vec<Rollout>,
    /// Candidates that may have no traffic.
    pub latches: Vec<Latch>,
    /// Roles and weights of models that have had a rollout.
    pub roles: Vec<Roles>,
    /// Candidates that stand in no configuration.
    pub candidates: Vec<Candidate>,
    /// Notices that still wait for delivery.
    pub notices: usize,
}

impl Recovered {
    pub(super) fn read(reader: &Reader, found: Option<i64>) -> Result<Self, StoreError> {
        let known = super::schema::version(super::schema::MIGRATIONS.len());
        Ok(Self {
            created: found.is_none(),
            migrated_from: found.filter(|found| *found < known),
            live: reader.live()?,
            latches: reader.latches(None)?,
            roles: reader.all_roles()?,
            candidates: reader.candidates(None)?,
            notices: reader.outbox_size()?.notices,
        })
    }
}
