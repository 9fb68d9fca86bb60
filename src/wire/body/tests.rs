//! One conformance test for every wrapper, and what is each one's own.
//!
//! The inner body is a script of frames, waits and faults that panics when it is polled after its
//! end. Whatever the script, a wrapper must show the same frames, the same size hint and the same
//! end mark at every step.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use proptest::prelude::*;

use super::*;
use crate::base::FaultKind;

mod copies;
mod hyper_seam;
mod watching;

// === the script ===

#[derive(Debug, Clone)]
enum Step {
    Data(Bytes),
    Trailers(HeaderMap),
    Fault(FaultKind),
    /// Pending once; the waker is called at once.
    Wait,
    /// Pending for so many seconds.
    Sleep(u64),
}

/// What of its length a body tells.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Hint {
    Unknown,
    /// The size is exact; the end mark is up once nothing is left but waits.
    Exact,
    /// The size is exact but the end mark only comes with `None`, as on HTTP/2.
    LateEnd,
}

#[derive(Debug)]
struct Script {
    steps: VecDeque<Step>,
    hint: Hint,
    ended: bool,
    sleep: Option<Pin<Box<tokio::time::Sleep>>>,
}

impl Script {
    fn new(steps: impl IntoIterator<Item = Step>, hint: Hint) -> Self {
        Self { steps: steps.into_iter().collect(), hint, ended: false, sleep: None }
    }

    fn chunks(chunks: &[&'static str], hint: Hint) -> Self {
        Self::new(chunks.iter().map(|chunk| data(chunk)), hint)
    }

    fn left(&self) -> u64 {
        self.steps.iter().map(|step| if let Step::Data(chunk) = step { chunk.len() as u64 } else { 0 }).sum()
    }
}

fn data(text: &'static str) -> Step {
    Step::Data(Bytes::from_static(text.as_bytes()))
}

fn some_trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", HeaderValue::from_static("0"));
    trailers
}

