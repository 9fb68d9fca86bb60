//! Tensor values in JSON: nested or flat arrays to typed vectors and back.
//!
//! Both REST protocols carry values this way, so it is here once. Numbers are parsed straight from
//! the text into their own type by the standard library, which rounds correctly: a double and a
//! single survive the round trip bit for bit. JSON has no NaN and no infinity; both directions
//! refuse them. The text given to `read` must be valid JSON already (a `RawValue` is).

use half::{bf16, f16};

use super::tensor::{TensorData, with_values};

/// Arrays nested deeper than this are refused.
const MAX_DEPTH: usize = 32;

/// A request body that is not what the protocol says: one line for the client, naming the place,
/// what was found and what was expected.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidRequest(pub(super) String);

/// An answer that JSON cannot carry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EncodeError {
    /// A value is NaN or infinite.
    #[error(
        "output {output:?}: value {index} is NaN or infinite, and JSON can carry neither; \
         ask for it as binary data or over gRPC"
    )]
    NotFinite {
        /// The output.
        output: String,
        /// Position of the value in row-major order.
        index: usize,
    },
    /// The row form wants one row per instance, and an output has another shape.
    #[error(
        "output {output:?} has shape {shape:?}, not one row for each of the {rows} instances; \
         use the column form {{\"inputs\": ...}}"
    )]
    NotRows {
        /// The output.
        output: String,
        /// Its shape.
        shape: Vec<i64>,
        /// Rows asked for.
        rows: usize,
    },
}

/// Appends the values of `json` to `data` and returns how the arrays were nested: `[2, 3]` for two
/// arrays of three, `[]` for a bare value.
pub(super) fn read(json: &str, data: &mut TensorData) -> Result<Vec<i64>, String> {
    let dtype = data.dtype();
    with_values!(data, values => read_into(json, values)).map_err(|error| match error {
        ReadError::Value { index, found, expected } => {
            let found: String = found.chars().take(40).collect();
            let hint = if found == "null" {
                " (JSON has no NaN or infinity: send binary data or use gRPC)"
            } else {
                ""
            };
            format!("value {index} is {found}, expected {dtype}: {expected}{hint}")
        }
        ReadError::Ragged { index } => {
            format!("the arrays have different lengths or depths near value {index}")
        }
        ReadError::Deep => format!("arrays are nested more than {MAX_DEPTH} deep"),
    })
}

enum ReadError<'a> {
    Value { index: usize, found: &'a str, expected: &'static str },
    Ragged { index: usize },
    Deep,
}

fn read_into<'a, T: Value>(json: &'a str, values: &mut Vec<T>) -> Result<Vec<i64>, ReadError<'a>> {
    let first = values.len();
    // Lengths of the arrays at each depth, as soon as one has closed; and those open now.
    let mut shape: Vec<Option<i64>> = Vec::new();
    let mut open: Vec<i64> = Vec::new();
    let mut leaf_depth = None;
    let mut rest = json.trim_ascii_start();
    while let Some(&byte) = rest.as_bytes().first() {
        let index = values.len() - first;
        let used = match byte {
            b'[' => {
                if leaf_depth.is_some_and(|depth| open.len() >= depth) {
                    return Err(ReadError::Ragged { index });
                }
                if open.len() == MAX_DEPTH {
                    return Err(ReadError::Deep);
                }
                count(&mut open);
                open.push(0);
                if shape.len() < open.len() {
                    shape.push(None);
                }
                1
            }
            b']' => {
                let length = open.pop();
                match shape.get_mut(open.len()) {
                    Some(known @ None) => *known = length,
                    Some(known) if *known == length => {}
                    _ => return Err(ReadError::Ragged { index }),
                }
                1
            }
            b',' | b' ' | b'\n' | b'\r' | b'\t' => 1,
            _ => {
                let length = token_length(rest.as_bytes());
                let (token, _) = rest.split_at_checked(length).unwrap_or((rest, ""));
                if open.len() != shape.len() || leaf_depth.is_some_and(|depth| depth != open.len()) {
                    return Err(ReadError::Ragged { index });
                }
                leaf_depth = Some(open.len());
                let value = T::parse(token);
                let Some(value) = value else {
                    return Err(ReadError::Value { index, found: token, expected: T::EXPECTED });
                };
                values.push(value);
                count(&mut open);
                length
            }
        };
        rest = rest.get(used..).unwrap_or("");
    }
    // `[[], []]` has no leaf, and its depth is that of its arrays; `[[], 1]` was refused above.
    Ok(shape.into_iter().map(|length| length.unwrap_or(0)).collect())
}

