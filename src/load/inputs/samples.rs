//! From rows, or from nothing but metadata, to the bodies that are sent.

use serde_json::{Value, json};

use super::fit::{converted, shaped, tensor};
use super::metadata::InputMeta;
use super::rows::{Row, Rows};
use super::{InputError, MOST_BYTES};
use crate::inference::answer::{Json, element};
use crate::inference::tensor::{Dtype, Tensor, TensorData, element_count};
use crate::inference::v2_json;
use crate::load::encode::{self, Sample};
use crate::load::random::{Purpose, bits, unit};
use crate::load::spec::{Format, RequestSpec};

/// The bodies that `rows` make, and a remark where not all of them are used. `metadata` is asked
/// for only where a row does not say by itself what it is.
///
/// # Errors
/// [`InputError`] with the row that does not fit.
pub fn samples(
    spec: &RequestSpec,
    place: &str,
    rows: &Rows,
    metadata: &mut dyn FnMut() -> Result<Vec<InputMeta>, InputError>,
) -> Result<(Vec<Sample>, Option<String>), InputError> {
    let mut made = Made::default();
    match rows {
        Rows::Rows(rows) => {
            for batch in rows.chunks(spec.batch.max(1)) {
                let line = batch.first().map_or(0, |row| row.line);
                let at = |why: String| InputError::new(format!("{place}:{line}"), why);
                let sample = match spec.format {
                    Format::Plain => plain(batch).map_err(at)?,
                    Format::Chat | Format::ChatStream => chat(spec, batch).map_err(at)?,
                    Format::V1 => v1(batch),
                    Format::V2 | Format::V2Binary | Format::Grpc => v2(spec, batch, metadata, &at)?,
                };
                let expected = batch.first().and_then(|row| row.label.clone()).map(String::into_boxed_str);
                if !made.push(Sample { expected, ..sample }) {
                    break;
                }
            }
        }
        Rows::Array { shape, count, data } => {
            let metadata = if spec.format.has_tensors() { metadata()? } else { Vec::new() };
            for first in (0..*count).step_by(spec.batch.max(1)) {
                let rows = spec.batch.max(1).min(count - first);
                let sample = array(spec, shape, first, rows, data, &metadata)
                    .map_err(|why| InputError::new(place, why))?;
                if !made.push(sample) {
                    break;
                }
            }
        }
    }
    let remark = made.full.then(|| {
        format!("{place}: only the first {} requests are used, which take 256 MiB", made.samples.len())
    });
    Ok((made.samples, remark))
}

#[derive(Default)]
struct Made {
    samples: Vec<Sample>,
    bytes: usize,
    full: bool,
}

impl Made {
    /// Keeps a sample, while there is room.
    fn push(&mut self, sample: Sample) -> bool {
        self.bytes += sample.body.len();
        self.full = self.bytes > MOST_BYTES && !self.samples.is_empty();
        if !self.full {
            self.samples.push(sample);
        }
        !self.full
    }
}

fn one<'r>(batch: &'r [Row], what: &str) -> Result<&'r Row, String> {
    match batch {
        [row] => Ok(row),
        _ => Err(format!("{what} are sent one by one: remove `batch`")),
    }
}

fn plain(batch: &[Row]) -> Result<Sample, String> {
    Ok(Sample::new(one(batch, "plain bodies")?.value.to_string()))
}

fn chat(spec: &RequestSpec, batch: &[Row]) -> Result<Sample, String> {
    encode::with_prompt(spec, one(batch, "prompts")?.value.clone())
}

/// Values of a row in the order of its columns.
fn ordered(row: &Row) -> Value {
    match (&row.columns, &row.value) {
        (Some(columns), Value::Object(fields)) => {
            Value::Array(columns.iter().filter_map(|column| fields.get(column).cloned()).collect())
        }
        (_, value) => value.clone(),
    }
}

fn v1(batch: &[Row]) -> Sample {
    if let [row] = batch
        && row.columns.is_none()
        && row.value.as_object().is_some_and(|o| o.contains_key("instances") || o.contains_key("inputs"))
    {
        return Sample::new(row.value.to_string());
    }
    encode::instances(batch.iter().map(ordered).collect())
}

fn v2(
    spec: &RequestSpec,
    batch: &[Row],
    metadata: &mut dyn FnMut() -> Result<Vec<InputMeta>, InputError>,
    at: &dyn Fn(String) -> InputError,
) -> Result<Sample, InputError> {
    let whole = |row: &Row| row.columns.is_none() && row.value.get("inputs").is_some_and(Value::is_array);
    if batch.iter().any(whole) {
        let text = one(batch, "whole requests").map_err(at)?.value.to_string();
        // Read in any case: a mistake should not first be found by the server.
        let request = v2_json::decode(text.as_bytes()).map_err(|error| at(error.to_string()))?;
        return match spec.format {
            Format::V2 => Ok(Sample::new(text)),
            _ => encode::tensors(spec, &request.inputs).map_err(at),
        };
    }
    let metadata = metadata()?;
    let inputs = row_tensors(batch, &metadata).map_err(at)?;
    encode::tensors(spec, &inputs).map_err(at)
}

