//! Tensors as the inference protocols know them: a name, a shape and typed values.
//!
//! The types are those of the Open Inference Protocol v2 plus BF16. A [`Tensor`] always has as
//! many values as its shape says; that is checked once, here, so nobody below has to.

use std::fmt;

use half::{bf16, f16};

/// Type of a tensor's elements, under the Open Inference Protocol's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Dtype {
    /// Truth values.
    Bool,
    /// Unsigned 8-bit integers.
    Uint8,
    /// Unsigned 16-bit integers.
    Uint16,
    /// Unsigned 32-bit integers.
    Uint32,
    /// Unsigned 64-bit integers.
    Uint64,
    /// Signed 8-bit integers.
    Int8,
    /// Signed 16-bit integers.
    Int16,
    /// Signed 32-bit integers.
    Int32,
    /// Signed 64-bit integers.
    Int64,
    /// IEEE 754 half precision.
    Fp16,
    /// IEEE 754 single precision.
    Fp32,
    /// IEEE 754 double precision.
    Fp64,
    /// Byte strings; here always UTF-8 text, as ONNX has it.
    Bytes,
    /// The upper half of a single precision number.
    Bf16,
}

impl Dtype {
    /// Every type.
    pub const ALL: [Self; 14] = [
        Self::Bool,
        Self::Uint8,
        Self::Uint16,
        Self::Uint32,
        Self::Uint64,
        Self::Int8,
        Self::Int16,
        Self::Int32,
        Self::Int64,
        Self::Fp16,
        Self::Fp32,
        Self::Fp64,
        Self::Bytes,
        Self::Bf16,
    ];

    /// The protocol's name (Open Inference Protocol v2, "Tensor Data Types").
    pub fn name(self) -> &'static str {
        match self {
            Self::Bool => "BOOL",
            Self::Uint8 => "UINT8",
            Self::Uint16 => "UINT16",
            Self::Uint32 => "UINT32",
            Self::Uint64 => "UINT64",
            Self::Int8 => "INT8",
            Self::Int16 => "INT16",
            Self::Int32 => "INT32",
            Self::Int64 => "INT64",
            Self::Fp16 => "FP16",
            Self::Fp32 => "FP32",
            Self::Fp64 => "FP64",
            Self::Bytes => "BYTES",
            Self::Bf16 => "BF16",
        }
    }

    /// The type of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|dtype| dtype.name() == name)
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Values of one type, in row-major order.
#[derive(Debug, Clone, PartialEq)]
pub enum TensorData {
    /// BOOL.
    Bool(Vec<bool>),
    /// UINT8.
    Uint8(Vec<u8>),
    /// UINT16.
    Uint16(Vec<u16>),
    /// UINT32.
    Uint32(Vec<u32>),
    /// UINT64.
    Uint64(Vec<u64>),
    /// INT8.
    Int8(Vec<i8>),
    /// INT16.
    Int16(Vec<i16>),
    /// INT32.
    Int32(Vec<i32>),
    /// INT64.
    Int64(Vec<i64>),
    /// FP16.
    Fp16(Vec<f16>),
    /// FP32.
    Fp32(Vec<f32>),
    /// FP64.
    Fp64(Vec<f64>),
    /// BYTES.
    Bytes(Vec<String>),
    /// BF16.
    Bf16(Vec<bf16>),
}

/// Runs `$body` with `$values` bound to the typed vector inside `$data`.
macro_rules! with_values {
    ($data:expr, $values:ident => $body:expr) => {
        match $data {
            $crate::inference::tensor::TensorData::Bool($values) => $body,
            $crate::inference::tensor::TensorData::Uint8($values) => $body,
            $crate::inference::tensor::TensorData::Uint16($values) => $body,
            $crate::inference::tensor::TensorData::Uint32($values) => $body,
            $crate::inference::tensor::TensorData::Uint64($values) => $body,
            $crate::inference::tensor::TensorData::Int8($values) => $body,
            $crate::inference::tensor::TensorData::Int16($values) => $body,
            $crate::inference::tensor::TensorData::Int32($values) => $body,
            $crate::inference::tensor::TensorData::Int64($values) => $body,
            $crate::inference::tensor::TensorData::Fp16($values) => $body,
            $crate::inference::tensor::TensorData::Fp32($values) => $body,
            $crate::inference::tensor::TensorData::Fp64($values) => $body,
            $crate::inference::tensor::TensorData::Bytes($values) => $body,
            $crate::inference::tensor::TensorData::Bf16($values) => $body,
        }
    };
}
pub(crate) use with_values;

impl TensorData {
    /// No values yet, with room for `capacity` of them.
    pub fn with_capacity(dtype: Dtype, capacity: usize) -> Self {
        match dtype {
            Dtype::Bool => Self::Bool(Vec::with_capacity(capacity)),
            Dtype::Uint8 => Self::Uint8(Vec::with_capacity(capacity)),
            Dtype::Uint16 => Self::Uint16(Vec::with_capacity(capacity)),
            Dtype::Uint32 => Self::Uint32(Vec::with_capacity(capacity)),
            Dtype::Uint64 => Self::Uint64(Vec::with_capacity(capacity)),
            Dtype::Int8 => Self::Int8(Vec::with_capacity(capacity)),
            Dtype::Int16 => Self::Int16(Vec::with_capacity(capacity)),
            Dtype::Int32 => Self::Int32(Vec::with_capacity(capacity)),
            Dtype::Int64 => Self::Int64(Vec::with_capacity(capacity)),
            Dtype::Fp16 => Self::Fp16(Vec::with_capacity(capacity)),
            Dtype::Fp32 => Self::Fp32(Vec::with_capacity(capacity)),
            Dtype::Fp64 => Self::Fp64(Vec::with_capacity(capacity)),
            Dtype::Bytes => Self::Bytes(Vec::with_capacity(capacity)),
            Dtype::Bf16 => Self::Bf16(Vec::with_capacity(capacity)),
        }
    }

