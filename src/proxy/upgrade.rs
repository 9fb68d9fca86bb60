//! WebSocket and other upgrades (RFC 9110 section 7.8): passed on to stable and, once both sides
//! have agreed, joined byte for byte.
//!
//! An upgraded connection is no request any more: it can't be split, copied or sent again.

use std::rc::Rc;
use std::time::Instant;

use http::{HeaderValue, Response, StatusCode, request};

use super::finish::{Times, finish};
use super::record::Recorder;
use super::reply::{self, Measure, Reply};
use crate::base::{Fault, FaultKind};
use crate::routing::body;
use crate::routing::call::{self, Called};
use crate::routing::local::{LocalModel, LocalVersion};
use crate::wire::body::Source;
use crate::wire::hygiene;
use crate::wire::upgrade::{self, Upgrade};

/// Passes an upgrade to `protocol` on to `version`. Where the version declines, its answer is
/// passed back like any other.
pub(super) async fn serve(
    mut recorder: Recorder,
    model: Rc<LocalModel>,
    version: Rc<LocalVersion>,
    mut head: request::Parts,
    source: Source,
    protocol: HeaderValue,
) -> Response<Reply> {
    let client_version = head.version;
    let Some(client) = Upgrade::take(&mut head.extensions) else {
        let fault = Fault::new(FaultKind::NotImplemented, "this connection cannot be upgraded");
        return reply::fail(recorder, &fault, false);
    };
    hygiene::ask_upgrade(&mut head.headers, protocol);
    let spec = &model.model.spec;
    let asked =
        tokio::time::timeout(spec.response_timeout, call::call(&version, head, body::bare(source))).await;
    let mut called = match asked {
        Ok(Ok(called)) => called,
        Ok(Err(failed)) => return reply::fail(recorder, &failed.fault, false),
        Err(_) => {
            let detail = format!("no answer to the upgrade within {:?}", spec.response_timeout);
            return reply::fail(recorder, &Fault::new(FaultKind::ResponseTimeout, detail), false);
        }
    };
    let name = spec.expose_version.then(|| version.version.header.clone());
    if called.response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let times =
            Times { idle: spec.idle_timeout, until: None, sent: &Rc::default(), answered: Instant::now() };
        return finish(recorder.into(), called, name, client_version, times, false);
    }
    let Some(server) = Upgrade::take(called.response.extensions_mut()) else {
        let fault = Fault::new(FaultKind::UpstreamProtocol, "101 without a connection");
        return reply::fail(recorder, &fault, false);
    };
    recorder.head(&called.response);
    let idle_timeout = spec.idle_timeout;
    // The task is owned by the worker's `LocalSet` and ends with either side or its idle timeout.
    tokio::task::spawn_local(async move {
        recorder.joined(&upgrade::join(client, server, Some(idle_timeout)).await);
    });
    finish_switch(called, name, client_version)
}

/// The 101 itself; the recorder has gone with the joined connections.
fn finish_switch(
    called: Called,
    name: Option<HeaderValue>,
    client_version: http::Version,
) -> Response<Reply> {
    let idle = std::time::Duration::MAX;
    let times = Times { idle, until: None, sent: &Rc::default(), answered: Instant::now() };
    finish(Measure::NONE, called, name, client_version, times, false)
}
