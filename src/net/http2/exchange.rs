//! One stream: the handler's future, then the answer's body as fast as the client takes it.
//!
//! A client that resets the stream drops whatever is under way (RFC 9113 section 5.4.2). What ends
//! before the request's body was read lets go of it: `h2` then resets the stream with NO_ERROR, by
//! which the client knows that the answer is whole all the same (section 8.1).

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream, SendStream};
use http::{Method, Request, Response, StatusCode};
use http_body::{Body, Frame};
use tokio::time::{Sleep, sleep};

use super::head;
use super::patience::Patience;
use super::pressure::{Pressure, Waiting};
use super::request::Upload;
use super::sending::{SEND_BUFFER, Sending};
use crate::base::Fault;
use crate::net::IncomingBody;
use crate::net::slow_reader::SlowReader;

/// How long the mark of the end of a request that has come whole is waited for after its answer.
const LATE_END: Duration = Duration::from_secs(1);

/// A stream whose request has been read.
pub(super) struct Opened {
    respond: SendResponse<Bytes>,
    upload: Option<Rc<Upload>>,
    kind: Kind,
    send_timeout: Duration,
    pressure: Rc<Pressure>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Plain,
    /// Answered without a body (RFC 9110 section 9.3.2).
    Head,
    /// Asks for a tunnel, which nobody here makes (RFC 9113 section 8.5).
    Connect,
}

/// Splits what `h2` gives into the request for a handler, and the stream to answer it on.
pub(super) fn begin(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    send_timeout: Duration,
    pressure: Rc<Pressure>,
) -> (Request<IncomingBody>, Opened) {
    let (head, content) = request.into_parts();
    let kind = match head.method {
        Method::HEAD => Kind::Head,
        Method::CONNECT => Kind::Connect,
        _ => Kind::Plain,
    };
    let upload = if content.is_end_stream() || kind == Kind::Connect {
        None
    } else {
        Some(Upload::new(content, &head.headers))
    };
    let body = match &upload {
        Some(upload) => IncomingBody::fed(Rc::clone(upload) as _),
        None => IncomingBody::empty(),
    };
    (Request::from_parts(head, body), Opened { respond, upload, kind, send_timeout, pressure })
}

pin_project_lite::pin_project! {
    /// A stream on which an answer is made and sent. Dropping it resets the stream.
    pub(super) struct Exchange<F, B> {
        #[pin]
        work: Work<F, B>,
        opened: Opened,
        in_the_way: fn(&B) -> bool,
    }
}

pin_project_lite::pin_project! {
    #[project = WorkProjection]
    enum Work<F, B> {
        Handling {
            #[pin]
            future: F,
        },
        Sending {
            #[pin]
            body: B,
            sender: Sender,
        },
        /// All is said, and the body is read to its end, for those who watch it.
        Draining {
            #[pin]
            body: B,
            stream: SendStream<Bytes>,
        },
        /// All is said.
        Over,
        /// All is said, and the end of the request is waited for.
        Ending {
            limit: Pin<Box<Sleep>>,
        },
    }
}

impl<F, B> Exchange<F, B> {
    /// The stream on which `future` will answer. `in_the_way`: [`Handler::is_in_the_way`].
    pub(super) fn new(opened: Opened, future: F, in_the_way: fn(&B) -> bool) -> Self {
        Self { work: Work::Handling { future }, opened, in_the_way }
    }
}

impl<F, B> Future for Exchange<F, B>
where
    F: Future<Output = Response<B>>,
    B: Body<Data = Bytes, Error = Fault>,
{
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let mut this = self.project();
        loop {
            let next = match this.work.as_mut().project() {
                WorkProjection::Handling { future } => match future.poll(cx) {
                    Poll::Pending => return this.opened.poll_reset(cx),
                    Poll::Ready(response) => this.opened.answer(response),
                },
                WorkProjection::Sending { body, sender } => {
                    if ready!(sender.poll(body, *this.in_the_way, cx)).is_err() {
                        return Poll::Ready(());
                    }
                    After::Ending
                }
                WorkProjection::Draining { body, stream } => match body.poll_frame(cx) {
                    Poll::Ready(Some(Ok(_))) => continue,
                    Poll::Ready(None | Some(Err(_))) => After::Ending,
                    Poll::Pending => return stream.poll_reset(cx).map(|_| ()),
                },
                WorkProjection::Over => return Poll::Ready(()),
                WorkProjection::Ending { limit } => {
                    let ended =
                        this.opened.upload.as_ref().is_none_or(|upload| upload.poll_end(cx).is_ready());
                    return if ended { Poll::Ready(()) } else { limit.as_mut().poll(cx) };
                }
            };
            match next {
                After::Sending(body, sender) => this.work.set(Work::Sending { body, sender }),
                After::Draining(body, stream) => this.work.set(Work::Draining { body, stream }),
                After::Nothing => return Poll::Ready(()),
                After::Ending => {
                    // First whatever may still hold the request's body goes.
                    this.work.set(Work::Over);
                    if this.opened.is_awaited() {
                        this.work.set(Work::Ending { limit: Box::pin(sleep(LATE_END)) });
                    }
                }
            }
        }
    }
}

