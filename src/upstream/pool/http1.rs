//! HTTP/1.1: one request per connection at a time, idle connections reused last in, first out.
//!
//! LIFO keeps few connections hot and lets the others grow old enough to be closed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use http::Response;
use tokio::time::{Instant, timeout_at};

use super::queue::Queue;
use super::stats::count;
use super::{Held, Pool, SendError, upgrade, yields};
use crate::base::{Fault, FaultKind};
use crate::upstream::answer::Answer;
use crate::upstream::connect::{Wire, connect};
use crate::upstream::form;
use crate::upstream::http1::{Connection, Exchange, Failure, Upload, unanswered};
use crate::upstream::io::Io;
use crate::upstream::slot::Slot;
use crate::wire::http1::Lender;
use crate::wire::splice::Spliced;

/// The HTTP/1.1 connections of a pool.
#[derive(Default)]
pub(super) struct Http1 {
    /// The back was used last.
    idle: RefCell<VecDeque<Box<Connection>>>,
    waiting: Queue<Grant>,
    lender: Rc<Lender>,
}

/// What a waiting request is given.
enum Grant {
    Connection(Box<Connection>),
    Slot(Slot),
}

impl Http1 {
    pub(super) fn idle_count(&self) -> usize {
        self.idle.borrow().len()
    }

    /// Whether nothing of what was read is held by anyone.
    #[cfg(test)]
    pub(super) fn has_no_input(&self) -> bool {
        self.lender.is_whole()
    }

    /// Whether somebody still waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.is_awaited()
    }

    /// Whether somebody still waits for whose sake others have to go.
    pub(super) fn is_pressing(&self) -> bool {
        self.waiting.is_pressing()
    }

    /// Closes the connection that is idle for longest; `false` when none is.
    pub(super) fn close_oldest(&self) -> bool {
        let oldest = self.idle.borrow_mut().pop_front();
        oldest.map(|oldest| oldest.close()).is_some()
    }

    /// Closes connections idle for `limit` or closed by the upstream; returns how many stay.
    pub(super) fn close_idle(&self, limit: Duration) -> usize {
        self.lender.shrink();
        let now = Instant::now();
        // Taken out first: a slot that comes free calls back into the pool.
        let all = std::mem::take(&mut *self.idle.borrow_mut());
        let mut staying = VecDeque::with_capacity(all.len());
        for mut connection in all {
            if now.duration_since(connection.idle_since) < limit && connection.is_alive() {
                staying.push_back(connection);
            } else {
                connection.close();
            }
        }
        let left = staying.len();
        *self.idle.borrow_mut() = staying;
        left
    }

    /// Gives a slot to the first request that still waits, if `slot` has one to give.
    pub(super) fn grant_slot(&self, slot: impl FnOnce() -> Option<Slot>) {
        if let Some(waiting) = self.waiting.next()
            && let Some(slot) = slot()
        {
            // Should the request be gone by now, the slot drops and is given to the next.
            let _ = waiting.send(Grant::Slot(slot));
        }
    }

    /// The connection used last, but for those that rest still.
    fn last_idle(&self) -> Option<Box<Connection>> {
        let mut idle = self.idle.borrow_mut();
        if !idle.back()?.is_suspect() {
            return idle.pop_back();
        }
        let last = idle.iter().rposition(|connection| !connection.is_suspect())?;
        idle.remove(last)
    }

    /// The connection used last that can serve now.
    fn checkout(&self, limit: Duration) -> Option<Box<Connection>> {
        loop {
            let mut connection = self.last_idle()?;
            if connection.idle_since.elapsed() >= limit {
                // Those below it are older still.
                let older = std::mem::take(&mut *self.idle.borrow_mut());
                drop(older);
                return None;
            }
            if connection.is_alive() {
                return Some(connection);
            }
        }
    }
}

