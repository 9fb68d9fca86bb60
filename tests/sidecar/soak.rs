//! A long time of everything at once: mixed traffic, reloads, weights that change, endpoints that
//! come and go, broken connections, clients that leave. Every failure has an explanation, and
//! memory and descriptors stay flat.
//!
//! `make soak` runs it for half an hour, `SOAK_SECONDS=60 make soak` for a minute.

use std::io::Write as _;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;

use crate::support::fault_proxy::{FaultProxy, Harm, Harms};
use crate::support::load::body_of;
use crate::support::{Http, RawClient, Sidecar, Upstream};

/// What the clients count.
#[derive(Default)]
struct Counts {
    stop: AtomicBool,
    asked: AtomicU64,
    answered: AtomicU64,
    /// Failures that the harm of the moment explains.
    explained: AtomicU64,
    unexplained: Mutex<Vec<String>>,
    /// Something is being harmed that the clients can see.
    harmed: AtomicBool,
}

impl Counts {
    fn note(&self, n: u64, harmed_before: bool, found: Result<(), String>) {
        self.asked.fetch_add(1, Relaxed);
        match found {
            Ok(()) => drop(self.answered.fetch_add(1, Relaxed)),
            Err(_) if harmed_before || self.harmed.load(Relaxed) => {
                self.explained.fetch_add(1, Relaxed);
            }
            Err(why) => {
                let mut unexplained = self.unexplained.lock().unwrap();
                if unexplained.len() < 20 {
                    unexplained.push(format!("request {n}: {why}"));
                }
            }
        }
    }
}

/// Clients of HTTP/1.1, one request after the other, some of which leave in the middle.
fn http1(counts: &Counts, address: SocketAddr, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut client: Option<RawClient> = None;
    while !counts.stop.load(Relaxed) {
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
fn long_bodies(counts: &Counts, address: SocketAddr, seed: u64) {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut client = RawClient::connect(address);
    while !counts.stop.load(Relaxed) {
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
fn http2(counts: &Arc<Counts>, address: SocketAddr, seed: u64) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let mut random = fastrand::Rng::with_seed(seed);
    while !counts.stop.load(Relaxed) {
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
                if broken || counts.stop.load(Relaxed) {
                    return;
                }
            }
        });
    }
}

fn config(stable: &[String], [canary, shadow, plain]: [&str; 3], weight: u32, flip: bool) -> String {
    let stable: Vec<String> = stable.iter().map(|url| format!("'{url}'")).collect();
    format!(
        "workers: 2\n\
         downstream: {{headerTimeout: 5s}}\n\
         models:\n\
         - name: m\n\
         \x20 fallback: {{enabled: true}}\n\
         \x20 retry: {{attempts: 2, minPerSecond: 1000}}\n\
         \x20 exposeVersion: {flip}\n\
         \x20 timeouts: {{response: 5s, idle: 5s}}\n\
         \x20 concurrency: {{max: 500}}\n\
         \x20 mirror: [{{to: v3, sample: 30%, deadline: 2s}}]\n\
         \x20 versions:\n\
         \x20 - {{name: v1, upstream: {{endpoints: [{}], outlier: {{baseEjection: 1s}}, healthCheck: {{http: {{path: /}}, interval: 500ms}}}}}}\n\
         \x20 - {{name: v2, weight: {weight}%, upstream: {{url: '{canary}', connectTimeout: 1s}}}}\n\
         \x20 - {{name: v3, upstream: {{url: '{shadow}', connectTimeout: 1s}}}}\n\
         - {{name: p, versions: [{{name: v1, upstream: {{url: '{plain}'}}}}]}}\n",
        stable.join(", ")
    )
}

fn descriptors(sidecar: &Sidecar) -> usize {
    std::fs::read_dir(format!("/proc/{}/fd", sidecar.pid())).unwrap().count()
}

