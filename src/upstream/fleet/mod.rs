//! One worker's way to an upstream: a pool of connections for each endpoint, and the choice of one.
//!
//! An upstream that is one endpoint for good is its pool and nothing else: no choice, no counting.
//! With several, two endpoints are drawn and the less loaded is asked ([`mod@choose`], [`load`]). What
//! one worker learns of load stays with it; what is learnt of an endpoint's health is shared, in
//! the [`Cluster`].

mod choose;
mod load;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use smallvec::SmallVec;
use tokio::time::Instant;

use self::choose::choose;
pub(super) use self::load::Busy;
use self::load::Load;
use super::cluster::{Cluster, Endpoint, Standing};
use super::{Answer, Pool, SendError, Yields};
use crate::base::{Fault, FaultKind};
use crate::wire::splice::Spliced;

/// One worker's connections to all endpoints of an upstream. `!Send`, as its pools.
pub struct Fleet<B> {
    cluster: Arc<Cluster>,
    /// The pool, where there is nothing to choose.
    only: Option<Rc<Pool<B>>>,
    view: RefCell<View<B>>,
    blamed: Rc<Cell<bool>>,
    moved: Cell<u64>,
    /// When a request was turned away last.
    refused: Cell<Option<Instant>>,
}

/// The endpoints as they were last looked at.
struct View<B> {
    members: Rc<[Member<B>]>,
    /// Those of them that may be used, by index.
    usable: Rc<[usize]>,
    /// [`Cluster::changes`] of then.
    changes: u64,
    /// When the next ejection ends.
    until: u64,
}

/// An endpoint with this worker's connections to it.
struct Member<B> {
    load: Rc<Load>,
    pool: Rc<Pool<B>>,
}

impl<B> Clone for Member<B> {
    fn clone(&self) -> Self {
        Self { load: self.load.clone(), pool: self.pool.clone() }
    }
}

/// Endpoints that are not to be asked, where there are others.
type Avoid = SmallVec<[Arc<Endpoint>; 2]>;

/// The endpoints that a request was sent to so far, whatever came of it. An extension of the request:
/// whoever sends it again gives the same one along, and another endpoint is asked, if there is one.
#[derive(Debug, Clone, Default)]
pub struct Tried(Arc<Mutex<Avoid>>);

impl Tried {
    fn add(&self, endpoint: &Arc<Endpoint>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(endpoint.clone());
    }

