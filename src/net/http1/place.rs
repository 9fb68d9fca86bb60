//! Where exchanges live: boxes that are used again.
//!
//! The future of a request is kilobytes. In the task of its connection it would be there while the
//! connection is idle as well; in a box of its own it would be allocated for every request. So a
//! box is borrowed from here for as long as a request takes.

use std::cell::RefCell;
use std::pin::Pin;

/// Boxes kept: as many as requests are usually under way at once on a worker.
const KEPT: usize = 64;

/// Boxes for values of `T`, which do not move there.
pub(super) struct Places<T> {
    free: RefCell<Vec<Pin<Box<T>>>>,
}

impl<T> Places<T> {
    pub(super) fn new() -> Self {
        Self { free: RefCell::new(Vec::new()) }
    }

    /// A box with what was left in it, or with what `empty` makes.
    pub(super) fn take(&self, empty: impl FnOnce() -> T) -> Pin<Box<T>> {
        let free = self.free.borrow_mut().pop();
        free.unwrap_or_else(|| Box::pin(empty()))
    }

    /// Takes a box back.
    pub(super) fn give(&self, place: Pin<Box<T>>) {
        let mut free = self.free.borrow_mut();
        if free.len() < KEPT {
            free.push(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn boxes_are_used_again_and_no_more_than_a_few_are_kept() {
        let places = Places::<u64>::new();
        let place = places.take(|| 7);
        let address = std::ptr::from_ref(&*place).addr();
        places.give(place);
        let taken: Vec<_> = (0..2 * KEPT).map(|_| places.take(|| 8)).collect();
        assert_eq!((std::ptr::from_ref(&*taken[0]).addr(), *taken[0], *taken[1]), (address, 7, 8));
        taken.into_iter().for_each(|place| places.give(place));
        assert_eq!(places.free.borrow().len(), KEPT);
    }
}
