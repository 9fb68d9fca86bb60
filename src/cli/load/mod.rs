//! `switchback load`: a load test from flags or from a scenario, watched while it goes on, with a
//! report and an exit code.

mod flags;
mod watch;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use clap::Args;

use crate::config;
use crate::load::drive::Stop;
use crate::load::prepare::{PrepareError, prepare};
use crate::load::report::{self, Form};
use crate::load::result::Outcome;
use crate::load::run::{Ran, RunError, affordable, run};
use crate::load::spec::Scenario;

use super::exit::{Exit, Failure, TABLE};
use super::format::Format;
use super::say;

/// What is tested, and how.
#[derive(Debug, Args)]
pub(super) struct LoadArgs {
    /// What is tested. The path says how: `/v2/models/M/infer`, `/v1/models/M:predict`,
    /// `/v1/chat/completions` or any other. With --scenario it replaces the scenario's target.
    #[arg(value_name = "URL", required_unless_present_any = ["scenario", "compare"])]
    url: Option<String>,
    /// A scenario (YAML); flags replace what it says.
    #[arg(short, long, value_name = "FILE")]
    scenario: Option<PathBuf>,
    #[command(flatten)]
    flags: flags::Flags,
    /// Allow addresses of other machines. Only load what is yours.
    #[arg(long)]
    allow_remote: bool,
    /// How the result looks on standard output: text, json, junit or markdown.
    #[arg(long, short, value_name = "FORMAT", default_value = "text")]
    output: Format,
    /// Write a report too; its form is told by the file's name: .html (with plots), .json, .xml
    /// (JUnit), .md, .txt or .hlog (HdrHistogram). May be given several times.
    #[arg(long, value_name = "FILE")]
    report: Vec<PathBuf>,
    /// Show nothing meanwhile.
    #[arg(long, short)]
    quiet: bool,
}

/// Examples and exit codes.
pub(super) fn help() -> String {
    format!(
        "\
Examples:
  switchback load http://127.0.0.1:8080/v2/models/fraud/infer --rate 400 --duration 30s --slo 'p99<80ms'
  switchback load http://127.0.0.1:8080/v2/models/fraud/infer --find-max --slo 'p99<80ms' --slo 'errors<0.1%'
  switchback load http://127.0.0.1:8080/v1/chat/completions --model m --rate 2 --slo 'ttft<500ms'
  switchback load --compare A=http://127.0.0.1:8081/score B=http://127.0.0.1:8082/score --slo 'B/A p99<1.1'
  switchback load --scenario load-tests/onnx.yaml --report load.html

Requests leave when they are due, whatever became of those before, and their latency is counted from
then on. Failed requests are slower than any limit. Goals: {goals}.

{TABLE}",
        goals = "p50 p99 p99.9 mean max (latency), service.p99, ttft, itl, errors, throughput, tokens, goodput, \
                 NAME.cpu, NAME.rss, NAME.fds, B/A p99"
    )
}

/// Runs the test.
pub(super) fn load(args: &LoadArgs) -> Result<Exit, Failure> {
    let form = match args.output {
        Format::Text => Form::Text,
        Format::Json => Form::Json,
        Format::Junit => Form::Junit,
        Format::Markdown => Form::Markdown,
        Format::Yaml => return Err(args.output.unfit("text, json, junit or markdown")),
    };
    let mut reports = Vec::new();
    for path in &args.report {
        let form = Form::of_file(path).ok_or_else(|| {
            let fix = "name it .html, .json, .xml, .md, .txt or .hlog";
            Failure::new(
                Exit::Usage,
                format!("--report {}: its name does not tell its form: {fix}", path.display()),
            )
        })?;
        // Found now, and not when the test is over.
        let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
        if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
            let why = format!("--report {}: there is no folder {}", path.display(), folder.display());
            return Err(Failure::new(Exit::BadInput, why));
        }
        reports.push((path, form));
    }
    let scenario = Scenario { allow_remote: args.allow_remote, ..scenario(args)? };
    affordable(&scenario).map_err(cannot)?;
    let quiet = args.quiet;
    let stop = Stop::default();
    let begun = watch::stop_on_signals(&stop)?;
    let prepared = Arc::new(prepare(scenario).map_err(cannot)?);
    begun.store(true, Ordering::SeqCst);
    let mut screen = watch::Screen::new(quiet);
    let ran = run(&prepared, &stop, &mut |progress| screen.show(&progress)).map_err(|error| match error {
        RunError::Prepare(error) => cannot(error),
        RunError::Resource(why) => Failure::new(Exit::BadInput, why),
        RunError::Drive(error) => Failure::error(error.to_string()),
    })?;
    screen.clear();
    finish(&ran, form, &reports)
}

/// The scenario that flags and file make together.
fn scenario(args: &LoadArgs) -> Result<Scenario, Failure> {
    let bad = |message: String| Failure::new(Exit::BadInput, message);
    match &args.scenario {
        None => args.flags.scenario(args.url.as_deref()).map_err(bad),
        Some(path) => {
            let scenario = config::load_scenario(path)
                .map_err(|errors| bad(errors.to_string().trim_end().to_owned()))?;
            args.flags.change(scenario, args.url.as_deref()).map_err(bad)
        }
    }
}

fn cannot(error: PrepareError) -> Failure {
    let exit = match &error {
        PrepareError::Unreachable { .. } => Exit::Unreachable,
        PrepareError::Remote { .. }
        | PrepareError::Refused { .. }
        | PrepareError::Input(_)
        | PrepareError::Target(_)
        | PrepareError::TooMany { .. } => Exit::BadInput,
    };
    Failure::new(exit, error.to_string())
}

/// Writes all reports, even if one cannot be written.
fn finish(ran: &Ran, form: Form, reports: &[(&PathBuf, Form)]) -> Result<Exit, Failure> {
    let mut failure = None;
    for (path, form) in reports {
        let written = report::write(*form, ran)
            .map_err(|error| error.to_string())
            .and_then(|text| std::fs::write(path, text).map_err(|error| error.to_string()));
        if let Err(why) = written {
            failure = Some(Failure::error(format!("--report {}: {why}", path.display())));
        }
    }
    let text = report::write(form, ran).map_err(|error| Failure::error(error.to_string()))?;
    if !say::result(&text) {
        return Ok(Exit::Error);
    }
    match failure {
        Some(failure) => Err(failure),
        None => Ok(match ran.result.outcome {
            Outcome::Pass => Exit::Done,
            Outcome::Fail => Exit::GoalsMissed,
            Outcome::Inconclusive => Exit::Inconclusive,
            Outcome::Invalid => Exit::Invalid,
            Outcome::Interrupted => Exit::Interrupted,
        }),
    }
}
