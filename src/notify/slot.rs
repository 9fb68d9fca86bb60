//! One receiver, as the dispatcher sees it: what is with it, and what is over but still written down.

use std::sync::Arc;
use std::sync::mpsc::{Sender, SyncSender, TrySendError};
use std::time::{Duration, Instant};

use super::client::Client;
use super::message::Message;
use super::sink::{self, Job};
use super::spec::NotifySpec;
use super::spool::{Spool, SpoolError};
use super::stats::SinkStats;

/// How long a receiver rests whose spool has failed.
pub(super) const SPOOL_REST: Duration = Duration::from_secs(5);
/// Deliveries that are over and that the spool could not be told of. With more of them a receiver
/// waits for the spool.
const SETTLED: usize = 256;

/// One receiver.
pub(super) struct Slot {
    /// The same as long as a receiver of this name is there.
    pub number: u64,
    pub spec: NotifySpec,
    pub stats: Arc<SinkStats>,
    client: Client,
    /// The way to its thread, once it has been told something.
    jobs: Option<SyncSender<Job>>,
    /// A delivery is with its thread.
    pub busy: bool,
    /// Deliveries that are over, but that the spool could not be told of. None of them goes out again,
    /// and what came later goes past them.
    settled: Vec<String>,
    /// The spool is not told of these before.
    settle_again: Option<Instant>,
    /// Nothing is handed out before.
    pub rest_until: Option<Instant>,
    /// What waits is tried at once: nobody knows yet whether it would fail again at this address.
    at_once: bool,
}

impl Slot {
    pub(super) fn new(number: u64, spec: NotifySpec, client: Client, stats: Arc<SinkStats>) -> Self {
        Self {
            number,
            spec,
            stats,
            client,
            jobs: None,
            busy: false,
            settled: Vec::new(),
            settle_again: None,
            rest_until: None,
            at_once: true,
        }
    }

    /// The same receiver under another configuration. What is under way ends under the old one.
    pub(super) fn renewed(self, spec: NotifySpec, client: Client, stats: Arc<SinkStats>) -> Self {
        Self {
            at_once: self.spec != spec,
            rest_until: self.rest_until.filter(|_| self.spec == spec),
            spec,
            stats,
            client,
            jobs: None,
            ..self
        }
    }

    /// A delivery is over.
    pub(super) fn settle(&mut self, id: &str) {
        self.settled.push(id.to_owned());
    }

    /// Tells the spool what is over. Where it does not take that, as on a full disk, it is told
    /// again later: only with too many of them nothing goes on.
    fn forget(&mut self, spool: &mut dyn Spool, now: Instant) -> Result<(), SpoolError> {
        let is_early = self.settle_again.is_some_and(|again| again > now);
        if is_early && self.settled.len() < SETTLED {
            return Ok(());
        }
        while let Some(id) = self.settled.first() {
            if let Err(error) = spool.done(id) {
                if self.settle_again.is_none() {
                    tracing::warn!(sink = self.spec.name, %error, "what was delivered stays in the spool for now");
                }
                self.settle_again = Some(now + SPOOL_REST);
                return if self.settled.len() < SETTLED { Ok(()) } else { Err(error) };
            }
            self.settled.remove(0);
        }
        self.settle_again = None;
        Ok(())
    }

    /// Hands out the oldest delivery if it is due; otherwise says how long it waits.
    pub(super) fn hand_out(
        &mut self,
        spool: &mut dyn Spool,
        longest_wait: Duration,
        now_ms: u64,
        now: Instant,
        back: &Sender<Message>,
    ) -> Result<Option<Duration>, SpoolError> {
        self.forget(spool, now)?;
        self.rest_until = None;
        let settle = self.settle_again.map(|again| again.saturating_duration_since(now));
        let Some(delivery) = spool.due(&self.spec.name, &self.settled)? else { return Ok(settle) };
        let wait = Duration::from_millis(delivery.next_ms.saturating_sub(now_ms));
        let at_once = std::mem::take(&mut self.at_once);
        // A wait longer than any that we ever set is that of a clock that was put back.
        if !wait.is_zero() && wait <= longest_wait && !at_once {
            return Ok(earlier(Some(wait), settle));
        }
        self.send(Job { delivery, now_ms }, back)?;
        Ok(None)
    }

    fn send(&mut self, job: Job, back: &Sender<Message>) -> Result<(), SpoolError> {
        let jobs = match self.jobs.take() {
            Some(jobs) => jobs,
            None => self.start(back).map_err(|error| SpoolError(format!("no thread to send: {error}")))?,
        };
        match jobs.try_send(job) {
            Ok(()) => {
                self.busy = true;
                self.jobs = Some(jobs);
                Ok(())
            }
            // Another one is started the next time.
            Err(TrySendError::Full(_) | TrySendError::Disconnected(_)) => {
                Err(SpoolError("the receiver's thread is gone".to_owned()))
            }
        }
    }

    fn start(&self, back: &Sender<Message>) -> std::io::Result<SyncSender<Job>> {
        let (slot, back) = (self.number, back.clone());
        sink::start(self.spec.clone(), self.client.clone(), move |delivery, outcome| {
            // Nobody is there to be told once the dispatcher has stopped.
            let _ = back.send(Message::Tried { slot, delivery, outcome });
        })
    }
}

/// The shorter of two waits, where there are any.
pub(super) fn earlier(one: Option<Duration>, other: Option<Duration>) -> Option<Duration> {
    match (one, other) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}
