//! Files that the configuration names.

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::super::problem::Report;
use super::super::read::Field;
use super::super::text::PathText;

/// `written` as seen from the configuration's folder.
pub(super) fn resolve(base: &Path, written: &str) -> PathBuf {
    base.join(written)
}

/// A file that must be there.
pub(super) fn existing(field: &Field<PathText>, base: &Path, report: &mut Report) -> Option<PathBuf> {
    let given = field.given()?;
    let path = resolve(base, &given.value.0);
    if let Some(reason) = unreadable(&path) {
        report.wrong(&given.at, format!("{} {reason}", path.display()), hint(base));
    }
    Some(path)
}

/// A file that is made when it is not there; its folder is not.
pub(super) fn made(field: &Field<PathText>, base: &Path, report: &mut Report) -> Option<PathBuf> {
    let given = field.given()?;
    let path = resolve(base, &given.value.0);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    if path.is_dir() {
        report.wrong(&given.at, format!("{} is a folder", path.display()), "write the path of a file");
    } else if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        report.wrong(&given.at, format!("there is no folder {}", folder.display()), hint(base));
    }
    Some(path)
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
