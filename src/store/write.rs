//! What can be written, and how each write is applied inside a transaction.

use std::collections::BTreeSet;

use rusqlite::{Connection, OptionalExtension as _};

use super::error::StoreError;
use super::limits::{Limits, fits};
use super::outbox::{self, Put};
use super::prune;
use super::rows::{Candidate, Decision, IdempotencyKey, Latch, Notice, Roles, Rollout, int};

/// One change of a store. Changes that belong together go into one [`commit`](super::Store::commit).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Write {
    /// A new rollout, or where a known one stands now. One that has ended stays ended.
    Rollout(Rollout),
    /// One more decision of a rollout that is there.
    Decision(Decision),
    /// Keeps traffic from a candidate; where it is latched already, that latch stays.
    Latch(Latch),
    /// Lets a candidate have traffic again.
    Unlatch {
        /// The model it is a candidate of.
        model: String,
        /// What it is.
        digest: String,
    },
    /// Roles and weights of a model, in place of those before.
    Roles(Roles),
    /// A model has no roles of its own any more: the configuration's are its again.
    ForgetRoles {
        /// The model.
        model: String,
    },
    /// A call that was answered.
    Key(IdempotencyKey),
    /// A candidate that stands in no configuration, in place of what had its name.
    Candidate(Candidate),
    /// A candidate is not needed any more.
    ForgetCandidate {
        /// The model it is a version of.
        model: String,
        /// The version's name.
        version: String,
    },
    /// News for a receiver.
    Notice(Notice),
}

/// What a commit did beside what it was asked for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Committed {
    /// Notices that the full outbox refused.
    pub notices_refused: u64,
    /// Old rollouts that were deleted, with their decisions.
    pub rollouts_pruned: u64,
}

/// What a transaction has touched, and so what has to be cut back at its end.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub committed: Committed,
    models: BTreeSet<String>,
    rollouts: BTreeSet<String>,
    latest_key_ms: Option<u64>,
}

impl Tally {
    pub(super) fn prune(&mut self, connection: &Connection, limits: &Limits) -> Result<(), StoreError> {
        for rollout in &self.rollouts {
            prune::decisions(connection, rollout, limits)?;
        }
        for model in &self.models {
            self.committed.rollouts_pruned += prune::rollouts_of(connection, model, limits)?;
        }
        if !self.models.is_empty() {
            self.committed.rollouts_pruned += prune::rollouts(connection, limits)?;
        }
        if let Some(now_ms) = self.latest_key_ms {
            prune::keys(connection, now_ms, limits)?;
        }
        Ok(())
    }
}

impl Write {
    pub(super) fn apply(
        &self,
        connection: &Connection,
        limits: &Limits,
        tally: &mut Tally,
    ) -> Result<(), StoreError> {
        match self {
            Self::Rollout(row) => {
                rollout(connection, row, limits)?;
                tally.models.insert(row.model.clone());
            }
            Self::Decision(row) => {
                decision(connection, row, limits)?;
                tally.rollouts.insert(row.rollout.clone());
            }
            Self::Latch(row) => latch(connection, row, limits)?,
            Self::Unlatch { model, digest } => {
                let sql = "DELETE FROM latches WHERE model = ?1 AND digest = ?2";
                connection.execute(sql, [model, digest])?;
            }
            Self::Roles(row) => roles(connection, row, limits)?,
            Self::ForgetRoles { model } => {
                connection.execute("DELETE FROM roles WHERE model = ?1", [model])?;
            }
            Self::Key(row) => {
                key(connection, row, limits)?;
                tally.latest_key_ms = tally.latest_key_ms.max(Some(row.at_ms));
            }
            Self::Candidate(row) => candidate(connection, row, limits)?,
            Self::ForgetCandidate { model, version } => {
                let sql = "DELETE FROM candidates WHERE model = ?1 AND version = ?2";
                connection.execute(sql, [model, version])?;
            }
            Self::Notice(row) => {
                if outbox::put(connection, row, limits)? == Put::Refused {
                    tally.committed.notices_refused += 1;
                }
            }
        }
        Ok(())
    }
}

/// Refuses a table that has grown beyond `limit`, after a row was added to it.
fn room(connection: &Connection, what: &'static str, from: &str, limit: usize) -> Result<(), StoreError> {
    let rows: i64 = connection.query_row(&format!("SELECT count(*) FROM {from}"), [], |row| row.get(0))?;
    if usize::try_from(rows).is_ok_and(|rows| rows > limit) {
        return Err(StoreError::TooMany { what, limit });
    }
    Ok(())
}

