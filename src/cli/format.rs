//! What results look like: text for people, JSON and YAML for programs, Markdown for pull requests,
//! JUnit for CI servers.

use clap::ValueEnum;
use serde::Serialize;
use serde_json::Value;

use super::exit::{Exit, Failure};
use super::yaml;

/// What a result looks like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// For programs.
    Json,
    /// For programs and people.
    Yaml,
    /// For pull requests and chats.
    Markdown,
    /// XML for CI servers.
    Junit,
}

impl Format {
    /// The format's word on the command line.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
            Self::Yaml => "yaml",
            Self::Markdown => "markdown",
            Self::Junit => "junit",
        }
    }

    /// The refusal of a format that a command does not have.
    pub(super) fn unfit(self, known: &str) -> Failure {
        Failure::new(Exit::Usage, format!("--output {} makes no sense here: use {known}", self.as_str()))
    }
}

/// `value` as JSON with a line end.
pub(super) fn json(value: &impl Serialize) -> Result<String, Failure> {
    let text = serde_json::to_string_pretty(value).map_err(unwritable)?;
    Ok(text + "\n")
}

/// `value` as YAML.
pub(super) fn yaml(value: &impl Serialize) -> Result<String, Failure> {
    let value: Value = serde_json::to_value(value).map_err(unwritable)?;
    Ok(yaml::write(&value))
}

fn unwritable(error: serde_json::Error) -> Failure {
    Failure::error(format!("the result cannot be written: {error}"))
}

/// A table with columns as wide as they must be. The first row is the head.
pub(super) fn table(rows: &[Vec<String>]) -> String {
    let columns = rows.iter().map(Vec::len).max().unwrap_or(0);
    let width = |column: usize| {
        rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns).map(width).collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let pad = width.saturating_sub(cell.chars().count());
            line.push_str(cell);
            line.extend(std::iter::repeat_n(' ', pad + 2));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The same as a Markdown table.
pub(super) fn markdown_table(rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().map(|cell| markdown(cell)).collect();
        text.push_str(&format!("| {} |\n", cells.join(" | ")));
        if at == 0 {
            text.push_str(&format!("|{}\n", " --- |".repeat(row.len())));
        }
    }
    text
}

/// Text that stands as it is in one line of Markdown, whatever signs are in it.
pub(super) fn markdown(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' | '`' | '*' | '_' | '<' | '>' | '|' | '[' | ']' | '#' => safe.extend(['\\', c]),
            c if c.is_control() => safe.push(' '),
            c => safe.push(c),
        }
    }
    safe
}

/// Text inside XML. Signs that XML 1.0 cannot hold are left out.
pub(super) fn xml(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\n' | '\t' => safe.push(c),
            '\u{fffe}' | '\u{ffff}' => {}
            c if c.is_control() => {}
            c => safe.push(c),
        }
    }
    safe
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_line_up_and_end_without_spaces() {
        let rows = [vec!["a".to_owned(), "long".to_owned()], vec!["über".to_owned(), "b".to_owned()]];
        assert_eq!(table(&rows), "a     long\nüber  b\n");
        assert_eq!(markdown_table(&rows), "| a | long |\n| --- | --- |\n| über | b |\n");
    }

    #[test]
    fn foreign_text_cannot_leave_its_place() {
        assert_eq!(markdown("a|b\n<x>`"), "a\\|b \\<x\\>\\`");
        assert_eq!(xml("<a b=\"c\">&\u{0}\u{1b}"), "&lt;a b=&quot;c&quot;&gt;&amp;");
    }
}
