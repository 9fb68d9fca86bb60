//! The value at a JSON pointer (RFC 6901), read without building the document: everything beside
//! the pointed-at value is parsed and thrown away, so a body of tensors costs no memory.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// The scalar at `pointer` in `json` as text: strings decoded, numbers and booleans as they are
/// written. `None` where there is nothing, `null`, an array or object, or where `json` is no JSON.
/// Of duplicate keys the last one counts.
pub fn read(json: &[u8], pointer: &str) -> Option<String> {
    if !(pointer.is_empty() || pointer.starts_with('/')) {
        return None;
    }
    let mut parser = serde_json::Deserializer::from_slice(json);
    let raw = At(pointer).deserialize(&mut parser).ok()??;
    parser.end().ok()?;
    match raw.get().as_bytes().first()? {
        b'"' => serde_json::from_str(raw.get()).ok(),
        b'{' | b'[' | b'n' => None,
        _ => Some(raw.get().to_owned()),
    }
}

/// What is left of the pointer at the value to come.
#[derive(Clone, Copy)]
struct At<'p>(&'p str);

impl<'p> At<'p> {
    /// The first token, still escaped, and the pointer below it.
    fn split(self) -> (&'p str, Self) {
        let rest = self.0.strip_prefix('/').unwrap_or(self.0);
        let (token, below) = rest.find('/').and_then(|at| rest.split_at_checked(at)).unwrap_or((rest, ""));
        (token, Self(below))
    }
}

/// Whether `key` is `token` with `~1` for `/` and `~0` for `~`.
fn matches(token: &str, key: &str) -> bool {
    if !token.contains('~') {
        return token == key;
    }
    token.replace("~1", "/").replace("~0", "~") == key
}

impl<'de> DeserializeSeed<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn deserialize<D: Deserializer<'de>>(self, value: D) -> Result<Self::Value, D::Error> {
        if self.0.is_empty() {
            return <&RawValue as serde::Deserialize>::deserialize(value).map(Some);
        }
        value.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for At<'_> {
    type Value = Option<&'de RawValue>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let (token, below) = self.split();
        let mut found = None;
        while let Some(here) = map.next_key_seed(KeyIs(token))? {
            if here {
                found = map.next_value_seed(below)?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let (token, below) = self.split();
        // RFC 6901 section 4: digits without a leading zero.
        let plain = token == "0" || !token.starts_with('0') && token.bytes().all(|b| b.is_ascii_digit());
        let mut found = None;
        if let Some(index) = token.parse::<usize>().ok().filter(|_| plain) {
            for _ in 0..index {
                if seq.next_element::<IgnoredAny>()?.is_none() {
                    return Ok(None);
                }
            }
            found = seq.next_element_seed(below)?.flatten();
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }

    // A scalar where the pointer goes on: nothing there.
    fn visit_bool<E>(self, _: bool) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_i64<E>(self, _: i64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_u64<E>(self, _: u64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_f64<E>(self, _: f64) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_str<E>(self, _: &str) -> Result<Self::Value, E> {
        Ok(None)
    }
    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

/// Reads a key without keeping it.
struct KeyIs<'p>(&'p str);

impl<'de> DeserializeSeed<'de> for KeyIs<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, key: D) -> Result<bool, D::Error> {
        key.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeyIs<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<bool, E> {
        Ok(matches(self.0, key))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_reach_scalars_only() {
        let json = br#"{"user":"al\u0069ce","n":1.50,"t":true,"z":null,"o":{"a/b":{"m~n":[0,[7,"x"]]}},
            "dup":1,"dup":2,"":"empty","0":"zero"}"#;
        for (pointer, want) in [
            ("/user", Some("alice")),
            ("/n", Some("1.50")),
            ("/t", Some("true")),
            ("/z", None),
            ("/o", None),
            ("/o/a~1b/m~0n/1/1", Some("x")),
            ("/o/a~1b/m~0n/1/01", None),
            ("/o/a~1b/m~0n/-", None),
            ("/o/a~1b/m~0n/9", None),
            ("/dup", Some("2")),
            ("/", Some("empty")),
            ("/0", Some("zero")),
            ("/user/x", None),
            ("/none", None),
            ("", None),
            ("user", None),
        ] {
            assert_eq!(read(json, pointer).as_deref(), want, "{pointer}");
        }
        assert_eq!(read(b"\"all\"", "").as_deref(), Some("all"));
        for broken in [&b"{\"a\":1"[..], b"", b"{\"a\":1} x", b"{\"a\":1,}", b"\xff"] {
            assert_eq!(read(broken, "/a"), None);
        }
    }
}
