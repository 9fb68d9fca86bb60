//! Asking the decider for something, once for each idempotency key.

use super::desk::Desk;
use super::sidecar::AdminError;
use crate::control::rollouts::{Call, Done};
use crate::rollout::version::Actor;

/// Asks for what `call` says, on behalf of `by`, and waits until it is durable. A request to `path`
/// that came with the same key and body before gets the rollout of that time, as it stands now.
///
/// # Errors
/// [`AdminError`]; nothing has changed then.
pub(super) fn ask(
    desk: &Desk,
    path: &str,
    body: &[u8],
    by: Actor,
    call: impl FnOnce(Actor) -> Result<Call, AdminError>,
) -> Result<Done, AdminError> {
    let Some(key) = by.key.clone() else { return answered(desk, call(by)?) };
    if let Some(before) = desk.keys.begin(&key, path, body)? {
        let rollout = desk.rollout(&before)?.view()?;
        return Ok(Done { rollout: Some(rollout), durable: is_durable(desk) });
    }
    let done = call(by).and_then(|call| {
        let begins = matches!(&call, Call::Start(_));
        let done = answered(desk, call)?;
        let other = done.rollout.as_ref().filter(|rollout| rollout.by.key.as_ref() != Some(&key));
        match other.filter(|_| begins) {
            // The machine knows the key from before a restart, and another rollout has begun since.
            Some(other) => Err(AdminError::Conflict(format!(
                "Idempotency-Key {key:?} has started a rollout before, which is over; the latest is {}",
                other.id
            ))),
            None => Ok(done),
        }
    });
    match &done {
        Ok(Done { rollout: Some(rollout), .. }) => desk.keys.done(&key, &rollout.id),
        Ok(Done { rollout: None, .. }) => {}
        Err(_) => desk.keys.forget(&key),
    }
    done
}

fn answered(desk: &Desk, call: Call) -> Result<Done, AdminError> {
    Ok(desk.sidecar.rollouts().ask(call)?)
}

/// Whether what is done outlives the process.
fn is_durable(desk: &Desk) -> bool {
    let store = desk.sidecar.rollouts().store();
    store.refused.is_none() && store.health.path.is_some() && store.health.last_error.is_none()
}
