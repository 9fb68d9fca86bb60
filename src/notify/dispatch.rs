//! The thread that owns the spool: takes events in, hands each receiver's oldest delivery out when
//! it is due, and writes down how it went. It never waits for a receiver.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use super::backoff::Backoff;
use super::event::Event;
use super::message::Message;
use super::receivers::Receivers;
use super::sink::Outcome;
use super::slot::{SPOOL_REST, Slot, earlier};
use super::spool::{Delivery, Spool};
use super::stats::NotifyStats;

/// How long nothing is looked for in the spool where nobody says that there is something.
const LONGEST_SLEEP: Duration = Duration::from_secs(30);

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

pub(super) struct Dispatcher {
    pub spool: Box<dyn Spool>,
    pub slots: Vec<Slot>,
    /// Gives each slot its number.
    pub slots_made: u64,
    pub stats: Arc<NotifyStats>,
    pub patience: Patience,
    pub random: fastrand::Rng,
    /// What nobody gets any more could not be taken out.
    pub unswept: bool,
    /// For the receivers' threads.
    pub back: Sender<Message>,
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
                Ok(Message::Tried { slot, delivery, outcome }) => {
                    self.note(slot, &delivery, outcome, now_ms());
                }
                Ok(Message::Replace(receivers)) => self.replace(receivers),
                Ok(Message::Stop { until }) => stop = Some(until),
                Ok(Message::Wake { permit }) => {
                    drop(permit);
                    // It may have been written for somebody who has gone in the meantime.
                    self.sweep();
                }
                Err(RecvTimeoutError::Timeout) if self.unswept => self.sweep(),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return idle,
            }
        }
    }

    /// From now on these are told.
    pub(super) fn replace(&mut self, receivers: Receivers) {
        let mut before = std::mem::take(&mut self.slots);
        for (spec, client) in receivers.0 {
            let stats = self.stats.sink(&spec.name).unwrap_or_default();
            let known = before.iter().position(|slot| slot.spec.name == spec.name);
            self.slots.push(match known {
                Some(known) => before.swap_remove(known).renewed(spec, client, stats),
                None => {
                    self.slots_made += 1;
                    Slot::new(self.slots_made, spec, client, stats)
                }
            });
        }
        self.sweep();
    }

    /// Takes out what waits for nobody.
    fn sweep(&mut self) {
        let names: Vec<&str> = self.slots.iter().map(|slot| slot.spec.name.as_str()).collect();
        let swept = self.spool.keep_only(&names);
        self.unswept = swept.is_err();
        match swept {
            Ok(0) => {}
            Ok(deliveries) => {
                self.stats.note_discarded(deliveries);
                tracing::warn!(
                    deliveries,
                    "notifications for receivers that are not configured are discarded"
                );
            }
            Err(error) => tracing::warn!(%error, "notifications that nobody gets cannot be discarded"),
        }
    }

    /// Puts an event into the spool, once for each receiver that wants it.
    fn take_in(&mut self, event: &Event, json: &str) {
        for slot in self.slots.iter().filter(|slot| slot.spec.wants(event)) {
            let kept = self.spool.put(&Delivery::new(&slot.spec.name, event, json.to_owned()));
            if kept == Ok(true) {
                continue;
            }
            slot.stats.note_dropped();
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
                None => {
                    let longest = self.patience.backoff.most;
                    match slot.hand_out(&mut *self.spool, longest, now_ms, now, &self.back) {
                        Ok(wait) => wait,
                        Err(error) => {
                            tracing::warn!(sink = slot.spec.name, %error, "notifications wait for the spool");
                            slot.rest_until = Some(now + SPOOL_REST);
                            Some(SPOOL_REST)
                        }
                    }
                }
            };
            next = earlier(next, wait);
        }
        next
    }

    fn note(&mut self, number: u64, delivery: &Delivery, outcome: Outcome, now_ms: u64) {
        // A receiver that has gone meanwhile has left nothing behind.
        let Some(slot) = self.slots.iter_mut().find(|slot| slot.number == number) else { return };
        slot.busy = false;
        let (reason, after) = match outcome {
            Outcome::Delivered => {
                if slot.stats.failing() > 0 {
                    tracing::info!(sink = slot.spec.name, "the receiver of notifications is back");
                }
                slot.stats.note_sent();
                return slot.settle(&delivery.id);
            }
            Outcome::Again { reason, after } => (reason, Some(after)),
            Outcome::Never { reason } => (reason, None),
        };
        let in_a_row = slot.stats.note_attempt_failed();
        let attempts = delivery.attempts.saturating_add(1);
        let age = Duration::from_millis(now_ms.saturating_sub(delivery.created_ms));
        let again = after.filter(|_| attempts < self.patience.attempts && age < self.patience.age);
        let Some(asked) = again else {
            slot.stats.note_failed();
            let (sink, id) = (&slot.spec.name, &delivery.id);
            tracing::error!(sink, id, attempts, reason, "a notification is given up");
            return slot.settle(&delivery.id);
        };
        slot.stats.note_retried();
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

fn now_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
