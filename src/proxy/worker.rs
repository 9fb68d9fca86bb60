//! One worker: what its requests share. Single-threaded; nothing in it is locked.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;

use crate::base::{Fault, Level, Pressure};
use crate::mirror::compare::Queue;
use crate::net::Drain;
use crate::routing::local::LocalTable;
use crate::routing::table::SharedTable;
use crate::stats::{Registry, WorkerShard};
use crate::telemetry::access_log::{AccessLog, Entry};

/// What the requests of one worker share.
pub struct Worker {
    table: SharedTable,
    local: RefCell<Rc<LocalTable>>,
    registry: Arc<Registry>,
    shard: Arc<WorkerShard>,
    access_log: Option<AccessLog>,
    queue: Queue,
    drain: Drain,
    pressure: Arc<Pressure>,
    /// Live requests under way.
    pub(super) live: Cell<usize>,
}

impl Worker {
    /// A worker that serves from `table`, counts into `registry`, has answers compared by the thread
    /// behind `queue` until `drain` starts, and spares what `pressure` says.
    pub fn new(
        table: SharedTable,
        registry: Arc<Registry>,
        access_log: Option<AccessLog>,
        queue: Queue,
        drain: Drain,
        pressure: Arc<Pressure>,
    ) -> Rc<Self> {
        let local = LocalTable::new(table.load_full(), None, &registry);
        Rc::new(Self {
            table,
            local: RefCell::new(Rc::new(local)),
            shard: registry.worker(),
            registry,
            access_log,
            queue,
            drain,
            pressure,
            live: Cell::new(0),
        })
    }

    /// The table of now. A request takes it once and keeps it to its end.
    pub fn table(&self) -> Rc<LocalTable> {
        let current = self.table.load();
        let mut local = self.local.borrow_mut();
        if !Arc::ptr_eq(&current, &local.table) {
            let new = LocalTable::new(Arc::clone(&current), Some(&local), &self.registry);
            *local = Rc::new(new);
        }
        local.clone()
    }

    /// Live requests under way on this worker.
    pub fn live(&self) -> usize {
        self.live.get()
    }

    /// Whether the process is ending: no new connection is taken.
    pub(super) fn is_draining(&self) -> bool {
        self.drain.deadline().is_some()
    }

    /// The end of this process, to wait for it.
    pub(super) fn drain(&self) -> Drain {
        self.drain.clone()
    }

    /// What must be spared now.
    pub fn pressure(&self) -> Level {
        self.pressure.level()
    }

    /// What this worker counts for itself.
    pub fn shard(&self) -> &Arc<WorkerShard> {
        &self.shard
    }

    /// The way to the comparing thread.
    pub(super) fn queue(&self) -> &Queue {
        &self.queue
    }

    /// Counts a request that was refused before any version was chosen.
    pub(super) fn count_refused(&self, fault: &Fault) {
        self.shard.refuse(fault.kind);
    }

    /// Whether this request was drawn for the access log.
    pub(super) fn is_logged(&self) -> bool {
        self.access_log.as_ref().is_some_and(|log| log.sampled(fastrand::u16(..10_000)))
    }

    /// Writes a line to the access log, or counts that its queue was full.
    pub(super) fn log(&self, entry: Entry) {
        if let Some(log) = &self.access_log
            && !log.write(entry)
        {
            self.shard.access_log_dropped.add(1);
        }
    }
}
