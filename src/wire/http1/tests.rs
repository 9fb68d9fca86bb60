//! Chunks without a socket: what is read does not depend on how it was cut.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use proptest::prelude::*;

use super::*;

mod sending;

const LIMIT: usize = 4096;

/// Reads a chunked body that comes in `pieces`: content, trailers, and what is left behind it;
/// `None` where it is not over.
type Read = Option<(Vec<u8>, Option<HeaderMap>, Vec<u8>)>;

fn chunked<'a>(pieces: impl IntoIterator<Item = &'a [u8]>, ahead: bool) -> Result<Read, Malformed> {
    chunked_by(Chunked::of_request(), pieces, ahead)
}

fn chunked_by<'a>(
    mut decoder: Chunked,
    pieces: impl IntoIterator<Item = &'a [u8]>,
    ahead: bool,
) -> Result<Read, Malformed> {
    let (mut content, mut over) = (Vec::new(), None);
    let mut input = Bytes::new();
    for piece in pieces {
        let mut joined = BytesMut::from(&input[..]);
        joined.extend_from_slice(piece);
        input = joined.freeze();
        while over.is_none() {
            match decoder.next(&mut input, LIMIT)? {
                Next::Content => content.extend_from_slice(&decoder.take(&mut input)),
                Next::Unknown => break,
                Next::Trailers(trailers) => over = Some(Some(trailers)),
                Next::End => over = Some(None),
            }
            if ahead && over.is_none() && decoder.is_over(&mut input) {
                over = Some(None);
            }
        }
    }
    Ok(over.map(|trailers| (content, trailers, input.to_vec())))
}

fn chunked_whole(text: &str) -> Result<Read, Malformed> {
    chunked([text.as_bytes()], false)
}

#[test]
fn chunks_are_joined_and_their_extensions_ignored() {
    let (content, trailers, rest) = chunked_whole(
        "5\r\nhello\r\n00A;a=b ; c=\"d\te\\\"\u{e9}\"\r\n, world!..\r\n1 \t; x\t= y;z=\"\"\r\n!\r\n0;last\r\nx-sum: 7\r\nhost: y\r\n\r\nHTTP",
    )
    .unwrap()
    .unwrap();
    assert_eq!(content, b"hello, world!..!");
    let trailers = trailers.unwrap();
    assert_eq!((trailers.len(), &trailers["x-sum"]), (1, &"7".parse().unwrap()));
    assert_eq!(rest, b"HTTP");
    assert_eq!(chunked_whole("0\r\n\r\n").unwrap().unwrap(), (Vec::new(), None, Vec::new()));
}

#[test]
fn malformed_chunks_are_refused() {
    let long = format!("1;{}\r\n", "x".repeat(20_000));
    let trailers = format!("0\r\na: {}\r\n\r\n", "x".repeat(LIMIT));
    for text in [
        "\r\n",
        "g\r\n",
        "-1\r\n",
        "0x1\r\n",
        " 1\r\n",
        "1 1\r\n",
        "1\n",
        "1\r\r\n",
        "1;a\nx",
        "1;a\rb",
        "10000000000000000\r\n",
        "1\r\nab\r\n",
        "1\r\na\n",
        "1\r\na\rb",
        "0\r\n\n",
        "0\r\na: b\n\r\n",
        "0\r\na b\r\n\r\n",
        "0\r\n: b\r\n\r\n",
        "0\r\n a: b\r\n\r\n",
        &long,
        &trailers,
    ] {
        assert!(chunked_whole(text).is_err(), "{text:?} gives {:?}", chunked_whole(text));
    }
    assert_eq!(chunked_whole("ffffffffffffffff\r\nx").unwrap(), None);
}

#[test]
fn behind_a_size_a_request_has_extensions_and_nothing_else_and_an_answer_whatever_it_likes() {
    for line in [
        " ",
        "\t",
        ";",
        "; ",
        ";;",
        ";a;",
        ";a ",
        ";a=",
        ";a= ",
        ";=b",
        ";a==b",
        ";a=b ",
        ";a=b=c",
        ";a b",
        ";a\x01",
        ";a=\"",
        ";a=\"b",
        ";a=\"b\\\"",
        ";a=\"b\"c",
        ";a=\"b\" ",
        ";a=\"\x7f\"",
        ";a=b\"c\"",
        ";a=(",
        " a",
        ";\u{e9}",
    ] {
        let text = format!("5{line}\r\nhello\r\n0\r\n\r\n");
        assert!(chunked_whole(&text).is_err(), "{line:?}");
        let of_answer = chunked_by(Chunked::of_answer(), [text.as_bytes()], false).unwrap().unwrap();
        assert_eq!((of_answer.0.as_slice(), of_answer.2.len()), (&b"hello"[..], 0), "{line:?}");
    }
    for line in [" \n", ";a\n", ";a\0", ";a\rb"] {
        let text = format!("5{line}\r\nhello\r\n0\r\n\r\n");
        assert!(chunked_by(Chunked::of_answer(), [text.as_bytes()], false).is_err(), "{line:?}");
    }
}

fn cut<'a>(text: &'a [u8], cuts: &[usize]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut % (text.len() + 1)).collect();
    at.extend([0, text.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &text[pair[0]..pair[1]]).collect()
}

/// Bodies that are nearly well formed.
fn chunked_text() -> impl Strategy<Value = Vec<u8>> {
    let piece = prop_oneof![
        6 => (1usize..40, "[ ;a-c=]{0,6}").prop_map(|(size, ext)| {
            let ext = if ext.is_empty() { ext } else { format!(";{ext}") };
            format!("{size:x}{ext}\r\n{}\r\n", "x".repeat(size))
        }),
        1 => "[0-9a-f]{1,3}\r\n",
        1 => "[\r\n ;x]{1,3}",
    ];
    let end = prop_oneof![Just("0\r\n\r\n"), Just("0\r\na: b\r\nc: d\r\n\r\nrest"), Just("0\r\n"), Just("")];
    (proptest::collection::vec(piece, 0..6), end)
        .prop_map(|(pieces, end)| (pieces.concat() + end).into_bytes())
}

proptest! {
    #[test]
    fn chunks_read_the_same_however_they_are_cut(
        text in chunked_text(),
        cuts in proptest::collection::vec(0usize..1000, 0..12),
        ahead: bool,
    ) {
        prop_assert_eq!(chunked([&text[..]], false), chunked(cut(&text, &cuts), ahead));
    }

    #[test]
    fn what_is_written_as_chunks_reads_back(parts in proptest::collection::vec("[a-z]{1,300}", 0..8), trailer: bool) {
        let mut out = Vec::new();
        for part in &parts {
            text::push_chunk_size(part.len(), &mut out);
            out.extend_from_slice(part.as_bytes());
            out.extend_from_slice(b"\r\n");
        }
        let mut trailers = HeaderMap::new();
        if trailer {
            trailers.insert("x-sum", "7".parse().unwrap());
        }
        text::push_end(&trailers, &mut out).unwrap();
        let expected = (parts.concat().into_bytes(), trailer.then_some(trailers), Vec::new());
        prop_assert_eq!(chunked([&out[..]], true).unwrap(), Some(expected));
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = chunked([&bytes[..]], true);
    }
}
