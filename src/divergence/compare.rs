//! Comparing the two answers of a pair: first whether they can be compared, then output by output.

use std::collections::{BTreeMap, BTreeSet};

use super::apply::{self, Findings, Lenience, apply};
use super::comparison::{Comparison, Found};
use super::json::{self, Rules};
use super::pattern::{Pattern, member};
use super::reason::{NotComparable, Reason};
use super::spec::{Comparator, ComparatorKind, CompareSpec, JsonSpec, OutputRule, ShapeRule, Tolerance};
use super::values::{Named, Value, predictions, tensors};
use crate::inference::answer::{Answer, Chat, Choice, Content, Json, Limits, Undecodable, parse_json};
use crate::stats::Outcome;

/// Most places that one rule with wildcards may name in an answer; more are left to the default.
const MAX_PLACES: usize = 10_000;

/// Compares the answers of a pair by `spec`.
///
/// A pair counts only where the primary succeeded: an error of the shadow is then a divergence by
/// [`Reason::Status`], while a primary's error gives nothing to compare with.
///
/// # Errors
/// [`NotComparable`] with the reason for which the pair says nothing.
pub fn compare(spec: &CompareSpec, primary: &Answer, shadow: &Answer) -> Result<Comparison, NotComparable> {
    let mut result = Comparison::new();
    match (failed(primary), failed(shadow)) {
        (true, true) => return Err(NotComparable::BothFailed),
        (true, false) => return Err(NotComparable::PrimaryFailed),
        (false, true) => {
            result.add("status", ComparatorKind::Status, status(primary, shadow, Reason::Status));
            return Ok(result);
        }
        (false, false) => {}
    }
    if spec.default == Comparator::Status {
        let same = (primary.status, primary.grpc) == (shadow.status, shadow.grpc);
        let found =
            if same { Found::same_or(true, Reason::Status) } else { status(primary, shadow, Reason::Status) };
        result.add("status", ComparatorKind::Status, found);
        if spec.outputs.is_empty() {
            return Ok(result);
        }
    }
    contents(&mut result, spec, &primary.content, &shadow.content)?;
    Ok(result)
}

/// Whether an answer is no success.
fn failed(answer: &Answer) -> bool {
    Outcome::of(answer.status, answer.grpc) != Outcome::Success || matches!(answer.content, Content::Error(_))
}

fn status(primary: &Answer, shadow: &Answer, reason: Reason) -> Found {
    let name = |answer: &Answer| match (answer.grpc, &answer.content) {
        (_, Content::Error(_)) => format!("{} with an error in its body", answer.status),
        (Some(grpc), _) => format!("gRPC status {grpc}"),
        (None, _) => answer.status.to_string(),
    };
    Found::different(reason).at(format!("{} and {}", name(primary), name(shadow)))
}

fn contents(
    result: &mut Comparison,
    spec: &CompareSpec,
    primary: &Content,
    shadow: &Content,
) -> Result<(), NotComparable> {
    match (primary, shadow) {
        (Content::Undecodable { why, body }, other) => {
            let same = matches!(other, Content::Undecodable { body: b, .. } if b == body);
            if !same && matches!(why, Undecodable::Limit(_)) {
                return Err(NotComparable::DecodeLimit);
            }
            undecodable(result, same, why);
        }
        (_, Content::Undecodable { why, .. }) => undecodable(result, false, why),
        (Content::Empty, Content::Empty) => {
            result.add("body", ComparatorKind::Exact, Found::same_or(true, Reason::Bytes));
        }
        (Content::Tensors(a), Content::Tensors(b)) => outputs(result, spec, &tensors(a), &tensors(b)),
        (Content::Predictions(a), Content::Predictions(b)) => v1(result, spec, a, b),
        (Content::Json(a), Content::Json(b)) => {
            let rules = match &spec.default {
                Comparator::Json(json) => Rules::of(json),
                Comparator::Numeric(tolerance) => Rules::within(*tolerance),
                Comparator::Exact => Rules::within(Tolerance::NONE),
                _ => Rules::of(&JsonSpec::default()),
            };
            json_answers(result, spec, a, b, rules);
        }
        (Content::Chat(a), Content::Chat(b)) => chats(result, spec, a, b),
        (Content::Text(a), Content::Text(b)) => {
            let how = match &spec.default {
                Comparator::Auto => &Comparator::Exact,
                other => other,
            };
            let (a, b) = (Value::Said(a.as_str().into()), Value::Said(b.as_str().into()));
            add(result, "body", apply(how, &a, &b, Lenience::default()));
        }
        (Content::Bytes(a), Content::Bytes(b)) => {
            result.add("body", ComparatorKind::Exact, Found::same_or(a == b, Reason::Bytes));
        }
        (a, b) => {
            let found = Found::different(Reason::Fields).at(format!("{} and {}", a.kind(), b.kind()));
            result.add("body", ComparatorKind::Exact, found);
        }
    }
    Ok(())
}

