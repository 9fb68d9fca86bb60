//! YAML as a tree that knows where each value stands.
//!
//! One document, core schema (YAML 1.2), anchors, aliases and merge keys (`<<`). Bounded: 1 MiB of
//! text, 64 levels, and what aliases expand to. Duplicate keys and foreign tags are mistakes, a
//! syntax error ends the reading: nothing after it has a certain meaning.

use std::collections::HashMap;

use granit_parser::{ErrorKind, Event, Parser, ScalarStyle, ScanError, Span, StrInput, Tag};

use super::problem::{At, Report, short};

/// Longest text, in bytes.
pub(super) const LONGEST: usize = 1024 * 1024;
/// Levels of lists and mappings.
const DEEPEST: usize = 64;
/// Keys in one mapping.
const MOST_KEYS: usize = 1024;
/// What aliases and anchors may copy: nodes, and bytes of text in them.
const MOST_COPIED: (usize, usize) = (50_000, 4 * LONGEST);

/// Line and column of a value, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Line.
    pub line: u32,
    /// Column in characters.
    pub column: u32,
}

/// A value and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Where it begins; for what an alias stands for, where its anchor is.
    pub mark: Mark,
    /// What it is.
    pub kind: Kind,
}

/// What a value is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing, `~` or `null`.
    Null,
    /// Text; `plain` when it has no quotes and may so be a number or a boolean.
    Scalar {
        /// The text after escapes.
        text: String,
        /// Whether it has no quotes.
        plain: bool,
    },
    /// A list.
    List(Vec<Node>),
    /// A mapping, in the order of the text; keys are unique.
    Map(Vec<Entry>),
}

/// One key of a mapping and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    /// The key.
    pub key: String,
    /// Where the key stands.
    pub mark: Mark,
    /// Its value.
    pub value: Node,
}

impl Node {
    /// Levels, nodes and bytes of text in this tree. As deep as the tree, which is bounded.
    fn size(&self) -> (usize, usize, usize) {
        let under = |inner: (usize, usize, usize), extra: usize, sum: (usize, usize, usize)| {
            (sum.0.max(inner.0 + 1), sum.1 + inner.1, sum.2 + inner.2 + extra)
        };
        match &self.kind {
            Kind::Null => (0, 1, 0),
            Kind::Scalar { text, .. } => (0, 1, text.len()),
            Kind::List(items) => items.iter().fold((1, 1, 0), |sum, item| under(item.size(), 0, sum)),
            Kind::Map(entries) => {
                entries.iter().fold((1, 1, 0), |sum, e| under(e.value.size(), e.key.len(), sum))
            }
        }
    }
}

/// The only document in `text`; `None` when it has no meaning, which is then in `report`.
pub(super) fn parse(text: &str, report: &mut Report) -> Option<Node> {
    let start = At { line: 1, column: 1, ..At::default() };
    if text.len() > LONGEST {
        report.wrong(
            &start,
            format!("the configuration has {} bytes, more than 1 MiB", text.len()),
            "split it over several sidecars",
        );
        return None;
    }
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
    };
    let builder = Builder {
        parser: Parser::new_from_str_with_options(text, options),
        report,
        open: Vec::new(),
        anchors: HashMap::new(),
        copied: (0, 0),
        root: None,
    };
    match builder.run() {
        Ok(Some(root)) => Some(root),
        Ok(None) => {
            report.wrong(&start, "the configuration is empty", "start with `models:`");
            None
        }
        Err(Stop) => None,
    }
}

/// Reading ended early; the reason is in the report.
struct Stop;

/// A list or mapping whose end has not come yet.
enum Open {
    List { mark: Mark, anchor: usize, items: Vec<Node> },
    Map { mark: Mark, anchor: usize, entries: Vec<Entry>, key: Option<(String, Mark)>, merges: Vec<Node> },
}

