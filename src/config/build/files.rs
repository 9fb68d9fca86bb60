//! Files that the configuration names.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// `written` as seen from the configuration's folder.
pub(super) fn resolve(base: &Path, written: &str) -> PathBuf {
    base.join(written)
}

/// Why the file cannot be read, in words that follow its name; `None` when it can.
pub(super) fn unreadable(path: &Path) -> Option<String> {
    // A pipe would block on opening, so its kind is looked at first.
    let opened =
        path.metadata().and_then(|meta| if meta.is_file() { File::open(path).map(Some) } else { Ok(None) });
    match opened {
        Ok(Some(_)) => None,
        Ok(None) => Some("is not a file".to_owned()),
        Err(error) => Some(reason(&error)),
    }
}

fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        ErrorKind::NotFound => "does not exist".to_owned(),
        ErrorKind::PermissionDenied => "may not be read by this user".to_owned(),
        _ => format!("cannot be read ({error})"),
    }
}

/// What to do about a missing file.
pub(super) fn hint(base: &Path) -> String {
    let folder = if base.as_os_str().is_empty() { Path::new(".") } else { base };
    format!("check the path; relative ones start at {}", folder.display())
}
