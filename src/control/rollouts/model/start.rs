//! How a rollout begins: who the candidate is, what the policy is, and whether it may.

use std::collections::BTreeMap;

use serde_json::Value;

use super::super::call::{CallError, CandidateCall, StartCall};
use super::super::candidate::Digests;
use super::super::live::Shared;
use super::super::stand_in::UNREADABLE;
use super::super::tools::Tools;
use super::Model;
use crate::base::{ModelName, Role, VersionName};
use crate::rollout::effect::Effect;
use crate::rollout::machine::{Input, Refusal, Start};
use crate::rollout::time::Timestamp;
use crate::rollout::version::{Actor, VersionRef};
use crate::routing::spec::{ModelSpec, VersionSpec};

impl Model {
    /// Begins a rollout: its effects, and whether it is new. One that was asked for before under the
    /// same key is not.
    ///
    /// # Errors
    /// [`CallError`]; nothing has changed then.
    pub(super) fn start(
        &mut self,
        call: StartCall,
        digests: &Digests,
        config_hash: &str,
        now: Timestamp,
        tools: &Tools,
    ) -> Result<(Vec<Effect>, bool), CallError> {
        can_begin(tools)?;
        let declared = tools.board.declared(self.name().as_str());
        let declared = declared.ok_or_else(|| CallError::NotFound("the model is gone".to_owned()))?;
        let (spec, origin, given) = match call.candidate {
            CandidateCall::Declared(name) => {
                let spec = declared.find(&name).ok_or_else(|| unknown(&declared, &name))?;
                (spec, Value::Null, None)
            }
            CandidateCall::Given { spec, origin, digest } => (*spec, origin, digest),
        };
        let policy = call.policy.or_else(|| self.spec.as_ref().map(|spec| spec.policy.clone()));
        let policy = policy.ok_or_else(|| {
            let name = self.name();
            CallError::Invalid(format!(
                "model {name} has no `rollout` in the configuration: give the policy with the call"
            ))
        })?;
        let digest = digests.get(&spec, given.as_deref()).map_err(CallError::Invalid)?;
        self.first_stable(&declared, digests);
        let start = Start {
            id: id(self.name(), now),
            candidate: VersionRef { name: spec.name.clone(), digest, origin },
            policy,
            config_hash: config_hash.to_owned(),
            baseline: BTreeMap::new(),
            supersede: call.supersede,
            by: call.by,
        };
        let effects = self.state.handle(Input::Start(Box::new(start)), now)?;
        if effects.is_empty() {
            // The same call came before.
            return Ok((effects, false));
        }
        self.began(spec, &declared, tools);
        Ok((effects, true))
    }

    /// A rollout has begun: its versions stay as they are, and counting begins anew.
    fn began(&mut self, candidate: VersionSpec, declared: &ModelSpec, tools: &Tools) {
        let stable = self.state.stable.name.clone();
        let known = self.versions.remove(&stable);
        let stable = declared.find(&stable).or(known);
        self.versions = stable.into_iter().chain([candidate]).map(|spec| (spec.name.clone(), spec)).collect();
        self.shared = self.state.rollout.as_ref().map(|rollout| Shared::new(rollout, declared));
        self.call_off();
        self.gauges.clear();
        self.weights = None;
        (tools.forget_pairs)(self.name().as_str());
    }

    /// A command may have begun the rollout again, under another id than `before`.
    /// Says so.
    pub(super) fn began_again(&mut self, before: Option<&str>, tools: &Tools) -> bool {
        let now = self.state.running().filter(|rollout| Some(rollout.id.as_str()) != before);
        let candidate = now.and_then(|rollout| self.versions.get(&rollout.candidate.name).cloned());
        if let (Some(candidate), Some(declared)) = (candidate, tools.board.declared(self.name().as_str())) {
            self.began(candidate, &declared, tools);
            return true;
        }
        false
    }

    /// Before the first rollout the configuration says which version is stable.
    fn first_stable(&mut self, declared: &ModelSpec, digests: &Digests) {
        let stable = declared.versions.iter().find(|version| version.role == Role::Stable);
        if let Some(stable) = stable.filter(|_| self.is_first()) {
            let digest = digests.get(stable, None).unwrap_or_else(|_| UNREADABLE.to_owned());
            self.state.stable = VersionRef { name: stable.name.clone(), digest, origin: Value::Null };
        }
    }

    /// Starts a rollout to the candidate that the configuration names, unless it was tried before.
    pub(in super::super) fn start_declared(
        &mut self,
        digests: &Digests,
        config_hash: &str,
        now: Timestamp,
        tools: &Tools,
    ) {
        let now = self.lead.time(now);
        let Some(wanted) = self.spec.as_ref().and_then(|spec| spec.candidate.clone()) else { return };
        let Some(declared) = tools.board.declared(self.name().as_str()) else { return };
        let Some(spec) = declared.versions.iter().find(|version| version.name == wanted) else { return };
        let digest = match digests.get(spec, None) {
            Ok(digest) => digest,
            Err(error) => {
                tracing::error!(model = %self.name(), candidate = %wanted, %error, "no rollout is started");
                return;
            }
        };
        self.first_stable(&declared, digests);
        if let Some(latch) = self.state.latches.get(&digest) {
            // The configuration that brought it says nothing new while it stands as it was.
            let before = self.state.rollout.as_ref().map(|rollout| rollout.config_hash.as_str());
            if before != Some(config_hash) {
                let (version, reason) = (latch.version.clone(), latch.reason.clone());
                self.tell_refused(&Refusal::Latched { version, digest, reason }, now, tools);
            }
            return;
        }
        if self.state.stable.digest == digest || self.state.attempts.contains_key(&digest) {
            return;
        }
        let call = StartCall {
            model: self.name().to_string(),
            candidate: CandidateCall::Declared(wanted.clone()),
            policy: None,
            supersede: false,
            by: Actor { name: "config".to_owned(), key: None },
        };
        match self.start(call, digests, config_hash, now, tools) {
            Ok((effects, _)) => self.push(effects, now, tools),
            Err(error) => {
                tracing::warn!(model = %self.name(), candidate = %wanted, %error, "the configuration names a new candidate, but no rollout is started");
            }
        }
    }
}

/// Whether a rollout may begin: one that would be forgotten may not.
///
/// # Errors
/// [`CallError::Store`].
pub(super) fn can_begin(tools: &Tools) -> Result<(), CallError> {
    if let Some(refused) = &tools.refused {
        return Err(CallError::Store(refused.clone()));
    }
    match tools.ledger.health().last_error {
        Some(error) => Err(CallError::Store(error.to_string())),
        None => Ok(()),
    }
}

fn unknown(declared: &ModelSpec, name: &VersionName) -> CallError {
    let known: Vec<_> = declared.versions.iter().map(|version| version.name.as_str()).collect();
    CallError::NotFound(format!(
        "model {} has no version {name}; its versions are {}",
        declared.name,
        known.join(", ")
    ))
}

/// The id of a rollout that begins now.
fn id(model: &ModelName, now: Timestamp) -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let mut rest = now.0;
    let mut text = Vec::new();
    while rest > 0 {
        let digit = usize::try_from(rest % 36).unwrap_or_default();
        text.push(DIGITS.get(digit).copied().map_or('0', char::from));
        rest /= 36;
    }
    format!("{model}-{}", text.into_iter().rev().collect::<String>())
}