struct Builder<'a, 'r> {
    parser: Parser<'a, StrInput<'a>>,
    report: &'r mut Report,
    open: Vec<Open>,
    anchors: HashMap<usize, Node>,
    copied: (usize, usize),
    root: Option<Node>,
}

impl Builder<'_, '_> {
    fn run(mut self) -> Result<Option<Node>, Stop> {
        while let Some(event) = self.parser.next_event() {
            match event {
                Ok((Event::StreamEnd, _)) => break,
                Ok((event, span)) => self.event(event, mark(&span))?,
                Err(error) => return Err(self.syntax(&error)),
            }
        }
        Ok(self.root)
    }

    fn event(&mut self, event: Event<'_>, mark: Mark) -> Result<(), Stop> {
        match event {
            Event::DocumentStart(..) if self.root.is_some() => Err(self.stop(
                mark,
                "a second document starts here",
                "remove the `---`: a configuration is one document",
            )),
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && !self.is_text(tag.as_deref(), mark);
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                let is_key = matches!(self.open.last(), Some(Open::Map { key: None, .. }));
                let kind = match null && !is_key {
                    true => Kind::Null,
                    false => Kind::Scalar { text: text.into_owned(), plain },
                };
                self.node(Node { mark, kind }, anchor)
            }
            Event::SequenceStart(_, anchor, tag) => {
                self.is_text(tag.as_deref(), mark);
                self.deeper(mark)?;
                self.open.push(Open::List { mark, anchor, items: Vec::new() });
                Ok(())
            }
            Event::MappingStart(_, anchor, tag) => {
                self.is_text(tag.as_deref(), mark);
                self.deeper(mark)?;
                let (entries, merges) = (Vec::new(), Vec::new());
                self.open.push(Open::Map { mark, anchor, entries, key: None, merges });
                Ok(())
            }
            Event::SequenceEnd | Event::MappingEnd => match self.open.pop() {
                Some(Open::List { mark, anchor, items }) => {
                    self.node(Node { mark, kind: Kind::List(items) }, anchor)
                }
                Some(Open::Map { mark, anchor, mut entries, merges, .. }) => {
                    self.merge(&mut entries, merges);
                    self.node(Node { mark, kind: Kind::Map(entries) }, anchor)
                }
                None => Ok(()),
            },
            Event::Alias(id) => {
                let Some(node) = self.anchors.get(&id) else {
                    return Err(self.stop(mark, "an alias inside its own anchor", "write the value out"));
                };
                let (depth, nodes, bytes) = node.size();
                let node = node.clone();
                self.copy(mark, nodes, bytes)?;
                if self.open.len() + depth > DEEPEST {
                    return Err(self.stop(mark, TOO_DEEP, "write fewer levels"));
                }
                self.node(node, 0)
            }
            _ => Ok(()),
        }
    }

    /// Puts a complete value where it belongs.
    fn node(&mut self, node: Node, anchor: usize) -> Result<(), Stop> {
        if anchor > 0 {
            let (_, nodes, bytes) = node.size();
            self.copy(node.mark, nodes, bytes)?;
            self.anchors.insert(anchor, node.clone());
        }
        match self.open.last_mut() {
            None => self.root = Some(node),
            Some(Open::List { items, .. }) => items.push(node),
            Some(Open::Map { entries, key, merges, .. }) => match key.take() {
                None => {
                    let Kind::Scalar { text, .. } = node.kind else {
                        return Err(self.stop(
                            node.mark,
                            "a key must be text",
                            "write one word before the `:`",
                        ));
                    };
                    *key = Some((text, node.mark));
                }
                Some((key, _)) if key == "<<" => merges.push(node),
                Some((key, mark)) => match entries.iter().find(|e| e.key == key).map(|e| e.mark.line) {
                    None if entries.len() == MOST_KEYS => {
                        return Err(self.stop(mark, "more than 1024 keys in one mapping", "write fewer"));
                    }
                    None => entries.push(Entry { key, mark, value: node }),
                    Some(first) => {
                        let at = At { path: self.path(&key), ..at(mark, &key) };
                        let message = format!("the key is written twice, first on line {first}");
                        self.report.wrong(&at, message, "remove one of them");
                    }
                },
            },
        }
        Ok(())
    }

    /// Adds what `<<` brings in: keys written out win, earlier mappings win over later ones.
    fn merge(&mut self, entries: &mut Vec<Entry>, merges: Vec<Node>) {
        for merge in merges {
            let mark = merge.mark;
            let maps = match merge.kind {
                Kind::List(items) => items,
                kind => vec![Node { mark, kind }],
            };
            for map in maps {
                let Kind::Map(added) = map.kind else {
                    let message = "`<<` takes mappings only";
                    self.report.wrong(&at(map.mark, "<<"), message, "write an alias of a mapping");
                    continue;
                };
                for entry in added {
                    if entries.len() < MOST_KEYS && !entries.iter().any(|e| e.key == entry.key) {
                        entries.push(entry);
                    }
                }
            }
        }
    }

    /// Whether a tag says that a scalar is text whatever it looks like; foreign tags are mistakes.
    fn is_text(&mut self, tag: Option<&Tag>, mark: Mark) -> bool {
        let suffix = tag.map(Tag::core_suffix);
        if let (Some(None), Some(tag)) = (suffix, tag) {
            let message = format!("the tag {:?} has no meaning here", short(&tag.original()));
            self.report.wrong(&at(mark, ""), message, "remove it");
        }
        suffix == Some(Some("str"))
    }

    fn deeper(&mut self, mark: Mark) -> Result<(), Stop> {
        match self.open.len() < DEEPEST {
            true => Ok(()),
            false => Err(self.stop(mark, TOO_DEEP, "write fewer levels")),
        }
    }

    fn copy(&mut self, mark: Mark, nodes: usize, bytes: usize) -> Result<(), Stop> {
        self.copied.0 += nodes;
        self.copied.1 += bytes;
        match self.copied.0 <= MOST_COPIED.0 && self.copied.1 <= MOST_COPIED.1 {
            true => Ok(()),
            false => Err(self.stop(mark, "aliases expand to too much", "write the values out")),
        }
    }

    /// The path of `key` in the mapping that is open.
    fn path(&self, key: &str) -> String {
        let outer = self.open.iter().fold(At::default(), |mut at, open| {
            match open {
                Open::List { items, .. } => at.path = format!("{}[{}]", at.path, items.len()),
                Open::Map { key: Some((key, _)), .. } => at.path = at.path_of(key),
                Open::Map { .. } => {}
            }
            at
        });
        outer.path_of(key)
    }

    fn stop(&mut self, mark: Mark, message: &str, fix: &str) -> Stop {
        self.report.wrong(&at(mark, ""), message, fix);
        Stop
    }

    fn syntax(&mut self, error: &ScanError) -> Stop {
        let place = mark(&Span::empty(*error.marker()));
        let fix = match error.kind() {
            ErrorKind::RecursionLimitExceeded => return self.stop(place, TOO_DEEP, "write fewer levels"),
            ErrorKind::TabNotAllowed | ErrorKind::TabInBlockIndentation => "indent with spaces",
            ErrorKind::UnknownAnchor => "define the anchor with `&` before it is used with `*`",
            ErrorKind::UnexpectedCharacter { .. } => {
                "put quotes around values that start with a special sign"
            }
            _ => "check the indentation and brackets here and above, and put quotes around values with `: `",
        };
        let message = format!("this is not YAML ({})", error.kind());
        self.stop(place, &message, fix)
    }
}

const TOO_DEEP: &str = "more than 64 levels of lists and mappings";

fn mark(span: &Span) -> Mark {
    let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
    Mark { line: number(span.start.line()).max(1), column: number(span.start.col()).saturating_add(1) }
}

fn at(mark: Mark, written: &str) -> At {
    At { path: String::new(), line: mark.line, column: mark.column, written: short(written) }
}
