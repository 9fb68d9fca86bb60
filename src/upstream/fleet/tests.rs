//! Fleets against real sockets: who is asked, and what becomes of a request whose endpoint fails.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::{LocalSet, spawn_local};

use super::*;
use crate::base::Weight;
use crate::upstream::{Address, EndpointSpec, Health, OutlierSpec, UpstreamSpec};

type TestBody = crate::wire::body::Source;

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let limited = async { tokio::time::timeout(Duration::from_secs(20), test).await };
    LocalSet::new().block_on(&runtime, limited).expect("the test hangs");
}

/// A server that answers with its name and this status; how often it was asked.
async fn server(name: &'static str, status: u16) -> (SocketAddr, Rc<Cell<usize>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let asked = Rc::<Cell<usize>>::default();
    let count = asked.clone();
    spawn_local(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let count = count.clone();
            let service = service_fn(move |_| {
                count.set(count.get() + 1);
                let answer =
                    Response::builder().status(status).body(Full::new(Bytes::from_static(name.as_bytes())));
                async move { Ok::<_, Infallible>(answer.unwrap()) }
            });
            spawn_local(async move {
                let _ = hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    });
    (address, asked)
}

/// An address where nobody listens, for as long as the socket is held.
fn refusing() -> (socket2::Socket, SocketAddr) {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let address = socket.local_addr().unwrap().as_socket().unwrap();
    (socket, address)
}

fn fleet(addresses: &[SocketAddr], change: impl FnOnce(&mut UpstreamSpec)) -> Rc<Fleet<TestBody>> {
    let place = |address: &SocketAddr| EndpointSpec {
        address: Address::Tcp { host: address.ip().to_string(), port: address.port() },
        authority: address.to_string(),
    };
    let first = place(&addresses[0]);
    let mut spec = UpstreamSpec::new(first.address, first.authority);
    spec.others = addresses[1..].iter().map(place).collect();
    change(&mut spec);
    Fleet::new(Arc::new(Cluster::new(&spec).unwrap()))
}

fn post() -> Request<TestBody> {
    let body = TestBody::from(Bytes::from_static(b"hello"));
    Request::builder().method("POST").uri("/").body(body).unwrap()
}

async fn ask(fleet: &Fleet<TestBody>) -> Result<String, FaultKind> {
    let answer = fleet.send(post()).await.map_err(|error| error.fault.kind)?;
    let bytes = answer.into_body().collect().await.unwrap().to_bytes();
    Ok(String::from_utf8(bytes.to_vec()).unwrap())
}

#[test]
fn a_lone_endpoint_is_its_pool_and_nothing_is_boxed() {
    run(async {
        let (address, asked) = server("a", 200).await;
        let fleet = fleet(&[address], |_| ());
        assert!(matches!(fleet.send(post()).way, Way::One { .. }));
        assert_eq!(ask(&fleet).await.unwrap(), "a");
        assert_eq!((asked.get(), fleet.cluster().is_lone()), (1, true));
        let answer = fleet.send(post()).await.unwrap();
        assert!(answer.extensions().is_empty());
    });
}

#[test]
fn requests_are_shared_out() {
    run(async {
        let (a, b, c) = (server("a", 200).await, server("b", 200).await, server("c", 200).await);
        let fleet = fleet(&[a.0, b.0, c.0], |_| ());
        for _ in 0..300 {
            ask(&fleet).await.unwrap();
        }
        for (_, asked) in [a, b, c] {
            // How many it gets is a matter of how long its answers take here; that is measured in
            // `choose` and `load`.
            assert!(asked.get() > 0);
        }
    });
}

#[test]
fn a_request_that_never_left_goes_to_another_endpoint_and_its_own_is_soon_left_out() {
    run(async {
        let (_held, nobody) = refusing();
        let (address, asked) = server("a", 200).await;
        let fleet = fleet(&[nobody, address], |_| ());
        for _ in 0..100 {
            assert_eq!(ask(&fleet).await.unwrap(), "a");
        }
        assert_eq!(asked.get(), 100);
        // What failed once counts as slow, so it is not asked often; forget that, and it is ejected.
        for _ in 0..5 {
            fleet.cluster().failed(&fleet.cluster().members()[0], false);
        }
        assert_eq!(fleet.cluster().standings()[2], 1);
        let before = fleet.resent();
        assert!(before > 0);
        for _ in 0..100 {
            ask(&fleet).await.unwrap();
        }
        assert_eq!(fleet.resent(), before);
    });
}

#[test]
fn where_nobody_is_there_the_request_fails_after_its_moves_and_comes_back_whole() {
    run(async {
        let (_a, a) = refusing();
        let (_b, b) = refusing();
        let fleet = fleet(&[a, b], |spec| spec.balance.moves = 1);
        let error = fleet.send(post()).await.unwrap_err();
        assert_eq!((error.fault.kind, fleet.resent()), (FaultKind::ConnectFailed, 1));
        let body = error.unsent.unwrap().into_body().collect().await.unwrap().to_bytes();
        assert_eq!(body, "hello");
    });
}

#[test]
fn an_endpoint_that_answers_5xx_is_taken_out_and_comes_back() {
    run(async {
        let (bad, asked) = server("bad", 503).await;
        let (good, _) = server("good", 200).await;
        let fleet = fleet(&[bad, good], |spec| {
            let base = Duration::from_secs(10);
            spec.balance.outlier = Some(OutlierSpec { base, consecutive: 3, ..OutlierSpec::default() });
        });
        // Few requests at one time: cost decides, so fill the good one until the bad one has failed.
        let mut held = Vec::new();
        while fleet.cluster().stats().ejections == 0 {
            held.push(fleet.send(post()).await.unwrap());
            assert!(held.len() < 10_000);
        }
        let failed = asked.get();
        assert_eq!(failed, 3);
        held.clear();
        for _ in 0..50 {
            assert_eq!(ask(&fleet).await.unwrap(), "good");
        }
        assert_eq!(asked.get(), failed);
        assert_eq!((fleet.cluster().standings()[2], fleet.view().1.len()), (1, 1));
        tokio::time::pause();
        tokio::time::advance(Duration::from_secs(10)).await;
        assert_eq!((fleet.cluster().standings()[2], fleet.view().1.len()), (0, 2));
    });
}

/// A server whose every answer is `answer`, and then nothing.
async fn says(answer: &'static str) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    spawn_local(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut read = [0; 4096];
            let mut length = 0;
            while !read[..length].ends_with(b"hello") {
                length += stream.read(&mut read[length..]).await.unwrap();
            }
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
    });
    address
}

