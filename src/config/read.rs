//! From tree to sections: one reader for every section, so that each mistake is found by the same
//! rule and a section is its own list of known keys, its own documentation and its own schema.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator};

use super::problem::{At, Report, short};
use super::tree::{Entry, Kind, Mark, Node};

/// What can be read from a node of the tree.
pub(super) trait Read: Sized {
    /// The value, or `None` after putting into `report` why there is none.
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self>;
}

/// A value and its place.
#[derive(Debug, Clone)]
pub(super) struct Given<T> {
    /// The value.
    pub value: T,
    /// Where it stands.
    pub at: At,
}

/// What became of a key.
#[derive(Debug, Clone, Default)]
pub(super) enum Field<T> {
    /// It was not written.
    #[default]
    Missing,
    /// It was written and is reported as a mistake: checks that build on it are left out.
    Wrong,
    /// It was written.
    Given(Given<T>),
}

impl<T> Field<T> {
    /// The value and its place, if there is a good one.
    pub(super) fn given(&self) -> Option<&Given<T>> {
        match self {
            Self::Given(given) => Some(given),
            Self::Missing | Self::Wrong => None,
        }
    }

    /// The value, if there is a good one.
    pub(super) fn get(&self) -> Option<&T> {
        self.given().map(|g| &g.value)
    }

    /// Whether it was written and is wrong.
    pub(super) fn is_wrong(&self) -> bool {
        matches!(self, Self::Wrong)
    }

    /// Whether it was not written.
    pub(super) fn is_missing(&self) -> bool {
        matches!(self, Self::Missing)
    }
}

impl<T: JsonSchema> JsonSchema for Field<T> {
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

/// The keys of one section while it is read.
pub(super) struct Keys<'n> {
    entries: &'n [Entry],
    at: At,
    /// Known keys that unknown ones probably stand for: written, but wrong.
    misspelt: Vec<String>,
}

impl<'n> Keys<'n> {
    /// The keys in `node`, once all of them are known ones.
    pub(super) fn open(node: &'n Node, section: &At, known: &[String], report: &mut Report) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            let known = known.first().map_or("name", String::as_str);
            report.wrong(
                section,
                format!("expected a mapping, found {}", found(node)),
                format!("write keys such as \"{known}:\" below it"),
            );
            return None;
        };
        let mut misspelt = Vec::new();
        for entry in entries {
            if !known.contains(&entry.key) {
                let at = place(section.path_of(&entry.key), entry.mark, &entry.value);
                let list = known.join(", ");
                let fix = match nearest(&entry.key, known) {
                    Some(near) => {
                        misspelt.push(near.clone());
                        format!("did you mean {near:?}? Known here: {list}")
                    }
                    None => format!("remove it; known here: {list}"),
                };
                report.wrong(&at, format!("there is no key {:?}", short(&entry.key)), fix);
                report.note_unknown_key(section);
            }
        }
        Some(Self { entries, at: section.clone(), misspelt })
    }

    /// The value of `key`.
    pub(super) fn optional<T: Read>(&self, key: &str, report: &mut Report) -> Field<T> {
        let Some(entry) = self.entries.iter().find(|e| e.key == key) else {
            let misspelt = self.misspelt.iter().any(|m| m == key);
            return if misspelt { Field::Wrong } else { Field::Missing };
        };
        let at = place(self.at.path_of(key), entry.value.mark, &entry.value);
        if entry.value.kind == Kind::Null {
            report.wrong(&at, "has no value", "write one, or remove the key");
            return Field::Wrong;
        }
        match T::read(&entry.value, &at, report) {
            Some(value) => Field::Given(Given { value, at }),
            None => Field::Wrong,
        }
    }

    /// The value of `key`, which must be there.
    pub(super) fn required<T: Read>(&self, key: &str, report: &mut Report) -> Field<T> {
        match self.optional(key, report) {
            Field::Missing => {
                let at = At { path: self.at.path_of(key), written: String::new(), ..self.at.clone() };
                report.wrong(&at, "is missing", format!("add the key {key:?} here"));
                Field::Wrong
            }
            field => field,
        }
    }
}

/// The place of a value that stands at `mark`.
pub(super) fn place(path: String, mark: Mark, node: &Node) -> At {
    let written = match &node.kind {
        Kind::Scalar { text, .. } => short(text),
        Kind::Null | Kind::List(_) | Kind::Map(_) => String::new(),
    };
    At { path, line: mark.line, column: mark.column, written }
}

/// What a node is, in the words of messages.
pub(super) fn found(node: &Node) -> String {
    match &node.kind {
        Kind::Null => "nothing".to_owned(),
        Kind::List(_) => "a list".to_owned(),
        Kind::Map(_) => "a mapping".to_owned(),
        Kind::Scalar { text, plain: true } if looks_otherwise(text) => short(text),
        Kind::Scalar { text, .. } => format!("{:?}", short(text)),
    }
}

/// Whether plain text is a number or boolean to some YAML reader (core schema of YAML 1.2).
pub(super) fn looks_otherwise(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let based = |prefix: &str| unsigned.strip_prefix(prefix).is_some_and(|d| !d.is_empty());
    let number = unsigned.bytes().any(|b| b.is_ascii_digit()) && unsigned.parse::<f64>().is_ok();
    let special = matches!(unsigned, ".inf" | ".Inf" | ".INF" | ".nan" | ".NaN" | ".NAN");
    number || special || based("0x") || based("0o") || boolean(text).is_some()
}

/// A boolean of YAML's core schema.
pub(super) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" => Some(true),
        "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

