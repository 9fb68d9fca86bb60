//! Many requests at once, each of them checked.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::client::{RawClient, RawResponse};

/// Clients that send one request after another, each on its own connection, until stopped.
pub struct Load {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    clients: Vec<JoinHandle<Duration>>,
    failures: Arc<Mutex<Vec<String>>>,
}

/// What came of a load.
#[derive(Debug)]
pub struct Loaded {
    /// Requests that were answered.
    pub requests: usize,
    /// The longest that one took.
    pub longest: Duration,
    /// What was wrong with the answers.
    pub failures: Vec<String>,
}

impl Loaded {
    /// Every request was answered as it should be, and none was held up.
    pub fn is_fine(&self, at_least: usize) {
        assert!(
            self.failures.is_empty(),
            "{} of {}: {:?}",
            self.failures.len(),
            self.requests,
            self.failures.first()
        );
        assert!(self.requests >= at_least, "{self:?}");
        assert!(self.longest < Duration::from_secs(5), "{self:?}");
    }
}

/// The body of request number `n`: its own, and of many lengths.
pub fn body_of(n: usize) -> Vec<u8> {
    let word = format!("{{\"request\": {n}}} ");
    word.repeat(1 + n % 97).into_bytes()
}

/// What is wrong with an echo's answer to request number `n`.
pub fn echoed(n: usize, answer: &RawResponse) -> Result<(), String> {
    match answer.status == 200 && answer.body == body_of(n) {
        true => Ok(()),
        false => Err(format!("{n}: {answer:?}")),
    }
}

impl Load {
    /// Starts `clients` that send `body_of(n)` and check the answers.
    pub fn start(
        address: SocketAddr,
        clients: usize,
        check: impl Fn(usize, &RawResponse) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let (stop, done) = (Arc::<AtomicBool>::default(), Arc::<AtomicUsize>::default());
        let failures = Arc::<Mutex<Vec<String>>>::default();
        let (next, check) = (Arc::<AtomicUsize>::default(), Arc::new(check));
        let start = || {
            let (stop, done, failures) = (stop.clone(), done.clone(), Arc::clone(&failures));
            let (next, check) = (next.clone(), check.clone());
            std::thread::spawn(move || {
                let mut client = RawClient::connect(address);
                let mut longest = Duration::ZERO;
                while !stop.load(Ordering::Relaxed) {
                    let n = next.fetch_add(1, Ordering::Relaxed);
                    let asked = Instant::now();
                    let headers = format!("content-type: text/plain\r\nx-user: {n}\r\n");
                    let answer = client.post("/load", &headers, &body_of(n));
                    longest = longest.max(asked.elapsed());
                    if let Err(failure) = check(n, &answer) {
                        failures.lock().unwrap().push(failure);
                    }
                    done.fetch_add(1, Ordering::Relaxed);
                }
                longest
            })
        };
        let clients = (0..clients).map(|_| start()).collect();
        Self { stop, done, clients, failures }
    }

    /// Requests answered so far.
    pub fn count(&self) -> usize {
        self.done.load(Ordering::Relaxed)
    }

    /// Waits until so many more requests are answered.
    pub fn wait(&self, more: usize) {
        let (wanted, started) = (self.count() + more, Instant::now());
        while self.count() < wanted {
            assert!(started.elapsed() < super::LIMIT, "{} of {wanted} requests", self.count());
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Ends the load.
    pub fn stop(self) -> Loaded {
        self.stop.store(true, Ordering::Relaxed);
        let longest = self.clients.into_iter().map(|c| c.join().expect("a client failed")).max().unwrap();
        let failures = std::mem::take(&mut *self.failures.lock().unwrap());
        Loaded { requests: self.done.load(Ordering::Relaxed), longest, failures }
    }
}
