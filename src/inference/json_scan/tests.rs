//! Texts whole and cut at any byte, against a parser.

use super::*;
use proptest::prelude::*;

static FIELDS: &[Field] = &[Field::top("model"), Field::within("response", "model"), Field::top("x")];

/// Values found (raw, with quotes), scanning `text` in pieces cut at `cuts`.
fn found(text: &[u8], cuts: &[usize]) -> Vec<(usize, String)> {
    let mut scanner = Scanner::new(FIELDS);
    let (mut out, mut open) = (Vec::new(), None::<(usize, Vec<u8>)>);
    let mut start = 0;
    for end in cuts.iter().copied().chain([text.len()]) {
        let mut piece = &text[start..end];
        start = end;
        while !piece.is_empty() {
            let (n, mark) = scanner.advance(piece);
            match mark {
                Some(Mark::Begin(i)) => open = Some((i, vec![b'"'])),
                Some(Mark::End(i)) => {
                    let (j, mut held) = open.take().unwrap();
                    held.extend(&piece[..n]);
                    assert_eq!(i, j);
                    out.push((i, String::from_utf8_lossy(&held).into_owned()));
                }
                None => {
                    if let Some((_, held)) = &mut open {
                        held.extend(&piece[..n]);
                    }
                }
            }
            piece = &piece[n..];
        }
    }
    out
}

#[test]
fn values_are_found_at_their_level_only() {
    let text = br#" { "a" : {"model":"no","b":["model",{"model":"}"}]}, "mo\u0064el" : "y\"e\\" ,
        "n": -1.5e3, "t":true,"model":null,"model":7, "response":{"z":{"model":"no"},"model":"in"},
        "s":"\"model\":\"no\"", "model":"again","e":{} ,"f":[] } "#;
    let want = [(0, r#""y\"e\\""#), (1, "\"in\""), (0, "\"again\"")];
    let want: Vec<_> = want.iter().map(|(i, v)| (*i, v.to_string())).collect();
    assert_eq!(found(text, &[]), want);
    for cut in 0..text.len() {
        assert_eq!(found(text, &[cut]), want, "cut at {cut}");
    }
    assert_eq!(found(text, &(1..text.len()).collect::<Vec<_>>()), want);
}

#[test]
fn what_is_no_object_has_no_values() {
    for text in [
        "",
        "[{\"model\":\"a\"}]",
        "\"model\"",
        "7",
        "{model:\"a\"}",
        "{\"a\"\"model\":\"a\"}",
        "{\"model\" \"a\"}",
        "{} {\"model\":\"a\"}",
        "\u{feff}{\"model\":\"a\"}",
        "{\"a\":,\"model\":\"a\"}",
        "{\"\\u00zz\":1,\"model\":\"a\"}",
        "{\"a\":1 2,\"model\":\"a\"}",
        "\u{1f}\u{8b}\u{8}",
    ] {
        assert_eq!(found(text.as_bytes(), &[]), [], "{text}");
    }
}

#[test]
fn keys_longer_than_any_field_match_nothing() {
    let text = format!("{{\"{}\":\"a\",\"model\":\"b\"}}", "model".repeat(100));
    assert_eq!(found(text.as_bytes(), &[]), [(0, "\"b\"".to_string())]);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    use serde_json::Value;
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    let key = || prop_oneof![Just("model".to_owned()), Just("response".to_owned()), ".{0,6}"];
    let inner = leaf.prop_recursive(3, 24, 4, move |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            proptest::collection::btree_map(key(), inner, 0..4)
                .prop_map(|m| Value::Object(m.into_iter().collect())),
        ]
    });
    proptest::collection::btree_map(key(), inner, 0..6).prop_map(|m| Value::Object(m.into_iter().collect()))
}

proptest! {
    #[test]
    fn any_json_object_gives_what_a_parser_gives(
        value in json(), pretty: bool, cuts in proptest::collection::vec(any::<proptest::sample::Index>(), 0..5)
    ) {
        let text = if pretty { serde_json::to_vec_pretty(&value) } else { serde_json::to_vec(&value) }.unwrap();
        let mut cuts: Vec<_> = cuts.iter().map(|i| i.index(text.len() + 1)).collect();
        cuts.sort_unstable();
        let mut got: Vec<(usize, String)> = found(&text, &cuts).into_iter()
            .map(|(i, raw)| (i, serde_json::from_str(&raw).unwrap())).collect();
        got.sort();
        let text_at = |pointer: &str| value.pointer(pointer).and_then(|v| v.as_str()).map(str::to_owned);
        let mut want = Vec::new();
        want.extend(text_at("/model").map(|v| (0, v)));
        want.extend(value.get("response").filter(|v| v.is_object())
            .and_then(|_| text_at("/response/model")).map(|v| (1, v)));
        want.extend(text_at("/x").map(|v| (2, v)));
        want.sort();
        prop_assert_eq!(got, want);
    }

    #[test]
    fn any_bytes_are_survived(bytes in proptest::collection::vec(prop_oneof![any::<u8>(),
        proptest::sample::select(&b"{}[]\",:\\u model"[..])], 0..80), cut in any::<proptest::sample::Index>()) {
        let cut = cut.index(bytes.len() + 1);
        let whole = found(&bytes, &[]);
        prop_assert_eq!(whole, found(&bytes, &[cut]));
    }
}
