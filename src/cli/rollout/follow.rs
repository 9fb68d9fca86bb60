//! Waiting for a rollout, over streams that break off and sidecars that restart.
//!
//! A rollout goes on whether somebody watches or not, and outlives the process that carries it. So
//! nothing that happens to a connection is an end: it is asked again, until the rollout has come to
//! one, the time is over, or the sidecar has been away for too long.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::control::rollouts::RolloutView;

use super::super::exit::{Exit, Failure};
use super::super::server::{CallError, Server, segment};
use super::outcome::{Until, outcome};
use super::target;

/// Between two attempts: the first is at once, for most streams break off for no reason.
const PAUSES: [Duration; 4] =
    [Duration::ZERO, Duration::from_millis(200), Duration::from_millis(500), Duration::from_secs(1)];

/// How long to wait, and for what.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// What is waited for.
    pub(super) until: Until,
    /// For the whole.
    pub(super) timeout: Option<Duration>,
    /// For a sidecar that does not answer.
    pub(super) away: Duration,
}

/// What came of waiting.
#[derive(Debug)]
pub(super) struct Followed {
    /// The rollout as it was last seen.
    pub(super) view: Option<RolloutView>,
    /// How it ended.
    pub(super) exit: Exit,
    /// What to say beside it.
    pub(super) note: Option<String>,
}

/// Waits for rollout `id`, and shows each view of it to `show`.
pub(super) fn follow(
    server: &Server,
    id: &str,
    patience: &Patience,
    show: &mut dyn FnMut(&RolloutView),
) -> Result<Followed, Failure> {
    let began = Instant::now();
    let (mut last, mut away, mut attempt) = (None::<RolloutView>, None::<Instant>, 0_usize);
    loop {
        let left = patience.timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
        if left.is_some_and(|left| left.is_zero()) && attempt > 0 {
            return Ok(timed_out(id, last, patience));
        }
        match look(server, id, left, patience.until, show) {
            Ok((view, Some(exit))) => return Ok(Followed { view: Some(view), exit, note: None }),
            Ok((view, None)) => {
                last = Some(view);
                (away, attempt) = (None, 1);
            }
            Err(Lost::Call(error)) if error.may_pass() => {
                let since = *away.get_or_insert_with(Instant::now);
                if since.elapsed() >= patience.away {
                    return Ok(Followed {
                        view: last,
                        exit: Exit::Unreachable,
                        note: Some(error.to_string()),
                    });
                }
                attempt += 1;
            }
            Err(Lost::Call(CallError::NotFound(said))) => {
                let note = format!("{said}: it is forgotten if the sidecar restarts without a `store`");
                return Ok(Followed { view: last, exit: Exit::Error, note: Some(note) });
            }
            Err(Lost::Call(error)) => return Err(error.into()),
            Err(Lost::Garbled(failure)) => return Err(failure),
        }
        let pause = PAUSES.get(attempt).or(PAUSES.last()).copied().unwrap_or_default();
        let left = patience.timeout.map(|timeout| timeout.saturating_sub(began.elapsed()));
        std::thread::sleep(left.map_or(pause, |left| pause.min(left)));
    }
}

enum Lost {
    Call(CallError),
    Garbled(Failure),
}

/// Looks once, then reads a stream to its end: the last view, and its code if there is nothing more
/// to wait for.
fn look(
    server: &Server,
    id: &str,
    left: Option<Duration>,
    until: Until,
    show: &mut dyn FnMut(&RolloutView),
) -> Result<(RolloutView, Option<Exit>), Lost> {
    let path = format!("/rollouts/{}", segment(id));
    let view = server.get(&path).map_err(Lost::Call)?;
    let mut view = target::view(view).map_err(Lost::Garbled)?;
    show(&view);
    if let Some(exit) = outcome(&view, until) {
        return Ok((view, Some(exit)));
    }
    if left.is_some_and(|left| left.is_zero()) {
        return Ok((view, None));
    }
    let began = Instant::now();
    // A sidecar with too many watchers still answers those who ask.
    let events = match server.events(&format!("{path}/watch"), left) {
        Ok(events) => events,
        Err(error) if error.may_pass() => return Ok((view, None)),
        Err(error) => return Err(Lost::Call(error)),
    };
    for event in events {
        // What is no view, such as a farewell, changes nothing.
        let told = serde_json::from_str::<Value>(&event.data).ok();
        let Some(told) = told.and_then(|told| target::view(told).ok()) else { continue };
        view = told;
        show(&view);
        let exit = outcome(&view, until);
        if exit.is_some() {
            return Ok((view, exit));
        }
        if left.is_some_and(|left| began.elapsed() >= left) {
            break;
        }
    }
    Ok((view, None))
}

