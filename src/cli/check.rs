//! `switchback check`: every mistake of a configuration or of a load test's scenario, and what a running sidecar does otherwise.

use std::path::{Path, PathBuf};

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
    #[arg(short, long, value_name = "FILE", required_unless_present = "scenario")]
    config: Option<PathBuf>,
    /// Scenario of a load test (YAML) to check, instead of a configuration.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["config", "against"])]
    scenario: Option<PathBuf>,
    /// A running sidecar to compare with: what it does otherwise than the file says is printed, one
    /// line each, and the exit code is then 1 (8 if it does not answer).
    #[arg(long, value_name = "URL")]
    against: Option<String>,
    #[command(flatten)]
    access: AccessArgs,
}

/// Checks it.
pub(super) fn check(args: &CheckArgs) -> Result<Exit, Failure> {
    if let Some(path) = &args.scenario {
        return scenario(path);
    }
    let Some(file) = &args.config else { return Err(Failure::new(Exit::Usage, "name a file with --config")) };
    let path = file.display();
    let config = config::load(file).map_err(|errors| {
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

/// Checks a scenario; nothing is sent, and no input is read.
fn scenario(path: &Path) -> Result<Exit, Failure> {
    let scenario = config::load_scenario(path).map_err(|errors| {
        say::note(&errors.to_string().trim_end());
        Failure::error("")
    })?;
    let kinds = counted(scenario.requests.len(), "kind");
    let goals = counted(scenario.slos.len(), "goal");
    let written = say::result(&format!("{}: ok, {kinds} of requests, {goals}\n", path.display()));
    Ok(if written { Exit::Done } else { Exit::Error })
}

fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}
