//! `switchback rollout …`: what people and pipelines ask of a running sidecar, and what they are
//! shown. All of it goes over the admin API; only `verify` needs no sidecar.

mod follow;
mod outcome;
mod pairs;
mod policy;
mod progress;
mod report;
mod show;
mod start;
mod target;
#[cfg(test)]
mod testing;
mod verify;
mod watch;

use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::control::rollouts::RolloutView;

use super::exit::{Exit, Failure, TABLE};
use super::format::{self, Format};
use super::say;
use super::server::{Server, ServerArgs, segment};
use outcome::{Until, outcome};
use report::Report;

const EXAMPLES: &str = "\
In a pipeline:
  switchback rollout start fraud --to v2 --wait --timeout 2h --output junit > rollout.xml
  switchback rollout start fraud --candidate v2.yaml --idempotency-key \"$CI_PIPELINE_ID\" --wait
  v2.yaml:  {name: v2, upstream: {url: \"http://10.0.0.7:9000\"}, digest: \"sha256:1f3a...\"}

By hand:
  switchback rollout status                  how it stands: traffic, steps, evidence
  switchback rollout watch fraud             the same while it moves
  switchback rollout promote fraud           go to the next step; --full: serve with it at once
  switchback rollout abort fraud             back to the stable version
  switchback rollout pairs fraud --worst     answers that differ
  switchback rollout report fraud            what happened, with the numbers of each decision
  switchback rollout clear fraud             let a candidate that was rolled back be tried again

TARGET is a rollout's id, or a model, whose latest rollout is then meant; without one it is the
only rollout that runs. SWITCHBACK_SERVER and SWITCHBACK_TOKEN save --server and --token.
";

/// What is asked, of whom, and how the answer looks.
#[derive(Debug, Args)]
#[command(after_help = format!("{EXAMPLES}\n{TABLE}"))]
pub(super) struct RolloutArgs {
    #[command(subcommand)]
    command: Command,
    /// How results look.
    #[arg(long, short, value_name = "FORMAT", default_value = "text", global = true)]
    output: Format,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Move a model to another version.
    #[command(after_help = TABLE)]
    Start(start::StartArgs),
    /// How a rollout stands.
    #[command(visible_alias = "get")]
    Status {
        /// A rollout's id, or a model.
        target: Option<String>,
        /// Exit with the code of its outcome; 0 while it goes on.
        #[arg(long)]
        exit_code: bool,
    },
    /// Rollouts, latest first.
    #[command(visible_alias = "list")]
    History {
        /// Only of this model.
        model: Option<String>,
        /// How many, at most 100.
        #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=100))]
        limit: u32,
    },
    /// Watch a rollout until it is promoted or has ended.
    #[command(after_help = TABLE)]
    Watch {
        /// A rollout's id, or a model.
        target: Option<String>,
        #[command(flatten)]
        waiting: watch::WaitArgs,
    },
    /// Go to the next step, or end the bake. Also past a gate that is waited for.
    Promote {
        /// A rollout's id, or a model.
        target: Option<String>,
        /// Past all steps that are left, to the bake.
        #[arg(long)]
        full: bool,
    },
    /// Let nothing move. Checks go on, and may still roll back.
    Pause {
        /// A rollout's id, or a model.
        target: Option<String>,
    },
    /// Go on after a pause, or once more after an inconclusive step.
    Resume {
        /// A rollout's id, or a model.
        target: Option<String>,
    },
    /// Back to the stable version. The candidate may be tried again.
    Abort {
        /// A rollout's id, or a model.
        target: Option<String>,
    },
    /// Begin the last rollout of a model again, which did not succeed.
    Retry {
        /// A rollout's id, or a model.
        target: Option<String>,
    },
    /// Let a candidate that was rolled back be tried again.
    Clear {
        /// A rollout's id, or a model.
        target: Option<String>,
        /// Digest of the candidate. Default: that of the rollout's.
        #[arg(long)]
        digest: Option<String>,
    },
    /// Answers of the two versions that differ.
    Pairs(pairs::PairsArgs),
    /// What happened, each decision with its sentence and numbers. Text is Markdown.
    Report {
        /// A rollout's id, or a model.
        target: Option<String>,
    },
    /// Make decisions again from their records, without a sidecar, and compare bit for bit.
    ///
    /// Exits 0 when all agree and 1 otherwise. `rollout report --output json` writes such records.
    Verify(verify::VerifyArgs),
}

/// Does what is asked.
pub(super) fn run(args: &RolloutArgs) -> Result<Exit, Failure> {
    let form = args.output;
    if let Command::Verify(args) = &args.command {
        return verify::verify(args, form);
    }
    let server = args.server.server()?;
    let find = |target: &Option<String>| target::find(&server, target.as_deref());
    match &args.command {
        Command::Start(args) => start::start(&server, args, form),
        Command::Status { target, exit_code } => {
            let view = find(target)?;
            let exit = outcome(&view, Until::Promoted).filter(|_| *exit_code);
            result(&server, &view, exit.unwrap_or(Exit::Done), form)
        }
        Command::History { model, limit } => history(&server, model.as_deref(), *limit, form),
        Command::Watch { target, waiting } => {
            watch::watch(&server, &find(target)?.id, &waiting.patience(None), form)
        }
        Command::Promote { target, full } => {
            command(&server, &find(target)?, "promote", &json!({"full": full}), form)
        }
        Command::Pause { target } => command(&server, &find(target)?, "pause", &json!({}), form),
        Command::Resume { target } => command(&server, &find(target)?, "resume", &json!({}), form),
        Command::Abort { target } => command(&server, &find(target)?, "abort", &json!({}), form),
        Command::Retry { target } => command(&server, &find(target)?, "retry", &json!({}), form),
        Command::Clear { target, digest } => clear(&server, &find(target)?, digest.as_deref()),
        Command::Pairs(args) => pairs::pairs(&server, args, form),
        Command::Report { target } => {
            let report = Report::of(&server, &find(target)?, None)?;
            shown(&report.render(form)?, Exit::Done)
        }
        Command::Verify(args) => verify::verify(args, form),
    }
}

/// Shows a rollout that something was done with. Markdown and JUnit are reports.
fn result(server: &Server, view: &RolloutView, exit: Exit, form: Format) -> Result<Exit, Failure> {
    let text = match form {
        Format::Text => show::text(view),
        Format::Json => format::json(view)?,
        Format::Yaml => format::yaml(view)?,
        Format::Markdown | Format::Junit => {
            let waited = (exit != Exit::Done).then_some(exit);
            Report::of(server, view, waited)?.render(form)?
        }
    };
    shown(&text, exit)
}

fn shown(text: &str, exit: Exit) -> Result<Exit, Failure> {
    Ok(if say::result(text) { exit } else { Exit::Error })
}

fn command(
    server: &Server,
    view: &RolloutView,
    what: &str,
    body: &Value,
    form: Format,
) -> Result<Exit, Failure> {
    let answer = server.post(&format!("/rollouts/{}/{what}", segment(&view.id)), body, None)?;
    result(server, &target::view(answer)?, Exit::Done, form)
}

fn clear(server: &Server, view: &RolloutView, digest: Option<&str>) -> Result<Exit, Failure> {
    let digest = digest.unwrap_or(&view.digest);
    let path = format!("/models/{}/latches/{}/clear", segment(&view.model), segment(digest));
    server.post(&path, &json!({}), None)?;
    shown(&format!("{digest} may be tried again\n"), Exit::Done)
}

fn history(server: &Server, model: Option<&str>, limit: u32, form: Format) -> Result<Exit, Failure> {
    let of = model.map(|model| format!("&model={}", segment(model))).unwrap_or_default();
    let answer = server.get(&format!("/rollouts?limit={limit}{of}"))?;
    let mut views = Vec::new();
    for rollout in target::list(answer, "rollouts")? {
        views.push(target::view(rollout)?);
    }
    let text = match form {
        Format::Text if views.is_empty() => "there has been no rollout yet\n".to_owned(),
        Format::Text => format::table(&show::rows(&views)),
        Format::Markdown => format::markdown_table(&show::rows(&views)),
        Format::Json => format::json(&views)?,
        Format::Yaml => format::yaml(&views)?,
        Format::Junit => return Err(form.unfit("text, json, yaml or markdown")),
    };
    shown(&text, Exit::Done)
}