fn timed_out(id: &str, view: Option<RolloutView>, patience: &Patience) -> Followed {
    let waited = patience.timeout.unwrap_or_default().as_secs_f64();
    let phase = view.as_ref().map_or("out of reach", |view| view.phase.as_str());
    let note =
        format!("after {waited} s rollout {id} is {phase}, and goes on: switchback rollout watch {id}");
    Followed { view, exit: Exit::TimedOut, note: Some(note) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::super::server::testing::{Fake, answer, stream};
    use super::super::testing::view;
    use super::*;

    fn told(phase: &str) -> Value {
        serde_json::to_value(view(phase)).unwrap()
    }

    const SHORT: Duration = Duration::from_millis(300);
    const LONG: Duration = Duration::from_secs(60);

    fn wait(fake: &Fake, timeout: Option<Duration>, away: Duration) -> (Vec<String>, Followed) {
        let patience = Patience { until: Until::Promoted, timeout, away };
        let mut phases = Vec::new();
        let mut show = |view: &RolloutView| phases.push(view.phase.clone());
        let followed = follow(&fake.server(), "fraud-1", &patience, &mut show).unwrap();
        (phases, followed)
    }

    #[test]
    fn what_the_stream_says_is_shown_until_the_end() {
        let fake = Fake::start(vec![
            answer(200, &told("Pending")),
            stream(&[told("Running"), json!("noise"), told("RolledBack"), told("Running")]),
        ]);
        let (phases, followed) = wait(&fake, None, LONG);
        assert_eq!(phases, ["Pending", "Running", "RolledBack"]);
        assert_eq!(followed.exit, Exit::RolledBack);
        assert!(fake.requests()[1].starts_with("GET /api/v1/rollouts/fraud-1/watch "));
    }

    #[test]
    fn a_stream_that_breaks_off_and_a_restart_are_waited_out() {
        let fake = Fake::start(vec![
            answer(200, &told("Running")),
            stream(&[told("Running")]),
            // The restart: connections that are cut, and a sidecar that is not ready.
            String::new(),
            answer(503, &json!({"error": "starting"})),
            answer(200, &told("Running")),
            answer(503, &json!({"error": "too many watchers"})),
            answer(200, &told("Succeeded")),
        ]);
        let (phases, followed) = wait(&fake, None, LONG);
        assert_eq!(phases, ["Running", "Running", "Running", "Succeeded"]);
        assert_eq!(followed.exit, Exit::Done);
    }

    #[test]
    fn the_end_of_patience_and_a_sidecar_that_stays_away_are_told_apart() {
        let running = || vec![answer(200, &told("Running")), stream(&[told("Running")])];
        let (_, followed) = wait(&Fake::start(running()), Some(Duration::ZERO), LONG);
        assert_eq!(followed.exit, Exit::TimedOut);
        assert!(followed.note.unwrap().contains("rollout watch fraud-1"));
        // Nobody listens any more once all answers are given.
        let (phases, followed) = wait(&Fake::start(running()), None, SHORT);
        assert_eq!((phases.len(), followed.exit), (2, Exit::Unreachable));
        assert_eq!(followed.view.unwrap().phase, "Running");
    }

    #[test]
    fn a_rollout_that_was_forgotten_and_a_caller_who_may_not_ask_are_not_waited_for() {
        let fake = Fake::start(vec![
            answer(200, &told("Running")),
            stream(&[]),
            answer(404, &json!({"error": "no rollout fraud-1"})),
        ]);
        let (_, followed) = wait(&fake, None, LONG);
        assert_eq!(followed.exit, Exit::Error);
        assert!(followed.note.unwrap().contains("store"));
        let fake = Fake::start(vec![answer(401, &json!({"error": "a token is needed"}))]);
        let patience = Patience { until: Until::Ended, timeout: None, away: Duration::ZERO };
        let failure = follow(&fake.server(), "x", &patience, &mut |_| {}).unwrap_err();
        assert_eq!(failure.exit, Exit::Denied);
    }
}