/// What follows the head of an answer.
enum After<B> {
    Sending(B, Sender),
    Draining(B, SendStream<Bytes>),
    Ending,
    Nothing,
}

impl Opened {
    /// Ready once the client has reset the stream, or the connection is gone.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        self.respond.poll_reset(cx).map(|_| ())
    }

    /// Sends the head of the answer.
    fn answer<B: Body>(&mut self, response: Response<B>) -> After<B> {
        let (mut head, body) = response.into_parts();
        let over = body.is_end_stream();
        // An answer with such a status ends with its head, whatever stands behind it (RFC 9110 section
        // 6.4.1), and a length that is not told by its maker is none of its own.
        let bodyless = matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        let ended = over || bodyless;
        head::finish(&mut head.headers, (!ended).then(|| body.size_hint().exact()).flatten());
        if self.kind == Kind::Connect && head.status.is_success() {
            tracing::error!("CONNECT was granted, and there are no tunnels; this is a bug");
            self.respond.send_reset(Reason::INTERNAL_ERROR);
            return After::Nothing;
        }
        match self.respond.send_response(Response::from_parts(head, ()), ended) {
            Ok(_) if over => After::Ending,
            Ok(stream) if bodyless => After::Draining(body, stream),
            Ok(stream) => {
                let pressure = Rc::clone(&self.pressure);
                After::Sending(
                    body,
                    Sender::new(stream, self.kind == Kind::Head, self.send_timeout, pressure),
                )
            }
            Err(error) => {
                tracing::debug!(%error, "an answer was not sent");
                self.respond.send_reset(Reason::INTERNAL_ERROR);
                After::Nothing
            }
        }
    }

    /// Whether only the mark of its end is missing of the request.
    fn is_awaited(&self) -> bool {
        self.upload.as_ref().is_some_and(|upload| upload.is_awaited())
    }
}

/// The stream that takes an answer's body.
struct Sender {
    stream: Sending,
    /// Waits for the client to have room, and whether it is the last. Never empty.
    chunk: Option<(Bytes, bool)>,
    /// The body is read to its end, for those who watch it, and not sent.
    silent: bool,
    patience: Patience,
    pressure: Rc<Pressure>,
    /// When something was last handed over.
    round: Option<u32>,
    /// What the client had taken when this stream last waited for it to take more.
    progress: u64,
    /// While the client is waited for.
    waiting: Option<Waiting>,
    /// Made at the first wait.
    reader: Option<Box<SlowReader>>,
}

/// The answer was not sent to its end.
struct Broken;

impl From<h2::Error> for Broken {
    fn from(_: h2::Error) -> Self {
        Self
    }
}

impl Sender {
    fn new(stream: SendStream<Bytes>, silent: bool, limit: Duration, pressure: Rc<Pressure>) -> Self {
        let patience = Patience::new(limit);
        let (chunk, round, progress, waiting, reader) = (None, None, 0, None, None);
        let stream = Sending::new(stream, Rc::clone(&pressure));
        Self { stream, chunk, silent, patience, pressure, round, progress, waiting, reader }
    }

