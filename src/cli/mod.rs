//! The command line: what can be asked for, and which exit code answers.
//!
//! Exit codes: 0 done, 1 the configuration is wrong or the sidecar failed, 2 the command line is
//! wrong (clap's).

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry::logging;
use crate::{app, config};

/// Model-serving sidecar: splits traffic between model versions, mirrors requests to shadows and
/// measures every version.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100, after_help = EXAMPLES, subcommand_required = true, arg_required_else_help = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
A first configuration, switchback.yaml: two versions of a model and a shadow.

  listeners:
    - {name: main, address: 127.0.0.1:8080}
  models:
    - name: fraud
      versions:
        - {name: v1, weight: 90%, upstream: {url: \"http://127.0.0.1:9001\"}}
        - {name: v2, weight: 10%, upstream: {url: \"http://127.0.0.1:9002\"}}
        - {name: v3, upstream: {url: \"http://127.0.0.1:9003\"}}
      mirror:
        - {to: v3}

  switchback check --config switchback.yaml      every mistake, with its line and the fix
  switchback serve --config switchback.yaml      run; then:
  curl 127.0.0.1:9901/api/v1/status              which version gets what, and how it does
  curl 127.0.0.1:9901/metrics                    the same for Prometheus
  curl -X PUT 127.0.0.1:9901/api/v1/models/fraud/weights \\
       -d '{\"weights\": {\"v1\": \"50%\", \"v2\": \"50%\"}}'   change the split, without a failed request";

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the sidecar.
    ///
    /// Prints one line, `switchback ready NAME=ADDRESS ... admin=ADDRESS`, on standard output once
    /// it listens; logs go to standard error. SIGTERM or SIGINT drains and exits 0, a
    /// second one cuts what is left at once. SIGHUP reloads the configuration, and so does a change
    /// of its file.
    Serve {
        /// Configuration file (YAML).
        #[arg(short, long, value_name = "FILE", env = "SWITCHBACK_CONFIG")]
        config: PathBuf,
        /// What to log: error, warn, info, debug, or a filter such as `switchback=debug`.
        /// SWITCHBACK_LOG says the same; the default is info.
        #[arg(long, value_name = "FILTER")]
        log: Option<String>,
        /// How to log: text for people, json for machines.
        #[arg(long, value_name = "FORMAT", default_value = "text")]
        log_format: logging::LogFormat,
    },
    /// Check a configuration file: every mistake with its line, its value and the fix.
    ///
    /// Exits 0 when there is none (warnings are shown but do not count) and 1 otherwise.
    Check {
        /// Configuration file (YAML).
        #[arg(short, long, value_name = "FILE")]
        config: PathBuf,
    },
    /// Print the JSON Schema of the configuration, for editors and pipelines.
    Schema,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    match Arguments::parse().command {
        Command::Serve { config, log, log_format } => {
            if let Err(error) = logging::init(log_format, log.as_deref()) {
                return failed(&error);
            }
            match app::serve(&config) {
                Ok(()) => ExitCode::SUCCESS,
                Err(error) => failed(&format!("{error:#}")),
            }
        }
        Command::Check { config } => check(&config),
        Command::Schema => {
            let schema = serde_json::to_string_pretty(&config::schema()).unwrap_or_default();
            print(&format!("{schema}\n"))
        }
    }
}

fn check(path: &std::path::Path) -> ExitCode {
    match config::load(path) {
        Ok(config) => {
            for warning in &config.warnings {
                complain(&format!("warning: {warning}"));
            }
            let versions: usize = config.models.iter().map(|m| m.versions.len()).sum();
            let (models, versions) = (counted(config.models.len(), "model"), counted(versions, "version"));
            print(&format!("{}: ok, {models}, {versions}\n", path.display()))
        }
        Err(errors) => {
            complain(errors.to_string().trim_end());
            ExitCode::FAILURE
        }
    }
}

fn counted(number: usize, thing: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {thing}{plural}")
}

/// A closed pipe is not worth an error message.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

fn complain(text: &str) {
    let _ = writeln!(std::io::stderr(), "{text}");
}

fn failed(error: &dyn std::fmt::Display) -> ExitCode {
    complain(&format!("switchback: {error}"));
    ExitCode::FAILURE
}
