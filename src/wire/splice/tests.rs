//! A message whose body comes from one real socket and leaves by another.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream as Blocking};
use std::pin::Pin;
use std::thread::JoinHandle;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use super::*;
use crate::base::FaultKind;
use crate::wire::body::Side;
use crate::wire::http1::{Framing, Lender, Outgoing, Put};

/// A body that only splices.
struct Through {
    from: TcpStream,
    left: u64,
    moves: usize,
}

impl Body for Through {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        panic!("a frame was taken with {} bytes left", self.left)
    }

    fn is_end_stream(&self) -> bool {
        self.left == 0
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

impl Spliced for Through {
    fn poll_splice(
        &mut self,
        passage: &mut Passage<'_>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Option<usize>, Fault>> {
        match ready!(passage.poll_fill(&self.from, self.left, cx)) {
            Ok(Some(moved @ 1..)) => {
                self.left -= moved as u64;
                self.moves += 1;
                Poll::Ready(Ok(Some(moved)))
            }
            Ok(None) => panic!("there is no pipe"),
            other => Poll::Ready(Err(Fault::new(FaultKind::Cancelled, format!("{other:?}")))),
        }
    }
}

/// Both ends of a connection; ours does not block.
fn pair() -> (TcpStream, Blocking) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let theirs = Blocking::connect(listener.local_addr().unwrap()).unwrap();
    let ours = listener.accept().unwrap().0;
    ours.set_nonblocking(true).unwrap();
    (TcpStream::from_std(ours).unwrap(), theirs)
}

/// Sends a message with a body of `length` bytes of which `sent` come.
async fn pass(length: u64, sent: Vec<u8>) -> (Result<usize, Fault>, JoinHandle<Vec<u8>>, Lender) {
    let ((from, mut sender), (to, mut receiver)) = (pair(), pair());
    std::thread::spawn(move || sender.write_all(&sent));
    let received = std::thread::spawn(move || {
        let mut all = Vec::new();
        receiver.read_to_end(&mut all).map(|_| all).unwrap()
    });
    let (lender, mut to) = (Lender::default(), to);
    let mut body = Through { from, left: length, moves: 0 };
    let mut outgoing = Outgoing::new(b"head".to_vec(), Framing::Length(length), false, Side::Request);
    let done = std::future::poll_fn(|cx| {
        loop {
            ready!(outgoing.poll_write_out(&mut to, cx)).unwrap();
            ready!(outgoing.poll_drain(&to, cx)).unwrap();
            if outgoing.is_ended() {
                return Poll::Ready(Ok(()));
            }
            match outgoing.splice(&mut body, &lender, cx) {
                Ok(Put::Some) => {}
                Ok(Put::Later) => return Poll::Pending,
                Ok(Put::Nothing) => panic!("with {} bytes left", body.left),
                Err(fault) => return Poll::Ready(Err(fault)),
            }
        }
    })
    .await;
    outgoing.give_back(&lender);
    (done.map(|()| body.moves), received, lender)
}

#[tokio::test]
async fn a_long_body_passes_whole_to_its_last_byte_and_the_pipe_is_kept() {
    let sent: Vec<u8> = (0..5_000_001_u32).map(|i| (i % 251) as u8).collect();
    let (moves, received, lender) = pass(sent.len() as u64, sent.clone()).await;
    assert!(moves.unwrap() > 1);
    let received = received.join().unwrap();
    assert!(received.starts_with(b"head") && received[4..] == sent, "{} bytes", received.len());
    let pipe = lender.pipes().take().unwrap();
    assert!(pipe.is_empty());
}

#[tokio::test]
async fn more_than_was_declared_is_left_where_it_is() {
    let (moves, received, _) = pass(300_000, vec![b'x'; 400_000]).await;
    moves.unwrap();
    assert_eq!(received.join().unwrap().len(), 4 + 300_000);
}

#[tokio::test]
async fn one_that_breaks_off_fails_and_no_pipe_is_left_behind() {
    let (failed, received, _) = pass(1_000_000, vec![b'x'; 400_000]).await;
    assert_eq!(failed.unwrap_err().kind, FaultKind::Cancelled);
    assert_eq!(received.join().unwrap().len(), 4 + 400_000);
}

#[tokio::test]
async fn nothing_is_read_the_ordinary_way_while_the_pipe_holds_what_stands_before_it() {
    let ((from, mut sender), _to) = (pair(), pair());
    sender.write_all(&[b'x'; 300_000]).unwrap();
    let lender = Lender::default();
    let mut body = Through { from, left: 300_000, moves: 0 };
    let mut outgoing = Outgoing::new(Vec::new(), Framing::Length(300_000), false, Side::Request);
    std::future::poll_fn(|cx| match outgoing.splice(&mut body, &lender, cx) {
        Ok(Put::Some) => Poll::Ready(()),
        Ok(Put::Later) => Poll::Pending,
        other => panic!("{other:?}"),
    })
    .await;
    // The other socket is full, and both are asked once more: taking a frame would be a panic.
    let mut cx = Context::from_waker(std::task::Waker::noop());
    assert_eq!(outgoing.splice(&mut body, &lender, &mut cx).unwrap(), Put::Nothing);
    assert!(!outgoing.gather(Pin::new(&mut body), &mut cx).unwrap());
    assert!(body.left > 0 && !outgoing.is_done());
}
