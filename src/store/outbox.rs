//! Notices that wait for delivery: put there in the transaction of what they tell of, and taken out
//! by the thread that delivers. Per receiver they go in the order in which they came.

use std::fs::File;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior};

use super::error::StoreError;
use super::limits::{Limits, fits};
use super::rows::{FromRow as _, Notice, int, uint};

/// How much waits.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OutboxSize {
    /// Notices.
    pub notices: usize,
    /// Bytes of their JSON.
    pub bytes: usize,
}

/// What became of a notice that was to be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It waits for delivery, or did so already.
    Kept,
    /// As much waits as may: it is lost, and is for the caller to count.
    Refused,
}

/// The outbox for the thread that delivers. `Send`, not `Sync`.
#[derive(Debug)]
pub struct Outbox {
    connection: Connection,
    limits: Limits,
    /// Held, not read: as long as this connection writes, no other process may.
    _lock: Option<Arc<File>>,
}

impl Outbox {
    pub(super) fn new(connection: Connection, limits: Limits, lock: Option<Arc<File>>) -> Self {
        Self { connection, limits, _lock: lock }
    }

    /// Keeps a notice.
    ///
    /// # Errors
    /// What the disk says, as for every call here; [`StoreError::TooLarge`].
    pub fn put(&mut self, notice: &Notice) -> Result<Put, StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let put = put(&transaction, notice, &self.limits)?;
        transaction.commit()?;
        Ok(put)
    }

    /// The oldest notice for a receiver, whether it is time for it or not, but for those with an id of
    /// `over`.
    ///
    /// # Errors
    /// As [`Outbox::put`].
    pub fn oldest(&self, sink: &str, over: &[String]) -> Result<Option<Notice>, StoreError> {
        // As many as are over may stand before it; there are hardly ever any.
        let sql =
            format!("SELECT {} FROM outbox WHERE sink = ?1 ORDER BY position LIMIT ?2", Notice::COLUMNS);
        let mut statement = self.connection.prepare(&sql)?;
        let mut rows = statement.query((sink, i64::try_from(over.len() + 1).unwrap_or(i64::MAX)))?;
        while let Some(row) = rows.next()? {
            let notice = Notice::from_row(row)?;
            if !over.contains(&notice.id) {
                return Ok(Some(notice));
            }
        }
        Ok(None)
    }

    /// Takes out a notice that was delivered or given up.
    ///
    /// # Errors
    /// As [`Outbox::put`].
    pub fn remove(&mut self, id: &str) -> Result<(), StoreError> {
        self.connection.execute("DELETE FROM outbox WHERE id = ?1", [id])?;
        Ok(())
    }

    /// Notes an attempt that failed, and when the next one is due.
    ///
    /// # Errors
    /// As [`Outbox::put`].
    pub fn postpone(&mut self, id: &str, next_ms: u64) -> Result<(), StoreError> {
        self.connection.execute(
            "UPDATE outbox SET attempts = attempts + 1, next_ms = ?2 WHERE id = ?1",
            (id, int(next_ms)),
        )?;
        Ok(())
    }

    /// Takes out the notices for receivers other than these; says how many there were.
    ///
    /// # Errors
    /// As [`Outbox::put`].
    pub fn keep_only(&mut self, sinks: &[&str]) -> Result<usize, StoreError> {
        let mut found: Vec<String> = {
            let mut statement = self.connection.prepare("SELECT DISTINCT sink FROM outbox")?;
            statement.query_map([], |row| row.get(0))?.collect::<Result<_, _>>()?
        };
        found.retain(|sink| !sinks.contains(&sink.as_str()));
        if found.is_empty() {
            return Ok(0);
        }
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut removed = 0;
        for sink in &found {
            removed += transaction.execute("DELETE FROM outbox WHERE sink = ?1", [sink])?;
        }
        transaction.commit()?;
        Ok(removed)
    }

    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }

    /// How much waits.
    ///
    /// # Errors
    /// As [`Outbox::put`].
    pub fn size(&self) -> Result<OutboxSize, StoreError> {
        size(&self.connection)
    }
}

pub(super) fn size(connection: &Connection) -> Result<OutboxSize, StoreError> {
    let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM outbox";
    let (notices, bytes) = connection.query_row(sql, [], |row| Ok((uint(row.get(0)?), uint(row.get(1)?))))?;
    Ok(OutboxSize {
        notices: usize::try_from(notices).unwrap_or(usize::MAX),
        bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
    })
}

/// Keeps a notice, inside somebody's transaction.
pub(super) fn put(connection: &Connection, notice: &Notice, limits: &Limits) -> Result<Put, StoreError> {
    fits("the id of a notice", &notice.id, limits.text_bytes)?;
    fits("the receiver of a notice", &notice.sink, limits.text_bytes)?;
    fits("the event of a notice", &notice.event, limits.json_bytes)?;
    let known =
        connection.query_row("SELECT 1 FROM outbox WHERE id = ?1", [&notice.id], |_| Ok(())).optional()?;
    if known.is_some() {
        return Ok(Put::Kept);
    }
    let waiting = size(connection)?;
    let bytes = waiting.bytes.saturating_add(notice.event.len());
    if waiting.notices >= limits.notices || bytes > limits.notice_bytes {
        return Ok(Put::Refused);
    }
    connection.execute(
        "INSERT INTO outbox (id, sink, created_ms, attempts, next_ms, bytes, event)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        (
            &notice.id,
            &notice.sink,
            int(notice.created_ms),
            notice.attempts,
            int(notice.next_ms),
            i64::try_from(notice.event.len()).unwrap_or(i64::MAX),
            &notice.event,
        ),
    )?;
    Ok(Put::Kept)
}
