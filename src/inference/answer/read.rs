//! From a body to what it says: the API of the path decides first, then the content type, then
//! how the content looks. What breaks its protocol is kept as it came, to be compared as bytes.

use std::borrow::Cow;

use super::chat::Assembler;
use super::embeddings;
use super::grpc::{self, Message};
use super::json::Json;
use super::reader::Reader;
use super::stream::{self, Clock};
use super::types::{Answer, Content, Limits, RawAnswer, RawRequest, Timing, Undecodable};
use super::v2;
use crate::inference::content;
use crate::inference::path::{Action, Api, GrpcMethod, OpenAiCall};

type Result<T> = std::result::Result<T, Undecodable>;

/// What an answer says.
pub fn read(raw: &RawAnswer<'_>, limits: &Limits) -> Answer {
    let (content, timing) = understand(raw, limits)
        .unwrap_or_else(|why| (Content::Undecodable { why, body: raw.body.to_vec() }, None));
    Answer { status: raw.status, grpc: raw.grpc, content, timing }
}

/// What a request says: its tensors, its JSON (V1 and OpenAI requests too), text or bytes.
pub fn read_request(raw: &RawRequest<'_>, limits: &Limits) -> Content {
    understand_request(raw, limits)
        .unwrap_or_else(|why| Content::Undecodable { why, body: raw.body.to_vec() })
}

fn understand(raw: &RawAnswer<'_>, limits: &Limits) -> Result<(Content, Option<Timing>)> {
    if raw.body.is_empty() {
        return Ok((Content::Empty, None));
    }
    if let Api::Grpc(method) = raw.api {
        return grpc_answer(raw, method, limits);
    }
    let body =
        content::decode(raw.content_encoding, raw.body, limits.decoded_bytes).map_err(grpc::of_content)?;
    if media(raw.content_type).eq_ignore_ascii_case("text/event-stream") {
        // Where a chunk of a compressed body begins says nothing about the events in it.
        let times = if matches!(body, Cow::Borrowed(_)) { raw.chunk_times } else { &[] };
        return stream::read(&body, times, limits);
    }
    let success = (200..300).contains(&raw.status);
    let content = match raw.api {
        _ if !success => plain(raw.content_type, &body, limits)?,
        Api::V2(call) if call.action == Action::Infer => {
            tensors(raw.content_type, &body, raw.inference_header_length, "outputs", limits)?
        }
        Api::Other if raw.inference_header_length.is_some() => {
            tensors(raw.content_type, &body, raw.inference_header_length, "outputs", limits)?
        }
        api => match plain(raw.content_type, &body, limits)? {
            Content::Json(json) => of_json(api, json, &body, limits)?,
            other => other,
        },
    };
    Ok((content, None))
}

fn understand_request(raw: &RawRequest<'_>, limits: &Limits) -> Result<Content> {
    if raw.body.is_empty() {
        return Ok(Content::Empty);
    }
    if let Api::Grpc(method) = raw.api {
        let messages = grpc::messages(raw.body, raw.content_encoding, limits)?;
        return match method {
            GrpcMethod::ModelInfer | GrpcMethod::ModelStreamInfer => grpc::request(&messages, limits),
            _ => Ok(Content::Bytes(joined(messages))),
        };
    }
    let body =
        content::decode(raw.content_encoding, raw.body, limits.decoded_bytes).map_err(grpc::of_content)?;
    match raw.api {
        Api::V2(call) if call.action == Action::Infer => {
            tensors(raw.content_type, &body, raw.inference_header_length, "inputs", limits)
        }
        Api::Other if raw.inference_header_length.is_some() => {
            tensors(raw.content_type, &body, raw.inference_header_length, "inputs", limits)
        }
        _ => plain(raw.content_type, &body, limits),
    }
}

fn grpc_answer(
    raw: &RawAnswer<'_>,
    method: GrpcMethod,
    limits: &Limits,
) -> Result<(Content, Option<Timing>)> {
    let messages = grpc::messages(raw.body, raw.content_encoding, limits)?;
    let stream = match method {
        GrpcMethod::ModelInfer => false,
        GrpcMethod::ModelStreamInfer => true,
        _ => return Ok((Content::Bytes(joined(messages)), None)),
    };
    let mut clock = Clock::new(if stream { raw.chunk_times } else { &[] });
    for message in &messages {
        clock.token(message.end);
    }
    Ok((grpc::answer(&messages, stream, limits)?, clock.finish()))
}

