//! What language models say: whole, in streams, and when.

use super::{content, raw};
use crate::inference::answer::{Chat, Choice, Content, Limits, MAX_GAPS, RawAnswer, ToolCall, read};

const CHAT: &str = "/v1/chat/completions";
const EVENTS: &str = "text/event-stream; charset=utf-8";

fn chat(content: Content) -> Chat {
    if let Content::Chat(chat) = content { chat } else { panic!("{content:?}") }
}

fn choice(index: u64, text: &str, finish: &str) -> Choice {
    Choice { index, text: text.into(), finish_reason: Some(finish.into()), tool_calls: vec![] }
}

fn events(data: &[&str]) -> String {
    data.iter().map(|data| format!("data: {data}\n\n")).collect()
}

#[test]
fn a_streamed_answer_is_the_whole_one() {
    let whole = br#"{"id":"a","choices":[
        {"index":1,"message":{"role":"assistant","content":"Bye"},"finish_reason":"length"},
        {"index":0,"message":{"role":"assistant","content":"Hello, \"you\""},"finish_reason":"stop"}],"usage":{"n":1}}"#;
    let stream = events(&[
        r#"{"id":"b","choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":"Hello"}}]}"#,
        r#"{"choices":[{"index":1,"delta":{"content":"By"}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"content":", \"you\""}},{"index":1,"delta":{"content":"e"}}]}"#,
        r#"{"choices":[{"index":1,"delta":{},"finish_reason":"length"}]}"#,
        r#"{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}"#,
        r#"{"choices":[],"usage":{"total_tokens":9}}"#,
        "[DONE]",
    ]);
    let want =
        Chat { choices: vec![choice(0, "Hello, \"you\"", "stop"), choice(1, "Bye", "length")], done: true };
    assert_eq!(chat(content(CHAT, "application/json", whole)), want);
    assert_eq!(chat(content(CHAT, EVENTS, stream.as_bytes())), want);
    // Line endings, comments, names and a missing last blank line make no difference.
    let other = format!(": ping\r\n\r\nevent: x\r\nid: 1\r\n{}", stream.replace('\n', "\r\n"));
    assert_eq!(chat(content(CHAT, EVENTS, other.trim_end().as_bytes())), want);
    assert_eq!(chat(content("/llm", EVENTS, stream.replace("\n", "\r").as_bytes())), want);
    // Data may go over several lines.
    let folded = stream.replace(
        "{\"choices\":[{\"index\":1,\"delta\":{}",
        "{\"choices\":\ndata: [{\"index\":1,\"delta\":{}",
    );
    assert_ne!(folded, stream);
    assert_eq!(chat(content(CHAT, EVENTS, folded.as_bytes())), want);
}

