//! Files that are not what they should be, and disks that are full.

use std::fs;
use std::process::Command;

use super::*;

/// A store with some rows in it, closed.
fn written(folder: &Folder) -> Vec<u8> {
    let mut store = folder.open();
    for number in 0..50 {
        let id = format!("r{number}");
        let row = Rollout { state: "s".repeat(500), ..rollout(&id, "x", number, true) };
        store.commit(&[Write::Rollout(row), Write::Decision(decision(&id, 0))]).unwrap();
    }
    drop(store);
    let bytes = fs::read(folder.path()).unwrap();
    assert!(bytes.len() > 40_000, "the log was copied into the file when it was closed");
    bytes
}

fn refused(folder: &Folder) -> StoreError {
    let before = fs::read(folder.path()).unwrap();
    let error = Store::open(&folder.path()).unwrap_err();
    assert_eq!(fs::read(folder.path()).unwrap(), before, "the file is left as it was");
    error
}

#[test]
fn a_file_of_garbage_is_refused_and_left_alone() {
    let folder = Folder::new();
    fs::write(folder.path(), b"not a database, but somebody's notes, ".repeat(300)).unwrap();
    assert_eq!(refused(&folder).reason(), "corrupt");
}

#[test]
fn a_truncated_file_is_refused_and_left_alone() {
    let folder = Folder::new();
    let whole = written(&folder);
    for length in [50, 1_000, 4_096, whole.len() / 2, whole.len() - 1] {
        fs::write(folder.path(), &whole[..length]).unwrap();
        let error = refused(&folder);
        assert_eq!(error.reason(), "corrupt", "{length} bytes: {error}");
    }
    fs::write(folder.path(), &whole).unwrap();
    assert_eq!(folder.open().read().rollouts(&Page::default()).unwrap().len(), 50);
}

#[test]
fn a_file_with_a_page_overwritten_is_refused_and_left_alone() {
    let folder = Folder::new();
    let mut bytes = written(&folder);
    for byte in bytes.iter_mut().skip(3 * 4_096).take(4_096) {
        *byte = 0xA5;
    }
    fs::write(folder.path(), &bytes).unwrap();
    assert_eq!(refused(&folder).reason(), "corrupt");
}

#[test]
fn an_emptied_file_whose_log_is_left_is_not_taken_for_a_new_one() {
    let folder = Folder::new();
    let mut store = folder.open();
    store.commit(&[Write::Latch(latch("x", "d"))]).unwrap();
    let log = fs::read(folder.path().with_extension("db-wal")).unwrap();
    drop(store);
    for emptied in [true, false] {
        fs::write(folder.path().with_extension("db-wal"), &log).unwrap();
        if emptied {
            fs::write(folder.path(), b"").unwrap();
        } else {
            fs::remove_file(folder.path()).unwrap();
        }
        assert_eq!(Store::open(&folder.path()).unwrap_err().reason(), "corrupt");
        assert_eq!(fs::read(folder.path().with_extension("db-wal")).unwrap(), log, "the log is left");
    }
}

#[test]
fn a_store_that_another_process_is_about_to_leave_is_waited_for() {
    let folder = Folder::new();
    let held = folder.open();
    let begun = std::sync::Barrier::new(2);
    std::thread::scope(|scope| {
        let next = scope.spawn(|| {
            begun.wait();
            Store::open(&folder.path()).map(drop)
        });
        begun.wait();
        drop(held);
        assert_eq!(next.join().unwrap(), Ok(()));
    });
}

#[test]
fn an_empty_file_is_a_new_store() {
    let folder = Folder::new();
    fs::write(folder.path(), b"").unwrap();
    let (_, recovered) = Store::open(&folder.path()).unwrap();
    assert!(recovered.created);
}

#[test]
fn a_database_of_another_program_or_a_later_release_is_refused_and_left_alone() {
    let folder = Folder::new();
    let other = rusqlite::Connection::open(folder.path()).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    drop(other);
    assert_eq!(refused(&folder), StoreError::Foreign);

    let folder = Folder::new();
    written(&folder);
    let later = rusqlite::Connection::open(folder.path()).unwrap();
    later.pragma_update(None, "user_version", 99).unwrap();
    drop(later);
    let error = refused(&folder);
    assert_eq!(error, StoreError::Newer { found: 99, known: 1 });
    assert!(error.to_string().contains("99"), "{error}");
}

#[test]
fn a_second_process_is_kept_out_until_the_first_one_ends() {
    let folder = Folder::new();
    let store = folder.open();
    assert_eq!(Store::open(&folder.path()).unwrap_err(), StoreError::InUse);
    let outbox = store.outbox().unwrap();
    drop(store);
    assert_eq!(Store::open(&folder.path()).unwrap_err(), StoreError::InUse, "it still delivers");
    drop(outbox);
    folder.open();
}

