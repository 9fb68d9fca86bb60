//! Names of fields, known by sight where nearly every message has them.

use http::header::{self, HeaderName};

use super::Malformed;

/// The name that `text` writes, in whatever case.
///
/// Most fields are a few, written in one of two ways. Comparing with those first spares the
/// lower-casing and the search through all names that are registered.
///
/// # Errors
/// [`Malformed`] where it is no token (RFC 9110 section 5.1).
pub fn name(text: &str) -> Result<HeaderName, Malformed> {
    match text.len() {
        4 if is(text, "host", "Host") => return Ok(header::HOST),
        4 if is(text, "date", "Date") => return Ok(header::DATE),
        6 if is(text, "accept", "Accept") => return Ok(header::ACCEPT),
        6 if is(text, "server", "Server") => return Ok(header::SERVER),
        10 if is(text, "user-agent", "User-Agent") => return Ok(header::USER_AGENT),
        10 if is(text, "connection", "Connection") => return Ok(header::CONNECTION),
        12 if is(text, "content-type", "Content-Type") => return Ok(header::CONTENT_TYPE),
        14 if is(text, "content-length", "Content-Length") => return Ok(header::CONTENT_LENGTH),
        15 if is(text, "accept-encoding", "Accept-Encoding") => return Ok(header::ACCEPT_ENCODING),
        17 if is(text, "transfer-encoding", "Transfer-Encoding") => return Ok(header::TRANSFER_ENCODING),
        _ => {}
    }
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| Malformed::Rule("a field has a malformed name"))
}

/// Comparing with texts whose length is known is comparing a few words.
#[inline(always)]
fn is(text: &str, lower: &str, titled: &str) -> bool {
    text == lower || text == titled
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_the_same_by_sight_and_by_search() {
        for text in
            ["Host", "host", "HOST", "date", "Date", "User-Agent", "connection", "x-custom", "X-Custom"]
        {
            assert_eq!(name(text).unwrap().as_str(), text.to_ascii_lowercase());
        }
        for text in ["", "a b", "a:", "ü"] {
            assert!(name(text).is_err(), "{text:?}");
        }
    }
}
