//! One receiver's thread: takes one delivery at a time, tries it once, and says how it went.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use super::client::{Answer, Client, NoAnswer};
use super::event::Event;
use super::payload::payload;
use super::spec::NotifySpec;
use super::spool::Delivery;

/// How an attempt went.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The receiver has it.
    Delivered,
    /// It may work another time; not before the receiver's wish, if it has one.
    Again { reason: String, after: Option<Duration> },
    /// It will never work.
    Never { reason: String },
}

/// A delivery to be tried.
#[derive(Debug)]
pub(super) struct Job {
    pub delivery: Delivery,
    /// When the attempt is made, in milliseconds since 1970.
    pub now_ms: u64,
}

/// Starts the thread. It ends when the sender is dropped, at the latest a timeout later.
///
/// # Errors
/// What the system says where it has no thread.
pub(super) fn start(
    spec: NotifySpec,
    client: Client,
    tell: impl Fn(Delivery, Outcome) + Send + 'static,
) -> std::io::Result<SyncSender<Job>> {
    // One job at a time is handed out, so that one place is enough.
    let (jobs, taken) = sync_channel(1);
    let work = move || work(&spec, &client, &taken, tell);
    std::thread::Builder::new().name("notify-sink".to_owned()).spawn(work)?;
    Ok(jobs)
}

fn work(spec: &NotifySpec, client: &Client, jobs: &Receiver<Job>, tell: impl Fn(Delivery, Outcome)) {
    while let Ok(job) = jobs.recv() {
        // Whatever a receiver answers must not end the thread: nobody would be told that it has.
        let tried = catch_unwind(AssertUnwindSafe(|| attempt(spec, client, &job)));
        let outcome = tried.unwrap_or_else(|_| Outcome::Again { reason: "a bug".to_owned(), after: None });
        tell(job.delivery, outcome);
    }
}

fn attempt(spec: &NotifySpec, client: &Client, job: &Job) -> Outcome {
    let event: Event = match serde_json::from_str(&job.delivery.event) {
        Ok(event) => event,
        Err(error) => return Outcome::Never { reason: format!("the event cannot be read: {error}") },
    };
    let request = payload(spec, &event, &job.delivery.id, job.now_ms);
    match client.post(&request, false) {
        Ok(answer) => judge(answer),
        Err(NoAnswer::TimedOut) => Outcome::Again { reason: "no answer in time".to_owned(), after: None },
        Err(NoAnswer::Unreachable(reason)) => Outcome::Again { reason, after: None },
        Err(NoAnswer::Unsendable(reason)) => Outcome::Never { reason },
    }
}

/// What an answer means (RFC 9110, sections 15 and 10.2.3; RFC 6585 for 429).
fn judge(answer: Answer) -> Outcome {
    let reason = match answer.text.as_str() {
        "" => format!("answered {}", answer.status),
        text => format!("answered {}: {text}", answer.status),
    };
    match answer.status {
        200..=299 => Outcome::Delivered,
        408 | 425 | 429 | 500..=599 => Outcome::Again { reason, after: answer.retry_after },
        300..=399 => Outcome::Never { reason: format!("{reason} (redirects are not followed)") },
        _ => Outcome::Never { reason },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_pass_is_tried_again_and_what_is_refused_is_not() {
        let judged = |status| judge(Answer { status, retry_after: None, text: "why".to_owned() });
        for status in [200, 201, 202, 204] {
            assert_eq!(judged(status), Outcome::Delivered);
        }
        for status in [408, 425, 429, 500, 502, 503, 504] {
            assert!(matches!(judged(status), Outcome::Again { .. }), "{status}");
        }
        for status in [301, 307, 400, 401, 403, 404, 410, 413, 422] {
            assert!(matches!(judged(status), Outcome::Never { .. }), "{status}");
        }
        let Outcome::Never { reason } = judged(403) else { panic!() };
        assert_eq!(reason, "answered 403: why");
    }

    #[test]
    fn the_wait_that_a_receiver_asks_for_is_handed_on() {
        let after = Some(Duration::from_secs(7));
        let outcome = judge(Answer { status: 503, retry_after: after, text: String::new() });
        assert_eq!(outcome, Outcome::Again { reason: "answered 503".to_owned(), after });
    }
}
