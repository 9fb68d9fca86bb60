//! `switchback check`: every mistake of a configuration, and what a running sidecar does otherwise.

use std::path::PathBuf;

use clap::Args;

use crate::config;

use super::against;
use super::exit::{Exit, Failure};
use super::say;
use super::server::{AccessArgs, Server};

/// What is checked.
#[derive(Debug, Args)]
pub(super) struct CheckArgs {
    /// Configuration file (YAML).
    #[arg(short, long, value_name = "FILE")]
    config: PathBuf,
    /// A running sidecar to compare with: what it does otherwise than the file says is printed, one
    /// line each, and the exit code is then 1 (8 if it does not answer).
    #[arg(long, value_name = "URL")]
    against: Option<String>,
    #[command(flatten)]
    access: AccessArgs,
}

/// Checks it.
pub(super) fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    let path = args.config.display();
    let config = config::load(&args.config).map_err(|errors| {
        say::note(&errors.to_string().trim_end());
        Failure::error("")
    })?;
    for warning in &config.warnings {
        say::note(warning);
    }
    let Some(url) = &args.against else {
        let versions: usize = config.models.iter().map(|m| m.versions.len()).sum();
        let (models, versions) = (counted(config.models.len(), "model"), counted(versions, "version"));
        let written = say::result(&format!("{path}: ok, {models}, {versions}\n"));
        return Ok(if written { Exit::Done } else { Exit::Error });
    };
    let differences = against::differences(&config, &Server::new(url, &args.access)?)?;
    let (text, exit) = match differences.as_slice() {
        [] => (format!("{path}: ok, and what {url} runs\n"), Exit::Done),
        lines => (lines.iter().map(|line| format!("{line}\n")).collect(), Exit::Error),
    };
    Ok(if say::result(&text) { exit } else { Exit::Error })
}

fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