    /// Sends what can be sent now. At most one chunk is held beyond what the client has room for, and it is
    /// held here: `h2` would keep it for as long as the client likes, and let the stream end.
    fn poll<B>(
        &mut self,
        mut body: Pin<&mut B>,
        in_the_way: fn(&B) -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>>
    where
        B: Body<Data = Bytes, Error = Fault>,
    {
        loop {
            if let Some((data, last)) = self.chunk.take() {
                let room = self.poll_room(cx)?;
                if room == 0 || !self.is_its_turn() {
                    self.chunk = Some((data, last));
                    return self.poll_patience(|| in_the_way(body.as_ref().get_ref()), cx);
                }
                self.patience.restart();
                self.hand_over(data, last, room)?;
                if last && self.chunk.is_none() {
                    return Poll::Ready(Ok(()));
                }
                continue;
            }
            if !self.silent && !self.is_its_turn() {
                return self.poll_patience(|| in_the_way(body.as_ref().get_ref()), cx);
            }
            let frame = match body.as_mut().poll_frame(cx) {
                Poll::Pending => {
                    // The client has room: it is the upstream that is waited for.
                    self.patience.restart();
                    self.rest();
                    return self.poll_reset(cx);
                }
                Poll::Ready(None) => {
                    return Poll::Ready(self.stream.send_data(Bytes::new(), true).map_err(Broken::from));
                }
                Poll::Ready(Some(Err(fault))) => {
                    tracing::debug!(%fault, "an answer broke off");
                    self.stream.send_reset(Reason::INTERNAL_ERROR);
                    return Poll::Ready(Err(Broken));
                }
                Poll::Ready(Some(Ok(_))) if self.silent => continue,
                Poll::Ready(Some(Ok(frame))) => frame,
            };
            match frame.into_data() {
                Ok(data) => {
                    let last = body.is_end_stream();
                    if !data.is_empty() {
                        self.hold(data, last);
                    } else if last {
                        // An empty frame says nothing but that it is the last.
                        return Poll::Ready(self.stream.send_data(data, true).map_err(Broken::from));
                    }
                }
                Err(frame) => return Poll::Ready(self.end(frame)),
            }
        }
    }

    /// Holds a chunk, and asks for as much room as can be had: what is asked for is kept from other streams.
    fn hold(&mut self, data: Bytes, last: bool) {
        self.stream.reserve_capacity(data.len().min(SEND_BUFFER));
        self.chunk = Some((data, last));
    }

    /// Hands over what there is `room` for, and holds the rest.
    fn hand_over(&mut self, mut data: Bytes, last: bool, room: usize) -> Result<(), Broken> {
        self.rest();
        let piece = if room < data.len() { data.split_to(room) } else { std::mem::take(&mut data) };
        self.round = self.pressure.hand_over(piece.len());
        self.stream.send_data(piece, last && data.is_empty())?;
        if !data.is_empty() {
            self.hold(data, last);
        }
        Ok(())
    }

    /// Whether this stream may have more lie about. As long as the client takes anything, it is the others'
    /// turn and nobody's fault.
    fn is_its_turn(&mut self) -> bool {
        if self.pressure.allows(self.round) {
            return true;
        }
        let progress = self.pressure.progress();
        if self.progress != progress {
            self.progress = progress;
            self.patience.restart();
        }
        false
    }

    /// The client is not waited for.
    fn rest(&mut self) {
        if self.waiting.take().is_some()
            && let Some(reader) = &mut self.reader
        {
            reader.rest();
        }
    }

    /// Waits, and gives the stream up after too long, or where it is `in_the_way` of others and the client
    /// is slow.
    fn poll_patience(
        &mut self,
        in_the_way: impl FnOnce() -> bool,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), Broken>> {
        if self.patience.poll(cx).is_ready() || (self.is_slow(cx) && in_the_way()) {
            tracing::debug!("a client made no room for an answer in time");
            self.stream.send_reset(Reason::CANCEL);
            return Poll::Ready(Err(Broken));
        }
        self.poll_reset(cx)
    }

    /// Whether the client takes too little for all the streams that wait for it.
    fn is_slow(&mut self, cx: &mut Context<'_>) -> bool {
        let taken = self.pressure.progress();
        self.waiting.get_or_insert_with(|| self.pressure.waits());
        match self.pressure.least() {
            0 => false,
            least => self.reader.get_or_insert_with(|| Box::new(SlowReader::new())).is_slow(taken, least, cx),
        }
    }

    fn end(&mut self, frame: Frame<Bytes>) -> Result<(), Broken> {
        Ok(self.stream.send_trailers(frame.into_trailers().unwrap_or_default())?)
    }

    /// For how many bytes the client has room.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Result<usize, Broken> {
        loop {
            let room = self.stream.capacity();
            if room > 0 {
                return Ok(room);
            }
            match self.stream.poll_capacity(cx) {
                Poll::Pending => return Ok(0),
                Poll::Ready(Some(Ok(_))) => {}
                Poll::Ready(Some(Err(_)) | None) => return Err(Broken),
            }
        }
    }

    /// Ready once nobody wants the rest.
    fn poll_reset(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        self.stream.poll_reset(cx).map(|_| Err(Broken))
    }
}
