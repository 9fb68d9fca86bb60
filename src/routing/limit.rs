//! How many requests may be under way at one time: a fixed number, one that follows latency, or
//! the lower of both.
//!
//! A limiter belongs to a model or a version and is shared by all workers, so that the number means
//! the same however connections fall on them. Who comes last in importance is turned away first:
//! copies for shadows above 80 % of a limit, of a model's limit canaries above 90 %.
//!
//! The adaptive limit is a gradient (Netflix' *Gradient2*, which Envoy's users know as adaptive
//! concurrency, here without probing phases): each window's mean time to the head of an answer is
//! compared with the mean over many windows. As long as they agree the limit grows by its square
//! root; as requests queue somewhere and take longer, it shrinks in proportion.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use tokio::time::Instant;

use super::spec::{AdaptiveSpec, LimitSpec};
use crate::base::Role;

/// Shortest window, in milliseconds.
const WINDOW: u64 = 100;
/// Fewest answers in a window.
const FEWEST: u64 = 20;
/// Weight of a new window in the limit.
const SMOOTH: f64 = 0.2;
/// Weight of a new window in the usual time: of a faster one; of a slower one while there is room;
/// and while there is none, when it may be slower because of the queue that the limit allows.
const FASTER: f64 = 0.2;
const SLOWER: f64 = 0.02;
const CROWDED: f64 = 0.000_2;

/// Limits the requests that are under way for a model or a version.
#[derive(Debug)]
pub struct Limiter {
    spec: LimitSpec,
    under_way: AtomicUsize,
    /// The limit of now.
    limit: AtomicUsize,
    /// Answers of the present window, and their times in nanoseconds.
    answers: AtomicU64,
    nanos: AtomicU64,
    /// When the window may end, in milliseconds since `epoch`.
    ends: AtomicU64,
    /// The limit with its fraction, and the usual time in nanoseconds: bits of `f64`.
    exact: AtomicU64,
    usual: AtomicU64,
    /// When a live request was turned away last, in milliseconds since `epoch`, and one.
    refused: AtomicU64,
    epoch: Instant,
}

/// How important a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Importance {
    /// A copy for a shadow.
    Shadow,
    /// A request for a version other than stable.
    Canary,
    /// A request for stable.
    Stable,
}

impl Importance {
    /// That of a live request for a version in `role`.
    pub fn of(role: Role) -> Self {
        if role == Role::Stable { Self::Stable } else { Self::Canary }
    }

    /// Hundredths of a limit up to which it is let in.
    fn share(self) -> usize {
        match self {
            Self::Shadow => 80,
            Self::Canary => 90,
            Self::Stable => 100,
        }
    }
}

/// The right of one request to be under way. Dropping it gives it back.
#[derive(Debug)]
pub struct Permit {
    limiter: Arc<Limiter>,
    /// Until the head of an answer has come.
    asked: Option<Instant>,
}

impl Limiter {
    /// Nothing is under way yet.
    pub fn new(spec: LimitSpec) -> Arc<Self> {
        let initial =
            spec.adaptive.as_ref().map(|adaptive| adaptive.initial.clamp(adaptive.min, adaptive.max));
        let first = initial.unwrap_or(usize::MAX).min(spec.max.unwrap_or(usize::MAX)).max(1);
        Arc::new(Self {
            spec,
            under_way: AtomicUsize::new(0),
            limit: AtomicUsize::new(first),
            answers: AtomicU64::new(0),
            nanos: AtomicU64::new(0),
            ends: AtomicU64::new(WINDOW),
            exact: AtomicU64::new((first as f64).to_bits()),
            usual: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            epoch: Instant::now(),
        })
    }

    /// What it was made from.
    pub fn spec(&self) -> &LimitSpec {
        &self.spec
    }

    /// The limit of now.
    pub fn limit(&self) -> usize {
        self.limit.load(Relaxed)
    }

    /// Requests under way.
    pub fn under_way(&self) -> usize {
        self.under_way.load(Relaxed)
    }

    /// Whether a request of this importance would be let in now.
    pub fn has_room(&self, importance: Importance) -> bool {
        self.under_way() < ceiling(self.limit(), importance)
    }

    /// Lets a request in, or not.
    pub fn enter(self: &Arc<Self>, importance: Importance) -> Option<Permit> {
        let before = self.under_way.fetch_add(1, Relaxed);
        if before >= ceiling(self.limit(), importance) {
            self.under_way.fetch_sub(1, Relaxed);
            if importance > Importance::Shadow {
                self.refused.store(self.now() + 1, Relaxed);
            }
            return None;
        }
        Some(Permit { limiter: self.clone(), asked: Some(Instant::now()) })
    }

