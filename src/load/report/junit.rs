//! XML for CI servers: a suite for the test, with a case for its outcome and one for each goal.
//!
//! A goal of which nothing can be said is an error, and not a skipped case: servers take those for
//! good ones.

use super::numbers::{about, moment, observed, xml};
use crate::load::result::{Outcome, RunResult};
use crate::load::verdict::Verdict;

struct Case {
    name: String,
    /// `failure` or `error`, and why.
    wrong: Option<(&'static str, String)>,
    out: String,
}

/// The report.
pub(super) fn write(result: &RunResult) -> String {
    let mut cases = vec![outcome(result)];
    cases.extend(result.goals.iter().map(|goal| {
        let said = format!("{}{}: {}", goal.goal, about(goal), observed(goal));
        let said = goal.note.iter().fold(said, |said, note| format!("{said}, {note}"));
        Case {
            name: format!("{}{}", goal.goal, about(goal)),
            wrong: match goal.verdict {
                Verdict::Pass => None,
                Verdict::Fail => Some(("failure", said.clone())),
                Verdict::Inconclusive => Some(("error", format!("inconclusive: {said}"))),
            },
            out: said,
        }
    }));
    let of =
        |kind: &str| cases.iter().filter(|case| case.wrong.as_ref().is_some_and(|w| w.0 == kind)).count();
    let counts =
        format!("tests=\"{}\" failures=\"{}\" errors=\"{}\"", cases.len(), of("failure"), of("error"));
    let seconds = result.seconds;
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites {counts} time=\"{seconds:.3}\">\n  <testsuite name=\"{}\" {counts} time=\"{seconds:.3}\" timestamp=\"{}\">\n",
        xml(&result.name),
        moment(result.began_ms)
    );
    for (at, case) in cases.iter().enumerate() {
        let time = if at == 0 { seconds } else { 0.0 };
        text.push_str(&format!(
            "    <testcase classname=\"load.{}\" name=\"{}\" time=\"{time:.3}\">\n",
            xml(&result.name),
            xml(&case.name)
        ));
        if let Some((kind, why)) = &case.wrong {
            text.push_str(&format!(
                "      <{kind} type=\"{}\" message=\"{}\"/>\n",
                result.outcome.word(),
                xml(why)
            ));
        }
        text.push_str(&format!("      <system-out>{}</system-out>\n    </testcase>\n", xml(&case.out)));
    }
    text.push_str("  </testsuite>\n</testsuites>\n");
    text
}

fn outcome(result: &RunResult) -> Case {
    let mut said = vec![result.load.clone()];
    said.extend(result.search.iter().map(|search| search.sentence.clone()));
    said.extend(result.remarks.iter().cloned());
    let said = said.join("; ");
    let wrong = match result.outcome {
        Outcome::Pass => None,
        Outcome::Fail => Some(("failure", said.clone())),
        Outcome::Inconclusive | Outcome::Invalid | Outcome::Interrupted => Some(("error", said.clone())),
    };
    Case { name: "outcome".to_owned(), wrong, out: said }
}