impl Body for Script {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        assert!(!self.ended, "polled after the end");
        if let Some(sleep) = self.sleep.as_mut() {
            std::task::ready!(sleep.as_mut().poll(cx));
            self.sleep = None;
        }
        match self.steps.pop_front() {
            Some(Step::Data(chunk)) => Poll::Ready(Some(Ok(Frame::data(chunk)))),
            Some(Step::Wait) => {
                cx.waker().wake_by_ref();
                Poll::Pending
            }
            Some(Step::Sleep(seconds)) => {
                self.sleep = Some(Box::pin(tokio::time::sleep(Duration::from_secs(seconds))));
                self.poll_frame(cx)
            }
            Some(Step::Trailers(trailers)) => {
                self.ended = true;
                Poll::Ready(Some(Ok(Frame::trailers(trailers))))
            }
            Some(Step::Fault(kind)) => {
                self.ended = true;
                Poll::Ready(Some(Err(Fault::new(kind, "scripted"))))
            }
            None => {
                self.ended = true;
                Poll::Ready(None)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        let idle = self.steps.iter().all(|step| matches!(step, Step::Wait));
        self.ended || (idle && self.hint == Hint::Exact)
    }

    fn size_hint(&self) -> SizeHint {
        match self.hint {
            Hint::Unknown => SizeHint::default(),
            Hint::Exact | Hint::LateEnd => SizeHint::with_exact(self.left()),
        }
    }
}

// === conformance ===

#[derive(Debug, Clone, PartialEq)]
enum Shown {
    Data(Bytes),
    Trailers(HeaderMap),
    Fault(FaultKind),
    End,
}

/// Everything a consumer sees: before each poll the end mark and the hint, then the frame. Polls
/// once more after the end.
async fn watch<B: ByteBody>(mut body: B) -> Vec<(bool, u64, Option<u64>, Shown)> {
    let mut seen = Vec::new();
    loop {
        let (end, hint) = (body.is_end_stream(), body.size_hint());
        let shown = match body.frame().await {
            Some(Ok(frame)) => match frame.into_data() {
                Ok(chunk) => Shown::Data(chunk),
                Err(frame) => Shown::Trailers(frame.into_trailers().unwrap()),
            },
            Some(Err(fault)) => Shown::Fault(fault.kind),
            None => Shown::End,
        };
        let over = !matches!(shown, Shown::Data(_));
        seen.push((end, hint.lower(), hint.upper(), shown));
        if over {
            assert!(body.frame().await.is_none(), "something after the end");
            assert!(body.is_end_stream(), "no end mark after the end");
            return seen;
        }
    }
}

/// A bare script does not bear the poll after its end.
#[derive(Debug)]
struct Fused(Script);

impl Body for Fused {
    type Data = Bytes;
    type Error = Fault;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Fault>>> {
        if self.0.ended { Poll::Ready(None) } else { Pin::new(&mut self.0).poll_frame(cx) }
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.size_hint()
    }
}

fn script() -> impl Strategy<Value = Script> {
    let chunk = prop_oneof![
        3 => prop::collection::vec(any::<u8>(), 0..40),
        1 => Just(vec![7; 20_000]),
    ];
    let step = prop_oneof![
        4 => chunk.prop_map(|bytes| Step::Data(bytes.into())),
        2 => Just(Step::Wait),
        1 => (1..5u64).prop_map(Step::Sleep),
    ];
    let last = prop_oneof![
        3 => Just(None),
        2 => Just(Some(Step::Trailers(some_trailers()))),
        1 => Just(Some(Step::Fault(FaultKind::UpstreamReset))),
    ];
    let hint = prop::sample::select(&[Hint::Unknown, Hint::Exact, Hint::LateEnd][..]);
    (prop::collection::vec(step, 0..8), last, hint)
        .prop_map(|(steps, last, hint)| Script::new(steps.into_iter().chain(last), hint))
}

impl Clone for Script {
    fn clone(&self) -> Self {
        Self::new(self.steps.clone(), self.hint)
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap()
}

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_wrapper_changes_what_a_consumer_sees(script in script()) {
        runtime().block_on(async {
            let plain = watch(Fused(script.clone())).await;
            let same = |name, seen| assert_eq!(plain, seen, "{name} over {script:?}");
            same("limit", watch(Limit::new(script.clone(), u64::MAX, Rc::default())).await);
            same("tee", watch(Tee::new(script.clone(), Capture::new(1 << 20, None))).await);
            same("tiny tee", watch(Tee::new(script.clone(), Capture::new(1, None))).await);
            same("timeout", watch(IdleTimeout::new(script.clone(), MINUTE, Side::Response)).await);
            same("no timeout", watch(IdleTimeout::new(script.clone(), None, Side::Request)).await);
            same("observe", watch(Observe::new(script.clone(), Log::default())).await);
            same("source", watch(Source::stream(script.clone())).await);
            let stack = Limit::new(Source::stream(script.clone()), u64::MAX, Rc::default());
            let stack = Tee::new(IdleTimeout::new(stack, MINUTE, Side::Request), Capture::new(99, None));
            same("all of them", watch(Observe::new(stack, Log::default())).await);
        });
    }

    #[test]
    fn read_ahead_changes_nothing_but_the_edges_of_chunks(script in script(), bytes in 0..60usize) {
        runtime().block_on(async {
            let plain = flat(watch(Fused(script.clone())).await);
            let mut source = Source::stream(script.clone());
            let mut chunks = Vec::new();
            let read = async {
                while source.ahead_len() < bytes {
                    let Some(chunk) = source.read_ahead().await? else { break };
                    chunks.push(chunk);
                }
                Ok::<_, Fault>(())
            };
            match read.await {
                Ok(()) => {
                    assert!(source.is_whole() || source.ahead_len() >= bytes);
                    assert_eq!(chunks.concat(), source.ahead());
                    let hint = source.size_hint();
                    assert!(hint.lower() <= plain.0.len() as u64);
                    if script.hint != Hint::Unknown && !matches!(plain.1, Shown::Trailers(_)) {
                        assert_eq!(hint.exact(), Some(script.left()));
                    }
                    assert_eq!(source.ahead().len(), source.ahead_len());
                    assert!(plain.0.starts_with(&source.ahead()));
                    let copy = source.whole();
                    assert_eq!(plain, flat(watch(source).await));
                    if let Some(copy) = copy {
                        assert_eq!(plain, flat(watch(Source::<Script>::replay(copy)).await));
                    }
                }
                Err(fault) => assert_eq!(plain.1, Shown::Fault(fault.kind)),
            }
        });
    }

