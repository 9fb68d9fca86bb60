//! Opening SQLite: what is checked before a file is trusted, and how each connection is set up.
//!
//! Beside the file `PATH` stand `PATH-wal` and `PATH-shm`, which are SQLite's, and `PATH.lock`, which
//! keeps a second process out: two that decide over one store would undo each other.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::error::StoreError;
use super::limits::Limits;
use super::schema::{self, Found, MIGRATIONS};

/// How long a connection waits for another one's write. Each of them takes milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long another process may still hold the store: one that is being replaced and about to end,
/// or a child that was forked and has not called `exec` yet, which holds a copy of the descriptor.
const OVERLAP: Duration = Duration::from_secs(1);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// The page size of our files: SQLite's default, and what the file's limit is counted in.
const PAGE_BYTES: u64 = 4096;
/// The smallest page that SQLite knows: other programs' files may have it.
const SMALLEST_PAGE: u64 = 512;
/// The write-ahead log is cut back to this size once it is copied into the file.
const LOG_BYTES: u64 = 4 * 1024 * 1024;

/// Where a store lives.
#[derive(Debug, Clone)]
pub(super) enum Place {
    /// In this file.
    File(PathBuf),
    /// In memory.
    Memory(Memory),
}

/// A store in memory, under a name that only this process can open.
///
/// It begins with its first commit: most sidecars without a file never make one, and SQLite costs
/// them nothing then. It lasts as long as anybody who knows the place.
#[derive(Debug, Clone)]
pub(super) struct Memory {
    uri: String,
    /// Unused: SQLite drops the memory with its last connection, and a reader's may come later than
    /// the writer's goes.
    kept: Arc<OnceLock<Mutex<Connection>>>,
}

/// The connection that writes.
#[derive(Debug)]
pub(super) struct Writer {
    pub connection: Connection,
    /// Held, not read: closing it lets another process in.
    _lock: Option<Arc<File>>,
}

impl Place {
    pub(super) fn memory() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        Self::Memory(Memory {
            uri: format!("file:switchback-{count}?mode=memory&cache=shared"),
            kept: Arc::default(),
        })
    }

    /// Whether there can be anything to read.
    pub(super) fn has_begun(&self) -> bool {
        match self {
            Self::File(_) => true,
            Self::Memory(memory) => memory.kept.get().is_some(),
        }
    }

    pub(super) fn path(&self) -> Option<PathBuf> {
        match self {
            Self::File(path) => Some(path.clone()),
            Self::Memory(_) => None,
        }
    }

    /// The file whose name is this one's with `suffix`.
    pub(super) fn beside(&self, suffix: &str) -> Option<PathBuf> {
        self.path().map(|path| with_suffix(&path, suffix))
    }

    /// A connection that cannot write.
    pub(super) fn read_only(&self) -> Result<Connection, StoreError> {
        let connection = match self {
            Self::File(path) => open(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?,
            Self::Memory(memory) => {
                let connection = open(Path::new(&memory.uri), SHARED)?;
                // Connections to one memory lock out each other's tables at once instead of waiting.
                connection.pragma_update(None, "read_uncommitted", true)?;
                connection
            }
        };
        connection.pragma_update(None, "query_only", true)?;
        Ok(connection)
    }

    /// A further connection that writes, to a file that [`Writer::open`] has brought up to date.
    pub(super) fn read_write(&self) -> Result<Connection, StoreError> {
        let connection = self.connect()?;
        durable(&connection)?;
        Ok(connection)
    }

    fn connect(&self) -> Result<Connection, StoreError> {
        match self {
            Self::File(path) => open(path, OpenFlags::SQLITE_OPEN_READ_WRITE),
            Self::Memory(memory) => open(Path::new(&memory.uri), SHARED),
        }
    }
}

const SHARED: OpenFlags = OpenFlags::SQLITE_OPEN_READ_WRITE
    .union(OpenFlags::SQLITE_OPEN_CREATE)
    .union(OpenFlags::SQLITE_OPEN_URI)
    .union(OpenFlags::SQLITE_OPEN_SHARED_CACHE);

