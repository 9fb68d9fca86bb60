//! What is kept, as plain data. Times are milliseconds since 1970, JSON is text that nobody here reads.

use rusqlite::Row;

/// A rollout and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rollout {
    /// Its id, unique over all models.
    pub id: String,
    /// The model that it moves.
    pub model: String,
    /// Where it stands, as people call it.
    pub phase: String,
    /// Whether it has ended, for good.
    pub terminal: bool,
    /// When it was made. A later write of the same rollout does not change it.
    pub created_ms: u64,
    /// When this was written.
    pub updated_ms: u64,
    /// The whole state, JSON.
    pub state: String,
}

/// Something that was decided, with the evidence. Written once and never changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The rollout it belongs to, which must be there.
    pub rollout: String,
    /// Its place among the decisions of that rollout.
    pub seq: u64,
    /// When.
    pub at_ms: u64,
    /// What kind of decision.
    pub kind: String,
    /// The whole record, JSON.
    pub record: String,
}

/// A candidate that may have no traffic until an operator clears it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Latch {
    /// The model it was a candidate of.
    pub model: String,
    /// What it is, whatever it is called.
    pub digest: String,
    /// Since when.
    pub since_ms: u64,
    /// Why.
    pub reason: String,
}

/// Which versions of a model are live and with what weights, since its first rollout.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roles {
    /// The model.
    pub model: String,
    /// When this was written.
    pub updated_ms: u64,
    /// Roles and weights, JSON.
    pub roles: String,
}

/// A call that was answered, so that its repetition gets the same answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdempotencyKey {
    /// What the caller named the call.
    pub key: String,
    /// When it was answered.
    pub at_ms: u64,
    /// A hash of the request: another request under the same key is a mistake.
    pub request: String,
    /// The answer, JSON.
    pub answer: String,
}

/// A version that came with the start of a rollout and stands in no configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The model it is a version of.
    pub model: String,
    /// The version's name.
    pub version: String,
    /// When it came.
    pub created_ms: u64,
    /// How it is reached or loaded, JSON.
    pub spec: String,
}

/// News on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// Unique over all receivers; the same on every attempt.
    pub id: String,
    /// The receiver.
    pub sink: String,
    /// When it happened.
    pub created_ms: u64,
    /// How often delivery has been tried.
    pub attempts: u32,
    /// Not to be tried before.
    pub next_ms: u64,
    /// The event, JSON.
    pub event: String,
}

/// A number for SQLite, whose integers are signed. Larger ones than it has are its largest.
pub(super) fn int(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A number of SQLite. There are no negative ones but by somebody else's hand.
pub(super) fn uint(value: i64) -> u64 {
    u64::try_from(value).unwrap_or(0)
}

pub(super) trait FromRow: Sized {
    /// The columns, in the order in which [`FromRow::from_row`] takes them.
    const COLUMNS: &str;
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self>;
}

impl FromRow for Rollout {
    const COLUMNS: &str = "id, model, phase, terminal, created_ms, updated_ms, state";
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            model: row.get(1)?,
            phase: row.get(2)?,
            terminal: row.get(3)?,
            created_ms: uint(row.get(4)?),
            updated_ms: uint(row.get(5)?),
            state: row.get(6)?,
        })
    }
}

impl FromRow for Decision {
    const COLUMNS: &str = "rollout, seq, at_ms, kind, record";
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            rollout: row.get(0)?,
            seq: uint(row.get(1)?),
            at_ms: uint(row.get(2)?),
            kind: row.get(3)?,
            record: row.get(4)?,
        })
    }
}

impl FromRow for Latch {
    const COLUMNS: &str = "model, digest, since_ms, reason";
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { model: row.get(0)?, digest: row.get(1)?, since_ms: uint(row.get(2)?), reason: row.get(3)? })
    }
}

impl FromRow for Roles {
    const COLUMNS: &str = "model, updated_ms, roles";
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { model: row.get(0)?, updated_ms: uint(row.get(1)?), roles: row.get(2)? })
    }
}

impl FromRow for IdempotencyKey {
    const COLUMNS: &str = "key, at_ms, request, answer";
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self { key: row.get(0)?, at_ms: uint(row.get(1)?), request: row.get(2)?, answer: row.get(3)? })
    }
}

impl FromRow for Candidate {
    const COLUMNS: &str = "model, version, created_ms, spec";
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            model: row.get(0)?,
            version: row.get(1)?,
            created_ms: uint(row.get(2)?),
            spec: row.get(3)?,
        })
    }
}

impl FromRow for Notice {
    const COLUMNS: &str = "id, sink, created_ms, attempts, next_ms, event";
    fn from_row(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            id: row.get(0)?,
            sink: row.get(1)?,
            created_ms: uint(row.get(2)?),
            attempts: row.get(3)?,
            next_ms: uint(row.get(4)?),
            event: row.get(5)?,
        })
    }
}
