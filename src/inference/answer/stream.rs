//! A stream of server-sent events put together to one answer, with the times of its tokens.
//!
//! Events are known by what they are, not by the path: chunks of chat or completions have
//! `choices`, Triton's `generate_stream` has `text_output`, the responses API names its events'
//! types. A stream of anything else is the text of its data.

use super::chat::Assembler;
use super::json::Json;
use super::reader::Reader;
use super::sse::{Event, events};
use super::types::{Content, Limits, MAX_GAPS, Timing, Undecodable};

/// What the events of `body` say. `chunk_times` as in [`super::RawAnswer`].
pub(super) fn read(
    body: &[u8],
    chunk_times: &[(usize, u64)],
    limits: &Limits,
) -> Result<(Content, Option<Timing>), Undecodable> {
    let events = events(body, limits)?;
    let mut chat = Assembler::new(limits);
    let mut clock = Clock::new(chunk_times);
    let mut done = false;
    let mut understood = 0_usize;
    for event in &events {
        if event.data.trim() == "[DONE]" {
            done = true;
            continue;
        }
        let Ok(object) = Reader::read(event.data.as_bytes(), limits) else {
            return Ok((text(&events), None));
        };
        match take(&mut chat, &object)? {
            Taken::Piece { token } => {
                understood += 1;
                if token {
                    clock.token(event.end);
                }
            }
            Taken::End => {
                understood += 1;
                done = true;
            }
            Taken::Error(why) => return Ok((Content::Error(why), clock.finish())),
            Taken::Passed => {}
        }
    }
    if understood == 0 && !done {
        return Ok((text(&events), None));
    }
    Ok((Content::Chat(chat.finish(done)), clock.finish()))
}

fn text(events: &[Event]) -> Content {
    let lines: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
    Content::Text(lines.join("\n"))
}

enum Taken {
    /// A piece of the answer.
    Piece { token: bool },
    /// The event that ends it.
    End,
    /// It failed.
    Error(String),
    /// Nothing that is known here.
    Passed,
}

fn take(chat: &mut Assembler<'_>, object: &Json) -> Result<Taken, Undecodable> {
    if let Some(why) = error(object) {
        return Ok(Taken::Error(why));
    }
    if let Some(token) = chat.choices(object)? {
        return Ok(Taken::Piece { token });
    }
    if let Some(text) = object.get("text_output").and_then(Json::as_str) {
        chat.text(0, text)?;
        return Ok(Taken::Piece { token: !text.is_empty() });
    }
    let text = |key| object.get(key).and_then(Json::as_str).unwrap_or_default();
    Ok(match text("type") {
        "response.output_text.delta" | "response.refusal.delta" => {
            chat.text(0, text("delta"))?;
            Taken::Piece { token: !text("delta").is_empty() }
        }
        "response.function_call_arguments.delta" => Taken::Piece { token: true },
        "response.completed" | "response.incomplete" => {
            if let Some(response) = object.get("response") {
                chat.response(response)?;
            }
            Taken::End
        }
        "response.failed" => {
            let why = object.get("response").and_then(error);
            Taken::Error(why.unwrap_or_else(|| "the response failed".to_owned()))
        }
        kind if kind.starts_with("response.") => Taken::Piece { token: false },
        _ => Taken::Passed,
    })
}

/// The error that an object announces, as OpenAI's servers, Triton and KServe write it.
pub(super) fn error(object: &Json) -> Option<String> {
    if object.get("choices").is_some() {
        return None;
    }
    match object.get("error")? {
        Json::Null => None,
        Json::String(why) => Some(why.to_string()),
        other => Some(match other.get("message").and_then(Json::as_str) {
            Some(why) => why.to_owned(),
            None => other.to_string(),
        }),
    }
}

/// When tokens came, from when chunks came.
#[derive(Debug)]
pub(super) struct Clock<'a> {
    chunk_times: &'a [(usize, u64)],
    last: Option<u64>,
    timing: Timing,
}

impl<'a> Clock<'a> {
    /// A clock for a body whose chunks came so.
    pub(super) fn new(chunk_times: &'a [(usize, u64)]) -> Self {
        Self { chunk_times, last: None, timing: Timing::default() }
    }

    /// A token whose event ends at that place: it was there when the chunk with its last byte came.
    pub(super) fn token(&mut self, end: usize) {
        self.timing.tokens += 1;
        let before = self.chunk_times.partition_point(|(offset, _)| *offset < end);
        let Some((_, now)) = before.checked_sub(1).and_then(|at| self.chunk_times.get(at)) else { return };
        match self.last {
            None => self.timing.first_token_ns = Some(*now),
            Some(last) if self.timing.gaps_ns.len() < MAX_GAPS => {
                self.timing.gaps_ns.push(now.saturating_sub(last));
            }
            Some(_) => {}
        }
        self.last = Some(*now);
    }

    /// All of it; none when nobody watched.
    pub(super) fn finish(self) -> Option<Timing> {
        (!self.chunk_times.is_empty()).then_some(self.timing)
    }
}
