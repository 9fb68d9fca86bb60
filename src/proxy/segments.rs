//! In which segments a request counts, read before its version is drawn.

use std::net::IpAddr;

use bytes::Bytes;
use http::request;

use super::ahead::Ahead;
use super::route;
use crate::base::Fault;
use crate::divergence::segment;
use crate::inference::answer::{self, Content, Limits, RawRequest};
use crate::inference::path::{self, Api};
use crate::mirror::taken::Form;
use crate::routing::local::{LocalModel, LocalTrial};
use crate::routing::spec::SegmentSource;
use crate::stats::segments::Memberships;
use crate::wire::body::Source;

/// Length of the gRPC message prefix: a flag and four bytes of length.
const PREFIX: usize = 5;

/// The segments of a request in `trial`.
///
/// # Errors
/// Whatever reading ahead for them ran into.
pub(super) async fn read(
    trial: &LocalTrial,
    model: &LocalModel,
    head: &request::Parts,
    client: Option<IpAddr>,
    source: &mut Source,
    ahead: &mut Ahead<'_>,
) -> Result<Memberships, Fault> {
    let Some(spec) = &trial.live.segment else { return Ok(Memberships::default()) };
    let mut numbers = Vec::with_capacity(spec.dimensions.len());
    let mut content: Option<Content> = None;
    for (place, dimension) in spec.dimensions.iter().enumerate() {
        let value = match &dimension.source {
            SegmentSource::Key(key) => {
                let text = |value: Option<&[u8]>| value.map(|v| String::from_utf8_lossy(v).into_owned());
                route::keyed(key, model, head, client, source, ahead, text).await?
            }
            SegmentSource::Column(column) => {
                if content.is_none() {
                    content = Some(understood(model, head, source, ahead).await?);
                }
                content.as_ref().and_then(|content| segment::column(column, content))
            }
        };
        let value = value.and_then(|value| match dimension.edges.as_slice() {
            [] => segment::clean(&value),
            edges => segment::bin(edges, &value),
        });
        let Some(value) = value else { continue };
        let name = match &dimension.name {
            Some(name) => format!("{name}={value}"),
            None => value,
        };
        numbers.push(trial.segment(place, dimension.max, &name));
    }
    Ok(numbers.into_iter().collect())
}

/// What the request says, as far as it is read ahead; nothing where it is longer than may be.
async fn understood(
    model: &LocalModel,
    head: &request::Parts,
    source: &mut Source,
    ahead: &mut Ahead<'_>,
) -> Result<Content, Fault> {
    let (limit, idle) = (model.model.spec.max_peek_bytes, model.model.spec.idle_timeout);
    let api = path::parse(head.uri.path());
    let wanted = |source: &mut Source| match api {
        // A stream of requests may wait for an answer to its first one.
        Api::Grpc(_) => first_message(&source.ahead()),
        _ => None,
    };
    let mut whole = wanted(source);
    while whole.is_none_or(|length| source.ahead_len() < length) && !source.is_whole() {
        if source.ahead_len() >= limit || whole.is_some_and(|length| length > limit) {
            return Ok(Content::Empty);
        }
        if ahead.next(source, idle).await?.is_none() {
            break;
        }
        if whole.is_none() {
            whole = wanted(source);
        }
    }
    let ahead = source.ahead();
    if ahead.len() > limit {
        return Ok(Content::Empty);
    }
    let form = Form::of(&head.headers);
    let raw = RawRequest {
        api,
        content_type: form.content_type.as_deref(),
        content_encoding: form.content_encoding.as_deref(),
        inference_header_length: form.inference_header_length,
        body: whole.and_then(|length| ahead.get(..length)).unwrap_or(&ahead),
    };
    // This thread serves others, too: what is packed may not become more than what may come plain.
    let limits = Limits { decoded_bytes: limit, ..Limits::default() };
    Ok(answer::read_request(&raw, &limits))
}

/// Where the first message of a gRPC body ends, once its prefix is there.
fn first_message(ahead: &Bytes) -> Option<usize> {
    let (&[_, a, b, c, d], _) = ahead.split_first_chunk::<PREFIX>()?;
    let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
    Some(length.saturating_add(PREFIX))
}
