//! What a model takes and gives, and whether a request fits it.
//!
//! ONNX Runtime itself reports a missing input only from inside some kernel, as a failure of its
//! own, so a request is checked here first: names, types, ranks, fixed dimensions, rows.

use ort::value::{TensorElementType, ValueType};

use crate::inference::tensor::{Dtype, Tensor, TensorData};

/// Inputs and outputs of a model.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// What it takes, in the graph's order.
    pub inputs: Vec<Slot>,
    /// What it gives, in the graph's order.
    pub outputs: Vec<Slot>,
    /// Outputs that no protocol here can carry (sequences, maps, complex numbers). They are left
    /// out of answers.
    pub hidden: Vec<String>,
}

/// One input or output.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// Type of its values.
    pub dtype: Dtype,
    /// Its dimensions. Empty for a scalar, and also when the graph does not say, because ONNX
    /// Runtime does not tell the two apart.
    pub dims: Vec<Dim>,
}

/// One dimension.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Dim {
    /// Always this long.
    Fixed(i64),
    /// Any length, with the symbol that the graph gives it; empty when it gives none.
    Any(String),
}

impl Slot {
    /// The dimensions as the protocols write them, -1 for any length.
    pub fn shape(&self) -> Vec<i64> {
        let length = |dim: &Dim| if let Dim::Fixed(length) = dim { *length } else { -1 };
        self.dims.iter().map(length).collect()
    }

    fn of(name: &str, value: &ValueType) -> Result<Self, SignatureError> {
        let refuse = |kind: String| SignatureError { name: name.to_owned(), kind };
        let ValueType::Tensor { ty, shape, dimension_symbols } = value else {
            return Err(refuse(value.to_string()));
        };
        let dtype = dtype(*ty).ok_or_else(|| refuse(format!("a tensor of {ty}")))?;
        let symbols = dimension_symbols.iter().map(String::as_str).chain(std::iter::repeat(""));
        let dim = |(&length, symbol): (&i64, &str)| {
            if length < 0 { Dim::Any(symbol.to_owned()) } else { Dim::Fixed(length) }
        };
        Ok(Self { name: name.to_owned(), dtype, dims: shape.iter().zip(symbols).map(dim).collect() })
    }
}

fn dtype(element: TensorElementType) -> Option<Dtype> {
    Some(match element {
        TensorElementType::Bool => Dtype::Bool,
        TensorElementType::Uint8 => Dtype::Uint8,
        TensorElementType::Uint16 => Dtype::Uint16,
        TensorElementType::Uint32 => Dtype::Uint32,
        TensorElementType::Uint64 => Dtype::Uint64,
        TensorElementType::Int8 => Dtype::Int8,
        TensorElementType::Int16 => Dtype::Int16,
        TensorElementType::Int32 => Dtype::Int32,
        TensorElementType::Int64 => Dtype::Int64,
        TensorElementType::Float16 => Dtype::Fp16,
        TensorElementType::Float32 => Dtype::Fp32,
        TensorElementType::Float64 => Dtype::Fp64,
        TensorElementType::String => Dtype::Bytes,
        TensorElementType::Bfloat16 => Dtype::Bf16,
        _ => return None,
    })
}

/// An input or output that cannot be served.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is {kind}, and only tensors of the inference protocols' types can be served")]
pub struct SignatureError {
    name: String,
    kind: String,
}

