//! The clients of the soak: each asks one thing after another until it is told to stop, and knows
//! what the answer must be.

use std::io::Write as _;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt as _;

use crate::support::grpc::{Streams, whole};
use crate::support::load::body_of;
use crate::support::{Http, RawClient};

/// What the clients count.
#[derive(Default)]
pub struct Counts {
    pub stop: AtomicBool,
    pub asked: AtomicU64,
    pub answered: AtomicU64,
    /// Failures that the harm of the moment explains.
    pub explained: AtomicU64,
    pub unexplained: Mutex<Vec<String>>,
    /// Something is being harmed that the clients can see.
    pub harmed: AtomicBool,
    /// Rollouts that went back to the version before.
    pub swaps: AtomicU64,
}

impl Counts {
    /// Counts one request. `harmed_before`: something was being harmed when it began.
    fn note(&self, n: u64, harmed_before: bool, found: Result<(), String>) {
        self.asked.fetch_add(1, Relaxed);
        match found {
            Ok(()) => drop(self.answered.fetch_add(1, Relaxed)),
            Err(_) if harmed_before || self.harmed.load(Relaxed) => {
                self.explained.fetch_add(1, Relaxed);
            }
            Err(why) => self.report(format!("request {n}: {why}")),
        }
    }

    /// Something went wrong that nothing explains.
    pub fn report(&self, what: String) {
        let mut unexplained = self.unexplained.lock().unwrap();
        if unexplained.len() < 20 {
            unexplained.push(what);
        }
    }

    pub fn stopped(&self) -> bool {
        self.stop.load(Relaxed)
    }
}

/// Clients of HTTP/1.1, one request after the other, some of which leave in the middle.
pub fn http1(counts: &Counts, address: SocketAddr, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut client: Option<RawClient> = None;
    while !counts.stopped() {
        let n = random.usize(..10_000);
        let harmed = counts.harmed.load(Relaxed);
        if random.u8(..) < 4 {
            // It leaves before its answer, or in the middle of its request.
            let mut leaving = RawClient::connect(address);
            let _ = leaving.0.write_all(
                b"POST /v2/models/m/infer HTTP/1.1\r\nhost: test\r\ncontent-length: 1000\r\n\r\nhalf",
            );
            drop(leaving);
        }
        let mut own = client.take().unwrap_or_else(|| RawClient::connect(address));
        let asked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let answer = own.post("/v2/models/m/infer", &format!("x-user: {}\r\n", n % 100), &body_of(n));
            let right = answer.status == 200 && answer.body == body_of(n);
            let close = answer.header("connection").is_some_and(|value| value.contains("close"));
            (right.then_some(()).ok_or_else(|| format!("{} {}", answer.status, answer.text())), close)
        }));
        let (found, close) = asked.unwrap_or_else(|_| (Err("no answer".to_owned()), true));
        if found.is_ok() && !close && random.u8(..) > 8 {
            client = Some(own);
        }
        counts.note(n as u64, harmed, found);
    }
}

/// A client of a model whose server is slow, and whose long bodies nobody looks at: they go from
/// socket to socket.
pub fn long_bodies(counts: &Counts, address: SocketAddr, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut client = RawClient::connect(address);
    while !counts.stopped() {
        let n = random.usize(..10_000);
        let body = body_of(n).repeat(random.usize(100..3_000));
        let asked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let mut writer = client.0.try_clone().unwrap();
            let sending = body.clone();
            let head = format!(
                "POST /v2/models/p/infer HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n\r\n",
                body.len()
            );
            let writing =
                std::thread::spawn(move || writer.write_all(&[head.as_bytes(), &sending].concat()).is_ok());
            let answer = client.read();
            let whole = writing.join().unwrap();
            let same = answer.body.iter().zip(&body).take_while(|(a, b)| a == b).count();
            let right = whole && answer.status == 200 && answer.body == body;
            right.then_some(()).ok_or_else(|| {
                let (sent, came) = (body.len(), answer.body.len());
                format!("{}: {sent} bytes sent (all: {whole}), {came} came, {same} are right", answer.status)
            })
        }));
        let found = asked.unwrap_or_else(|_| Err(format!("no answer to {} bytes", body.len())));
        if found.is_err() {
            client = RawClient::connect(address);
        }
        counts.note(n as u64, false, found);
    }
}

