//! Looking at rollouts: which there were, how one stands, what was decided and on what evidence.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse as _;
use serde::{Deserialize, Serialize};
use serde_json::json;
use serde_json::value::RawValue;
use utoipa::IntoParams;

use super::answers::{Answer, document, kept, wanted};
use super::desk::Desk;
use super::finding::{Found, Kept};
use super::schema;
use crate::store::Page;

/// Rollouts in a page: if nothing is said, and at most.
const ROLLOUTS: (u32, u32) = (20, 100);
/// Decisions in a page: if nothing is said, and at most. A record may take many kilobytes.
const DECISIONS: (u32, u32) = (100, 200);

type Shared = State<Arc<Desk>>;

/// Which rollouts.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// Only of this model.
    model: Option<String>,
    /// How many: 20 if nothing is said, at most 100.
    limit: Option<u32>,
    /// Only those older than the rollout of this id: `next` of the page before.
    before: Option<String>,
}

#[derive(Serialize)]
struct Listed {
    rollouts: Vec<Box<RawValue>>,
    next: Option<String>,
}

/// List rollouts, latest first
#[utoipa::path(
    get, path = "/api/v1/rollouts", operation_id = "listRollouts", tag = "rollouts", params(Which),
    responses(
        (status = 200, description = "A page of rollouts", body = schema::Rollouts),
        (status = 503, description = "The store cannot be read", body = schema::Error),
    )
)]
pub(super) async fn list(State(desk): Shared, query: Result<Query<Which>, QueryRejection>) -> Answer {
    let which = wanted(query)?;
    let listed = desk.look(move |desk| {
        let limit = which.limit.unwrap_or(ROLLOUTS.0).clamp(1, ROLLOUTS.1);
        let page = Page { model: which.model.as_deref(), before: which.before.as_deref(), limit };
        let texts = desk.sidecar.rollouts().history(&page)?;
        let full = u32::try_from(texts.len()).is_ok_and(|found| found >= limit);
        let (mut rollouts, mut last) = (Vec::new(), None);
        for text in texts {
            let text = kept(text);
            // What is written lags behind what runs.
            let id = serde_json::from_str::<Kept>(text.get()).ok().map(|kept| kept.id);
            let live = id.as_deref().and_then(|id| desk.current(id));
            rollouts.push(match live {
                Some(view) => Found::Live(Box::new(view)).json()?,
                None => text,
            });
            last = id;
        }
        Ok(Listed { rollouts, next: last.filter(|_| full) })
    });
    Ok(Json(listed.await?).into_response())
}

/// How a rollout stands, or how it ended
#[utoipa::path(
    get, path = "/api/v1/rollouts/{id}", operation_id = "getRollout", tag = "rollouts",
    params(("id" = String, Path, description = "Its identifier")),
    responses(
        (status = 200, description = "The rollout", body = schema::Rollout),
        (status = 404, description = "There is no such rollout", body = schema::Error),
    )
)]
pub(super) async fn get(State(desk): Shared, Path(id): Path<String>) -> Answer {
    let found = desk.look(move |desk| desk.rollout(&id)?.json()).await?;
    Ok(document(found.get().to_owned()))
}

/// The numbers behind a rollout's verdict
#[utoipa::path(
    get, path = "/api/v1/rollouts/{id}/evidence", operation_id = "getEvidence", tag = "rollouts",
    params(("id" = String, Path, description = "Its identifier")),
    responses(
        (status = 200, description = "The evidence of now, or of the end", body = schema::RolloutEvidence),
        (status = 404, description = "There is no such rollout", body = schema::Error),
    )
)]
pub(super) async fn evidence(State(desk): Shared, Path(id): Path<String>) -> Answer {
    let view = desk.look(move |desk| desk.rollout(&id)?.view()).await?;
    let evidence = json!({
        "rollout": view.id,
        "phase": view.phase,
        "verdict": view.verdict,
        "sentence": view.sentence,
        "evidence": view.evidence,
    });
    Ok(Json(evidence).into_response())
}

/// Which decisions.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct After {
    /// Only those after the decision of this number.
    after: Option<u64>,
    /// How many: 100 if nothing is said, at most 200.
    limit: Option<u32>,
}

#[derive(Serialize)]
struct Decided {
    decisions: Vec<Box<RawValue>>,
}

/// What was decided in a rollout, in order
///
/// Each record holds everything that the decision was made of: `switchback rollout verify` makes it
/// again.
#[utoipa::path(
    get, path = "/api/v1/rollouts/{id}/decisions", operation_id = "listDecisions", tag = "rollouts",
    params(("id" = String, Path, description = "Its identifier"), After),
    responses(
        (status = 200, description = "A page of records", body = schema::Decisions),
        (status = 404, description = "There is no such rollout", body = schema::Error),
    )
)]
pub(super) async fn decisions(
    State(desk): Shared,
    Path(id): Path<String>,
    query: Result<Query<After>, QueryRejection>,
) -> Answer {
    let which = wanted(query)?;
    let decided = desk.look(move |desk| {
        let limit = which.limit.unwrap_or(DECISIONS.0).clamp(1, DECISIONS.1);
        let texts = desk.sidecar.rollouts().decisions(&id, which.after, limit)?;
        if texts.is_empty() {
            desk.rollout(&id)?;
        }
        Ok(Decided { decisions: texts.into_iter().map(kept).collect() })
    });
    Ok(Json(decided.await?).into_response())
}

/// How the rollouts of a model stand
///
/// The latest rollout, candidates that may not be tried again, and what the configuration says
/// otherwise.
#[utoipa::path(
    get, path = "/api/v1/models/{model}", operation_id = "getModel", tag = "models",
    params(("model" = String, Path, description = "Name of the model")),
    responses(
        (status = 200, description = "The model", body = schema::Model),
        (status = 404, description = "There is no such model", body = schema::Error),
    )
)]
pub(super) async fn model(State(desk): Shared, Path(model): Path<String>) -> Answer {
    Ok(Json(desk.model(&model)?).into_response())
}

/// The rollout of a model that runs, or the last that did
#[utoipa::path(
    get, path = "/api/v1/models/{model}/rollout", operation_id = "getLatestRollout", tag = "models",
    params(("model" = String, Path, description = "Name of the model")),
    responses(
        (status = 200, description = "The rollout", body = schema::Rollout),
        (status = 404, description = "There is no such model, or it has had no rollout", body = schema::Error),
    )
)]
pub(super) async fn latest(State(desk): Shared, Path(model): Path<String>) -> Answer {
    let view = desk.latest(&model)?;
    Ok(Json(view).into_response())
}