/// Why inputs do not fit a model: input, what was expected, what was found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidInput {
    /// The model has no such input.
    #[error("unknown input {name:?}, expected {expected}")]
    Unknown {
        /// The name found.
        name: String,
        /// The names there are.
        expected: String,
    },
    /// An input stands twice.
    #[error("input {name:?} stands twice")]
    Duplicate {
        /// Its name.
        name: String,
    },
    /// An input is not there.
    #[error("input {name:?} is missing, expected {dtype} {shape:?}")]
    Missing {
        /// Its name.
        name: String,
        /// Its type.
        dtype: Dtype,
        /// Its dimensions, -1 for any length.
        shape: Vec<i64>,
    },
    /// An input has another type.
    #[error("input {name:?}: expected datatype {expected}, found {found}")]
    Dtype {
        /// Its name.
        name: String,
        /// The model's type.
        expected: Dtype,
        /// The request's.
        found: Dtype,
    },
    /// An input has another rank or another length in a fixed dimension.
    #[error("input {name:?}: expected shape {expected:?} (-1 is any length), found {found:?}")]
    Shape {
        /// Its name.
        name: String,
        /// The model's dimensions.
        expected: Vec<i64>,
        /// The request's.
        found: Vec<i64>,
    },
    /// An input has no rows.
    #[error("input {name:?}: expected one row at least, found none (shape {found:?})")]
    NoRows {
        /// Its name.
        name: String,
        /// The request's dimensions.
        found: Vec<i64>,
    },
    /// A text holds a NUL, which ONNX strings cannot.
    #[error("input {name:?}: value {index} holds a NUL character, which ONNX strings cannot")]
    Nul {
        /// Its name.
        name: String,
        /// Position of the text.
        index: usize,
    },
}

