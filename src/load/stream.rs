//! When the tokens of a streamed answer come.
//!
//! Reads server-sent events as they arrive (WHATWG HTML, section 9.2) and looks only for what
//! matters here: whether an event says something, and what the server says about how many tokens
//! that were. Memory is one line, and a line has a limit.

use serde::Deserialize;

/// Longest line that is looked into, in bytes.
const LONGEST: usize = 256 * 1024;

/// What is known of a streamed answer so far.
#[derive(Debug, Default)]
pub struct Stream {
    line: Vec<u8>,
    /// The rest of a line that is too long is passed over.
    skipping: bool,
    first: Option<u64>,
    last: Option<u64>,
    events: u64,
    usage: Option<u64>,
    done: bool,
}

#[derive(Deserialize)]
struct Chunk {
    #[serde(default)]
    choices: Vec<Choice>,
    usage: Option<Usage>,
}

#[derive(Deserialize)]
struct Choice {
    delta: Option<Delta>,
    text: Option<String>,
}

#[derive(Deserialize)]
struct Delta {
    content: Option<String>,
    reasoning_content: Option<String>,
    tool_calls: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize)]
struct Usage {
    completion_tokens: Option<u64>,
}

impl Stream {
    /// Takes a piece of the body that came at `now`; `gap` is told each time between tokens. Times
    /// are in nanoseconds from any one point.
    pub fn push(&mut self, piece: &[u8], now: u64, mut gap: impl FnMut(u64)) {
        let mut rest = piece;
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let (line, after) = rest.split_at_checked(end).unwrap_or((rest, &[]));
            rest = after.get(1..).unwrap_or_default();
            self.keep(line);
            let line = std::mem::take(&mut self.line);
            if !std::mem::take(&mut self.skipping) {
                self.event(&line, now, &mut gap);
            }
            self.line = line;
            self.line.clear();
        }
        self.keep(rest);
    }

    fn keep(&mut self, part: &[u8]) {
        if self.line.len() + part.len() > LONGEST {
            self.skipping = true;
            self.line.clear();
        }
        if !self.skipping {
            self.line.extend_from_slice(part);
        }
    }

    fn event(&mut self, line: &[u8], now: u64, gap: &mut impl FnMut(u64)) {
        let Some(data) = line.strip_prefix(b"data:") else { return };
        let data = data.trim_ascii();
        if data == b"[DONE]" {
            self.done = true;
            return;
        }
        let Ok(chunk) = serde_json::from_slice::<Chunk>(data) else { return };
        if let Some(tokens) = chunk.usage.and_then(|usage| usage.completion_tokens) {
            self.usage = Some(tokens);
        }
        let filled = |text: &Option<String>| text.as_ref().is_some_and(|text| !text.is_empty());
        let says = chunk.choices.iter().any(|choice| {
            filled(&choice.text)
                || choice.delta.as_ref().is_some_and(|delta| {
                    filled(&delta.content) || filled(&delta.reasoning_content) || delta.tool_calls.is_some()
                })
        });
        if says {
            self.events += 1;
            self.first.get_or_insert(now);
            if let Some(last) = self.last.replace(now) {
                gap(now.saturating_sub(last));
            }
        }
    }

    /// Notes how many tokens an answer in one piece has.
    pub fn set_tokens(&mut self, tokens: u64) {
        self.usage = Some(tokens);
    }

    /// When the first token came.
    pub fn first(&self) -> Option<u64> {
        self.first
    }

    /// Tokens, as the server counted them; otherwise events that said something.
    pub fn tokens(&self) -> u64 {
        self.usage.unwrap_or(self.events)
    }

    /// Whether it said something and came to its end.
    pub fn is_good(&self) -> bool {
        self.events > 0 && self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"}}]}\n\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"Hel\"}}]}\r\n\r\n: ping\n\
        data: {\"choices\":[{\"delta\":{\"content\":\"lo\"}}]}\n\n\
        data: {\"choices\":[],\"usage\":{\"completion_tokens\":5}}\n\ndata: [DONE]\n\n";

    #[test]
    fn tokens_are_found_however_the_body_is_cut() {
        for size in 1..ANSWER.len() {
            let (mut stream, mut gaps) = (Stream::default(), 0);
            for (at, piece) in ANSWER.as_bytes().chunks(size).enumerate() {
                stream.push(piece, at as u64, |_| gaps += 1);
            }
            assert_eq!((stream.tokens(), gaps, stream.is_good()), (5, 1, true), "{size}");
        }
    }

    #[test]
    fn times_are_those_of_what_is_said_and_not_of_the_role() {
        let (mut stream, mut gaps) = (Stream::default(), Vec::new());
        for (at, event) in ANSWER.split_inclusive('\n').enumerate() {
            stream.push(event.as_bytes(), 100 * (at as u64 + 1), |gap| gaps.push(gap));
        }
        assert_eq!((stream.first(), gaps), (Some(300), vec![300]));
    }

    #[test]
    fn a_stream_that_breaks_off_or_says_nothing_is_not_good() {
        for body in
            ["", "data: [DONE]\n", "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n", "data: no\n"]
        {
            let mut stream = Stream::default();
            stream.push(body.as_bytes(), 1, |_| {});
            assert!(!stream.is_good(), "{body}");
        }
    }

    #[test]
    fn a_line_without_end_takes_no_memory() {
        let mut stream = Stream::default();
        for _ in 0..1000 {
            stream.push(&[b'x'; 4096], 1, |_| {});
        }
        assert!(stream.line.capacity() <= 2 * LONGEST);
        stream.push(b"\ndata: {\"choices\":[{\"text\":\"y\"}]}\ndata: [DONE]\n", 2, |_| {});
        assert!(stream.is_good());
    }
}
