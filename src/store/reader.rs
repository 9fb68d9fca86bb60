//! Looking things up. Each call is one statement, so that each sees one moment.

use std::cell::OnceCell;

use rusqlite::{Connection, OptionalExtension as _, Params};

use super::connection::Place;
use super::error::StoreError;
use super::outbox::{OutboxSize, size};
use super::rows::{Candidate, Decision, FromRow, IdempotencyKey, Latch, Roles, Rollout, int};

/// The most rows that one call returns.
const PAGE: u32 = 1_000;

/// A connection that only reads. `Send`, not `Sync`.
#[derive(Debug)]
pub struct Reader {
    place: Place,
    connection: OnceCell<Connection>,
}

/// Which rollouts to list.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Page<'a> {
    /// Only of this model.
    pub model: Option<&'a str>,
    /// Only rollouts older than the one with this id: the last one of the page before. Where it has
    /// meanwhile been pruned, there are no older ones.
    pub before: Option<&'a str>,
    /// How many, up to 1000. 0 is 1000.
    pub limit: u32,
}

impl Reader {
    /// A reader of the store at `place`, connected as soon as there is anything to read: a store in
    /// memory is empty until its first commit.
    pub(super) fn new(place: Place) -> Self {
        Self { place, connection: OnceCell::new() }
    }

    /// Its connection, made by the first call that finds the store begun.
    ///
    /// # Errors
    /// Where the file cannot be opened once more.
    pub(super) fn connection(&self) -> Result<Option<&Connection>, StoreError> {
        if self.connection.get().is_none() && self.place.has_begun() {
            let _ = self.connection.set(self.place.read_only()?);
        }
        Ok(self.connection.get())
    }

    /// The rollout with this id.
    ///
    /// # Errors
    /// What the disk says, as for every call here.
    pub fn rollout(&self, id: &str) -> Result<Option<Rollout>, StoreError> {
        self.first("FROM rollouts WHERE id = ?1", [id])
    }

    /// A page of rollouts, newest first.
    ///
    /// # Errors
    /// As [`Reader::rollout`].
    pub fn rollouts(&self, page: &Page<'_>) -> Result<Vec<Rollout>, StoreError> {
        let rest = "FROM rollouts
            WHERE (?1 IS NULL OR model = ?1)
            AND (?2 IS NULL OR (created_ms, id) < (SELECT created_ms, id FROM rollouts WHERE id = ?2))
            ORDER BY created_ms DESC, id DESC LIMIT ?3";
        self.all(rest, (page.model, page.before, rows(page.limit)))
    }

    /// Rollouts that have not ended, oldest first.
    ///
    /// # Errors
    /// As [`Reader::rollout`].
    pub fn live(&self) -> Result<Vec<Rollout>, StoreError> {
        self.all("FROM rollouts WHERE terminal = 0 ORDER BY created_ms, id", [])
    }

    /// The newest rollout of a model that has not ended.
    ///
    /// # Errors
    /// As [`Reader::rollout`].
    pub fn live_of(&self, model: &str) -> Result<Option<Rollout>, StoreError> {
        let rest = "FROM rollouts WHERE model = ?1 AND terminal = 0
            ORDER BY created_ms DESC, id DESC LIMIT 1";
        self.first(rest, [model])
    }

    /// Decisions of a rollout in their order, from the one after `after` on; up to 1000.
    ///
    /// # Errors
    /// As [`Reader::rollout`].
    pub fn decisions(
        &self,
        rollout: &str,
        after: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Decision>, StoreError> {
        let rest = "FROM decisions WHERE rollout = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3";
        self.all(rest, (rollout, after.map_or(-1, int), rows(limit)))
    }

    /// The latest decision of a rollout.
    ///
    /// # Errors
    /// As [`Reader::rollout`].
    pub fn last_decision(&self, rollout: &str) -> Result<Option<Decision>, StoreError> {
        self.first("FROM decisions WHERE rollout = ?1 ORDER BY seq DESC LIMIT 1", [rollout])
    }

    /// The latches, of one model or of all.
    ///
    /// # Errors
    /// As [`Reader::rollout`].
    pub fn latches(&self, model: Option<&str>) -> Result<Vec<Latch>, StoreError> {
        self.all("FROM latches WHERE ?1 IS NULL OR model = ?1 ORDER BY model, digest", [model])
    }

    /// The latch of a candidate, if it is latched.
    ///
    /// # Errors
    /// As [`Reader::rollout`].
    pub fn latch(&self, model: &str, digest: &str) -> Result<Option<Latch>, StoreError> {
        self.first("FROM latches WHERE model = ?1 AND digest = ?2", [model, digest])
    }

    /// Roles and weights of a model, if it has had a rollout.
    ///
    /// # Errors
    /// As [`Reader::rollout`].
    pub fn roles(&self, model: &str) -> Result<Option<Roles>, StoreError> {
        self.first("FROM roles WHERE model = ?1", [model])
    }

    /// Roles and weights of every model that has had a rollout.
    ///
    /// # Errors
    /// As [`Reader::rollout`].
    pub fn all_roles(&self) -> Result<Vec<Roles>, StoreError> {
        self.all("FROM roles ORDER BY model", [])
    }

    /// The call under this idempotency key, if it was answered after `since_ms`.
    ///
    /// # Errors
    /// As [`Reader::rollout`].
    pub fn key(&self, key: &str, since_ms: u64) -> Result<Option<IdempotencyKey>, StoreError> {
        self.first("FROM idempotency_keys WHERE key = ?1 AND at_ms > ?2", (key, int(since_ms)))
    }

    /// Candidates that stand in no configuration, of one model or of all.
    ///
    /// # Errors
    /// As [`Reader::rollout`].
    pub fn candidates(&self, model: Option<&str>) -> Result<Vec<Candidate>, StoreError> {
        self.all("FROM candidates WHERE ?1 IS NULL OR model = ?1 ORDER BY model, version", [model])
    }

    /// How much waits in the outbox.
    ///
    /// # Errors
    /// As [`Reader::rollout`].
    pub fn outbox_size(&self) -> Result<OutboxSize, StoreError> {
        self.connection()?.map_or_else(|| Ok(OutboxSize::default()), size)
    }

    fn first<T: FromRow>(&self, rest: &str, values: impl Params) -> Result<Option<T>, StoreError> {
        let Some(connection) = self.connection()? else {
            return Ok(None);
        };
        let sql = format!("SELECT {} {rest}", T::COLUMNS);
        Ok(connection.query_row(&sql, values, T::from_row).optional()?)
    }

    fn all<T: FromRow>(&self, rest: &str, values: impl Params) -> Result<Vec<T>, StoreError> {
        let Some(connection) = self.connection()? else {
            return Ok(Vec::new());
        };
        let sql = format!("SELECT {} {rest}", T::COLUMNS);
        let mut statement = connection.prepare(&sql)?;
        let found = statement.query_map(values, T::from_row)?.collect::<Result<_, _>>()?;
        Ok(found)
    }
}

fn rows(limit: u32) -> u32 {
    if limit == 0 { PAGE } else { limit.min(PAGE) }
}
