//! A small server that says what it is told, for tests.

use std::io::{BufRead as _, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};

use serde_json::Value;

use super::{AccessArgs, Server};

/// A server that answers one connection after the other: one text for each, as it stands.
pub(in super::super) struct Fake {
    pub(in super::super) url: String,
    heads: Arc<Mutex<Vec<String>>>,
}

impl Fake {
    pub(in super::super) fn start(answers: Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let heads = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heads);
        std::thread::spawn(move || {
            for answer in answers {
                let (stream, _) = listener.accept().unwrap();
                serve(&stream, &stream, &answer, &log);
            }
        });
        Self { url, heads }
    }

    pub(in super::super) fn server(&self) -> Server {
        Server::new(&self.url, &AccessArgs::default()).unwrap()
    }

    /// Heads and bodies of the requests so far.
    pub(in super::super) fn requests(&self) -> Vec<String> {
        self.heads.lock().unwrap().clone()
    }
}

pub(super) fn serve(read: impl Read, mut write: impl Write, answer: &str, log: &Mutex<Vec<String>>) {
    let mut reader = BufReader::new(read);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
            length = value.trim().parse().unwrap();
        }
        if line.trim().is_empty() {
            break;
        }
        head.push_str(&line);
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    log.lock().unwrap().push(head + &String::from_utf8(body).unwrap());
    let _ = write.write_all(answer.as_bytes());
}

/// An answer with a JSON body.
pub(in super::super) fn answer(status: u16, body: &Value) -> String {
    let body = body.to_string();
    format!("HTTP/1.1 {status} X\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

/// A stream of these events, which then breaks off.
pub(in super::super) fn stream(events: &[Value]) -> String {
    let events: String = events.iter().map(|event| format!(": alive\n\ndata: {event}\n\n")).collect();
    format!("HTTP/1.1 200 X\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n{events}")
}
