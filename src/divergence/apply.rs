//! One comparator on two values of an output: what it means for each kind of value, and what
//! [`Comparator::Auto`] takes.

use super::comparison::{Found, Measures};
use super::json::{self, Rules};
use super::label;
use super::numeric;
use super::reason::Reason;
use super::spec::{
    Comparator, ComparatorKind, JsonSpec, LabelRule, LabelSpec, ShapeRule, TextSpec, Tolerance,
};
use super::text;
use super::values::{Value, json_numbers, tensor_numbers, width};
use crate::inference::answer::{Json, Limits, parse_json};
use crate::inference::tensor::{Dtype, Tensor, TensorData, with_values};

/// How far probabilities may be apart by default, where the class is compared as well.
const PROBABILITY: Tolerance = Tolerance { absolute: 0.05, relative: 0.0 };

/// What comparators found, each.
pub(super) type Findings = Vec<(ComparatorKind, Found)>;

/// What two outputs may differ in before they are compared.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Lenience {
    /// Whether numbers may have another type.
    pub(super) dtype: bool,
    /// When shapes are the same.
    pub(super) shape: ShapeRule,
}

impl Lenience {
    /// The shape that both have; none where they are not the same.
    fn shape<'s>(self, a: &'s [i64], b: &'s [i64]) -> Option<&'s [i64]> {
        let long = |shape: &'s [i64]| shape.iter().filter(|axis| **axis != 1);
        match self.shape {
            _ if a == b => Some(a),
            ShapeRule::Squeeze if long(a).eq(long(b)) => Some(if a.len() >= b.len() { a } else { b }),
            ShapeRule::Exact | ShapeRule::Squeeze => None,
        }
    }
}

/// Compares two outputs of one name by `how`.
pub(super) fn apply(how: &Comparator, a: &Value<'_>, b: &Value<'_>, lenience: Lenience) -> Findings {
    match (a, b) {
        (Value::Tensor(a), Value::Tensor(b)) => tensors(how, a, b, lenience),
        (Value::Numbers(a), Value::Numbers(b)) => {
            let Some(shape) = lenience.shape(&a.shape, &b.shape) else {
                return one(how, Found::different(Reason::Shape).at(shapes(&a.shape, &b.shape)));
            };
            // Where one version writes 1 and the other 0.97, they are no classes.
            match (exactly(how), a.integers.as_deref().zip(b.integers.as_deref())) {
                (Some((by, reason)), Some((a, b))) => vec![(by, same(a, b, reason))],
                (_, integers) => numbers(how, &a.values, &b.values, shape, integers.is_none()),
            }
        }
        (Value::Said(a), Value::Said(b)) => texts(how, a, b),
        (Value::Json(a), Value::Json(b)) => values(how, a, b, Tolerance::default()),
        _ => one(how, Found::different(Reason::Fields)),
    }
}

/// Compares two JSON values at a place that a rule names.
pub(super) fn at_pointer(how: &Comparator, a: &Json, b: &Json, shape: ShapeRule) -> Findings {
    if let (Comparator::Label(_) | Comparator::Numeric(_), Some(a), Some(b)) =
        (how, json_numbers(a), json_numbers(b))
    {
        return apply(how, &Value::Numbers(a), &Value::Numbers(b), Lenience { dtype: false, shape });
    }
    let JsonSpec { tolerance, .. } = JsonSpec::default();
    values(how, a, b, tolerance)
}

/// Nothing but whether two outputs are the same, with a reason for when they are not.
pub(super) fn one(how: &Comparator, found: Found) -> Findings {
    vec![(kind(how), found)]
}

/// The name of a comparator; `exact` for `auto`, which has none of its own.
pub(super) fn kind(how: &Comparator) -> ComparatorKind {
    match how {
        Comparator::Auto | Comparator::Exact => ComparatorKind::Exact,
        Comparator::Json(_) => ComparatorKind::Json,
        Comparator::Label(_) => ComparatorKind::Label,
        Comparator::Numeric(_) => ComparatorKind::Numeric,
        Comparator::Text(_) => ComparatorKind::Text,
        Comparator::Status => ComparatorKind::Status,
    }
}

