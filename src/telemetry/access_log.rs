//! The access log: a sample of requests, one JSON object per line.
//!
//! Workers hand entries to one writer thread through a bounded queue and never wait: when the
//! queue is full the entry is dropped and the worker counts it. Every field is bounded, and so are
//! line and queue. The file is opened once, for
//! appending: rotate it by copy and truncate.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};

use crate::base::{FaultKind, ModelName, Role, VersionName, Weight};

use super::rfc3339;

/// Entries that may wait for the writer.
pub const QUEUE: usize = 4096;

/// Longest line in bytes: what a pipe takes in one piece (`PIPE_BUF`).
pub const LINE_BYTES: usize = 4096;

/// Bytes of a path that are kept.
const PATH_BYTES: usize = 448;

/// Bytes of a method that are kept; an extension method is as long as its sender likes.
const METHOD_BYTES: usize = 16;

/// Bytes of a request id that are kept.
const ID_BYTES: usize = 80;

/// One request, as it is logged when it has ended.
#[derive(Debug, Clone, Serialize)]
pub struct Entry {
    /// When its head had arrived.
    #[serde(serialize_with = "time")]
    pub time: SystemTime,
    /// The model, if one matched.
    #[serde(serialize_with = "option_text")]
    pub model: Option<ModelName>,
    /// The version that answered.
    #[serde(serialize_with = "option_text")]
    pub version: Option<VersionName>,
    /// What that version did.
    #[serde(serialize_with = "option_text")]
    pub role: Option<Role>,
    /// The version that was drawn; another one than answered after a fallback.
    #[serde(serialize_with = "option_text")]
    pub arm: Option<VersionName>,
    /// The method.
    pub method: Clipped<METHOD_BYTES>,
    /// The path, without its query: that may hold secrets.
    pub path: Clipped<PATH_BYTES>,
    /// `HTTP/1.0`, `HTTP/1.1` or `HTTP/2`.
    pub protocol: &'static str,
    /// The status that the client got.
    pub status: u16,
    /// The gRPC status, if the answer was a gRPC one.
    pub grpc_status: Option<u8>,
    /// How it ended; the words of `switchback_requests_total`.
    pub outcome: &'static str,
    /// What failed, if something in or behind Switchback did.
    #[serde(serialize_with = "fault")]
    pub fault: Option<FaultKind>,
    /// From the head to the last byte of the answer.
    #[serde(rename = "duration_seconds", serialize_with = "seconds")]
    pub duration: Duration,
    /// Length of the request's body.
    pub request_bytes: u64,
    /// Length of the answer's body.
    pub response_bytes: u64,
    /// The `x-request-id`.
    pub request_id: Option<Clipped<ID_BYTES>>,
    /// Whether a copy was granted for a shadow.
    pub mirrored: bool,
}

/// Text of at most `N` bytes; what is longer is cut at a character's border.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clipped<const N: usize>(Box<str>);

impl<const N: usize> From<&str> for Clipped<N> {
    fn from(text: &str) -> Self {
        let end = text.floor_char_boundary(N);
        Self(text.get(..end).unwrap_or_default().into())
    }
}

impl<const N: usize> Serialize for Clipped<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

/// A worker's end of the access log. Cheap to clone; the log ends when the last clone is dropped.
#[derive(Debug, Clone)]
pub struct AccessLog {
    queue: SyncSender<Entry>,
    sample: Weight,
}

/// The writer's thread.
#[derive(Debug)]
pub struct AccessLogWriter(JoinHandle<()>);

impl AccessLog {
    /// Opens `path` for appending and starts the writer. `/dev/stdout` and `/dev/stderr` are the
    /// process' own, also where opening them would fail (sockets).
    ///
    /// # Errors
    /// When the file cannot be opened or the thread cannot be started.
    pub fn start(path: &Path, sample: Weight) -> io::Result<(Self, AccessLogWriter)> {
        let sink: Box<dyn Write + Send> = match path.to_str() {
            Some("/dev/stdout") => Box::new(io::stdout()),
            Some("/dev/stderr") => Box::new(io::stderr()),
            _ => Box::new(OpenOptions::new().create(true).append(true).open(path)?),
        };
        Self::writing_to(sink, sample, QUEUE)
    }

    fn writing_to(
        sink: Box<dyn Write + Send>,
        sample: Weight,
        queue: usize,
    ) -> io::Result<(Self, AccessLogWriter)> {
        let (queue, entries) = sync_channel(queue);
        let thread = std::thread::Builder::new()
            .name("access-log".to_owned())
            .spawn(move || write_all(&entries, sink))?;
        Ok((Self { queue, sample }, AccessLogWriter(thread)))
    }

    /// Whether a request with this draw (0 to 9 999, uniform) is in the sample. To be asked before
    /// an [`Entry`] is made.
    #[inline]
    pub fn sampled(&self, draw: u16) -> bool {
        draw < self.sample.basis_points()
    }

    /// Hands over an entry without ever waiting. False when the queue was full and the entry is
    /// lost, for the worker to count.
    #[must_use = "a dropped line is to be counted"]
    pub fn write(&self, entry: Entry) -> bool {
        self.queue.try_send(entry).is_ok()
    }
}

impl AccessLogWriter {
    /// Waits until everything handed over is written. Every [`AccessLog`] must be dropped first.
    pub fn finish(self) {
        // A writer that panicked has nothing left to write; the process ends all the same.
        let _ = self.0.join();
    }
}

/// Writes entries until every worker has dropped its end; flushes whenever none waits.
fn write_all(entries: &Receiver<Entry>, sink: Box<dyn Write + Send>) {
    // Whole lines only, and no more at once than a pipe takes in one piece.
    let mut sink = BufWriter::with_capacity(LINE_BYTES, sink);
    let mut line = Vec::with_capacity(1024);
    let mut failing = false;
    let mut next = entries.recv().ok();
    while let Some(entry) = next {
        let written = write_line(&mut sink, &mut line, &entry);
        let (written, following) = match entries.try_recv() {
            Ok(entry) => (written, Some(entry)),
            Err(TryRecvError::Empty) => (written.and_then(|()| sink.flush()), entries.recv().ok()),
            Err(TryRecvError::Disconnected) => (written, None),
        };
        // A full disk is told once, not once per line; the queue is emptied all the same.
        match (&written, failing) {
            (Err(error), false) => tracing::error!(%error, "the access log cannot be written"),
            (Ok(()), true) => tracing::info!("the access log is written again"),
            _ => {}
        }
        failing = written.is_err();
        next = following;
    }
    if let Err(error) = sink.flush() {
        tracing::error!(%error, "the end of the access log cannot be written");
    }
}

fn write_line(sink: &mut impl Write, line: &mut Vec<u8>, entry: &Entry) -> io::Result<()> {
    line.clear();
    serde_json::to_writer(&mut *line, entry)?;
    line.push(b'\n');
    sink.write_all(line)
}

fn time<S: Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&rfc3339(*time))
}

fn seconds<S: Serializer>(duration: &Duration, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(duration.as_secs_f64())
}

fn fault<S: Serializer>(fault: &Option<FaultKind>, serializer: S) -> Result<S::Ok, S::Error> {
    fault.map(FaultKind::reason).serialize(serializer)
}

fn option_text<T: std::fmt::Display, S: Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

#[cfg(test)]
mod tests;
