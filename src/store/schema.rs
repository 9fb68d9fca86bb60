//! The tables, and how a file of an earlier release becomes one of this release.
//!
//! Migrations only go forward. Each one is applied in a transaction together with its number
//! (`user_version`), so that a crash leaves the file before or after it and never between. What is
//! written here once is never changed: a later release adds to the end.

use rusqlite::{Connection, TransactionBehavior};

use super::error::StoreError;

/// Marks the file as Switchback's in SQLite's header (`application_id`): "SwBk".
pub(super) const APPLICATION: i64 = 0x5377_426B;

/// Step `n` leads from schema `n` to schema `n + 1`.
pub(super) const MIGRATIONS: &[&str] = &["
    CREATE TABLE rollouts (
        id TEXT PRIMARY KEY,
        model TEXT NOT NULL,
        phase TEXT NOT NULL,
        terminal INTEGER NOT NULL CHECK (terminal IN (0, 1)),
        created_ms INTEGER NOT NULL,
        updated_ms INTEGER NOT NULL,
        state TEXT NOT NULL
    ) STRICT;
    CREATE INDEX rollouts_by_time ON rollouts (created_ms, id);
    CREATE INDEX rollouts_by_model ON rollouts (model, created_ms, id);

    CREATE TABLE decisions (
        rollout TEXT NOT NULL REFERENCES rollouts (id) ON DELETE CASCADE,
        seq INTEGER NOT NULL,
        at_ms INTEGER NOT NULL,
        kind TEXT NOT NULL,
        record TEXT NOT NULL,
        PRIMARY KEY (rollout, seq)
    ) STRICT;
    CREATE TRIGGER decisions_are_final BEFORE UPDATE ON decisions
    BEGIN SELECT RAISE(ABORT, 'a decision is never changed'); END;

    CREATE TABLE latches (
        model TEXT NOT NULL,
        digest TEXT NOT NULL,
        since_ms INTEGER NOT NULL,
        reason TEXT NOT NULL,
        PRIMARY KEY (model, digest)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE roles (
        model TEXT PRIMARY KEY,
        updated_ms INTEGER NOT NULL,
        roles TEXT NOT NULL
    ) STRICT;

    CREATE TABLE idempotency_keys (
        key TEXT PRIMARY KEY,
        at_ms INTEGER NOT NULL,
        request TEXT NOT NULL,
        answer TEXT NOT NULL
    ) STRICT;
    CREATE INDEX idempotency_keys_by_time ON idempotency_keys (at_ms, key);

    CREATE TABLE candidates (
        model TEXT NOT NULL,
        version TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        spec TEXT NOT NULL,
        PRIMARY KEY (model, version)
    ) STRICT;

    CREATE TABLE outbox (
        position INTEGER PRIMARY KEY AUTOINCREMENT,
        id TEXT NOT NULL UNIQUE,
        sink TEXT NOT NULL,
        created_ms INTEGER NOT NULL,
        attempts INTEGER NOT NULL,
        next_ms INTEGER NOT NULL,
        bytes INTEGER NOT NULL,
        event TEXT NOT NULL
    ) STRICT;
    CREATE INDEX outbox_by_sink ON outbox (sink, position);
    CREATE INDEX outbox_by_size ON outbox (bytes);
"];

/// What a file was before it was brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// No schema: a new file.
    Nothing,
    /// This schema.
    Schema(i64),
}

/// What the file is, without changing it.
///
/// # Errors
/// [`StoreError::Foreign`] and [`StoreError::Newer`] where it cannot be used.
pub(super) fn identify(connection: &Connection, known: i64) -> Result<Found, StoreError> {
    let number = |pragma: &str| {
        connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0)).map_err(StoreError::from)
    };
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let (application, found) = (number("application_id")?, number("user_version")?);
    if tables == 0 && application == 0 && found == 0 {
        return Ok(Found::Nothing);
    }
    if application != APPLICATION {
        return Err(StoreError::Foreign);
    }
    // The mark and the first schema come in one transaction, so that a mark without one is damage.
    match found {
        found if found > known => Err(StoreError::Newer { found, known }),
        found if found < 1 => Err(StoreError::Corrupt(format!("schema {found}"))),
        found => Ok(Found::Schema(found)),
    }
}

/// Brings the file from what it is to the end of `migrations`.
///
/// # Errors
/// What the disk says; the file is then at one of the schemas on the way.
pub(super) fn migrate(
    connection: &mut Connection,
    found: Found,
    migrations: &[&str],
) -> Result<(), StoreError> {
    let done = match found {
        Found::Nothing => 0,
        Found::Schema(found) => usize::try_from(found).unwrap_or(usize::MAX),
    };
    for (index, step) in migrations.iter().enumerate().skip(done) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", version(index + 1))?;
        transaction.commit()?;
    }
    Ok(())
}

/// The number of the schema after `steps` migrations.
pub(super) fn version(steps: usize) -> i64 {
    i64::try_from(steps).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEPS: &[&str] = &["CREATE TABLE a (x TEXT) STRICT", "ALTER TABLE a ADD COLUMN y TEXT"];

    fn memory() -> Connection {
        Connection::open_in_memory().unwrap()
    }

    #[test]
    fn a_file_of_an_earlier_release_is_brought_forward_with_its_rows() {
        let mut old = memory();
        assert_eq!(identify(&old, 2), Ok(Found::Nothing));
        migrate(&mut old, Found::Nothing, &STEPS[..1]).unwrap();
        old.execute("INSERT INTO a VALUES ('kept')", []).unwrap();
        assert_eq!(identify(&old, 2), Ok(Found::Schema(1)));
        migrate(&mut old, Found::Schema(1), STEPS).unwrap();
        assert_eq!(identify(&old, 2), Ok(Found::Schema(2)));
        let kept: (String, Option<String>) =
            old.query_row("SELECT x, y FROM a", [], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
        assert_eq!(kept, ("kept".to_owned(), None));
    }

    #[test]
    fn a_migration_that_fails_leaves_the_schema_before_it() {
        let mut connection = memory();
        let broken = [STEPS[0], "CREATE TABLE b (x TEXT) STRICT; CREATE TABLE a (x TEXT) STRICT"];
        assert!(migrate(&mut connection, Found::Nothing, &broken).is_err());
        assert_eq!(identify(&connection, 2), Ok(Found::Schema(1)));
        let tables: i64 =
            connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).unwrap();
        assert_eq!(tables, 1, "table b is gone again");
    }

    #[test]
    fn a_file_of_a_later_release_is_refused_by_name_of_both_schemas() {
        let mut connection = memory();
        migrate(&mut connection, Found::Nothing, STEPS).unwrap();
        assert_eq!(identify(&connection, 1), Err(StoreError::Newer { found: 2, known: 1 }));
    }

    #[test]
    fn a_database_of_another_program_is_refused() {
        let other = memory();
        other.execute_batch("CREATE TABLE theirs (x)").unwrap();
        assert_eq!(identify(&other, 1), Err(StoreError::Foreign));
    }
}