fn joined(messages: Vec<Message>) -> Vec<u8> {
    messages.into_iter().flat_map(|message| message.bytes).collect()
}

/// The tensors in a body that should hold some; whatever it is, where it holds none.
fn tensors(
    content_type: Option<&str>,
    body: &[u8],
    header: Option<usize>,
    list: &str,
    limits: &Limits,
) -> Result<Content> {
    if header.is_none() && !looks_like_json(body) {
        return plain(content_type, body, limits);
    }
    match v2::read(body, header, list, limits)? {
        Some(outputs) => Ok(Content::Tensors(outputs)),
        None => plain(content_type, body, limits),
    }
}

/// JSON that is more than JSON.
fn of_json(api: Api<'_>, json: Json, body: &[u8], limits: &Limits) -> Result<Content> {
    match api {
        Api::V1(_) if json.get("predictions").or_else(|| json.get("outputs")).is_some() => {
            return Ok(Content::Predictions(json));
        }
        Api::OpenAi(OpenAiCall::Embeddings) => {
            return Ok(embeddings::read(&json).map_or(Content::Json(json), Content::Tensors));
        }
        Api::V2(call) if matches!(call.action, Action::Generate | Action::GenerateStream) => {
            if let Some(text) = json.get("text_output").and_then(Json::as_str) {
                let mut chat = Assembler::new(limits);
                chat.text(0, text)?;
                return Ok(Content::Chat(chat.finish(true)));
            }
        }
        Api::OpenAi(_) | Api::Other if has_choices(&json) => {
            let mut chat = Assembler::new(limits);
            chat.choices(&json)?;
            return Ok(Content::Chat(chat.finish(true)));
        }
        Api::OpenAi(OpenAiCall::Responses) => {
            let mut chat = Assembler::new(limits);
            if chat.response(&json)? {
                return Ok(Content::Chat(chat.finish(true)));
            }
        }
        Api::Other if has_tensors(&json) => {
            if let Ok(Some(outputs)) = v2::read(body, None, "outputs", limits) {
                return Ok(Content::Tensors(outputs));
            }
        }
        _ => {}
    }
    Ok(Content::Json(json))
}

fn has_choices(json: &Json) -> bool {
    let items = json.get("choices").and_then(Json::as_array).unwrap_or_default();
    !items.is_empty() && items.iter().all(|item| item.get("message").or_else(|| item.get("text")).is_some())
}

fn has_tensors(json: &Json) -> bool {
    let items = json.get("outputs").and_then(Json::as_array).unwrap_or_default();
    let keys = ["name", "datatype", "shape", "data"];
    !items.is_empty() && items.iter().all(|item| keys.iter().all(|key| item.get(key).is_some()))
}

/// JSON, text or bytes, by the content type, or by the look where that says nothing.
fn plain(content_type: Option<&str>, body: &[u8], limits: &Limits) -> Result<Content> {
    let media = media(content_type).to_ascii_lowercase();
    if media.ends_with("/json") || media.ends_with("+json") {
        return Reader::read(body, limits).map(Content::Json);
    }
    let is_text = media.starts_with("text/") || media.ends_with("ndjson") || media.ends_with("xml");
    if (media.is_empty() || is_text) && looks_like_json(body) {
        match Reader::read(body, limits) {
            Ok(json) => return Ok(Content::Json(json)),
            Err(limit @ Undecodable::Limit(_)) => return Err(limit),
            Err(Undecodable::Malformed(_)) => {}
        }
    }
    match std::str::from_utf8(body) {
        Ok(text) if is_text => Ok(Content::Text(text.to_owned())),
        _ => Ok(Content::Bytes(body.to_vec())),
    }
}

fn looks_like_json(body: &[u8]) -> bool {
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}

/// The media type of a `Content-Type`, without its parameters.
fn media(content_type: Option<&str>) -> &str {
    content_type.unwrap_or_default().split(';').next().unwrap_or_default().trim()
}