fn tensors(how: &Comparator, a: &Tensor, b: &Tensor, lenience: Lenience) -> Findings {
    let texts = [a, b].iter().any(|tensor| tensor.dtype() == Dtype::Bytes);
    if a.dtype() != b.dtype() && (texts || !lenience.dtype) {
        return one(how, Found::different(Reason::Dtype).at(format!("{} and {}", a.dtype(), b.dtype())));
    }
    let Some(shape) = lenience.shape(a.shape(), b.shape()) else {
        return one(how, Found::different(Reason::Shape).at(shapes(a.shape(), b.shape())));
    };
    let same_type = a.dtype() == b.dtype();
    let floats =
        |tensor: &Tensor| matches!(tensor.dtype(), Dtype::Fp16 | Dtype::Bf16 | Dtype::Fp32 | Dtype::Fp64);
    if let (Comparator::Text(spec), TensorData::Bytes(of_a), TensorData::Bytes(of_b)) =
        (how, a.data(), b.data())
    {
        return vec![(ComparatorKind::Text, text_rows(of_a, of_b, *spec))];
    }
    let by_value = exactly(how).filter(|_| same_type && !floats(a));
    // Strings are no numbers, whoever takes them for some.
    let text = match how {
        Comparator::Label(_) => (ComparatorKind::Label, Reason::Label),
        _ => (ComparatorKind::Exact, Reason::Value),
    };
    if let Some((by, reason)) = by_value.or(texts.then_some(text)) {
        return vec![(by, with_values!(a.data(), of_a => same_values(of_a, b.data(), reason)))];
    }
    match (tensor_numbers(a.data()), tensor_numbers(b.data())) {
        (Some(of_a), Some(of_b)) => numbers(how, &of_a, &of_b, shape, floats(a) || floats(b)),
        _ => one(how, Found::different(Reason::Dtype)),
    }
}

/// The name and the reason under which integers and the like are compared value by value; none
/// where a comparator takes them for numbers.
fn exactly(how: &Comparator) -> Option<(ComparatorKind, Reason)> {
    match how {
        Comparator::Auto | Comparator::Exact | Comparator::Text(_) | Comparator::Status => {
            Some((ComparatorKind::Exact, Reason::Value))
        }
        Comparator::Label(LabelSpec { by: LabelRule::Class, .. }) => {
            Some((ComparatorKind::Label, Reason::Label))
        }
        Comparator::Json(_) | Comparator::Label(_) | Comparator::Numeric(_) => None,
    }
}

/// Values of one number, each the same as the other.
fn same<T: PartialEq>(a: &[T], b: &[T], reason: Reason) -> Found {
    let differing = || a.iter().zip(b).enumerate().filter(|(_, (a, b))| a != b).map(|(at, _)| at);
    let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let (compared, different) = (count(a.len()), count(differing().count()));
    Found {
        reason: (different > 0).then_some(reason),
        at: differing().next().map(|at| at.to_string()),
        measures: Measures { compared, different, ..Measures::default() },
    }
}

/// Values of a tensor and of another one of its type.
fn same_values<T: Values + PartialEq>(a: &[T], b: &TensorData, reason: Reason) -> Found {
    T::of(b).map_or_else(|| Found::different(Reason::Dtype), |b| same(a, b, reason))
}

/// A type that a tensor may have.
trait Values: Sized {
    /// The values, if they are of this type.
    fn of(data: &TensorData) -> Option<&[Self]>;
}

macro_rules! values {
    ($($type:ty => $variant:ident),+ $(,)?) => {$(
        impl Values for $type {
            fn of(data: &TensorData) -> Option<&[Self]> {
                if let TensorData::$variant(values) = data { Some(values) } else { None }
            }
        }
    )+};
}

values! {
    bool => Bool, u8 => Uint8, u16 => Uint16, u32 => Uint32, u64 => Uint64, i8 => Int8, i16 => Int16,
    i32 => Int32, i64 => Int64, half::f16 => Fp16, half::bf16 => Bf16, f32 => Fp32, f64 => Fp64,
    String => Bytes,
}