/// A client of HTTP/2 with several requests at one time.
pub fn http2(counts: &Arc<Counts>, address: SocketAddr, seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    while !counts.stopped() {
        runtime.block_on(async {
            let connect = tokio::spawn(Http::two(address));
            let Ok(mut client) = connect.await else { return };
            for _ in 0..200 {
                let n = random.usize(..10_000);
                let harmed = counts.harmed.load(Relaxed);
                let body = body_of(n);
                // An answer that breaks off is a panic of the client's.
                let asking = AssertUnwindSafe(client.post("/v2/models/m/infer", &[], &body)).catch_unwind();
                let found = match tokio::time::timeout(Duration::from_secs(20), asking).await {
                    Ok(Err(_)) => Err("h2: the answer broke off".to_owned()),
                    Ok(Ok(answer)) if answer.status() == 200 && *answer.body() == body => Ok(()),
                    Ok(Ok(answer)) => Err(format!("h2: {} {:?}", answer.status(), answer.body())),
                    Err(_) => Err("h2: no answer".to_owned()),
                };
                let broken = found.is_err();
                counts.note(n as u64, harmed, found);
                if broken || counts.stopped() {
                    return;
                }
            }
        });
    }
}

/// What the server of streams says to request `n`.
pub fn streamed(n: usize) -> Vec<String> {
    (0..1 + n % 50).map(|part| format!("data: {{\"n\": {n}, \"part\": {part}}}\n\n")).collect()
}

/// A client of answers that come piece by piece, some of which it leaves in the middle.
pub fn streams(counts: &Counts, address: SocketAddr, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut client = RawClient::connect(address);
    while !counts.stopped() {
        let n = random.usize(..10_000);
        let leaves = random.u8(..) < 16;
        let asked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            client.send(format!("GET /v2/models/s/stream?n={n} HTTP/1.1\r\nhost: test\r\n\r\n"));
            let (status, _) = client.head();
            let first = client.chunk().unwrap_or_default();
            if leaves {
                return Ok(());
            }
            let mut body = first;
            while let Some(chunk) = client.chunk() {
                body.extend(chunk);
            }
            let end = client.line();
            let right =
                status == 200 && body == streamed(n).concat().as_bytes() && end.as_deref() == Some("");
            right.then_some(()).ok_or_else(|| format!("stream: {status} {}", String::from_utf8_lossy(&body)))
        }));
        let found = asked.unwrap_or_else(|_| Err("the stream broke off".to_owned()));
        if leaves || found.is_err() {
            client = RawClient::connect(address);
        }
        counts.note(n as u64, false, found);
    }
}

/// A client of gRPC, whose server gives its messages back.
pub fn grpc(counts: &Arc<Counts>, address: SocketAddr, seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    runtime.block_on(async {
        let mut client = Streams::connect(address).await;
        while !counts.stopped() {
            let n = random.usize(..10_000);
            let message = body_of(n);
            let sent = [&[0], &u32::try_from(message.len()).unwrap().to_be_bytes()[..], &message].concat();
            let calling = client.call("/soak.Echo/Call", &[("grpc-timeout", "20S")], whole(sent.clone()));
            let found = match AssertUnwindSafe(calling).catch_unwind().await {
                Ok(called) if called.status() == "0" && called.body == sent => Ok(()),
                Ok(called) => Err(format!("grpc: {called:?}")),
                Err(_) => Err("grpc: the call broke off".to_owned()),
            };
            if found.is_err() {
                client = Streams::connect(address).await;
            }
            counts.note(n as u64, false, found);
        }
    });
}

/// A client of the model whose candidates come and go back: it must never notice.
pub fn predictions(counts: &Counts, address: SocketAddr, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut client = RawClient::connect(address);
    while !counts.stopped() {
        let n = random.usize(..10_000);
        let asked = std::panic::catch_unwind(AssertUnwindSafe(|| {
            let body =
                format!(r#"{{"inputs":[{{"name":"x","datatype":"INT64","shape":[1],"data":[{n}]}}]}}"#);
            let answer =
                client.post("/v2/models/r/infer", "content-type: application/json\r\n", body.as_bytes());
            let right = answer.status == 200 && answer.text().contains("probabilities");
            right.then_some(()).ok_or_else(|| format!("prediction: {} {}", answer.status, answer.text()))
        }));
        let found = asked.unwrap_or_else(|_| Err("no prediction".to_owned()));
        if found.is_err() {
            client = RawClient::connect(address);
        }
        counts.note(n as u64, false, found);
    }
}
