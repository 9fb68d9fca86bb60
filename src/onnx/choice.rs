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
/// `BadRequest` with the names there are, or with the one that stands twice: a short request must not
/// ask for an output a thousand times.
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
    let mut chosen = Vec::with_capacity(names.len().min(signature.outputs.len()));
    for name in names {
        let at = position(name)?;
        if chosen.contains(&at) {
            return Err(Fault::new(FaultKind::BadRequest, format!("output {name:?} stands twice")));
        }
        chosen.push(at);
    }
    Ok(Choice::Some(chosen))
}

/// When an answer is of no use any more to a client that waits for `timeout` from now on.
pub(super) fn deadline(timeout: Option<Duration>) -> Option<Instant> {
    timeout.and_then(|timeout| Instant::now().checked_add(timeout))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::tensor::Dtype;
    use crate::onnx::signature::Slot;

    #[test]
    fn outputs_come_in_the_order_asked_for_and_each_once() {
        let slot = |name: &str| Slot { name: name.to_owned(), dtype: Dtype::Fp32, dims: Vec::new() };
        let outputs = vec![slot("a"), slot("b"), slot("c")];
        let signature = Signature { inputs: Vec::new(), outputs, hidden: Vec::new() };
        let choose = |names: &[&str]| choose(&signature, names.iter().copied());
        assert_eq!(choose(&[]).unwrap(), Choice::All);
        assert_eq!(choose(&["c", "a"]).unwrap(), Choice::Some(vec![2, 0]));
        assert_eq!(choose(&["c", "c"]).unwrap_err().detail, "output \"c\" stands twice");
        assert_eq!(choose(&["d"]).unwrap_err().detail, "unknown output \"d\", expected \"a\", \"b\", \"c\"");
    }
}