impl Signature {
    /// Reads it from a graph's inputs and outputs. Outputs that cannot be served are hidden as long
    /// as one is left.
    pub(super) fn new<'a>(
        inputs: impl Iterator<Item = (&'a str, &'a ValueType)>,
        outputs: impl Iterator<Item = (&'a str, &'a ValueType)>,
    ) -> Result<Self, SignatureError> {
        // ONNX Runtime takes a tensor for an optional one. The protocols cannot say that there is none, so
        // it must be there.
        let given = |value: &'a ValueType| if let ValueType::Optional(inner) = value { inner } else { value };
        let inputs = inputs.map(|(name, value)| Slot::of(name, given(value))).collect::<Result<_, _>>()?;
        let mut signature = Self { inputs, outputs: Vec::new(), hidden: Vec::new() };
        let mut refused = None;
        for (name, value) in outputs {
            match Slot::of(name, value) {
                Ok(slot) => signature.outputs.push(slot),
                Err(error) => {
                    signature.hidden.push(name.to_owned());
                    refused.get_or_insert(error);
                }
            }
        }
        match refused {
            Some(error) if signature.outputs.is_empty() => Err(error),
            _ => Ok(signature),
        }
    }

    /// Brings `inputs` into the graph's order, if they are what the model takes.
    ///
    /// # Errors
    /// [`InvalidInput`]: the input, what was expected, what was found.
    pub fn check(&self, inputs: Vec<Tensor>) -> Result<Vec<Tensor>, InvalidInput> {
        let mut found: Vec<Option<Tensor>> = vec![None; self.inputs.len()];
        for tensor in inputs {
            let slot = self.inputs.iter().zip(&mut found).find(|(slot, _)| slot.name == tensor.name());
            let Some((slot, place)) = slot else {
                let names: Vec<_> = self.inputs.iter().map(|slot| format!("{:?}", slot.name)).collect();
                return Err(InvalidInput::Unknown {
                    name: tensor.name().to_owned(),
                    expected: names.join(", "),
                });
            };
            if place.is_some() {
                return Err(InvalidInput::Duplicate { name: slot.name.clone() });
            }
            slot.check(&tensor)?;
            // Later dimensions may be 0: the cache of a decoder's first step is. So may a list be that
            // only this input has, such as the axes to sum over.
            if tensor.shape().first() == Some(&0) && self.has_rows(slot) {
                let (name, found) = (slot.name.clone(), tensor.shape().to_vec());
                return Err(InvalidInput::NoRows { name, found });
            }
            *place = Some(tensor);
        }
        let missing = |slot: &Slot| InvalidInput::Missing {
            name: slot.name.clone(),
            dtype: slot.dtype,
            shape: slot.shape(),
        };
        self.inputs.iter().zip(found).map(|(slot, tensor)| tensor.ok_or_else(|| missing(slot))).collect()
    }

    /// Whether the first dimension of an input counts rows: the graph gives it a name, and an output has
    /// as many.
    fn has_rows(&self, slot: &Slot) -> bool {
        let Some(rows @ Dim::Any(symbol)) = slot.dims.first() else { return false };
        !symbol.is_empty() && self.outputs.iter().any(|output| output.dims.first() == Some(rows))
    }

    /// Two inputs that give one symbolic dimension different lengths. Graphs in the field are sloppy
    /// with symbols, so this explains a run that failed, and refuses nothing by itself.
    pub(super) fn disagreement(&self, inputs: &[Tensor]) -> Option<String> {
        if inputs.len() < 2 {
            return None;
        }
        let mut seen: Vec<(&str, i64, &str)> = Vec::new();
        for (slot, tensor) in self.inputs.iter().zip(inputs) {
            for (dim, &length) in slot.dims.iter().zip(tensor.shape()) {
                let Dim::Any(symbol) = dim else { continue };
                match seen.iter().find(|(known, ..)| known == symbol && !symbol.is_empty()) {
                    Some(&(_, other, name)) if other != length => {
                        return Some(format!(
                            "dimension {symbol:?} is {other} in input {name:?} and {length} in input {:?}",
                            slot.name
                        ));
                    }
                    Some(_) => {}
                    None => seen.push((symbol, length, &slot.name)),
                }
            }
        }
        None
    }

    /// Zeros that fit every input, with 1 for each dimension of any length; none when the model
    /// asks for more than `limit` bytes.
    pub(super) fn zeros(&self, limit: usize) -> Option<Vec<Tensor>> {
        let zeros = |slot: &Slot| {
            let shape: Vec<i64> = slot.shape().into_iter().map(|length| length.abs()).collect();
            let count = crate::inference::tensor::element_count(&shape)?;
            if count.checked_mul(size_of::<String>())? > limit {
                return None;
            }
            Tensor::new(&*slot.name, shape, TensorData::zeros(slot.dtype, count)).ok()
        };
        self.inputs.iter().map(zeros).collect()
    }

    /// Whether requests may share a run: the first dimension of every input and output is free, and is
    /// one and the same where the graph names those of its inputs.
    pub(super) fn is_batchable(&self) -> bool {
        let first = |slot: &Slot| match slot.dims.first() {
            Some(Dim::Any(symbol)) => Some(symbol.clone()),
            _ => None,
        };
        let free = |slots: &[Slot]| slots.iter().map(first).collect::<Option<Vec<_>>>();
        let (Some(inputs), Some(_)) = (free(&self.inputs), free(&self.outputs)) else { return false };
        let mut named = inputs.iter().filter(|symbol| !symbol.is_empty());
        let one = named.next();
        self.hidden.is_empty() && !inputs.is_empty() && named.all(|symbol| Some(symbol) == one)
    }

    /// Whether zeros of length 1 are certainly a request that the graph must answer: it has one input of
    /// floating numbers, and every dimension is fixed, or is the first and called a batch. Any other free
    /// length may be one for which 1 is too short (a window of audio, an image); and among several
    /// inputs, or integers, may be a divisor, a shape, axes or scales, for which 0 is wrong.
    pub(super) fn zeros_must_work(&self) -> bool {
        let certain = |(at, dim): (usize, &Dim)| match dim {
            Dim::Fixed(_) => true,
            Dim::Any(symbol) => at == 0 && symbol.to_ascii_lowercase().contains("batch"),
        };
        let is_float =
            |slot: &Slot| matches!(slot.dtype, Dtype::Fp16 | Dtype::Bf16 | Dtype::Fp32 | Dtype::Fp64);
        match self.inputs.as_slice() {
            [slot] => is_float(slot) && !slot.dims.is_empty() && slot.dims.iter().enumerate().all(certain),
            _ => false,
        }
    }
}

