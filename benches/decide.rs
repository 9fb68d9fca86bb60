//! What a decision costs: evidence from requests one at a time, and from what was counted between
//! two looks. The goal is 100 ns a request; a thousand of them are one iteration here.
#![allow(clippy::unwrap_used, reason = "a bench may panic")]

use std::hint::black_box;
use std::time::Duration;

use criterion::{BatchSize, Criterion, Throughput};
use switchback::stats::sequential::{
    AdvanceTest, ArmTest, Arms, DifferenceTest, Exceedance, RANK_BINS, RateTest, SampleRatioTest, Share,
    Side, TailTest, TiltTest, weighted_mean, with_segments,
};

const WEIGHT: f64 = 0.05;
const REQUESTS: u64 = 1_000;
const SEGMENTS: usize = 50;

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(200))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    one_by_one(&mut criterion);
    looks(&mut criterion);
    criterion.final_summary();
}

/// A request as the tests see it.
#[derive(Clone, Copy)]
struct Request {
    candidate: bool,
    /// Rank of its duration, and of its score, in what stable did before.
    rank: f64,
}

impl Request {
    fn one(self) -> Arms<u64> {
        Arms::new(u64::from(!self.candidate), u64::from(self.candidate))
    }

    /// Whether it was slower than p50, p90 and p99.
    fn exceedances(self) -> [Exceedance; 3] {
        [0.5, 0.9, 0.99].map(|quantile| {
            let (one, none) = (self.one(), Arms::default());
            let (above, below) = if self.rank > quantile { (one, none) } else { (none, one) };
            Exceedance { above, below }
        })
    }
}

fn requests() -> Vec<Request> {
    let mut draws = fastrand::Rng::with_seed(1);
    (0..REQUESTS).map(|_| Request { candidate: draws.f64() < WEIGHT, rank: draws.f64() }).collect()
}

/// The worst case: every request is an event, and is looked at by itself.
fn one_by_one(criterion: &mut Criterion) {
    let requests = requests();
    let mut group = criterion.benchmark_group("one by one");
    group.throughput(Throughput::Elements(REQUESTS));
    let mut bench = |name: &str, all: &dyn Fn(&[Request]) -> f64| {
        group.bench_function(name, |b| b.iter(|| all(black_box(&requests))));
    };
    bench("arm test", &|requests| {
        let mut test = ArmTest::new(1.0);
        requests.iter().fold(0.0, |highest, r| test.observe(WEIGHT, r.one()).max(highest))
    });
    bench("tail test, three quantiles", &|requests| {
        let mut test = TailTest::standard();
        for request in requests {
            for (at, counts) in request.exceedances().into_iter().enumerate() {
                test.observe(WEIGHT, at, counts);
            }
        }
        test.e_value()
    });
    bench("rate test", &|requests| {
        let mut test = RateTest::new(0.05);
        requests.iter().fold(0.0, |highest, r| {
            test.observe(u64::from(r.candidate), u64::from(!r.candidate)).max(highest)
        })
    });
    bench("advance test", &|requests| {
        let mut test = AdvanceTest::new(2.0);
        requests.iter().fold(0.0, |highest, r| test.observe(WEIGHT, r.one(), 0).max(highest))
    });
    bench("sample ratio test", &|requests| {
        let mut test = SampleRatioTest::new();
        requests.iter().fold(0.0, |highest, r| test.observe(WEIGHT, r.one()).max(highest))
    });
    group.finish();
}

/// What the decider does every 20 ms, however many requests there were in between.
fn looks(criterion: &mut Criterion) {
    let events = Arms::new(900, 100);
    let slow = [500, 100, 10].map(|above| Exceedance {
        above: Arms::new(above * 19, above),
        below: Arms::new((1_000 - above) * 19, 1_000 - above),
    });
    let bins = [Arms::new(30, 2); RANK_BINS];
    let mut group = criterion.benchmark_group("a look at a thousand");

    group.bench_function("arm test", |b| {
        let fresh = || ArmTest::new(1.0);
        b.iter_batched_ref(fresh, |test| test.observe(WEIGHT, black_box(events)), BatchSize::SmallInput);
    });
    group.bench_function("tail test, three quantiles", |b| {
        let look = |test: &mut TailTest| {
            for (at, counts) in black_box(slow).into_iter().enumerate() {
                test.observe(WEIGHT, at, counts);
            }
            test.e_value()
        };
        b.iter_batched_ref(TailTest::standard, look, BatchSize::SmallInput);
    });
    group.bench_function("tilt test", |b| {
        let look = |test: &mut TiltTest| test.observe(WEIGHT, black_box(&bins));
        b.iter_batched_ref(TiltTest::new, look, BatchSize::SmallInput);
    });
    group.bench_function("difference test", |b| {
        let fresh = || DifferenceTest::new(0.02, Side::Both);
        let look = |test: &mut DifferenceTest| test.observe(WEIGHT, black_box(&bins));
        b.iter_batched_ref(fresh, look, BatchSize::SmallInput);
    });
    group.bench_function("errors in 50 segments, latency and divergence, one verdict", |b| {
        let fresh = || (vec![ArmTest::new(1.0); SEGMENTS + 2], TailTest::standard());
        let look = |(arms, tail): &mut (Vec<ArmTest>, TailTest)| {
            for test in arms.iter_mut() {
                test.observe(WEIGHT, black_box(Arms::new(18, 2)));
            }
            for (at, counts) in black_box(slow).into_iter().enumerate() {
                tail.observe(WEIGHT, at, counts);
            }
            let (all, segments) = arms.split_at(2);
            let (errors, divergence) = (all.first().unwrap().e_value(), all.last().unwrap().e_value());
            let errors = with_segments(errors, segments.iter().map(ArmTest::e_value), SEGMENTS);
            let shares = [(0.5, errors), (0.3, tail.e_value()), (0.2, divergence)];
            weighted_mean(shares.map(|(share, e_value)| Share { share, e_value }))
        };
        b.iter_batched_ref(fresh, look, BatchSize::SmallInput);
    });
    group.finish();
}
