//! What a request chooses beside its inputs: outputs, and how long it waits.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::{Fault, FaultKind};
use crate::inference::tensor::Tensor;

use super::signature::Signature;

/// Which outputs go into the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Choice {
    /// All of them, in the graph's order.
    All,
    /// Those at these positions, in this order.
    Some(Vec<usize>),
}

impl Choice {
    /// The chosen ones of `outputs`.
    pub(super) fn of<'a>(&'a self, outputs: &'a [Tensor]) -> impl Iterator<Item = &'a Tensor> {
        let (all, some) = match self {
            Self::All => (outputs, &[][..]),
            Self::Some(positions) => (&[][..], positions.as_slice()),
        };
        all.iter().chain(some.iter().filter_map(|at| outputs.get(*at)))
    }
}

/// Positions of the outputs asked for; all where none is named.
///
/// # Errors
/// `BadRequest` with the names there are.
pub(super) fn choose<'a>(
    signature: &Signature,
    names: impl ExactSizeIterator<Item = &'a str>,
) -> Result<Choice, Fault> {
    if names.len() == 0 {
        return Ok(Choice::All);
    }
    let position = |name: &str| {
        signature.outputs.iter().position(|slot| slot.name == name).ok_or_else(|| {
            let known: Vec<_> = signature.outputs.iter().map(|slot| format!("{:?}", slot.name)).collect();
            let detail = format!("unknown output {name:?}, expected {}", known.join(", "));
            Fault::new(FaultKind::BadRequest, detail)
        })
    };
    names.map(position).collect::<Result<_, _>>().map(Choice::Some)
}

/// When an answer is of no use any more to a client that waits for `timeout` from now on.
pub(super) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}
