//! Tickets of clients that have shown a certificate: none outlives it.
//!
//! rustls takes a client's certificate from its ticket without looking at it again, and puts it into
//! the next ticket: whoever came back often enough would be let in for ever. So each ticket says until
//! when the certificates in it are good. After that it is none, and the client shakes hands in full,
//! with whatever certificate it has by then.

use std::cell::Cell;
use std::future::Future;
use std::sync::Arc;

use rustls::pki_types::CertificateDer;
use rustls::server::ProducesTickets;
use rustls::time_provider::TimeProvider;

use crate::certs::validity::not_after;

tokio::task_local! {
    /// The last second at which all that the client of this handshake has shown is good. rustls tells
    /// neither who checks certificates nor who makes tickets whose they are.
    static GOOD_UNTIL: Cell<u64>;
}

/// A handshake, in which certificates may be [shown](shown) and tickets made.
pub(super) fn within<F: Future>(handshake: F) -> impl Future<Output = F::Output> {
    GOOD_UNTIL.scope(Cell::new(u64::MAX), handshake)
}

/// Notes what the client of this handshake has shown.
pub(super) fn shown(own: &CertificateDer<'_>, chain: &[CertificateDer<'_>]) {
    let until = chain.iter().map(|one| not_after(one)).fold(not_after(own), u64::min);
    let _ = GOOD_UNTIL.try_with(|good| good.set(until));
}

/// Tickets that are good no longer than what the client has shown.
#[derive(Debug)]
pub(super) struct Tickets {
    inner: Arc<dyn ProducesTickets>,
    clock: Arc<dyn TimeProvider>,
}

impl Tickets {
    pub(super) fn new(inner: Arc<dyn ProducesTickets>, clock: Arc<dyn TimeProvider>) -> Self {
        Self { inner, clock }
    }
}

/// Outside of a [handshake](within) there are none.
impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        self.inner.enabled()
    }

    fn lifetime(&self) -> u32 {
        self.inner.lifetime()
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let until = GOOD_UNTIL.try_with(Cell::get).ok()?;
        self.inner.encrypt(&[&until.to_be_bytes(), plain].concat())
    }

    fn decrypt(&self, cipher: &[u8]) -> Option<Vec<u8>> {
        let mut plain = self.inner.decrypt(cipher)?;
        let until = u64::from_be_bytes(*plain.first_chunk()?);
        if self.clock.current_time()?.as_secs() > until {
            return None;
        }
        // The next ticket holds the same certificates.
        GOOD_UNTIL.try_with(|good| good.set(until)).ok()?;
        Some(plain.split_off(size_of::<u64>()))
    }
}

#[cfg(test)]
mod tests;
