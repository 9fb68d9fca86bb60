//! One request and its answer.

use std::future::poll_fn;
use std::pin::Pin;
use std::rc::Rc;
use std::time::Instant;

use http::{HeaderMap, header};
use http_body::Body as _;

use super::bench::{Bench, Pick, nanos};
use super::kept::Kept;
use crate::base::FaultKind;
use crate::load::check::{Answered, judge};
use crate::load::prepare::{Kind, message};
use crate::load::series::{CheckKind, Done, Failure};
use crate::load::spec::Format;
use crate::load::stream::Stream;
use crate::upstream::Answer;
use crate::wire::grpc;

/// What has been read of an answer.
struct Reading {
    bytes: u64,
    kept: Kept,
    grpc: Option<u8>,
    stream: Stream,
}

/// Sends the request that `pick` means and reads its answer to the end. `intended` is when it was
/// meant to leave, from which its latency is counted, and `left` is now, from which its service time is.
///
/// # Cancel safety
/// Dropping the future gives the request up, and counts nothing.
pub(super) async fn exchange(bench: &Bench, pick: Pick, intended: Instant, left: Instant) -> Done {
    let deadline = intended + bench.shared.prepared.scenario.limits.timeout;
    let kept = Kept::new(Rc::clone(&bench.room));
    let mut reading = Reading { bytes: 0, kept, grpc: None, stream: Stream::default() };
    let failure =
        match tokio::time::timeout_at(deadline.into(), ask(bench, pick, intended, &mut reading)).await {
            Ok(failure) => failure,
            Err(_) => Some(Failure::Timeout),
        };
    let end = Instant::now();
    Done {
        intended: bench.seconds(intended),
        latency: nanos(end.duration_since(intended)),
        service: nanos(end.duration_since(left)),
        first_token: reading.stream.first(),
        tokens: reading.stream.tokens(),
        bytes: reading.bytes,
        failure,
    }
}

async fn ask(bench: &Bench, pick: Pick, intended: Instant, reading: &mut Reading) -> Option<Failure> {
    let internal = Some(Failure::from(FaultKind::Internal));
    let (Some(kind), Some(pool)) = (bench.kind(pick), bench.pools.get(pick.target)) else { return internal };
    let Some(request) = message(kind, pick.target, pick.sample) else { return internal };
    let answer = match pool.send(request).await {
        Ok(answer) => answer,
        Err(error) => return Some(error.fault.kind.into()),
    };
    let (head, body) = answer.into_parts();
    reading.grpc = if kind.format == Format::Grpc { grpc::status(&head.headers) } else { None };
    if let Err(kind) = read(bench, kind, pick, intended, body, reading).await {
        return Some(kind.into());
    }
    if kind.format == Format::ChatStream && head.status.is_success() {
        let streamed = head
            .headers
            .get(header::CONTENT_TYPE)
            .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"text/event-stream"));
        if !streamed || !reading.stream.is_good() {
            return Some(Failure::Check(CheckKind::EmptyStream));
        }
    }
    verdict(kind, pick, head.status.as_u16(), &head.headers, reading)
}

/// Reads the body: counted, and kept or listened to as the kind needs.
async fn read(
    bench: &Bench,
    kind: &Kind,
    pick: Pick,
    intended: Instant,
    mut body: Answer,
    reading: &mut Reading,
) -> Result<(), FaultKind> {
    let keep = kind.check.reads_body() || kind.format == Format::Chat;
    loop {
        // A body whose length is known is over with its last byte.
        if body.is_end_stream() {
            return Ok(());
        }
        let frame = match poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await {
            None => return Ok(()),
            Some(Err(fault)) => return Err(fault.kind),
            Some(Ok(frame)) => frame,
        };
        let data = match frame.into_data() {
            Ok(data) => data,
            Err(other) => {
                if let (Format::Grpc, Ok(trailers)) = (kind.format, other.into_trailers()) {
                    reading.grpc = grpc::status(&trailers).or(reading.grpc);
                }
                continue;
            }
        };
        reading.bytes += data.len() as u64;
        if kind.format == Format::ChatStream {
            let now = nanos(Instant::now().duration_since(intended));
            reading.stream.push(&data, now, |gap| bench.gap(pick, intended, gap));
        }
        if keep {
            reading.kept.push(&data);
        }
    }
}

fn verdict(
    kind: &Kind,
    pick: Pick,
    status: u16,
    headers: &HeaderMap,
    reading: &mut Reading,
) -> Option<Failure> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let answered = Answered {
        status,
        grpc: reading.grpc,
        inference_header_length: text("inference-header-content-length")
            .and_then(|length| length.parse().ok()),
        content_type: text("content-type"),
        body: reading.kept.bytes(),
        too_long: reading.kept.is_too_long(),
    };
    let count = kind.samples.len().max(1) as u64;
    let sample = kind.samples.get(usize::try_from(pick.sample % count).unwrap_or(0));
    let failure = judge(&kind.check, kind.format, &answered, sample.and_then(|s| s.expected.as_deref()));
    if kind.format == Format::Chat && failure.is_none() {
        // A whole answer says how many tokens it has.
        let tokens = crate::inference::pointer::read(reading.kept.bytes(), "/usage/completion_tokens");
        reading.stream.set_tokens(tokens.and_then(|text| text.parse().ok()).unwrap_or(0));
    }
    failure
}
