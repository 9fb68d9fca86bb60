//! Values that may be written in two ways: a section or its main value alone, a value or `none`.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use super::problem::{At, Report};
use super::read::{Read, found};
use super::tree::{Kind, Node};

/// A section, or its main value alone: `setWeight: 5%` for `setWeight: {weight: 5%}`.
#[derive(Debug, Clone)]
pub(super) enum Short<V, S> {
    /// The value alone.
    Value(V),
    /// The section.
    Section(S),
}

impl<V: Read, S: Read> Read for Short<V, S> {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { .. } => V::read(node, at, report).map(Self::Value),
            Kind::Null | Kind::List(_) | Kind::Map(_) => S::read(node, at, report).map(Self::Section),
        }
    }
}

impl<V: JsonSchema, S: JsonSchema> JsonSchema for Short<V, S> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("{}_or_{}", V::schema_name(), S::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (value, section) = (generator.subschema_for::<V>(), generator.subschema_for::<S>());
        json_schema!({ "anyOf": [value, section] })
    }
}

/// One section, or a list of several.
#[derive(Debug, Clone)]
pub(super) enum Several<S, L> {
    /// The only one.
    One(S),
    /// A list.
    List(L),
}

impl<S: Read, L: Read> Read for Several<S, L> {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        match &node.kind {
            Kind::List(_) => L::read(node, at, report).map(Self::List),
            Kind::Null | Kind::Scalar { .. } | Kind::Map(_) => S::read(node, at, report).map(Self::One),
        }
    }
}

impl<S: JsonSchema, L: JsonSchema> JsonSchema for Several<S, L> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("{}_or_{}", S::schema_name(), L::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let (one, list) = (generator.subschema_for::<S>(), generator.subschema_for::<L>());
        json_schema!({ "anyOf": [one, list] })
    }
}

/// A value, or `none` where leaving the key out would mean a default.
#[derive(Debug, Clone)]
pub(super) struct OrNone<T>(pub Option<T>);

/// How people write `none` elsewhere.
const OFF: [&str; 6] = ["false", "no", "off", "never", "None", "disabled"];

impl<T: Read> Read for OrNone<T> {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        match &node.kind {
            Kind::Scalar { text, .. } if text == "none" => Some(Self(None)),
            Kind::Scalar { text, .. } if OFF.contains(&text.as_str()) => {
                report.wrong(at, format!("{} is not how this is switched off", found(node)), "write none");
                None
            }
            _ => T::read(node, at, report).map(|value| Self(Some(value))),
        }
    }
}

impl<T: JsonSchema> JsonSchema for OrNone<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("{}_or_none", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let value = generator.subschema_for::<T>();
        json_schema!({ "anyOf": [{ "type": "string", "const": "none" }, value] })
    }
}
