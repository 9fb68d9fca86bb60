//! A request through the sidecar beside the same request without it: the real binary with one
//! worker, over loopback, against an upstream that does nothing, one request at a time.
//!
//! The difference of the two is the latency that Switchback adds. Throughput and CPU per request
//! under load are `load-tests/`' business.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a bench may panic")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use criterion::{Criterion, Throughput};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(2))
        .configure_from_args();
    for (size, bytes) in [("small", 148), ("1 MiB", 1024 * 1024)] {
        end_to_end(&mut criterion, size, bytes);
    }
    criterion.final_summary();
}

fn end_to_end(criterion: &mut Criterion, size: &str, bytes: usize) {
    let upstream = upstream(bytes);
    let mut group = criterion.benchmark_group(format!("{size} answers"));
    group.throughput(Throughput::Bytes(bytes as u64));
    let mut direct = Client::connect(upstream);
    group.bench_function("direct", |b| b.iter(|| direct.ask(bytes)));
    let split = Sidecar::start(&format!(
        "    versions:
      - {{name: v1, weight: 90%, upstream: {{url: \"http://{upstream}\"}}}}
      - {{name: v2, weight: 10%, upstream: {{url: \"http://{upstream}\"}}}}
"
    ));
    let mut client = Client::connect(split.address);
    group.bench_function("split", |b| b.iter(|| client.ask(bytes)));
    let mirrored = Sidecar::start(&format!(
        "    versions:
      - {{name: v1, upstream: {{url: \"http://{upstream}\"}}}}
      - {{name: v2, upstream: {{url: \"http://{upstream}\"}}}}
    mirror: [{{to: v2}}]
"
    ));
    let mut client = Client::connect(mirrored.address);
    group.bench_function("split and mirrored", |b| b.iter(|| client.ask(bytes)));
    group.finish();
}

/// A server that answers every request with so many bytes.
fn upstream(bytes: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {bytes}\r\n\r\n").into_bytes();
    answer.resize(answer.len() + bytes, b'x');
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            let answer = answer.clone();
            std::thread::spawn(move || serve(stream, &answer));
        }
    });
    address
}

fn serve(mut stream: TcpStream, answer: &[u8]) {
    stream.set_nodelay(true).unwrap();
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer) {
        seen.extend(buffer.iter().take(read));
        // The body of every request ends with this, and nothing else has it.
        if seen.ends_with(END) {
            seen.clear();
            if stream.write_all(answer).is_err() {
                return;
            }
        }
    }
}

const END: &[u8] = b"\"end\"]}";

/// A connection that asks one thing at a time.
struct Client {
    stream: TcpStream,
    request: Vec<u8>,
    buffer: Vec<u8>,
}

impl Client {
    fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        let body = [b"{\"inputs\": [\"".as_slice(), &[b'1'; 280], b"\", ", END].concat();
        let length = body.len();
        let head = format!("POST /v2/models/m/infer HTTP/1.1\r\nhost: m\r\ncontent-length: {length}\r\n\r\n");
        Self { stream, request: [head.into_bytes(), body].concat(), buffer: vec![0; 256 * 1024] }
    }

    /// Sends the request and reads an answer whose body has so many bytes.
    fn ask(&mut self, bytes: usize) {
        self.stream.write_all(&self.request).unwrap();
        let mut head = Vec::new();
        let mut missing = None;
        while missing != Some(0) {
            let read = self.stream.read(&mut self.buffer).unwrap();
            assert!(read > 0, "the connection was closed");
            missing = match missing {
                Some(left) => Some(left - read),
                None => {
                    head.extend(self.buffer.iter().take(read));
                    let end = head.windows(4).position(|w| w == b"\r\n\r\n");
                    end.map(|end| bytes - (head.len() - end - 4))
                }
            };
        }
        assert!(head.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&head));
    }
}

/// The binary with one worker; killed when dropped.
struct Sidecar {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Sidecar {
    fn start(versions: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("switchback.yaml");
        let config = format!(
            "workers: 1\nlisteners: [{{name: main, address: 127.0.0.1:0}}]\nadmin: {{address: 127.0.0.1:0}}\nmodels:\n  - name: m\n{versions}"
        );
        std::fs::write(&path, config).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_switchback"))
            .arg("serve")
            .arg("--config")
            .arg(&path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let main = line.split_whitespace().find_map(|word| word.strip_prefix("main="));
        let address = main.unwrap_or_else(|| panic!("not ready: {line:?}")).parse().unwrap();
        Self { child, address, _folder: folder }
    }
}

impl Drop for Sidecar {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
