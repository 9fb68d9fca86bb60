//! The model repository as clients and operators see it: which versions there are, in which state,
//! and the commands that load and unload them.
//!
//! This is the handle. Who carries commands out stands two floors up (`control`), because loading a
//! model changes the table; it receives the [`Command`]s. `scan` looks at
//! folders, `policy` says which of the versions found are served.

pub mod policy;
pub mod scan;

use std::fmt;
use std::sync::{Arc, OnceLock};

use tokio::sync::{mpsc, oneshot};

use crate::base::{Fault, FaultKind};

/// Commands that may wait; one more is refused.
const MAX_COMMANDS: usize = 16;

/// Whether a version can be asked, in the words of Triton's repository index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EntryState {
    /// It is being loaded and warmed up.
    Loading,
    /// It answers.
    Ready,
    /// It left the table, and its last requests or its memory are still there.
    Unloading,
    /// It does not answer; the reason says why.
    Unavailable,
}

impl EntryState {
    /// Triton's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Loading => "LOADING",
            Self::Ready => "READY",
            Self::Unloading => "UNLOADING",
            Self::Unavailable => "UNAVAILABLE",
        }
    }
}

/// One version of one model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// The model, by the name that clients call.
    pub name: String,
    /// The version: its folder's number.
    pub version: String,
    /// Whether it can be asked.
    pub state: EntryState,
    /// Why it cannot; empty when it can.
    pub reason: String,
}

/// Every version of every model in process, by name and then by number.
pub type Index = Vec<Entry>;

/// What a client asks of the repository.
#[derive(Debug)]
pub struct Command {
    /// The model.
    pub model: String,
    /// What to do with it.
    pub what: What,
    /// Told how it went.
    pub done: oneshot::Sender<Result<(), Fault>>,
}

/// What may be done with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// Look at its folder again and serve what the policy says, trying again what was refused.
    Load,
    /// Serve none of its versions.
    Unload,
}

/// What says how things stand.
type Look = dyn Fn() -> Index + Send + Sync;

/// A handle to the repository. Cheap to clone.
#[derive(Clone, Default)]
pub struct Repository {
    look: Arc<OnceLock<Box<Look>>>,
    commands: Option<mpsc::Sender<Command>>,
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repository").field("takes_commands", &self.takes_commands()).finish()
    }
}

impl Repository {
    /// A repository that takes commands, and where they arrive. [`Repository::default`] takes none.
    pub fn commanded() -> (Self, mpsc::Receiver<Command>) {
        let (commands, arriving) = mpsc::channel(MAX_COMMANDS);
        (Self { look: Arc::default(), commands: Some(commands) }, arriving)
    }

    /// The versions of now; empty before [`Repository::show`].
    pub fn index(&self) -> Index {
        self.look.get().map(|look| look()).unwrap_or_default()
    }

    /// Says what [`Repository::index`] is to show. The first one to say it is heard.
    pub fn show(&self, look: impl Fn() -> Index + Send + Sync + 'static) {
        let _ = self.look.set(Box::new(look));
    }

    /// Whether clients may load and unload models.
    pub fn takes_commands(&self) -> bool {
        self.commands.is_some()
    }

    /// Loads `model` anew: its folder is looked at again, and what the policy says is served once it
    /// is loaded, warmed up and checked. What was served before stays until then, and if that fails.
    ///
    /// # Errors
    /// A [`Fault`] with the reason: `BadRequest` where clients may not, or the files are refused;
    /// `NoRoute` for a model that is not configured; `Overloaded` where too many commands wait.
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the command.
    pub async fn load(&self, model: &str) -> Result<(), Fault> {
        self.command(model, What::Load).await
    }

    /// Takes every version of `model` out of service; requests under way end first.
    ///
    /// # Errors
    /// As [`Repository::load`].
    ///
    /// # Cancel safety
    /// Dropping the future does not stop the command.
    pub async fn unload(&self, model: &str) -> Result<(), Fault> {
        self.command(model, What::Unload).await
    }

    async fn command(&self, model: &str, what: What) -> Result<(), Fault> {
        let Some(commands) = &self.commands else {
            let detail =
                "clients may not load and unload models here: set onnxRuntime.modelControl to explicit";
            return Err(Fault::new(FaultKind::BadRequest, detail));
        };
        let (done, outcome) = oneshot::channel();
        let command = Command { model: model.to_owned(), what, done };
        commands.try_send(command).map_err(|_| {
            Fault::new(FaultKind::Overloaded, "too many models are being loaded and unloaded")
        })?;
        let gone = |_| Err(Fault::new(FaultKind::Unavailable, "the sidecar is stopping"));
        outcome.await.unwrap_or_else(gone)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_repository_without_control_says_how_to_get_it() {
        let refused = Repository::default().load("m").await.unwrap_err();
        assert_eq!(refused.kind, FaultKind::BadRequest);
        assert!(refused.detail.contains("modelControl"), "{}", refused.detail);
    }

    #[tokio::test]
    async fn a_command_is_answered_by_who_carries_it_out_and_too_many_are_refused() {
        let (repository, mut arriving) = Repository::commanded();
        let asking = repository.clone();
        let asked = tokio::spawn(async move { asking.unload("m").await });
        let command = arriving.recv().await.unwrap();
        assert_eq!((command.model.as_str(), command.what), ("m", What::Unload));
        command.done.send(Ok(())).unwrap();
        asked.await.unwrap().unwrap();

        let mut waiting = Vec::new();
        for _ in 0..MAX_COMMANDS {
            let asking = repository.clone();
            waiting.push(tokio::spawn(async move { asking.load("m").await }));
            tokio::task::yield_now().await;
        }
        assert_eq!(repository.load("m").await.unwrap_err().kind, FaultKind::Overloaded);
        drop(arriving);
        for asked in waiting {
            assert_eq!(asked.await.unwrap().unwrap_err().kind, FaultKind::Unavailable);
        }
    }
}
