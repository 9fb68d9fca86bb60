//! Health checks and look-ups of names, on a thread of their own: a question that hangs delays
//! neither a request nor a decision. What is found reaches the workers through the atomics of each
//! endpoint.
//!
//! For every upstream of the live table that wants it there is one task for its names, and one for
//! each endpoint that is asked. They end when the table no longer has the upstream, or the upstream
//! the endpoint.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, LocalSet, spawn_local};
use tokio::time::sleep;

use super::board::Switchboard;
use super::tasks::{Task, Tasks};
use crate::upstream::health::Asker;
use crate::upstream::{Cluster, Endpoint, Health, HealthSpec};

/// How often the endpoints of an upstream are compared with those that are asked.
const FOLLOW: Duration = Duration::from_millis(500);

/// Starts the thread once an upstream wants something of it: without one it would be half a mebibyte
/// for nothing. It ends with the switchboard.
///
/// # Errors
/// When the system gives no thread.
///
/// # Cancel safety
/// Safe: a thread that was started goes on.
pub async fn start_when_wanted(board: &Switchboard, tasks: &Arc<Tasks>) -> io::Result<()> {
    let (table, mut changes) = (board.shared(), board.changes());
    loop {
        changes.borrow_and_update();
        if table.load().clusters().iter().any(|cluster| wants(cluster)) {
            return start(board, tasks.clone());
        }
        if changes.changed().await.is_err() {
            return Ok(());
        }
    }
}

/// Whether there is something to ask or to look up.
fn wants(cluster: &Cluster) -> bool {
    cluster.spec().balance.health.is_some() || cluster.resolve_every().is_some()
}

fn start(board: &Switchboard, tasks: Arc<Tasks>) -> io::Result<()> {
    let (table, changes) = (board.shared(), board.changes());
    let clusters = move || table.load().clusters();
    std::thread::Builder::new().name("health".to_owned()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        match runtime {
            Ok(runtime) => {
                let watching = tasks.keep(Task::Health, || watch_all(&clusters, changes.clone(), &tasks));
                LocalSet::new().block_on(&runtime, watching);
            }
            Err(error) => tracing::error!(%error, "no health checks: there is no runtime for them"),
        }
    })?;
    Ok(())
}

/// What is stopped when this is dropped.
#[derive(Default)]
struct Started(Vec<AbortHandle>);

impl Drop for Started {
    fn drop(&mut self) {
        self.0.iter().for_each(AbortHandle::abort);
    }
}

/// Watches the upstreams of each table, as they come and go.
async fn watch_all(
    clusters: impl Fn() -> Vec<Arc<Cluster>>,
    mut changes: watch::Receiver<u64>,
    tasks: &Arc<Tasks>,
) {
    let mut watched: HashMap<usize, (Weak<Cluster>, Started)> = HashMap::new();
    loop {
        changes.borrow_and_update();
        let live = clusters();
        let is_live =
            |known: &Weak<Cluster>| live.iter().any(|cluster| Weak::as_ptr(known) == Arc::as_ptr(cluster));
        watched.retain(|_, (known, _)| is_live(known));
        for cluster in live {
            watched.entry(Arc::as_ptr(&cluster).addr()).or_insert_with(|| {
                let started = watch(&cluster, tasks);
                (Arc::downgrade(&cluster), started)
            });
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

/// Starts what one upstream wants.
fn watch(cluster: &Arc<Cluster>, tasks: &Arc<Tasks>) -> Started {
    let mut started = Started::default();
    if let Some(every) = cluster.resolve_every() {
        let cluster = cluster.clone();
        started.0.push(keep(tasks, move || resolve(cluster.clone(), every)));
    }
    if let Some(spec) = cluster.spec().balance.health.clone() {
        let (cluster, mine) = (cluster.clone(), tasks.clone());
        started.0.push(keep(tasks, move || ask_all(cluster.clone(), spec.clone(), mine.clone())));
    }
    started
}

/// Keeps a loop of this thread going, on a task of its own.
fn keep<F: Future<Output = ()> + 'static>(
    tasks: &Arc<Tasks>,
    start: impl FnMut() -> F + 'static,
) -> AbortHandle {
    let tasks = tasks.clone();
    spawn_local(async move { tasks.keep(Task::Health, start).await }).abort_handle()
}

/// Looks the names of an upstream up, for good.
async fn resolve(cluster: Arc<Cluster>, every: Duration) {
    loop {
        cluster.resolve().await;
        sleep(every).await;
    }
}

/// Has every endpoint asked, as they come and go.
async fn ask_all(cluster: Arc<Cluster>, spec: HealthSpec, tasks: Arc<Tasks>) {
    let mut asked: Vec<(Arc<Endpoint>, Started)> = Vec::new();
    loop {
        let members = cluster.members();
        asked.retain(|(known, _)| members.iter().any(|member| Arc::ptr_eq(member, known)));
        for member in members.iter() {
            if !asked.iter().any(|(known, _)| Arc::ptr_eq(known, member)) {
                let (cluster, endpoint, spec) = (cluster.clone(), member.clone(), spec.clone());
                let asking = move || ask_one(cluster.clone(), endpoint.clone(), spec.clone());
                asked.push((member.clone(), Started(vec![keep(&tasks, asking)])));
            }
        }
        sleep(FOLLOW.min(spec.interval)).await;
    }
}

/// Asks one endpoint, for good.
async fn ask_one(cluster: Arc<Cluster>, endpoint: Arc<Endpoint>, spec: HealthSpec) {
    let mut asker = Asker::new(&endpoint);
    loop {
        let (result, health) = asker.ask(&spec).await;
        cluster.checked(result.is_ok());
        if let Some(health) = health
            && cluster.set_health(&endpoint, health)
        {
            match (&result, health) {
                (Err(reason), Health::Unwell) => {
                    tracing::warn!(endpoint = %endpoint.target(), reason, "an endpoint fails its health check");
                }
                _ => tracing::info!(endpoint = %endpoint.target(), "an endpoint passes its health check"),
            }
        }
        sleep(jitter(spec.interval)).await;
    }
}

/// A tenth less to a tenth more, so that many sidecars do not ask at the same moment.
fn jitter(interval: Duration) -> Duration {
    interval.mul_f64(0.9 + 0.2 * fastrand::f64())
}
