//! What can be asked of the operator's side, and by whom. Errors are `{"error": "..."}`.

use std::pin::Pin;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::middleware::{self, Next};
use axum::response::Response;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, WWW_AUTHENTICATE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, StatusCode};

use super::access::{Access, Caller, Denial};
use super::answers::error;
use super::desk::Desk;
use super::guard::{self, Reach};
use super::places::Place;
use super::sidecar::Sidecar;
use super::{basics, commands, openapi, pairs, rollouts, start, verdict, watch, weights};

macro_rules! routes {
    ($($method:ident $path:literal => $handler:path;)*) => {
        /// Every route: method and path.
        #[cfg(test)]
        pub(super) const ALL: &[(&str, &str)] = &[$((stringify!($method), $path)),*];

        fn all() -> Router<Arc<Desk>> {
            Router::new()$(.route($path, axum::routing::$method(Erased(|request, desk| {
                Box::pin(Handler::call($handler, request, desk))
            }))))*
        }
    };
}

routes! {
    get "/" => basics::index;
    get "/healthz" => basics::healthz;
    get "/readyz" => basics::readyz;
    get "/metrics" => basics::metrics;
    get "/api/v1/openapi.json" => openapi::serve;
    get "/api/v1/status" => basics::status;
    post "/api/v1/config/reload" => basics::reload;
    get "/api/v1/rollouts" => rollouts::list;
    post "/api/v1/rollouts" => start::start;
    get "/api/v1/rollouts/{id}" => rollouts::get;
    get "/api/v1/rollouts/{id}/watch" => watch::watch;
    get "/api/v1/rollouts/{id}/evidence" => rollouts::evidence;
    get "/api/v1/rollouts/{id}/decisions" => rollouts::decisions;
    post "/api/v1/rollouts/{id}/promote" => commands::promote;
    post "/api/v1/rollouts/{id}/pause" => commands::pause;
    post "/api/v1/rollouts/{id}/resume" => commands::resume;
    post "/api/v1/rollouts/{id}/abort" => commands::abort;
    post "/api/v1/rollouts/{id}/retry" => commands::retry;
    get "/api/v1/models/{model}" => rollouts::model;
    get "/api/v1/models/{model}/rollout" => rollouts::latest;
    get "/api/v1/models/{model}/verdict" => verdict::verdict;
    put "/api/v1/models/{model}/weights" => weights::put;
    get "/api/v1/models/{model}/pairs" => pairs::list;
    get "/api/v1/models/{model}/pairs/{id}" => pairs::get;
    post "/api/v1/models/{model}/latches/{digest}/clear" => commands::clear;
    post "/api/v1/gate/{model}" => verdict::gate;
}

/// What answers at one route. All are of this one type, so that the framework's code for a route is
/// there once and not for each: an idle sidecar is a third of a mebibyte smaller by it.
#[derive(Clone, Copy)]
struct Erased(fn(Request, Arc<Desk>) -> Answer);

/// An answer that is being made.
type Answer = Pin<Box<dyn Future<Output = Response> + Send>>;

impl Handler<(), Arc<Desk>> for Erased {
    type Future = Answer;

    fn call(self, request: Request, desk: Arc<Desk>) -> Answer {
        (self.0)(request, desk)
    }
}

/// Every route, behind the guard.
pub(super) fn router(sidecar: Arc<dyn Sidecar>, access: Access, reach: Reach) -> Router {
    let desk = Desk::new(sidecar, access);
    all()
        .fallback(async || error(StatusCode::NOT_FOUND, "no such path: GET / lists what there is"))
        .method_not_allowed_fallback(async || {
            error(StatusCode::METHOD_NOT_ALLOWED, "this path does not take this method")
        })
        .layer(middleware::from_fn_with_state(Door { desk: Arc::clone(&desk), reach }, guarded))
        .with_state(desk)
}

/// What decides who gets in.
#[derive(Clone)]
struct Door {
    desk: Arc<Desk>,
    reach: Reach,
}

async fn guarded(State(door): State<Door>, mut request: Request, next: Next) -> Response {
    let mut response = match door.enter(&request) {
        Ok(caller) => {
            request.extensions_mut().insert(caller);
            readable(next.run(request).await)
        }
        Err(refused) => refused,
    };
    let headers = response.headers_mut();
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

impl Door {
    /// Who asks for this, if they may.
    fn enter(&self, request: &Request) -> Result<Caller, Response> {
        let (method, path, headers) = (request.method(), request.uri().path(), request.headers());
        let access = &self.desk.access;
        if let Some(reason) = guard::refusal(self.reach, access.has_callers(), method, path, headers) {
            return Err(error(StatusCode::FORBIDDEN, reason));
        }
        if guard::is_open(path) {
            return Ok(Caller { name: String::new() });
        }
        let caller = access.caller(method, path, headers, request.extensions().get()).map_err(denied)?;
        if let Some(place) = request.extensions().get::<Arc<Place>>() {
            place.known();
        }
        Ok(caller)
    }
}

fn denied(denial: Denial) -> Response {
    let status = match denial {
        Denial::NoToken | Denial::UnknownToken => StatusCode::UNAUTHORIZED,
        Denial::Role => StatusCode::FORBIDDEN,
    };
    let mut response = error(status, denial.line());
    response.headers_mut().insert(WWW_AUTHENTICATE, HeaderValue::from_static(denial.challenge()));
    response
}

/// What the framework refuses on its own, such as a path that is no UTF-8, is said as everything else.
fn readable(response: Response) -> Response {
    let is_json = response.headers().get(CONTENT_TYPE).is_some_and(|t| t.as_bytes().ends_with(b"json"));
    match response.status() {
        status if status.is_client_error() && !is_json => error(status, "the request cannot be read"),
        _ => response,
    }
}
