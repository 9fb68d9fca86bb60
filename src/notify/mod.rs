//! Telling others: webhooks, chat, pagers, alert managers, pipelines; and asking gates.
//!
//! [`payload`] says what is sent to whom, and is pure. A [`Notifier`] delivers: what is to be sent
//! lies in a [`Spool`] until its receiver has it, each receiver has a thread of its own, and within
//! one receiver the order is kept. So a receiver that is dead, slow or lying costs itself its news
//! and nobody else anything. [`Gate`]s are asked by whoever waits for the answer. Receivers can be
//! exchanged while it runs ([`Notifier::replace`]).
//!
//! Delivery is at least once: a process that dies between the answer and the note of it sends
//! again, under the same delivery id. Absent: templates of messages, e-mail, and following redirects.

mod backoff;
mod client;
mod dispatch;
mod event;
mod gate;
mod message;
mod notifier;
pub mod payload;
mod receivers;
mod sink;
mod slot;
mod spec;
mod spool;
mod stats;

pub use backoff::Backoff;
pub use client::{Client, ClientError, Transport};
pub use dispatch::Patience;
pub use event::{Event, EventKind, Severity, Signal, Topic};
pub use gate::{Gate, GateAnswer, GateCall};
pub use notifier::{Notifier, Options, QueueFull};
pub use receivers::{Receivers, ReceiversError};
pub use spec::{GITHUB_URL, NotifySpec, OPSGENIE_URL, PAGERDUTY_URL, Receiver, Secret};
pub use spool::{Delivery, MemorySpool, Spool, SpoolError};
pub use stats::{NotifyStats, SinkStats, Sinks};

#[cfg(test)]
mod tests;