    #[test]
    fn a_capture_holds_exactly_what_passed(script in script()) {
        runtime().block_on(async {
            let plain = flat(watch(Fused(script.clone())).await);
            let capture = Rc::new(RefCell::new(Capture::new(1 << 20, None)));
            watch(Tee::new(script, Tap::new(Rc::clone(&capture)))).await;
            let state = capture.borrow().state();
            let copy = capture.borrow_mut().complete();
            match copy {
                Some(copy) => {
                    assert_eq!((copy.to_bytes(), copy.len()), (plain.0.clone(), plain.0.len()));
                    assert_eq!(plain, flat(watch(Source::<Script>::replay(copy)).await));
                }
                None => {
                    assert!(matches!(plain.1, Shown::Fault(_)));
                    assert_eq!(state, CaptureState::Aborted);
                }
            }
        });
    }

    #[test]
    fn a_watch_is_told_all_data_and_one_end(script in script()) {
        runtime().block_on(async {
            let plain = flat(watch(Fused(script.clone())).await);
            let log = Log::default();
            watch(Observe::new(script, log.clone())).await;
            let log = log.0.borrow();
            assert_eq!(log.data, plain.0.len());
            assert_eq!(log.ends.as_slice(), [match plain.1 {
                Shown::Trailers(_) => "trailers",
                Shown::Fault(_) => "fault",
                _ => "end",
            }]);
        });
    }
}

/// All bytes, and how it ended.
fn flat(seen: Vec<(bool, u64, Option<u64>, Shown)>) -> (Bytes, Shown) {
    let mut all = Vec::new();
    let mut last = Shown::End;
    for (_, _, _, shown) in seen {
        match shown {
            Shown::Data(chunk) => all.extend_from_slice(&chunk),
            other => last = other,
        }
    }
    (all.into(), last)
}

// === a watch that writes down what it is told ===

#[derive(Debug, Default)]
struct Told {
    data: usize,
    ends: Vec<&'static str>,
}

#[derive(Debug, Default, Clone)]
struct Log(Rc<RefCell<Told>>);

impl Watch for Log {
    fn data(&mut self, chunk: &Bytes) {
        self.0.borrow_mut().data += chunk.len();
    }

    fn end(&mut self, trailers: Option<&HeaderMap>) {
        self.0.borrow_mut().ends.push(if trailers.is_some() { "trailers" } else { "end" });
    }

    fn fault(&mut self, _: &Fault) {
        self.0.borrow_mut().ends.push("fault");
    }
}

#[test]
fn what_is_waited_for_with_a_few_bytes_keeps_no_block_alive() {
    let block = Bytes::from(vec![b'x'; 512 * 1024]);
    let ahead = |size: usize, rest: Vec<Step>| {
        let piece = block.slice(..size);
        let mut source = Source::with_ahead([piece.clone()], Script::new(rest, Hint::Exact));
        let same = source.ahead().as_ptr() == piece.as_ptr();
        (same, source.ahead() == piece)
    };
    let more = || vec![Step::Wait, Step::Data(Bytes::from_static(b"more"))];
    assert_eq!(ahead(10, more()), (false, true));
    assert_eq!(ahead(100_000, more()), (true, true), "it pays for the block");
    assert_eq!(ahead(10, Vec::new()), (true, true), "nobody waits");
}
