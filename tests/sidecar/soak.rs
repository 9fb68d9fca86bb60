//! A long time of everything at once: mixed traffic, reloads, weights that change, rollouts that swap
//! back, endpoints that come and go, broken connections, clients that leave. Every failure has an explanation, and
//! memory and descriptors stay flat.
//!
//! `make soak` runs it for half an hour, `SOAK_SECONDS=60 make soak` for a minute.

mod clients;
mod rollouts;

use std::convert::Infallible;
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::Response;
use http_body_util::{BodyExt, StreamBody};
use hyper::body::Frame;

use self::clients::{Counts, grpc, http1, http2, long_bodies, predictions, streamed, streams};
use self::rollouts::Candidate;
use crate::support::fault_proxy::{FaultProxy, Harm, Harms};
use crate::support::rollouts::{forgetful_model, good};
use crate::support::{RawClient, Sidecar, Upstream};

/// A server whose answers come piece by piece.
fn pieces() -> Upstream {
    Upstream::forgetful(|seen| {
        let n = seen.uri.rsplit_once('=').and_then(|(_, n)| n.parse().ok()).unwrap_or_default();
        let parts = futures_util::stream::unfold(streamed(n).into_iter(), |mut parts| async {
            tokio::time::sleep(Duration::from_millis(1)).await;
            parts.next().map(|part| (Ok::<_, Infallible>(Frame::data(Bytes::from(part))), parts))
        });
        Response::builder()
            .header("content-type", "text/event-stream")
            .body(BodyExt::boxed(StreamBody::new(parts)))
            .unwrap()
    })
}

/// Where the models are whose servers nobody harms.
struct Unharmed {
    plain: String,
    streams: String,
    grpc: String,
    rolled_out: String,
}

fn config(
    stable: &[String],
    [canary, shadow]: [&str; 2],
    unharmed: &Unharmed,
    weight: u32,
    flip: bool,
) -> String {
    let stable: Vec<String> = stable.iter().map(|url| format!("'{url}'")).collect();
    let Unharmed { plain, streams, grpc, rolled_out } = unharmed;
    format!(
        "store: {{path: '{{dir}}/rollouts.db'}}\n\
         workers: 2\n\
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
         - {{name: p, versions: [{{name: v1, upstream: {{url: '{plain}'}}}}]}}\n\
         - {{name: s, versions: [{{name: v1, upstream: {{url: '{streams}'}}}}]}}\n\
         - {{name: g, match: [{{pathPrefix: /soak.Echo}}], versions: [{{name: v1, upstream: {{url: '{grpc}'}}}}]}}\n\
         {}",
        stable.join(", "),
        rollouts::config(rolled_out)
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
    let others = [harmed[1].url(), harmed[2].url()];
    let (pieces, calls) =
        (pieces(), Upstream::forgetful(|seen| crate::support::grpc::answer(seen.body.clone())));
    let (good, candidate) = (forgetful_model(|n, _| (200, good(n))), Candidate::start());
    let unharmed =
        Unharmed { plain: slowed.url(), streams: pieces.url(), grpc: calls.url(), rolled_out: good.url() };
    let written =
        |weight, flip| config(&endpoints, others.each_ref().map(String::as_str), &unharmed, weight, flip);
    let sidecar = Arc::new(Sidecar::start_with(&["--log", "warn"], &written(10, true)));
    let front = FaultProxy::before(sidecar.main());
    let counts = Arc::<Counts>::default();
    // Panics of raw clients are failures that are counted; their text is of no use.
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(|_| {}));

    let address = sidecar.main();
    let mut clients: Vec<_> = (0..11)
        .map(|n| {
            let counts = counts.clone();
            std::thread::spawn(move || match n {
                0..4 => http1(&counts, address, seed + n),
                4 => long_bodies(&counts, address, seed + n),
                5 => streams(&counts, address, seed + n),
                6 => grpc(&counts, address, seed + n),
                7 | 8 => predictions(&counts, address, seed + n),
                _ => http2(&counts, address, seed + n),
            })
        })
        .collect();
    let (of_rollouts, asked) = (counts.clone(), sidecar.clone());
    clients.push(std::thread::spawn(move || candidate.roll_out(&of_rollouts, &asked, seed)));

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
        "soak: {rounds} rounds, {} requests, {} answered, {} failed under harm, {} swaps back; {memory} -> {now} KiB, {files} -> {open} descriptors",
        count(&counts.asked),
        count(&counts.answered),
        count(&counts.explained),
        count(&counts.swaps),
    );
    assert!(now < memory + memory / 4 + 8 * 1024, "memory grows: {memory} -> {now} KiB");
    assert!(open < files + 200, "descriptors leak: {files} -> {open}");
    assert!(count(&counts.answered) > seconds * 10);
    assert!(count(&counts.swaps) > seconds / 60, "rollouts hardly came to an end");
    assert!(count(&counts.explained) * 20 < count(&counts.asked), "more than a twentieth fails under harm");
    assert_eq!(sidecar.metric("switchback_worker_restarts_total", &[]), 0.0);
    crate::support::blocking_until("nothing is under way", || {
        (sidecar.metric("switchback_requests_in_flight", &[]) == 0.0).then_some(())
    });
}
