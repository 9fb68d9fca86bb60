//! The bodies of requests on their way from a client to a version.

use std::rc::Rc;

use crate::wire::body::{IdleTimeout, Limit, Side, Sink, Source, Tee};
use crate::wire::rewrite::Edited;

/// A request's body as a client sent it: watched for standstill, limited, and copied by the sink
/// where somebody wants a copy.
pub type ClientBody = Tee<Limit<IdleTimeout<Source>>, Option<Box<dyn Sink>>>;

/// A request's body as a version is sent it: with its names rewritten.
pub type RequestBody = Edited<ClientBody>;

/// A body of our own making, without limits or copies.
pub fn bare(source: Source) -> ClientBody {
    let idle = IdleTimeout::new(source, None, Side::Request);
    Tee::new(Limit::new(idle, u64::MAX, Rc::default()), None)
}