fn undecodable(result: &mut Comparison, same: bool, why: &Undecodable) {
    let reason = match why {
        Undecodable::Malformed(_) => Reason::Undecodable,
        Undecodable::Limit(_) => Reason::DecodeLimit,
    };
    let found = Found::same_or(same, reason);
    result.add("body", ComparatorKind::Exact, if same { found } else { found.at(why.to_string()) });
}

fn add(result: &mut Comparison, output: &str, findings: Findings) {
    for (kind, found) in findings {
        result.add(output, kind, found);
    }
}

/// How the output of that name, or at that pointer, is compared, and when its shapes are the same; none
/// when it is not.
fn rule<'s>(spec: &'s CompareSpec, name: &str, pointer: Option<&str>) -> Option<(&'s Comparator, ShapeRule)> {
    let is = |written: &str| written == name || Some(written) == pointer;
    if spec.ignore.iter().any(|ignored| is(ignored)) {
        return None;
    }
    match spec.outputs.iter().find(|rule| is(&rule.output)) {
        Some(rule) => Some((&rule.compare, rule.shape.unwrap_or(spec.shape))),
        // Only outputs with a rule of their own are looked into.
        None if spec.default == Comparator::Status => None,
        None => Some((&spec.default, spec.shape)),
    }
}

/// Outputs by name; those that only one answer has are a difference of fields.
fn outputs(result: &mut Comparison, spec: &CompareSpec, a: &[Named<'_>], b: &[Named<'_>]) {
    let mut others: BTreeMap<&str, &Named<'_>> =
        b.iter().map(|named| (named.label.as_ref(), named)).collect();
    for named in a {
        let other = others.remove(named.label.as_ref());
        let Some((how, shape)) = rule(spec, &named.name, named.pointer.as_deref()) else { continue };
        match other {
            Some(other) => {
                let lenience = Lenience { dtype: spec.allow_dtype_change, shape };
                add(result, &named.label, apply(how, &named.value, &other.value, lenience));
            }
            None => missing(result, how, &named.label, "shadow"),
        }
    }
    for (label, named) in others {
        if let Some((how, _)) = rule(spec, &named.name, named.pointer.as_deref()) {
            missing(result, how, label, "primary");
        }
    }
}

fn missing(result: &mut Comparison, how: &Comparator, label: &str, whose: &str) {
    let found = Found::different(Reason::Fields).at(format!("not in the {whose}'s answer"));
    add(result, label, apply::one(how, found));
}

/// V1 predictions: by output, unless a rule points at something else than an output.
fn v1(result: &mut Comparison, spec: &CompareSpec, a: &Json, b: &Json) {
    let (of_a, of_b) = (predictions(a), predictions(b));
    let known = |written: &String| {
        !written.starts_with('/')
            || of_a.iter().chain(&of_b).any(|named| named.pointer.as_ref() == Some(written))
    };
    let written = spec.ignore.iter().chain(spec.outputs.iter().map(|rule| &rule.output));
    if written.into_iter().all(known) && !matches!(spec.default, Comparator::Json(_)) {
        return outputs(result, spec, &of_a, &of_b);
    }
    let rules = match &spec.default {
        Comparator::Json(json) => Rules::of(json),
        Comparator::Numeric(tolerance) => Rules::within(*tolerance),
        Comparator::Exact => Rules::within(Tolerance::NONE),
        _ => Rules::within(Tolerance::default()),
    };
    // Names of outputs become the pointers that they stand for.
    let mut spec = spec.clone();
    let written = spec.ignore.iter_mut().chain(spec.outputs.iter_mut().map(|rule| &mut rule.output));
    for written in written {
        let named = of_a.iter().chain(&of_b).find(|named| named.name == *written);
        if let Some(pointer) = named.and_then(|named| named.pointer.clone()) {
            *written = pointer;
        }
    }
    json_answers(result, &spec, a, b, rules);
}

/// The place that a rule names in JSON: a pointer, or a key of the outermost object.
fn place(written: &str) -> Option<Pattern> {
    if written.starts_with('/') { Pattern::parse(written) } else { Pattern::parse(&member(written)) }
}

