//! What tells parts of the requests apart, in one or more ways at once.

use crate::config::either::Several;
use crate::config::measure::Number;
use crate::divergence::segment::{At, ColumnSpec};
use crate::rollout::policy::{MAX_SEGMENTS, Segments};
use crate::routing::spec::{Dimension, SegmentSource, SegmentSpec};
use crate::split::KeySource;

use super::super::problem::{At as Place, Report};
use super::super::raw;
use super::super::read::{Field, List};
use super::super::scalar::Count;
use super::super::text::{CookieText, ForeignText, HeaderNameText, PointerText};
use super::analysis::Sources;
use super::{Unique, exactly_one, number};

/// Segments of one dimension that are told apart, unless it is said.
const MOST: usize = 50;

/// The keys that a source has wherever it stands.
struct Written<'r> {
    at: &'r Place,
    header: &'r Field<HeaderNameText>,
    cookie: &'r Field<CookieText>,
    json_pointer: &'r Field<PointerText>,
    input: &'r Field<ForeignText>,
    column: &'r Field<Count<0, 1_000_000>>,
    key: &'r Field<ForeignText>,
    edges: &'r Field<List<Number<true>, 1, 63>>,
}

macro_rules! written {
    ($raw:expr) => {
        Written {
            at: &$raw.at,
            header: &$raw.header,
            cookie: &$raw.cookie,
            json_pointer: &$raw.json_pointer,
            input: &$raw.input,
            column: &$raw.column,
            key: &$raw.key,
            edges: &$raw.edges,
        }
    };
}

/// Fills in `sources`, and says what the policy knows of it.
pub(super) fn segments(raw: &raw::Segments, sources: &mut Sources, report: &mut Report) -> Option<Segments> {
    let (by, dimensions) = match raw.by.get()? {
        Several::One(source) => {
            let max = raw.max.get().map_or(MOST, |n| number(n.0));
            let (name, source, edges) = source_of(&written!(source), report)?;
            (vec![name], vec![Dimension { name: None, source, edges, max }])
        }
        Several::List(list) => {
            if let Some(max) = raw.max.given() {
                let message = "each item of the list has a limit of its own";
                report.wrong(&max.at, message, "write max there");
            }
            let dimensions = several(list, report);
            if dimensions.len() < list.items.len() || !list.complete {
                return None;
            }
            (dimensions.iter().filter_map(|dimension| dimension.name.clone()).collect(), dimensions)
        }
    };
    let max = dimensions.iter().map(|dimension| dimension.max).sum();
    if let Some(given) = raw.by.given().filter(|_| max > MAX_SEGMENTS) {
        let message = format!("{max} segments in all");
        let fix = format!("write smaller max: {MAX_SEGMENTS} in all may be told apart");
        report.wrong(&given.at, message, fix);
        return None;
    }
    sources.segment = Some(SegmentSpec { dimensions });
    Some(Segments { by, max })
}

fn several(list: &List<raw::Dimension, 1, 4>, report: &mut Report) -> Vec<Dimension> {
    let mut names = Unique::default();
    let mut dimensions = Vec::new();
    for raw in list.items.iter().map(|item| &item.value) {
        let source = source_of(&written!(raw), report);
        let Some(name) = raw.name.given() else { continue };
        names.add("dimension", &name.value.0, &name.at, report);
        let Some((_, source, edges)) = source else { continue };
        let max = raw.max.get().map_or(MOST, |n| number(n.0));
        dimensions.push(Dimension { name: Some(name.value.0.clone()), source, edges, max });
    }
    dimensions
}

/// A name for it, where it is, and its bins.
fn source_of(raw: &Written<'_>, report: &mut Report) -> Option<(String, SegmentSource, Vec<f64>)> {
    let written = [
        ("header", raw.header.is_missing()),
        ("cookie", raw.cookie.is_missing()),
        ("jsonPointer", raw.json_pointer.is_missing()),
        ("input", raw.input.is_missing()),
    ];
    exactly_one("source of the segment", &written, raw.at, report)?;
    let places = [raw.column.given().map(|given| &given.at), raw.key.given().map(|given| &given.at)];
    match places {
        [Some(_), Some(key)] => {
            report.wrong(key, "a row has either positions or keys", "remove column or key");
            return None;
        }
        [Some(at), None] | [None, Some(at)] if raw.input.is_missing() => {
            report.wrong(at, "only `input` has columns and keys", "remove it, or write input");
            return None;
        }
        _ => {}
    }
    let edges = edges(raw.edges, report)?;
    let key = |name: String, source| (name, SegmentSource::Key(source));
    let (name, source) = None
        .or_else(|| raw.header.get().map(|h| key(h.0.to_string(), KeySource::Header(h.0.clone()))))
        .or_else(|| raw.cookie.get().map(|c| key(c.0.clone(), KeySource::Cookie(c.0.clone()))))
        .or_else(|| raw.json_pointer.get().map(|p| key(p.0.clone(), KeySource::JsonPointer(p.0.clone()))))
        .or_else(|| raw.input.get().map(|input| column(&input.0, raw)))?;
    Some((name, source, edges))
}

fn column(input: &str, raw: &Written<'_>) -> (String, SegmentSource) {
    let (name, at) = match (raw.key.get(), raw.column.get()) {
        (Some(key), _) => (format!("{input}.{}", key.0), At::Key(key.0.clone())),
        (None, index) => {
            let index = index.map_or(0, |n| number(n.0));
            (format!("{input}[{index}]"), At::Index(index))
        }
    };
    (name, SegmentSource::Column(ColumnSpec { input: input.to_owned(), at }))
}

fn edges(field: &Field<List<Number<true>, 1, 63>>, report: &mut Report) -> Option<Vec<f64>> {
    let Some(given) = field.given() else { return field.is_missing().then(Vec::new) };
    let edges: Vec<f64> = given.value.items.iter().map(|item| item.value.0).collect();
    if given.value.complete && !edges.is_sorted_by(|a, b| a < b) {
        report.wrong(&given.at, "the edges do not rise", "write each once, the smallest first");
    }
    given.value.complete.then_some(edges)
}