/// Numbers of one shape; `floats` unless all are integers or truth values.
fn numbers(how: &Comparator, a: &[f64], b: &[f64], shape: &[i64], floats: bool) -> Findings {
    let numeric = |tolerance| (ComparatorKind::Numeric, numeric::compare(a, b, tolerance));
    let exact = || (ComparatorKind::Exact, numeric::compare(a, b, Tolerance::NONE));
    match how {
        Comparator::Auto if !floats => {
            let (kind, mut found) = exact();
            if found.reason == Some(Reason::Numeric) {
                found.reason = Some(Reason::Value);
            }
            vec![(kind, found)]
        }
        Comparator::Auto if [a, b].iter().all(|values| label::looks_like_probabilities(values, shape)) => {
            let by = (ComparatorKind::Label, label::compare(a, b, width(shape), LabelSpec::default()));
            vec![by, numeric(PROBABILITY)]
        }
        Comparator::Auto => vec![numeric(Tolerance::default())],
        Comparator::Numeric(tolerance) => vec![numeric(*tolerance)],
        Comparator::Json(spec) => vec![numeric(spec.tolerance)],
        Comparator::Label(spec) => vec![(ComparatorKind::Label, label::compare(a, b, width(shape), *spec))],
        Comparator::Exact | Comparator::Text(_) | Comparator::Status => vec![exact()],
    }
}

/// What two language models said.
fn texts(how: &Comparator, a: &str, b: &str) -> Findings {
    match how {
        Comparator::Auto => vec![(ComparatorKind::Text, text::compare(a, b, TextSpec::default()))],
        Comparator::Text(spec) => vec![(ComparatorKind::Text, text::compare(a, b, *spec))],
        Comparator::Label(_) => {
            vec![(ComparatorKind::Label, Found::same_or(a.trim() == b.trim(), Reason::Label))]
        }
        Comparator::Json(spec) => {
            let limits = Limits::default();
            match (parse_json(a.as_bytes(), &limits), parse_json(b.as_bytes(), &limits)) {
                (Ok(a), Ok(b)) => vec![(ComparatorKind::Json, json::compare(&a, &b, &Rules::of(spec)))],
                _ => vec![(ComparatorKind::Exact, Found::same_or(a == b, Reason::Text))],
            }
        }
        Comparator::Exact | Comparator::Numeric(_) | Comparator::Status => {
            vec![(ComparatorKind::Exact, Found::same_or(a == b, Reason::Text))]
        }
    }
}

/// JSON values; numbers in them within `tolerance` unless the comparator says otherwise.
fn values(how: &Comparator, a: &Json, b: &Json, tolerance: Tolerance) -> Findings {
    let json = |rules: &Rules| json::compare(a, b, rules);
    let exact = || {
        let found = json(&Rules::within(Tolerance::NONE));
        vec![(ComparatorKind::Exact, found)]
    };
    match how {
        Comparator::Auto => vec![(ComparatorKind::Json, json(&Rules::within(tolerance)))],
        Comparator::Json(spec) => vec![(ComparatorKind::Json, json(&Rules::of(spec)))],
        Comparator::Numeric(tolerance) => vec![(ComparatorKind::Numeric, json(&Rules::within(*tolerance)))],
        Comparator::Label(_) => {
            let mut found = json(&Rules::within(Tolerance::NONE));
            if found.reason == Some(Reason::JsonValue) {
                found.reason = Some(Reason::Label);
            }
            vec![(ComparatorKind::Label, found)]
        }
        Comparator::Text(spec) => match (a.as_str(), b.as_str()) {
            (Some(a), Some(b)) => vec![(ComparatorKind::Text, text::compare(a, b, *spec))],
            _ => exact(),
        },
        Comparator::Exact | Comparator::Status => exact(),
    }
}

fn text_rows(a: &[String], b: &[String], spec: TextSpec) -> Found {
    let mut all = Found::default();
    for (at, (a, b)) in a.iter().zip(b).enumerate() {
        let found = text::compare(a, b, spec);
        all.measures.merge(&found.measures);
        if all.reason.is_none() && found.reason.is_some() {
            all.reason = found.reason;
            all.at = Some(at.to_string());
        }
    }
    all
}

fn shapes(a: &[i64], b: &[i64]) -> String {
    format!("{a:?} and {b:?}")
}
