//! Open Inference Protocol v2 over REST: tensors in JSON, and in the binary extension, where the
//! JSON comes first and each tensor's bytes follow in order.
//!
//! The same reading serves answers (`outputs`) and requests (`inputs`).

use super::elements::{from_json, from_raw};
use super::reader::Reader;
use super::types::{Limits, Output, Undecodable};
use crate::inference::tensor::{Dtype, Tensor, TensorData, element_count};

type Result<T> = std::result::Result<T, Undecodable>;

/// A tensor whose values are not read yet.
#[derive(Debug, Default)]
struct Described<'a> {
    name: Option<String>,
    dtype: Option<Dtype>,
    shape: Vec<i64>,
    /// JSON text of the values.
    data: Option<&'a str>,
    /// Bytes of the values behind the JSON.
    binary: Option<usize>,
}

/// The tensors at the top-level key `list` of `body`, of which the first `header` bytes are JSON if
/// the binary extension is used. None when `body` is a JSON object without that list.
pub(super) fn read(
    body: &[u8],
    header: Option<usize>,
    list: &str,
    limits: &Limits,
) -> Result<Option<Vec<Output>>> {
    let split = body.split_at_checked(header.unwrap_or(body.len()));
    let (json, mut binary) =
        split.ok_or_else(|| Undecodable::malformed("the body is shorter than its JSON is said to be"))?;
    let mut reader = Reader::new(json, limits)?;
    let mut outputs: Option<Vec<Output>> = None;
    reader.object(|reader, key| {
        if key != list || reader.peek() != Some(b'[') {
            return reader.skip().map(drop);
        }
        let mut found = Vec::new();
        reader.array(|reader| {
            if found.len() >= limits.outputs {
                return Err(Undecodable::Limit("tensors"));
            }
            let described = describe(reader)?;
            let name = described.name.clone().unwrap_or_default();
            let tensor = tensor(reader, described, &mut binary).map_err(|why| named(&name, why))?;
            found.push(Output { message: 0, tensor });
            Ok(())
        })?;
        outputs = Some(found);
        Ok(())
    })?;
    reader.end()?;
    if binary.is_empty() {
        return Ok(outputs);
    }
    Err(Undecodable::malformed(format!("{} bytes behind the tensors belong to none", binary.len())))
}

fn named(name: &str, why: Undecodable) -> Undecodable {
    match why {
        Undecodable::Malformed(why) => Undecodable::Malformed(format!("tensor {name:?}: {why}")),
        limit @ Undecodable::Limit(_) => limit,
    }
}

fn describe<'a>(reader: &mut Reader<'a>) -> Result<Described<'a>> {
    let mut tensor = Described::default();
    reader.object(|reader, key| {
        match key {
            "name" => tensor.name = Some(reader.string()?.into_owned()),
            "datatype" => {
                let name = reader.string()?;
                let dtype = Dtype::from_name(&name);
                tensor.dtype = Some(
                    dtype.ok_or_else(|| Undecodable::malformed(format!("datatype {name:?} is unknown")))?,
                );
            }
            "shape" => {
                let mut shape = TensorData::with_capacity(Dtype::Int64, 4);
                from_json(reader, &mut shape)?;
                if let TensorData::Int64(dims) = shape {
                    tensor.shape = dims;
                }
            }
            // The type may come behind the values, so these wait.
            "data" => tensor.data = Some(reader.skip()?),
            "parameters" if reader.peek() == Some(b'{') => reader.object(|reader, key| {
                if key == "binary_data_size" {
                    tensor.binary = reader.token().parse().ok();
                    return Ok(());
                }
                reader.skip().map(drop)
            })?,
            _ => drop(reader.skip()?),
        }
        Ok(())
    })?;
    Ok(tensor)
}

fn tensor<'a>(reader: &mut Reader<'a>, described: Described<'a>, binary: &mut &[u8]) -> Result<Tensor> {
    let dtype = described.dtype.ok_or_else(|| Undecodable::malformed("\"datatype\" is missing"))?;
    let name = described.name.ok_or_else(|| Undecodable::malformed("\"name\" is missing"))?;
    let data = match (described.data, described.binary) {
        (Some(text), _) => {
            // A value takes two bytes of text at least, whatever the shape promises.
            let count = element_count(&described.shape).unwrap_or(0).min(text.len() / 2 + 1);
            let mut data = TensorData::with_capacity(dtype, count);
            let mut part = reader.part(text);
            from_json(&mut part, &mut data)?;
            reader.spend(&part);
            data
        }
        (None, Some(length)) => {
            let split = binary.split_at_checked(length);
            let (raw, rest) = split.ok_or_else(|| Undecodable::malformed("its bytes are cut off"))?;
            *binary = rest;
            from_raw(dtype, raw)?
        }
        (None, None) => return Err(Undecodable::malformed("it has no values")),
    };
    Tensor::new(name, described.shape, data).map_err(|error| Undecodable::malformed(error.to_string()))
}
