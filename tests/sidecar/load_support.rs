//! `switchback load` as a process, and servers whose slowness is known.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;

use crate::support::raw_upstream;

/// Runs `switchback load` to its end.
pub fn load(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchback")).arg("load").args(arguments).output().unwrap()
}

/// The same with `--output json`: the exit code and the result.
pub fn result(arguments: &[&str]) -> (i32, Value) {
    let output = load(&[arguments, &["--output", "json", "--quiet"]].concat());
    let said = String::from_utf8_lossy(&output.stderr);
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{e}: {said}"));
    (output.status.code().unwrap(), json)
}

/// Starts `switchback load` and leaves it running.
pub fn start(arguments: &[&str]) -> Child {
    Command::new(env!("CARGO_BIN_EXE_switchback"))
        .arg("load")
        .args(arguments)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Sends a signal to a process that the test started.
pub fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap().success());
}

/// A request as a simple server sees it.
pub struct Asked {
    /// Method and path.
    pub line: String,
    /// The body.
    pub body: Vec<u8>,
}

/// An HTTP/1.1 server with a thread for each connection, which answers with what `answer` writes.
pub fn server(answer: impl Fn(&Asked, &mut TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let answer = Arc::new(answer);
    raw_upstream(move |stream| {
        let _ = stream.set_nodelay(true);
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        while let Some(asked) = read(&mut reader) {
            answer(&asked, &mut writer);
        }
    })
}

/// The same, and how many requests it has got; `answer` is told which one this is, from 0.
pub fn counting(
    answer: impl Fn(u64, &mut TcpStream) + Send + Sync + 'static,
) -> (SocketAddr, Arc<AtomicU64>) {
    let seen = Arc::<AtomicU64>::default();
    let count = Arc::clone(&seen);
    let address = server(move |_, stream| answer(count.fetch_add(1, Ordering::SeqCst), stream));
    (address, seen)
}

/// Waits until a counting server has got so many requests.
pub fn until(seen: &AtomicU64, count: u64) {
    while seen.load(Ordering::SeqCst) < count {
        std::thread::yield_now();
    }
}

fn read(reader: &mut BufReader<TcpStream>) -> Option<Asked> {
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|n| *n > 0)?;
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        reader.read_line(&mut header).ok().filter(|n| *n > 0)?;
        if header.trim().is_empty() {
            break;
        }
        headers.push(header.trim().to_lowercase());
    }
    let length = headers.iter().find_map(|h| h.strip_prefix("content-length:"));
    let mut body = vec![0; length.map_or(0, |length| length.trim().parse().unwrap())];
    reader.read_exact(&mut body).ok()?;
    Some(Asked { line: line.trim().to_owned(), body })
}

/// Writes an answer of known length.
pub fn reply(stream: &mut TcpStream, status: u16, body: &str) {
    let head = format!(
        "HTTP/1.1 {status} X\r\ncontent-length: {}\r\ncontent-type: application/json\r\n\r\n",
        body.len()
    );
    let _ = stream.write_all(format!("{head}{body}").as_bytes());
}