/// JSON: what rules point at by their comparators, everything else by `rules`.
fn json_answers(result: &mut Comparison, spec: &CompareSpec, a: &Json, b: &Json, mut rules: Rules) {
    let ignored: Vec<Pattern> = spec.ignore.iter().filter_map(|written| place(written)).collect();
    let is_ignored = |place: &str| ignored.iter().any(|pattern| pattern.covers_pointer(place));
    rules.skip.extend(ignored.iter().cloned());
    let mut claimed: BTreeSet<String> = BTreeSet::new();
    for OutputRule { output, compare, shape } in &spec.outputs {
        let shape = shape.unwrap_or(spec.shape);
        let Some(pattern) = place(output) else { continue };
        let found = pattern.find(a, MAX_PLACES);
        let mut others: BTreeMap<String, &Json> = pattern.find(b, MAX_PLACES).into_iter().collect();
        for (place, value) in found {
            let other = others.remove(&place);
            // The first rule that fits counts.
            if is_ignored(&place) || !claimed.insert(place.clone()) {
                continue;
            }
            match other {
                Some(other) => add(result, &place, apply::at_pointer(compare, value, other, shape)),
                None => absent(result, compare, &place, b, "shadow"),
            }
        }
        for place in others.into_keys() {
            if !is_ignored(&place) && claimed.insert(place.clone()) {
                absent(result, compare, &place, a, "primary");
            }
        }
        rules.skip.push(pattern);
    }
    match &spec.default {
        Comparator::Status => {}
        how => {
            let found = json::compare(a, b, &rules);
            let kind = match how {
                Comparator::Auto | Comparator::Label(_) | Comparator::Text(_) => ComparatorKind::Json,
                other => apply::kind(other),
            };
            result.add("body", kind, found);
        }
    }
}

/// A place that `json` does not have: an array is too short, or a key is not there.
fn absent(result: &mut Comparison, how: &Comparator, place: &str, json: &Json, whose: &str) {
    let mut inside = Some(json);
    let mut deepest = json;
    for token in place.split('/').skip(1) {
        deepest = inside.unwrap_or(deepest);
        inside = inside.and_then(|value| value.at(&format!("/{token}")));
        if inside.is_none() {
            break;
        }
    }
    let reason = if deepest.as_array().is_some() { Reason::Shape } else { Reason::Fields };
    let found = Found::different(reason).at(format!("not in the {whose}'s answer"));
    add(result, place, apply::one(how, found));
}

/// What language models said: each choice's text, finish reason and calls of tools.
fn chats(result: &mut Comparison, spec: &CompareSpec, a: &Chat, b: &Chat) {
    let indexes = |chat: &Chat| chat.choices.iter().map(|choice| choice.index).collect::<Vec<_>>();
    if indexes(a) != indexes(b) {
        let found = Found::different(Reason::Fields);
        let found = found.at(format!("{} and {} choices", a.choices.len(), b.choices.len()));
        result.add("choices", ComparatorKind::Exact, found);
    }
    for choice in &a.choices {
        let Some(other) = b.choices.iter().find(|other| other.index == choice.index) else { continue };
        let label = |name: &str| match choice.index {
            0 => name.to_owned(),
            index => format!("{name}[{index}]"),
        };
        if let Some((how, _)) = rule(spec, "text", None) {
            let values = (Value::Said(choice.text.as_str().into()), Value::Said(other.text.as_str().into()));
            add(result, &label("text"), apply(how, &values.0, &values.1, Lenience::default()));
        }
        if rule(spec, "finish_reason", None).is_some() {
            let same = choice.finish_reason == other.finish_reason && (a.done == b.done);
            let found = Found::same_or(same, Reason::FinishReason);
            result.add(&label("finish_reason"), ComparatorKind::Exact, found);
        }
        if rule(spec, "tool_calls", None).is_some()
            && !(choice.tool_calls.is_empty() && other.tool_calls.is_empty())
        {
            result.add(&label("tool_calls"), ComparatorKind::Json, tool_calls(choice, other));
        }
    }
}

/// The same tools in the same order, with arguments that say the same as JSON.
fn tool_calls(a: &Choice, b: &Choice) -> Found {
    if a.tool_calls.len() != b.tool_calls.len() {
        let (a, b) = (a.tool_calls.len(), b.tool_calls.len());
        return Found::different(Reason::ToolCalls).at(format!("{a} and {b} calls"));
    }
    let limits = Limits::default();
    let rules = Rules::of(&JsonSpec::default());
    let mut all = Found::default();
    for (at, (a, b)) in a.tool_calls.iter().zip(&b.tool_calls).enumerate() {
        let parsed = [a, b].map(|call| parse_json(call.arguments.as_bytes(), &limits));
        let arguments = match parsed {
            [Ok(a), Ok(b)] => json::compare(&a, &b, &rules),
            _ => Found::same_or(a.arguments == b.arguments, Reason::ToolCalls),
        };
        let diverged = arguments.reason.is_some() || a.name != b.name;
        all.measures.compared += 1;
        all.measures.different += u64::from(diverged);
        if diverged && all.reason.is_none() {
            all.reason = Some(Reason::ToolCalls);
            all.at = Some(format!("call {at}{}", arguments.at.unwrap_or_default()));
        }
    }
    all
}
