//! Kinds of requests: what is sent, where it comes from, and what a good answer is.

use std::path::Path;

use http::Method;

use super::super::super::problem::Report;
use super::super::super::raw;
use super::super::super::read::{Given, List};
use super::super::{Unique, exactly_one, files, set_count};
use super::headers;
use crate::load::prepare::file_kind;
use crate::load::spec::{CheckSpec, Format, InputSpec, LabelCheck, RequestSpec, ValueCheck};

pub(super) fn requests(
    list: &List<raw::LoadRequest, 1, 32>,
    base: &Path,
    report: &mut Report,
) -> Vec<RequestSpec> {
    let mut names = Unique::default();
    list.items.iter().filter_map(|item| request(item, base, &mut names, report)).collect()
}

fn request(
    item: &Given<raw::LoadRequest>,
    base: &Path,
    names: &mut Unique,
    report: &mut Report,
) -> Option<RequestSpec> {
    let raw = &item.value;
    let format = raw.format.get()?.0;
    let model = raw.model.get().map(|model| model.0.clone());
    if model.is_none()
        && raw.model.is_missing()
        && format != Format::Plain
        && !report.has_unknown_key(&raw.at)
    {
        let message = format!("a request of the format {:?} names a model", format.word());
        report.wrong(&raw.at, message, "add the key \"model\" here");
    }
    let name = match (raw.name.get(), &model) {
        (Some(name), _) => name.0.clone(),
        (None, Some(model)) => model.clone(),
        (None, None) => format.word().to_owned(),
    };
    let at = raw.name.given().map_or(&item.at, |given| &given.at);
    names.add("kind of request", &name, at, report);
    if let (Some(given), true) = (raw.method.given(), format != Format::Plain) {
        report.wrong(&given.at, "only plain requests have a method of their own", "remove it");
    }
    let inputs = inputs_spec(raw, format, model.as_deref(), base, report)?;
    let mut spec = RequestSpec {
        name,
        format,
        version: raw.version.get().map(|version| version.0.clone()),
        weight: raw.weight.get().map_or(1, |weight| u32::try_from(weight.0).unwrap_or(u32::MAX)),
        method: raw.method.get().map_or(Method::GET, |method| method.0.clone()),
        path: raw.path.get().map(|path| path.0.clone()),
        headers: headers(&raw.headers, report),
        inputs,
        batch: 1,
        max_tokens: raw.max_tokens.get().map_or(64, |count| u32::try_from(count.0).unwrap_or(u32::MAX)),
        check: raw.check.get().map(|check| check_spec(check, raw, report)).unwrap_or_default(),
        model,
    };
    set_count(&mut spec.batch, &raw.batch);
    Some(spec)
}

fn inputs_spec(
    raw: &raw::LoadRequest,
    format: Format,
    model: Option<&str>,
    base: &Path,
    report: &mut Report,
) -> Option<InputSpec> {
    let generated = |dynamic, count| Some(InputSpec::Generated { dynamic, count });
    let Some(given) = raw.inputs.given() else {
        if format == Format::V1 && raw.inputs.is_missing() {
            report.wrong(
                &raw.at,
                "V1 has no metadata to make inputs from",
                "add `inputs` with a `file` or a `text`",
            );
        }
        return generated(4, 16);
    };
    let section: &raw::LoadInputs = &given.value;
    let keys = [
        ("generate", section.generate.is_missing()),
        ("text", section.text.is_missing()),
        ("file", section.file.is_missing()),
        ("pairs", section.pairs.is_missing()),
    ];
    exactly_one("source of inputs", &keys, &given.at, report)?;
    if let (Some(label), true) = (section.label.given(), section.file.is_missing()) {
        report.wrong(&label.at, "only rows of a file have labels", "remove it, or give a `file`");
    }
    if let Some(generate) = section.generate.get() {
        let (mut dynamic, mut count) = (4, 16);
        set_count(&mut dynamic, &generate.dynamic);
        set_count(&mut count, &generate.count);
        return generated(dynamic, count);
    }
    if let Some(text) = section.text.get() {
        return Some(InputSpec::Text(text.0.clone()));
    }
    if let Some(pairs) = section.pairs.given() {
        let named = pairs.value.model.get().map(|model| model.0.as_str()).or(model);
        let Some(model) = named else {
            report.wrong(&pairs.at, "it names no model whose pairs are meant", "add the key \"model\" here");
            return None;
        };
        let server = pairs.value.server.get()?.0.clone();
        return Some(InputSpec::Pairs { server, model: model.to_owned() });
    }
    let file = section.file.given()?;
    let path = files::existing(&section.file, base, report)?;
    let Some(kind) = file_kind(&path) else {
        // One mistake is enough for a file that cannot be read either.
        if !path.is_file() {
            return None;
        }
        let fix = "name it .jsonl, .csv, .npy, or .json for recorded pairs";
        report.wrong(&file.at, "it is not told by its name what the file holds", fix);
        return None;
    };
    Some(InputSpec::File { path, kind, label: section.label.get().map(|label| label.0.clone()) })
}

fn check_spec(raw: &raw::LoadCheck, request: &raw::LoadRequest, report: &mut Report) -> CheckSpec {
    let values = raw.values.get().map(|list| list.items.as_slice()).unwrap_or_default();
    let labelled = request.inputs.get().is_some_and(|inputs| !inputs.label.is_missing());
    if let (Some(given), false) = (raw.label.given(), labelled) {
        report.wrong(&given.at, "there is no label to compare with", "name its column in `inputs.label`");
    }
    CheckSpec {
        status: raw.status.get().and_then(|status| u16::try_from(status.0).ok()),
        values: values
            .iter()
            .filter_map(|item| {
                let pointer = item.value.pointer.get()?.0.clone();
                Some(ValueCheck { pointer, equals: item.value.equals.get().map(|text| text.0.clone()) })
            })
            .collect(),
        label: raw.label.get().and_then(|label| {
            let pointer = label.pointer.get()?.0.clone();
            Some(LabelCheck { pointer, argmax: label.argmax.get().is_some_and(|flag| flag.0) })
        }),
    }
}
