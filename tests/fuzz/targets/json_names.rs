//! Values of chosen keys in JSON that streams by: found as a whole parser finds them.

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;
use switchback::inference::peek::{Need, Peek, Peeked};
use switchback::inference::pointer;

use super::pieces;

const POINTERS: [&str; 5] = ["/model", "/a/b", "/0", "/a~1b/1", ""];
/// Longest name that is read, with room for its quotes and escapes.
const SHORT: usize = 600;

pub fn run(data: &[u8]) {
    let need = Need::JsonModel;
    let whole = peek(&need, vec![data]);
    assert_eq!(whole, peek(&need, pieces(data)), "what is found depends on how it was cut");
    if let Ok(FirstModel(model)) = serde_json::from_slice(data)
        && model.as_ref().is_none_or(|model| model.len() < SHORT)
    {
        assert_eq!(whole, model);
    }
    for at in POINTERS {
        let found = pointer::read(data, at);
        let need = Need::JsonPointer(Arc::from(at));
        assert_eq!(found, peek(&need, pieces(data)));
        let Ok(value) = serde_json::from_slice::<Value>(data) else {
            continue;
        };
        match value.pointer(at) {
            Some(Value::String(text)) => assert_eq!(found.as_ref(), Some(text)),
            Some(Value::Bool(truth)) => assert_eq!(found, Some(truth.to_string())),
            Some(Value::Number(_)) => assert!(found.is_some()),
            _ => assert_eq!(found, None, "at {at}"),
        }
    }
}

fn peek(need: &Need, pieces: Vec<&[u8]>) -> Option<String> {
    let mut peek = Peek::new(need, 1 << 20);
    for piece in pieces {
        if let Peeked::Done(found) = peek.push(&Bytes::copy_from_slice(piece)) {
            return found;
        }
    }
    peek.finish()
}

/// The first `model` of an object that is text.
struct FirstModel(Option<String>);

impl<'de> Deserialize<'de> for FirstModel {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;

        impl<'de> Visitor<'de> for Object {
            type Value = FirstModel;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<FirstModel, A::Error> {
                let mut first = None;
                while let Some((key, value)) = map.next_entry::<String, Value>()? {
                    if key == "model" && first.is_none() {
                        first = value.as_str().map(str::to_owned);
                    }
                }
                Ok(FirstModel(first))
            }
        }

        from.deserialize_map(Object)
    }
}
