//! What reaches the stream below, and when.

use std::task::Waker;

use super::*;

/// Takes up to `room` bytes, and notes each write.
#[derive(Default)]
struct Pipe {
    room: usize,
    writes: Vec<Vec<u8>>,
    flushes: usize,
    reads: usize,
    broken: bool,
    shut: bool,
}

impl AsyncRead for Pipe {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, _: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.reads += 1;
        Poll::Pending
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.broken {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if self.room == 0 {
            return Poll::Pending;
        }
        let taken = &bytes[..bytes.len().min(self.room)];
        self.room -= taken.len();
        self.writes.push(taken.to_vec());
        Poll::Ready(Ok(taken.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.flushes += 1;
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.shut = true;
        Poll::Ready(Ok(()))
    }
}

const NO_LIMIT: usize = usize::MAX;

fn cx() -> Context<'static> {
    Context::from_waker(Waker::noop())
}

fn gather(room: usize) -> (Gather<Pipe>, Gather<Pipe>) {
    let gather = Gather::new(Pipe { room, ..Pipe::default() });
    (gather.handle(), gather)
}

fn write(codec: &mut Gather<Pipe>, bytes: &[u8]) -> bool {
    match Pin::new(codec).poll_write(&mut cx(), bytes) {
        Poll::Ready(written) => written.unwrap() == bytes.len(),
        Poll::Pending => false,
    }
}

fn writes(gather: &Gather<Pipe>) -> Vec<Vec<u8>> {
    std::mem::take(&mut gather.0.borrow_mut().io.writes)
}

fn room(gather: &Gather<Pipe>, room: usize) {
    gather.0.borrow_mut().io.room = room;
}

#[test]
fn writes_and_flushes_of_a_turn_leave_in_one() {
    let (mut codec, gather) = gather(NO_LIMIT);
    for piece in [&b"one "[..], b"two ", b"three"] {
        assert!(write(&mut codec, piece));
        assert!(Pin::new(&mut codec).poll_flush(&mut cx()).is_ready());
    }
    assert_eq!(writes(&gather), [] as [&[u8]; 0]);
    assert!(!gather.push(&mut cx()));
    assert_eq!(writes(&gather), [b"one two three"]);
    assert_eq!(gather.0.borrow().io.flushes, 1);
    assert!(!gather.push(&mut cx()));
    assert_eq!((writes(&gather).len(), gather.0.borrow().io.flushes), (0, 1), "nothing was said");
}

#[test]
fn what_a_slow_reader_leaves_is_kept_in_order_and_bounded() {
    let (mut codec, gather) = gather(3);
    assert!(write(&mut codec, b"abcdef"));
    assert!(!gather.push(&mut cx()));
    assert_eq!(writes(&gather), [b"abc"]);
    assert!(write(&mut codec, b"ghi"));
    let (mut kept, chunk) = (6, [b'x'; 1000]);
    while write(&mut codec, &chunk) {
        kept += chunk.len();
        assert!(kept <= HELD);
    }
    assert!(kept > HELD - chunk.len());
    room(&gather, NO_LIMIT);
    assert!(!gather.push(&mut cx()));
    let sent = writes(&gather).concat();
    assert_eq!((sent.len(), &sent[..7]), (kept, &b"defghix"[..]));
    assert!(write(&mut codec, &chunk), "there is room again");
}

#[test]
fn more_than_is_held_goes_through_after_what_was_held() {
    let (mut codec, gather) = gather(NO_LIMIT);
    let large = vec![b'y'; HELD + 1];
    assert!(write(&mut codec, b"first"));
    assert!(write(&mut codec, &large));
    assert_eq!(writes(&gather), [b"first".to_vec(), large]);
    gather.push(&mut cx());
    assert_eq!(gather.0.borrow().io.flushes, 2, "what went through is flushed as well");
}

#[test]
fn an_idle_connection_holds_no_buffer() {
    let (mut codec, gather) = gather(NO_LIMIT);
    write(&mut codec, b"something");
    gather.push(&mut cx());
    assert_eq!(gather.0.borrow().held.capacity(), 0);
    let lent = SPARE.take();
    assert_eq!((lent.len(), lent.capacity()), (0, HELD));
}

#[test]
fn a_failed_write_is_told_to_the_codec_when_it_reads() {
    let (mut codec, gather) = gather(NO_LIMIT);
    gather.0.borrow_mut().io.broken = true;
    write(&mut codec, b"lost");
    assert!(gather.push(&mut cx()));
    let mut buffer = [0; 8];
    let read = Pin::new(&mut codec).poll_read(&mut cx(), &mut ReadBuf::new(&mut buffer));
    assert!(matches!(read, Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::BrokenPipe));
}

#[test]
fn what_had_nothing_to_read_is_asked_again_when_the_codec_was_woken() {
    let (mut codec, gather) = gather(NO_LIMIT);
    let mut buffer = [0; 8];
    for woken in 1..3 {
        for _ in 0..3 {
            assert!(Pin::new(&mut codec).poll_read(&mut cx(), &mut ReadBuf::new(&mut buffer)).is_pending());
        }
        assert_eq!(gather.0.borrow().io.reads, woken);
        gather.push(&mut cx());
        gather.woken();
    }
}

#[test]
fn an_end_comes_after_everything_that_was_said() {
    let (mut codec, gather) = gather(2);
    write(&mut codec, b"bye");
    assert!(Pin::new(&mut codec).poll_shutdown(&mut cx()).is_pending());
    assert!(!gather.0.borrow().io.shut);
    room(&gather, NO_LIMIT);
    assert!(Pin::new(&mut codec).poll_shutdown(&mut cx()).is_ready());
    assert_eq!((writes(&gather).concat(), gather.0.borrow().io.shut), (b"bye".to_vec(), true));
}
