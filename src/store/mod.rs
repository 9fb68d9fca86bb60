//! What must outlive the process: rollouts, their decisions, latches, roles, and mail not yet sent.
//!
//! One SQLite file with a write-ahead log and `synchronous=FULL`: what [`Store::commit`] has
//! acknowledged survives `kill -9` and a power cut, all of it or none. Payloads are JSON text that
//! this room never looks into; beside them stand the few columns that are searched for. One writer
//! ([`Store`]) belongs to the control thread; [`Reader`]s and the [`Outbox`] have connections of
//! their own, for other threads.
//!
//! Absent: any knowledge of what a rollout is, threads, and repair. A damaged file is reported and
//! left as it is; [`Store::in_memory`] then keeps the same promises but for the one of lasting.

mod connection;
mod error;
mod limits;
mod outbox;
mod prune;
mod reader;
mod recover;
mod rows;
mod schema;
mod write;

pub use error::StoreError;
pub use limits::Limits;
pub use outbox::{Outbox, OutboxSize, Put};
pub use reader::{Page, Reader};
pub use recover::Recovered;
pub use rows::{Candidate, Decision, IdempotencyKey, Latch, Notice, Roles, Rollout};
pub use write::{Committed, Write};

use std::path::{Path, PathBuf};

use rusqlite::TransactionBehavior;

use connection::{Place, Writer};
use write::Tally;

/// The one writer of a store. `Send`, not `Sync`: it goes to the thread that decides.
#[derive(Debug)]
pub struct Store {
    place: Place,
    reader: Reader,
    /// `None` until the first commit of a store in memory.
    writer: Option<Writer>,
    limits: Limits,
    notices_refused: u64,
    failures: u64,
    last_error: Option<StoreError>,
}

/// How a store is doing, for status and metrics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Health {
    /// The file, or `None` where the store is in memory and nothing lasts.
    pub path: Option<PathBuf>,
    /// The error of the latest commit, if it failed.
    pub last_error: Option<StoreError>,
    /// Commits that failed since the store was opened.
    pub failures: u64,
    /// Size of the file, in bytes.
    pub file_bytes: u64,
    /// Size of the write-ahead log beside it, in bytes.
    pub wal_bytes: u64,
    /// Notices that wait for delivery.
    pub outbox: OutboxSize,
    /// Notices that a full outbox refused since the store was opened.
    pub notices_refused: u64,
}

impl Store {
    /// Opens the store at `path` with the ordinary [`Limits`], or makes it. The folder must exist.
    ///
    /// # Errors
    /// As [`Store::open_with`].
    pub fn open(path: &Path) -> Result<(Self, Recovered), StoreError> {
        Self::open_with(path, Limits::default())
    }

    /// Opens the store at `path`, or makes it, and reads what the process must know to go on.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another process has it, [`StoreError::Corrupt`],
    /// [`StoreError::Foreign`] and [`StoreError::Newer`] where the file is not what this build can
    /// read: it is then left exactly as it was. Otherwise what the disk says.
    pub fn open_with(path: &Path, limits: Limits) -> Result<(Self, Recovered), StoreError> {
        Self::at(Place::File(path.to_owned()), limits)
    }

    /// A store that is gone with the process: where none is configured, or to go on with, alarming,
    /// where the file cannot be opened. It takes the same calls, but for [`Store::outbox`].
    /// Its memory is asked for by the first commit.
    pub fn in_memory() -> Self {
        Self::new(Place::memory(), None, Limits::default())
    }

    fn at(place: Place, limits: Limits) -> Result<(Self, Recovered), StoreError> {
        let (writer, found) = Writer::open(&place, &limits)?;
        let store = Self::new(place, Some(writer), limits);
        let recovered = Recovered::read(&store.reader, found)?;
        Ok((store, recovered))
    }

    fn new(place: Place, writer: Option<Writer>, limits: Limits) -> Self {
        let reader = Reader::new(place.clone());
        Self { place, reader, writer, limits, notices_refused: 0, failures: 0, last_error: None }
    }

    /// Applies `writes`, in order, all of them or none, and returns once they are durable.
    ///
    /// A notice that finds the outbox full is left out and counted, since no decision may be lost
    /// for want of a postman. A commit can be repeated after an error whose outcome is unknown:
    /// what is there already is left as it is.
    ///
    /// # Errors
    /// What went wrong; nothing of `writes` has been applied then.
    pub fn commit(&mut self, writes: &[Write]) -> Result<Committed, StoreError> {
        match self.try_commit(writes) {
            Ok(committed) => {
                self.last_error = None;
                self.notices_refused = self.notices_refused.saturating_add(committed.notices_refused);
                Ok(committed)
            }
            Err(error) => {
                self.failures = self.failures.saturating_add(1);
                self.last_error = Some(error.clone());
                Err(error)
            }
        }
    }

    fn try_commit(&mut self, writes: &[Write]) -> Result<Committed, StoreError> {
        if writes.len() > self.limits.writes_per_commit {
            return Err(StoreError::TooMany {
                what: "writes in a commit",
                limit: self.limits.writes_per_commit,
            });
        }
        // IMMEDIATE: the lock is taken, and waited for, before anything is read.
        let writer = match &mut self.writer {
            Some(writer) => writer,
            none => none.insert(Writer::open(&self.place, &self.limits)?.0),
        };
        let transaction = writer.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut tally = Tally::default();
        for write in writes {
            write.apply(&transaction, &self.limits, &mut tally)?;
        }
        tally.prune(&transaction, &self.limits)?;
        transaction.commit()?;
        Ok(tally.committed)
    }

    /// Reads through a connection of this store's own.
    pub fn read(&self) -> &Reader {
        &self.reader
    }

    /// A reader for another thread. It sees each commit whole or not at all, and holds up nobody;
    /// of a store in memory it may also see a commit that is under way.
    ///
    /// # Errors
    /// [`StoreError::Io`] where the file cannot be opened once more.
    pub fn reader(&self) -> Result<Reader, StoreError> {
        let reader = Reader::new(self.place.clone());
        reader.connection()?;
        Ok(reader)
    }

    /// The outbox for the thread that delivers, with a connection that writes.
    ///
    /// # Errors
    /// [`StoreError::InMemory`] where nothing lasts; [`StoreError::Io`] where the file cannot be
    /// opened once more.
    pub fn outbox(&self) -> Result<Outbox, StoreError> {
        match &self.place {
            Place::Memory(_) => Err(StoreError::InMemory),
            place @ Place::File(_) => {
                let lock = self.writer.as_ref().and_then(Writer::lock);
                Ok(Outbox::new(place.read_write()?, self.limits.clone(), lock))
            }
        }
    }

    /// Writes that one commit takes at most.
    pub fn writes_per_commit(&self) -> usize {
        self.limits.writes_per_commit
    }

    /// Whether what is committed outlives the process.
    pub fn is_durable(&self) -> bool {
        matches!(self.place, Place::File(_))
    }

    /// How the store is doing. What cannot be measured counts as 0.
    pub fn health(&self) -> Health {
        let size = |path: Option<PathBuf>| {
            path.and_then(|path| std::fs::metadata(path).ok()).map_or(0, |found| found.len())
        };
        Health {
            path: self.place.path(),
            last_error: self.last_error.clone(),
            failures: self.failures,
            file_bytes: size(self.place.path()),
            wal_bytes: size(self.place.beside("-wal")),
            outbox: self.reader.outbox_size().unwrap_or_default(),
            notices_refused: self.notices_refused,
        }
    }
}

#[cfg(test)]
mod tests;
