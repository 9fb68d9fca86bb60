//! An upstream with all its endpoints, shared by every worker and the control side.
//!
//! Which endpoints there are is one `ArcSwap`, replaced when a name resolves otherwise; how each
//! stands is in its atomics. Whatever changes either also moves [`Cluster::changes`], so that a
//! worker needs to look at nothing else to know that its own view still holds.

mod endpoint;

use std::collections::HashSet;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{
    AtomicU64,
    Ordering::{Acquire, Relaxed, Release},
};
use std::time::Duration;

use arc_swap::ArcSwap;
use tokio::time::Instant;

pub use self::endpoint::{Endpoint, Health, Standing};

use super::target::TargetError;
use super::{Address, EndpointSpec, Target, UpstreamSpec, UpstreamTls, connect};
use crate::base::Fault;

/// Most endpoints of one upstream; a name with more addresses gives the first ones.
pub const MOST_ENDPOINTS: usize = 256;

/// An upstream and its endpoints. Never empty.
#[derive(Debug)]
pub struct Cluster {
    spec: UpstreamSpec,
    members: ArcSwap<Vec<Arc<Endpoint>>>,
    /// Moves with every change of the members or of how one stands.
    changes: AtomicU64,
    ejections: AtomicU64,
    ejections_refused: AtomicU64,
    checks_passed: AtomicU64,
    checks_failed: AtomicU64,
    lookups_failed: AtomicU64,
    epoch: Instant,
}

/// What was counted of an upstream since it was set up.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterStats {
    /// Endpoints that were taken out for what they answered.
    pub ejections: u64,
    /// Endpoints that should have been, had not too many been out.
    pub ejections_refused: u64,
    /// Health checks that were passed.
    pub checks_passed: u64,
    /// Health checks that were failed.
    pub checks_failed: u64,
    /// Names that could not be looked up; what was known of them stayed in use.
    pub lookups_failed: u64,
}

impl Cluster {
    /// Checks `spec` and reads the files that it names.
    ///
    /// # Errors
    /// [`TargetError`], which names the file or the value and what was expected.
    pub fn new(spec: &UpstreamSpec) -> Result<Self, TargetError> {
        let epoch = Instant::now();
        let mut members = Vec::with_capacity(1 + spec.others.len());
        for place in places(spec) {
            members.push(Arc::new(Endpoint::new(Arc::new(Target::new(&at(spec, &place, None))?), 0)));
        }
        Ok(Self {
            spec: spec.clone(),
            members: ArcSwap::from_pointee(members),
            changes: AtomicU64::new(0),
            ejections: AtomicU64::new(0),
            ejections_refused: AtomicU64::new(0),
            checks_passed: AtomicU64::new(0),
            checks_failed: AtomicU64::new(0),
            lookups_failed: AtomicU64::new(0),
            epoch,
        })
    }

    /// What it was made from.
    pub fn spec(&self) -> &UpstreamSpec {
        &self.spec
    }

    /// Its endpoints of now; never none.
    pub fn members(&self) -> Arc<Vec<Arc<Endpoint>>> {
        self.members.load_full()
    }

    /// Whether it is one endpoint for good, with nothing to choose or to count.
    pub fn is_lone(&self) -> bool {
        let balance = &self.spec.balance;
        self.spec.others.is_empty() && balance.resolve.is_none() && balance.max_requests.is_none()
    }

    /// Milliseconds since it was set up: the time of its endpoints.
    pub fn now(&self) -> u64 {
        endpoint::millis(self.epoch.elapsed())
    }

    /// A number that moves with every change of the members or of how one stands, but for the end of
    /// an ejection, whose time is known when it begins.
    pub fn changes(&self) -> u64 {
        // Whoever sees the number sees what it was moved for.
        self.changes.load(Acquire)
    }

    /// What was counted.
    pub fn stats(&self) -> ClusterStats {
        ClusterStats {
            ejections: self.ejections.load(Relaxed),
            ejections_refused: self.ejections_refused.load(Relaxed),
            checks_passed: self.checks_passed.load(Relaxed),
            checks_failed: self.checks_failed.load(Relaxed),
            lookups_failed: self.lookups_failed.load(Relaxed),
        }
    }

