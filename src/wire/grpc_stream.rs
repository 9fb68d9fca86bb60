//! Calls that are answered in this process: the messages of a request as they come, and the end of an
//! answer.

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt as _};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::BodyExt as _;

use super::body::ByteBody;
use super::grpc;
use super::grpc_message::Messages;
use crate::base::{Fault, FaultKind};

/// How a call ends early.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// With the status of this fault.
    Status(Fault),
    /// Without any, because the request broke off.
    Broken(Fault),
}

/// The only message of a unary call.
///
/// # Errors
/// [`Ended`] where there is none, or more than one, or the request breaks off.
pub async fn only(mut messages: Messages, mut body: impl ByteBody) -> Result<Bytes, Ended> {
    let refused = |detail| Ended::Status(Fault::new(FaultKind::BadRequest, detail));
    let mut found = None;
    loop {
        match messages.take_next().map_err(Ended::Status)? {
            Some(message) if found.is_none() => found = Some(message),
            Some(_) => return Err(refused("more than one message in a unary call")),
            None => match body.frame().await {
                Some(frame) => messages.push(frame.map_err(Ended::Broken)?.into_data().unwrap_or_default()),
                None => break,
            },
        }
    }
    messages.end().map_err(Ended::Status)?;
    found.ok_or_else(|| refused("no message in a unary call"))
}

/// The messages of a streamed request. The first error is the last item.
pub fn received(body: impl ByteBody, messages: Messages) -> impl Stream<Item = Result<Bytes, Ended>> {
    stream::unfold(Some((body, messages)), |state| async move {
        let (mut body, mut messages) = state?;
        loop {
            match messages.take_next() {
                Ok(Some(message)) => return Some((Ok(message), Some((body, messages)))),
                Ok(None) => {}
                Err(fault) => return Some((Err(Ended::Status(fault)), None)),
            }
            match body.frame().await {
                Some(Ok(frame)) => messages.push(frame.into_data().unwrap_or_default()),
                Some(Err(fault)) => return Some((Err(Ended::Broken(fault)), None)),
                None => return messages.end().err().map(|fault| (Err(Ended::Status(fault)), None)),
            }
        }
    })
}

/// The body of an answer with these messages, in their frames: they pass up to the first end, and
/// trailers say the status.
pub fn ending(
    messages: impl Stream<Item = Result<Bytes, Ended>>,
) -> impl Stream<Item = Result<Frame<Bytes>, Fault>> {
    stream::unfold(Some(Box::pin(messages)), |messages| async move {
        let mut messages = messages?;
        Some(match messages.next().await {
            Some(Ok(message)) => (Ok(Frame::data(message)), Some(messages)),
            Some(Err(Ended::Broken(fault))) => (Err(fault), None),
            Some(Err(Ended::Status(fault))) => (Ok(Frame::trailers(trailers(Some(&fault)))), None),
            None => (Ok(Frame::trailers(trailers(None))), None),
        })
    })
}

/// Trailers that end a call, well or with a fault.
pub fn trailers(fault: Option<&Fault>) -> HeaderMap {
    let mut trailers = HeaderMap::with_capacity(2);
    match fault {
        None => grpc::put_status(&mut trailers, 0, ""),
        Some(fault) => grpc::put_status(&mut trailers, fault.kind.grpc_status(), &fault.detail),
    }
    trailers
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::body::{Inbound, Source};

    fn body(messages: &[&[u8]]) -> Source<Inbound> {
        let framed = messages.iter().flat_map(|message| {
            let length = u32::try_from(message.len()).unwrap().to_be_bytes();
            [&[0][..], &length, message].concat()
        });
        Source::from(Bytes::from(framed.collect::<Vec<u8>>()))
    }

    fn messages() -> Messages {
        Messages::new(&HeaderMap::new(), 10)
    }

    #[tokio::test]
    async fn a_unary_call_has_one_message() {
        assert_eq!(only(messages(), body(&[b"a"])).await.unwrap(), "a");
        let wrong: [&[&[u8]]; 3] = [&[], &[b"a", b"b"], &[b"longer than ten"]];
        for wrong in wrong {
            assert!(matches!(only(messages(), body(wrong)).await, Err(Ended::Status(_))), "{wrong:?}");
        }
    }

    #[tokio::test]
    async fn an_answer_ends_with_its_status_after_the_messages_before_it() {
        let frames = ending(received(body(&[b"a", b"b", b"longer than ten", b"c"]), messages()));
        let frames: Vec<_> = frames.map(Result::unwrap).collect().await;
        let data: Vec<_> = frames.iter().filter_map(|frame| frame.data_ref()).collect();
        assert_eq!(data, ["a", "b"]);
        assert_eq!(grpc::status(frames.last().unwrap().trailers_ref().unwrap()), Some(8));

        let frames: Vec<_> = ending(received(body(&[b"a"]), messages())).map(Result::unwrap).collect().await;
        assert_eq!(grpc::status(frames.last().unwrap().trailers_ref().unwrap()), Some(0));
    }
}
