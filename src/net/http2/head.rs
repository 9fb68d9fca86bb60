//! What the head of an answer must have by HTTP/2, and what it must not.

use http::HeaderMap;
use http::header::{
    CONNECTION, CONTENT_LENGTH, DATE, HeaderName, HeaderValue, TE, TRANSFER_ENCODING, UPGRADE,
};

use super::date;

/// Fields of a connection, which HTTP/2 has other means for (RFC 9113 section 8.2.2).
const OF_CONNECTION: [HeaderName; 5] = [
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    TRANSFER_ENCODING,
    UPGRADE,
    TE,
];

/// Takes off what is of a connection, and adds the time and, where it is known and the answer has a
/// body, its length.
pub(super) fn finish(head: &mut HeaderMap, length: Option<u64>) {
    for name in &OF_CONNECTION {
        head.remove(name);
    }
    if let Some(nominated) = head.remove(CONNECTION)
        && let Ok(names) = nominated.to_str()
    {
        for name in names.split(',') {
            head.remove(name.trim());
        }
    }
    head.entry(DATE).or_insert_with(date::now);
    if let Some(length) = length {
        head.entry(CONTENT_LENGTH).or_insert_with(|| HeaderValue::from(length));
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
            ("x-one", "1"),
            ("x-two", "2"),
            ("keep-alive", "5"),
            ("proxy-connection", "a"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("te", "trailers"),
        ] {
            head.insert(name, HeaderValue::from_static(value));
        }
        finish(&mut head, None);
        assert!(head.remove("date").is_some());
        assert_eq!(head.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["x-two"]);
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
