//! The handle that the rest of the house holds: tells, wakes, counts, stops. None of it waits for a
//! receiver but [`Notifier::stop`], and that only for as long as it is told.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{Client, ClientError, Transport};
use super::dispatch::{Dispatcher, Message, Patience, Permit, Slot};
use super::event::Event;
use super::sink;
use super::spec::NotifySpec;
use super::spool::Spool;
use super::stats::NotifyStats;

/// Receivers that there may be; each has a thread.
const RECEIVERS: usize = 32;

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

/// A notifier could not be started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// Two receivers have one name.
    #[error("two receivers of notifications are called {0:?}")]
    SameName(String),
    /// There are too many receivers.
    #[error("{count} receivers of notifications; there may be {RECEIVERS}")]
    TooMany {
        /// How many there are.
        count: usize,
    },
    /// A receiver's file of authorities is of no use.
    #[error("receiver {name:?}: {error}")]
    Client {
        /// The receiver.
        name: String,
        /// What is wrong.
        error: ClientError,
    },
    /// The system has no thread.
    #[error("no thread for notifications: {0}")]
    Thread(#[from] io::Error),
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
    /// Starts a thread for the spool and one for each receiver. What the spool holds from before is
    /// delivered too.
    ///
    /// # Errors
    /// [`StartError`]; no thread is left behind then.
    pub fn start(
        specs: Vec<NotifySpec>,
        spool: Box<dyn Spool>,
        options: Options,
    ) -> Result<Self, StartError> {
        if specs.len() > RECEIVERS {
            return Err(StartError::TooMany { count: specs.len() });
        }
        let mut names = BTreeSet::new();
        if let Some(twice) = specs.iter().find(|spec| !names.insert(spec.name.as_str())) {
            return Err(StartError::SameName(twice.name.clone()));
        }
        let (messages, received) = channel();
        let mut slots = Vec::with_capacity(specs.len());
        for (index, spec) in specs.iter().enumerate() {
            let transport = Transport {
                timeout: spec.timeout,
                ca: spec.ca.clone(),
                environment_proxy: spec.environment_proxy,
            };
            let client = Client::new(&transport)
                .map_err(|error| StartError::Client { name: spec.name.clone(), error })?;
            let back = messages.clone();
            let tell = move |delivery, outcome| {
                // Nobody is there to be told once the dispatcher has stopped.
                let _ = back.send(Message::Tried { sink: index, delivery, outcome });
            };
            let jobs = sink::start(spec.clone(), client, tell)?;
            slots.push(Slot { spec: spec.clone(), jobs, busy: false, settled: None, rest_until: None });
        }
        let stats = Arc::new(NotifyStats::new(specs.iter().map(|spec| spec.name.as_str())));
        let dispatcher = Dispatcher {
            spool,
            slots,
            stats: Arc::clone(&stats),
            patience: options.patience,
            random: fastrand::Rng::with_seed(options.seed),
        };
        let thread =
            std::thread::Builder::new().name("notify".to_owned()).spawn(move || dispatcher.run(&received))?;
        let room = Arc::new(Room::default());
        Ok(Self { messages, thread: Some(thread), stats, specs, room, options })
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
