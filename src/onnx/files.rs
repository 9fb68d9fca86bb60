//! Reading the small files that lie beside a model, and digests of the large ones.

use std::fs::File;
use std::io::{ErrorKind, Read as _};
use std::path::Path;

use ring::digest::{Context, SHA256};

/// Opens a file to read it. Whatever else a name may lead to is refused: a pipe would block whoever
/// opens it, for as long as nobody writes.
///
/// # Errors
/// Why it can't be opened.
pub(super) fn open(path: &Path) -> std::io::Result<File> {
    match std::fs::metadata(path)?.is_file() {
        true => File::open(path),
        false => Err(std::io::Error::new(ErrorKind::InvalidInput, "it is no file")),
    }
}

/// The whole file when it is there and not longer than `longest` bytes.
///
/// # Errors
/// Why it can't be read, in one line that names it.
pub(super) fn read_small(path: &Path, longest: u64) -> Result<Option<Vec<u8>>, String> {
    let about = |reason: &dyn std::fmt::Display| format!("{}: {reason}", path.display());
    let file = match open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(about(&error)),
    };
    let mut bytes = Vec::new();
    file.take(longest + 1).read_to_end(&mut bytes).map_err(|error| about(&error))?;
    if u64::try_from(bytes.len()).unwrap_or(u64::MAX) > longest {
        return Err(about(&format!("it is longer than {longest} bytes")));
    }
    Ok(Some(bytes))
}

/// SHA-256 of a file in lower case hexadecimal. Ends early, with an error, when `stop` says so.
///
/// # Errors
/// Why it can't be read.
pub(super) fn sha256(path: &Path, stop: impl Fn() -> bool) -> std::io::Result<String> {
    let mut file = open(path)?;
    let mut hash = Context::new(&SHA256);
    let mut buffer = vec![0; 256 * 1024];
    loop {
        if stop() {
            return Err(std::io::Error::other("nobody waits for it any more"));
        }
        let read = file.read(&mut buffer)?;
        match buffer.get(..read) {
            None | Some([]) => break,
            Some(bytes) => hash.update(bytes),
        }
    }
    Ok(hash.finish().as_ref().iter().map(|byte| format!("{byte:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_file_is_refused_and_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let pipe = folder.path().join("metadata.json");
        let made = std::process::Command::new("mkfifo").arg(&pipe).status().unwrap();
        assert!(made.success());
        for path in [pipe.as_path(), folder.path()] {
            assert!(read_small(path, 10).unwrap_err().ends_with("it is no file"));
            assert!(sha256(path, || false).is_err());
        }
        assert_eq!(read_small(&folder.path().join("absent"), 10), Ok(None));
    }

    #[test]
    fn a_file_that_is_too_long_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("golden.json");
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_small(&path, 5).unwrap().unwrap(), b"12345");
        assert!(read_small(&path, 4).unwrap_err().contains("longer than 4 bytes"));
    }
}
