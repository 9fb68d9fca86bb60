//! A whole test: one run, or a search of many, and the result.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::drive::{Counted, DriveError, Moment, Plan, Stop, drive};
use super::prepare::{PrepareError, Prepared};
use super::resources::Watcher;
use super::result::{Outcome, RunResult, SearchResult, TryResult, result};
use super::schedule::{Arrivals, Profile, Schedule, Stage};
use super::search::{Found, Next, Search, Try};
use super::spec::{ArrivalSpec, FindMaxSpec, LoadSpec, Scenario};

/// What happens meanwhile, for whoever looks.
#[derive(Debug)]
pub enum Progress<'a> {
    /// A search begins a try.
    Try {
        /// Which one, from 1.
        number: usize,
        /// Requests per second.
        rate: f64,
        /// Whether it confirms what has held.
        confirms: bool,
    },
    /// Numbers of the run under way.
    Moment(&'a Moment),
    /// A try is over.
    Tried(&'a TryResult),
}

/// Why a test did not come to a result.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// It cannot begin.
    #[error(transparent)]
    Prepare(#[from] PrepareError),
    /// The system has no room for it.
    #[error(transparent)]
    Drive(#[from] DriveError),
    /// A process cannot be watched.
    #[error("{0}")]
    Resource(String),
}

/// A result, and the counts it was made from.
#[derive(Debug)]
pub struct Ran {
    /// The result.
    pub result: RunResult,
    /// The counts of the last run.
    pub counted: Counted,
}

/// Whether a test stays within the number of requests that it may send; a search is stopped when
/// it has sent them.
///
/// # Errors
/// [`PrepareError::TooMany`].
pub fn affordable(scenario: &Scenario) -> Result<(), PrepareError> {
    let LoadSpec::Open { stages, arrivals } = &scenario.load else { return Ok(()) };
    let schedule = schedule(scenario, stages, arrivals, scenario.warmup);
    let (requests, most) = (schedule.requests(), scenario.limits.max_requests);
    match requests > most as f64 {
        true => Err(PrepareError::TooMany { requests, most }),
        false => Ok(()),
    }
}

/// The plan of an open loop, with its warm-up in front.
fn schedule(scenario: &Scenario, stages: &[Stage], arrivals: &ArrivalSpec, warmup: Duration) -> Schedule {
    // The rate is each target's.
    let times = scenario.targets.len().max(1) as f64;
    let first = stages.first().map_or(0.0, |stage| stage.from);
    let warm = Stage { from: first, to: first, duration: warmup };
    let all: Vec<Stage> = std::iter::once(warm)
        .chain(stages.iter().copied())
        .map(|stage| Stage { from: stage.from * times, to: stage.to * times, ..stage })
        .collect();
    let arrivals = match arrivals {
        ArrivalSpec::Constant => Arrivals::Constant,
        ArrivalSpec::Poisson => Arrivals::Poisson,
        ArrivalSpec::Trace(times) => Arrivals::Trace(Arc::clone(times)),
    };
    Schedule { profile: Profile::new(&all), arrivals, seed: scenario.seed }
}

/// Runs the test. Blocks until it is over; not to be called from within a runtime.
///
/// # Errors
/// [`RunError`], when there is no result at all. Everything that a server does wrong is in the
/// result.
pub fn run(
    prepared: &Arc<Prepared>,
    stop: &Stop,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Ran, RunError> {
    let scenario = &prepared.scenario;
    affordable(scenario)?;
    super::resources::check(&scenario.resources).map_err(RunError::Resource)?;
    let mut ran = match &scenario.load {
        LoadSpec::Open { stages, arrivals } => {
            // A trace has no warm-up in it: its first requests are not measured.
            let plan = schedule(scenario, stages, arrivals, scenario.warmup);
            let seconds = plan.duration().saturating_sub(scenario.warmup).as_secs_f64();
            let requests: f64 = match arrivals {
                ArrivalSpec::Trace(times) => times.iter().filter(|at| **at >= scenario.warmup).count() as f64,
                _ => Profile::new(stages).requests() * scenario.targets.len() as f64,
            };
            let rate = requests / seconds.max(1e-3) / scenario.targets.len().max(1) as f64;
            one(prepared, Plan::Open(plan), scenario.warmup, Some(rate), stop, watch)?
        }
        LoadSpec::Closed { clients, duration } => {
            let plan = Plan::Closed { clients: *clients, duration: *duration + scenario.warmup };
            one(prepared, plan, scenario.warmup, None, stop, watch)?
        }
        LoadSpec::FindMax(spec) => find_max(prepared, spec, stop, watch)?,
    };
    ran.result.remarks.extend(prepared.remarks.iter().cloned());
    Ok(ran)
}

fn one(
    prepared: &Arc<Prepared>,
    plan: Plan,
    warmup: Duration,
    rate: Option<f64>,
    stop: &Stop,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Ran, RunError> {
    let scenario = &prepared.scenario;
    let seconds = plan.duration().saturating_sub(warmup).as_secs_f64();
    let watcher =
        Watcher::start(&scenario.resources, Instant::now() + warmup, seconds).map_err(DriveError::from)?;
    let counted = drive(prepared, plan, warmup, stop, &mut |moment| watch(Progress::Moment(moment)))?;
    let result = result(scenario, &counted, watcher.finish(), rate);
    Ok(Ran { result, counted })
}

fn find_max(
    prepared: &Arc<Prepared>,
    spec: &FindMaxSpec,
    stop: &Stop,
    watch: &mut dyn FnMut(Progress<'_>),
) -> Result<Ran, RunError> {
    let scenario = &prepared.scenario;
    let mut search = Search::new(spec);
    let mut tries: Vec<TryResult> = Vec::new();
    // What is shown in the end: the last run that held, or else the last one.
    let mut best: Option<Ran> = None;
    let mut sent = 0_u64;
    let found = loop {
        let (rate, confirms) = match search.next() {
            Next::Probe(rate) => (rate, false),
            Next::Confirm(rate) => (rate, true),
            Next::Over(found) => break Some(found),
        };
        watch(Progress::Try { number: tries.len() + 1, rate, confirms });
        let stages = [Stage { from: rate, to: rate, duration: spec.probe }];
        let arrivals = if spec.poisson { ArrivalSpec::Poisson } else { ArrivalSpec::Constant };
        let mut plan = schedule(scenario, &stages, &arrivals, scenario.warmup);
        // A run that confirms is another sample, not the same one again.
        plan.seed = scenario.seed.wrapping_add(tries.len() as u64);
        if sent as f64 + plan.requests() > scenario.limits.max_requests as f64 {
            break None;
        }
        let ran = one(prepared, Plan::Open(plan), scenario.warmup, Some(rate), stop, watch)?;
        sent += ran.counted.sent;
        let tried = tried(rate, confirms, &ran.result);
        watch(Progress::Tried(&tried));
        let outcome = tried.outcome;
        tries.push(tried);
        let holds = outcome == Outcome::Pass;
        if holds || best.as_ref().is_none_or(|best| best.result.outcome != Outcome::Pass) {
            best = Some(ran);
        }
        if outcome == Outcome::Interrupted {
            break None;
        }
        search.note(match outcome {
            Outcome::Pass => Try::Held,
            Outcome::Invalid => Try::Beyond,
            Outcome::Inconclusive => Try::Unclear,
            Outcome::Fail | Outcome::Interrupted => Try::Failed,
        });
    };
    let Some(mut ran) = best else {
        let (requests, most) = (spec.from * spec.probe.as_secs_f64(), scenario.limits.max_requests);
        return Err(PrepareError::TooMany { requests, most }.into());
    };
    let (rate, outcome, sentence) = conclusion(found, stop.is_asked(), &tries, spec);
    ran.result.outcome = outcome;
    ran.result.search = Some(SearchResult { rate, sentence, tries });
    Ok(ran)
}

fn tried(rate: f64, confirms: bool, result: &RunResult) -> TryResult {
    let requests: u64 = result.targets.iter().map(|target| target.all.requests).sum();
    let failed: u64 = result.targets.iter().map(|target| target.all.failed).sum();
    // Of two targets, the slower one.
    let p99s: Option<Vec<f64>> = result.targets.iter().map(|target| target.all.latency.p99).collect();
    TryResult {
        rate,
        confirms,
        outcome: result.outcome,
        p99: p99s.map(|all| all.into_iter().fold(0.0, f64::max)),
        errors: failed as f64 / requests.max(1) as f64,
    }
}

/// The rate that was found, what that comes to, and a sentence.
fn conclusion(
    found: Option<Found>,
    interrupted: bool,
    tries: &[TryResult],
    spec: &FindMaxSpec,
) -> (Option<f64>, Outcome, String) {
    let held = tries.iter().rev().find(|one| one.outcome == Outcome::Pass).map(|one| one.rate);
    let times = spec.confirmations + 1;
    match found {
        Some(Found::Rate(rate)) => (
            Some(rate),
            Outcome::Pass,
            format!(
                "{rate:.1} requests/s hold the goals, {times} runs out of {times}; {:.0}% more do not",
                100.0 * spec.precision
            ),
        ),
        Some(Found::AtLeast(rate)) => (
            Some(rate),
            Outcome::Pass,
            format!(
                "at least {rate:.1} requests/s hold the goals: no more were allowed (findMax.to, --max-rate)"
            ),
        ),
        Some(Found::Generator(rate)) => (
            Some(rate),
            Outcome::Pass,
            format!("at least {rate:.1} requests/s hold the goals: this machine cannot send more in time"),
        ),
        Some(Found::Nothing) => {
            (None, Outcome::Fail, format!("not even {:.1} requests/s hold the goals", spec.from))
        }
        Some(Found::Unshown(rate)) => (
            None,
            Outcome::Inconclusive,
            format!(
                "no rate could be shown to hold the goals, though nothing speaks against {rate:.1} requests/s: probe for \
                 longer (findMax.probe, --duration)"
            ),
        ),
        Some(Found::TooSlow) => {
            (None, Outcome::Invalid, format!("this machine cannot send {:.1} requests/s in time", spec.from))
        }
        Some(Found::Undecided(rate)) => (
            rate,
            Outcome::Inconclusive,
            "the goals hold now and then, at no rate reliably: probe for longer".to_owned(),
        ),
        None if interrupted => (held, Outcome::Interrupted, "stopped before the search was over".to_owned()),
        None => (
            held,
            Outcome::Inconclusive,
            "the search has sent all requests that it may (limits.maxRequests, --max-requests)".to_owned(),
        ),
    }
}
