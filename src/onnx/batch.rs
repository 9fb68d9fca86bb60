//! Bringing the inputs of several requests together into one run, and its outputs apart again.
//!
//! Rows are the first dimension. Requests may share a run when their inputs differ in nothing else;
//! which models allow it is the signature's matter. Values are copied, so that the requests of a
//! batch that fails can be run again one by one.

use crate::inference::tensor::{Tensor, TensorData};

/// How many rows a request has: the first dimension of its inputs, when it is the same for all.
pub(super) fn rows(inputs: &[Tensor]) -> Option<usize> {
    let first = *inputs.first()?.shape().first()?;
    let same = inputs.iter().all(|tensor| tensor.shape().first() == Some(&first));
    if same { usize::try_from(first).ok().filter(|rows| *rows > 0) } else { None }
}

/// Whether two requests, both in the graph's order, differ in their rows only.
pub(super) fn may_join(one: &[Tensor], other: &[Tensor]) -> bool {
    let same = |(a, b): (&Tensor, &Tensor)| a.shape().get(1..) == b.shape().get(1..);
    one.len() == other.len() && one.iter().zip(other).all(same)
}

/// The inputs of all `requests` as one request. All of them may join the first.
pub(super) fn join(requests: &[&[Tensor]]) -> Option<Vec<Tensor>> {
    let first = requests.first()?;
    first
        .iter()
        .enumerate()
        .map(|(at, tensor)| {
            let parts = || requests.iter().filter_map(|request| request.get(at));
            let rows = parts().filter_map(|part| part.shape().first()).sum();
            let mut shape = tensor.shape().to_vec();
            *shape.first_mut()? = rows;
            let count = parts().map(|part| part.data().len()).sum();
            let mut data = TensorData::with_capacity(tensor.dtype(), count);
            for part in parts() {
                append(&mut data, part.data());
            }
            Tensor::new(tensor.name(), shape, data).ok()
        })
        .collect()
}

/// The outputs of a run on requests with so many `rows` each.
///
/// # Errors
/// Which output does not have one row for each row of the inputs.
pub(super) fn part(outputs: Vec<Tensor>, rows: &[usize]) -> Result<Vec<Vec<Tensor>>, String> {
    let all: usize = rows.iter().sum();
    let mut parts: Vec<Vec<Tensor>> = rows.iter().map(|_| Vec::with_capacity(outputs.len())).collect();
    for output in outputs {
        check_rows(&output, all)?;
        let (name, shape, data) = output.into_parts();
        let width = data.len() / all.max(1);
        let mut pieces = pieces(data, rows.iter().map(|rows| rows * width)).into_iter();
        for (part, rows) in parts.iter_mut().zip(rows) {
            let mut shape = shape.clone();
            if let Some(first) = shape.first_mut() {
                *first = i64::try_from(*rows).unwrap_or(i64::MAX);
            }
            let data = pieces.next().ok_or_else(|| "a part of an output is missing".to_owned())?;
            part.push(Tensor::new(name.as_str(), shape, data).map_err(|error| error.to_string())?);
        }
    }
    Ok(parts)
}

/// Whether an output has as many rows as the inputs.
///
/// # Errors
/// What it has instead.
pub(super) fn check_rows(output: &Tensor, rows: usize) -> Result<(), String> {
    let found = output.shape().first().and_then(|first| usize::try_from(*first).ok());
    if found == Some(rows) {
        return Ok(());
    }
    Err(format!("output {:?} has shape {:?} for {rows} rows of input", output.name(), output.shape()))
}

/// Puts the values of `from` behind those of `into`; both have one type.
fn append(into: &mut TensorData, from: &TensorData) {
    macro_rules! same {
        ($($kind:ident),+) => {
            match (into, from) {
                $( (TensorData::$kind(into), TensorData::$kind(from)) => into.extend_from_slice(from), )+
                _ => debug_assert!(false, "types were compared by the signature"),
            }
        };
    }
    same!(Bool, Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Fp16, Fp32, Fp64, Bytes, Bf16);
}

/// The values in pieces of these lengths.
fn pieces(data: TensorData, lengths: impl Iterator<Item = usize>) -> Vec<TensorData> {
    macro_rules! cut {
        ($($kind:ident),+) => {
            match data {
                $( TensorData::$kind(values) => {
                    let mut values = values.into_iter();
                    lengths.map(|length| TensorData::$kind(values.by_ref().take(length).collect())).collect()
                } )+
            }
        };
    }
    cut!(Bool, Uint8, Uint16, Uint32, Uint64, Int8, Int16, Int32, Int64, Fp16, Fp32, Fp64, Bytes, Bf16)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::inference::tensor::Dtype;

    fn tensor(name: &str, shape: &[i64], from: f32) -> Tensor {
        let count = crate::inference::tensor::element_count(shape).unwrap();
        let values = (0..count).map(|n| from + n as f32).collect();
        Tensor::new(name, shape.to_vec(), TensorData::Fp32(values)).unwrap()
    }

    #[test]
    fn requests_join_when_only_their_rows_differ() {
        let (a, b) = ([tensor("x", &[1, 3], 0.0)], [tensor("x", &[2, 3], 9.0)]);
        assert!(may_join(&a, &b));
        assert!(!may_join(&a, &[tensor("x", &[1, 4], 0.0)]));
        assert!(!may_join(&a, &[tensor("x", &[1], 0.0)]));
        let joined = join(&[&a, &b]).unwrap();
        assert_eq!(joined[0].shape(), [3, 3]);
        let TensorData::Fp32(values) = joined[0].data() else { panic!() };
        assert_eq!(values, &[0.0, 1.0, 2.0, 9.0, 10.0, 11.0, 12.0, 13.0, 14.0]);
        assert_eq!(rows(&a), Some(1));
        assert_eq!(rows(&[tensor("x", &[2, 3], 0.0), tensor("y", &[1], 0.0)]), None);
        assert_eq!(rows(&[tensor("x", &[], 0.0)]), None);
    }

    #[test]
    fn an_output_without_a_row_for_each_row_is_not_parted() {
        let error = part(vec![tensor("n", &[1], 0.0)], &[1, 1]).unwrap_err();
        assert_eq!(error, "output \"n\" has shape [1] for 2 rows of input");
        assert!(part(vec![tensor("s", &[], 0.0)], &[1]).is_err());
    }

    proptest! {
        #[test]
        fn what_is_joined_and_parted_is_what_it_was(
            rows in proptest::collection::vec(1_i64..5, 1..8),
            width in 0_i64..4,
            kind in 0_usize..14,
        ) {
            let requests: Vec<Vec<Tensor>> = rows
                .iter()
                .enumerate()
                .map(|(n, rows)| {
                    let numbers = tensor("x", &[*rows, width], n as f32 * 100.0);
                    let data = TensorData::zeros(Dtype::ALL[kind], usize::try_from(*rows).unwrap());
                    vec![numbers, Tensor::new("y", vec![*rows], data).unwrap()]
                })
                .collect();
            let all: Vec<&[Tensor]> = requests.iter().map(Vec::as_slice).collect();
            let lengths: Vec<usize> = rows.iter().map(|rows| usize::try_from(*rows).unwrap()).collect();
            prop_assert_eq!(part(join(&all).unwrap(), &lengths).unwrap(), requests);
        }
    }
}
