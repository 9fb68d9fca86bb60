//! Mistakes of a configuration: where each is, what is wrong and what to write instead.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

/// Most mistakes that are listed; the rest is counted.
const MOST: usize = 500;

/// Whether a configuration with this problem is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Severity {
    /// Refused.
    Error,
    /// Accepted; perhaps not what was meant.
    Warning,
}

/// One mistake. Displayed as one line:
/// `switchback.yaml:12:15: models[0].versions[1].weight: "10" is not a weight: write "10%" or "10bp"`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// Refused or only warned about.
    pub severity: Severity,
    /// Where in the structure, such as `models[0].name`; empty for the file as a whole.
    pub path: String,
    /// Line, from 1; 0 when the file could not be read at all.
    pub line: u32,
    /// Column in characters, from 1; 0 like `line`.
    pub column: u32,
    /// The value as it was written, shortened; empty for lists, mappings and missing keys.
    pub value: String,
    /// What is wrong.
    pub message: String,
    /// What to write instead; may be empty.
    pub fix: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        f.write_str(": ")?;
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        if self.fix.is_empty() { Ok(()) } else { write!(f, ": {}", self.fix) }
    }
}

/// Why a configuration is refused: all mistakes, in the order of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The mistakes; never empty.
    pub problems: Vec<Problem>,
    /// What would have been warned about beside them.
    pub warnings: Vec<Problem>,
    /// Mistakes beyond the first 500, counted and not listed.
    pub omitted: usize,
}

impl fmt::Display for ConfigErrors {
    /// One line per mistake, without a line feed at the end.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.problems.iter().enumerate() {
            write!(f, "{}{problem}", if i == 0 { "" } else { "\n" })?;
        }
        match self.omitted {
            0 => Ok(()),
            n => write!(f, "\nand {n} more"),
        }
    }
}

impl std::error::Error for ConfigErrors {}

/// A place in the configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct At {
    /// Like [`Problem::path`].
    pub path: String,
    /// Line, from 1.
    pub line: u32,
    /// Column, from 1.
    pub column: u32,
    /// The value as written, shortened; empty for what is not a scalar.
    pub written: String,
}

impl At {
    /// The path of `key` below this place.
    pub(super) fn path_of(&self, key: &str) -> String {
        let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-');
        match key {
            key if key.is_empty() || !key.bytes().all(plain) => format!("{}[{:?}]", self.path, short(key)),
            key if self.path.is_empty() => key.to_owned(),
            key => format!("{}.{key}", self.path),
        }
    }
}

/// `text` shortened to what a message has room for, without the user and password of a URL:
/// messages end up in logs.
pub(super) fn short(text: &str) -> String {
    let public = match text.rsplit_once('@') {
        Some((before, after)) if before.contains(':') => Cow::Owned(format!("...@{after}")),
        _ => Cow::Borrowed(text),
    };
    match public.char_indices().nth(60) {
        Some((end, _)) => format!("{}...", public.get(..end).unwrap_or_default()),
        None => public.into_owned(),
    }
}

/// Mistakes as they are found.
#[derive(Debug)]
pub(super) struct Report {
    file: Arc<str>,
    problems: Vec<Problem>,
    warnings: Vec<Problem>,
    omitted: usize,
    /// Sections with a key that is not known: what they lack may be what it stands for.
    unclear: HashSet<String>,
}

impl Report {
    /// No mistakes in `file` yet.
    pub(super) fn new(file: &str) -> Self {
        Self {
            file: file.into(),
            problems: Vec::new(),
            warnings: Vec::new(),
            omitted: 0,
            unclear: HashSet::new(),
        }
    }

    /// Notes a mistake.
    pub(super) fn wrong(&mut self, at: &At, message: impl Into<String>, fix: impl Into<String>) {
        if self.problems.len() < MOST {
            let problem = self.problem(Severity::Error, at, message.into(), fix.into());
            self.problems.push(problem);
        } else {
            self.omitted += 1;
        }
    }

    /// Notes that `section` has a key that is not known, which is reported as a mistake of its own.
    pub(super) fn note_unknown_key(&mut self, section: &At) {
        self.unclear.insert(section.path.clone());
    }

    /// Whether `section` has a key that is not known.
    pub(super) fn has_unknown_key(&self, section: &At) -> bool {
        self.unclear.contains(&section.path)
    }

    /// Whether there is a mistake at `path` or below it.
    pub(super) fn has_mistakes_below(&self, path: &str) -> bool {
        let below = |found: &Problem| {
            found.path.strip_prefix(path).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
        };
        self.problems.iter().any(below)
    }

    /// Notes what may not be meant.
    pub(super) fn warn(&mut self, at: &At, message: impl Into<String>, fix: impl Into<String>) {
        if self.warnings.len() < MOST {
            let problem = self.problem(Severity::Warning, at, message.into(), fix.into());
            self.warnings.push(problem);
        }
    }

    /// Makes mistakes of what was only warned about, where there is nobody to be warned.
    pub(super) fn promote_warnings(&mut self) {
        for warning in std::mem::take(&mut self.warnings) {
            if self.problems.len() < MOST {
                self.problems.push(Problem { severity: Severity::Error, ..warning });
            } else {
                self.omitted += 1;
            }
        }
    }

    fn problem(&self, severity: Severity, at: &At, message: String, fix: String) -> Problem {
        let At { path, line, column, written } = at.clone();
        Problem { file: self.file.clone(), severity, path, line, column, value: written, message, fix }
    }

    /// The value and the warnings about it, if there were no mistakes.
    pub(super) fn finish<T>(mut self, value: Option<T>) -> Result<(T, Vec<Problem>), ConfigErrors> {
        match value {
            Some(value) if self.problems.is_empty() => {
                sort(&mut self.warnings);
                Ok((value, self.warnings))
            }
            _ => Err(self.refuse()),
        }
    }

    /// The mistakes.
    pub(super) fn refuse(mut self) -> ConfigErrors {
        sort(&mut self.problems);
        sort(&mut self.warnings);
        ConfigErrors { problems: self.problems, warnings: self.warnings, omitted: self.omitted }
    }
}

/// Into the order of the file.
fn sort(problems: &mut [Problem]) {
    problems.sort_by(|a, b| (a.line, a.column, &a.path).cmp(&(b.line, b.column, &b.path)));
}
