//! Verdicts for the pipelines of others: Argo Rollouts' web metric reads one, Flagger's webhooks ask
//! a gate.
//!
//! Both say the same, in the four words that Argo has for the phase of an analysis. A model that has
//! had no rollout has no verdict, and its gate is closed: nothing is known in favour.

use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse as _;
use http::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use super::answers::{Answer, read, wanted};
use super::desk::Desk;
use super::schema;
use crate::control::rollouts::RolloutView;
use crate::rollout::evidence::Evidence;
use crate::rollout::state::PauseReason;

type Shared = State<Arc<Desk>>;

/// What an analysis comes to, in Argo's words.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
enum Status {
    /// The candidate is promoted, or stands where only somebody's word is missing.
    Successful,
    /// Traffic went back, or is to.
    Failed,
    /// Nothing can be said, and somebody should look.
    Inconclusive,
    /// Evidence is being gathered.
    Running,
}

/// A verdict.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Told<'v> {
    status: Status,
    model: &'v str,
    rollout: &'v str,
    candidate: &'v str,
    phase: &'v str,
    verdict: &'v str,
    sentence: &'v str,
    e_value: f64,
    threshold: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    evidence: Option<&'v Evidence>,
}

/// The verdict for Argo Rollouts' web metric
///
/// Of the model's latest rollout. In an AnalysisTemplate: `jsonPath: "{$.status}"`,
/// `successCondition: result == "Successful"`, `failureCondition: result == "Failed"`; neither is met
/// while evidence is gathered, so Argo counts that as inconclusive: give it an `inconclusiveLimit`,
/// or write `successCondition: result in ["Successful", "Running"]` to fail only on evidence.
#[utoipa::path(
    get, path = "/api/v1/models/{model}/verdict", operation_id = "getVerdict", tag = "gates",
    params(("model" = String, Path, description = "Name of the model")),
    responses(
        (status = 200, description = "The verdict", body = schema::Verdict),
        (status = 404, description = "There is no such model, or it has had no rollout", body = schema::Error),
    )
)]
pub(super) async fn verdict(State(desk): Shared, Path(model): Path<String>) -> Answer {
    let view = desk.latest(&model)?;
    Ok(Json(told(&view, Some(&view.evidence))).into_response())
}

/// When a gate is open.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct When {
    /// `true`: only with the verdict `Successful`, as for `confirm-promotion`. Otherwise also while
    /// evidence is gathered, as for `rollout`.
    #[serde(default)]
    strict: bool,
}

/// A gate for Flagger's webhooks
///
/// 200 lets the canary go on; everything else holds it, as Flagger has it. What Flagger sends
/// (`name`, `namespace`, `phase`) is taken and not looked at. Flagger sends no headers: where there
/// are tokens, write one into the URL, as `http://flagger:TOKEN@HOST:PORT/api/v1/gate/MODEL`.
#[utoipa::path(
    post, path = "/api/v1/gate/{model}", operation_id = "askGate", tag = "gates",
    params(("model" = String, Path, description = "Name of the model"), When),
    request_body = Option<schema::FlaggerCall>,
    responses(
        (status = 200, description = "Go on", body = schema::Gate),
        (status = 404, description = "Hold: there is no such model, or it has had no rollout", body = schema::Error),
        (status = 412, description = "Hold", body = schema::Gate),
    )
)]
pub(super) async fn gate(
    State(desk): Shared,
    Path(model): Path<String>,
    query: Result<Query<When>, QueryRejection>,
    body: Body,
) -> Answer {
    let when = wanted(query)?;
    if let Err(refused) = read(body).await {
        return Ok(refused);
    }
    let view = desk.latest(&model)?;
    let told = told(&view, None);
    let open = told.status == Status::Successful || (!when.strict && told.status == Status::Running);
    let code = if open { StatusCode::OK } else { StatusCode::PRECONDITION_FAILED };
    Ok((code, Json(told)).into_response())
}

fn told<'v>(view: &'v RolloutView, evidence: Option<&'v Evidence>) -> Told<'v> {
    Told {
        status: status(&view.phase, &view.verdict, view.pause_reason.as_deref().unwrap_or_default()),
        model: &view.model,
        rollout: &view.id,
        candidate: &view.candidate,
        phase: &view.phase,
        verdict: &view.verdict,
        sentence: if view.reason.is_empty() { &view.sentence } else { &view.reason },
        e_value: view.evidence.e_value,
        threshold: view.evidence.threshold,
        evidence,
    }
}

/// What a rollout in this phase, with this verdict and this reason for a pause, comes to.
fn status(phase: &str, verdict: &str, pause: &str) -> Status {
    match (phase, verdict) {
        ("RollingBack" | "RolledBack" | "Aborted" | "Superseded", _) => Status::Failed,
        ("Succeeded", _) => Status::Successful,
        (_, "rollback") => Status::Failed,
        (_, "incident" | "inconclusive" | "brokenRandomisation") => Status::Inconclusive,
        ("Paused", _) if PauseReason::is_for_want_of_evidence(pause) => Status::Inconclusive,
        ("Baking" | "WaitingForPromotion", _) | (_, "advance") => Status::Successful,
        _ => Status::Running,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_standing_has_one_of_argos_words() {
        for (phase, verdict, pause, expected) in [
            ("Pending", "hold", "", Status::Running),
            ("Running", "hold", "", Status::Running),
            ("Running", "advance", "", Status::Successful),
            ("Running", "rollback", "", Status::Failed),
            ("Running", "incident", "", Status::Inconclusive),
            ("Running", "inconclusive", "", Status::Inconclusive),
            ("Paused", "hold", "command", Status::Running),
            ("Paused", "advance", "step", Status::Successful),
            ("Paused", "hold", "inconclusive", Status::Inconclusive),
            ("Paused", "brokenRandomisation", "", Status::Inconclusive),
            ("Paused", "hold", "brokenRandomisation", Status::Inconclusive),
            ("Confirming", "advance", "", Status::Successful),
            ("WaitingForPromotion", "hold", "", Status::Successful),
            ("Baking", "hold", "", Status::Successful),
            ("Baking", "rollback", "", Status::Failed),
            ("RollingBack", "rollback", "", Status::Failed),
            ("RolledBack", "hold", "", Status::Failed),
            ("Aborted", "advance", "", Status::Failed),
            ("Superseded", "hold", "", Status::Failed),
            ("Succeeded", "rollback", "", Status::Successful),
        ] {
            assert_eq!(status(phase, verdict, pause), expected, "{phase} {verdict} {pause}");
        }
    }
}
