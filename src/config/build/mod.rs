//! From sections as written to the specs of every room: defaults, and the rules that relate several
//! values.
//!
//! Every function goes on after a mistake and leaves out only what builds on it; what is returned
//! then has holes and is never used, because the report is not empty.

mod files;
mod headers;
mod listeners;
mod matches;
mod mirrors;
mod model;
mod sticky;
mod upstream;
mod version;
mod weights;

use std::collections::HashMap;
use std::num::NonZero;
use std::path::Path;

use super::problem::{At, Report};
use super::raw;
use super::read::Field;
use super::scalar::{Count, Share, Size, Time};
use super::spec::{AccessLogSpec, Config, DrainSpec};
use crate::base::Weight;

/// The configuration that `root` describes; of no use when there is a mistake in `report`.
pub(super) fn build(root: &raw::Root, base: &Path, hash: String, report: &mut Report) -> Config {
    let admin = listeners::admin(&root.admin, report);
    let listeners = listeners::listeners(&root.listeners, base, &admin, report);
    let onnx_library = root.onnx_runtime.get().and_then(|o| o.library.given()).map(|library| {
        let path = files::resolve(base, &library.value.0);
        if let Some(reason) = files::unreadable(&path) {
            let message = format!("{} {reason}, versions with `onnx` will be UNAVAILABLE", path.display());
            report.warn(&library.at, message, files::hint(base));
        }
        path
    });
    let models = root.models.get().map(|models| model::models(models, base, report)).unwrap_or_default();
    let cores = || std::thread::available_parallelism().map_or(1, NonZero::get).clamp(1, 1024);
    Config {
        workers: root.workers.get().map_or_else(cores, |n| number(n.0)),
        listeners,
        downstream: listeners::downstream(root.downstream.get()),
        admin: admin.spec,
        access_log: root.access_log.get().and_then(|log| access_log(log, base, report)),
        drain: drain(root.drain.get()),
        onnx_library,
        models,
        hash,
        warnings: Vec::new(),
    }
}

fn access_log(log: &raw::AccessLog, base: &Path, report: &mut Report) -> Option<AccessLogSpec> {
    let given = log.path.given()?;
    let path = files::resolve(base, &given.value.0);
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
    if path.is_dir() {
        report.wrong(&given.at, format!("{} is a folder", path.display()), "write the path of a file");
    } else if let Some(folder) = folder.filter(|folder| !folder.is_dir()) {
        report.wrong(&given.at, format!("there is no folder {}", folder.display()), files::hint(base));
    }
    let default = Weight::new(100).unwrap_or(Weight::FULL);
    Some(AccessLogSpec { path, sample: share(&log.sample, default) })
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