    fn endpoints(&self) -> Avoid {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

fn has(avoid: &Avoid, endpoint: &Arc<Endpoint>) -> bool {
    avoid.iter().any(|avoided| Arc::ptr_eq(avoided, endpoint))
}

impl<B> Fleet<B>
where
    B: Spliced + 'static,
{
    /// No connections yet; they are made as requests come.
    pub fn new(cluster: Arc<Cluster>) -> Rc<Self> {
        let only = cluster
            .is_lone()
            .then(|| cluster.members().first().map(|endpoint| Pool::new(endpoint.target().clone())))
            .flatten();
        let view = View { members: Rc::new([]), usable: Rc::new([]), changes: 0, until: 0 };
        let (blamed, moved, refused) = (Rc::default(), Cell::new(0), Cell::new(None));
        Rc::new(Self { cluster, only, view: RefCell::new(view), blamed, moved, refused })
    }

    /// The upstream that it is a way to.
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// Requests that were sent again because they never left, to the same endpoint or to another.
    pub fn resent(&self) -> u64 {
        match &self.only {
            Some(pool) => pool.stats().retried,
            None => {
                let members = self.view.borrow().members.clone();
                members.iter().fold(self.moved.get(), |sum, member| sum + member.pool.stats().retried)
            }
        }
    }

    /// Whether a request waits because all connections are in use, or one was turned away within the last
    /// `span` because every endpoint had as many requests as it may.
    pub fn is_crowded(&self, span: Duration) -> bool {
        if let Some(pool) = &self.only {
            return pool.is_crowded();
        }
        self.refused.get().is_some_and(|refused| refused.elapsed() <= span)
            || self.view.borrow().members.iter().any(|member| member.pool.is_crowded())
    }

    /// While this is set, requests that are dropped without an answer are their endpoint's failures:
    /// the time for an answer is over.
    pub fn blame(&self, blamed: bool) {
        self.blamed.set(blamed);
    }

    /// Sends `request` as [`Pool::send`] does, to the endpoint that is best for it. One that never
    /// left is offered to `balance.moves` others.
    ///
    /// # Errors
    /// As [`Pool::send`]; `Overloaded` where every endpoint has as many requests as it may.
    ///
    /// # Cancel safety
    /// As [`Pool::send`].
    pub fn send<'a>(
        &'a self,
        request: Request<B>,
    ) -> Sending<'a, impl Future<Output = Sent<B>> + use<'a, B>, B> {
        let way = match &self.only {
            Some(pool) => Way::One { sending: pool.send(request) },
            // Boxed: with several endpoints it would make the future of every request larger.
            None => Way::Best { sending: Box::pin(self.send_to_best(request)) },
        };
        Sending { way }
    }

    async fn send_to_best(&self, mut request: Request<B>) -> Sent<B> {
        let tried = request.extensions_mut().remove::<Tried>();
        let mut avoid = tried.as_ref().map(Tried::endpoints).unwrap_or_default();
        let moves = self.cluster.spec().balance.moves;
        let yields = request.extensions().get::<Yields>().is_some();
        let mut last: Option<SendError<B>> = None;
        for attempt in 0..=moves {
            let Some(member) = self.best(&avoid) else {
                let refused = || SendError { fault: self.full(yields), unsent: None };
                let SendError { fault, .. } = last.unwrap_or_else(refused);
                return Err(SendError { fault, unsent: Some(request) });
            };
            if attempt > 0 {
                self.moved.set(self.moved.get().wrapping_add(1));
            }
            if let Some(tried) = &tried {
                tried.add(&member.load.endpoint);
            }
            let mut busy = Busy::new(member.load.clone(), Instant::now());
            let error = match member.pool.send(request).await {
                Ok(response) => {
                    busy.answered(&response);
                    return Ok(response.map(|answer| answer.held_by(busy)));
                }
                Err(error) => error,
            };
            match error.fault.kind {
                FaultKind::ConnectFailed
                | FaultKind::ConnectTimeout
                | FaultKind::UpstreamReset
                | FaultKind::UpstreamProtocol => busy.failed(),
                _ => busy.void(),
            }
            drop(busy);
            let kind = error.fault.kind;
            let may_move = (kind.is_upstream() || kind == FaultKind::Exhausted) && attempt < moves;
            match error {
                SendError { fault, unsent: Some(again) } if may_move => {
                    avoid.push(member.load.endpoint.clone());
                    request = again;
                    last = Some(SendError { fault, unsent: None });
                }
                error => return Err(error),
            }
        }
        Err(last.unwrap_or_else(|| SendError { fault: self.full(yields), unsent: None }))
    }

    fn full(&self, yields: bool) -> Fault {
        if !yields {
            self.refused.set(Some(Instant::now()));
        }
        let limit = self.cluster.spec().balance.max_requests.unwrap_or_default();
        let detail = format!("every endpoint has the {limit} requests of this worker that it may have");
        Fault::new(FaultKind::Overloaded, detail)
    }

    /// The endpoint that the next request goes to: none of `avoid` where there are others.
    fn best(&self, avoid: &Avoid) -> Option<Member<B>> {
        let (members, usable) = self.view();
        let (now, millis) = (Instant::now(), self.cluster.now());
        let balance = &self.cluster.spec().balance;
        // An endpoint that starts slowly has its share of the draws, not a higher cost: nothing is known
        // of how long its answers take, and what is expected is little.
        let luck = fastrand::f64();
        let pick = |avoid: &Avoid, luck: f64| {
            let member = |index: usize| usable.get(index).and_then(|index| members.get(*index));
            let open = |index: usize| {
                member(index).is_some_and(|member| {
                    let full = balance.max_requests.is_some_and(|limit| member.load.active() >= limit);
                    let ready = || member.load.endpoint.readiness(balance.slow_start, millis) > luck;
                    !full && !has(avoid, &member.load.endpoint) && (luck < 0.0 || ready())
                })
            };
            let cost = |index: usize| member(index).map_or(f64::MAX, |member| member.load.cost(now));
            choose(usable.len(), |n| fastrand::usize(..n), open, cost).and_then(member).cloned()
        };
        const NO_MATTER: f64 = -1.0;
        let luck = if balance.slow_start.is_zero() { NO_MATTER } else { luck };
        pick(avoid, luck)
            .or_else(|| if luck < 0.0 { None } else { pick(avoid, NO_MATTER) })
            .or_else(|| if avoid.is_empty() { None } else { pick(&Avoid::default(), NO_MATTER) })
    }

    /// The endpoints of now, and which of them may be used.
    fn view(&self) -> (Rc<[Member<B>]>, Rc<[usize]>) {
        let (changes, now) = (self.cluster.changes(), self.cluster.now());
        let mut view = self.view.borrow_mut();
        if view.members.is_empty() || view.changes != changes || now >= view.until {
            let members = self.follow(&view.members);
            let (usable, until) = self.usable(&members, now);
            *view = View { members, usable, changes, until };
        }
        (view.members.clone(), view.usable.clone())
    }

    /// The members of the upstream, with the connections and figures of those that stay.
    fn follow(&self, old: &Rc<[Member<B>]>) -> Rc<[Member<B>]> {
        let endpoints = self.cluster.members();
        let same =
            |(member, endpoint): (&Member<B>, &Arc<Endpoint>)| Arc::ptr_eq(&member.load.endpoint, endpoint);
        if old.len() == endpoints.len() && old.iter().zip(endpoints.iter()).all(same) {
            return old.clone();
        }
        let member = |endpoint: &Arc<Endpoint>| {
            let known = old.iter().find(|member| Arc::ptr_eq(&member.load.endpoint, endpoint));
            known.cloned().unwrap_or_else(|| Member {
                load: Load::new(self.cluster.clone(), endpoint.clone(), self.blamed.clone()),
                pool: Pool::new(endpoint.target().clone()),
            })
        };
        endpoints.iter().map(member).collect()
    }

    /// Which of `members` may be used, and until when that is known. All of them where too few may:
    /// a check that is wrong about most must not put their load on the rest.
    fn usable(&self, members: &[Member<B>], now: u64) -> (Rc<[usize]>, u64) {
        let available =
            |(_, member): &(usize, &Member<B>)| member.load.endpoint.standing(now) == Standing::Available;
        let usable: Rc<[usize]> =
            members.iter().enumerate().filter(available).map(|(index, _)| index).collect();
        let ends = members.iter().filter_map(|member| member.load.endpoint.ejected_until(now));
        let until = ends.min().unwrap_or(u64::MAX);
        let least = usize::from(self.cluster.spec().balance.panic_below.basis_points());
        match usable.is_empty() || usable.len() * 10_000 < members.len() * least {
            true => ((0..members.len()).collect(), until),
            false => (usable, until),
        }
    }
}

impl<B> fmt::Debug for Fleet<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Fleet").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// What came of sending.
pub type Sent<B> = Result<Response<Answer>, SendError<B>>;

pin_project_lite::pin_project! {
    /// A request on its way: to the only endpoint, or to the best.
    pub struct Sending<'a, S, B> {
        #[pin]
        way: Way<'a, S, B>,
    }
}

pin_project_lite::pin_project! {
    #[project = WayNow]
    enum Way<'a, S, B> {
        One { #[pin] sending: S },
        Best { sending: Pin<Box<dyn Future<Output = Sent<B>> + 'a>> },
    }
}

impl<S: Future<Output = Sent<B>>, B> Future for Sending<'_, S, B> {
    type Output = Sent<B>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Sent<B>> {
        match self.project().way.project() {
            WayNow::One { sending } => sending.poll(cx),
            WayNow::Best { sending } => sending.as_mut().poll(cx),
        }
    }
}

#[cfg(test)]
mod tests;
