//! How answers are compared, and what is kept of pairs that differ.

use crate::divergence::pairs::PairSpec;
use crate::divergence::{
    Comparator, CompareSpec, JsonSpec, LabelRule, LabelSpec, OutputRule, PathTolerance, TextSpec, Tolerance,
};

use super::super::choice::{Choice, ComparatorWord, LabelWord};
use super::super::either::Short;
use super::super::measure::Number;
use super::super::problem::{At, Report};
use super::super::raw;
use super::super::read::{Field, List};
use super::super::text::{OutputText, PatternText};
use super::{number, set_number, set_size};

type Written = Short<Choice<ComparatorWord>, raw::Comparator>;

/// How a model's answers are compared.
pub(super) fn compare(field: &Field<raw::Compare>, report: &mut Report) -> CompareSpec {
    let mut spec = CompareSpec::default();
    let Some(raw) = field.get() else { return spec };
    if let Some(written) = raw.default.get() {
        spec.default = comparator(written, report).unwrap_or_default();
    }
    for item in raw.outputs.get().map(|list| list.items.as_slice()).unwrap_or_default() {
        let rule = &item.value;
        let compare = rule.compare.get().and_then(|written| comparator(written, report));
        let Some(output) = rule.output.given() else { continue };
        let name = &output.value.0;
        if spec.outputs.iter().any(|other| other.output == *name) {
            let message = format!("a second rule for {:?}", output.at.written);
            report.wrong(&output.at, message, "remove one of them: the first one that fits counts");
        }
        // A rule whose comparator is a mistake is there all the same, to be held against later ones.
        let shape = rule.shape.get().map(|shape| shape.0);
        spec.outputs.push(OutputRule { output: name.clone(), compare: compare.unwrap_or_default(), shape });
    }
    spec.ignore = outputs(&raw.ignore);
    spec.allow_dtype_change = raw.allow_dtype_change.get().is_some_and(|flag| flag.0);
    spec.shape = raw.shape.get().map_or(spec.shape, |shape| shape.0);
    spec
}

fn outputs(field: &Field<List<OutputText, 0, 256>>) -> Vec<String> {
    field.get().map(|list| list.items.iter().map(|item| item.value.0.clone()).collect()).unwrap_or_default()
}

fn patterns(field: &Field<List<PatternText, 0, 256>>) -> Vec<String> {
    field.get().map(|list| list.items.iter().map(|item| item.value.0.clone()).collect()).unwrap_or_default()
}

fn comparator(written: &Written, report: &mut Report) -> Option<Comparator> {
    let section = match written {
        Short::Value(word) => {
            return Some(match word.0 {
                ComparatorWord::Auto => Comparator::Auto,
                ComparatorWord::Exact => Comparator::Exact,
                ComparatorWord::Json => Comparator::Json(JsonSpec::default()),
                ComparatorWord::Label => Comparator::Label(LabelSpec::default()),
                ComparatorWord::Numeric => Comparator::Numeric(Tolerance::default()),
                ComparatorWord::Text => Comparator::Text(TextSpec::default()),
                ComparatorWord::Status => Comparator::Status,
            });
        }
        Short::Section(section) => section,
    };
    let written = [
        ("json", section.json.is_missing()),
        ("label", section.label.is_missing()),
        ("numeric", section.numeric.is_missing()),
        ("text", section.text.is_missing()),
    ];
    super::exactly_one("comparator", &written, &section.at, report)?;
    let json = section.json.get().map(|json| Comparator::Json(self::json(json)));
    let label = section.label.get().and_then(|label| self::label(label, report)).map(Comparator::Label);
    let numeric = section.numeric.get().map(|raw| {
        let mut spec = Tolerance::default();
        set_number(&mut spec.absolute, &raw.absolute);
        set_number(&mut spec.relative, &raw.relative);
        Comparator::Numeric(spec)
    });
    let text = section.text.get().map(|text| Comparator::Text(self::text(text, report)));
    json.or(label).or(numeric).or(text)
}

fn json(raw: &raw::JsonCompare) -> JsonSpec {
    let mut spec = JsonSpec { ignore: patterns(&raw.ignore), ..JsonSpec::default() };
    // What is left out at a place in JSON means what it means for JSON as a whole.
    let default = spec.tolerance;
    let tolerance = |field: &Field<raw::JsonTolerance>| {
        let mut spec = default;
        if let Some(raw) = field.get() {
            set_number(&mut spec.absolute, &raw.absolute);
            set_number(&mut spec.relative, &raw.relative);
        }
        spec
    };
    spec.tolerance = tolerance(&raw.tolerance);
    for item in raw.tolerances.get().map(|list| list.items.as_slice()).unwrap_or_default() {
        let Some(path) = item.value.path.get() else { continue };
        let tolerance = tolerance(&item.value.tolerance);
        spec.tolerances.push(PathTolerance { path: path.0.clone(), tolerance });
    }
    spec
}

fn label(raw: &raw::LabelCompare, report: &mut Report) -> Option<LabelSpec> {
    let mut spec = LabelSpec::default();
    set_number(&mut spec.margin, &raw.margin);
    match raw.by.get() {
        None => {}
        Some(Short::Value(word)) => {
            spec.by = match word.0 {
                LabelWord::Class => LabelRule::Class,
                LabelWord::Argmax => LabelRule::Argmax,
            };
        }
        Some(Short::Section(by)) => {
            let written = [("topK", by.top_k.is_missing()), ("threshold", by.threshold.is_missing())];
            super::exactly_one("way to read the class", &written, &by.at, report)?;
            let top_k = by.top_k.get().map(|k| LabelRule::TopK { k: number(k.0) });
            let threshold = by.threshold.get().map(|at| LabelRule::Threshold { at: at.0 });
            spec.by = top_k.or(threshold)?;
        }
    }
    Some(spec)
}

fn text(raw: &raw::TextCompare, report: &mut Report) -> TextSpec {
    let mut spec = TextSpec::default();
    set_number(&mut spec.max_distance, &raw.max_distance);
    set_number(&mut spec.min_overlap, &raw.min_overlap);
    for field in [&raw.max_distance, &raw.min_overlap] {
        share(field, report);
    }
    spec
}

fn share(field: &Field<Number>, report: &mut Report) {
    if let Some(given) = field.given().filter(|given| given.value.0 > 1.0) {
        let at: &At = &given.at;
        report.wrong(at, format!("{} is more than the whole", at.written), "write 0 to 1");
    }
}

/// What is kept of a model's pairs.
pub(super) fn pairs(field: &Field<raw::Pairs>) -> PairSpec {
    let mut spec = PairSpec::default();
    let Some(raw) = field.get() else { return spec };
    spec.enabled = raw.enabled.get().is_none_or(|flag| flag.0);
    if let Some(keep) = raw.keep.get() {
        (spec.latest, spec.worst) = (number(keep.0), number(keep.0));
    }
    set_size(&mut spec.max_bytes, &raw.max_bytes);
    set_size(&mut spec.max_body_bytes, &raw.max_body_bytes);
    spec.redact = patterns(&raw.redact);
    spec
}
