//! Answers on their way to the client.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Response};

use super::record::Recorder;
use super::worker::Worker;
use crate::base::Fault;
use crate::routing::origin::Origin;
use crate::wire::body::{IdleTimeout, LateFault, Observe, Side, Watch};
use crate::wire::respond;
use crate::wire::rewrite::Edited;

/// The version that answered.
pub(super) const SERVED_BY: HeaderName = HeaderName::from_static("x-switchback-version");

/// The body of an answer: from the backend, watched for standstill, names put back, measured.
pub type Reply = LateFault<Observe<Edited<IdleTimeout<Origin>>, Measure>>;

/// What watches an answer's body: a recorder, where a version was chosen.
pub struct Measure(Option<Recorder>);

impl Watch for Measure {
    fn data(&mut self, chunk: &Bytes) {
        if let Some(recorder) = &mut self.0 {
            recorder.data(chunk);
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        if let Some(recorder) = &mut self.0 {
            recorder.end(trailers);
        }
    }

    fn fault(&mut self, fault: &Fault) {
        if let Some(recorder) = &mut self.0 {
            recorder.fault(fault);
        }
    }
}

/// Whether others wait for what the rest of an answer holds.
pub fn is_in_the_way(reply: &Reply) -> bool {
    let measure = reply.get_ref().watch();
    measure.and_then(|measure| measure.0.as_ref()).is_some_and(Recorder::is_in_the_way)
}

/// A body, measured by `recorder`.
pub(super) fn measured(body: Edited<IdleTimeout<Origin>>, recorder: Option<Recorder>) -> Reply {
    LateFault::new(Observe::new(body, Measure(recorder)))
}

/// An answer of our own, measured by `recorder`.
pub(super) fn own(response: Response<Bytes>, recorder: Option<Recorder>) -> Response<Reply> {
    response.map(|body| measured(unwatched(Origin::Full(Some(body))), recorder))
}

/// An answer of our own to a question that is no model's.
pub(super) fn local(response: Response<Origin>) -> Response<Reply> {
    response.map(|body| measured(unwatched(body), None))
}

/// A body that may stand still.
fn unwatched(body: Origin) -> Edited<IdleTimeout<Origin>> {
    Edited::new(IdleTimeout::new(body, None, Side::Response), None)
}

/// The answer to a request that no version was chosen for.
pub(super) fn refuse(worker: &Worker, fault: &Fault, is_grpc: bool) -> Response<Reply> {
    worker.count_refused(fault);
    tracing::debug!(%fault, "request refused");
    own(respond::fault(fault, is_grpc), None)
}

/// The answer to a request whose version failed. The fault is the end of its recording, whatever
/// becomes of the error's bytes.
pub(super) fn fail(mut recorder: Recorder, fault: &Fault, is_grpc: bool) -> Response<Reply> {
    tracing::debug!(%fault, "request failed");
    let response = respond::fault(fault, is_grpc);
    recorder.head(&response);
    recorder.failed(fault.kind);
    own(response, None)
}
