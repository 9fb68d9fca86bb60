//! What the deciding thread is told.

use super::call::{Call, Reply};
use super::candidate::Digests;
use super::spec::RolloutSpec;
use crate::base::ModelName;
use crate::notify::Receivers;
use crate::rollout::machine::GateAnswer;
use crate::store::StoreError;

/// What the deciding thread is told.
pub(super) enum Message {
    /// Somebody asks for something; with the digests of the versions that it is about.
    Call(Call, Digests, Reply),
    /// The digests of the candidates that the configuration names have been made.
    Wanted(Digests),
    /// A gate has answered.
    Gate(ModelName, GateAnswer),
    /// The ledger has done what it was asked, or cannot.
    Committed(ModelName, Result<(), StoreError>),
    /// The configuration is another one: what it says of rollouts, its hash, and who is told from now
    /// on where that may have changed. One message: what it starts is told to its own receivers.
    Declared(Vec<RolloutSpec>, String, Option<Receivers>),
    /// It is over.
    Stop,
}
