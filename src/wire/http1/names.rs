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
    let likely: &[(HeaderName, &str)] = match text.len() {
        4 => &[(header::HOST, "Host"), (header::DATE, "Date")],
        6 => &[(header::ACCEPT, "Accept"), (header::SERVER, "Server")],
        10 => &[(header::USER_AGENT, "User-Agent"), (header::CONNECTION, "Connection")],
        12 => &[(header::CONTENT_TYPE, "Content-Type")],
        14 => &[(header::CONTENT_LENGTH, "Content-Length")],
        15 => &[(header::ACCEPT_ENCODING, "Accept-Encoding")],
        17 => &[(header::TRANSFER_ENCODING, "Transfer-Encoding")],
        _ => &[],
    };
    for (name, titled) in likely {
        if text == *titled || text == name.as_str() {
            return Ok(name.clone());
        }
    }
    HeaderName::from_bytes(text.as_bytes()).map_err(|_| Malformed::Rule("a field has a malformed name"))
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