impl Writer {
    /// Opens or makes the store, and says which schema was found (`None`: it is new).
    ///
    /// Until the file has been found sound, nothing is written to it.
    pub(super) fn open(place: &Place, limits: &Limits) -> Result<(Self, Option<i64>), StoreError> {
        let lock = match place {
            Place::File(path) => {
                let lock = lock(&with_suffix(path, ".lock"))?;
                prepare(path)?;
                Some(Arc::new(lock))
            }
            Place::Memory(_) => None,
        };
        let mut connection = place.connect()?;
        // Otherwise closing a file that was refused would copy its log into it.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        let found = schema::identify(&connection, schema::version(MIGRATIONS.len()))?;
        if found != Found::Nothing {
            check(&connection)?;
        }
        if matches!(place, Place::File(_)) {
            write_ahead(&connection)?;
        }
        durable(&connection)?;
        let pages = (limits.file_bytes / PAGE_BYTES).clamp(1, u64::from(u32::MAX - 1));
        connection.pragma_update_and_check(None, "max_page_count", pages.cast_signed(), |_| Ok(()))?;
        schema::migrate(&mut connection, found, MIGRATIONS)?;
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
        let schema = match found {
            Found::Nothing => None,
            Found::Schema(schema) => Some(schema),
        };
        if let Place::Memory(memory) = place {
            // From here on a further connection finds the schema.
            let _ = memory.kept.set(Mutex::new(place.connect()?));
        }
        Ok((Self { connection, _lock: lock }, schema))
    }

    /// The lock, for a connection that may outlive this one.
    pub(super) fn lock(&self) -> Option<Arc<File>> {
        self._lock.clone()
    }
}

fn open(path: &Path, flags: OpenFlags) -> Result<Connection, StoreError> {
    // Each connection stays with one thread at a time, so that SQLite's own mutex would be a second one.
    let connection = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX)?;
    connection.busy_timeout(PATIENCE)?;
    connection.pragma_update(None, "trusted_schema", false)?;
    Ok(connection)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let file = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path)?;
    let until = Instant::now() + OVERLAP;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOOK_AGAIN),
            Err(TryLockError::WouldBlock) => return Err(StoreError::InUse),
            Err(TryLockError::Error(error)) => return Err(error.into()),
        }
    }
}

/// Makes the file, for this user alone, where there is none.
fn prepare(path: &Path) -> Result<(), StoreError> {
    let size = |path: &Path| std::fs::metadata(path).map_or(0, |found| found.len());
    let (file, log) = (size(path), size(&with_suffix(path, "-wal")));
    let unfinished = log > 0 || size(&with_suffix(path, "-journal")) > 0;
    // SQLite deletes the log of an empty file. But our file is never empty once it has a log, so
    // somebody emptied it, and the log may hold all that is left.
    if file == 0 && log > 0 {
        return Err(StoreError::Corrupt("the file is empty or missing, and its log is not".to_owned()));
    }
    // SQLite takes what is missing of the last page for zeros. With a log, that page is in it.
    if file % SMALLEST_PAGE != 0 && !unfinished {
        return Err(StoreError::Corrupt(format!("{file} bytes are no whole number of pages")));
    }
    match OpenOptions::new().create_new(true).write(true).mode(0o600).open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(error.into()),
    }
}

fn check(connection: &Connection) -> Result<(), StoreError> {
    let found: String = connection.query_row("PRAGMA quick_check(1)", [], |row| row.get(0))?;
    if found == "ok" { Ok(()) } else { Err(StoreError::Corrupt(found)) }
}

fn write_ahead(connection: &Connection) -> Result<(), StoreError> {
    let mode: String = connection.pragma_update_and_check(None, "journal_mode", "wal", |row| row.get(0))?;
    if mode != "wal" {
        return Err(StoreError::Io(format!("no write-ahead log on this file system, only {mode}")));
    }
    Ok(())
}

/// A commit returns once it is on the disk.
fn durable(connection: &Connection) -> Result<(), StoreError> {
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update_and_check(None, "journal_size_limit", LOG_BYTES.cast_signed(), |_| Ok(()))?;
    Ok(())
}
