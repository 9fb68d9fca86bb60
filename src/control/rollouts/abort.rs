//! Dying in the middle of things, for the test that a process which is killed comes back whole.
//!
//! Only in builds with debug assertions: there the environment variable [`VARIABLE`] names a place,
//! such as `before persist 2`, at which the process aborts as if it were killed. Release builds have
//! none of it.

#[cfg(debug_assertions)]
pub(super) use armed::{after, before};
#[cfg(not(debug_assertions))]
pub(super) use disarmed::{after, before};

/// What happens to a build without debug assertions: nothing.
#[cfg(not(debug_assertions))]
mod disarmed {
    #[inline]
    pub(in super::super) fn before(_kind: &str) {}
    #[inline]
    pub(in super::super) fn after(_kind: &str) {}
}

#[cfg(debug_assertions)]
mod armed {
    use std::sync::OnceLock;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// `before` or `after`, the word of an effect, and which of them, from 1.
    const VARIABLE: &str = "SWITCHBACK_TEST_ABORT";

    struct Place {
        when: String,
        kind: String,
        left: AtomicUsize,
    }

    /// An effect of this kind is about to be carried out.
    pub(in super::super) fn before(kind: &str) {
        reach("before", kind);
    }

    /// It has been carried out.
    pub(in super::super) fn after(kind: &str) {
        reach("after", kind);
    }

    fn reach(when: &str, kind: &str) {
        static PLACE: OnceLock<Option<Place>> = OnceLock::new();
        let place = PLACE.get_or_init(|| std::env::var(VARIABLE).ok().and_then(|text| read(&text)));
        if let Some(place) = place.as_ref().filter(|place| place.when == when && place.kind == kind)
            && place.left.fetch_sub(1, Ordering::Relaxed) == 1
        {
            // Nothing is flushed, dropped or told.
            std::process::abort();
        }
    }

    fn read(text: &str) -> Option<Place> {
        let mut words = text.split(' ').map(str::to_owned);
        let (when, kind, number) = (words.next()?, words.next()?, words.next()?);
        Some(Place { when, kind, left: AtomicUsize::new(number.parse().ok()?) })
    }
}
