//! The description of the API (OpenAPI 3.1), made of what stands at each handler.

use std::sync::LazyLock;

use axum::response::Response;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::answers::document;
use super::{basics, commands, pairs, rollouts, start, verdict, watch, weights};

/// Everything that can be asked.
#[derive(OpenApi)]
#[openapi(
    info(
        title = "Switchback admin API",
        description = "Rollouts of models, and what can be looked at and changed while the sidecar runs. \
            Errors are `{\"error\": \"...\"}`. Where the configuration has `admin.tokens` or \
            `admin.clients`, everything but health and metrics takes a token or a certificate: role `read` to look and to ask gates, role `operate` to change.",
    ),
    paths(
        basics::index, basics::healthz, basics::readyz, basics::metrics, basics::status, basics::reload,
        serve,
        rollouts::list, start::start, rollouts::get, watch::watch, rollouts::evidence, rollouts::decisions,
        commands::promote, commands::pause, commands::resume, commands::abort, commands::retry,
        rollouts::model, rollouts::latest, commands::clear, weights::put,
        pairs::list, pairs::get,
        verdict::verdict, verdict::gate,
    ),
    tags(
        (name = "rollouts", description = "Moving a model from one version to another"),
        (name = "models", description = "What rollouts have made of a model"),
        (name = "pairs", description = "Answers that differ"),
        (name = "gates", description = "Verdicts for the pipelines of others"),
        (name = "sidecar", description = "Health, metrics, status, configuration"),
    ),
    security((), ("bearer" = []), ("basic" = [])),
    modifiers(&Schemes),
)]
struct Api;

struct Schemes;

impl Modify for Schemes {
    fn modify(&self, api: &mut utoipa::openapi::OpenApi) {
        let components = api.components.get_or_insert_default();
        for (name, scheme) in [("bearer", HttpAuthScheme::Bearer), ("basic", HttpAuthScheme::Basic)] {
            components.add_security_scheme(name, SecurityScheme::Http(Http::new(scheme)));
        }
    }
}

/// It never changes while the process runs.
static TEXT: LazyLock<String> =
    LazyLock::new(|| serde_json::to_string(&Api::openapi()).unwrap_or_else(|_| "{}".to_owned()));

/// This description
#[utoipa::path(
    get, path = "/api/v1/openapi.json", operation_id = "describe", tag = "sidecar",
    responses((status = 200, description = "OpenAPI 3.1", body = serde_json::Value))
)]
pub(super) async fn serve() -> Response {
    document(TEXT.clone())
}