/// Tensors of rows that name inputs, or whose values are those of the only input.
fn row_tensors(batch: &[Row], metadata: &[InputMeta]) -> Result<Vec<Tensor>, String> {
    let named = |row: &Row| {
        row.value.as_object().is_some_and(|fields| metadata.iter().all(|m| fields.contains_key(&m.name)))
    };
    if batch.iter().all(named) {
        return metadata
            .iter()
            .map(|meta| {
                let values: Vec<&Value> = batch.iter().filter_map(|row| row.value.get(&meta.name)).collect();
                tensor(meta, &values)
            })
            .collect();
    }
    match metadata {
        [only] => {
            let rows: Vec<Value> = batch.iter().map(ordered).collect();
            if rows.iter().any(Value::is_object) {
                return Err(format!("the row has no values for the input {:?}", only.name));
            }
            Ok(vec![tensor(only, &rows.iter().collect::<Vec<_>>())?])
        }
        several => {
            let names: Vec<&str> = several.iter().map(|meta| meta.name.as_str()).collect();
            Err(format!("a row needs values for each of the model's inputs: {}", names.join(", ")))
        }
    }
}

fn array(
    spec: &RequestSpec,
    shape: &[i64],
    first: usize,
    rows: usize,
    data: &TensorData,
    metadata: &[InputMeta],
) -> Result<Sample, String> {
    let width = element_count(shape).ok_or("the array's shape is none")?;
    let values: Vec<Json> =
        (first * width..(first + rows) * width).filter_map(|index| element(data, index)).collect();
    let part = Json::Array(values).to_string();
    let part: Value =
        serde_json::from_str(&part).map_err(|_| "the array holds NaN or an infinity".to_owned())?;
    match (spec.format, metadata) {
        (Format::V1, _) => {
            let rows =
                part.as_array().map(|values| values.chunks(width.max(1)).map(|row| json!(row)).collect());
            Ok(encode::instances(rows.unwrap_or_default()))
        }
        (format, [only]) if format.has_tensors() => {
            let mut typed = TensorData::with_capacity(data.dtype(), rows * width);
            typed = tensor_data(&part, typed)?;
            let tensor = shaped(only, converted(typed, only.dtype)?, rows)?;
            encode::tensors(spec, &[tensor])
        }
        (format, several) if format.has_tensors() => {
            Err(format!("the model has {} inputs and an array fills one: use lines of JSON", several.len()))
        }
        _ => Err("an array of numbers is input for a model's tensors only".to_owned()),
    }
}

/// The values of a flat JSON array in the type of `into`.
fn tensor_data(part: &Value, into: TensorData) -> Result<TensorData, String> {
    let any = InputMeta { name: "array".to_owned(), dtype: into.dtype(), shape: vec![-1] };
    Ok(tensor(&any, &[part])?.into_parts().2)
}

/// `count` bodies of random values as `metadata` describes them; open dimensions have `dynamic`
/// places, but the first one, which counts the rows of a batch.
///
/// # Errors
/// [`InputError`] where nothing can be made up.
pub fn generated(
    spec: &RequestSpec,
    dynamic: usize,
    count: usize,
    seed: u64,
    metadata: &[InputMeta],
) -> Result<Vec<Sample>, InputError> {
    let failed = |why: String| InputError::new(format!("inputs of {:?}", spec.name), why);
    match spec.format {
        Format::Plain => Ok(vec![Sample::new(Vec::new())]),
        Format::Chat | Format::ChatStream => encode::prompts()
            .into_iter()
            .map(|prompt| encode::with_prompt(spec, json!(prompt)).map_err(failed))
            .collect(),
        Format::V1 => Err(failed("V1 has no metadata to make inputs from: give a file of them".to_owned())),
        Format::V2 | Format::V2Binary | Format::Grpc => (0..count.max(1) as u64)
            .map(|number| {
                let inputs = metadata.iter().enumerate().map(|(input, meta)| {
                    let at = (number << 32) | ((input as u64) << 24);
                    random(meta, spec.batch.max(1), dynamic, seed, at)
                });
                let inputs = inputs.collect::<Result<Vec<_>, _>>().map_err(failed)?;
                encode::tensors(spec, &inputs).map_err(failed)
            })
            .collect(),
    }
}

fn random(meta: &InputMeta, rows: usize, dynamic: usize, seed: u64, at: u64) -> Result<Tensor, String> {
    let size = |(place, dim): (usize, &i64)| match (*dim < 0, place) {
        (false, _) => *dim,
        (true, 0) => i64::try_from(rows).unwrap_or(1),
        (true, _) => i64::try_from(dynamic).unwrap_or(1),
    };
    let shape: Vec<i64> = meta.shape.iter().enumerate().map(size).collect();
    let count = element_count(&shape).filter(|count| *count <= 1 << 24);
    let count =
        count.ok_or_else(|| format!("input {:?} of shape {shape:?} is too large to make up", meta.name))?;
    let float = |i: usize| unit(seed, Purpose::Value, at + i as u64);
    let whole = |i: usize| bits(seed, Purpose::Value, at + i as u64);
    let values: Vec<Value> = (0..count)
        .map(|i| match meta.dtype {
            Dtype::Bool => json!(whole(i) & 1 == 1),
            Dtype::Fp16 | Dtype::Fp32 | Dtype::Fp64 | Dtype::Bf16 => json!(float(i)),
            Dtype::Bytes => json!(format!("text {}", whole(i) % 1000)),
            // Small enough for every type, and for most vocabularies.
            _ => json!(whole(i) % 100),
        })
        .collect();
    let values = tensor(&InputMeta { shape: vec![-1], ..meta.clone() }, &[&Value::Array(values)])?;
    Tensor::new(meta.name.clone(), shape, values.into_parts().2).map_err(|error| error.to_string())
}
