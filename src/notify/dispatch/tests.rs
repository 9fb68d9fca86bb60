//! The notifier with receivers that listen on real sockets, and a spool that fails when it is told to.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::super::tests::event;
use super::*;
use crate::notify::event::EventKind;
use crate::notify::spool::{MemorySpool, SpoolError};
use crate::notify::{Backoff, Notifier, NotifySpec, Options, Receiver as Kind, Receivers, Secret};

/// Nothing that a test waits for takes this long.
const LIMIT: Duration = Duration::from_secs(20);

/// A receiver that answers with a status and tells which deliveries it was sent.
struct Hook {
    address: SocketAddr,
    status: Arc<AtomicU16>,
    deliveries: Receiver<String>,
}

impl Hook {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (address, status) = (listener.local_addr().unwrap(), Arc::new(AtomicU16::new(200)));
        let (say, deliveries) = channel();
        let answers = Arc::clone(&status);
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let mut reader = BufReader::new(stream);
                let (mut delivery, mut length) = (String::new(), 0);
                loop {
                    let mut line = String::new();
                    if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
                        break;
                    }
                    let (name, value) = line.split_once(':').unwrap_or((&line, ""));
                    match name {
                        "x-switchback-delivery" => value.trim().clone_into(&mut delivery),
                        "content-length" => length = value.trim().parse().unwrap(),
                        _ => {}
                    }
                }
                reader.read_exact(&mut vec![0; length]).unwrap();
                let status = answers.load(Ordering::SeqCst);
                let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
                let _ = reader.get_mut().write_all(answer.as_bytes());
                if say.send(delivery).is_err() {
                    return;
                }
            }
        });
        Self { address, status, deliveries }
    }

    fn next(&self) -> String {
        self.deliveries.recv_timeout(LIMIT).expect("it is told")
    }

    fn spec(&self, name: &str) -> NotifySpec {
        let url = Secret::new(format!("http://{}/", self.address));
        let mut spec = NotifySpec::new(name, Kind::Webhook { url, secret: None, headers: Vec::new() });
        spec.environment_proxy = false;
        spec
    }
}

/// A spool in memory that takes nothing out while it is stuck, as on a full disk.
#[derive(Clone)]
struct Shared {
    spool: Arc<Mutex<MemorySpool>>,
    stuck: Arc<AtomicBool>,
}

impl Shared {
    fn new() -> Self {
        Self { spool: Arc::new(Mutex::new(MemorySpool::default())), stuck: Arc::default() }
    }

    fn waiting(&self, sink: &str) -> Option<Delivery> {
        self.spool.lock().unwrap().due(sink, &[]).unwrap()
    }
}

impl Spool for Shared {
    fn put(&mut self, delivery: &Delivery) -> Result<bool, SpoolError> {
        self.spool.lock().unwrap().put(delivery)
    }

    fn due(&mut self, sink: &str, over: &[String]) -> Result<Option<Delivery>, SpoolError> {
        self.spool.lock().unwrap().due(sink, over)
    }

    fn done(&mut self, id: &str) -> Result<(), SpoolError> {
        match self.stuck.load(Ordering::SeqCst) {
            true => Err(SpoolError("the disk is full".to_owned())),
            false => self.spool.lock().unwrap().done(id),
        }
    }

    fn failed(&mut self, id: &str, next_ms: u64) -> Result<(), SpoolError> {
        self.spool.lock().unwrap().failed(id, next_ms)
    }

    fn keep_only(&mut self, sinks: &[&str]) -> Result<usize, SpoolError> {
        self.spool.lock().unwrap().keep_only(sinks)
    }
}

fn news(id: &str) -> Event {
    Event { id: id.to_owned(), at_ms: now_ms(), ..event(EventKind::RolledBack) }
}

fn start(specs: Vec<NotifySpec>, spool: &Shared) -> Notifier {
    let backoff = Backoff { first: Duration::from_secs(60), ..Backoff::default() };
    let patience = Patience { backoff, ..Patience::default() };
    let options = Options { patience, ..Options::default() };
    Notifier::start(Receivers::prepare(specs).unwrap(), Box::new(spool.clone()), options).unwrap()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < LIMIT, "waited in vain: {what}");
        std::thread::yield_now();
    }
}

#[test]
fn what_was_delivered_and_cannot_be_taken_out_holds_up_nothing() {
    let (hook, spool) = (Hook::start(), Shared::new());
    let notifier = start(vec![hook.spec("ops")], &spool);
    spool.stuck.store(true, Ordering::SeqCst);
    for id in ["1", "2", "3"] {
        notifier.notify(news(id)).unwrap();
        assert_eq!(hook.next(), format!("{id}/ops"));
    }
    assert_eq!(spool.waiting("ops").unwrap().id, "1/ops", "it is still there");
    // Taken out as soon as that works, and never sent again.
    spool.stuck.store(false, Ordering::SeqCst);
    until("an empty spool", || spool.waiting("ops").is_none());
    notifier.notify(news("4")).unwrap();
    assert_eq!(hook.next(), "4/ops");
    assert!(notifier.stop(LIMIT));
    assert!(hook.deliveries.try_recv().is_err());
}

