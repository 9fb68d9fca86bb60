//! Values of a row in the type and shape that a model's input has.

use half::{bf16, f16};
use serde_json::Value;

use super::metadata::InputMeta;
use crate::inference::tensor::{Dtype, Tensor, TensorData, element_count};

/// Most values of one input of one request.
const MOST_VALUES: usize = 16 << 20;

/// The tensor that `rows` (one, or as many as a batch has) make for the input `meta`.
///
/// # Errors
/// One line: what does not fit.
pub(super) fn tensor(meta: &InputMeta, rows: &[&Value]) -> Result<Tensor, String> {
    let mut data = TensorData::with_capacity(meta.dtype, rows.len());
    for row in rows {
        append(&mut data, row).map_err(|why| format!("input {:?}: {why}", meta.name))?;
    }
    shaped(meta, data, rows.len())
}

/// `data` of `rows` rows in the shape of `meta`.
pub(super) fn shaped(meta: &InputMeta, data: TensorData, rows: usize) -> Result<Tensor, String> {
    let shape = shape(meta, data.len(), rows)?;
    Tensor::new(meta.name.clone(), shape, data).map_err(|error| format!("input {:?}: {error}", meta.name))
}

/// The shape of `meta` with its open dimensions filled so that it takes `count` values of `rows`
/// rows: the first one is the batch, the last one takes what is left.
fn shape(meta: &InputMeta, count: usize, rows: usize) -> Result<Vec<i64>, String> {
    let unfit = || {
        let per_row = count / rows.max(1);
        format!(
            "input {:?} has the shape {:?}, which {per_row} values a row do not fill (-1 takes any)",
            meta.name, meta.shape
        )
    };
    let open: Vec<usize> =
        (0..meta.shape.len()).filter(|at| meta.shape.get(*at).is_some_and(|d| *d < 0)).collect();
    let mut shape = meta.shape.clone();
    let mut set = |at: usize, size: usize| {
        if let (Some(dim), Ok(size)) = (shape.get_mut(at), i64::try_from(size)) {
            *dim = size;
        }
    };
    let fixed: i64 = meta.shape.iter().filter(|d| **d >= 0).product();
    let fixed = usize::try_from(fixed).unwrap_or(0).max(1);
    match open.as_slice() {
        [] => {}
        [one] => set(*one, count / fixed),
        [first, middle @ .., last] => {
            set(*first, rows);
            middle.iter().for_each(|at| set(*at, 1));
            set(*last, count / (fixed * rows.max(1)));
        }
    }
    match element_count(&shape) {
        Some(found) if found == count => Ok(shape),
        _ => Err(unfit()),
    }
}

/// Appends the values in `row`, however deep they are nested.
fn append(data: &mut TensorData, row: &Value) -> Result<(), String> {
    match row {
        Value::Array(items) => items.iter().try_for_each(|item| append(data, item)),
        scalar if data.len() >= MOST_VALUES => {
            Err(format!("more values than {MOST_VALUES}, such as {scalar}"))
        }
        scalar => push(data, scalar),
    }
}

fn push(data: &mut TensorData, value: &Value) -> Result<(), String> {
    let dtype = data.dtype();
    let no = || {
        let shown: String = value.to_string().chars().take(40).collect();
        format!("{shown} is no {dtype}")
    };
    let real = || value.as_f64().or_else(|| special(value)).ok_or_else(no);
    macro_rules! whole {
        ($values:expr, $type:ty) => {{
            let exact = value.as_i64().map(i128::from).or_else(|| value.as_u64().map(i128::from));
            // `1.0` is how some tools write the whole number 1.
            let exact = exact.or_else(|| value.as_f64().filter(|v| v.fract() == 0.0).map(|v| v as i128));
            $values.push(exact.and_then(|v| <$type>::try_from(v).ok()).ok_or_else(no)?)
        }};
    }
    match data {
        TensorData::Bool(values) => values.push(match value {
            Value::Bool(truth) => *truth,
            Value::Number(number) if number.as_f64() == Some(0.0) => false,
            Value::Number(number) if number.as_f64() == Some(1.0) => true,
            _ => return Err(no()),
        }),
        TensorData::Uint8(values) => whole!(values, u8),
        TensorData::Uint16(values) => whole!(values, u16),
        TensorData::Uint32(values) => whole!(values, u32),
        TensorData::Uint64(values) => whole!(values, u64),
        TensorData::Int8(values) => whole!(values, i8),
        TensorData::Int16(values) => whole!(values, i16),
        TensorData::Int32(values) => whole!(values, i32),
        TensorData::Int64(values) => whole!(values, i64),
        TensorData::Fp16(values) => values.push(f16::from_f64(real()?)),
        TensorData::Fp32(values) => values.push(real()? as f32),
        TensorData::Fp64(values) => values.push(real()?),
        TensorData::Bf16(values) => values.push(bf16::from_f64(real()?)),
        TensorData::Bytes(values) => values.push(match value {
            Value::String(text) => text.clone(),
            Value::Number(number) => number.to_string(),
            _ => return Err(no()),
        }),
    }
    Ok(())
}

