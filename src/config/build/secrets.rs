//! Secrets, from a file or from the environment, never from the configuration itself. What they
//! are is never shown, not even when it is wrong.

use std::fs::File;
use std::io::Read as _;
use std::path::Path;

use crate::notify::Secret;

use super::super::problem::{At, Report};
use super::super::read::Field;
use super::super::text::{EnvironmentText, PathText};
use super::files;

/// Longest secret, in bytes.
const LONGEST: usize = 4096;

/// Where one secret may come from.
pub(super) struct Source<'r> {
    /// The key that names a file, for messages.
    pub file_key: &'static str,
    /// What it says.
    pub file: &'r Field<PathText>,
    /// The key that names an environment variable, for messages.
    pub env_key: &'static str,
    /// What it says.
    pub env: &'r Field<EnvironmentText>,
}

/// A secret and where it comes from.
pub(super) struct Found {
    /// The secret.
    pub secret: Secret,
    /// Where its source is written.
    pub at: At,
}

impl Source<'_> {
    /// Whether a source is written, good or not.
    pub(super) fn is_written(&self) -> bool {
        !self.file.is_missing() || !self.env.is_missing()
    }

    /// The secret, which must have exactly one source. `at` is the section's place.
    pub(super) fn required(&self, at: &At, base: &Path, report: &mut Report) -> Option<Found> {
        let written = [(self.file_key, self.file.is_missing()), (self.env_key, self.env.is_missing())];
        super::exactly_one("source of the secret", &written, at, report)?;
        self.optional(base, report)
    }

    /// The secret, if it has a source.
    pub(super) fn optional(&self, base: &Path, report: &mut Report) -> Option<Found> {
        if let (Some(_), Some(env)) = (self.file.given(), self.env.given()) {
            let message = format!("two sources of one secret: {} and {}", self.file_key, self.env_key);
            report.wrong(&env.at, message, "keep one");
            return None;
        }
        let (text, at) = match (self.file.given(), self.env.given()) {
            (Some(file), _) => {
                let path = files::resolve(base, &file.value.0);
                if let Some(reason) = files::unreadable(&path) {
                    report.wrong(&file.at, format!("{} {reason}", path.display()), files::hint(base));
                    return None;
                }
                (from_file(&path), &file.at)
            }
            (None, Some(env)) => match std::env::var_os(&env.value.0) {
                Some(text) => (text.into_string().map_err(|_| "is not UTF-8 text"), &env.at),
                None => {
                    let message = format!("the environment has no {}", env.value.0);
                    report.wrong(&env.at, message, "set it where Switchback is started, or name a file");
                    return None;
                }
            },
            (None, None) => return None,
        };
        match text.and_then(check) {
            Ok(text) => Some(Found { secret: Secret::new(text), at: at.clone() }),
            Err(why) => {
                report.wrong(at, format!("the secret {why}"), "write one line of visible text");
                None
            }
        }
    }
}

fn from_file(path: &Path) -> Result<String, &'static str> {
    let mut bytes = Vec::new();
    let most = u64::try_from(LONGEST + 2).unwrap_or(u64::MAX);
    match File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)) {
        Ok(_) => String::from_utf8(bytes).map_err(|_| "is not UTF-8 text"),
        Err(_) => Err("cannot be read"),
    }
}

/// A secret as it is sent: editors and `echo` put a line feed at the end, which is no part of it.
fn check(text: String) -> Result<String, &'static str> {
    let text = text.trim_end_matches(['\r', '\n']);
    match text.len() {
        0 => Err("is empty"),
        n if n > LONGEST => Err("is longer than 4 KiB"),
        _ if text.trim() != text || !text.bytes().all(|b| (b' '..=b'~').contains(&b)) => {
            Err("has characters that cannot be sent")
        }
        _ => Ok(text.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_one_line_of_visible_text() {
        assert_eq!(check("s3cret\r\n".to_owned()), Ok("s3cret".to_owned()));
        for bad in ["", "\n", " a", "a\nb", "a\tb", "\u{e9}", &"x".repeat(LONGEST + 1)] {
            assert!(check(bad.to_owned()).is_err(), "{bad:?}");
        }
        assert_eq!(check("x".repeat(LONGEST)).map(|t| t.len()), Ok(LONGEST));
    }
}
