//! What the connections of one listener and worker share: limits, buffers, header maps.

use std::cell::RefCell;

use http::HeaderMap;

use super::date::Clock;
use crate::net::DownstreamSpec;
use crate::wire::body::Haste;
use crate::wire::http1::Lender;

/// Header maps kept for the next requests.
const MAPS_KEPT: usize = 32;
/// Largest header map kept, in fields that it has room for.
const MAP_KEPT_ROOM: usize = 128;

/// The shared part of a listener's HTTP/1.1 connections.
pub(super) struct Shared {
    pub(super) lender: Lender,
    /// Of a request's head, and of its trailer section.
    pub(super) max_bytes: usize,
    pub(super) max_fields: usize,
    pub(super) clock: Clock,
    /// Bytes per second that a client must take where others wait. 0: any.
    pub(super) least: u64,
    maps: RefCell<Vec<HeaderMap>>,
}

impl Shared {
    pub(super) fn new(spec: &DownstreamSpec) -> Self {
        Self {
            lender: Lender::default(),
            max_bytes: spec.header_bytes,
            max_fields: spec.header_count,
            clock: Clock::default(),
            least: Haste::least(spec.body_rate),
            maps: RefCell::default(),
        }
    }

    /// An empty map, with room from an earlier request where there is one.
    pub(super) fn take_map(&self) -> HeaderMap {
        self.maps.borrow_mut().pop().unwrap_or_default()
    }

    /// Takes a map back whose fields are no longer needed.
    pub(super) fn give_map(&self, mut map: HeaderMap) {
        // Outside the borrow: dropping a value may run foreign code.
        map.clear();
        let mut maps = self.maps.borrow_mut();
        if maps.len() < MAPS_KEPT && map.capacity() <= MAP_KEPT_ROOM {
            maps.push(map);
        }
    }
}
