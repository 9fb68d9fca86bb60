//! What time it is for rollouts.
//!
//! The system's clock says it once, when the process first asks. From then on time goes by as the
//! monotonic clock says, so that a clock that is set neither ends a step early nor stops one. What a
//! rollout's times mean in the next process is worked out from both clocks ([`Lead`]).

use std::sync::LazyLock;
use std::time::{Instant, SystemTime};

use crate::rollout::time::{Millis, Timestamp};

/// Beyond this the system's clock was set: it is never slewed so far in one look.
const SET: Millis = Millis::seconds(1);

/// A clock that nobody can set.
struct Clock {
    /// What the system's clock said.
    wall: Timestamp,
    /// When.
    since: Instant,
}

static CLOCK: LazyLock<Clock> = LazyLock::new(|| Clock { wall: wall(), since: Instant::now() });

impl Clock {
    fn at(&self, moment: Instant) -> Timestamp {
        let gone = moment.saturating_duration_since(self.since);
        self.wall.plus(Millis(u64::try_from(gone.as_millis()).unwrap_or(u64::MAX)))
    }
}

/// The time, as rollouts know it.
pub(super) fn now() -> Timestamp {
    CLOCK.at(Instant::now())
}

/// What the system's clock says now.
pub(super) fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(u64::try_from(since.as_millis()).unwrap_or(u64::MAX))
}

/// How far a model's time is ahead of [`now`], or behind it.
///
/// Time while no process runs counts as the system's clock tells it, but for what that clock was set
/// by: where it stands before what was kept, no time has gone by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Lead {
    ahead: Millis,
    behind: Millis,
}

impl Lead {
    /// For a state whose latest time is `clock`, and that was kept when the system's clock said
    /// `kept`, if that is known. It is `now`.
    pub(super) fn of(clock: Timestamp, kept: Option<Timestamp>, now: Timestamp) -> Self {
        let was = kept.unwrap_or(clock).min(now);
        Self { ahead: clock.since(was), behind: was.since(clock) }
    }

    /// The model's time when it is `now`.
    pub(super) fn time(self, now: Timestamp) -> Timestamp {
        let ahead = now.plus(self.ahead);
        Timestamp(ahead.0.saturating_sub(self.behind.0))
    }
}

/// Whether the system's clock was set between two looks at it, each with what [`now`] said.
pub(super) fn was_set(before: (Timestamp, Timestamp), after: (Timestamp, Timestamp)) -> bool {
    let ((wall, time), (later_wall, later)) = (before, after);
    let expected = wall.plus(later.since(time));
    expected.since(later_wall).max(later_wall.since(expected)) > SET
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    const DAY: u64 = 24 * 3_600_000;

    #[test]
    fn time_goes_by_as_the_monotonic_clock_says() {
        let since = Instant::now();
        let clock = Clock { wall: Timestamp(5), since };
        assert_eq!(clock.at(since), Timestamp(5));
        assert_eq!(clock.at(since + Duration::from_millis(1_500)), Timestamp(1_505));
        // The process asks one clock only: what it says is what the first look at the system's gave.
        let (before, first) = (Instant::now(), now());
        let (last, after) = (now(), Instant::now());
        let expected = |moment| CLOCK.wall.plus(Millis(CLOCK.at(moment).0 - CLOCK.wall.0));
        assert!(expected(before) <= first && first <= last && last <= expected(after));
    }

    #[test]
    fn a_state_goes_on_where_it_was_whatever_the_clock_was_set_to() {
        let (clock, now) = (Timestamp(10 * DAY), Timestamp(10 * DAY + 5_000));
        let time = |clock, kept, now| Lead::of(clock, kept, now).time(now);
        // Nothing was set: what went by meanwhile counts.
        assert_eq!(time(clock, Some(clock), now), now);
        assert_eq!(time(clock, None, now), now);
        // Set forward while the process ran.
        let (kept, later) = (Timestamp(11 * DAY), Timestamp(11 * DAY + 5_000));
        assert_eq!(time(clock, Some(kept), later), now);
        // And back again before the next began; or that process was the first to know it.
        for kept in [Some(kept), Some(clock), None] {
            assert_eq!(time(clock, kept, Timestamp(9 * DAY)), clock);
        }
        // From then on it goes by as always.
        let lead = Lead::of(clock, None, Timestamp(9 * DAY));
        assert_eq!(lead.time(Timestamp(9 * DAY + 7)), Timestamp(10 * DAY + 7));
        // A machine that came up in 1970 and was told the time while it ran.
        assert_eq!(time(Timestamp(8_000), Some(clock), now), Timestamp(13_000));
    }

    #[test]
    fn a_clock_that_is_set_is_noticed_and_one_that_drifts_is_not() {
        let at = |wall, time| (Timestamp(wall), Timestamp(time));
        assert!(!was_set(at(1_000, 500), at(61_900, 60_500)));
        assert!(was_set(at(1_000, 500), at(61_000 + DAY, 60_500)));
        assert!(was_set(at(DAY, DAY), at(1_000, DAY + 1_000)));
    }
}
