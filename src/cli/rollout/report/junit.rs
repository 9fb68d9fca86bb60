//! The report for CI servers: a suite for the rollout, with a case for its outcome, one for each
//! check and one for each decision.
//!
//! A check that says nothing is skipped, not passed: too little data is no success. Decisions are
//! there to be read: what they led to is the outcome's to fail by.

use crate::rollout::evidence::CheckVerdict;

use super::super::super::exit::Exit;
use super::super::super::format::xml;
use super::super::progress::taken;
use super::super::show::moment;
use super::Report;

enum Came<'a> {
    Passed,
    Skipped(&'a str),
    Failed(&'a str, &'a str),
}

struct Case<'a> {
    class: String,
    name: String,
    came: Came<'a>,
    out: &'a str,
}

/// The report.
pub(super) fn write(report: &Report) -> String {
    let cases = cases(report);
    let failures = cases.iter().filter(|case| matches!(case.came, Came::Failed(..))).count();
    let skipped = cases.iter().filter(|case| matches!(case.came, Came::Skipped(_))).count();
    let seconds = taken(&report.rollout).map_or(0.0, |taken| taken.as_seconds());
    let counts =
        format!("tests=\"{}\" failures=\"{failures}\" errors=\"0\" skipped=\"{skipped}\"", cases.len());
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts} time=\"{seconds:.3}\">\n  <testsuite name=\"rollout {}\" {counts} time=\"{seconds:.3}\" timestamp=\"{}\">\n",
        xml(&report.rollout.id),
        moment(report.rollout.started_ms)
    );
    for case in &cases {
        let time = if case.name == "outcome" { seconds } else { 0.0 };
        text.push_str(&format!(
            "    <testcase classname=\"{}\" name=\"{}\" time=\"{time:.3}\">\n",
            xml(&case.class),
            xml(&case.name)
        ));
        match case.came {
            Came::Passed => {}
            Came::Skipped(why) => text.push_str(&format!("      <skipped message=\"{}\"/>\n", xml(why))),
            Came::Failed(kind, why) => {
                text.push_str(&format!("      <failure type=\"{}\" message=\"{}\"/>\n", xml(kind), xml(why)))
            }
        }
        text.push_str(&format!("      <system-out>{}</system-out>\n    </testcase>\n", xml(case.out)));
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn cases(report: &Report) -> Vec<Case<'_>> {
    let view = &report.rollout;
    let class = |part: &str| format!("{}.{}.{part}", view.model, view.candidate);
    let sentence = if view.reason.is_empty() { &view.sentence } else { &view.reason };
    let came = match report.outcome {
        outcome if outcome == Exit::Done.as_str() => Came::Passed,
        "running" => Came::Skipped(sentence),
        outcome => Came::Failed(outcome, sentence),
    };
    let mut cases = vec![Case { class: class("rollout"), name: "outcome".to_owned(), came, out: sentence }];
    cases.extend(view.evidence.checks.iter().map(|check| Case {
        class: class("checks"),
        name: check.name.clone(),
        came: match check.verdict {
            CheckVerdict::Pass => Came::Passed,
            CheckVerdict::Inconclusive | CheckVerdict::Incident => Came::Skipped(check.verdict.as_str()),
            CheckVerdict::Fail => Came::Failed(&check.rule, &check.sentence),
        },
        out: &check.sentence,
    }));
    cases.extend(report.decisions.iter().map(|record| Case {
        class: class("decisions"),
        name: format!("{} {}", record.number, record.action.as_str()),
        came: Came::Passed,
        out: &record.sentence,
    }));
    cases
}