    /// How many endpoints stand how, in the order of [`Standing::ALL`].
    pub fn standings(&self) -> [usize; Standing::ALL.len()] {
        let (now, mut counts) = (self.now(), [0; Standing::ALL.len()]);
        for member in self.members.load().iter() {
            let standing = member.standing(now);
            for (count, known) in counts.iter_mut().zip(Standing::ALL) {
                *count += usize::from(known == standing);
            }
        }
        counts
    }

    /// The head of an endpoint's answer is as it should be.
    #[inline]
    pub(super) fn answered(&self, endpoint: &Endpoint) {
        endpoint.answered();
    }

    /// An endpoint answered as it should, to the end.
    #[inline]
    pub(super) fn succeeded(&self, endpoint: &Endpoint) {
        endpoint.succeeded();
    }

    /// An endpoint failed, in an answer that had begun well or before: too often in a row, and it is
    /// taken out.
    pub(super) fn failed(&self, endpoint: &Endpoint, in_answer: bool) {
        let Some(spec) = &self.spec.balance.outlier else { return };
        if !endpoint.failed(in_answer, spec.consecutive) {
            return;
        }
        let now = self.now();
        if endpoint.ejected_until(now).is_some() {
            // What was under way when it was taken out fails with it, and is no second offence.
            return endpoint.succeeded();
        }
        let members = self.members.load();
        let out = members.iter().filter(|member| member.standing(now) == Standing::Ejected).count();
        let allowed = members.len().saturating_mul(usize::from(spec.max_share.basis_points())) / 10_000;
        if members.len() < 2 || out >= allowed.max(1) {
            // It may be ejected when it has failed as often again.
            endpoint.succeeded();
            self.ejections_refused.fetch_add(1, Relaxed);
            return;
        }
        let length = endpoint.eject(spec, now);
        self.ejections.fetch_add(1, Relaxed);
        self.changes.fetch_add(1, Release);
        tracing::warn!(
            endpoint = %endpoint.target(),
            failures = spec.consecutive,
            ?length,
            "an endpoint failed too often in a row and gets no requests for a while"
        );
    }

    /// What a health check of an endpoint said.
    pub fn checked(&self, passed: bool) {
        let count = if passed { &self.checks_passed } else { &self.checks_failed };
        count.fetch_add(1, Relaxed);
    }

    /// Health checks have come to an opinion of an endpoint; `true` where that is new.
    pub fn set_health(&self, endpoint: &Endpoint, health: Health) -> bool {
        let new = endpoint.set_health(health, self.now());
        if new {
            self.changes.fetch_add(1, Release);
        }
        new
    }

    /// Whether it can be connected to: one endpoint at least, its TLS included.
    ///
    /// # Errors
    /// Why the last one tried could not: `ConnectFailed` or `ConnectTimeout`.
    ///
    /// # Cancel safety
    /// Dropping it closes the connection.
    pub async fn probe(&self) -> Result<(), Fault> {
        let members = self.members();
        let mut asked: futures_util::stream::FuturesUnordered<_> =
            members.iter().map(|member| connect::probe(member.target())).collect();
        let mut last = Ok(());
        while let Some(found) = futures_util::StreamExt::next(&mut asked).await {
            if found.is_ok() {
                return Ok(());
            }
            last = found;
        }
        last
    }

