//! YAML, as far as the command line needs it: JSON values are written as readable YAML, and small
//! files are read as JSON values.
//!
//! Deliberately absent: anchors, tags and several documents. The configuration has a reader of its
//! own, which knows lines and keys.

use granit_parser::{Event, Parser, ScalarStyle};
use serde_json::{Map, Value};

/// Longest text that is read, in bytes.
pub(super) const LONGEST: usize = 1024 * 1024;
/// Levels of lists and mappings.
const DEEPEST: usize = 64;

/// `value` as a YAML document.
pub(super) fn write(value: &Value) -> String {
    let mut text = String::new();
    match value {
        Value::Object(map) if !map.is_empty() => mapping(map, 0, &mut text),
        Value::Array(list) if !list.is_empty() => sequence(list, 0, &mut text),
        other => {
            text.push_str(&scalar(other));
            text.push('\n');
        }
    }
    text
}

fn mapping(map: &Map<String, Value>, indent: usize, text: &mut String) {
    for (at, (key, value)) in map.iter().enumerate() {
        // The first key stands behind the dash of its list item, or at the beginning.
        if at > 0 || text.is_empty() || text.ends_with('\n') {
            text.extend(std::iter::repeat_n(' ', indent));
        }
        text.push_str(&quoted(key));
        text.push(':');
        match value {
            Value::Object(inner) if !inner.is_empty() => {
                text.push('\n');
                mapping(inner, indent + 2, text);
            }
            Value::Array(inner) if !inner.is_empty() => {
                text.push('\n');
                sequence(inner, indent, text);
            }
            other => {
                text.push(' ');
                text.push_str(&scalar(other));
                text.push('\n');
            }
        }
    }
}

fn sequence(list: &[Value], indent: usize, text: &mut String) {
    for (at, value) in list.iter().enumerate() {
        if at > 0 || text.is_empty() || text.ends_with('\n') {
            text.extend(std::iter::repeat_n(' ', indent));
        }
        text.push_str("- ");
        match value {
            Value::Object(inner) if !inner.is_empty() => mapping(inner, indent + 2, text),
            Value::Array(inner) if !inner.is_empty() => sequence(inner, indent + 2, text),
            other => {
                text.push_str(&scalar(other));
                text.push('\n');
            }
        }
    }
}

fn scalar(value: &Value) -> String {
    match value {
        Value::String(text) => quoted(text),
        // Numbers, booleans, null and what is empty look the same as in JSON.
        other => other.to_string(),
    }
}

/// Text without quotes where nobody can take it for something else, else as a JSON string, which
/// every YAML 1.2 reader knows.
fn quoted(text: &str) -> String {
    let safe = |c: char| c.is_alphanumeric() || "_-./%+=,()→≥≤×·; ".contains(c);
    let first = text.chars().next().is_some_and(char::is_alphabetic);
    let plain =
        first && !text.ends_with(' ') && text.chars().all(safe) && resolve(text, Numbers::Always).is_string();
    // YAML 1.1 readers, which are many, take these for booleans.
    let old = ["y", "n", "yes", "no", "on", "off"].iter().any(|word| text.eq_ignore_ascii_case(word));
    if plain && !old { text.to_owned() } else { Value::from(text).to_string() }
}

/// What becomes of plain numbers that would come back as other signs, such as `1.10`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Numbers {
    /// They stay text: they may be versions.
    AsWritten,
    /// They are numbers all the same.
    Always,
}

