//! Where every value below a section stands, so that a rule which knows only paths, such as
//! `steps[2].setWeight.weight`, can be reported with its line.

use std::borrow::Cow;
use std::collections::HashMap;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::problem::{At, Report};
use super::read::{Read, place};
use super::tree::{Kind, Node};

/// A section, and the places of everything in it.
#[derive(Debug, Clone)]
pub(super) struct Placed<T> {
    /// The section.
    pub section: T,
    places: HashMap<String, At>,
}

impl<T> Placed<T> {
    /// The place of `path`; where nothing was written, that of the nearest section above it.
    pub(super) fn place(&self, path: &str) -> At {
        let mut known = path;
        loop {
            match self.places.get(known) {
                // A short form has no keys, and neither has a line to point at below it.
                Some(at) if known == path || !at.written.is_empty() => return at.clone(),
                Some(at) => return At { path: path.to_owned(), ..at.clone() },
                None => {}
            }
            let Some(above) = known.rfind(['.', '[']).and_then(|end| known.get(..end)) else {
                return At { path: path.to_owned(), ..At::default() };
            };
            known = above;
        }
    }
}

impl<T: Read> Read for Placed<T> {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let section = T::read(node, at, report)?;
        let mut places = HashMap::new();
        collect(node, at.clone(), &mut places);
        Some(Self { section, places })
    }
}

/// As deep as the tree, which is bounded.
fn collect(node: &Node, at: At, places: &mut HashMap<String, At>) {
    match &node.kind {
        Kind::Null | Kind::Scalar { .. } => {}
        Kind::List(items) => {
            for (i, item) in items.iter().enumerate() {
                collect(item, place(format!("{}[{i}]", at.path), item.mark, item), places);
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                collect(&entry.value, place(at.path_of(&entry.key), entry.value.mark, &entry.value), places);
            }
        }
    }
    places.insert(at.path.clone(), at);
}

impl<T: JsonSchema> JsonSchema for Placed<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        T::schema_name()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        generator.subschema_for::<T>()
    }
}
