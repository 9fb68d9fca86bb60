//! Reports of a rollout that was started and aborted, in every form.

use serde_json::{Value, json};

use super::super::super::server::testing::{Fake, answer};
use super::super::super::yaml;
use super::super::testing::{records, view};
use super::*;

fn report(outcome: Exit) -> Report {
    let mut view = view("Aborted");
    view.reason = "ABORT v2: by <ann> | \"ops\"".to_owned();
    Report { outcome: outcome.as_str(), rollout: view, decisions: records() }
}

#[test]
fn markdown_tells_the_outcome_the_evidence_and_each_decision() {
    let text = report(Exit::Aborted).render(Format::Markdown).unwrap();
    for part in [
        "# ABORTED: fraud from v1 to v2\n",
        "**ABORT v2: by \\<ann\\> \\| \"ops\"**",
        "| error-rate | inconclusive | 4.2 of 200 |",
        "### 0. start (hold)\n",
        "### 1. abort (hold)\n",
        "by ann.",
        "switchback rollout verify -",
    ] {
        assert!(text.contains(part), "no {part:?} in\n{text}");
    }
    assert_eq!(text, report(Exit::Aborted).render(Format::Text).unwrap());
}

#[test]
fn junit_counts_what_it_lists_and_calls_too_little_data_no_success() {
    let text = report(Exit::Aborted).render(Format::Junit).unwrap();
    let counted = |what: &str| text.matches(what).count();
    assert_eq!((counted("<testcase "), counted("<failure "), counted("<skipped ")), (4, 1, 1), "{text}");
    assert!(text.contains("tests=\"4\" failures=\"1\" errors=\"0\" skipped=\"1\" time=\"90.000\""), "{text}");
    assert!(text.contains("message=\"ABORT v2: by &lt;ann&gt; | &quot;ops&quot;\""), "{text}");
    assert_eq!(counted("<testcase "), counted("</testcase>"));

    let mut well = report(Exit::Done);
    well.decisions.clear();
    assert!(!well.render(Format::Junit).unwrap().contains("<failure "));
    well.outcome = "running";
    assert!(well.render(Format::Junit).unwrap().contains("skipped=\"2\""));
}

#[test]
fn json_and_yaml_hold_the_records_whole() {
    let report = report(Exit::Aborted);
    let json: Value = serde_json::from_str(&report.render(Format::Json).unwrap()).unwrap();
    assert_eq!(json["outcome"], "aborted");
    let first: DecisionRecord = serde_json::from_value(json["decisions"][0].clone()).unwrap();
    assert_eq!(first, report.decisions[0]);
    let read = yaml::read(&report.render(Format::Yaml).unwrap(), yaml::Numbers::Always).unwrap();
    assert_eq!(read["rollout"]["id"], "fraud-1");
    assert_eq!(read["decisions"][1]["action"], "abort");
}

#[test]
fn records_are_fetched_page_by_page_and_a_page_that_begins_anew_ends_it() {
    let page = |from: u64, length: u64| {
        let record = records().remove(0);
        let numbered = (from..from + length).map(|number| DecisionRecord { number, ..record.clone() });
        answer(200, &json!({"decisions": numbered.collect::<Vec<_>>()}))
    };
    let fake = Fake::start(vec![page(0, 100), page(100, 3), page(0, 100), page(0, 100), page(0, 7)]);
    assert_eq!(decisions(&fake.server(), "fraud-1").unwrap().len(), 103);
    assert!(fake.requests()[1].contains("limit=100&after=99 "));
    assert_eq!(decisions(&fake.server(), "fraud-1").unwrap().len(), 100);
}
