//! Counts of a pool: cells of one worker, read now and then.

use std::cell::Cell;

/// Counts of one pool since it was made; `open` and `idle` are the present state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Connections established.
    pub opened: u64,
    /// Connections open now, those being established included.
    pub open: usize,
    /// HTTP/1.1 connections idle now.
    pub idle: usize,
    /// Requests sent on a connection that was there already.
    pub reused: u64,
    /// Requests sent a second time because they never left the first time.
    pub retried: u64,
    /// Connections that could not be established.
    pub connect_failures: u64,
    /// Requests that waited because the limit on connections was reached.
    pub waits: u64,
}

#[derive(Default)]
pub(super) struct Counters {
    pub(super) opened: Cell<u64>,
    pub(super) reused: Cell<u64>,
    pub(super) retried: Cell<u64>,
    pub(super) connect_failures: Cell<u64>,
    pub(super) waits: Cell<u64>,
}

/// Adds one.
pub(super) fn count(cell: &Cell<u64>) {
    cell.set(cell.get().wrapping_add(1));
}
