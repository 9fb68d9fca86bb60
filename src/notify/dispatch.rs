//! The thread that owns the spool: takes events in, hands each receiver's oldest delivery out when
//! it is due, and writes down how it went. It never waits for a receiver.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::backoff::Backoff;
use super::event::Event;
use super::sink::{Job, Outcome};
use super::spec::NotifySpec;
use super::spool::{Delivery, Spool, SpoolError};
use super::stats::{NotifyStats, SinkStats};

/// How long nothing is looked for in the spool where nobody says that there is something.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);
/// How long a receiver rests whose spool has failed.
const SPOOL_REST: Duration = Duration::from_secs(5);

/// When a delivery is given up, and how long between attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Between attempts.
    pub backoff: Backoff,
    /// Attempts before a delivery is given up.
    pub attempts: u32,
    /// Age at which a delivery is given up.
    pub age: Duration,
}

impl Default for Patience {
    /// About an hour for one delivery whose receiver answers with errors, a day at most.
    fn default() -> Self {
        Self { backoff: Backoff::default(), attempts: 20, age: Duration::from_secs(24 * 3_600) }
    }
}

/// What the dispatcher is told.
pub(super) enum Message {
    /// Something has happened. The permit gives back the room in the queue.
    Event { event: Box<Event>, json: String, permit: Permit },
    /// Something may be due. One of these is under way at a time.
    Wake { permit: Permit },
    /// How an attempt went.
    Tried { sink: usize, delivery: Delivery, outcome: Outcome },
    /// Finish what is due, but not for longer than this.
    Stop { until: Instant },
}

/// Room in the queue; dropping it gives it back.
pub(super) struct Permit(pub Option<Box<dyn FnOnce() + Send>>);

impl Drop for Permit {
    fn drop(&mut self) {
        if let Some(give_back) = self.0.take() {
            give_back();
        }
    }
}

/// One receiver, as the dispatcher sees it.
pub(super) struct Slot {
    pub spec: NotifySpec,
    pub jobs: SyncSender<Job>,
    /// A delivery is with its thread.
    pub busy: bool,
    /// A delivery that is over, but that the spool could not be told of. It must not go out again.
    pub settled: Option<String>,
    /// Nothing is handed out before.
    pub rest_until: Option<Instant>,
}

pub(super) struct Dispatcher {
    pub spool: Box<dyn Spool>,
    pub slots: Vec<Slot>,
    pub stats: Arc<NotifyStats>,
    pub patience: Patience,
    pub random: fastrand::Rng,
}

impl Dispatcher {
    /// Runs until it is stopped. `true`: nothing was under way and nothing was due any more.
    pub(super) fn run(mut self, messages: &Receiver<Message>) -> bool {
        let mut stop: Option<Instant> = None;
        loop {
            let next = self.hand_out(now_ms());
            let idle = self.slots.iter().all(|slot| !slot.busy);
            let mut sleep = next.unwrap_or(LONGEST_SLEEP).min(LONGEST_SLEEP);
            if let Some(until) = stop {
                let left = Instant::now();
                if idle || left >= until {
                    return idle;
                }
                sleep = sleep.min(until.duration_since(left));
            }
            match messages.recv_timeout(sleep) {
                Ok(Message::Event { event, json, permit }) => {
                    self.take_in(&event, &json);
                    drop(permit);
                }
                Ok(Message::Tried { sink, delivery, outcome }) => {
                    self.note(sink, &delivery, outcome, now_ms());
                }
                Ok(Message::Stop { until }) => stop = Some(until),
                Ok(Message::Wake { permit }) => drop(permit),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return idle,
            }
        }
    }

    /// Puts an event into the spool, once for each receiver that wants it.
    fn take_in(&mut self, event: &Event, json: &str) {
        for slot in self.slots.iter().filter(|slot| slot.spec.wants(event)) {
            let kept = self.spool.put(&Delivery::new(&slot.spec.name, event, json.to_owned()));
            if kept == Ok(true) {
                continue;
            }
            if let Some(stats) = self.stats.sink(&slot.spec.name) {
                stats.note_dropped();
            }
            let reason = kept.err().map_or_else(|| "the spool is full".to_owned(), |error| error.to_string());
            let kind = event.kind.as_str();
            tracing::warn!(sink = slot.spec.name, event = kind, reason, "a notification is lost");
        }
    }

