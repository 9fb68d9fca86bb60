//! Asking whether a rollout may go on: loading the candidate, webhooks, golden examples.
//!
//! Each question has a thread of its own, for it may take minutes; its answer comes back as a
//! message. How many are asked at a time is bounded.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::golden;
use super::message::Message;
use super::spec::Asked;
use crate::base::ModelName;
use crate::control::board::Switchboard;
use crate::notify::{Gate, GateAnswer as Webhook, GateCall, Transport};
use crate::rollout::effect::{Event, GateRun};
use crate::rollout::machine::GateAnswer;
use crate::rollout::policy::GateKind;
use crate::routing::spec::VersionSpec;
use crate::routing::table::Backend;

/// Questions that may be open at a time.
const OPEN: usize = 64;
/// Between two attempts to reach a candidate that is not there yet.
const AGAIN: Duration = Duration::from_millis(500);

static ASKING: AtomicUsize = AtomicUsize::new(0);

/// A question to a gate, with all that it takes to ask it.
pub(super) struct Question {
    pub(super) model: ModelName,
    pub(super) run: GateRun,
    /// What the candidate is.
    pub(super) digest: String,
    /// Where the rollout stands.
    pub(super) phase: &'static str,
    /// Who answers; nobody where the configuration has no such gate any more.
    pub(super) asked: Option<Asked>,
    /// The candidate, where it is known.
    pub(super) candidate: Option<VersionSpec>,
    /// What happened, where the gate is told and not asked.
    pub(super) event: Option<Event>,
    /// Whether the rollout is over: then nothing is put in place for it any more.
    pub(super) is_over: Arc<AtomicBool>,
}

/// Asks, on a thread of its own. The answer comes as a message, in any case.
pub(super) fn ask(question: Question, board: &Arc<Switchboard>, messages: &Sender<Message>) {
    let (model, run) = (question.model.clone(), question.run.run);
    let (board, answers) = (Arc::clone(board), messages.clone());
    let refuse = |detail: String| {
        let _ = messages.send(Message::Gate(model.clone(), GateAnswer { run, passed: false, detail }));
    };
    if ASKING.fetch_add(1, Ordering::Relaxed) >= OPEN {
        ASKING.fetch_sub(1, Ordering::Relaxed);
        return refuse(format!("{OPEN} gates are being asked already"));
    }
    let asking = move || {
        let name = question.model.clone();
        let answer = answer(&question, &board);
        ASKING.fetch_sub(1, Ordering::Relaxed);
        let (passed, detail) = match answer {
            Ok(detail) => (true, detail),
            Err(detail) => (false, detail),
        };
        let _ = answers.send(Message::Gate(name, GateAnswer { run, passed, detail }));
    };
    if let Err(error) = std::thread::Builder::new().name("gate".to_owned()).spawn(asking) {
        ASKING.fetch_sub(1, Ordering::Relaxed);
        refuse(format!("no thread to ask the gate: {error}"));
    }
}

/// What the gate says, in one line.
fn answer(question: &Question, board: &Switchboard) -> Result<String, String> {
    match (question.run.kind, &question.asked) {
        (GateKind::Load, _) => load(question, board),
        (_, Some(Asked::Webhook { url, metadata })) => {
            let timeout = Duration::from_millis(question.run.timeout.0.max(1));
            let transport = Transport { timeout, ca: None, environment_proxy: false };
            let gate = Gate::new(url.clone(), &transport).map_err(|error| error.to_string())?;
            let mut metadata = metadata.clone();
            metadata.insert("rollout".to_owned(), question.run.rollout.clone());
            metadata.insert("candidate".to_owned(), question.run.candidate.to_string());
            metadata.insert("weight".to_owned(), question.run.weight.to_string());
            metadata.insert("gate".to_owned(), question.run.kind.as_str().to_owned());
            if let Some(event) = &question.event {
                metadata.insert("eventType".to_owned(), event.kind.as_str().to_owned());
                metadata.insert("eventMessage".to_owned(), event.sentence.clone());
                metadata.insert("timestamp".to_owned(), event.at.0.to_string());
            }
            let call = GateCall {
                name: question.model.to_string(),
                namespace: String::new(),
                phase: question.phase.to_owned(),
                checksum: question.digest.clone(),
                metadata,
            };
            match gate.ask(&call) {
                Webhook::Pass { status } => Ok(format!("answered {status}")),
                Webhook::Refused { status, reason } => Err(format!("answered {status}: {reason}")),
                Webhook::TimedOut => Err(format!("no answer within {}", question.run.timeout)),
                Webhook::Unreachable { reason } => Err(format!("cannot be reached: {reason}")),
            }
        }
        (_, Some(Asked::Golden { examples })) => {
            golden::run(examples, question.model.as_str(), &question.run.candidate, board)
        }
        (_, None) => Err("the configuration has no such gate".to_owned()),
    }
}

/// Has the candidate loaded, warmed and reached, beside what is live.
fn load(question: &Question, board: &Switchboard) -> Result<String, String> {
    let name = question.model.as_str();
    let candidate = question.candidate.clone().ok_or("the candidate is not known any more")?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("no runtime: {error}"))?;
    let is_served =
        board.table().model(name).and_then(|model| model.version(candidate.name.as_str())).is_some_and(
            |(_, version)| version.spec.backend == candidate.backend && !version.backend.is_lost(),
        );
    if !is_served {
        let prepared = board.admit(name, vec![candidate], &question.is_over).map_err(|e| e.to_string())?;
        runtime.block_on(board.commit(prepared)).map_err(|error| error.to_string())?;
    }
    runtime.block_on(async {
        let reaching = reach(question, board);
        tokio::time::timeout(Duration::from_millis(question.run.timeout.0), reaching)
            .await
            .unwrap_or_else(|_| Err(format!("not ready within {}", question.run.timeout)))
    })
}

/// Waits until the candidate can serve. A server that is not there yet may be starting.
async fn reach(question: &Question, board: &Switchboard) -> Result<String, String> {
    let (name, candidate) = (question.model.as_str(), question.run.candidate.as_str());
    for attempt in 0_u32.. {
        let table = board.table();
        let version = table.model(name).and_then(|model| model.version(candidate));
        let (_, version) = version.ok_or("the candidate is not there any more")?;
        let found = match &version.backend {
            Backend::Upstream(cluster) => cluster.probe().await.map_err(|fault| fault.detail.into_owned()),
            Backend::Onnx(engine) => {
                engine.wait_loaded().await;
                return engine.signature().map(|_| "loaded".to_owned()).map_err(|error| error.to_string());
            }
        };
        match found {
            Ok(()) => return Ok("reached".to_owned()),
            Err(reason) if attempt >= 60 => return Err(format!("cannot be reached: {reason}")),
            Err(_) => tokio::time::sleep(AGAIN).await,
        }
    }
    Err("cannot be reached".to_owned())
}
