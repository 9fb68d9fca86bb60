//! Answers on their way to the client.

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Response, StatusCode, header};

use super::admission::Place;
use super::record::{JUST_NOW, Recorder};
use super::worker::Worker;
use crate::base::Fault;
use crate::routing::origin::Origin;
use crate::wire::body::{IdleTimeout, LateFault, Meter, Observe, Side, Watch};
use crate::wire::respond;
use crate::wire::rewrite::Edited;

/// The version that answered.
pub(super) const SERVED_BY: HeaderName = HeaderName::from_static("x-switchback-version");

/// After so many seconds a client may ask again.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// The body of an answer: from the backend, watched for standstill, names put back, measured.
pub type Reply = LateFault<Observe<Edited<IdleTimeout<Origin>>, Measure>>;

/// Who goes along with an answer's body.
pub struct Measure(Companion);

/// See [`Measure`]. Nearly all answers have a recorder.
#[allow(clippy::large_enum_variant, reason = "a box for each would cost every request an allocation")]
enum Companion {
    /// Whoever measures it, where a version was chosen.
    Recorder(Recorder),
    /// What it holds, where nobody measures it.
    Place(Box<Place>),
    Nobody,
}

impl Measure {
    /// An answer that is no version's.
    pub(super) const NONE: Self = Self(Companion::Nobody);

    /// The recorder, if one goes along.
    pub(super) fn recorder(&mut self) -> Option<&mut Recorder> {
        match &mut self.0 {
            Companion::Recorder(recorder) => Some(recorder),
            Companion::Place(_) | Companion::Nobody => None,
        }
    }

    /// The head of an answer has come to the request that `sent` knows.
    pub(super) fn answered(&mut self, sent: &Meter) {
        match &mut self.0 {
            Companion::Recorder(recorder) => recorder.admission().answered(sent.came()),
            Companion::Place(place) => place.admission.answered(sent.came()),
            Companion::Nobody => {}
        }
    }

    fn is_in_the_way(&self) -> bool {
        match &self.0 {
            Companion::Recorder(recorder) => recorder.is_in_the_way(),
            Companion::Place(place) => place.is_wanted(JUST_NOW),
            Companion::Nobody => false,
        }
    }
}

impl From<Recorder> for Measure {
    fn from(recorder: Recorder) -> Self {
        Self(Companion::Recorder(recorder))
    }
}

impl From<Box<Place>> for Measure {
    fn from(place: Box<Place>) -> Self {
        Self(Companion::Place(place))
    }
}

impl Watch for Measure {
    fn data(&mut self, chunk: &Bytes) {
        if let Some(recorder) = self.recorder() {
            recorder.data(chunk);
        }
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        if let Some(recorder) = self.recorder() {
            recorder.end(trailers);
        }
    }

    fn fault(&mut self, fault: &Fault) {
        if let Some(recorder) = self.recorder() {
            recorder.fault(fault);
        }
    }
}

/// Whether others wait for what the rest of an answer holds.
pub fn is_in_the_way(reply: &Reply) -> bool {
    reply.get_ref().watch().is_some_and(Measure::is_in_the_way)
}

/// A body with whoever goes along with it.
pub(super) fn measured(body: Edited<IdleTimeout<Origin>>, measure: Measure) -> Reply {
    LateFault::new(Observe::new(body, measure))
}

/// An answer of our own. Whoever had to be turned away is told when to come again.
pub(super) fn own(mut response: Response<Bytes>) -> Response<Reply> {
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response.map(|body| measured(unwatched(Origin::Full(Some(body))), Measure::NONE))
}

/// An answer of our own to a question that is no model's.
pub(super) fn local(response: Response<Origin>) -> Response<Reply> {
    response.map(|body| measured(unwatched(body), Measure::NONE))
}

/// A body that may stand still.
fn unwatched(body: Origin) -> Edited<IdleTimeout<Origin>> {
    Edited::new(IdleTimeout::new(body, None, Side::Response), None)
}

/// The answer to a request that no version was chosen for.
pub(super) fn refuse(worker: &Worker, fault: &Fault, is_grpc: bool) -> Response<Reply> {
    worker.count_refused(fault);
    tracing::debug!(%fault, "request refused");
    own(respond::fault(fault, is_grpc))
}

/// What the client gets in the place of an answer that cannot be passed on.
pub(super) fn broken(measure: Measure, fault: &Fault, is_grpc: bool) -> Response<Reply> {
    match measure.0 {
        Companion::Recorder(recorder) => fail(recorder, fault, is_grpc),
        Companion::Place(_) | Companion::Nobody => own(respond::fault(fault, is_grpc)),
    }
}

/// The answer to a request whose version failed. The fault is the end of its recording, whatever
/// becomes of the error's bytes.
pub(super) fn fail(mut recorder: Recorder, fault: &Fault, is_grpc: bool) -> Response<Reply> {
    tracing::debug!(%fault, "request failed");
    let response = respond::fault(fault, is_grpc);
    recorder.head(&response);
    recorder.failed(fault.kind);
    own(response)
}
