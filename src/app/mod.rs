//! Wiring: from a configuration file to a running sidecar, and its end.
//!
//! The calling thread becomes the control thread: it watches signals and the configuration file,
//! asks the upstreams whether they are there and serves the admin API. Data workers and in-process
//! models have threads of their own and never wait for it.

mod allocator;
mod candidate;
mod folders;
mod loops;
mod reload;
mod sidecar;
mod workers;

use std::io::Write as _;
use std::path::Path;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use self::loops::Loops;
use self::reload::Signals;
use self::sidecar::{Parts, Running, Watched, declared};
use self::workers::{Shared, WorkerThread};
use crate::admin::AdminServer;
use crate::base::{BindAddress, ModelName};
use crate::config::{self, Config, ModelControl};
use crate::control::board::Switchboard;
use crate::control::certificates::Certificates;
use crate::control::memory::Memory;
use crate::control::repository::Keeper;
use crate::control::rollouts::{self, Setup};
use crate::control::tasks::Tasks;
use crate::mirror::compare::{self, Books};
use crate::net::{self, DrainSignal, Listener, ServerTls};
use crate::notify::Receivers;
use crate::onnx::repository::Repository;
use crate::onnx::{EngineSpec, Fleet, RuntimeSource};
use crate::stats::Registry;
use crate::telemetry::access_log::AccessLog;

/// Beyond the drain timeout, before a worker is given up.
const GRACE: Duration = Duration::from_secs(1);

/// Runs the sidecar of the configuration at `path` until SIGTERM or SIGINT. Then readiness fails,
/// and after the delay for load balancers to notice, what is under way may end within the drain
/// timeout. A second signal ends the delay and cuts what is left at once; that is an exit in order
/// as well.
///
/// # Errors
/// What keeps it from starting: a wrong configuration, an address in use, an unreadable
/// certificate. Upstreams that are not there and models that do not load are no errors: the
/// sidecar starts, is not ready, and says why.
pub fn serve(path: &Path) -> anyhow::Result<()> {
    let config = config::load(path)?;
    // Before anything that another start would repeat.
    allocator::settle(&config);
    for warning in &config.warnings {
        tracing::warn!(%warning, "configuration");
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let ended = runtime.block_on(run(path, config));
    // A reload that still loads a model or reads a file is not waited for.
    runtime.shutdown_background();
    ended
}

async fn run(path: &Path, config: Config) -> anyhow::Result<()> {
    let mut listeners = Vec::new();
    for spec in &config.listeners {
        listeners.push(net::bind(spec, config.workers)?);
    }
    let addresses: Vec<(String, BindAddress)> = listeners
        .iter()
        .filter_map(|all| all.first())
        .map(|listener| (listener.name().to_owned(), listener.local_address().clone()))
        .collect();
    let (access_log, access_writer) = match &config.access_log {
        None => (None, None),
        Some(spec) => {
            let (log, writer) = AccessLog::start(&spec.path, spec.sample)
                .with_context(|| format!("can't write the access log to {}", spec.path.display()))?;
            (Some(log), Some(writer))
        }
    };

    let source = RuntimeSource { library: config.onnx_library.clone() };
    let (repository, commands) = match config.model_control {
        ModelControl::Explicit => {
            let (repository, commands) = Repository::commanded();
            (repository, Some(commands))
        }
        ModelControl::None | ModelControl::Poll => (Repository::default(), None),
    };
    let fleet = Arc::new(Fleet::new(source, repository));
    let starting = fleet.clone();
    let engines = move |spec: &EngineSpec| starting.start(spec);
    let board = Arc::new(Switchboard::new(config.models.clone(), engines)?);
    let registry = Arc::new(Registry::new());
    let (queue, books, comparing) = compare::start().context("can't start the comparing thread")?;
    let memory = Memory::new(config.memory);
    let restarts = Arc::<AtomicU64>::default();
    let tasks = Arc::<Tasks>::default();
    let mut tls: Vec<(String, Arc<ServerTls>)> = listeners
        .iter()
        .filter_map(|all| all.first())
        .filter_map(|listener| Some((format!("listener {}", listener.name()), listener.tls()?.clone())))
        .collect();
    let certificates = Arc::<Certificates>::default();
    let (drain_signal, drain) = net::drain_pair();
    let shared = Shared {
        table: board.shared(),
        changes: board.changes(),
        registry: registry.clone(),
        downstream: config.downstream.clone(),
        access_log,
        drain,
        queue,
        pressure: memory.pressure(),
        restarts: restarts.clone(),
    };
    // What a rollout has made of the models comes before the first request.
    let (rollouts, mut deciding) = rollouts::start(setup(path, &config, &board, &books)?)?;
    let rollouts = Arc::new(rollouts);
    let keeper = Keeper::new(board.clone(), fleet, rollouts.clone(), declared(&config));
    let listening = addresses.clone();
    let counts = registry.clone();
    let parts = Parts {
        board: board.clone(),
        registry,
        rollouts,
        keeper: keeper.clone(),
        books,
        listeners: listening,
        watched: Watched {
            memory: memory.clone(),
            certificates: certificates.clone(),
            restarts,
            tasks: tasks.clone(),
        },
    };
    // Before the workers, so that nothing has been served when its address is in use.
    let running = Arc::new(Running::new(path, &config, parts));
    let admin = AdminServer::start(&config.admin, running.clone())?;
    tls.extend(admin.tls().map(|own| ("the admin API".to_owned(), own.clone())));
    let mut signals = Signals::new()?;
    let mut workers = start_workers(listeners, config.workers, &shared)?;
    drop(shared);

    let watched = Loops { running: running.clone(), board, certificates, tls, memory, registry: counts };
    let watching = tokio::spawn(watched.keep(tasks.clone()));
    let keeping = tokio::spawn(folders::keep(keeper, config.model_control, config.poll_interval, commands));
    announce(&addresses, admin.address())?;

    let stopped = tokio::select! {
        () = reload::until_stopped(path, &running, &mut signals) => Ok(()),
        failed = first_failure(&mut workers) => failed,
        () = deciding.ended() => Err(anyhow::anyhow!(
            "what decides rollouts ended before its time; another start goes on from what is written"
        )),
        task = tasks.given_up() => {
            Err(anyhow::anyhow!("the loop for {} panicked again and again; this is a bug", task.as_str()))
        }
    };
    running.start_draining();
    tracing::info!(delay = ?config.drain.delay, timeout = ?config.drain.timeout, "draining");
    let drained = drain_workers(&config, &drain_signal, workers, &mut signals).await;
    watching.abort();
    keeping.abort();
    admin.stop();
    // A worker that did not end still holds the log open.
    if let (Some(writer), Some(_)) = (access_writer, drained) {
        writer.finish();
    }
    if drained.is_some() {
        comparing.join();
    }
    // Last: what was decided until now is written.
    drop(deciding);
    let cut = drained.unwrap_or_default();
    tracing::info!(cut, "stopped");
    stopped
}

/// What the decider is given.
fn setup(path: &Path, config: &Config, board: &Arc<Switchboard>, books: &Books) -> anyhow::Result<Setup> {
    let (base, books) = (path.parent().unwrap_or(Path::new("")).to_owned(), books.clone());
    let remake = move |model: &ModelName, written: &serde_json::Value| {
        config::parse_version(&written.to_string(), model, &base).map_err(|errors| errors.to_string())
    };
    Ok(Setup {
        board: board.clone(),
        store: config.store.clone(),
        specs: config.rollouts.clone(),
        config_hash: config.hash.clone(),
        receivers: Receivers::prepare(config.notifications.clone()).context("notifications")?,
        instance: host_name(),
        remake: Box::new(remake),
        forget_pairs: Box::new(move |model| books.clear(model)),
        tick: rollouts::TICK,
    })
}

/// What this machine or pod calls itself, for those who are told of decisions.
fn host_name() -> String {
    let kernel = || std::fs::read_to_string("/proc/sys/kernel/hostname");
    let name = std::env::var("HOSTNAME").or_else(|_| kernel()).unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "switchback".to_owned() } else { name.to_owned() }
}

