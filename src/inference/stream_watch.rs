//! Watching a stream of server-sent events go by: how many tokens have passed, and whether the
//! stream has said that it is over.
//!
//! A token is an event that adds text or a call of a tool, as [`super::answer`] has it: the chunk
//! that only names a role is none, nor is one that only counts usage. Events of other APIs are taken
//! as they come, each as a token. Nothing is kept of an event but an unfinished line, and nothing is
//! parsed that is not asked for: this runs on the way of the answer.

/// Longest line that is put together; of a longer one only its end is waited for.
const MAX_LINE: usize = 64 * 1024;

/// Watches one stream.
#[derive(Debug, Default)]
pub struct StreamWatch {
    /// A line whose end has not come.
    line: Vec<u8>,
    /// It was too long to be put together.
    overlong: bool,
    done: bool,
}

/// What a data line says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Said {
    Token,
    End,
    Nothing,
}

impl StreamWatch {
    /// Takes the next piece of the stream; says how many tokens have come to their end in it.
    pub fn push(&mut self, mut piece: &[u8]) -> usize {
        let mut tokens = 0;
        while let Some(end) = piece.iter().position(|byte| matches!(byte, b'\n' | b'\r')) {
            let (line, rest) = piece.split_at_checked(end).unwrap_or((piece, &[]));
            piece = rest.get(1..).unwrap_or_default();
            let said = match (self.overlong, self.line.is_empty()) {
                // So much can only be text.
                (true, _) => Said::Token,
                (false, true) => said(line),
                (false, false) => {
                    self.keep(line);
                    said(&self.line)
                }
            };
            self.line.clear();
            self.overlong = false;
            match said {
                Said::Token => tokens += 1,
                Said::End => self.done = true,
                Said::Nothing => {}
            }
        }
        self.keep(piece);
        tokens
    }

    /// Whether the stream has said that it is over: `[DONE]`, or the event that ends a response. What
    /// may still come is the end of the body.
    pub fn is_done(&self) -> bool {
        self.done || said(&self.line) == Said::End
    }

    fn keep(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > MAX_LINE {
            self.overlong = true;
            self.line = Vec::new();
        } else if !self.overlong {
            self.line.extend_from_slice(part);
        }
    }
}

fn said(line: &[u8]) -> Said {
    let Some(data) = line.strip_prefix(b"data:") else { return Said::Nothing };
    let data = data.trim_ascii();
    match data.first() {
        None => Said::Nothing,
        Some(b'{') => object(data),
        Some(_) if data == b"[DONE]" => Said::End,
        Some(_) => Said::Token,
    }
}

/// What a JSON object says, by its keys at any depth.
fn object(json: &[u8]) -> Said {
    let (mut choices, mut failed) = (false, false);
    let (mut text, mut delta, mut output) = (false, false, None);
    let mut kind: Option<&[u8]> = None;
    let mut rest = json;
    while let Some((key, after)) = next_string(rest) {
        rest = after;
        let Some(value) = after.trim_ascii_start().strip_prefix(b":").map(<[u8]>::trim_ascii_start) else {
            continue;
        };
        rest = value;
        match key {
            b"choices" => choices = true,
            b"error" => failed |= !value.starts_with(b"null"),
            // Parts of a response have types, too; it is the event's own that begins so.
            b"type"
                if value.starts_with(b"\"") && kind.is_none_or(|kind| !kind.starts_with(b"response.")) =>
            {
                kind = next_string(value).map(|(kind, _)| kind);
            }
            b"delta" => delta |= is_text(value),
            b"text_output" => output = Some(is_text(value)),
            b"content" | b"text" | b"refusal" | b"reasoning_content" | b"reasoning" | b"name" => {
                text |= is_text(value);
            }
            b"arguments" => text |= is_text(value) || value.starts_with(b"{"),
            _ => {}
        }
    }
    let token = |is: bool| if is { Said::Token } else { Said::Nothing };
    match (kind, output) {
        _ if choices => token(text),
        _ if failed => Said::Nothing,
        (_, Some(output)) => token(output),
        (Some(b"response.completed" | b"response.incomplete" | b"response.failed"), None) => Said::End,
        (Some(kind), None) if kind.starts_with(b"response.") => token(delta && kind.ends_with(b".delta")),
        _ => Said::Token,
    }
}

/// The next string in `json`, as it is written, and what comes behind it.
fn next_string(json: &[u8]) -> Option<(&[u8], &[u8])> {
    let start = json.iter().position(|byte| *byte == b'"')?;
    let inside = json.get(start + 1..)?;
    let mut escaped = false;
    let end = inside.iter().position(|byte| match (escaped, byte) {
        (true, _) => {
            escaped = false;
            false
        }
        (false, b'\\') => {
            escaped = true;
            false
        }
        (false, byte) => *byte == b'"',
    })?;
    Some((inside.get(..end)?, inside.get(end + 1..)?))
}