    /// Looks the names of its endpoints up again. Endpoints whose address is still among the
    /// answers stay as they are; a name that cannot be looked up keeps those that it had.
    ///
    /// # Cancel safety
    /// Dropping it changes nothing.
    pub async fn resolve(&self) {
        let old = self.members();
        let mut next: Vec<Arc<Endpoint>> = Vec::new();
        let mut seen: HashSet<(SocketAddr, String)> = HashSet::new();
        let now = self.now();
        for place in places(&self.spec) {
            let Address::Tcp { host, port } = &place.address else {
                next.extend(old.iter().filter(|member| member.target().is_at(&place)).cloned());
                continue;
            };
            let known = old.iter().filter(|member| member.target().is_of(&place));
            let found = match tokio::net::lookup_host((host.as_str(), *port)).await {
                Ok(found) => found,
                Err(error) => {
                    self.lookups_failed.fetch_add(1, Relaxed);
                    tracing::warn!(host, %error, "a name cannot be looked up; its endpoints stay");
                    next.extend(known.cloned());
                    continue;
                }
            };
            // In an order of its own, so that of more than there may be the same ones are taken each time.
            let mut found: Vec<SocketAddr> = found.collect();
            found.sort_unstable();
            for address in found {
                if next.len() >= MOST_ENDPOINTS || !seen.insert((address, place.authority.clone())) {
                    continue;
                }
                let same = old
                    .iter()
                    .find(|member| member.target().is_of(&place) && member.target().ip() == Some(address));
                match same {
                    Some(same) => next.push(same.clone()),
                    // Its files were read before; that they are gone by now is no reason to stop.
                    None => match Target::new(&at(&self.spec, &place, Some(address))) {
                        Ok(target) => next.push(Arc::new(Endpoint::new(Arc::new(target), now))),
                        Err(error) => tracing::warn!(%address, %error, "an address cannot be used"),
                    },
                }
            }
        }
        let Some(next) = changed(&old, next) else { return };
        tracing::info!(
            endpoints = next.len(),
            before = old.len(),
            "the endpoints of an upstream have changed"
        );
        self.members.store(Arc::new(next));
        self.changes.fetch_add(1, Release);
    }

    /// Reads the TLS files of its endpoints again where they have changed: what came of it.
    pub fn reload_if_changed(&self) -> Option<Result<(), TargetError>> {
        let members = self.members.load();
        // Every endpoint reads for itself; they have the same files, so one result speaks for all.
        members.iter().filter_map(|member| member.target().reload_if_changed()).reduce(Result::and)
    }

    /// How often names are to be looked up, where there are any.
    pub fn resolve_every(&self) -> Option<Duration> {
        let named = places(&self.spec).any(|place| match &place.address {
            Address::Tcp { host, .. } => host.parse::<std::net::IpAddr>().is_err(),
            Address::Unix(_) => false,
        });
        self.spec.balance.resolve.filter(|_| named)
    }
}

/// The members after a lookup: those of `old` that are still among them, in their order, and then the
/// new ones. `None` where they are the same, in whatever order a name server gave them, or none.
fn changed(old: &[Arc<Endpoint>], found: Vec<Arc<Endpoint>>) -> Option<Vec<Arc<Endpoint>>> {
    let is_in = |members: &[Arc<Endpoint>], one: &Arc<Endpoint>| members.iter().any(|m| Arc::ptr_eq(m, one));
    let mut next: Vec<_> = old.iter().filter(|member| is_in(&found, member)).cloned().collect();
    let stayed = next.len();
    next.extend(found.into_iter().filter(|member| !is_in(old, member)));
    (!next.is_empty() && (next.len() > stayed || stayed < old.len())).then_some(next)
}

/// Every place of `spec`.
fn places(spec: &UpstreamSpec) -> impl Iterator<Item = EndpointSpec> {
    let first = EndpointSpec { address: spec.address.clone(), authority: spec.authority.clone() };
    std::iter::once(first).chain(spec.others.iter().cloned())
}

/// `spec` for one place alone, at the address that its name was resolved to.
fn at(spec: &UpstreamSpec, place: &EndpointSpec, resolved: Option<SocketAddr>) -> UpstreamSpec {
    let mut one = spec.clone();
    one.others = Vec::new();
    one.authority.clone_from(&place.authority);
    one.address = match resolved {
        None => place.address.clone(),
        Some(address) => Address::Tcp { host: address.ip().to_string(), port: address.port() },
    };
    // The certificate bears the name that was resolved, not its address.
    if let (Some(tls), Some(_), Address::Tcp { host, .. }) = (&mut one.tls, resolved, &place.address) {
        let name = tls.server_name.take().or_else(|| Some(host.clone()));
        *tls = UpstreamTls { server_name: name, ..tls.clone() };
    }
    one
}

#[cfg(test)]
mod tests;