#[test]
fn a_stream_that_stops_early_is_not_done() {
    let stream = events(&[r#"{"choices":[{"index":0,"delta":{"content":"Hel"}}]}"#]);
    let found = chat(content(CHAT, EVENTS, stream.as_bytes()));
    assert_eq!(
        (found.choices[0].text.as_str(), found.choices[0].finish_reason.as_deref(), found.done),
        ("Hel", None, false)
    );
}

#[test]
fn tool_calls_come_whole_or_in_pieces() {
    let whole = br#"{"choices":[{"message":{"content":null,"tool_calls":[
        {"id":"c1","function":{"name":"a","arguments":"{\"x\":1}"}},{"id":"c2","function":{"name":"b","arguments":{"y":2}}}]}}]}"#;
    let stream = events(&[
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"id":"z","function":{"name":"a","arguments":""}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":"{\"x\""}}]}}]}"#,
        r#"{"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"arguments":":1}"}},{"index":1,"function":{"name":"b","arguments":"{\"y\":2}"}}]}}]}"#,
        "[DONE]",
    ]);
    let calls = |name: &str, arguments: &str| ToolCall { name: name.into(), arguments: arguments.into() };
    let want = [calls("a", r#"{"x":1}"#), calls("b", r#"{"y":2}"#)];
    assert_eq!(chat(content(CHAT, "", whole)).choices[0].tool_calls, want);
    assert_eq!(chat(content(CHAT, EVENTS, stream.as_bytes())).choices[0].tool_calls, want);
    let old = br#"{"choices":[{"message":{"function_call":{"name":"a","arguments":"{}"}}}]}"#;
    assert_eq!(chat(content(CHAT, "", old)).choices[0].tool_calls, [calls("a", "{}")]);
}

#[test]
fn completions_refusals_and_parts_are_text() {
    let text = |path: &str, kind: &str, body: &str| {
        chat(content(path, kind, body.as_bytes())).choices[0].text.clone()
    };
    assert_eq!(text("/v1/completions", "", r#"{"choices":[{"text":"abc","index":0}]}"#), "abc");
    let stream =
        events(&[r#"{"choices":[{"text":"ab","index":0}]}"#, r#"{"choices":[{"text":"c","index":0}]}"#]);
    assert_eq!(text("/v1/completions", EVENTS, &stream), "abc");
    assert_eq!(text(CHAT, "", r#"{"choices":[{"message":{"content":null,"refusal":"no"}}]}"#), "no");
    let parts =
        r#"{"choices":[{"message":{"content":[{"type":"text","text":"a"},{"type":"text","text":"b"}]}}]}"#;
    assert_eq!(text(CHAT, "", parts), "ab");
}

#[test]
fn responses_and_generate_are_understood_whole_and_streamed() {
    let response = r#"{"status":"completed","output":[{"type":"reasoning"},
        {"type":"message","content":[{"type":"output_text","text":"Hello"}]},
        {"type":"function_call","name":"f","arguments":"{}","call_id":"r"}]}"#;
    let whole = chat(content("/v1/responses", "application/json", response.as_bytes()));
    assert_eq!(whole.choices[0].text, "Hello");
    assert_eq!(whole.choices[0].finish_reason.as_deref(), Some("completed"));
    assert_eq!(whole.choices[0].tool_calls[0].name, "f");
    let stream = events(&[
        r#"{"type":"response.created","response":{}}"#,
        r#"{"type":"response.output_text.delta","delta":"Hel"}"#,
        r#"{"type":"response.output_text.delta","delta":"lo"}"#,
        &format!(r#"{{"type":"response.completed","response":{}}}"#, response.replace('\n', " ")),
    ]);
    assert_eq!(chat(content("/v1/responses", EVENTS, stream.as_bytes())), whole);
    let path = "/v2/models/m/generate";
    let whole = chat(content(path, "application/json", br#"{"model_name":"m","text_output":"Hello"}"#));
    let stream = events(&[r#"{"text_output":"Hel"}"#, r#"{"text_output":"lo"}"#]);
    let streamed = chat(content("/v2/models/m/generate_stream", EVENTS, stream.as_bytes()));
    assert_eq!(whole.choices, streamed.choices);
    assert_eq!(whole.choices[0].text, "Hello");
}

#[test]
fn an_error_in_a_stream_is_an_error() {
    let start = r#"{"choices":[{"index":0,"delta":{"content":"Hel"}}]}"#;
    for (event, want) in [
        (r#"{"error":{"message":"overloaded","code":503}}"#, "overloaded"),
        (r#"{"error":"overloaded"}"#, "overloaded"),
        (r#"{"type":"response.failed","response":{"error":{"message":"overloaded"}}}"#, "overloaded"),
    ] {
        let stream = events(&[start, event]);
        assert_eq!(content(CHAT, EVENTS, stream.as_bytes()), Content::Error(want.into()), "{event}");
    }
}

#[test]
fn events_of_anything_else_are_text() {
    assert_eq!(content("/x", EVENTS, b"data: a\n\ndata:b\ndata\n\n: c\n\n"), Content::Text("a\nb\n".into()));
    assert_eq!(content("/x", EVENTS, b"data: {\"x\":1}\n\n"), Content::Text("{\"x\":1}".into()));
}

#[test]
fn tokens_are_timed_by_the_chunk_with_their_last_byte() {
    let token =
        |text: &str| events(&[&format!(r#"{{"choices":[{{"index":0,"delta":{{"content":"{text}"}}}}]}}"#)]);
    let role = events(&[r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""}}]}"#]);
    let body = format!("{role}{}{}{}data: [DONE]\n\n", token("a"), token("b"), token("c"));
    let (role, one) = (role.len(), token("a").len());
    // The first token is split over two chunks; the second and third come together.
    let times = [(0, 5), (role, 10), (role + 4, 30), (role + one, 100), (role + 3 * one, 200)];
    let timed = |encoding| {
        let answer = RawAnswer {
            chunk_times: &times,
            content_encoding: encoding,
            ..raw(CHAT, EVENTS, body.as_bytes())
        };
        read(&answer, &Limits::default()).timing
    };
    let timing = timed(None).unwrap();
    assert_eq!((timing.first_token_ns, timing.gaps_ns, timing.tokens), (Some(30), vec![70, 0], 3));
    assert_eq!(read(&raw(CHAT, EVENTS, body.as_bytes()), &Limits::default()).timing, None);
}

#[test]
fn gaps_are_kept_up_to_a_limit_and_counted_beyond() {
    let body = events(&[r#"{"choices":[{"delta":{"content":"a"}}]}"#]).repeat(MAX_GAPS + 10);
    let answer = RawAnswer { chunk_times: &[(0, 7)], ..raw(CHAT, EVENTS, body.as_bytes()) };
    let timing = read(&answer, &Limits::default()).timing.unwrap();
    assert_eq!((timing.gaps_ns.len(), timing.tokens), (MAX_GAPS, u64::try_from(MAX_GAPS + 10).unwrap()));
}
