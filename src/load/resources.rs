//! What watched processes take while they are under load: CPU, memory, file descriptors.
//!
//! From Linux' `/proc` (proc_pid_stat(5), proc_pid_status(5)), or from a metrics page with
//! Prometheus' names. A thread looks a few times a second at most, and keeps at most as many samples
//! as a run has slices.

use std::io;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use http::HeaderMap;
use serde::Serialize;

use super::ask;
use super::prepare::http_address;
use super::series::SLICES;
use super::spec::{ResourceSource, ResourceSpec};
use crate::upstream::Target;

/// How long a metrics page may take. The end of a run waits for the last one.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a process has taken at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Usage {
    /// User and system CPU time so far, in seconds.
    pub cpu_seconds: f64,
    /// Resident memory, in bytes.
    pub rss_bytes: f64,
    /// Open file descriptors.
    pub fds: f64,
}

/// What a process took over a run.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// What it is called.
    pub name: String,
    /// CPU time per time over the measured time; 1 is one core.
    pub cpu: Option<f64>,
    /// Most resident memory, in bytes.
    pub rss_bytes: Option<f64>,
    /// Most open file descriptors.
    pub fds: Option<f64>,
    /// Samples in the measured time.
    pub samples: Vec<Sampled>,
    /// Why there are no numbers, or not all of them.
    pub error: Option<String>,
}

/// One sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sampled {
    /// Seconds since the measured time began.
    pub at: f64,
    /// CPU time per time since the sample before.
    pub cpu: f64,
    /// Resident memory, in bytes.
    pub rss_bytes: f64,
    /// Open file descriptors.
    pub fds: f64,
}

/// The usage of a process of this machine, by its id or `self`.
///
/// # Errors
/// When there is no such process, or it may not be looked at.
pub fn of_process(pid: &str) -> io::Result<Usage> {
    let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}"));
    let odd = || io::Error::new(io::ErrorKind::InvalidData, "/proc has another form than expected");
    let cpu_seconds = cpu_of(&read("stat")?).ok_or_else(odd)?;
    let rss_bytes = rss_of(&read("status")?).ok_or_else(odd)?;
    let fds = std::fs::read_dir(format!("/proc/{pid}/fd"))?.count() as f64;
    Ok(Usage { cpu_seconds, rss_bytes, fds })
}

fn cpu_of(stat: &str) -> Option<f64> {
    // The name of the command, in parentheses, may hold anything; fields 14 and 15 come after it.
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    // USER_HZ is 100 on every architecture that Rust builds for.
    Some((user + system) as f64 / 100.0)
}

fn rss_of(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024.0)
}

/// The usage on a metrics page.
fn of_metrics(page: &str) -> Option<Usage> {
    let sample = |name: &str| {
        let line = page
            .lines()
            .find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])))?;
        line.rsplit_once(' ')?.1.parse::<f64>().ok()
    };
    Some(Usage {
        cpu_seconds: sample("process_cpu_seconds_total")?,
        rss_bytes: sample("process_resident_memory_bytes")?,
        fds: sample("process_open_fds").unwrap_or(0.0),
    })
}

/// How a process is looked at.
enum Source {
    Pid(String),
    Page(Arc<Target>, String),
}

impl Source {
    fn of(spec: &ResourceSpec) -> Result<Self, String> {
        match &spec.source {
            ResourceSource::Pid(pid) => Ok(Self::Pid(pid.to_string())),
            ResourceSource::Metrics(url) => {
                let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                let path = rest.find('/').and_then(|at| rest.get(at..)).unwrap_or("/metrics");
                let target = Target::new(&http_address(url)?).map_err(|error| error.to_string())?;
                Ok(Self::Page(Arc::new(target), path.to_owned()))
            }
        }
    }

    fn look(&self) -> Result<Usage, String> {
        match self {
            Self::Pid(pid) => of_process(pid).map_err(|error| format!("process {pid}: {error}")),
            Self::Page(target, path) => {
                let said = ask::get_within(target, path, &HeaderMap::new(), PATIENCE)
                    .map_err(|fault| fault.detail.into_owned())?;
                let page = String::from_utf8_lossy(&said.body);
                of_metrics(&page).ok_or_else(|| {
                    format!(
                        "{target}{path} answered {} without process_cpu_seconds_total and its like",
                        said.status
                    )
                })
            }
        }
    }
}

/// Looks once at every process, so that a wrong id or address is found before the run.
///
/// # Errors
/// One line for the first that cannot be looked at.
pub fn check(specs: &[ResourceSpec]) -> Result<(), String> {
    for spec in specs {
        Source::of(spec)
            .and_then(|source| source.look())
            .map_err(|why| format!("resource {:?}: {why}", spec.name))?;
    }
    Ok(())
}

/// Watches processes until it is told to end.
#[derive(Debug)]
pub struct Watcher {
    end: Sender<()>,
    thread: Option<JoinHandle<Vec<Taken>>>,
}