/// The known key that was probably meant.
fn nearest<'k>(unknown: &str, known: &'k [String]) -> Option<&'k String> {
    let bare = |s: &str| s.replace(['_', '-', ' '], "").to_ascii_lowercase();
    let unknown = bare(&short(unknown));
    let distance = |key: &&String| {
        let key = bare(key);
        let begins = unknown.len() >= 3 && (key.starts_with(&unknown) || unknown.starts_with(&key));
        if begins { 1 } else { strsim::osa_distance(&unknown, &key) }
    };
    let near = known.iter().min_by_key(distance)?;
    (distance(&near) <= 1 + unknown.len() / 4).then_some(near)
}

/// A list of `MIN` to `MAX` items; those that are mistakes are left out and make it incomplete.
#[derive(Debug, Clone)]
pub(super) struct List<T, const MIN: usize = 0, const MAX: usize = 1024> {
    /// The good items.
    pub items: Vec<Given<T>>,
    /// Whether all items are good.
    pub complete: bool,
}

/// Longest mapping whose keys are the operator's own.
const MOST_PAIRS: usize = 1024;

impl<T: Read, const MIN: usize, const MAX: usize> Read for List<T, MIN, MAX> {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let Kind::List(nodes) = &node.kind else {
            let message = format!("expected a list, found {}", found(node));
            report.wrong(at, message, "start each item on a line of its own with \"- \"");
            return None;
        };
        if nodes.len() < MIN {
            report.wrong(at, "the list is empty", "write at least one item, or remove the key");
            return None;
        }
        if nodes.len() > MAX {
            let message = format!("{} items are too many", nodes.len());
            report.wrong(at, message, format!("write at most {MAX}"));
            return None;
        }
        let mut items = Vec::with_capacity(nodes.len());
        for (i, node) in nodes.iter().enumerate() {
            let at = place(format!("{}[{i}]", at.path), node.mark, node);
            items.extend(T::read(node, &at, report).map(|value| Given { value, at }));
        }
        Some(Self { complete: items.len() == nodes.len(), items })
    }
}

impl<T: JsonSchema, const MIN: usize, const MAX: usize> JsonSchema for List<T, MIN, MAX> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("List_of_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let items = generator.subschema_for::<T>();
        schemars::json_schema!({ "type": "array", "items": items, "minItems": MIN, "maxItems": MAX })
    }
}

/// A mapping whose keys are the operator's own.
#[derive(Debug, Clone)]
pub(super) struct Pairs<T>(pub Vec<(Given<String>, T)>);

impl<T: Read> Read for Pairs<T> {
    fn read(node: &Node, at: &At, report: &mut Report) -> Option<Self> {
        let Kind::Map(entries) = &node.kind else {
            let message = format!("expected a mapping, found {}", found(node));
            report.wrong(at, message, "write \"name: value\" on a line of its own for each");
            return None;
        };
        if entries.len() > MOST_PAIRS {
            report.wrong(at, format!("{} entries are too many", entries.len()), "write at most 1024");
            return None;
        }
        let read = |entry: &Entry, report: &mut Report| {
            let at = place(at.path_of(&entry.key), entry.value.mark, &entry.value);
            let value = T::read(&entry.value, &at, report)?;
            let at = At { line: entry.mark.line, column: entry.mark.column, ..at };
            let at = At { written: short(&entry.key), ..at };
            Some((Given { value: entry.key.clone(), at }, value))
        };
        Some(Self(entries.iter().filter_map(|entry| read(entry, report)).collect()))
    }
}

impl<T: JsonSchema> JsonSchema for Pairs<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        format!("Pairs_of_{}", T::schema_name()).into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let values = generator.subschema_for::<T>();
        schemars::json_schema!({
            "type": "object",
            "additionalProperties": values,
            "maxProperties": MOST_PAIRS,
        })
    }
}

/// The key of a field: its name in camelCase.
pub(super) fn camel(field: &str) -> String {
    let mut words = field.trim_start_matches("r#").split('_');
    let mut key = words.next().unwrap_or_default().to_owned();
    for word in words {
        let mut letters = word.chars();
        key.extend(letters.next().map(|c| c.to_ascii_uppercase()));
        key.push_str(letters.as_str());
    }
    key
}

/// Declares a section: its keys, required ones first, with their types. The field's name in
/// camelCase is the key, its doc comment is the description in the schema.
macro_rules! section {
    (
        $(#[$meta:meta])* $name:ident {
            required { $( $(#[$required_meta:meta])* $required:ident: $required_type:ty, )* }
            optional { $( $(#[$optional_meta:meta])* $optional:ident: $optional_type:ty, )* }
        }
    ) => {
        #[derive(Debug, Clone, schemars::JsonSchema)]
        #[schemars(rename_all = "camelCase", deny_unknown_fields)]
        $(#[$meta])*
        pub(in crate::config) struct $name {
            #[schemars(skip)]
            #[allow(dead_code, reason = "not every section reports about itself")]
            pub at: $crate::config::problem::At,
            $( $(#[$required_meta])* pub $required: $crate::config::read::Field<$required_type>, )*
            $(
                $(#[$optional_meta])* #[schemars(default)]
                pub $optional: $crate::config::read::Field<$optional_type>,
            )*
        }

        impl $crate::config::read::Read for $name {
            fn read(
                node: &$crate::config::tree::Node,
                at: &$crate::config::problem::At,
                report: &mut $crate::config::problem::Report,
            ) -> Option<Self> {
                use $crate::config::read::{Keys, camel};
                let known = [$( camel(stringify!($required)), )* $( camel(stringify!($optional)), )*];
                #[allow(unused_variables, reason = "a section without keys reads none")]
                let keys = Keys::open(node, at, &known, report)?;
                Some(Self {
                    at: at.clone(),
                    $( $required: keys.required(&camel(stringify!($required)), report), )*
                    $( $optional: keys.optional(&camel(stringify!($optional)), report), )*
                })
            }
        }
    };
}
pub(super) use section;
