//! What people and programs read of a test: text, JSON, JUnit, Markdown, HTML, and HdrHistogram's
//! log. Every form is written from the same data, and none needs a network to be looked at.

mod hdr;
mod html;
mod junit;
mod markdown;
mod numbers;
mod plots;
mod terminal;
#[cfg(test)]
mod tests;

use super::run::Ran;

pub use numbers::duration;
pub use terminal::{live, tried};

/// A form of report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// Text for people.
    Text,
    /// All of it, for programs.
    Json,
    /// For CI servers: a case for each goal.
    Junit,
    /// For pull requests.
    Markdown,
    /// One file with plots.
    Html,
    /// HdrHistogram's log of latencies, version 1.3.
    Hdr,
}

impl Form {
    /// The form that a file's name asks for by its ending.
    pub fn of_file(path: &std::path::Path) -> Option<Self> {
        Some(match path.extension()?.to_str()? {
            "txt" => Self::Text,
            "json" => Self::Json,
            "xml" => Self::Junit,
            "md" => Self::Markdown,
            "html" | "htm" => Self::Html,
            "hlog" | "hgrm" => Self::Hdr,
            _ => return None,
        })
    }
}

/// Why a report cannot be written.
#[derive(Debug, thiserror::Error)]
#[error("the report cannot be written: {0}")]
pub struct ReportError(String);

impl ReportError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

/// The report in this form, with a line end.
///
/// # Errors
/// [`ReportError`], when something refuses what it has no reason to refuse.
pub fn write(form: Form, ran: &Ran) -> Result<String, ReportError> {
    match form {
        Form::Text => Ok(terminal::summary(&ran.result)),
        Form::Json => {
            serde_json::to_string_pretty(&ran.result).map(|text| text + "\n").map_err(ReportError::of)
        }
        Form::Junit => Ok(junit::write(&ran.result)),
        Form::Markdown => Ok(markdown::write(&ran.result)),
        Form::Html => html::write(&ran.result),
        Form::Hdr => hdr::write(&ran.result, &ran.counted),
    }
}
