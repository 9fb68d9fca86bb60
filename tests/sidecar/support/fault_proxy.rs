//! A proxy that breaks what passes through it: to be put between any two parts.

use std::io::{Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, Weak};
use std::thread::sleep;
use std::time::Duration;

/// What is done to the bytes of one direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Harm {
    /// Nothing.
    None,
    /// Every piece comes this much later.
    Delay(Duration),
    /// A byte at a time, so many of them; then whole.
    Trickle(usize),
    /// After so many bytes the connection is closed in order.
    CutAfter(usize),
    /// After so many bytes it is reset.
    ResetAfter(usize),
    /// After so many bytes this direction is closed and the other goes on.
    HalfCloseAfter(usize),
    /// After so many bytes come others than were sent.
    GarbageAfter(usize),
    /// After so many bytes nothing comes any more, and the connection stays open.
    HangAfter(usize),
}

/// What is done to both directions of connections that begin from now on.
#[derive(Debug, Clone, Copy)]
pub struct Harms {
    /// From who connects to the server.
    pub there: Harm,
    /// From the server back.
    pub back: Harm,
}

impl Harms {
    /// Nothing.
    pub const NONE: Self = Self { there: Harm::None, back: Harm::None };
}

/// A listening proxy.
pub struct FaultProxy {
    /// Where it listens.
    pub address: SocketAddr,
    harms: Arc<Mutex<Harms>>,
    /// Held weakly: a socket is reset when the last who holds it lets go.
    streams: Arc<Mutex<Vec<Weak<TcpStream>>>>,
}

impl FaultProxy {
    /// A proxy before `behind` that harms nothing yet.
    pub fn before(behind: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let harms = Arc::new(Mutex::new(Harms::NONE));
        let streams = Arc::<Mutex<Vec<Weak<TcpStream>>>>::default();
        let (chosen, open) = (harms.clone(), streams.clone());
        std::thread::spawn(move || {
            for front in listener.incoming().map_while(Result::ok) {
                let Ok(back) = TcpStream::connect(behind) else { continue };
                let harms = *chosen.lock().unwrap();
                let _ = (front.set_nodelay(true), back.set_nodelay(true));
                let (front, back) = (Arc::new(front), Arc::new(back));
                {
                    let mut open = open.lock().unwrap();
                    open.retain(|stream| stream.strong_count() > 0);
                    open.extend([&front, &back].map(Arc::downgrade));
                }
                let (front2, back2) = (front.clone(), back.clone());
                std::thread::spawn(move || pass(&front, &back, harms.there));
                std::thread::spawn(move || pass(&back2, &front2, harms.back));
            }
        });
        Self { address, harms, streams }
    }

    /// Harms connections that begin from now on. Those that are there are closed, so that none of
    /// them is used any more.
    pub fn set(&self, harms: Harms) {
        *self.harms.lock().unwrap() = harms;
        for stream in self.streams.lock().unwrap().drain(..).filter_map(|stream| stream.upgrade()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    /// Its address as a URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Moves bytes one way.
fn pass(mut from: &TcpStream, mut to: &TcpStream, harm: Harm) {
    let (mut buffer, mut passed) = ([0; 16 * 1024], 0);
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) | Err(_) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Ok(read) => read,
        };
        let mut bytes = buffer[..read].to_vec();
        let limit = match harm {
            Harm::CutAfter(n)
            | Harm::ResetAfter(n)
            | Harm::HalfCloseAfter(n)
            | Harm::GarbageAfter(n)
            | Harm::HangAfter(n) => n,
            _ => usize::MAX,
        };
        let whole = bytes.len().min(limit - passed.min(limit));
        match harm {
            Harm::Delay(time) => sleep(time),
            Harm::GarbageAfter(_) => bytes[whole..].iter_mut().for_each(|byte| *byte = !*byte),
            Harm::None | Harm::Trickle(_) => {}
            _ => bytes.truncate(whole),
        }
        let sent = match harm {
            Harm::Trickle(n) if passed < n => {
                let (slow, rest) = bytes.split_at(bytes.len().min(n - passed));
                let trickled = slow.iter().try_for_each(|byte| {
                    sleep(Duration::from_millis(1));
                    to.write_all(&[*byte])
                });
                trickled.and_then(|()| to.write_all(rest))
            }
            _ => to.write_all(&bytes),
        };
        passed += bytes.len();
        if sent.is_err() {
            let _ = from.shutdown(Shutdown::Both);
            return;
        }
        if passed < limit {
            continue;
        }
        match harm {
            Harm::CutAfter(_) => {
                let _ = (to.shutdown(Shutdown::Both), from.shutdown(Shutdown::Both));
                return;
            }
            Harm::ResetAfter(_) => {
                // Closing it resets it: here, and in the other direction's thread, which this wakes.
                let _ = socket2::SockRef::from(to).set_linger(Some(Duration::ZERO));
                let _ = (to.shutdown(Shutdown::Read), from.shutdown(Shutdown::Both));
                return;
            }
            Harm::HalfCloseAfter(_) => {
                let _ = to.shutdown(Shutdown::Write);
                return;
            }
            Harm::HangAfter(_) => while matches!(from.read(&mut buffer), Ok(1..)) {},
            _ => {}
        }
    }
}