impl<B> Pool<B>
where
    B: Spliced + 'static,
{
    pub(super) async fn send_http1(&self, held: &mut Held<B>) -> Result<Response<Answer>, SendError<B>> {
        if held.as_ref().is_some_and(upgrade::is_asked) {
            return Box::pin(self.send_upgrade(held)).await;
        }
        let mut begun = None;
        loop {
            let retried = begun.is_some();
            let idle = if retried { None } else { self.http1.checkout(self.target.spec().idle_timeout) };
            let (connection, reused) = match idle {
                Some(connection) => (connection, true),
                // Boxed: it happens once per connection and would make every request's future larger.
                None => match Box::pin(self.obtain(yields(held))).await {
                    Ok(obtained) => obtained,
                    Err(fault) => return Err(unsent(fault, begun.as_ref(), held)),
                },
            };
            let Some(request) = held else { return Err(SendError::lost()) };
            if reused {
                count(&self.counters.reused);
            }
            let upload = match &mut begun {
                Some(upload) => upload,
                none => {
                    form::http1(request, &self.target);
                    match Upload::new(request, &self.http1.lender) {
                        Ok(fresh) => none.insert(fresh),
                        Err(fault) => {
                            self.keep_http1(connection);
                            return Err(SendError::new(fault, held.take()));
                        }
                    }
                }
            };
            let mut exchange = Exchange::new(connection);
            let head = poll_fn(|cx| exchange.poll(upload, request, &self.target, cx)).await;
            match head {
                Ok(head) => {
                    let (Some(request), Some(upload)) = (held.take(), begun) else {
                        return Err(SendError::lost());
                    };
                    let limit = self.target.spec().max_header_bytes;
                    return Ok(exchange.answer(head, upload, request, limit).map(Answer::from));
                }
                Err(Failure::Fault(fault)) => return Err(SendError { fault, unsent: None }),
                Err(Failure::Unsent(_)) if reused && !retried => count(&self.counters.retried),
                Err(Failure::Unsent(error)) => {
                    let fault = unanswered(&self.target, Some(&error));
                    return Err(unsent(fault, Some(upload), held));
                }
            }
        }
    }

    /// A new connection, or where the limit is reached the first that comes free; `true` when it
    /// has served before. What is idle makes room for it.
    pub(super) async fn obtain(&self, yields: bool) -> Result<(Box<Connection>, bool), Fault> {
        let deadline = Instant::now() + self.target.spec().connect_timeout;
        let slot = loop {
            if let Some(slot) = self.take_slot_or_make_room() {
                break slot;
            }
            match self.wait_http1(yields, deadline).await? {
                Grant::Connection(mut connection) => match connection.is_alive() {
                    true => return Ok((connection, true)),
                    false => connection.close(),
                },
                Grant::Slot(slot) => break slot,
            }
        };
        match connect(&self.target, Wire::Http1).await {
            Ok((io, _)) => Ok((self.http1_connection(io, slot), false)),
            Err(fault) => {
                count(&self.counters.connect_failures);
                Err(fault)
            }
        }
    }

    fn take_slot_or_make_room(&self) -> Option<Slot> {
        self.take_slot().or_else(|| {
            self.make_room();
            self.take_slot()
        })
    }

    async fn wait_http1(&self, yields: bool, deadline: Instant) -> Result<Grant, Fault> {
        count(&self.counters.waits);
        let granted = self.http1.waiting.join(yields).ok_or_else(|| self.overloaded())?;
        match timeout_at(deadline, granted).await {
            Ok(Ok(grant)) => Ok(grant),
            _ => Err(self.overloaded()),
        }
    }

    pub(super) fn overloaded(&self) -> Fault {
        let limit = self.target.spec().max_connections;
        let detail = format!("all {limit} connections of this worker to {} are busy", self.target);
        Fault::new(FaultKind::Overloaded, detail)
    }

    /// A connection that speaks HTTP/1.1 on `io`.
    pub(super) fn http1_connection(&self, io: Io, slot: Slot) -> Box<Connection> {
        count(&self.counters.opened);
        Connection::new(io, slot, self.me.clone(), self.http1.lender.clone())
    }

    /// Takes a connection that can serve: for the first that waits, else for later.
    pub(super) fn keep_http1(&self, mut connection: Box<Connection>) {
        connection.idle_since = Instant::now();
        if connection.is_suspect() && self.http1.is_awaited() {
            // Whoever waits gets its slot, and a connection that nobody is about to close.
            return connection.close();
        }
        while let Some(waiting) = self.http1.waiting.next() {
            match waiting.send(Grant::Connection(connection)) {
                Ok(()) => return,
                Err(Grant::Connection(unwanted)) => connection = unwanted,
                Err(Grant::Slot(_)) => return,
            }
        }
        if self.is_full() && self.http2.is_awaited() {
            // Whoever waits speaks HTTP/2, and needs its slot.
            return connection.close();
        }
        let surplus = {
            let mut idle = self.http1.idle.borrow_mut();
            idle.push_back(connection);
            if idle.len() > self.target.spec().max_idle { idle.pop_front() } else { None }
        };
        if let Some(surplus) = surplus {
            surplus.close();
        }
        self.watch_idle();
    }
}

/// The failure of a request of which nothing has left. It comes back unless its body was begun.
fn unsent<B>(fault: Fault, upload: Option<&Upload>, held: &mut Held<B>) -> SendError<B> {
    let request = held.take();
    SendError::new(fault, request.filter(|_| upload.is_none_or(Upload::is_untouched)))
}