/// Numbers that JSON has no sign for and that files write as text.
fn special(value: &Value) -> Option<f64> {
    match value.as_str()? {
        "NaN" | "nan" => Some(f64::NAN),
        "Infinity" | "inf" => Some(f64::INFINITY),
        "-Infinity" | "-inf" => Some(f64::NEG_INFINITY),
        _ => None,
    }
}

/// The values of an array in the type that an input has.
pub(super) fn converted(data: TensorData, dtype: Dtype) -> Result<TensorData, String> {
    if data.dtype() == dtype {
        return Ok(data);
    }
    let mut out = TensorData::with_capacity(dtype, data.len());
    let from = data.dtype();
    for index in 0..data.len() {
        let value = crate::inference::answer::element(&data, index).map(|json| json.to_string());
        let value: Value = value.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or(Value::Null);
        push(&mut out, &value).map_err(|_| format!("value {index} of the {from} array is no {dtype}"))?;
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn meta(dtype: Dtype, shape: &[i64]) -> InputMeta {
        InputMeta { name: "x".into(), dtype, shape: shape.to_vec() }
    }

    #[test]
    fn rows_fill_the_shape_that_the_model_has() {
        let row = json!([1, 2, 3, 4]);
        for (shape, rows, expected) in [
            (&[-1, 4][..], 1, &[1, 4][..]),
            (&[-1, 4], 3, &[3, 4]),
            (&[-1, -1], 2, &[2, 4]),
            (&[-1, -1, 2], 1, &[1, 2, 2]),
            (&[4], 1, &[4]),
            (&[-1], 2, &[8]),
            (&[1, 4], 1, &[1, 4]),
        ] {
            let made = tensor(&meta(Dtype::Fp32, shape), &vec![&row; rows]).unwrap();
            assert_eq!(made.shape(), expected, "{shape:?}");
        }
        let said = tensor(&meta(Dtype::Fp32, &[-1, 3]), &[&row]).unwrap_err();
        assert!(said.contains("[-1, 3], which 4 values"), "{said}");
        assert!(tensor(&meta(Dtype::Fp32, &[1, 4]), &[&row, &row]).is_err());
    }

    #[test]
    fn values_that_are_none_of_the_type_are_named() {
        for (dtype, row, part) in [
            (Dtype::Int8, json!([1, 300]), "300 is no INT8"),
            (Dtype::Int64, json!([1.5]), "1.5 is no INT64"),
            (Dtype::Fp32, json!(["a"]), "\"a\" is no FP32"),
            (Dtype::Bool, json!([2]), "2 is no BOOL"),
            (Dtype::Bytes, json!([null]), "null is no BYTES"),
        ] {
            let said = tensor(&meta(dtype, &[-1]), &[&row]).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
        let whole = tensor(&meta(Dtype::Int64, &[-1]), &[&json!([1.0, -7])]).unwrap();
        assert_eq!(whole.data(), &TensorData::Int64(vec![1, -7]));
    }

    #[test]
    fn arrays_change_their_type_where_nothing_is_lost() {
        let doubles = TensorData::Fp64(vec![1.0, 2.0]);
        assert_eq!(converted(doubles.clone(), Dtype::Fp32), Ok(TensorData::Fp32(vec![1.0, 2.0])));
        assert_eq!(converted(doubles, Dtype::Int64), Ok(TensorData::Int64(vec![1, 2])));
        assert!(converted(TensorData::Fp64(vec![0.5]), Dtype::Int64).is_err());
    }
}
