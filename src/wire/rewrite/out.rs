//! The output of an editor: a queue of pieces, cut out of the input chunks without copying.

use std::collections::VecDeque;

use bytes::{Bytes, BytesMut};

/// Pieces up to this many bytes are joined into one: a frame of the HTTP connection costs more
/// than copying them.
const JOIN: usize = 16 * 1024;

/// The queue, and a cursor in the chunk that is being edited.
#[derive(Debug, Default)]
pub(super) struct Out {
    ready: VecDeque<Bytes>,
    /// What is left of the chunk: first `run` bytes that pass, then those not looked at.
    chunk: Bytes,
    run: usize,
}

impl Out {
    /// Sets the cursor to the start of `chunk`; what was left of the one before passes.
    pub(super) fn start(&mut self, chunk: Bytes) {
        self.pass_rest();
        self.chunk = chunk;
    }

    /// The bytes behind the cursor.
    pub(super) fn rest(&self) -> &[u8] {
        self.chunk.get(self.run..).unwrap_or_default()
    }

    /// Passes the next `count` bytes.
    pub(super) fn pass(&mut self, count: usize) {
        self.run = self.run.saturating_add(count).min(self.chunk.len());
    }

    /// Passes all of the chunk that is left.
    pub(super) fn pass_rest(&mut self) {
        self.run = self.chunk.len();
        self.close_run();
    }

    /// Takes the next `count` bytes out of the stream.
    pub(super) fn cut(&mut self, count: usize) -> Bytes {
        self.close_run();
        let count = count.min(self.chunk.len());
        self.chunk.split_to(count)
    }

    /// Adds bytes at the cursor.
    pub(super) fn put(&mut self, bytes: Bytes) {
        self.close_run();
        if !bytes.is_empty() {
            self.ready.push_back(bytes);
        }
    }

    /// The next piece to send.
    pub(super) fn pop(&mut self) -> Option<Bytes> {
        let first = self.ready.pop_front()?;
        let fits = |total: usize, next: Option<&Bytes>| next.is_some_and(|n| total + n.len() <= JOIN);
        if !fits(first.len(), self.ready.front()) {
            return Some(first);
        }
        let mut joined = BytesMut::from(first);
        while fits(joined.len(), self.ready.front()) {
            let Some(next) = self.ready.pop_front() else { break };
            joined.extend_from_slice(&next);
        }
        Some(joined.freeze())
    }

    /// Bytes in the queue.
    pub(super) fn queued(&self) -> usize {
        self.ready.iter().map(Bytes::len).sum()
    }

    fn close_run(&mut self) {
        if self.run > 0 {
            let passed = self.chunk.split_to(self.run.min(self.chunk.len()));
            self.ready.push_back(passed);
            self.run = 0;
        }
    }
}