#[test]
fn too_much_that_cannot_be_taken_out_holds_up_what_comes_later() {
    let (hook, spool) = (Hook::start(), Shared::new());
    let notifier = start(vec![hook.spec("ops")], &spool);
    spool.stuck.store(true, Ordering::SeqCst);
    for id in 0..256 {
        notifier.notify(news(&id.to_string())).unwrap();
        assert_eq!(hook.next(), format!("{id}/ops"));
    }
    notifier.notify(news("late")).unwrap();
    assert!(notifier.stop(LIMIT));
    assert!(hook.deliveries.try_recv().is_err(), "what is remembered is bounded");
    assert!(spool.spool.lock().unwrap().due("ops", &[]).unwrap().is_some());
}

#[test]
fn receivers_are_exchanged_while_news_waits() {
    let (dead, other, spool) = (Hook::start(), Hook::start(), Shared::new());
    dead.status.store(503, Ordering::SeqCst);
    let mut notifier = start(vec![dead.spec("moves"), dead.spec("goes")], &spool);
    notifier.notify(news("1")).unwrap();
    assert_eq!([dead.next(), dead.next()].map(|id| id.contains("1/")), [true; 2]);
    let stats = Arc::clone(notifier.stats());
    until("both failed", || stats.sinks().iter().all(|(_, sink)| sink.retried() == 1));
    // Now it waits a minute. One receiver gets another address, one goes, one comes.
    let specs = vec![other.spec("moves"), other.spec("comes")];
    notifier.replace(Receivers::prepare(specs).unwrap());
    assert_eq!(other.next(), "1/moves", "tried at the new address at once");
    until("it is counted", || stats.discarded() == 1);
    assert!(spool.waiting("goes").is_none());
    notifier.notify(news("2")).unwrap();
    let mut told = [other.next(), other.next()];
    told.sort();
    assert_eq!(told, ["2/comes", "2/moves"]);
    assert!(notifier.stop(LIMIT));
    assert!(dead.deliveries.try_recv().is_err(), "who has gone is told nothing");
    let names: Vec<String> = stats.sinks().iter().map(|(name, _)| name.clone()).collect();
    assert_eq!(names, ["moves", "comes"]);
    let moved = stats.sink("moves").unwrap();
    assert_eq!((moved.sent(), moved.retried()), (2, 1), "it goes on counting");
}

#[test]
fn what_a_receiver_has_not_answered_yet_is_not_sent_twice_when_it_moves() {
    let (slow, other, spool) = (TcpListener::bind("127.0.0.1:0").unwrap(), Hook::start(), Shared::new());
    let mut spec = other.spec("ops");
    let url = Secret::new(format!("http://{}/", slow.local_addr().unwrap()));
    spec.receiver = Kind::Webhook { url, secret: None, headers: Vec::new() };
    let mut notifier = start(vec![spec], &spool);
    notifier.notify(news("1")).unwrap();
    let (mut asked, _) = slow.accept().unwrap();
    notifier.replace(Receivers::prepare(vec![other.spec("ops")]).unwrap());
    notifier.notify(news("2")).unwrap();
    // The old address answers at last.
    asked.write_all(b"HTTP/1.1 200 x\r\ncontent-length: 0\r\n\r\n").unwrap();
    assert_eq!(other.next(), "2/ops");
    assert!(notifier.stop(LIMIT));
    assert!(other.deliveries.try_recv().is_err());
}

#[test]
fn what_waits_for_nobody_is_discarded_when_it_starts() {
    let (hook, spool) = (Hook::start(), Shared::new());
    for sink in ["gone", "ops"] {
        let json = serde_json::to_string(&news("1")).unwrap();
        spool.spool.lock().unwrap().put(&Delivery::new(sink, &news("1"), json)).unwrap();
    }
    let notifier = start(vec![hook.spec("ops")], &spool);
    assert_eq!(hook.next(), "1/ops");
    assert_eq!(notifier.stats().discarded(), 1);
    assert!(spool.waiting("gone").is_none());
}

#[test]
fn receivers_that_cannot_be_told_are_refused_by_name() {
    let hook = Hook::start();
    let twice = Receivers::prepare(vec![hook.spec("a"), hook.spec("a")]).unwrap_err();
    assert!(twice.to_string().contains("\"a\""), "{twice}");
    let many = (0..33).map(|n| hook.spec(&n.to_string())).collect();
    assert!(Receivers::prepare(many).unwrap_err().to_string().contains("33"));
    let spec = NotifySpec { ca: Some("/nowhere/ca.pem".into()), ..hook.spec("a") };
    assert!(Receivers::prepare(vec![spec]).unwrap_err().to_string().contains("/nowhere/ca.pem"));
}