impl Watcher {
    /// Begins to watch. The measured time begins at `zero` and is so many seconds long.
    ///
    /// # Errors
    /// When the system has no thread left.
    pub fn start(specs: &[ResourceSpec], zero: Instant, seconds: f64) -> io::Result<Self> {
        let (end, ended) = channel();
        let specs = specs.to_vec();
        let every = Duration::from_secs_f64((seconds / SLICES as f64).clamp(0.1, 3600.0));
        let watch = move || {
            let mut watched: Vec<Watched> = specs.iter().map(Watched::new).collect();
            if watched.is_empty() {
                return Vec::new();
            }
            loop {
                watched.iter_mut().for_each(|one| one.look(zero, seconds));
                match ended.recv_timeout(every) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            watched.iter_mut().for_each(|one| one.look(zero, seconds));
            watched.into_iter().map(Watched::finish).collect()
        };
        let thread = std::thread::Builder::new().name("load-watch".to_owned()).spawn(watch)?;
        Ok(Self { end, thread: Some(thread) })
    }

    /// Ends watching and gives what was seen.
    pub fn finish(mut self) -> Vec<Taken> {
        let _ = self.end.send(());
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

struct Watched {
    source: Result<Source, String>,
    taken: Taken,
    first: Option<(f64, Usage)>,
    last: Option<(f64, Usage)>,
}

impl Watched {
    fn new(spec: &ResourceSpec) -> Self {
        let taken = Taken { name: spec.name.clone(), ..Taken::default() };
        Self { source: Source::of(spec), taken, first: None, last: None }
    }

    fn look(&mut self, zero: Instant, seconds: f64) {
        let Some(now) = Instant::now().checked_duration_since(zero).map(|d| d.as_secs_f64()) else { return };
        // The last look comes when the last answers are there; what is after that is not the run's.
        if now > seconds + 1.0 && self.last.is_some() {
            return;
        }
        let usage = match &self.source {
            Ok(source) => source.look(),
            Err(why) => Err(why.clone()),
        };
        let usage = match usage {
            Ok(usage) => usage,
            Err(why) => {
                self.taken.error = Some(why);
                return;
            }
        };
        if let Some((at, before)) = self.last.filter(|(at, _)| now > *at + 1e-3) {
            let cpu = (usage.cpu_seconds - before.cpu_seconds).max(0.0) / (now - at);
            self.taken.samples.push(Sampled { at: now, cpu, rss_bytes: usage.rss_bytes, fds: usage.fds });
        }
        self.first.get_or_insert((now, usage));
        self.last = Some((now, usage));
        let most = |so_far: Option<f64>, now: f64| Some(so_far.unwrap_or(0.0).max(now));
        self.taken.rss_bytes = most(self.taken.rss_bytes, usage.rss_bytes);
        self.taken.fds = most(self.taken.fds, usage.fds);
    }

    fn finish(mut self) -> Taken {
        if let (Some((from, first)), Some((to, last))) = (self.first, self.last)
            && to > from
        {
            self.taken.cpu = Some((last.cpu_seconds - first.cpu_seconds).max(0.0) / (to - from));
        }
        self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_proc_and_from_pages() {
        assert_eq!(cpu_of("7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0"), Some(2.0));
        assert_eq!(rss_of("Name:\tx\nVmRSS:\t  2048 kB\n"), Some(2_097_152.0));
        let page = "# TYPE process_cpu_seconds_total counter\nprocess_cpu_seconds_total 1.5\n\
            process_resident_memory_bytes 100\nprocess_open_fds 7\n";
        assert_eq!(of_metrics(page), Some(Usage { cpu_seconds: 1.5, rss_bytes: 100.0, fds: 7.0 }));
        assert_eq!(of_metrics("x 1\n"), None);
        assert!(of_process("self").unwrap().rss_bytes > 1e6);
    }

    #[test]
    fn a_busy_process_is_seen_to_be_busy_and_a_missing_one_is_named() {
        let spec = |name: &str, pid| ResourceSpec { name: name.into(), source: ResourceSource::Pid(pid) };
        let watcher = Watcher::start(&[spec("me", std::process::id())], Instant::now(), 1.0).unwrap();
        let begin = Instant::now();
        let mut sum = 0_u64;
        while begin.elapsed() < Duration::from_millis(400) {
            sum = sum.wrapping_mul(31).wrapping_add(7);
        }
        assert_ne!(sum, 1);
        let taken = watcher.finish();
        assert!(taken[0].cpu.unwrap() > 0.05 && taken[0].fds.unwrap() > 2.0, "{taken:?}");
        assert!(taken[0].samples.len() >= 2, "{taken:?}");
        let said = check(&[spec("gone", u32::MAX - 1)]).unwrap_err();
        assert!(said.contains("resource \"gone\": process 4294967294"), "{said}");
    }
}
