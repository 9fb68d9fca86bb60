//! From sections as written to the specs of every room: defaults, and the rules that relate several
//! values.
//!
//! Every function goes on after a mistake and leaves out only what builds on it; what is returned
//! then has holes and is never used, because the report is not empty.

mod admin;
mod analysis;
mod compare;
mod files;
mod gates;
mod headers;
mod limits;
mod listeners;
mod load;
mod matches;
mod mirrors;
mod model;
mod notifications;
mod repository;
mod rollout;
mod secrets;
mod segments;
mod sticky;
mod upstream;
mod version;
mod weights;

use std::collections::HashMap;
use std::num::NonZero;
use std::path::Path;

use crate::base::{ModelName, Weight};
use crate::rollout::time::Millis;
use crate::routing::spec::VersionSpec;

use super::measure::{Number, Rate};
use super::problem::{At, Report};
use super::raw;
use super::read::Field;
use super::scalar::{Count, Share, Size, Time};
use super::spec::{AccessLogSpec, Config, DrainSpec, ModelControl};

pub(super) use load::load_test;

/// The configuration that `root` describes; of no use when there is a mistake in `report`.
pub(super) fn build(root: &raw::Root, base: &Path, hash: String, report: &mut Report) -> Config {
    let admin = admin::admin(&root.admin, base, report);
    let listeners = listeners::listeners(&root.listeners, base, &admin, report);
    let onnx_runtime = root.onnx_runtime.get();
    let onnx_library = onnx_runtime.and_then(|o| o.library.given()).map(|library| {
        let path = files::resolve(base, &library.value.0);
        if let Some(reason) = files::unreadable(&path) {
            let message = format!("{} {reason}, versions with `onnx` will be UNAVAILABLE", path.display());
            report.warn(&library.at, message, files::hint(base));
        }
        path
    });
    let (models, rollouts) =
        root.models.get().map(|models| model::models(models, base, report)).unwrap_or_default();
    let store = root.store.get().and_then(|store| files::made(&store.path, base, report));
    if let Some(models) = root.models.get().filter(|_| root.store.is_missing()) {
        rollout::forgetful(&models.items, report);
    }
    let notifications = root.notifications.get();
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get).clamp(1, 1024);
    Config {
        workers: root.workers.get().map_or_else(cores, |n| number(n.0)),
        listeners,
        downstream: listeners::downstream(root.downstream.get()),
        admin: admin.spec,
        access_log: root.access_log.get().and_then(|log| access_log(log, base, report)),
        drain: drain(root.drain.get()),
        memory: root.overload.get().and_then(|overload| overload.memory.get()).map(|size| size.0),
        onnx_library,
        model_control: onnx_runtime.and_then(|o| o.model_control.get()).map_or(ModelControl::Poll, |c| c.0),
        poll_interval: onnx_runtime
            .and_then(|o| o.poll_interval.get())
            .map_or(std::time::Duration::from_secs(10), |t| t.0),
        models,
        rollouts,
        notifications: notifications
            .map(|list| notifications::notifications(list, base, report))
            .unwrap_or_default(),
        store,
        hash,
        warnings: Vec::new(),
    }
}

/// A version on its own, such as a candidate that comes with the start of a rollout.
pub(super) fn lone_version(
    raw: &raw::Version,
    model: &ModelName,
    base: &Path,
    report: &mut Report,
) -> Option<VersionSpec> {
    version::lone(raw, model, base, report)
}

fn access_log(log: &raw::AccessLog, base: &Path, report: &mut Report) -> Option<AccessLogSpec> {
    let default = Weight::new(100).unwrap_or(Weight::FULL);
    Some(AccessLogSpec { path: files::made(&log.path, base, report)?, sample: share(&log.sample, default) })
}

fn drain(drain: Option<&raw::Drain>) -> DrainSpec {
    let seconds = std::time::Duration::from_secs;
    let mut spec = DrainSpec { delay: seconds(0), timeout: seconds(30) };
    if let Some(drain) = drain {
        set_time(&mut spec.delay, &drain.delay);
        set_time(&mut spec.timeout, &drain.timeout);
    }
    spec
}

/// Saturating: bounds in the types of fields keep it exact on every 64-bit machine.
fn number(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

fn set_count<const A: u64, const B: u64>(to: &mut usize, field: &Field<Count<A, B>>) {
    if let Some(n) = field.get() {
        *to = number(n.0);
    }
}

fn set_size<const A: u64, const B: u64>(to: &mut usize, field: &Field<Size<A, B>>) {
    if let Some(n) = field.get() {
        *to = number(n.0);
    }
}

fn set_time<const A: u64, const B: u64>(to: &mut std::time::Duration, field: &Field<Time<A, B>>) {
    if let Some(time) = field.get() {
        *to = time.0;
    }
}

fn set_number<const SIGNED: bool>(to: &mut f64, field: &Field<Number<SIGNED>>) {
    if let Some(number) = field.get() {
        *to = number.0;
    }
}

fn set_rate(to: &mut f64, field: &Field<Rate>) {
    if let Some(rate) = field.get() {
        *to = rate.0;
    }
}

/// A duration as rollouts keep it.
fn in_millis<const A: u64, const B: u64>(time: &Time<A, B>) -> Millis {
    Millis(u64::try_from(time.0.as_millis()).unwrap_or(u64::MAX))
}

fn millis<const A: u64, const B: u64>(to: &mut Millis, field: &Field<Time<A, B>>) {
    if let Some(time) = field.get() {
        *to = in_millis(time);
    }
}

/// Whether exactly one of several keys is written; what is said otherwise stands `at` the section.
/// Each key comes with whether it is missing. A key that is not known may stand for one of them: it
/// is a mistake already.
fn exactly_one(what: &str, keys: &[(&str, bool)], at: &At, report: &mut Report) -> Option<()> {
    let written: Vec<&str> = keys.iter().filter_map(|(key, missing)| (!missing).then_some(*key)).collect();
    let message = match written.as_slice() {
        [_] => return Some(()),
        [] if report.has_unknown_key(at) => return None,
        [] => format!("no {what}"),
        written => format!("more than one {what}: {}", written.join(", ")),
    };
    let keys: Vec<&str> = keys.iter().map(|(key, _)| *key).collect();
    report.wrong(at, message, format!("write exactly one of {}", keys.join(", ")));
    None
}

fn share<const POSITIVE: bool>(field: &Field<Share<POSITIVE>>, default: Weight) -> Weight {
    field.get().map_or(default, |s| s.0)
}

/// Names seen so far, each with the line it was first seen on.
#[derive(Default)]
struct Unique(HashMap<String, u32>);

impl Unique {
    /// Notes `name`; a second one is a mistake.
    fn add(&mut self, what: &str, name: &str, at: &At, report: &mut Report) {
        match self.0.get(name) {
            Some(line) => {
                let message = format!("a second {what} is named {name:?}, the first is on line {line}");
                report.wrong(at, message, "give each a name of its own");
            }
            None => {
                self.0.insert(name.to_owned(), at.line);
            }
        }
    }
}
