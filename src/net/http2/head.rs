//! What the head of an answer must have by HTTP/2, and what it must not.

use http::HeaderMap;
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};

use super::date;

/// Fields of a connection, which HTTP/2 has other means for (RFC 9113 section 8.2.2), and
/// `connection` itself.
const OF_CONNECTION: [HeaderName; 6] = [
    CONNECTION,
    TE,
    UPGRADE,
    TRANSFER_ENCODING,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
];

/// Takes off what is of a connection, and adds the time and, where it is known and the answer has a
/// body, its length.
pub(super) fn finish(head: &mut HeaderMap, length: Option<u64>) {
    if head.keys().any(is_of_connection) {
        strip(head);
    }
    head.entry(DATE).or_insert_with(date::now);
    if let Some(length) = length {
        head.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
    }
}

/// The length tells it for nearly every name, and few answers have such a field.
fn is_of_connection(name: &HeaderName) -> bool {
    matches!(name.as_str().len(), 2 | 7 | 10 | 16 | 17) && OF_CONNECTION.contains(name)
}

#[cold]
fn strip(head: &mut HeaderMap) {
    let nominated: Vec<HeaderValue> = head.get_all(CONNECTION).iter().cloned().collect();
    for name in &OF_CONNECTION {
        head.remove(name);
    }
    for name in nominated.iter().filter_map(|names| names.to_str().ok()).flat_map(|names| names.split(',')) {
        head.remove(name.trim());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_of_a_connection_go_and_those_it_names_go_with_them() {
        let mut head = HeaderMap::new();
        for (name, value) in [
            ("connection", "X-One , close"),
            ("connection", "x-three"),
            ("x-one", "1"),
            ("x-three", "3"),
            ("x-two", "2"),
            ("keep-alive", "5"),
            ("proxy-connection", "a"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
        ] {
            head.append(name, HeaderValue::from_static(value));
        }
        finish(&mut head, None);
        assert!(head.remove("date").is_some());
        assert_eq!(head.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-two"]);
    }

    #[test]
    fn each_of_these_fields_goes_even_if_it_is_the_only_one() {
        for name in OF_CONNECTION {
            let mut head = HeaderMap::from_iter([(name.clone(), HeaderValue::from_static("x-one"))]);
            finish(&mut head, None);
            assert!(!head.contains_key(&name), "{name}");
        }
    }

    #[test]
    fn what_the_handler_said_of_time_and_length_stands() {
        let mut head = HeaderMap::new();
        head.insert(DATE, HeaderValue::from_static("then"));
        finish(&mut head, Some(7));
        assert_eq!((head[DATE].as_bytes(), head[CONTENT_LENGTH].as_bytes()), (&b"then"[..], &b"7"[..]));
        finish(&mut head, Some(8));
        assert_eq!(head[CONTENT_LENGTH], "7");
    }
}