/// Reads the only document in `text`.
///
/// # Errors
/// What is wrong, with its line.
pub(super) fn read(text: &str, numbers: Numbers) -> Result<Value, String> {
    if text.len() > LONGEST {
        return Err("it is longer than 1 MiB".to_owned());
    }
    let options = granit_parser::options! {
        emit_comments: false,
        flow_nesting_limit: DEEPEST,
        block_nesting_limit: DEEPEST,
    };
    let mut parser = Parser::new_from_str_with_options(text, options);
    let (mut open, mut root) = (Vec::new(), None);
    while let Some(event) = parser.next_event() {
        let (event, span) = event.map_err(|error| format!("it is not YAML: {error}"))?;
        let line = span.start.line();
        let done = match event {
            Event::DocumentStart(..) if root.is_some() => {
                return Err(format!("line {line}: a second document"));
            }
            Event::Alias(_) => return Err(format!("line {line}: an alias: write the value out")),
            Event::Scalar(text, style, ..) => {
                let key = matches!(open.last(), Some(Open::Map(_, None)));
                let plain = style == ScalarStyle::Plain && !key;
                Some(if plain { resolve(&text, numbers) } else { Value::from(&*text) })
            }
            Event::SequenceStart(..) => {
                open.push(Open::List(Vec::new()));
                None
            }
            Event::MappingStart(..) => {
                open.push(Open::Map(Map::new(), None));
                None
            }
            Event::SequenceEnd | Event::MappingEnd => match open.pop() {
                Some(Open::List(list)) => Some(Value::Array(list)),
                Some(Open::Map(map, _)) => Some(Value::Object(map)),
                None => None,
            },
            _ => None,
        };
        if open.len() > DEEPEST {
            return Err(format!("line {line}: more than {DEEPEST} levels"));
        }
        let Some(value) = done else { continue };
        match (open.last_mut(), value) {
            (None, value) => root = Some(value),
            (Some(Open::List(list)), value) => list.push(value),
            (Some(Open::Map(_, key @ None)), Value::String(text)) => *key = Some(text),
            (Some(Open::Map(_, None)), _) => return Err(format!("line {line}: a key that is no text")),
            (Some(Open::Map(map, key)), value) => {
                let key = key.take().unwrap_or_default();
                if map.contains_key(&key) {
                    return Err(format!("line {line}: {key:?} stands twice"));
                }
                map.insert(key, value);
            }
        }
    }
    root.ok_or_else(|| "it is empty".to_owned())
}

/// A list or mapping whose end has not come yet.
enum Open {
    List(Vec<Value>),
    Map(Map<String, Value>, Option<String>),
}

/// What a value without quotes is.
fn resolve(text: &str, numbers: Numbers) -> Value {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Value::Null,
        "true" | "True" | "TRUE" => Value::Bool(true),
        "false" | "False" | "FALSE" => Value::Bool(false),
        text => {
            let number = serde_json::from_str::<Value>(text).ok().filter(Value::is_number);
            let written = number.as_ref().map(Value::to_string);
            let same = numbers == Numbers::Always || written.as_deref() == Some(text);
            number.filter(|_| same).unwrap_or_else(|| text.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Numbers::{Always, AsWritten};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_written_is_readable_and_reads_back_the_same() {
        let value = json!({
            "name": "v2", "weight": "5%", "none": null, "empty": [], "nothing": {},
            "list": [1, 2.5, true, "yes", "null", "12", "- a", "a: b", "", " x", "tab\there", "line\nbreak"],
            "deep": [{"a": [[1], [{"b": "c"}]], "d": {"e": -3}}, {"f": "g"}],
            "odd key: #": "v",
        });
        let text = write(&value);
        assert!(text.starts_with("name: v2\nweight: \"5%\"\n"), "{text}");
        assert!(text.contains("list:\n- 1\n- 2.5\n- true\n- \"yes\"\n- \"null\"\n- \"12\"\n"), "{text}");
        assert!(text.contains("deep:\n- a:\n  - - 1\n  - - b: c\n  d:\n    e: -3\n- f: g\n"), "{text}");
        assert_eq!(read(&text, AsWritten).unwrap(), value);
    }

    #[test]
    fn a_candidate_is_read_as_json_and_as_yaml() {
        let expected = json!({"name": "v2", "upstream": {"url": "http://127.0.0.1:1"}, "warm": true, "n": 3});
        assert_eq!(read(&expected.to_string(), AsWritten).unwrap(), expected);
        let yaml = "# to try\nname: v2\nupstream: {url: 'http://127.0.0.1:1'}\nwarm: true\nn: 3\n";
        assert_eq!(read(yaml, AsWritten).unwrap(), expected);
        assert_eq!(
            read("a: 1.10\nb: '1'\nc: 0x10", AsWritten).unwrap(),
            json!({"a": "1.10", "b": "1", "c": "0x10"})
        );
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_line() {
        for (text, about) in [
            ("", "empty"),
            ("a: 1\na: 2", "line 2"),
            ("a: [", "not YAML"),
            ("a: &x 1\nb: *x", "alias"),
            ("a: 1\n---\nb: 1", "second document"),
            ("? [1]\n: 2", "no text"),
        ] {
            let error = read(text, Always).unwrap_err();
            assert!(error.contains(about), "{text:?}: {error}");
        }
        assert!(read(&"[".repeat(1_000), Always).is_err());
    }
}