#[test]
#[ignore = "it takes as long as SOAK_SECONDS says: `make soak`"]
fn everything_at_once_for_a_long_time() {
    let seconds = std::env::var("SOAK_SECONDS").ok().and_then(|text| text.parse().ok()).unwrap_or(1_800);
    let seed = std::env::var("SOAK_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    eprintln!("soak: {seconds} s, SOAK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let echo = Upstream::forgetful_echo;
    let stables = [echo("a"), echo("b"), echo("c")];
    let (canary, shadow, plain) = (echo("canary"), echo("shadow"), echo("plain"));
    // One of the three stable endpoints, the canary and the shadow are harmed: never all of stable.
    let harmed = [stables[2].address, canary.address, shadow.address].map(FaultProxy::before);
    let endpoints = [stables[0].url(), stables[1].url(), harmed[0].url()];
    // Slow, and never worse.
    let slowed = FaultProxy::before(plain.address);
    slowed.set(Harms { there: Harm::Delay(Duration::from_millis(2)), back: Harm::None });
    let others = [harmed[1].url(), harmed[2].url(), slowed.url()];
    let written = |weight, flip| config(&endpoints, others.each_ref().map(String::as_str), weight, flip);
    let sidecar = Sidecar::start_with(&["--log", "warn"], &written(10, true));
    let front = FaultProxy::before(sidecar.main());
    let counts = Arc::<Counts>::default();
    // Panics of raw clients are failures that are counted; their text is of no use.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));

    let address = sidecar.main();
    let clients: Vec<_> = (0..7)
        .map(|n| {
            let counts = counts.clone();
            std::thread::spawn(move || match n {
                0..4 => http1(&counts, address, seed + n),
                4 => long_bodies(&counts, address, seed + n),
                _ => http2(&counts, address, seed + n),
            })
        })
        .collect();

    let (started, mut rounds, mut settled) = (Instant::now(), 0_u32, None);
    let length = Duration::from_secs(seconds);
    while started.elapsed() < length {
        rounds += 1;
        // Harm to a part. Streams that break in the middle of an answer cannot be mended: of a canary
        // and of one stable endpoint clients may see that.
        let harms = [
            Harm::None,
            Harm::Delay(Duration::from_millis(20)),
            Harm::Trickle(200),
            Harm::CutAfter(0),
            Harm::ResetAfter(50),
            Harm::HalfCloseAfter(20),
            Harm::GarbageAfter(3),
            Harm::HangAfter(10),
        ];
        let part = random.usize(..harmed.len());
        let harm = harms[random.usize(..harms.len())];
        counts.harmed.store(part != 2 && harm != Harm::None, Relaxed);
        harmed[part].set(Harms { there: Harm::None, back: harm });
        std::thread::sleep(Duration::from_millis(random.u64(300..900)));
        // Weights by hand, a reload, garbage from a client, a client behind a broken line.
        let weight = random.u32(1..60);
        let body = format!(r#"{{"weights": {{"v1": "{}%", "v2": "{weight}%"}}}}"#, 100 - weight);
        let answer = sidecar.ask_admin("PUT", "/api/v1/models/m/weights", &body);
        assert_eq!(answer.status, 200, "{answer:?}");
        sidecar.rewrite(&written(random.u32(1..60), rounds.is_multiple_of(2)));
        front.set(Harms { there: harms[random.usize(..harms.len())], back: Harm::None });
        let mut rude = RawClient::connect(front.address);
        let _ = rude.0.write_all(&[random.u8(..); 64]);
        drop(rude);
        harmed[part].set(Harms::NONE);
        std::thread::sleep(Duration::from_millis(random.u64(300..900)));
        // Requests that began in the harm end within their timeouts.
        if counts.harmed.load(Relaxed) {
            std::thread::sleep(Duration::from_secs(6));
        }
        counts.harmed.store(false, Relaxed);
        let unexplained = counts.unexplained.lock().unwrap().clone();
        if !unexplained.is_empty() {
            // Panics are not printed meanwhile.
            eprintln!("soak: not explained: {unexplained:?}\n{}", sidecar.log());
        }
        assert!(unexplained.is_empty(), "{unexplained:?}");
        // What it uses when all of this has happened a few times is what it may use.
        if settled.is_none() && started.elapsed() > length / 5 {
            settled = Some((sidecar.rss_kib(), descriptors(&sidecar)));
        }
    }
    counts.stop.store(true, Relaxed);
    clients.into_iter().for_each(|client| client.join().unwrap());
    std::panic::set_hook(hook);

    let (memory, files) = settled.unwrap_or((sidecar.rss_kib(), descriptors(&sidecar)));
    let (now, open) = (sidecar.rss_kib(), descriptors(&sidecar));
    let count = |counter: &AtomicU64| counter.load(Relaxed);
    eprintln!(
        "soak: {rounds} rounds, {} requests, {} answered, {} failed under harm; {memory} -> {now} KiB, {files} -> {open} descriptors",
        count(&counts.asked),
        count(&counts.answered),
        count(&counts.explained),
    );
    assert!(now < memory + memory / 4 + 8 * 1024, "memory grows: {memory} -> {now} KiB");
    assert!(open < files + 200, "descriptors leak: {files} -> {open}");
    assert!(count(&counts.answered) > seconds * 10);
    assert!(count(&counts.explained) * 20 < count(&counts.asked), "more than a twentieth fails under harm");
    assert_eq!(sidecar.metric("switchback_worker_restarts_total", &[]), 0.0);
    crate::support::blocking_until("nothing is under way", || {
        (sidecar.metric("switchback_requests_in_flight", &[]) == 0.0).then_some(())
    });
}
