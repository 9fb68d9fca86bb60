//! Small files that are named on the command line.

use std::io::Read as _;
use std::path::Path;

use super::exit::Failure;

/// The text of the file at `path`, or of standard input for `-`, up to `most` bytes.
pub(super) fn read(path: &Path, most: usize) -> Result<String, Failure> {
    let failed = |why: &dyn std::fmt::Display| Failure::error(format!("{}: {why}", path.display()));
    let limit = u64::try_from(most).unwrap_or(u64::MAX).saturating_add(1);
    let mut text = String::new();
    let read = match path.as_os_str() == "-" {
        true => std::io::stdin().lock().take(limit).read_to_string(&mut text),
        false => std::fs::File::open(path).and_then(|file| file.take(limit).read_to_string(&mut text)),
    };
    match read {
        Ok(length) if length > most => Err(failed(&format_args!("it is longer than {most} bytes"))),
        Ok(_) => Ok(text),
        Err(error) => Err(failed(&error)),
    }
}
