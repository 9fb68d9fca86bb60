//! Why a store could not be opened, or did not take or give something, and what to do about it.

use rusqlite::ErrorCode;
use rusqlite::ffi::{SQLITE_IOERR_SHMSIZE, SQLITE_NOTADB};

/// Why an operation of a store failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StoreError {
    /// No room: the disk, the quota, or the store's own limit.
    #[error("no room for the store ({0})")]
    Full(String),
    /// Another connection held the file for longer than was waited.
    #[error("the store is busy ({0})")]
    Busy(String),
    /// The file is damaged, or is not SQLite's.
    #[error("the store's file is damaged ({0})")]
    Corrupt(String),
    /// The operating system failed to read, write or open.
    #[error("the store's file cannot be used ({0})")]
    Io(String),
    /// A database, but not one of Switchback's.
    #[error("the file is a database of another program")]
    Foreign,
    /// Written by a later release.
    #[error("the store has schema {found}; this release knows schemas up to {known}")]
    Newer {
        /// The schema version of the file.
        found: i64,
        /// The latest schema version that this build knows.
        known: i64,
    },
    /// Another process has the store open.
    #[error("the store is in use by another process")]
    InUse,
    /// The store is in memory; what was asked for needs a file.
    #[error("the store is in memory")]
    InMemory,
    /// A text is longer than may be kept.
    #[error("{what} has {bytes} bytes; at most {limit} are kept")]
    TooLarge {
        /// What it is.
        what: &'static str,
        /// Its length, in bytes.
        bytes: usize,
        /// The most that is kept.
        limit: usize,
    },
    /// There are as many of something as may be.
    #[error("too many {what}: at most {limit} are kept")]
    TooMany {
        /// Of what.
        what: &'static str,
        /// The most that are kept.
        limit: usize,
    },
    /// What is to be written contradicts what is there.
    #[error("the store holds something else: {0}")]
    Conflict(String),
    /// A bug: SQL that does not fit the schema.
    #[error("the store misunderstood itself ({0})")]
    Internal(String),
}

impl StoreError {
    /// One word for metrics and logs.
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Full(_) => "full",
            Self::Busy(_) => "busy",
            Self::Corrupt(_) => "corrupt",
            Self::Io(_) => "io",
            Self::Foreign => "foreign",
            Self::Newer { .. } => "newer",
            Self::InUse => "in_use",
            Self::InMemory => "in_memory",
            Self::TooLarge { .. } => "too_large",
            Self::TooMany { .. } => "too_many",
            Self::Conflict(_) => "conflict",
            Self::Internal(_) => "internal",
        }
    }

    /// What an operator can do, as a sentence.
    pub fn advice(&self) -> &'static str {
        match self {
            Self::Full(_) => {
                "Free space on the volume of the store or enlarge it; what has happened meanwhile is \
                 written with the next commit."
            }
            Self::Busy(_) => "Find out what else has the file open (a shell, a backup) and end it.",
            Self::Corrupt(_) => {
                "Stop the process, move the file with its -wal and -shm aside, and restore a copy; an \
                 empty store forgets which candidates were rolled back."
            }
            Self::Io(_) => {
                "See that the folder exists, that this user may write to it, and that the disk is sound."
            }
            Self::Foreign => "Give the store a path of its own.",
            Self::Newer { .. } => "Run the release that wrote the store, or give this one another path.",
            Self::InUse => "Give every process a store of its own, or end the other process.",
            Self::InMemory => "Give the store a path where it should last.",
            Self::TooLarge { .. } => "Make it shorter.",
            Self::TooMany { .. } => "End or clear some of them first.",
            Self::Conflict(_) => "Read what is there and decide anew.",
            Self::Internal(_) => "Report it, with this message.",
        }
    }

    /// Whether the store itself is in trouble, so that new rollouts are to be refused; otherwise
    /// only what was asked for was wrong.
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Full(_) | Self::Busy(_) | Self::Corrupt(_) | Self::Io(_) => true,
            Self::Foreign | Self::Newer { .. } | Self::InUse | Self::InMemory | Self::Internal(_) => true,
            Self::TooLarge { .. } | Self::TooMany { .. } | Self::Conflict(_) => false,
        }
    }
}

impl From<rusqlite::Error> for StoreError {
    fn from(error: rusqlite::Error) -> Self {
        let text = error.to_string();
        let rusqlite::Error::SqliteFailure(failure, _) = &error else {
            return match error {
                rusqlite::Error::FromSqlConversionFailure(..)
                | rusqlite::Error::IntegralValueOutOfRange(..)
                | rusqlite::Error::InvalidColumnType(..)
                | rusqlite::Error::Utf8Error(..) => Self::Corrupt(text),
                rusqlite::Error::InvalidPath(_) | rusqlite::Error::NulError(_) => Self::Io(text),
                _ => Self::Internal(text),
            };
        };
        match failure.code {
            // The index of the write-ahead log could not grow: that, too, is a full disk.
            _ if failure.extended_code == SQLITE_IOERR_SHMSIZE => Self::Full(text),
            _ if failure.extended_code == SQLITE_NOTADB => Self::Corrupt(text),
            ErrorCode::DiskFull => Self::Full(text),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => Self::Busy(text),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => Self::Corrupt(text),
            ErrorCode::ConstraintViolation => Self::Conflict(text),
            ErrorCode::TooBig => Self::Full(text),
            ErrorCode::SystemIoFailure
            | ErrorCode::CannotOpen
            | ErrorCode::ReadOnly
            | ErrorCode::PermissionDenied
            | ErrorCode::FileLockingProtocolFailed
            | ErrorCode::NoLargeFileSupport
            | ErrorCode::OutOfMemory => Self::Io(text),
            _ => Self::Internal(text),
        }
    }
}

impl From<std::io::Error> for StoreError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => {
                Self::Full(error.to_string())
            }
            _ => Self::Io(error.to_string()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rusqlite::ffi;

    fn failure(code: i32) -> StoreError {
        rusqlite::Error::SqliteFailure(ffi::Error::new(code), None).into()
    }

    #[test]
    fn what_sqlite_reports_becomes_the_reason_an_operator_can_act_on() {
        for (code, reason) in [
            (ffi::SQLITE_FULL, "full"),
            (ffi::SQLITE_IOERR_SHMSIZE, "full"),
            (ffi::SQLITE_IOERR_FSYNC, "io"),
            (ffi::SQLITE_IOERR_WRITE, "io"),
            (ffi::SQLITE_CANTOPEN, "io"),
            (ffi::SQLITE_READONLY, "io"),
            (ffi::SQLITE_BUSY, "busy"),
            (ffi::SQLITE_LOCKED, "busy"),
            (ffi::SQLITE_CORRUPT, "corrupt"),
            (ffi::SQLITE_NOTADB, "corrupt"),
            (ffi::SQLITE_CONSTRAINT_PRIMARYKEY, "conflict"),
            (ffi::SQLITE_ERROR, "internal"),
        ] {
            let error = failure(code);
            assert_eq!(error.reason(), reason, "{code}: {error}");
            assert!(error.advice().ends_with('.'));
        }
    }

    #[test]
    fn only_trouble_of_the_store_itself_is_an_outage() {
        assert!(failure(ffi::SQLITE_FULL).is_outage());
        assert!(!failure(ffi::SQLITE_CONSTRAINT).is_outage());
        assert!(!StoreError::TooMany { what: "latches", limit: 1 }.is_outage());
    }
}