fn start_workers(
    listeners: Vec<Vec<Listener>>,
    workers: usize,
    shared: &Shared,
) -> anyhow::Result<Vec<WorkerThread>> {
    let mut by_worker: Vec<Vec<Listener>> = (0..workers).map(|_| Vec::new()).collect();
    for of_one in listeners {
        for (mine, listener) in by_worker.iter_mut().zip(of_one) {
            mine.push(listener);
        }
    }
    by_worker.into_iter().enumerate().map(|(i, mine)| WorkerThread::start(i, mine, shared.clone())).collect()
}

/// Ends when a worker does, which none should before it is told to.
async fn first_failure(workers: &mut [WorkerThread]) -> anyhow::Result<()> {
    let ends = workers.iter_mut().map(|worker| Box::pin(worker.ended()));
    let (ended, _, _) = futures_util::future::select_all(ends).await;
    ended.and(Err(anyhow::anyhow!("a worker ended before its time")))
}

/// Ends the workers: how many connections were cut, `None` when a worker did not end. Another
/// signal cuts everything at once.
async fn drain_workers(
    config: &Config,
    drain: &DrainSignal,
    workers: Vec<WorkerThread>,
    signals: &mut Signals,
) -> Option<usize> {
    let hurried = tokio::select! {
        () = tokio::time::sleep(config.drain.delay) => false,
        () = signals.stopped() => true,
    };
    let timeout = if hurried { Duration::ZERO } else { config.drain.timeout };
    drain.start((Instant::now() + timeout).into());
    let mut ended = pin!(join_workers(workers));
    tokio::select! {
        cut = &mut ended => return Some(cut),
        () = tokio::time::sleep(timeout + GRACE) => {}
        () = signals.stopped() => {
            tracing::info!("told again: cutting what is left");
            drain.start(Instant::now().into());
            if let Ok(cut) = tokio::time::timeout(GRACE, ended).await {
                return Some(cut);
            }
        }
    }
    tracing::warn!("a worker did not end in time");
    None
}

/// Waits for the workers; says how many connections were cut.
async fn join_workers(workers: Vec<WorkerThread>) -> usize {
    let mut cut = 0;
    for mut worker in workers {
        cut += worker.ended().await.unwrap_or_default();
        worker.join();
    }
    cut
}

/// One line for whoever started this process and waits for it.
fn announce(addresses: &[(String, BindAddress)], admin: &BindAddress) -> anyhow::Result<()> {
    let mut line = String::from("switchback ready");
    for (name, address) in addresses {
        line.push_str(&format!(" {name}={address}"));
    }
    line.push_str(&format!(" admin={admin}\n"));
    let mut out = std::io::stdout();
    out.write_all(line.as_bytes()).and_then(|()| out.flush()).context("can't write to standard output")
}