    /// Whether a live request was turned away within the last `span`.
    fn refused_within(&self, span: Duration) -> bool {
        let span = u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let refused = self.refused.load(Relaxed);
        refused > 0 && self.now().saturating_sub(refused) <= span
    }

    fn now(&self) -> u64 {
        u64::try_from(self.epoch.elapsed().as_millis()).unwrap_or(u64::MAX - 1)
    }

    /// Takes note of the time that an answer took.
    fn answered(&self, took: Duration) {
        let Some(adaptive) = &self.spec.adaptive else { return };
        self.nanos.fetch_add(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        if self.answers.fetch_add(1, Relaxed) + 1 < FEWEST {
            return;
        }
        let now = self.now();
        let ends = self.ends.load(Relaxed);
        // One worker closes the window; an answer that another counts meanwhile falls in either.
        if now < ends || self.ends.compare_exchange(ends, now + WINDOW, Relaxed, Relaxed).is_err() {
            return;
        }
        let answers = self.answers.swap(0, Relaxed).max(1);
        let mean = self.nanos.swap(0, Relaxed) as f64 / answers as f64;
        let old = Estimate {
            limit: f64::from_bits(self.exact.load(Relaxed)),
            usual: f64::from_bits(self.usual.load(Relaxed)),
        };
        let new = old.after(mean, self.under_way(), adaptive);
        self.exact.store(new.limit.to_bits(), Relaxed);
        self.usual.store(new.usual.to_bits(), Relaxed);
        // Rounding down a number between 1 and what a `usize` holds.
        let whole = (new.limit as usize).clamp(adaptive.min.max(1), adaptive.max.max(1));
        self.limit.store(whole.min(self.spec.max.unwrap_or(usize::MAX)), Relaxed);
    }
}

/// How many may be under way when one more of this importance is let in.
fn ceiling(limit: usize, importance: Importance) -> usize {
    match importance.share() {
        100 => limit,
        share => limit.saturating_mul(share).div_ceil(100).max(1),
    }
}

/// What the adaptive limit knows.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Estimate {
    limit: f64,
    /// Zero before the first window.
    usual: f64,
}

impl Estimate {
    /// What it knows after a window with this mean time, and so many requests under way at its end.
    fn after(self, mean: f64, under_way: usize, spec: &AdaptiveSpec) -> Self {
        if self.usual <= 0.0 {
            return Self { usual: mean, ..self };
        }
        let has_room = (under_way as f64) < self.limit / 2.0;
        let weight = match mean < self.usual {
            true => FASTER,
            false if has_room => SLOWER,
            false => CROWDED,
        };
        let usual = self.usual * (1.0 - weight) + mean * weight;
        // A limit that nobody comes near says nothing about what would be too many.
        if has_room && mean <= spec.tolerance * usual {
            return Self { usual, ..self };
        }
        let gradient = (spec.tolerance * usual / mean.max(1.0)).clamp(0.5, 1.0);
        let aim = self.limit * gradient + self.limit.sqrt();
        let limit = self.limit * (1.0 - SMOOTH) + aim * SMOOTH;
        Self { limit: limit.clamp(spec.min as f64, spec.max as f64), usual }
    }
}

impl Permit {
    /// Whether somebody was turned away within the last `span` because there was no other.
    pub fn is_wanted(&self, span: Duration) -> bool {
        self.limiter.refused_within(span)
    }

