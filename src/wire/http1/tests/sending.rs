//! Messages that a socket takes in pieces: what arrives does not depend on where it stopped.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use http_body::{Body, Frame};
use tokio::io::AsyncWrite;

use super::*;
use crate::base::Fault;
use crate::wire::body::Side;

/// What a body does when it is asked.
#[derive(Debug, Clone)]
enum Step {
    Data(usize),
    Trailers,
    /// Nothing now.
    Rest,
}

/// A body of these steps, whose content no two places have alike.
struct Steps {
    steps: VecDeque<Step>,
    at: u8,
    /// It knows its end beforehand.
    foresees: bool,
}

impl Body for Steps {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        match self.steps.pop_front() {
            None => Poll::Ready(None),
            Some(Step::Rest) => Poll::Pending,
            Some(Step::Trailers) => {
                let section =
                    HeaderMap::from_iter([(HeaderName::from_static("x-sum"), "7".parse().unwrap())]);
                Poll::Ready(Some(Ok(Frame::trailers(section))))
            }
            Some(Step::Data(size)) => {
                let content = (0..size).map(|_| {
                    self.at = self.at.wrapping_add(1);
                    self.at
                });
                Poll::Ready(Some(Ok(Frame::data(content.collect::<Vec<_>>().into()))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        self.foresees && self.steps.is_empty()
    }
}

/// Takes so many bytes before each `Pending`, one after the other; then whatever comes.
struct Stops {
    takes: VecDeque<usize>,
    taken: Vec<u8>,
}

impl AsyncWrite for Stops {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(cx, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.takes.front() == Some(&0) {
            self.takes.pop_front();
            return Poll::Pending;
        }
        let mut took: usize = slices.iter().map(|slice| slice.len()).sum();
        if let Some(left) = self.takes.front_mut() {
            took = took.min(*left);
            *left -= took;
        }
        let mut left = took;
        for slice in slices {
            let (part, _) = slice.split_at(left.min(slice.len()));
            self.taken.extend_from_slice(part);
            left -= part.len();
        }
        Poll::Ready(Ok(took))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[derive(Debug, Clone)]
struct Message {
    steps: Vec<Step>,
    chunked: bool,
    foresees: bool,
}

/// What a socket receives that takes no more than `takes` at a time. The body is asked again at each
/// turn, whether or not what it gave before has left, as both codecs do.
fn sent(message: &Message, takes: impl IntoIterator<Item = usize>) -> Vec<u8> {
    let length = |step: &Step| if let Step::Data(size) = step { *size as u64 } else { 0 };
    let framing = match message.chunked {
        true => Framing::Chunked { trailers: true },
        false => Framing::Length(message.steps.iter().map(length).sum()),
    };
    let mut body = Steps { steps: message.steps.clone().into(), at: 0, foresees: message.foresees };
    let mut io = Stops { takes: takes.into_iter().collect(), taken: Vec::new() };
    let mut outgoing = Outgoing::new(b"head\r\n\r\n".to_vec(), framing, false, Side::Response);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..10_000 {
        outgoing.gather(Pin::new(&mut body), &mut cx).unwrap();
        match outgoing.poll_write_out(&mut io, &mut cx) {
            Poll::Ready(Ok(())) if outgoing.is_done() => return io.taken,
            Poll::Ready(Ok(())) | Poll::Pending => {}
            Poll::Ready(Err(error)) => panic!("{error}"),
        }
    }
    panic!("{message:?} does not end");
}

/// The content, as a strict reader finds it.
fn read(message: &Message, bytes: &[u8]) -> Vec<u8> {
    let body = bytes.strip_prefix(b"head\r\n\r\n").unwrap();
    match message.chunked {
        false => body.to_vec(),
        true => {
            let (content, trailers, rest) = chunked([body], false).unwrap().unwrap();
            assert_eq!(trailers.is_some(), message.steps.iter().any(|step| matches!(step, Step::Trailers)));
            assert_eq!(rest, b"");
            content
        }
    }
}

fn content(message: &Message) -> Vec<u8> {
    let sizes = message.steps.iter().map(|step| if let Step::Data(size) = step { *size } else { 0 });
    (0..sizes.sum()).map(|place: usize| (place as u8).wrapping_add(1)).collect()
}

fn messages() -> Vec<Message> {
    let bodies: [&[Step]; 6] = [
        &[],
        &[Step::Data(10), Step::Data(20)],
        &[Step::Data(4097), Step::Data(30), Step::Data(4097)],
        &[Step::Data(4097), Step::Rest, Step::Data(4097), Step::Rest],
        &[Step::Data(9), Step::Data(4097), Step::Trailers],
        &[Step::Data(4097), Step::Rest, Step::Trailers],
    ];
    let ways = [(true, true), (true, false), (false, true), (false, false)];
    let all = bodies.iter().flat_map(|steps| ways.map(|(chunked, foresees)| (steps, chunked, foresees)));
    all.map(|(steps, chunked, foresees)| Message { steps: steps.to_vec(), chunked, foresees }).collect()
}

#[test]
fn a_socket_that_stops_anywhere_gets_what_one_that_takes_all_gets() {
    for message in messages() {
        let whole = sent(&message, []);
        assert_eq!(read(&message, &whole), content(&message), "{message:?}");
        for stop in 0..whole.len() {
            let stopped = sent(&message, [stop]);
            assert!(stopped == whole, "{message:?} differs where the socket stops after {stop} bytes");
        }
    }
}

proptest! {
    #[test]
    fn however_often_a_socket_stops_it_gets_the_same(
        steps in proptest::collection::vec(
            prop_oneof![
                2 => (1_usize..200).prop_map(Step::Data),
                2 => (4_000_usize..9_000).prop_map(Step::Data),
                1 => Just(Step::Rest),
            ],
            0..6,
        ),
        trailers: bool,
        chunked: bool,
        foresees: bool,
        stops in proptest::collection::vec((any::<proptest::sample::Index>(), 0_usize..4), 0..40),
    ) {
        let steps = steps.into_iter().chain(trailers.then_some(Step::Trailers)).collect();
        let message = Message { steps, chunked, foresees };
        let whole = sent(&message, []);
        prop_assert_eq!(read(&message, &whole), content(&message));
        // Around the ends of lines, where one piece of what is written meets another.
        let ends: Vec<usize> = (1..whole.len()).filter(|&at| whole[at - 1] == b'\r' || whole[at] == b'\r').collect();
        let mut stops: Vec<usize> = stops.iter().map(|(end, by)| end.get(&ends) + by).collect();
        stops.extend([0]);
        stops.sort_unstable();
        prop_assert!(sent(&message, stops.windows(2).map(|pair| pair[1] - pair[0])) == whole);
    }
}
