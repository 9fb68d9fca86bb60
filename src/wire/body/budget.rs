//! A budget of bytes, shared by everything one worker keeps copies of.
//!
//! A worker is one thread, so this is a plain counter: no atomics, no waiting. Who does not get
//! its bytes gives up at once.

use std::cell::Cell;
use std::rc::Rc;

/// A number of bytes that may be held at once on one worker.
#[derive(Debug)]
pub struct Budget {
    limit: usize,
    used: Cell<usize>,
}

impl Budget {
    /// A budget of `limit` bytes.
    pub fn new(limit: usize) -> Self {
        Self { limit, used: Cell::new(0) }
    }

    /// Takes `bytes` if that many are free; whoever takes gives back. Prefer [`Hold`].
    pub fn try_take(&self, bytes: usize) -> bool {
        match self.used.get().checked_add(bytes) {
            Some(used) if used <= self.limit => {
                self.used.set(used);
                true
            }
            _ => false,
        }
    }

    /// Gives back `bytes` that were taken.
    pub fn give_back(&self, bytes: usize) {
        debug_assert!(bytes <= self.used.get(), "more given back than taken");
        self.used.set(self.used.get().saturating_sub(bytes));
    }

    /// Bytes taken now.
    pub fn used(&self) -> usize {
        self.used.get()
    }

    /// Bytes that may be taken at once.
    pub fn limit(&self) -> usize {
        self.limit
    }
}

/// A share of a [`Budget`] that grows, and is given back when dropped.
#[derive(Debug)]
pub struct Hold {
    budget: Rc<Budget>,
    bytes: usize,
}

impl Hold {
    /// An empty share of `budget`.
    pub fn new(budget: Rc<Budget>) -> Self {
        Self { budget, bytes: 0 }
    }

    /// Takes `bytes` more, or nothing at all and says `false`.
    pub fn try_grow(&mut self, bytes: usize) -> bool {
        let granted = self.budget.try_take(bytes);
        if granted {
            self.bytes += bytes;
        }
        granted
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hold_takes_all_or_nothing_and_gives_back_when_dropped() {
        let budget = Rc::new(Budget::new(10));
        let mut one = Hold::new(Rc::clone(&budget));
        let mut two = Hold::new(Rc::clone(&budget));
        assert!(one.try_grow(6) && !two.try_grow(5) && two.try_grow(4));
        assert_eq!((budget.used(), one.bytes(), two.bytes()), (10, 6, 4));
        assert!(!one.try_grow(usize::MAX));
        drop(one);
        assert_eq!(budget.used(), 4);
        drop(two);
        assert_eq!(budget.used(), 0);
    }
}