/// Asks until an endpoint is ejected, holding what is answered in full; how many answers there were that
/// were not, at most `most`.
async fn broken_until_ejected(fleet: &Fleet<TestBody>, most: usize) -> usize {
    let (mut held, mut broken) = (Vec::new(), 0);
    while fleet.cluster().stats().ejections == 0 && broken < most {
        // The cheaper one is asked: what is held makes the good one dear.
        let answer = fleet.send(post()).await.unwrap();
        if answer.headers().contains_key("x-good") {
            held.push(answer);
            assert!(held.len() < 10_000);
        } else {
            broken += usize::from(answer.into_body().collect().await.is_err());
        }
    }
    broken
}

#[test]
fn an_endpoint_whose_answers_break_off_is_taken_out() {
    run(async {
        let bad = says("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel").await;
        let good = says("HTTP/1.1 200 OK\r\nx-good: 1\r\ncontent-length: 5\r\n\r\nhello").await;
        let fleet = fleet(&[bad, good], |_| ());
        assert_eq!(broken_until_ejected(&fleet, 20).await, 5);
        assert_eq!(fleet.cluster().members()[0].failures(), 0);
    });
}

#[test]
fn an_answer_counts_as_good_at_its_end_whether_or_not_it_is_read_beyond() {
    run(async {
        for (answer, frames) in [
            ("HTTP/1.1 204 No Content\r\n\r\n", 0),
            ("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello", 1),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\na: b\r\n\r\n", 2),
            ("HTTP/1.1 200 OK\r\n\r\nhello", 2),
        ] {
            let fleet = fleet(&[says(answer).await], |spec| spec.balance.max_requests = Some(9));
            let endpoint = fleet.cluster().members()[0].clone();
            fleet.cluster().failed(&endpoint, true);
            let mut body = fleet.send(post()).await.unwrap().into_body();
            for left in (0..frames).rev() {
                assert_eq!(endpoint.failures(), 1, "{answer:?}, {left} to come");
                let _ = body.frame().await;
            }
            assert_eq!(endpoint.failures(), 0, "{answer:?}");
        }
    });
}

#[test]
fn an_answer_that_is_not_read_to_its_end_says_nothing() {
    run(async {
        let answer = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhel";
        let fleet = fleet(&[says(answer).await], |spec| spec.balance.max_requests = Some(9));
        let endpoint = fleet.cluster().members()[0].clone();
        fleet.cluster().failed(&endpoint, true);
        drop(fleet.send(post()).await.unwrap());
        assert_eq!(endpoint.failures(), 1);
    });
}

