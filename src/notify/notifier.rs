//! The handle that the rest of the house holds: tells, wakes, counts, stops. None of it waits for a
//! receiver but [`Notifier::stop`], and that only for as long as it is told.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::dispatch::{Dispatcher, Patience};
use super::event::Event;
use super::message::{Message, Permit};
use super::receivers::Receivers;
use super::spec::NotifySpec;
use super::spool::Spool;
use super::stats::NotifyStats;

/// How a notifier works.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// When a delivery is given up.
    pub patience: Patience,
    /// Events that may wait on their way to the spool.
    pub queue: usize,
    /// Bytes of JSON of these.
    pub queue_bytes: usize,
    /// For the waits between attempts; give each process its own.
    pub seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { patience: Patience::default(), queue: 256, queue_bytes: 4 * 1024 * 1024, seed: 0 }
    }
}

/// An event was not taken, since as many wait as may. It is counted as dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the queue of notifications is full")]
pub struct QueueFull;

/// Delivers news. Dropping it stops it without waiting.
#[derive(Debug)]
pub struct Notifier {
    messages: Sender<Message>,
    thread: Option<JoinHandle<bool>>,
    stats: Arc<NotifyStats>,
    specs: Vec<NotifySpec>,
    room: Arc<Room>,
    options: Options,
}

/// What is on its way to the dispatcher.
#[derive(Debug, Default)]
struct Room {
    events: AtomicUsize,
    bytes: AtomicUsize,
    woken: AtomicBool,
}

impl Notifier {
    /// Starts a thread for the spool; each receiver has one from its first delivery on. What the spool
    /// holds from before is delivered too, but for what nobody gets any more.
    ///
    /// # Errors
    /// What the system says where it has no thread.
    pub fn start(receivers: Receivers, spool: Box<dyn Spool>, options: Options) -> io::Result<Self> {
        let (messages, received) = channel();
        let stats = Arc::<NotifyStats>::default();
        stats.replace(receivers.specs().map(|spec| spec.name.as_str()));
        let specs = receivers.specs().cloned().collect();
        let mut dispatcher = Dispatcher {
            spool,
            slots: Vec::new(),
            slots_made: 0,
            stats: Arc::clone(&stats),
            patience: options.patience,
            random: fastrand::Rng::with_seed(options.seed),
            unswept: false,
            back: messages.clone(),
        };
        dispatcher.replace(receivers);
        let thread =
            std::thread::Builder::new().name("notify".to_owned()).spawn(move || dispatcher.run(&received))?;
        let room = Arc::new(Room::default());
        Ok(Self { messages, thread: Some(thread), stats, specs, room, options })
    }

    /// From now on these are told, and nobody else. Who stays, by name, gets what waits for him, at
    /// his new address if he has another one; what waits for others is discarded and counted.
    pub fn replace(&mut self, receivers: Receivers) {
        self.specs = receivers.specs().cloned().collect();
        self.stats.replace(receivers.specs().map(|spec| spec.name.as_str()));
        // A dispatcher that has stopped tells nobody.
        let _ = self.messages.send(Message::Replace(receivers));
    }

    /// Hands an event over, cut to what receivers take. It returns at once.
    ///
    /// # Errors
    /// [`QueueFull`]; the event is then counted as dropped for every receiver that wants it.
    pub fn notify(&self, event: Event) -> Result<(), QueueFull> {
        let event = event.bounded();
        if !self.specs.iter().any(|spec| spec.wants(&event)) {
            return Ok(());
        }
        // An event is plain data, which always has a JSON form.
        let json = serde_json::to_string(&event).unwrap_or_default();
        let Some(permit) = self.permit(json.len()) else {
            for spec in self.specs.iter().filter(|spec| spec.wants(&event)) {
                if let Some(stats) = self.stats.sink(&spec.name) {
                    stats.note_dropped();
                }
            }
            return Err(QueueFull);
        };
        self.messages.send(Message::Event { event: Box::new(event), json, permit }).map_err(|_| QueueFull)
    }

    /// Names of the receivers that an event is to be sent to: for who puts it into a spool himself,
    /// in the transaction of what it tells of, and then calls [`Notifier::wake`].
    pub fn wanted_by(&self, event: &Event) -> impl Iterator<Item = &str> {
        self.specs.iter().filter(|spec| spec.wants(event)).map(|spec| spec.name.as_str())
    }

    /// Says that there may be something new in the spool.
    pub fn wake(&self) {
        if self.room.woken.swap(true, Ordering::AcqRel) {
            return;
        }
        let room = Arc::clone(&self.room);
        let permit = Permit(Some(Box::new(move || room.woken.store(false, Ordering::Release))));
        // A dispatcher that has stopped looks into no spool.
        let _ = self.messages.send(Message::Wake { permit });
    }

    /// What was sent, per receiver.
    pub fn stats(&self) -> &Arc<NotifyStats> {
        &self.stats
    }

    /// Stops: nothing new is taken, what is due is still tried, for `patience` at most. `true`: nothing was
    /// left that could have been delivered. What is left stays in the spool.
    pub fn stop(mut self, patience: Duration) -> bool {
        let now = Instant::now();
        let until = now.checked_add(patience).unwrap_or(now);
        let sent = self.messages.send(Message::Stop { until }).is_ok();
        let finished = self.thread.take().and_then(|thread| thread.join().ok());
        sent && finished.unwrap_or(false)
    }

    fn permit(&self, bytes: usize) -> Option<Permit> {
        let take = |of: &AtomicUsize, add: usize, most: usize| {
            of.fetch_update(Ordering::AcqRel, Ordering::Acquire, |held| {
                held.checked_add(add).filter(|held| *held <= most)
            })
            .is_ok()
        };
        if !take(&self.room.events, 1, self.options.queue) {
            return None;
        }
        if !take(&self.room.bytes, bytes, self.options.queue_bytes) {
            self.room.events.fetch_sub(1, Ordering::AcqRel);
            return None;
        }
        let room = Arc::clone(&self.room);
        Some(Permit(Some(Box::new(move || {
            room.events.fetch_sub(1, Ordering::AcqRel);
            room.bytes.fetch_sub(bytes, Ordering::AcqRel);
        }))))
    }
}

impl Drop for Notifier {
    fn drop(&mut self) {
        if self.thread.is_some() {
            let _ = self.messages.send(Message::Stop { until: Instant::now() });
        }
    }
}