fn count(open: &mut [i64]) {
    if let Some(length) = open.last_mut() {
        *length += 1;
    }
}

/// Bytes of the value at the start of `text`: a string with its quotes, a whole object, or
/// everything up to the next delimiter.
fn token_length(text: &[u8]) -> usize {
    match text.first() {
        Some(b'"') => string_length(text),
        // Never a value here; its first line is enough for the error.
        Some(b'{') => text.len(),
        _ => text
            .iter()
            .position(|byte| matches!(byte, b',' | b']' | b'[' | b' ' | b'\n' | b'\r' | b'\t'))
            .unwrap_or(text.len()),
    }
}

fn string_length(text: &[u8]) -> usize {
    let mut escaped = false;
    for (at, byte) in text.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Writes `data` as one flat array.
pub(super) fn write_flat(out: &mut Vec<u8>, name: &str, data: &TensorData) -> Result<(), EncodeError> {
    with_values!(data, values => write_array(out, values))
        .map_err(|index| EncodeError::NotFinite { output: name.to_owned(), index })
}

/// Writes the values `from..from + (product of dims)` of `data` nested as `dims` say.
pub(super) fn write_nested(
    out: &mut Vec<u8>,
    name: &str,
    dims: &[i64],
    data: &TensorData,
    from: usize,
) -> Result<(), EncodeError> {
    with_values!(data, values => {
        let mut values = values.iter().enumerate().skip(from);
        write_dims(out, dims, &mut values)
    })
    .map_err(|index| EncodeError::NotFinite { output: name.to_owned(), index })
}

fn write_dims<'a, T: Value + 'a>(
    out: &mut Vec<u8>,
    dims: &[i64],
    values: &mut impl Iterator<Item = (usize, &'a T)>,
) -> Result<(), usize> {
    let Some((&length, inner)) = dims.split_first() else {
        return match values.next() {
            Some((index, value)) => value.write(out).then_some(()).ok_or(index),
            None => Ok(()),
        };
    };
    out.push(b'[');
    for at in 0..length {
        if at > 0 {
            out.push(b',');
        }
        write_dims(out, inner, values)?;
    }
    out.push(b']');
    Ok(())
}

fn write_array<T: Value>(out: &mut Vec<u8>, values: &[T]) -> Result<(), usize> {
    out.push(b'[');
    for (index, value) in values.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        if !value.write(out) {
            return Err(index);
        }
    }
    out.push(b']');
    Ok(())
}

/// Writes `value` as JSON. A vector takes everything, so there is nothing to fail.
pub(super) fn write_json(out: &mut Vec<u8>, value: impl serde::Serialize) {
    let _ = serde_json::to_writer(out, &value);
}

/// One tensor value as a JSON token.
trait Value: Sized {
    /// What a token must be, for errors.
    const EXPECTED: &'static str;
    /// The value of `token`, a whole valid JSON value.
    fn parse(token: &str) -> Option<Self>;
    /// Writes the value; false when JSON cannot carry it.
    fn write(&self, out: &mut Vec<u8>) -> bool;
}

macro_rules! integers {
    ($($type:ty => $expected:literal),+ $(,)?) => {$(
        impl Value for $type {
            const EXPECTED: &'static str = $expected;
            fn parse(token: &str) -> Option<Self> {
                token.parse().ok()
            }
            fn write(&self, out: &mut Vec<u8>) -> bool {
                write_json(out, self);
                true
            }
        }
    )+};
}

integers! {
    u8 => "an integer from 0 to 255",
    u16 => "an integer from 0 to 65535",
    u32 => "an integer from 0 to 4294967295",
    u64 => "an integer from 0 to 18446744073709551615",
    i8 => "an integer from -128 to 127",
    i16 => "an integer from -32768 to 32767",
    i32 => "an integer from -2147483648 to 2147483647",
    i64 => "an integer from -9223372036854775808 to 9223372036854775807",
}

/// The number of `token`; none when it is not a number or not finite in this type.
fn float<T: std::str::FromStr>(token: &str) -> Option<T> {
    // The standard parser also takes "inf" and "nan", which no JSON number starts like.
    let number = token.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    number.then(|| token.parse().ok()).flatten()
}

impl Value for f32 {
    const EXPECTED: &'static str = "a number that fits in single precision";
    fn parse(token: &str) -> Option<Self> {
        float::<Self>(token).filter(|number| number.is_finite())
    }
    fn write(&self, out: &mut Vec<u8>) -> bool {
        write_json(out, self);
        self.is_finite()
    }
}

impl Value for f64 {
    const EXPECTED: &'static str = "a number that fits in double precision";
    fn parse(token: &str) -> Option<Self> {
        float::<Self>(token).filter(|number| number.is_finite())
    }
    fn write(&self, out: &mut Vec<u8>) -> bool {
        write_json(out, self);
        self.is_finite()
    }
}

impl Value for f16 {
    const EXPECTED: &'static str = "a number from -65504 to 65504";
    fn parse(token: &str) -> Option<Self> {
        float::<f64>(token).map(Self::from_f64).filter(|number| number.is_finite())
    }
    fn write(&self, out: &mut Vec<u8>) -> bool {
        self.to_f32().write(out)
    }
}

impl Value for bf16 {
    const EXPECTED: &'static str = "a number that fits in bfloat16";
    fn parse(token: &str) -> Option<Self> {
        float::<f64>(token).map(Self::from_f64).filter(|number| number.is_finite())
    }
    fn write(&self, out: &mut Vec<u8>) -> bool {
        self.to_f32().write(out)
    }
}

impl Value for bool {
    const EXPECTED: &'static str = "true or false";
    fn parse(token: &str) -> Option<Self> {
        token.parse().ok()
    }
    fn write(&self, out: &mut Vec<u8>) -> bool {
        write_json(out, self);
        true
    }
}

impl Value for String {
    const EXPECTED: &'static str = "a string";
    fn parse(token: &str) -> Option<Self> {
        let inner = token.strip_prefix('"')?.strip_suffix('"')?;
        if inner.contains('\\') { serde_json::from_str(token).ok() } else { Some(inner.to_owned()) }
    }
    fn write(&self, out: &mut Vec<u8>) -> bool {
        write_json(out, self);
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::tensor::Dtype;
    use super::*;

    fn floats(json: &str) -> Result<(Vec<i64>, TensorData), String> {
        let mut data = TensorData::with_capacity(Dtype::Fp32, 0);
        read(json, &mut data).map(|shape| (shape, data))
    }

    #[test]
    fn nesting_is_seen_and_ragged_arrays_are_refused() {
        let shape = |json| floats(json).map(|(shape, _)| shape);
        assert_eq!(shape("[1, 2 ,3]"), Ok(vec![3]));
        assert_eq!(shape(" [ [1,2,3] ,\n[4,5,6] ] "), Ok(vec![2, 3]));
        assert_eq!(shape("7"), Ok(vec![]));
        assert_eq!(shape("[]"), Ok(vec![0]));
        assert_eq!(shape("[[],[]]"), Ok(vec![2, 0]));
        for ragged in ["[[1],[2,3]]", "[1,[2]]", "[[1],2]", "[[],1]", "[[],[[1]]]", "[[[]],[]]", "[[1],[]]"] {
            assert!(shape(ragged).unwrap_err().contains("different lengths"), "{ragged}");
        }
        let deep = format!("{}1{}", "[".repeat(33), "]".repeat(33));
        assert!(shape(&deep).unwrap_err().contains("more than 32 deep"));
    }

    #[test]
    fn a_wrong_value_is_named_with_its_place_and_what_was_expected() {
        let message = |dtype, json: &str| read(json, &mut TensorData::with_capacity(dtype, 0)).unwrap_err();
        assert_eq!(
            message(Dtype::Uint8, "[1,2,300]"),
            "value 2 is 300, expected UINT8: an integer from 0 to 255"
        );
        assert!(message(Dtype::Int64, "[1.5]").starts_with("value 0 is 1.5, expected INT64"));
        assert!(message(Dtype::Fp32, "[\"a\"]").starts_with("value 0 is \"a\", expected FP32"));
        assert!(message(Dtype::Fp32, "[null]").contains("(JSON has no NaN or infinity"));
        assert!(message(Dtype::Fp32, "[3.5e38]").contains("single precision"));
        assert!(message(Dtype::Fp16, "[65520]").contains("65504"));
        assert!(message(Dtype::Fp64, "[1e999]").contains("double precision"));
        assert!(message(Dtype::Bool, "[1]").contains("true or false"));
        assert!(message(Dtype::Bytes, "[1]").contains("a string"));
        assert!(message(Dtype::Fp32, "[{\"a\":1}]").starts_with("value 0 is {"));
    }

    #[test]
    fn what_json_cannot_carry_is_refused_with_its_place() {
        let mut out = Vec::new();
        let data = TensorData::Fp32(vec![1.0, f32::NAN]);
        let error = write_flat(&mut out, "y", &data).unwrap_err();
        let line = "output \"y\": value 1 is NaN or infinite, and JSON can carry neither";
        assert!(error.to_string().starts_with(line), "{error}");
        let data = TensorData::Fp16(vec![f16::INFINITY]);
        assert!(write_nested(&mut out, "y", &[1], &data, 0).is_err());
    }

    #[test]
    fn nested_arrays_are_written_as_the_shape_says() {
        let mut out = Vec::new();
        let data = TensorData::Int32((0..12).collect());
        write_nested(&mut out, "y", &[2, 3], &data, 6).unwrap();
        assert_eq!(out, b"[[6,7,8],[9,10,11]]");
    }

    proptest! {
        #[test]
        fn doubles_singles_and_texts_survive_the_round_trip_bit_for_bit(
            doubles in prop::collection::vec(any::<f64>().prop_filter("finite", |x| x.is_finite()), 0..20),
            singles in prop::collection::vec(any::<f32>().prop_filter("finite", |x| x.is_finite()), 0..20),
            texts in prop::collection::vec(any::<String>(), 0..8),
        ) {
            for data in [TensorData::Fp64(doubles), TensorData::Fp32(singles), TensorData::Bytes(texts)] {
                let mut out = Vec::new();
                write_flat(&mut out, "y", &data).unwrap();
                let mut back = TensorData::with_capacity(data.dtype(), 0);
                let shape = read(std::str::from_utf8(&out).unwrap(), &mut back).unwrap();
                prop_assert_eq!(shape, vec![i64::try_from(data.len()).unwrap()]);
                prop_assert_eq!(format!("{back:?}"), format!("{data:?}"));
            }
        }

        #[test]
        fn any_text_is_read_or_refused_and_never_panics(text in any::<String>(), dtype in 0..Dtype::ALL.len()) {
            let _ = read(&text, &mut TensorData::with_capacity(Dtype::ALL[dtype], 0));
        }

        #[test]
        fn any_brackets_are_read_or_refused_and_never_panic(text in "[\\[\\],1 \"\\\\]{0,40}") {
            let _ = read(&text, &mut TensorData::with_capacity(Dtype::Fp32, 0));
        }
    }

    #[test]
    fn every_sixteen_bit_float_survives_the_round_trip() {
        let halves = (0..=u16::MAX).map(f16::from_bits).filter(|x| x.is_finite()).collect();
        let brains = (0..=u16::MAX).map(bf16::from_bits).filter(|x| x.is_finite()).collect();
        for data in [TensorData::Fp16(halves), TensorData::Bf16(brains)] {
            let mut out = Vec::new();
            write_flat(&mut out, "y", &data).unwrap();
            let mut back = TensorData::with_capacity(data.dtype(), 0);
            read(std::str::from_utf8(&out).unwrap(), &mut back).unwrap();
            assert!(back == data);
        }
    }
}