#[test]
fn who_is_unwell_gets_nothing_unless_most_are() {
    run(async {
        let servers = [server("a", 200).await, server("b", 200).await, server("c", 200).await];
        let fleet = fleet(&servers.each_ref().map(|(address, _)| *address), |_| ());
        let members = fleet.cluster().members();
        fleet.cluster().set_health(&members[0], Health::Unwell);
        for _ in 0..60 {
            ask(&fleet).await.unwrap();
        }
        assert_eq!(servers[0].1.get(), 0);
        fleet.cluster().set_health(&members[1], Health::Unwell);
        for _ in 0..200 {
            ask(&fleet).await.unwrap();
        }
        assert!(servers[0].1.get() > 0, "two of three are out: a check that is wrong must not matter");
        fleet.cluster().set_health(&members[0], Health::Well);
        fleet.cluster().set_health(&members[1], Health::Well);
        assert_eq!(fleet.view().1.len(), 3);
    });
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_is_back_begins_with_few_requests_however_fast_it_looks() {
    let place = |port| SocketAddr::from(([127, 0, 0, 1], port));
    let fleet = fleet(&[place(1), place(2), place(3)], |spec| {
        spec.balance.slow_start = Duration::from_secs(1_000);
    });
    tokio::time::advance(Duration::from_secs(2_000)).await;
    for member in fleet.view().0.iter().skip(1) {
        let mut busy = Busy::new(member.load.clone(), Instant::now());
        tokio::time::advance(Duration::from_millis(100)).await;
        busy.answered(&Response::new(()));
    }
    let back = fleet.cluster().members()[0].clone();
    fleet.cluster().set_health(&back, Health::Unwell);
    fleet.cluster().set_health(&back, Health::Well);
    let share = || {
        let taken = (0..4_000).filter(|_| {
            let best = fleet.best(&Avoid::default()).unwrap();
            Arc::ptr_eq(&best.load.endpoint, &back)
        });
        taken.count()
    };
    // The cheapest of three is in two of three pairs.
    let begins = share();
    assert!((150..450).contains(&begins), "a tenth of that: {begins}");
    tokio::time::advance(Duration::from_millis(500_000)).await;
    assert!((1_000..1_700).contains(&share()), "half of it");
    tokio::time::advance(Duration::from_millis(500_000)).await;
    assert!(share() > 2_400);
}

#[test]
fn beyond_the_limit_of_requests_others_are_chosen_and_then_it_is_refused() {
    run(async {
        let (a, b) = (server("a", 200).await, server("b", 200).await);
        let fleet = fleet(&[a.0, b.0], |spec| spec.balance.max_requests = Some(2));
        let mut held = Vec::new();
        for _ in 0..4 {
            held.push(fleet.send(post()).await.unwrap());
        }
        assert_eq!((a.1.get(), b.1.get()), (2, 2));
        let error = fleet.send(post()).await.unwrap_err();
        assert_eq!((error.fault.kind, error.unsent.is_some()), (FaultKind::Overloaded, true));
        held.pop();
        assert!(ask(&fleet).await.is_ok());
        assert_eq!(fleet.cluster().standings(), [2, 0, 0]);
    });
}

#[test]
fn a_repetition_goes_where_the_request_has_not_been() {
    run(async {
        let (a, b) = (server("a", 200).await, server("b", 200).await);
        let fleet = fleet(&[a.0, b.0], |_| ());
        for _ in 0..20 {
            let tried = Tried::default();
            let ask = async || {
                let mut request = post();
                request.extensions_mut().insert(tried.clone());
                fleet.send(request).await.unwrap().into_body().collect().await.unwrap().to_bytes()
            };
            assert_ne!(ask().await, ask().await);
            // Where all have been tried, any is better than none.
            ask().await;
        }
    });
}

#[test]
fn a_repetition_of_what_was_given_up_goes_elsewhere_too() {
    run(async {
        let (a, b) = (server("a", 200).await, server("b", 200).await);
        let fleet = fleet(&[a.0, b.0], |_| ());
        for _ in 0..20 {
            let tried = Tried::default();
            for _ in 0..2 {
                let mut request = post();
                request.extensions_mut().insert(tried.clone());
                let mut sending = std::pin::pin!(fleet.send(request));
                // It is on its way, and dropped.
                let waits =
                    std::future::poll_fn(|cx| Poll::Ready(sending.as_mut().poll(cx).is_pending())).await;
                assert!(waits);
            }
            let asked = tried.endpoints();
            assert!(asked.len() == 2 && !Arc::ptr_eq(&asked[0], &asked[1]), "{asked:?}");
        }
    });
}

#[test]
fn members_that_come_and_go_are_followed() {
    run(async {
        let (address, _) = server("a", 200).await;
        let fleet = fleet(&[address], |spec| {
            spec.address = Address::Tcp { host: "localhost".to_owned(), port: address.port() };
            spec.balance.resolve = Some(Duration::from_secs(5));
            spec.balance.panic_below = Weight::ZERO;
        });
        assert!(!fleet.cluster().is_lone());
        assert_eq!(ask(&fleet).await.unwrap(), "a");
        let before = fleet.view().0;
        fleet.cluster().resolve().await;
        let after = fleet.view().0;
        assert!(!Rc::ptr_eq(&before, &after));
        // `localhost` may be two addresses, of which the server listens on one.
        for _ in 0..20 {
            assert_eq!(ask(&fleet).await.unwrap(), "a");
        }
        assert!(Rc::ptr_eq(&after, &fleet.view().0));
    });
}
