//! `GET /api/v1/rollouts/{id}/watch`: a rollout while it moves, as server-sent events.
//!
//! Each event is the rollout as it stands, whole: whoever missed some has missed nothing, and a
//! stream that breaks off is simply asked for again.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{Path, State};
use axum::response::IntoResponse as _;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures_util::Stream;
use futures_util::stream::unfold;
use tokio::sync::{OwnedSemaphorePermit, watch};
use tokio::time::{Instant, timeout_at};

use super::answers::Answer;
use super::desk::Desk;
use super::finding::{Found, Kept};
use super::schema;

/// Between two signs of life.
const ALIVE: Duration = Duration::from_secs(15);

/// How long one stream lasts. Whoever still wants to know asks again; what has silently gone does not
/// hold a place for ever.
const LONGEST: Duration = Duration::from_secs(300);

/// A stream and what it has told.
struct Watch {
    desk: Arc<Desk>,
    id: String,
    changes: watch::Receiver<u64>,
    until: Instant,
    told: String,
    over: bool,
    _place: OwnedSemaphorePermit,
}

/// Watch a rollout
///
/// Server-sent events of type `rollout`, each with the whole rollout as JSON: at once, at whatever
/// happens, and four times a second while it runs. The stream ends with the rollout, or after five
/// minutes: then ask again. Comments come every 15 seconds. At most 16 streams at a time.
#[utoipa::path(
    get, path = "/api/v1/rollouts/{id}/watch", operation_id = "watchRollout", tag = "rollouts",
    params(("id" = String, Path, description = "Its identifier")),
    responses(
        (status = 200, description = "The events", body = schema::Rollout, content_type = "text/event-stream"),
        (status = 404, description = "There is no such rollout", body = schema::Error),
        (status = 503, description = "Too many watch already", body = schema::Error),
    )
)]
pub(super) async fn watch(State(desk): State<Arc<Desk>>, Path(id): Path<String>) -> Answer {
    let place = desk.watcher()?;
    let wanted = id.clone();
    desk.look(move |desk| desk.rollout(&wanted).map(drop)).await?;
    let watch = Watch {
        changes: desk.sidecar.rollouts().changes(),
        desk,
        id,
        until: Instant::now() + LONGEST,
        told: String::new(),
        over: false,
        _place: place,
    };
    Ok(Sse::new(events(watch)).keep_alive(KeepAlive::new().interval(ALIVE)).into_response())
}

fn events(watch: Watch) -> impl Stream<Item = Result<Event, Infallible>> {
    unfold(watch, async |mut watch| {
        let text = watch.next().await?;
        Some((Ok(Event::default().event("rollout").data(text)), watch))
    })
}

impl Watch {
    /// The rollout once it is another than was told; nothing once the stream is over.
    async fn next(&mut self) -> Option<String> {
        while !self.over {
            // Before looking, so that what changes meanwhile is looked at again.
            self.changes.mark_unchanged();
            let text = self.look().await?;
            if text != self.told {
                self.told.clone_from(&text);
                return Some(text);
            }
            if !self.over {
                timeout_at(self.until, self.changes.changed()).await.ok()?.ok()?;
            }
        }
        None
    }

    /// The rollout of now. One that another has taken the place of is in the store: as it ended, once
    /// that is written.
    async fn look(&mut self) -> Option<String> {
        if let Some(view) = self.desk.current(&self.id) {
            self.over = view.ended;
            return serde_json::to_string(&view).ok();
        }
        let id = self.id.clone();
        match self.desk.look(move |desk| desk.rollout(&id)).await.ok()? {
            Found::Kept(text) => {
                self.over = serde_json::from_str::<Kept>(text.get()).ok()?.ended;
                Some(text.get().to_owned())
            }
            Found::Live(view) => {
                self.over = view.ended;
                serde_json::to_string(&view).ok()
            }
        }
    }
}
