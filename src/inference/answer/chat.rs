//! Answers of language models put together: the OpenAI API's chat and completions (whole, or in
//! the chunks of a stream), its responses, and Triton's `generate`.
//!
//! Ids, times and usage differ from call to call and are left out; so is reasoning that a server
//! shows beside its answer, which only counts as tokens.

use super::json::Json;
use super::types::{Chat, Choice, Limits, ToolCall, Undecodable};

type Result<T> = std::result::Result<T, Undecodable>;

/// Puts choices together, from whole messages or from pieces.
#[derive(Debug)]
pub(super) struct Assembler<'a> {
    choices: Vec<Choice>,
    limits: &'a Limits,
}

impl<'a> Assembler<'a> {
    /// Nothing yet.
    pub(super) fn new(limits: &'a Limits) -> Self {
        Self { choices: Vec::new(), limits }
    }

    /// What was put together.
    pub(super) fn finish(self, done: bool) -> Chat {
        Chat { choices: self.choices, done }
    }

    /// Adds an object of chat or completions, whole or a chunk. Says whether it held a token; none
    /// when it is no such object.
    pub(super) fn choices(&mut self, object: &Json) -> Result<Option<bool>> {
        let Some(items) = object.get("choices").and_then(Json::as_array) else { return Ok(None) };
        let mut token = false;
        for (at, item) in items.iter().enumerate() {
            let place = u64::try_from(at).unwrap_or(u64::MAX);
            let limit = self.limits.outputs;
            let choice = self.choice(item.get("index").and_then(unsigned).unwrap_or(place))?;
            if let Some(reason) = item.get("finish_reason").and_then(Json::as_str) {
                choice.finish_reason = Some(reason.to_owned());
            }
            token |= append(&mut choice.text, item.get("text"));
            if let Some(piece) = item.get("message").or_else(|| item.get("delta")) {
                token |= message(choice, piece, limit)?;
            }
        }
        Ok(Some(token))
    }

    /// Adds text to a choice.
    pub(super) fn text(&mut self, index: u64, text: &str) -> Result<()> {
        self.choice(index)?.text.push_str(text);
        Ok(())
    }

    /// Adds a whole object of the responses API. False when it is none.
    pub(super) fn response(&mut self, object: &Json) -> Result<bool> {
        let Some(items) = object.get("output").and_then(Json::as_array) else { return Ok(false) };
        let limit = self.limits.outputs;
        let choice = self.choice(0)?;
        *choice = Choice::default();
        choice.finish_reason = object.get("status").and_then(Json::as_str).map(str::to_owned);
        for item in items {
            match item.get("type").and_then(Json::as_str) {
                Some("message") => {
                    for part in item.get("content").and_then(Json::as_array).unwrap_or_default() {
                        append(&mut choice.text, part.get("text"));
                        append(&mut choice.text, part.get("refusal"));
                    }
                }
                Some("function_call") => {
                    let call = choice.tool_calls.len();
                    function(tool(choice, call, limit)?, item);
                }
                _ => {}
            }
        }
        Ok(true)
    }

    fn choice(&mut self, index: u64) -> Result<&mut Choice> {
        let at = match self.choices.binary_search_by_key(&index, |choice| choice.index) {
            Ok(at) => at,
            Err(_) if self.choices.len() >= self.limits.outputs => {
                return Err(Undecodable::Limit("choices"));
            }
            Err(at) => {
                self.choices.insert(at, Choice { index, ..Choice::default() });
                at
            }
        };
        self.choices.get_mut(at).ok_or(Undecodable::Limit("choices"))
    }
}

/// Adds a `message` or `delta`. Says whether it held a token.
fn message(choice: &mut Choice, piece: &Json, limit: usize) -> Result<bool> {
    let mut token = match piece.get("content") {
        Some(Json::Array(parts)) => {
            let mut token = false;
            for part in parts {
                token |= append(&mut choice.text, part.get("text"));
            }
            token
        }
        text => append(&mut choice.text, text),
    };
    token |= append(&mut choice.text, piece.get("refusal"));
    token |= ["reasoning_content", "reasoning"]
        .iter()
        .any(|key| piece.get(key).and_then(Json::as_str).is_some_and(|text| !text.is_empty()));
    for (at, call) in piece.get("tool_calls").and_then(Json::as_array).unwrap_or_default().iter().enumerate()
    {
        let at = call.get("index").and_then(unsigned).and_then(|at| usize::try_from(at).ok()).unwrap_or(at);
        let made = tool(choice, at, limit)?;
        token |= call.get("function").is_some_and(|called| function(made, called));
    }
    if let Some(called @ Json::Object(_)) = piece.get("function_call") {
        token |= function(tool(choice, 0, limit)?, called);
    }
    Ok(token)
}

/// The call at that place, and empty ones before it where a server skips some.
fn tool(choice: &mut Choice, at: usize, limit: usize) -> Result<&mut ToolCall> {
    if at >= limit {
        return Err(Undecodable::Limit("tool calls"));
    }
    if choice.tool_calls.len() <= at {
        choice.tool_calls.resize_with(at + 1, ToolCall::default);
    }
    choice.tool_calls.get_mut(at).ok_or(Undecodable::Limit("tool calls"))
}

fn function(call: &mut ToolCall, called: &Json) -> bool {
    let name = append(&mut call.name, called.get("name"));
    let arguments = match called.get("arguments") {
        // Some servers send the arguments as an object and not as its text.
        Some(object @ Json::Object(_)) => {
            call.arguments.push_str(&object.to_string());
            true
        }
        text => append(&mut call.arguments, text),
    };
    name || arguments
}

fn append(to: &mut String, text: Option<&Json>) -> bool {
    let text = text.and_then(Json::as_str).unwrap_or_default();
    to.push_str(text);
    !text.is_empty()
}

fn unsigned(json: &Json) -> Option<u64> {
    if let Json::Integer(number) = json { u64::try_from(*number).ok() } else { None }
}
