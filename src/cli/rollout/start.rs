//! `rollout start`: a candidate from the configuration or from a file, and waiting for what comes of
//! it.

use std::path::PathBuf;

use clap::Args;
use serde_json::{Map, Value, json};

use super::super::exit::{Exit, Failure};
use super::super::format::Format;
use super::super::server::{CallError, Server};
use super::super::{file, say, yaml};
use super::policy::Written;
use super::watch::{WaitArgs, watch};
use super::{result, target};

/// How long a pipeline waits if it does not say.
const TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30 * 60);

/// What is started.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["to", "candidate"]))]
pub(super) struct StartArgs {
    /// The model.
    model: String,
    /// Version to move to: one that the sidecar's configuration declares.
    #[arg(long, value_name = "VERSION")]
    to: Option<String>,
    /// Version to move to, in a file (YAML or JSON, - for standard input): the keys of a version in
    /// the configuration, and `digest`. The sidecar keeps it in its store.
    #[arg(long, value_name = "FILE")]
    candidate: Option<PathBuf>,
    /// Policy to use in place of the configuration's: a file with what stands under `rollout` there.
    #[arg(long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// Take the place of a rollout that runs.
    #[arg(long)]
    supersede: bool,
    /// The same call under the same key starts one rollout, however often it is made.
    #[arg(long, value_name = "KEY")]
    idempotency_key: Option<String>,
    /// Wait for what comes of it: the exit code says.
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    waiting: WaitArgs,
}

/// Starts it.
pub(super) fn start(server: &Server, args: &StartArgs, format: Format) -> Result<Exit, Failure> {
    let policy = args.policy.as_deref().map(Written::load).transpose()?;
    let body = body(args, policy.as_ref())?;
    let answer = server.post("/rollouts", &body, args.idempotency_key.as_deref()).map_err(|error| {
        let mistakes = match &error {
            CallError::Invalid(_) => policy.as_ref().and_then(|policy| policy.mistakes(&args.model)),
            _ => None,
        };
        mistakes.map_or_else(|| error.into(), Failure::error)
    })?;
    if answer.get("durable") == Some(&Value::Bool(false)) {
        say::note(&"the rollout is kept in memory only: a restart of the sidecar forgets it");
    }
    let view = target::view(answer)?;
    match args.wait {
        true => watch(server, &view.id, &args.waiting.patience(Some(TIMEOUT)), format),
        false => result(server, &view, Exit::Done, format),
    }
}

fn body(args: &StartArgs, policy: Option<&Written>) -> Result<Value, Failure> {
    let candidate = match (&args.to, &args.candidate) {
        (Some(version), _) => json!(version),
        (None, Some(path)) => {
            let text = file::read(path, yaml::LONGEST)?;
            let wrong = |why: &str| Failure::error(format!("{}: {why}", path.display()));
            let candidate = yaml::read(&text, yaml::Numbers::AsWritten).map_err(|why| wrong(&why))?;
            if !candidate.is_object() {
                return Err(wrong("it is no version: write `name: v2` and `upstream: {url: ...}`"));
            }
            candidate
        }
        (None, None) => return Err(Failure::new(Exit::Usage, "name a version with --to or --candidate")),
    };
    let mut body = Map::new();
    body.insert("model".to_owned(), json!(args.model));
    body.insert("candidate".to_owned(), candidate);
    if let Some(policy) = policy {
        body.insert("policy".to_owned(), policy.value.clone());
    }
    if args.supersede {
        body.insert("supersede".to_owned(), json!(true));
    }
    Ok(Value::Object(body))
}
