//! Answers of the two versions that differ, as they are kept for people.

use std::sync::Arc;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::IntoResponse as _;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::answers::{Answer, wanted};
use super::desk::Desk;
use super::schema;
use super::sidecar::AdminError;
use crate::divergence::pairs::{KeptPair, PairBook};

/// Pairs in an answer: if nothing is said, and at most.
const PAIRS: (usize, usize) = (20, 100);

type Shared = State<Arc<Desk>>;

/// Which pairs.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct Which {
    /// `latest` if nothing is said.
    #[serde(default)]
    #[param(inline)]
    which: Order,
    /// How many: 20 if nothing is said, at most 100.
    limit: Option<usize>,
}

/// In which order.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "camelCase")]
enum Order {
    /// The newest first.
    #[default]
    Latest,
    /// Those that differ most first.
    Worst,
}

#[derive(Serialize)]
struct Listed<'p> {
    pairs: Vec<&'p KeptPair>,
}

/// Pairs of answers that differ
///
/// The request and both answers, shortened and with what the configuration hides taken out.
#[utoipa::path(
    get, path = "/api/v1/models/{model}/pairs", operation_id = "listPairs", tag = "pairs",
    params(("model" = String, Path, description = "Name of the model"), Which),
    responses(
        (status = 200, description = "The pairs", body = schema::Pairs),
        (status = 404, description = "There is no such model", body = schema::Error),
    )
)]
pub(super) async fn list(
    State(desk): Shared,
    Path(model): Path<String>,
    query: Result<Query<Which>, QueryRejection>,
) -> Answer {
    let which = wanted(query)?;
    let limit = which.limit.unwrap_or(PAIRS.0).min(PAIRS.1);
    let pairs: Vec<Arc<KeptPair>> = book(&desk, &model, |book| match which.which {
        Order::Latest => book.latest().take(limit).cloned().collect(),
        Order::Worst => book.worst().take(limit).cloned().collect(),
    })?;
    Ok(Json(Listed { pairs: pairs.iter().map(Arc::as_ref).collect() }).into_response())
}

/// One pair
#[utoipa::path(
    get, path = "/api/v1/models/{model}/pairs/{id}", operation_id = "getPair", tag = "pairs",
    params(("model" = String, Path, description = "Name of the model"),
           ("id" = u64, Path, description = "Number of the pair")),
    responses(
        (status = 200, description = "The pair", body = schema::Pair),
        (status = 404, description = "There is no such model, or the pair is not kept any more", body = schema::Error),
    )
)]
pub(super) async fn get(State(desk): Shared, Path((model, id)): Path<(String, String)>) -> Answer {
    let found = match id.parse() {
        Ok(number) => book(&desk, &model, |book| book.find(number).cloned())?,
        Err(_) => None,
    };
    let pair = found.ok_or_else(|| AdminError::NotFound(format!("pair {id} is not kept (any more)")))?;
    Ok(Json(pair.as_ref()).into_response())
}

/// Reads the book of a model. What is read is shared: it is written as JSON outside of the lock.
fn book<T>(desk: &Desk, model: &str, read: impl FnOnce(&PairBook) -> T) -> Result<T, AdminError> {
    let none = || AdminError::NotFound(format!("there is no model {model:?} whose pairs are kept"));
    desk.sidecar.books().read(model, read).ok_or_else(none)
}
