//! Requests that ask to speak another protocol (RFC 9110 section 7.8): WebSocket and the like.
//!
//! They are few and long, and whoever joins the two connections takes hyper's `OnUpgrade`; so
//! these, and only these, go by hyper's HTTP/1.1 client. Its connection serves one request and is
//! never kept: an upstream that declines is rare enough.

use std::any::Any;

use http::header::UPGRADE;
use http::{Request, Response, StatusCode};
use hyper::client::conn::http1::Builder;
use hyper_util::rt::TokioIo;

use super::{Held, Pool, SendError};
use crate::upstream::answer::Answer;
use crate::upstream::{failure, form};
use crate::wire::splice::Spliced;

/// Whether `request` asks for another protocol.
pub(super) fn is_asked<B>(request: &Request<B>) -> bool {
    request.headers().contains_key(UPGRADE)
}

impl<B> Pool<B>
where
    B: Spliced + 'static,
{
    /// Sends a request that asks for an upgrade. A connection that was switched (101) is no longer
    /// the pool's, but for its slot.
    pub(super) async fn send_upgrade(&self, held: &mut Held<B>) -> Result<Response<Answer>, SendError<B>> {
        let (io, slot) = match self.obtain(false).await {
            Ok((connection, _)) => connection.into_parts(),
            Err(fault) => return Err(SendError::new(fault, held.take())),
        };
        let failed = |error: &hyper::Error| failure::before_answer(&self.target, error);
        let handshake = Builder::new()
            .max_header_size(self.target.spec().max_header_bytes)
            .handshake(TokioIo::new(io))
            .await;
        let (mut sender, connection) = match handshake {
            Ok(ready) => ready,
            Err(error) => return Err(SendError::new(failed(&error), held.take())),
        };
        // Ends with the connection: when the answer is over or dropped, or the two sides of a
        // switched one are.
        tokio::task::spawn_local(async move {
            if let Err(error) = connection.with_upgrades().await {
                tracing::debug!(%error, "a connection that was to be upgraded ended");
            }
            drop(slot);
        });
        let Some(mut request) = held.take() else { return Err(SendError::lost()) };
        form::http1(&mut request, &self.target);
        match sender.try_send_request(request).await {
            Ok(response) => {
                let switched = response.status() == StatusCode::SWITCHING_PROTOCOLS;
                let hold = if switched { None } else { Some(Box::new(sender) as Box<dyn Any>) };
                Ok(response.map(|body| Answer::by_hyper(body, hold)))
            }
            Err(mut error) => {
                *held = error.take_message();
                Err(SendError::new(failed(error.error()), held.take()))
            }
        }
    }
}
