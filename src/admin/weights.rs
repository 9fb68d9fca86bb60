//! `PUT /api/v1/models/{model}/weights`: another split, in one step.

use std::fmt;
use std::sync::Arc;

use axum::body::Body;
use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use axum::{Extension, Json};
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::json;

use super::access::Caller;
use super::answers::{Answer, parse, read};
use super::desk::Desk;
use super::schema;
use crate::rollout::version::Actor;

/// Give every version of a model a new weight
///
/// In one step; versions that are left out get none. Refused while a rollout of the model is under
/// way, for that has the weights. They stay over a reload, and with a store over a restart, unless the
/// configuration's own weights of the model change before its first rollout.
#[utoipa::path(
    put, path = "/api/v1/models/{model}/weights", operation_id = "setWeights", tag = "models",
    params(("model" = String, Path, description = "Name of the model")),
    request_body = schema::Weights,
    responses(
        (status = 200, description = "The weights that are live now", body = schema::WeightsDone),
        (status = 400, description = "What was asked for makes no sense", body = schema::Error),
        (status = 404, description = "There is no such model", body = schema::Error),
        (status = 409, description = "A rollout of the model is under way", body = schema::Error),
    )
)]
pub(super) async fn put(
    State(desk): State<Arc<Desk>>,
    Extension(caller): Extension<Caller>,
    Path(model): Path<String>,
    body: Body,
) -> Answer {
    let body = match read(body).await {
        Ok(body) => body,
        Err(refused) => return Ok(refused),
    };
    let weights: Asked = parse(&body, "{\"weights\": {\"v1\": \"90%\", \"v2\": \"10%\"}}")?;
    let by = Actor { name: caller.name, key: None };
    let done = desk.change(move |desk| {
        let done = desk.sidecar.set_weights(&model, &weights.weights.0, &by)?;
        let weights = done.weights.iter().map(|(name, weight)| (name.to_string(), weight.to_string().into()));
        let weights: serde_json::Map<_, _> = weights.collect();
        Ok(json!({"model": model, "weights": weights, "durable": done.durable}))
    });
    Ok(Json(done.await?).into_response())
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Asked {
    weights: Pairs,
}

/// The pairs of a JSON object in their order. A name that stands twice is refused: which of the
/// two was meant, nobody can know.
struct Pairs(Vec<(String, String)>);

impl<'de> Deserialize<'de> for Pairs {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(PairsVisitor)
    }
}

struct PairsVisitor;

impl<'de> Visitor<'de> for PairsVisitor {
    type Value = Pairs;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of version names and weights such as \"10%\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Pairs, A::Error> {
        let mut pairs: Vec<(String, String)> = Vec::new();
        while let Some((name, weight)) = map.next_entry::<String, String>()? {
            // Names are few (the body is bounded), and sorting them would lose their order.
            if pairs.len() >= 1024 {
                return Err(serde::de::Error::custom("more than 1024 versions"));
            }
            if pairs.iter().any(|(known, _)| *known == name) {
                return Err(serde::de::Error::custom(format_args!("the version {name:?} stands twice")));
            }
            pairs.push((name, weight));
        }
        Ok(Pairs(pairs))
    }
}