/// Whether a value is a string that is not empty.
fn is_text(value: &[u8]) -> bool {
    matches!(value, [b'"', next, ..] if *next != b'"')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inference::answer::{Content, Limits, RawAnswer, read};
    use crate::inference::path;

    const CHAT: &str = concat!(
        ": a comment\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n",
        "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"He said \\\"content\\\": \\\"x\\\"\"}}]}\r\n\r\n",
        "data:{\"choices\" : [ { \"delta\" : { \"content\" : \"é\\\\\" } } ] }\n\n",
        "data: {\"choices\":[{\"delta\":{\"tool_calls\":[{\"index\":0,\"type\":\"function\",",
        "\"function\":{\"arguments\":\"{\"}}]}}]}\n\n",
        "data: {\"choices\":[{\"delta\":{\"content\":null},\"finish_reason\":\"stop\"}]}\n\n",
        "data: {\"choices\":[],\"usage\":{\"total_tokens\":3}}\n\n",
        "data: [DONE]\n\n",
    );

    fn watched(body: &str, size: usize) -> (usize, bool) {
        let mut watch = StreamWatch::default();
        let tokens = body.as_bytes().chunks(size).map(|piece| watch.push(piece)).sum();
        (tokens, watch.is_done())
    }

    #[test]
    fn tokens_are_counted_however_the_stream_is_cut() {
        for size in [1, 2, 3, 7, 50, 10_000] {
            assert_eq!(watched(CHAT, size), (3, true), "{size}");
        }
    }

    #[test]
    fn what_is_a_token_here_is_one_for_who_reads_the_whole_answer() {
        let response = "event: response.output_text.delta\n\
            data: {\"type\":\"response.created\",\"response\":{\"error\":null}}\n\n\
            data: {\"type\":\"response.output_text.delta\",\"delta\":\"a\"}\n\n\
            data: {\"type\":\"response.output_text.delta\",\"delta\":\"\"}\n\n\
            data: {\"type\":\"response.output_text.done\",\"text\":\"a\"}\n\n\
            data: {\"type\":\"response.completed\",\"response\":{\"output\":[]}}\n\n";
        let completions =
            "data: {\"choices\":[{\"text\":\"a\"}]}\n\ndata: {\"choices\":[{\"text\":\"\"}]}\n\n";
        let triton = "data: {\"text_output\":\"a\"}\n\ndata: {\"text_output\":\"\"}\n\n";
        for (name, body) in
            [("chat", CHAT), ("response", response), ("completions", completions), ("triton", triton)]
        {
            let answer = read(
                &RawAnswer {
                    api: path::parse("/v1/chat/completions"),
                    status: 200,
                    grpc: None,
                    content_type: Some("text/event-stream"),
                    content_encoding: None,
                    inference_header_length: None,
                    body: body.as_bytes(),
                    chunk_times: &[(0, 1)],
                },
                &Limits::default(),
            );
            let Content::Chat(chat) = &answer.content else { panic!("{name}: {answer:?}") };
            let tokens = answer.timing.unwrap().tokens;
            assert_eq!(watched(body, 11), (usize::try_from(tokens).unwrap(), chat.done), "{name}");
        }
    }

    #[test]
    fn the_end_is_known_as_soon_as_its_line_is_there() {
        assert!(!watched("data: [DON", 4).1);
        assert!(watched("data: [DONE]", 4).1, "whoever reads it need not wait for the line's end");
        assert!(!watched("data: {\"choices\":[{\"delta\":{\"content\":\"[DONE]\"}}]}\n\n", 9).1);
        assert_eq!(watched("data: {\"error\":{\"message\":\"no\"}}\n\n", 9), (0, false));
    }

    #[test]
    fn other_streams_have_a_token_in_each_event() {
        assert_eq!(watched("data: 1\n\ndata: {\"x\":1}\n\nevent: ping\n\ndata:\n\n", 5), (2, false));
    }

    #[test]
    fn a_line_without_end_is_not_kept() {
        let mut watch = StreamWatch::default();
        watch.push(b"data: ");
        for _ in 0..1_000 {
            assert_eq!(watch.push(&[b'x'; 1_000]), 0);
            assert!(watch.line.len() <= MAX_LINE);
        }
        assert_eq!(watch.push(b"\n\ndata: [DONE]\n"), 1);
        assert!(watch.is_done());
    }
}
