//! The command line: what can be asked for, and which exit code answers.
//!
//! Commands that ask a running sidecar go over its admin API (`server`); results go to standard
//! output, everything else to standard error. The codes stand in `exit`.

mod against;
mod check;
mod exit;
mod file;
mod format;
mod load;
mod numbers;
mod plan;
mod rollout;
mod say;
mod server;
mod yaml;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::telemetry::logging;
use crate::{app, config};

use exit::{Exit, Failure};

/// Model-serving sidecar: splits traffic between model versions, mirrors requests to shadows,
/// measures every version, and moves a model to another version by evidence.
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
       -d '{\"weights\": {\"v1\": \"50%\", \"v2\": \"50%\"}}'   change the split, without a failed request

With a `rollout` section a model moves by evidence: switchback rollout --help";

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
    /// Exits 0 when there is none (warnings are shown but do not count) and 1 otherwise. With
    /// --against, also what a running sidecar does otherwise: it may have been changed by hand, or by
    /// a rollout, which no configuration undoes.
    Check(check::CheckArgs),
    /// Print the JSON Schema of the configuration, for editors and pipelines.
    Schema {
        /// The schema of scenarios of load tests instead.
        #[arg(long)]
        load: bool,
    },
    /// Move models to other versions, and see how they fare.
    Rollout(Box<rollout::RolloutArgs>),
    /// What a policy would find, how fast and at what risk, before the first request.
    #[command(after_help = plan::EXAMPLES)]
    Plan(plan::PlanArgs),
    /// Load a server as its users will, and say whether the goals hold.
    #[command(after_help = load::help())]
    Load(Box<load::LoadArgs>),
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    let done = match Arguments::parse().command {
        Command::Serve { config, log, log_format } => serve(&config, log.as_deref(), log_format),
        Command::Check(args) => check::check(&args),
        Command::Schema { load } => schema(load),
        Command::Rollout(args) => rollout::run(&args),
        Command::Plan(args) => plan::plan(&args),
        Command::Load(args) => {
            raise_descriptors();
            load::load(&args)
        }
    };
    match done {
        Ok(exit) => exit.into(),
        Err(Failure { exit, message }) => {
            if !message.is_empty() {
                say::note(&format_args!("switchback: {message}"));
            }
            exit.into()
        }
    }
}

fn serve(
    config: &std::path::Path,
    log: Option<&str>,
    log_format: logging::LogFormat,
) -> Result<Exit, Failure> {
    logging::init(log_format, log).map_err(|error| Failure::error(error.to_string()))?;
    raise_descriptors();
    app::serve(config).map_err(|error| Failure::error(format!("{error:#}")))?;
    Ok(Exit::Done)
}

/// As many file descriptors as this process may have: each connection is one.
fn raise_descriptors() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    // Where it is refused the old limit holds, and what fails for it is counted as what it is.
    let _ = setrlimit(Resource::Nofile, Rlimit { current: now.maximum, maximum: now.maximum });
}

fn schema(load: bool) -> Result<Exit, Failure> {
    let schema = format::json(&if load { config::scenario_schema() } else { config::schema() })?;
    Ok(if say::result(&schema) { Exit::Done } else { Exit::Error })
}