    /// Hands out what is due; says after how long something else will be.
    fn hand_out(&mut self, now_ms: u64) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        let now = Instant::now();
        for slot in self.slots.iter_mut().filter(|slot| !slot.busy) {
            let resting = slot.rest_until.map(|until| until.saturating_duration_since(now));
            let wait = match resting.filter(|left| !left.is_zero()) {
                Some(left) => Some(left),
                None => match hand_out(&mut *self.spool, slot, self.patience.backoff.most, now_ms) {
                    Ok(wait) => wait,
                    Err(error) => {
                        tracing::warn!(sink = slot.spec.name, %error, "notifications wait for the spool");
                        slot.rest_until = Some(now + SPOOL_REST);
                        Some(SPOOL_REST)
                    }
                },
            };
            next = match (next, wait) {
                (Some(a), Some(b)) => Some(a.min(b)),
                (a, b) => a.or(b),
            };
        }
        next
    }

    fn note(&mut self, sink: usize, delivery: &Delivery, outcome: Outcome, now_ms: u64) {
        let Some(slot) = self.slots.get_mut(sink) else { return };
        let Some(stats) = self.stats.sink(&slot.spec.name) else { return };
        slot.busy = false;
        let (reason, after) = match outcome {
            Outcome::Delivered => {
                if stats.failing() > 0 {
                    tracing::info!(sink = slot.spec.name, "the receiver of notifications is back");
                }
                stats.note_sent();
                slot.settled = Some(delivery.id.clone());
                return;
            }
            Outcome::Again { reason, after } => (reason, Some(after)),
            Outcome::Never { reason } => (reason, None),
        };
        let in_a_row = stats.note_attempt_failed();
        let attempts = delivery.attempts.saturating_add(1);
        let age = Duration::from_millis(now_ms.saturating_sub(delivery.created_ms));
        let again = after.filter(|_| attempts < self.patience.attempts && age < self.patience.age);
        let Some(asked) = again else {
            give_up(slot, stats, delivery, attempts, &reason);
            return;
        };
        stats.note_retried();
        if in_a_row == 1 {
            tracing::warn!(sink = slot.spec.name, reason, "a receiver of notifications fails");
        }
        let wait = self.patience.backoff.wait(attempts, asked, self.random.f64());
        let wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        if let Err(error) = self.spool.failed(&delivery.id, now_ms.saturating_add(wait_ms)) {
            tracing::warn!(sink = slot.spec.name, %error, "notifications wait for the spool");
            slot.rest_until = Some(Instant::now() + wait.max(SPOOL_REST));
        }
    }
}

fn give_up(slot: &mut Slot, stats: &SinkStats, delivery: &Delivery, attempts: u32, reason: &str) {
    stats.note_failed();
    let (sink, id) = (&slot.spec.name, &delivery.id);
    tracing::error!(sink, id, attempts, reason, "a notification is given up");
    slot.settled = Some(id.clone());
}

/// Hands out the oldest delivery of a receiver if it is due; otherwise says how long it waits.
fn hand_out(
    spool: &mut dyn Spool,
    slot: &mut Slot,
    longest_wait: Duration,
    now_ms: u64,
) -> Result<Option<Duration>, SpoolError> {
    if let Some(id) = &slot.settled {
        spool.done(id)?;
        slot.settled = None;
    }
    slot.rest_until = None;
    let Some(delivery) = spool.due(&slot.spec.name)? else { return Ok(None) };
    let wait = Duration::from_millis(delivery.next_ms.saturating_sub(now_ms));
    // A wait longer than any that we ever set is that of a clock that was put back.
    if !wait.is_zero() && wait <= longest_wait {
        return Ok(Some(wait));
    }
    // A thread that is gone takes nothing; then nothing can be done but to try later.
    match slot.jobs.try_send(Job { delivery, now_ms }) {
        Ok(()) => {
            slot.busy = true;
            Ok(None)
        }
        Err(_) => Err(SpoolError("the receiver's thread is gone".to_owned())),
    }
}

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
