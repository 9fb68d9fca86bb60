//! The buffers that the connections of one pool, or of one listener, share on a worker.
//!
//! A connection has a buffer only while it reads or writes: idle ones own nothing, and those that
//! wait for an answer own nothing either. What is read is split off the shared buffer without
//! copying; once all pieces of a block are dropped, the block is used again.

use std::cell::{Cell, RefCell};

use bytes::BytesMut;

use super::stuck;
use crate::wire::splice::Pipes;

/// A block that heads and small bodies are read into, one behind the other.
const SMALL_BLOCK: usize = 32 * 1024;
/// Least room for a read.
const SMALL_READ: usize = 8 * 1024;
/// A block for long bodies, and the most that a connection holds of one whose receiver is slow. A
/// turn for half of it costs a quarter more time for each byte.
const LARGE_BLOCK: usize = 512 * 1024;
/// Least room for a read of a long body.
pub(super) const LARGE_READ: usize = 64 * 1024;
/// Large blocks kept: one is read into while others are still being written on.
const LARGE_KEPT: usize = 4;
/// Largest output buffer kept.
const OUTPUT_KEPT: usize = 64 * 1024;

/// Buffers for reading and writing.
#[derive(Default)]
pub struct Lender {
    small: RefCell<BytesMut>,
    large: RefCell<Vec<BytesMut>>,
    output: Cell<Vec<u8>>,
    pipes: Pipes,
    /// A large block or a pipe was lent since [`Lender::shrink_unused`] looked.
    large_used: Cell<bool>,
}

impl Lender {
    /// Lends an empty buffer with room for one read, `long` for a long body, which gets a large one
    /// unless too many of those are in hands that do not let go. What is read must be split off it.
    pub fn with_input<T>(&self, long: bool, read: impl FnOnce(&mut BytesMut) -> T) -> T {
        if long && !stuck::are_many() {
            self.large_used.set(true);
            let mut buffer = self.take_large();
            let result = read(&mut buffer);
            self.keep_large(buffer);
            return result;
        }
        // It can be lent already only where a waker, dropped by the reading, reads in turn.
        let Ok(mut buffer) = self.small.try_borrow_mut() else {
            return read(&mut BytesMut::with_capacity(SMALL_READ));
        };
        if buffer.capacity() < SMALL_READ {
            buffer.reserve(SMALL_BLOCK);
        }
        read(&mut buffer)
    }

    fn take_large(&self) -> BytesMut {
        let mut kept = self.large.borrow_mut();
        let usable = kept
            .iter_mut()
            .position(|buffer| buffer.capacity() >= LARGE_READ || buffer.try_reclaim(LARGE_BLOCK));
        match usable {
            Some(position) => kept.swap_remove(position),
            None => BytesMut::with_capacity(LARGE_BLOCK),
        }
    }

    fn keep_large(&self, buffer: BytesMut) {
        let mut kept = self.large.borrow_mut();
        if kept.len() >= LARGE_KEPT {
            // Whoever still holds pieces of it keeps it alive.
            kept.swap_remove(0);
        }
        kept.push(buffer);
    }

    /// An empty buffer to write from. To be given back.
    pub fn take_output(&self) -> Vec<u8> {
        self.output.take()
    }

    /// Takes back a buffer of [`take_output`](Self::take_output).
    pub fn give_output(&self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= OUTPUT_KEPT {
            buffer.clear();
            self.output.set(buffer);
        }
    }

    /// Pipes for long bodies that nobody looks at.
    pub fn pipes(&self) -> &Pipes {
        self.large_used.set(true);
        &self.pipes
    }

    /// Whether nobody holds a piece of the block for small messages.
    #[cfg(test)]
    pub fn is_whole(&self) -> bool {
        self.small.borrow_mut().try_reclaim(SMALL_BLOCK)
    }

    /// Lets go of what only long bodies need, where there has been none since the last call.
    pub fn shrink_unused(&self) {
        if !self.large_used.replace(false) {
            self.shrink();
        }
    }

    /// Lets go of what only long bodies need.
    pub fn shrink(&self) {
        self.large.borrow_mut().clear();
        self.pipes.clear();
    }
}

#[cfg(test)]
mod tests {
    use bytes::BufMut as _;

    use super::*;

    #[test]
    fn a_block_serves_many_answers_and_is_used_again() {
        let lender = Lender::default();
        let begin = lender.with_input(false, |buffer| buffer.as_ptr().addr());
        for _ in 0..1000 {
            let piece = lender.with_input(false, |buffer| {
                assert!(buffer.as_ptr().addr() - begin < SMALL_BLOCK, "another block was taken");
                buffer.put_slice(&[b'x'; 400]);
                buffer.split().freeze()
            });
            assert_eq!(piece.len(), 400);
        }
    }

    #[test]
    fn only_few_large_blocks_are_kept_and_none_when_shrunk() {
        let lender = Lender::default();
        let read = |buffer: &mut BytesMut| {
            assert!(buffer.is_empty() && buffer.capacity() >= LARGE_READ);
            buffer.put_bytes(b'x', buffer.capacity());
            buffer.split().freeze()
        };
        let pieces: Vec<_> = (0..10).map(|_| lender.with_input(true, read)).collect();
        assert!(pieces.iter().all(|piece| piece.len() == LARGE_BLOCK));
        assert_eq!(lender.large.borrow().len(), LARGE_KEPT);
        lender.shrink_unused();
        assert_eq!(lender.large.borrow().len(), LARGE_KEPT, "they were just used");
        lender.shrink_unused();
        assert!(lender.large.borrow().is_empty());
    }

    #[test]
    fn a_buffer_that_is_lent_already_is_replaced() {
        let lender = Lender::default();
        let room = lender.with_input(false, |_| lender.with_input(false, |buffer| buffer.capacity()));
        assert_eq!(room, SMALL_READ);
    }

    /// Takes nothing.
    struct Wall;

    impl tokio::io::AsyncWrite for Wall {
        fn poll_write(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
            _: &[u8],
        ) -> std::task::Poll<std::io::Result<usize>> {
            std::task::Poll::Pending
        }

        fn poll_flush(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Pending
        }

        fn poll_shutdown(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<std::io::Result<()>> {
            std::task::Poll::Pending
        }
    }

    #[test]
    fn blocks_are_small_while_many_large_ones_are_held_by_those_that_nobody_takes_anything_from() {
        use std::convert::Infallible;

        use http_body_util::{BodyExt, Full};

        use crate::base::Fault;
        use crate::wire::body::Side;
        use crate::wire::http1::{Framing, Outgoing};

        let lender = Lender::default();
        let room = || lender.with_input(true, |buffer| buffer.capacity());
        let mut cx = std::task::Context::from_waker(std::task::Waker::noop());
        let mut stuck = |size: usize| {
            let mut outgoing = Outgoing::new(Vec::new(), Framing::Close, false, Side::Response);
            let body = Full::new(bytes::Bytes::from(vec![b'x'; size]));
            let mut body =
                std::pin::pin!(BodyExt::map_err(body, |never: Infallible| -> Fault { match never {} }));
            outgoing.gather(body.as_mut(), &mut cx).unwrap();
            assert!(outgoing.poll_write_out(&mut Wall, &mut cx).is_pending());
            outgoing
        };
        let _small: Vec<_> = (0..200).map(|_| stuck(LARGE_READ - 1)).collect();
        assert!(room() >= LARGE_READ);
        let large: Vec<_> = (0..64).map(|_| stuck(LARGE_READ)).collect();
        assert!(room() <= SMALL_BLOCK);
        drop(large);
        assert!(room() >= LARGE_READ);
    }
}
