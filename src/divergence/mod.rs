//! How the answers of a pair differ: the primary's to a request, and a shadow's to its copy.
//!
//! [`compare()`] takes two understood answers ([`crate::inference::answer`]) and a [`CompareSpec`]
//! and says whether the pair diverges, why, in which output and how much. [`Comparator`] tells
//! what each comparator does and what is chosen when nobody says. Beside it: [`pairs`] keeps some
//! diverged pairs for people, [`score`] reads the one number of an answer whose distribution is
//! watched, [`segment`] the values by which requests are told apart. Pure: no clock, no I/O. Absent:
//! the noise floor and the verdict, which the decider makes of counts of comparisons.

mod apply;
mod compare;
mod comparison;
mod distance;
pub mod feature;
mod json;
mod label;
mod numeric;
pub mod pairs;
mod pattern;
mod reason;
pub mod score;
pub mod segment;
mod spec;
#[cfg(test)]
mod tests;
mod text;
mod values;

pub use compare::compare;
pub use comparison::{Comparison, Measures, OutputDifference, Scores};
pub use reason::{NotComparable, Reason};
pub use spec::{
    Comparator, ComparatorKind, CompareSpec, JsonSpec, LabelRule, LabelSpec, OutputRule, PathTolerance,
    ShapeRule, TextSpec, Tolerance,
};