    /// The head of the answer has come. `whole` is when the last of the request had come, if its client was
    /// waited for: a slow client says nothing about who answers.
    pub fn answered(&mut self, whole: Option<Instant>) {
        if let Some(asked) = self.asked.take() {
            self.limiter.answered(whole.map_or(asked, |whole| whole.max(asked)).elapsed());
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        self.limiter.under_way.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fixed(max: usize) -> Arc<Limiter> {
        Limiter::new(LimitSpec { max: Some(max), adaptive: None })
    }

    fn fill(limiter: &Arc<Limiter>, importance: Importance) -> Vec<Permit> {
        std::iter::from_fn(|| limiter.enter(importance)).collect()
    }

    #[tokio::test]
    async fn the_least_important_are_turned_away_first() {
        let limiter = fixed(100);
        let shadows = fill(&limiter, Importance::Shadow);
        let canaries = fill(&limiter, Importance::Canary);
        assert!(!limiter.has_room(Importance::Canary) && limiter.has_room(Importance::Stable));
        let stables = fill(&limiter, Importance::Stable);
        assert_eq!((shadows.len(), canaries.len(), stables.len()), (80, 10, 10));
        drop(stables);
        assert_eq!(limiter.under_way(), 90);
        drop((shadows, canaries));
        assert_eq!(limiter.under_way(), 0);
    }

    #[tokio::test]
    async fn a_small_limit_still_lets_each_kind_in() {
        for max in 1..=4 {
            for importance in [Importance::Shadow, Importance::Canary, Importance::Stable] {
                assert!(!fill(&fixed(max), importance).is_empty(), "{max} {importance:?}");
            }
        }
    }

    /// What the limit becomes before a server that works on 100 requests at one time, 10 ms on each,
    /// while more come than it can take.
    fn settled(windows: usize) -> f64 {
        let spec = AdaptiveSpec { max: 5_000, ..AdaptiveSpec::default() };
        let mut now = Estimate { limit: 20.0, usual: 0.0 };
        for _ in 0..windows {
            let mean = 10e6 * (now.limit / 100.0).max(1.0);
            now = now.after(mean, now.limit as usize, &spec);
        }
        now.limit
    }

    #[test]
    fn the_limit_grows_to_what_a_server_can_take_and_stays_near_it() {
        assert!((120.0..200.0).contains(&settled(300)), "{}", settled(300));
        // Five minutes of overload in which nothing else is to be learnt.
        assert!((120.0..300.0).contains(&settled(3_000)), "{}", settled(3_000));
    }

    #[tokio::test(start_paused = true)]
    async fn answers_move_the_limit_window_by_window() {
        let limiter = Limiter::new(LimitSpec { max: Some(30), adaptive: Some(AdaptiveSpec::default()) });
        assert_eq!(limiter.limit(), 20);
        for _ in 0..50 {
            let _permits = fill(&limiter, Importance::Stable);
            tokio::time::advance(Duration::from_millis(WINDOW)).await;
            // Twice as many answers as a window needs, whatever the limit.
            for _ in 0..2 * FEWEST {
                limiter.answered(Duration::from_millis(10));
            }
        }
        assert_eq!(limiter.limit(), 30, "it grows while latency stays, and not above the fixed limit");
    }

    #[tokio::test(start_paused = true)]
    async fn clients_that_send_slowly_do_not_lower_the_limit() {
        let spec = || LimitSpec { max: None, adaptive: Some(AdaptiveSpec::default()) };
        let (slow_clients, slow_server) = (Limiter::new(spec()), Limiter::new(spec()));
        for took in [10, 500, 500, 500, 500] {
            for (limiter, is_client) in [(&slow_clients, true), (&slow_server, false)] {
                let mut permits = fill(limiter, Importance::Stable);
                tokio::time::advance(Duration::from_millis(took)).await;
                let whole = is_client.then(Instant::now);
                tokio::time::advance(Duration::from_millis(10)).await;
                permits.iter_mut().for_each(|permit| permit.answered(whole));
                // A window takes so many, also where fewer may be under way by now.
                for _ in permits.len() as u64..FEWEST {
                    limiter.answered(Duration::from_millis(took + 10));
                }
            }
        }
        assert!(slow_server.limit() < 20, "{}", slow_server.limit());
        assert!(slow_clients.limit() > 20, "{}", slow_clients.limit());
    }

    #[test]
    fn it_falls_when_answers_take_longer_and_recovers() {
        let spec = AdaptiveSpec::default();
        let mut now = Estimate { limit: 100.0, usual: 0.0 };
        now = now.after(10e6, 100, &spec);
        assert_eq!(now, Estimate { limit: 100.0, usual: 10e6 });
        for _ in 0..10 {
            now = now.after(100e6, 100, &spec);
        }
        assert!(now.limit < 60.0, "{now:?}");
        for _ in 0..200 {
            now = now.after(10e6, 1_000, &spec);
        }
        assert!(now.limit > 200.0, "{now:?}");
        // Nobody comes near it: it does not grow.
        let idle = now.after(10e6, 3, &spec);
        assert!((idle.limit - now.limit).abs() < f64::EPSILON);
        let mut least = now;
        for _ in 0..200 {
            least = least.after(100.0 * least.usual, 1_000, &spec);
        }
        assert!((least.limit - spec.min as f64).abs() < 2.5, "{least:?}");
    }
}
