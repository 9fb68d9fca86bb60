//! Asking a webhook whether a rollout may go on, in the form that Flagger's webhooks have.
//!
//! The gate gets `{name, namespace, phase, checksum, metadata}` by POST; 200 to 202 means yes,
//! and whatever else happens means no. Asking blocks for up to the timeout, so it is for a thread
//! that has time, and [`Gate::ask_apart`] makes one. Asking again is the caller's decision.

use std::collections::BTreeMap;
use std::io;

use serde_json::json;

use super::client::{Client, ClientError, NoAnswer, Transport};
use super::payload::Request;
use super::spec::Secret;

/// A webhook that is asked.
#[derive(Debug, Clone)]
pub struct Gate {
    url: Secret,
    client: Client,
}

/// What a gate is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GateCall {
    /// The model.
    pub name: String,
    /// Where it runs, as the operator calls it; may be empty.
    pub namespace: String,
    /// Where the rollout stands.
    pub phase: String,
    /// What is being rolled out: the candidate's digest.
    pub checksum: String,
    /// What the operator wants it told beside that.
    pub metadata: BTreeMap<String, String>,
}

/// What came of asking.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GateAnswer {
    /// It may go on.
    Pass {
        /// The status: 200, 201 or 202.
        status: u16,
    },
    /// It may not.
    Refused {
        /// The status.
        status: u16,
        /// The beginning of the answer's body, in one line.
        reason: String,
    },
    /// Nobody answered in time.
    TimedOut,
    /// Nobody could be asked.
    Unreachable {
        /// Why.
        reason: String,
    },
}

impl GateAnswer {
    /// Whether the rollout may go on.
    pub fn passes(&self) -> bool {
        matches!(self, Self::Pass { .. })
    }
}

impl Gate {
    /// A gate at `url`.
    ///
    /// # Errors
    /// [`ClientError`] where the file of authorities is of no use.
    pub fn new(url: Secret, transport: &Transport) -> Result<Self, ClientError> {
        Ok(Self { url, client: Client::new(transport)? })
    }

    /// Asks, and waits for the answer, up to the transport's timeout.
    pub fn ask(&self, call: &GateCall) -> GateAnswer {
        match self.client.post(&request(&self.url, call), true) {
            Ok(answer) if (200..=202).contains(&answer.status) => GateAnswer::Pass { status: answer.status },
            Ok(answer) => GateAnswer::Refused { status: answer.status, reason: answer.text },
            Err(NoAnswer::TimedOut) => GateAnswer::TimedOut,
            Err(NoAnswer::Unreachable(reason) | NoAnswer::Unsendable(reason)) => {
                GateAnswer::Unreachable { reason }
            }
        }
    }

    /// Asks on a thread of its own and gives the answer to `tell` there. How many are asked at a
    /// time is the caller's to limit.
    ///
    /// # Errors
    /// What the system says where it has no thread.
    pub fn ask_apart(
        &self,
        call: GateCall,
        tell: impl FnOnce(GateAnswer) + Send + 'static,
    ) -> io::Result<()> {
        let gate = self.clone();
        let ask = move || tell(gate.ask(&call));
        std::thread::Builder::new().name("gate".to_owned()).spawn(ask).map(drop)
    }
}

fn request(url: &Secret, call: &GateCall) -> Request {
    let body = json!({
        "name": call.name,
        "namespace": call.namespace,
        "phase": call.phase,
        "checksum": call.checksum,
        "metadata": call.metadata,
    });
    Request {
        url: url.expose().to_owned(),
        headers: vec![("content-type".to_owned(), "application/json".to_owned())],
        body: body.to_string().into(),
    }
}