impl Slot {
    fn check(&self, tensor: &Tensor) -> Result<(), InvalidInput> {
        if tensor.dtype() != self.dtype {
            return Err(InvalidInput::Dtype {
                name: self.name.clone(),
                expected: self.dtype,
                found: tensor.dtype(),
            });
        }
        // No dimensions may mean that the graph does not say; then ONNX Runtime judges.
        if !self.dims.is_empty() {
            let fits = |(dim, length): (&Dim, &i64)| match dim {
                Dim::Fixed(fixed) => fixed == length,
                Dim::Any(_) => true,
            };
            let rank = tensor.shape().len() == self.dims.len();
            if !rank || !self.dims.iter().zip(tensor.shape()).all(fits) {
                return Err(InvalidInput::Shape {
                    name: self.name.clone(),
                    expected: self.shape(),
                    found: tensor.shape().to_vec(),
                });
            }
        }
        if let TensorData::Bytes(texts) = tensor.data()
            && let Some(index) = texts.iter().position(|text| text.contains('\0'))
        {
            return Err(InvalidInput::Nul { name: self.name.clone(), index });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slot(name: &str, dtype: Dtype, dims: &[i64]) -> Slot {
        let dim =
            |&length: &i64| if length < 0 { Dim::Any("batch_size".to_owned()) } else { Dim::Fixed(length) };
        Slot { name: name.to_owned(), dtype, dims: dims.iter().map(dim).collect() }
    }

    fn signature() -> Signature {
        let inputs = vec![slot("a", Dtype::Fp32, &[-1, 2]), slot("s", Dtype::Bytes, &[-1])];
        let outputs = vec![slot("y", Dtype::Fp32, &[-1])];
        Signature { inputs, outputs, hidden: Vec::new() }
    }

    fn a(shape: &[i64]) -> Tensor {
        let count = crate::inference::tensor::element_count(shape).unwrap();
        Tensor::new("a", shape.to_vec(), TensorData::Fp32(vec![0.5; count])).unwrap()
    }

    fn s(text: &str) -> Tensor {
        Tensor::new("s", vec![1], TensorData::Bytes(vec![text.to_owned()])).unwrap()
    }

    #[test]
    fn inputs_that_fit_come_back_in_the_graphs_order() {
        let ordered = signature().check(vec![s("x"), a(&[3, 2])]).unwrap();
        assert_eq!(ordered.iter().map(Tensor::name).collect::<Vec<_>>(), ["a", "s"]);
    }

    #[test]
    fn every_misfit_names_the_input_what_was_expected_and_what_was_found() {
        let line = |inputs| signature().check(inputs).unwrap_err().to_string();
        let double = Tensor::new("a", vec![1, 2], TensorData::Fp64(vec![0.0; 2])).unwrap();
        let other = Tensor::new("b", vec![1], TensorData::Fp64(vec![0.0])).unwrap();
        assert_eq!(line(vec![other]), "unknown input \"b\", expected \"a\", \"s\"");
        assert_eq!(line(vec![a(&[1, 2]), a(&[1, 2])]), "input \"a\" stands twice");
        assert_eq!(line(vec![a(&[1, 2])]), "input \"s\" is missing, expected BYTES [-1]");
        assert_eq!(line(vec![double]), "input \"a\": expected datatype FP32, found FP64");
        let shape = |found| format!("input \"a\": expected shape [-1, 2] (-1 is any length), found {found}");
        assert_eq!(line(vec![a(&[1, 3])]), shape("[1, 3]"));
        assert_eq!(line(vec![a(&[2])]), shape("[2]"));
        assert_eq!(
            line(vec![a(&[0, 2])]),
            "input \"a\": expected one row at least, found none (shape [0, 2])"
        );
        assert!(line(vec![a(&[1, 2]), s("x\0")]).contains("value 0 holds a NUL"));
    }

    #[test]
    fn requests_share_runs_only_where_all_first_dimensions_are_free_and_one() {
        let outputs = |dims: &[i64]| vec![slot("y", Dtype::Fp32, dims)];
        let free = Signature { outputs: outputs(&[-1, 3]), ..signature() };
        assert!(free.is_batchable());
        assert!(!Signature { outputs: outputs(&[1, 3]), ..signature() }.is_batchable());
        assert!(!Signature { outputs: outputs(&[]), ..signature() }.is_batchable());
        assert!(!Signature { hidden: vec!["z".into()], ..free.clone() }.is_batchable());
        let mut other = free.clone();
        other.inputs[1].dims = vec![Dim::Any("boxes".into())];
        assert!(!other.is_batchable());
        other.inputs[1].dims = vec![Dim::Any(String::new())];
        assert!(other.is_batchable());
    }

    #[test]
    fn an_optional_tensor_is_one_that_must_be_given_and_an_optional_sequence_is_refused() {
        let tensor = || ValueType::Tensor {
            ty: TensorElementType::Float32,
            shape: [-1_i64, 2].into(),
            dimension_symbols: ["n".to_owned(), String::new()].into_iter().collect(),
        };
        let of = |input: &ValueType, output: &ValueType| {
            Signature::new([("x", input)].into_iter(), [("y", output)].into_iter())
        };
        let optional = ValueType::Optional(Box::new(tensor()));
        let signature = of(&optional, &tensor()).unwrap();
        assert_eq!(signature.inputs[0].dims, [Dim::Any("n".to_owned()), Dim::Fixed(2)]);
        assert!(matches!(signature.check(Vec::new()), Err(InvalidInput::Missing { .. })));
        // An output may turn out to be none.
        assert!(of(&tensor(), &optional).is_err());
        let sequence = ValueType::Optional(Box::new(ValueType::Sequence(Box::new(tensor()))));
        let error = of(&sequence, &tensor()).unwrap_err().to_string();
        assert!(error.starts_with("\"x\" is ") && error.contains("only tensors"), "{error}");
    }

    #[test]
    fn a_list_that_is_no_batch_may_be_empty() {
        let none = || Tensor::new("axes", vec![0], TensorData::Int64(Vec::new())).unwrap();
        let named = |symbol: &str| Slot {
            dims: vec![Dim::Any(symbol.to_owned())],
            ..slot("axes", Dtype::Int64, &[])
        };
        for (symbol, refused) in [("", false), ("axes", false), ("batch_size", true)] {
            let signature = Signature { inputs: vec![named(symbol)], ..signature() };
            assert_eq!(signature.check(vec![none()]).is_err(), refused, "{symbol:?}");
        }
        let fixed = Signature { inputs: vec![slot("axes", Dtype::Int64, &[0])], ..signature() };
        assert!(fixed.check(vec![none()]).is_ok());
    }

    #[test]
    fn zeros_fill_one_row_and_a_huge_model_is_left_alone() {
        let zeros = signature().zeros(1 << 20).unwrap();
        assert_eq!(zeros[0].shape(), [1, 2]);
        assert_eq!(zeros[1].data(), &TensorData::Bytes(vec![String::new()]));
        assert!(signature().zeros(10).is_none());
        let row = |dtype| Signature { inputs: vec![slot("x", dtype, &[-1, 3])], ..signature() };
        assert!(row(Dtype::Fp32).zeros_must_work() && row(Dtype::Fp16).zeros_must_work());
        // An index, a divisor, an axis: for some graphs 0 is none.
        assert!(!row(Dtype::Int64).zeros_must_work());
        assert!(!signature().zeros_must_work());
        let images = Signature { inputs: vec![slot("i", Dtype::Fp32, &[-1, 3, -1, -1])], ..signature() };
        assert!(!images.zeros_must_work());
        let audio = Slot { dims: vec![Dim::Any("samples".to_owned())], ..slot("w", Dtype::Fp32, &[]) };
        assert!(!Signature { inputs: vec![audio], ..signature() }.zeros_must_work());
    }
}
