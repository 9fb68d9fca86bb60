//! Pipes that bodies pass through, and how many there may be.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::rc::Rc;

/// How much a pipe should hold: what an unprivileged process may ask for (pipe(7)).
const ROOM: usize = 1 << 20;
/// One that holds less, because the user's pipes have used up their share, is of no use.
const LEAST_ROOM: usize = 64 * 1024;
/// Pipes of one owner at a time; a body that finds none is copied.
const MOST: usize = 32;
/// Pipes kept while nobody uses them.
const KEPT: usize = 4;

/// A pipe, and how much it holds.
#[derive(Debug)]
pub struct Pipe {
    output: OwnedFd,
    input: OwnedFd,
    held: usize,
    /// How many there are.
    lent: Rc<Cell<usize>>,
}

impl Pipe {
    /// Whether it holds nothing.
    pub fn is_empty(&self) -> bool {
        self.held == 0
    }

    #[cfg(target_os = "linux")]
    fn new(lent: Rc<Cell<usize>>) -> io::Result<Self> {
        use rustix::pipe::{PipeFlags, fcntl_setpipe_size, pipe_with};
        let (output, input) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        // Where no more may be asked for it stays as large as it is.
        let room = fcntl_setpipe_size(&input, ROOM).or_else(|_| rustix::pipe::fcntl_getpipe_size(&input))?;
        if room < LEAST_ROOM {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        lent.set(lent.get() + 1);
        Ok(Self { output, input, held: 0, lent })
    }

    #[cfg(not(target_os = "linux"))]
    fn new(_: Rc<Cell<usize>>) -> io::Result<Self> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Moves at most `most` bytes from `from` into the pipe, without waiting: how many, 0 at the end.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` where it has nothing, if the pipe is empty.
    #[cfg(target_os = "linux")]
    pub(super) fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        use rustix::pipe::{SpliceFlags, splice};
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = splice(from, None, &self.input, None, most.min(ROOM), flags)?;
        self.held += moved;
        Ok(moved)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn fill(&mut self, _: impl AsFd, _: usize) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Moves what the pipe holds to `to`, without waiting: how many bytes.
    ///
    /// # Errors
    /// The socket's; `WouldBlock` where it takes nothing.
    #[cfg(target_os = "linux")]
    pub(super) fn drain(&mut self, to: impl AsFd) -> io::Result<usize> {
        use rustix::pipe::{SpliceFlags, splice};
        let flags = SpliceFlags::MOVE | SpliceFlags::NONBLOCK;
        let moved = splice(&self.output, None, to, None, self.held, flags)?;
        self.held = self.held.saturating_sub(moved);
        Ok(moved)
    }

    #[cfg(not(target_os = "linux"))]
    pub(super) fn drain(&mut self, _: impl AsFd) -> io::Result<usize> {
        Err(io::ErrorKind::Unsupported.into())
    }
}

impl Drop for Pipe {
    fn drop(&mut self) {
        self.lent.set(self.lent.get().saturating_sub(1));
    }
}

/// The pipes of one pool, or of one listener, on a worker.
#[derive(Debug, Default)]
pub struct Pipes {
    kept: RefCell<Vec<Pipe>>,
    lent: Rc<Cell<usize>>,
}

impl Pipes {
    /// An empty pipe; `None` where there are enough, or none is to be had.
    pub fn take(&self) -> Option<Pipe> {
        let kept = self.kept.borrow_mut().pop();
        kept.or_else(|| (self.lent.get() < MOST).then(|| Pipe::new(self.lent.clone()).ok()).flatten())
    }

    /// Takes a pipe back. One that holds something is closed: that belonged to a body which ended
    /// early.
    pub fn give(&self, pipe: Pipe) {
        let mut kept = self.kept.borrow_mut();
        if pipe.is_empty() && kept.len() < KEPT {
            kept.push(pipe);
        }
    }

    /// Closes those that nobody uses.
    pub fn clear(&self) {
        self.kept.borrow_mut().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_only_so_many_and_few_are_kept() {
        let pipes = Pipes::default();
        let taken: Vec<Pipe> = std::iter::from_fn(|| pipes.take()).collect();
        assert!(!taken.is_empty() && taken.len() <= MOST);
        if taken.len() == MOST {
            assert!(pipes.take().is_none());
        }
        taken.into_iter().for_each(|pipe| pipes.give(pipe));
        assert_eq!(pipes.kept.borrow().len(), KEPT);
        assert_eq!(pipes.lent.get(), KEPT);
        pipes.clear();
        assert_eq!(pipes.lent.get(), 0);
    }

    #[test]
    fn one_that_holds_something_is_not_used_again() {
        let pipes = Pipes::default();
        let (socket, mut other) = std::os::unix::net::UnixStream::pair().unwrap();
        std::io::Write::write_all(&mut other, b"left").unwrap();
        let mut pipe = pipes.take().unwrap();
        assert_eq!(pipe.fill(&socket, 10).unwrap(), 4);
        assert!(!pipe.is_empty());
        pipes.give(pipe);
        assert!(pipes.kept.borrow().is_empty());
        assert_eq!(pipes.lent.get(), 0);
    }
}