    /// `count` zeros (false, or the empty string).
    pub fn zeros(dtype: Dtype, count: usize) -> Self {
        let mut data = Self::with_capacity(dtype, count);
        with_values!(&mut data, values => values.resize(count, Default::default()));
        data
    }

    /// The type of the values.
    pub fn dtype(&self) -> Dtype {
        match self {
            Self::Bool(_) => Dtype::Bool,
            Self::Uint8(_) => Dtype::Uint8,
            Self::Uint16(_) => Dtype::Uint16,
            Self::Uint32(_) => Dtype::Uint32,
            Self::Uint64(_) => Dtype::Uint64,
            Self::Int8(_) => Dtype::Int8,
            Self::Int16(_) => Dtype::Int16,
            Self::Int32(_) => Dtype::Int32,
            Self::Int64(_) => Dtype::Int64,
            Self::Fp16(_) => Dtype::Fp16,
            Self::Fp32(_) => Dtype::Fp32,
            Self::Fp64(_) => Dtype::Fp64,
            Self::Bytes(_) => Dtype::Bytes,
            Self::Bf16(_) => Dtype::Bf16,
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        with_values!(self, values => values.len())
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Memory that the values take, in bytes.
    pub fn size(&self) -> usize {
        match self {
            Self::Bytes(texts) => texts.iter().map(|text| size_of::<String>() + text.len()).sum(),
            other => with_values!(other, values => size_of_val(values.as_slice())),
        }
    }
}

/// Why values and a shape are not a tensor.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// A dimension is negative or the product is too large for this machine.
    #[error("shape {0:?} is not a shape: dimensions are 0 or more and their product fits in 63 bits")]
    Impossible(Vec<i64>),
    /// The shape says one number of values, there is another.
    #[error("shape {shape:?} takes {expected} values, found {found}")]
    Count {
        /// The shape.
        shape: Vec<i64>,
        /// How many values it takes.
        expected: usize,
        /// How many there are.
        found: usize,
    },
}

/// How many values a tensor of `shape` has; 1 for a scalar's empty shape. `None` when a dimension
/// is negative or the product overflows.
pub fn element_count(shape: &[i64]) -> Option<usize> {
    shape.iter().try_fold(1_usize, |count, &dim| {
        let next = count.checked_mul(usize::try_from(dim).ok()?)?;
        i64::try_from(next).is_ok().then_some(next)
    })
}

/// A named tensor. Its values are as many as its shape says.
#[derive(Debug, Clone, PartialEq)]
pub struct Tensor {
    name: String,
    shape: Vec<i64>,
    data: TensorData,
}

impl Tensor {
    /// A tensor of `shape` with `data` in row-major order.
    ///
    /// # Errors
    /// [`ShapeError`] when the shape does not take exactly these values.
    pub fn new(name: impl Into<String>, shape: Vec<i64>, data: TensorData) -> Result<Self, ShapeError> {
        match element_count(&shape) {
            None => Err(ShapeError::Impossible(shape)),
            Some(expected) if expected == data.len() => Ok(Self { name: name.into(), shape, data }),
            Some(expected) => Err(ShapeError::Count { shape, expected, found: data.len() }),
        }
    }

    /// Name of the model's input or output.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Type of the values.
    pub fn dtype(&self) -> Dtype {
        self.data.dtype()
    }

    /// Dimensions, outermost first; empty for a scalar. None is negative.
    pub fn shape(&self) -> &[i64] {
        &self.shape
    }

    /// The values in row-major order.
    pub fn data(&self) -> &TensorData {
        &self.data
    }

    /// Memory that the values take, in bytes.
    pub fn size(&self) -> usize {
        self.data.size()
    }

    /// Name, shape and values, to own them.
    pub fn into_parts(self) -> (String, Vec<i64>, TensorData) {
        (self.name, self.shape, self.data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_type_is_found_by_its_own_name_and_no_other() {
        for dtype in Dtype::ALL {
            assert_eq!(Dtype::from_name(dtype.name()), Some(dtype));
            assert_eq!(TensorData::zeros(dtype, 3).dtype(), dtype);
            assert_eq!(TensorData::zeros(dtype, 3).len(), 3);
        }
        assert_eq!(Dtype::from_name("fp32"), None);
        assert_eq!(Dtype::from_name("FLOAT"), None);
    }

    #[test]
    fn a_tensor_has_exactly_the_values_of_its_shape() {
        let two = || TensorData::Fp32(vec![1.0, 2.0]);
        assert!(Tensor::new("x", vec![1, 2], two()).is_ok());
        assert!(Tensor::new("x", vec![], TensorData::Fp32(vec![1.0])).is_ok());
        assert_eq!(
            Tensor::new("x", vec![3], two()).unwrap_err().to_string(),
            "shape [3] takes 3 values, found 2"
        );
        assert!(matches!(Tensor::new("x", vec![-2, -1], two()), Err(ShapeError::Impossible(_))));
        assert!(matches!(Tensor::new("x", vec![i64::MAX, 2], two()), Err(ShapeError::Impossible(_))));
        assert!(matches!(Tensor::new("x", vec![1 << 62, 1 << 62, 0], two()), Err(ShapeError::Impossible(_))));
    }

    #[test]
    fn size_counts_the_bytes_of_values_and_texts() {
        assert_eq!(TensorData::Fp64(vec![0.0; 3]).size(), 24);
        assert_eq!(TensorData::Bytes(vec!["abc".into()]).size(), size_of::<String>() + 3);
    }
}
