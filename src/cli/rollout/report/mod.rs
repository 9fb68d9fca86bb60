//! `rollout report`: what happened, each decision with its sentence and its numbers.
//!
//! One report, four forms: Markdown for people, JUnit for CI servers, JSON and YAML for the rest.
//! The last two hold the records whole, so that `rollout verify` takes them.

mod junit;
mod markdown;

use serde::Serialize;

use crate::control::rollouts::RolloutView;
use crate::rollout::record::DecisionRecord;

use super::super::exit::{Exit, Failure};
use super::super::format::{self, Format};
use super::super::server::{Server, segment};
use super::outcome::{Until, outcome};
use super::target;

/// Records that are asked for at a time.
const PAGE: usize = 100;
/// Records in a report. A rollout makes some for each step.
const MOST: usize = 10_000;

/// What happened.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// How it ended, in a word; `running` until then.
    pub(super) outcome: &'static str,
    /// How it stands.
    pub(super) rollout: RolloutView,
    /// What was decided, in order.
    pub(super) decisions: Vec<DecisionRecord>,
}

impl Report {
    /// The report of a rollout that stands like this. `exit`: how waiting for it ended, if somebody
    /// did.
    pub(super) fn of(server: &Server, view: &RolloutView, exit: Option<Exit>) -> Result<Self, Failure> {
        let exit = exit.or_else(|| outcome(view, Until::Promoted));
        let outcome = exit.map_or("running", Exit::as_str);
        Ok(Self { outcome, rollout: view.clone(), decisions: decisions(server, &view.id)? })
    }

    /// The report in this form. Text is Markdown, which people read as well.
    pub(super) fn render(&self, form: Format) -> Result<String, Failure> {
        match form {
            Format::Text | Format::Markdown => Ok(markdown::write(self)),
            Format::Junit => Ok(junit::write(self)),
            Format::Json => format::json(self),
            Format::Yaml => format::yaml(self),
        }
    }
}

/// All records of a rollout, page by page.
fn decisions(server: &Server, id: &str) -> Result<Vec<DecisionRecord>, Failure> {
    let mut decisions: Vec<DecisionRecord> = Vec::new();
    while decisions.len() < MOST {
        let after = decisions.last().map(|last| format!("&after={}", last.number)).unwrap_or_default();
        let answer = server.get(&format!("/rollouts/{}/decisions?limit={PAGE}{after}", segment(id)))?;
        let page = target::list(answer, "decisions")?;
        let length = page.len();
        for record in page {
            let record: DecisionRecord = serde_json::from_value(record).map_err(|error| {
                Failure::error(format!("the sidecar's record is none that this build knows ({error})"))
            })?;
            // A page that begins anew would never end.
            if decisions.last().is_none_or(|last| record.number > last.number) {
                decisions.push(record);
            }
        }
        if length < PAGE {
            break;
        }
    }
    Ok(decisions)
}

#[cfg(test)]
mod tests;
