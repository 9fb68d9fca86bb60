//! `rollout verify`: decisions are made again from their records, without a sidecar.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::rollout::record::{DecisionRecord, verify as recompute};

use super::super::exit::{Exit, Failure};
use super::super::format::{self, Format, xml};
use super::super::{file, say};

/// Longest file of records.
const LONGEST: usize = 256 * 1024 * 1024;

/// What is verified.
#[derive(Debug, Args)]
pub(super) struct VerifyArgs {
    /// File with a decision record, a list of them, one on each line, or a report in JSON; - for
    /// standard input.
    file: PathBuf,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Checked {
    rollout: String,
    number: u64,
    action: &'static str,
    /// The verdict as recomputed; nothing where it does not agree.
    verdict: Option<&'static str>,
    /// Why not.
    mismatch: Option<String>,
}

/// Verifies all records of the file. [`Exit::Error`] where one does not agree.
pub(super) fn verify(args: &VerifyArgs, form: Format) -> Result<Exit, Failure> {
    let text = file::read(&args.file, LONGEST)?;
    let checked: Vec<Checked> = records(&text, &args.file)?.iter().map(check).collect();
    let agree = checked.iter().all(|checked| checked.mismatch.is_none());
    let shown = match form {
        Format::Text => checked.iter().map(line).collect(),
        Format::Json => format::json(&checked)?,
        Format::Yaml => format::yaml(&checked)?,
        Format::Junit => junit(&checked),
        Format::Markdown => return Err(form.unfit("text, json, yaml or junit")),
    };
    let written = say::result(&shown);
    Ok(if agree && written { Exit::Done } else { Exit::Error })
}

fn check(record: &DecisionRecord) -> Checked {
    let outcome = recompute(record);
    Checked {
        rollout: record.rollout.clone(),
        number: record.number,
        action: record.action.as_str(),
        verdict: outcome.as_ref().ok().map(|verdict| verdict.as_str()),
        mismatch: outcome.err().map(|mismatch| mismatch.to_string()),
    }
}

fn line(checked: &Checked) -> String {
    let Checked { rollout, number, action, verdict, mismatch } = checked;
    match (verdict, mismatch) {
        (Some(verdict), None) => format!("agrees: {rollout} decision {number} ({action}): {verdict}\n"),
        (_, mismatch) => {
            let why = mismatch.as_deref().unwrap_or_default();
            format!("DOES NOT AGREE: {rollout} decision {number} ({action}): {why}\n")
        }
    }
}

fn junit(checked: &[Checked]) -> String {
    let failures = checked.iter().filter(|checked| checked.mismatch.is_some()).count();
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites>\n  <testsuite name=\"rollout verify\" tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"0\">\n",
        checked.len()
    );
    for one in checked {
        let _ = write!(
            text,
            "    <testcase classname=\"{}\" name=\"{} {}\">",
            xml(&one.rollout),
            one.number,
            one.action
        );
        if let Some(mismatch) = &one.mismatch {
            let _ = write!(text, "<failure type=\"mismatch\" message=\"{}\"/>", xml(mismatch));
        }
        text.push_str("</testcase>\n");
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

/// The records in `text`: one, a list, one on each line, or those of a report.
fn records(text: &str, path: &Path) -> Result<Vec<DecisionRecord>, Failure> {
    let wrong = |why: String| Failure::error(format!("{}: {why}", path.display()));
    let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(text).into_iter().collect();
    let mut found = Vec::new();
    for value in values.map_err(|error| wrong(format!("it is not JSON: {error}")))? {
        match value {
            Value::Array(list) => found.extend(list),
            Value::Object(mut map) if map.contains_key("decisions") => match map.remove("decisions") {
                Some(Value::Array(list)) => found.extend(list),
                _ => return Err(wrong("`decisions` is no list".to_owned())),
            },
            other => found.push(other),
        }
    }
    if found.is_empty() {
        return Err(wrong("there is no record in it".to_owned()));
    }
    let record = |value| {
        serde_json::from_value(value)
            .map_err(|e| wrong(format!("it holds something that is no decision record: {e}")))
    };
    found.into_iter().map(record).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::testing;
    use super::*;

    #[test]
    fn records_are_found_in_every_form_they_come_in() {
        let (records, path) = (testing::records(), Path::new("r.json"));
        let one = serde_json::to_string(&records[0]).unwrap();
        let lines = format!("{one}\n{}\n", serde_json::to_string(&records[1]).unwrap());
        let list = serde_json::to_string(&records).unwrap();
        let report = json!({"outcome": "aborted", "decisions": records}).to_string();
        assert_eq!(super::records(&one, path).unwrap(), records[..1]);
        for text in [&lines, &list, &report] {
            assert_eq!(super::records(text, path).unwrap(), records);
        }
        for text in ["", "[]", "{}", "nonsense", "{\"decisions\": 1}", "7"] {
            assert!(super::records(text, path).unwrap_err().message.contains("r.json"), "{text}");
        }
    }

    #[test]
    fn a_number_that_was_changed_does_not_agree() {
        let mut record = testing::records().remove(0);
        assert!(line(&check(&record)).starts_with("agrees: fraud-1 decision 0 (start): hold"));
        record.evidence.checks[0].e_value += 1e-12;
        let checked = check(&record);
        assert!(line(&checked).starts_with("DOES NOT AGREE: fraud-1 decision 0"), "{}", line(&checked));
        assert!(junit(&[checked]).contains("failures=\"1\""));
    }
}
