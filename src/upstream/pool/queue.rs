//! Requests that wait for a connection or for room on one: first come, first served.

use std::cell::RefCell;
use std::collections::VecDeque;

use tokio::sync::oneshot;

/// Requests that may wait; more are refused at once.
const MOST: usize = 1024;

/// An extension of a request for whose sake nobody else has to go: a copy for a shadow.
#[derive(Debug, Clone, Copy)]
pub struct Yields;

/// Those that wait for a `G`.
pub(super) struct Queue<G> {
    waiting: RefCell<VecDeque<Waiting<G>>>,
}

struct Waiting<G> {
    grant: oneshot::Sender<G>,
    yields: bool,
}

impl<G> Default for Queue<G> {
    fn default() -> Self {
        Self { waiting: RefCell::default() }
    }
}

impl<G> Queue<G> {
    /// Waits with the others, from now on; `None` where too many do. `yields`: see [`Yields`].
    pub(super) fn join(&self, yields: bool) -> Option<oneshot::Receiver<G>> {
        let mut waiting = self.waiting.borrow_mut();
        if waiting.len() >= MOST {
            waiting.retain(|one| !one.grant.is_closed());
        }
        if waiting.len() >= MOST {
            return None;
        }
        let (grant, granted) = oneshot::channel();
        waiting.push_back(Waiting { grant, yields });
        Some(granted)
    }

    /// The first that still waits.
    pub(super) fn next(&self) -> Option<oneshot::Sender<G>> {
        loop {
            let first = self.waiting.borrow_mut().pop_front()?;
            if !first.grant.is_closed() {
                return Some(first.grant);
            }
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.borrow().is_empty()
    }

    /// Whether somebody still waits.
    pub(super) fn is_awaited(&self) -> bool {
        self.waiting.borrow().iter().any(|one| !one.grant.is_closed())
    }

    /// Whether more than `count` still wait.
    pub(super) fn has_more_than(&self, count: usize) -> bool {
        let waiting = self.waiting.borrow();
        waiting.len() > count && waiting.iter().filter(|one| !one.grant.is_closed()).nth(count).is_some()
    }

    /// Whether somebody still waits for whose sake others have to go.
    pub(super) fn is_pressing(&self) -> bool {
        self.waiting.borrow().iter().any(|one| !one.yields && !one.grant.is_closed())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_come_first_served_and_who_gave_up_is_passed_over() {
        let queue = Queue::<u8>::default();
        let [first, mut second] = [(); 2].map(|()| queue.join(false).unwrap());
        drop(first);
        queue.next().unwrap().send(2).unwrap();
        assert_eq!(second.try_recv(), Ok(2));
        assert!(queue.next().is_none() && queue.is_empty());
    }

    #[test]
    fn only_so_many_wait_and_those_that_gave_up_do_not_count() {
        let queue = Queue::<u8>::default();
        let mut waiting: Vec<_> = std::iter::from_fn(|| queue.join(false)).collect();
        assert_eq!(waiting.len(), MOST);
        waiting.truncate(10);
        assert!(queue.join(false).is_some());
        assert_eq!(queue.waiting.borrow().len(), 11);
    }

    #[test]
    fn nobody_has_to_go_for_a_copy_or_for_one_that_gave_up() {
        let queue = Queue::<u8>::default();
        let _copy = queue.join(true);
        assert!(!queue.is_pressing() && !queue.is_empty());
        let live = queue.join(false);
        assert!(queue.is_pressing());
        assert!(queue.has_more_than(1));
        drop(live);
        assert!(!queue.is_pressing() && queue.is_awaited() && !queue.has_more_than(1));
        drop(_copy);
        assert!(!queue.is_awaited() && !queue.is_empty());
    }
}
