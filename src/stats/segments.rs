//! Segments of a trial: parts of the requests that are looked at apart.
//!
//! Requests can be told apart in several ways at once, by dimensions such as region and age group. A
//! request belongs to at most one segment of each. How many segments there are is bounded per
//! dimension, so that one of many values leaves room for the others.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Ways at once in which requests can be told apart.
pub const MAX_DIMENSIONS: usize = 4;

/// Stands for every segment beyond the limits.
pub const OTHER: &str = "_other";

/// Names of the segments that are told apart, numbered in the order in which they were first seen
/// by any worker.
#[derive(Debug)]
pub struct Segments {
    limit: usize,
    known: Mutex<Known>,
    refused: AtomicU64,
}

#[derive(Debug, Default)]
struct Known {
    names: Vec<Arc<str>>,
    numbers: HashMap<Arc<str>, usize>,
    of_dimension: [usize; MAX_DIMENSIONS],
}

impl Segments {
    /// At most `limit` segments of all dimensions together; what comes later is [`OTHER`].
    pub fn new(limit: usize) -> Self {
        Self { limit, known: Mutex::default(), refused: AtomicU64::new(0) }
    }

    /// How many segments are told apart at most.
    pub fn limit(&self) -> usize {
        self.limit
    }

    /// The number of this segment of a dimension of which at most `most` are told apart; `limit` for
    /// those beyond either limit. Names differ between dimensions. Takes a lock: workers keep the
    /// numbers they have asked for.
    pub fn number(&self, dimension: usize, most: usize, name: &str) -> usize {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(number) = known.numbers.get(name) {
            return *number;
        }
        let number = known.names.len();
        let has_room = known.of_dimension.get(dimension).is_some_and(|there| *there < most);
        if number >= self.limit || !has_room {
            self.refused.fetch_add(1, Ordering::Relaxed);
            return self.limit;
        }
        if let Some(there) = known.of_dimension.get_mut(dimension) {
            *there += 1;
        }
        let name: Arc<str> = name.into();
        known.names.push(Arc::clone(&name));
        known.numbers.insert(name, number);
        number
    }

    /// The names, by number.
    pub fn names(&self) -> Vec<Arc<str>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).names.clone()
    }

    /// How often a name was asked for that is beyond the limits.
    pub fn refused(&self) -> u64 {
        self.refused.load(Ordering::Relaxed)
    }
}

/// The segments that one request belongs to, by number: each once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Memberships {
    numbers: [u16; MAX_DIMENSIONS],
    count: u8,
}

impl Memberships {
    /// The numbers.
    pub fn iter(&self) -> impl Iterator<Item = usize> + use<> {
        self.numbers.into_iter().take(usize::from(self.count)).map(usize::from)
    }

    /// Whether it belongs to none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }
}

impl FromIterator<usize> for Memberships {
    /// Those beyond [`MAX_DIMENSIONS`] are left out.
    fn from_iter<T: IntoIterator<Item = usize>>(numbers: T) -> Self {
        let mut found = Self::default();
        for number in numbers.into_iter().filter_map(|number| u16::try_from(number).ok()) {
            // Two dimensions may both be beyond their limits: that is one segment, too.
            if !found.iter().any(|known| known == usize::from(number))
                && let Some(place) = found.numbers.get_mut(usize::from(found.count))
            {
                *place = number;
                found.count += 1;
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_dimension_has_its_own_limit_and_all_have_one_together() {
        let segments = Segments::new(4);
        let number = |dimension, most, name: &str| segments.number(dimension, most, name);
        // Many values of the first leave the second its room.
        let countries = ["c=a", "c=b", "c=c", "c=d", "c=a"].map(|name| number(0, 2, name));
        assert_eq!(countries, [0, 1, 4, 4, 0]);
        assert_eq!(["t=x", "t=y", "t=z"].map(|name| number(1, 3, name)), [2, 3, 4], "four in all");
        assert_eq!(segments.refused(), 3);
        assert_eq!(number(MAX_DIMENSIONS, 9, "further"), 4);
        let names: Vec<String> = segments.names().iter().map(ToString::to_string).collect();
        assert_eq!(names, ["c=a", "c=b", "t=x", "t=y"]);
    }

    #[test]
    fn memberships_are_few_and_each_is_there_once() {
        let of =
            |numbers: &[usize]| numbers.iter().copied().collect::<Memberships>().iter().collect::<Vec<_>>();
        assert_eq!(of(&[]), [0; 0]);
        assert_eq!(of(&[7, 3, 7]), [7, 3]);
        assert_eq!(of(&[1, 2, 3, 4, 5]), [1, 2, 3, 4]);
        assert_eq!(of(&[usize::MAX, 1]), [1]);
        assert!(Memberships::default().is_empty());
    }
}