#[test]
fn a_folder_that_is_missing_is_an_error_and_not_made() {
    let folder = Folder::new();
    let path = folder.path().join("no/such/state.db");
    let error = Store::open(&path).unwrap_err();
    assert_eq!(error.reason(), "io");
    assert!(error.advice().contains("folder"));
    assert!(!folder.path().exists());
}

#[test]
fn the_files_are_for_this_user_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = Folder::new();
    let mut store = folder.open();
    store.commit(&[Write::Latch(latch("x", "d"))]).unwrap();
    for name in ["db", "db-wal", "db-shm", "db.lock"] {
        let mode = fs::metadata(folder.path().with_extension(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
}

/// Commits until there is no room, then checks that nothing acknowledged is lost.
fn fill(mut store: Store, state_bytes: usize) -> (Store, Vec<String>) {
    let mut kept = Vec::new();
    for number in 0..10_000_u64 {
        let id = format!("r{number}");
        let row = Rollout { state: "s".repeat(state_bytes), ..rollout(&id, &id, number, true) };
        match store.commit(&[Write::Rollout(row), Write::Decision(decision(&id, 0))]) {
            Ok(_) => kept.push(id),
            Err(error) => {
                assert_eq!(error.reason(), "full", "{error}");
                assert!(error.is_outage());
                assert_eq!(store.health().last_error, Some(error));
                for id in &kept {
                    assert!(store.read().rollout(id).unwrap().is_some(), "{id} was acknowledged");
                    assert_eq!(store.read().decisions(id, None, 0).unwrap().len(), 1);
                }
                assert_eq!(store.read().rollout(&id), Ok(None), "the one that failed is not there by half");
                return (store, kept);
            }
        }
    }
    panic!("there is no end to this disk");
}

#[test]
fn a_store_at_its_own_limit_says_so_and_goes_on_when_there_is_room() {
    let folder = Folder::new();
    let limits = Limits { file_bytes: 512 * 1024, ..Limits::default() };
    let (mut store, kept) = fill(folder.open_with(limits.clone()), 4_000);
    assert!(kept.len() > 50, "{} fitted", kept.len());
    let tiny = Limits { rollouts: 10, ..limits };
    drop(store);
    store = folder.open_with(tiny);
    writing(&store).execute("DELETE FROM rollouts WHERE created_ms < 20", []).unwrap();
    store.commit(&[Write::Rollout(rollout("after", "x", 99_999, true))]).unwrap();
    assert_eq!(store.health().last_error, None);
}

/// A tmpfs of 1 MB that is unmounted at the end.
struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    fn mount() -> Result<Self, String> {
        let folder = tempfile::tempdir().unwrap();
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
            .arg(folder.path())
            .output()
            .map_err(|error| format!("mount cannot be run: {error}"))?;
        if mount.status.success() {
            Ok(Self(folder))
        } else {
            Err(String::from_utf8_lossy(&mount.stderr).trim().to_owned())
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.0.path()).status();
    }
}

#[test]
fn a_full_disk_loses_nothing_that_was_acknowledged_and_can_be_freed() {
    let disk = match SmallDisk::mount() {
        Ok(disk) => disk,
        Err(reason) => {
            println!("skipped, a small disk cannot be mounted here: {reason}");
            return;
        }
    };
    let ballast = disk.0.path().join("ballast");
    fs::write(&ballast, vec![0; 300 * 1024]).unwrap();
    let path = disk.0.path().join("state.db");
    let (mut store, kept) = fill(Store::open(&path).unwrap().0, 2_000);
    let full = store.commit(&[Write::Latch(latch("x", &"d".repeat(1_000)))]);
    assert!(full.is_err() || store.read().latches(None).unwrap().len() == 1);

    fs::remove_file(&ballast).unwrap();
    store.commit(&[Write::Rollout(rollout("after", "x", 99_999, true))]).unwrap();
    drop(store);
    let (store, _) = Store::open(&path).unwrap();
    for id in kept.iter().map(String::as_str).chain(["after"]) {
        assert!(store.read().rollout(id).unwrap().is_some(), "{id} was acknowledged");
    }
}

#[test]
fn a_disk_that_is_full_from_the_start_is_reported_and_memory_serves() {
    let Ok(disk) = SmallDisk::mount() else {
        println!("skipped, a small disk cannot be mounted here");
        return;
    };
    let _ = fs::write(disk.0.path().join("ballast"), vec![0; 2 * 1024 * 1024]);
    let error = Store::open(&disk.0.path().join("state.db")).unwrap_err();
    assert_eq!(error.reason(), "full", "{error}");
    Store::in_memory().commit(&[Write::Latch(latch("x", "d"))]).unwrap();
}