fn rollout(connection: &Connection, row: &Rollout, limits: &Limits) -> Result<(), StoreError> {
    fits("the id of a rollout", &row.id, limits.text_bytes)?;
    fits("the name of a model", &row.model, limits.text_bytes)?;
    fits("the phase of a rollout", &row.phase, limits.text_bytes)?;
    fits("the state of a rollout", &row.state, limits.json_bytes)?;
    let known: Option<(String, bool)> = connection
        .query_row("SELECT model, terminal FROM rollouts WHERE id = ?1", [&row.id], |found| {
            Ok((found.get(0)?, found.get(1)?))
        })
        .optional()?;
    match known {
        Some((model, _)) if model != row.model => {
            return Err(StoreError::Conflict(format!("rollout {} is of model {model}", row.id)));
        }
        Some((_, true)) if !row.terminal => {
            return Err(StoreError::Conflict(format!("rollout {} has ended", row.id)));
        }
        _ => {}
    }
    connection.execute(
        "INSERT INTO rollouts (id, model, phase, terminal, created_ms, updated_ms, state)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (id) DO UPDATE SET phase = excluded.phase, terminal = excluded.terminal,
             updated_ms = excluded.updated_ms, state = excluded.state",
        (&row.id, &row.model, &row.phase, row.terminal, int(row.created_ms), int(row.updated_ms), &row.state),
    )?;
    if row.terminal {
        return Ok(());
    }
    room(connection, "rollouts that have not ended", "rollouts WHERE terminal = 0", limits.rows)
}

fn decision(connection: &Connection, row: &Decision, limits: &Limits) -> Result<(), StoreError> {
    fits("the kind of a decision", &row.kind, limits.text_bytes)?;
    fits("the record of a decision", &row.record, limits.json_bytes)?;
    let added = connection.execute(
        "INSERT INTO decisions (rollout, seq, at_ms, kind, record) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (rollout, seq) DO NOTHING",
        (&row.rollout, int(row.seq), int(row.at_ms), &row.kind, &row.record),
    )?;
    if added > 0 {
        return Ok(());
    }
    let same: bool = connection.query_row(
        "SELECT at_ms = ?3 AND kind = ?4 AND record = ?5 FROM decisions WHERE rollout = ?1 AND seq = ?2",
        (&row.rollout, int(row.seq), int(row.at_ms), &row.kind, &row.record),
        |found| found.get(0),
    )?;
    if same {
        return Ok(());
    }
    Err(StoreError::Conflict(format!("rollout {} has another decision {}", row.rollout, row.seq)))
}

fn latch(connection: &Connection, row: &Latch, limits: &Limits) -> Result<(), StoreError> {
    fits("the name of a model", &row.model, limits.text_bytes)?;
    fits("the digest of a candidate", &row.digest, limits.text_bytes)?;
    fits("the reason of a latch", &row.reason, limits.json_bytes)?;
    connection.execute(
        "INSERT INTO latches (model, digest, since_ms, reason) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (model, digest) DO NOTHING",
        (&row.model, &row.digest, int(row.since_ms), &row.reason),
    )?;
    room(connection, "latches", "latches", limits.rows)
}

fn roles(connection: &Connection, row: &Roles, limits: &Limits) -> Result<(), StoreError> {
    fits("the name of a model", &row.model, limits.text_bytes)?;
    fits("the roles of a model", &row.roles, limits.json_bytes)?;
    connection.execute(
        "INSERT INTO roles (model, updated_ms, roles) VALUES (?1, ?2, ?3)
         ON CONFLICT (model) DO UPDATE SET updated_ms = excluded.updated_ms, roles = excluded.roles",
        (&row.model, int(row.updated_ms), &row.roles),
    )?;
    room(connection, "models with roles", "roles", limits.rows)
}

fn key(connection: &Connection, row: &IdempotencyKey, limits: &Limits) -> Result<(), StoreError> {
    fits("an idempotency key", &row.key, limits.text_bytes)?;
    fits("the hash of a request", &row.request, limits.text_bytes)?;
    fits("the answer under an idempotency key", &row.answer, limits.json_bytes)?;
    let since_ms = row.at_ms.saturating_sub(limits.key_age_ms);
    // A key that is still good keeps its answer; one that has run out can be used anew.
    connection.execute(
        "INSERT INTO idempotency_keys (key, at_ms, request, answer) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (key) DO UPDATE
         SET at_ms = excluded.at_ms, request = excluded.request, answer = excluded.answer
         WHERE at_ms <= ?5",
        (&row.key, int(row.at_ms), &row.request, &row.answer, int(since_ms)),
    )?;
    let request: String =
        connection.query_row("SELECT request FROM idempotency_keys WHERE key = ?1", [&row.key], |found| {
            found.get(0)
        })?;
    if request == row.request {
        return Ok(());
    }
    Err(StoreError::Conflict(format!("the idempotency key {:?} is another request's", row.key)))
}

fn candidate(connection: &Connection, row: &Candidate, limits: &Limits) -> Result<(), StoreError> {
    fits("the name of a model", &row.model, limits.text_bytes)?;
    fits("the name of a version", &row.version, limits.text_bytes)?;
    fits("the specification of a candidate", &row.spec, limits.json_bytes)?;
    connection.execute(
        "INSERT INTO candidates (model, version, created_ms, spec) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (model, version) DO UPDATE
         SET created_ms = excluded.created_ms, spec = excluded.spec",
        (&row.model, &row.version, int(row.created_ms), &row.spec),
    )?;
    room(connection, "candidates", "candidates", limits.rows)
}
