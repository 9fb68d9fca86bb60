//! What of gRPC a proxy must know (the gRPC over HTTP/2 specification): which requests are calls,
//! how long they may take, and how they ended.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, header};

/// `grpc-timeout`.
pub const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// `grpc-status`.
pub const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
/// `grpc-message`.
pub const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");

/// The status of a call that ended without one.
pub const UNKNOWN: u8 = 2;

/// Whether a request is a gRPC call, by its content type. gRPC-Web is not: its status is in the
/// body.
pub fn is_grpc(headers: &HeaderMap) -> bool {
    headers.get(header::CONTENT_TYPE).is_some_and(is_grpc_type)
}

/// Whether a content type is gRPC's: `application/grpc`, alone or with `+proto`, `+json`, … or
/// parameters.
pub fn is_grpc_type(value: &HeaderValue) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    match value.as_bytes().split_at_checked(TYPE.len()) {
        Some((start, rest)) => {
            start.eq_ignore_ascii_case(TYPE) && matches!(rest.first(), None | Some(b'+' | b';' | b' '))
        }
        None => false,
    }
}

/// The deadline a client sets by `grpc-timeout`: at most 8 digits and a unit. A malformed one is
/// no deadline.
pub fn timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(GRPC_TIMEOUT)?.as_bytes();
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let count = digits.iter().try_fold(0u64, |sum, byte| match byte {
        b'0'..=b'9' => Some(sum * 10 + u64::from(byte - b'0')),
        _ => None,
    })?;
    Some(match unit {
        b'H' => Duration::from_secs(count * 3600),
        b'M' => Duration::from_secs(count * 60),
        b'S' => Duration::from_secs(count),
        b'm' => Duration::from_millis(count),
        b'u' => Duration::from_micros(count),
        b'n' => Duration::from_nanos(count),
        _ => return None,
    })
}

/// `grpc-status` of trailers, or of the head of a trailers-only answer. A value that is no status
/// code is [`UNKNOWN`].
pub fn status(headers: &HeaderMap) -> Option<u8> {
    let code = match headers.get(GRPC_STATUS)?.as_bytes() {
        [ones @ b'0'..=b'9'] => ones - b'0',
        [b'1', ones @ b'0'..=b'6'] => 10 + (ones - b'0'),
        _ => UNKNOWN,
    };
    Some(code)
}

/// The status of a call that was answered with a bare HTTP status, as gRPC's
/// `http-grpc-status-mapping` has it. (A `200` without a status is [`UNKNOWN`] too.)
pub fn status_from_http(http: u16) -> u8 {
    match http {
        400 => 13,
        401 => 16,
        403 => 7,
        404 => 12,
        429 | 502 | 503 | 504 => 14,
        _ => UNKNOWN,
    }
}

/// Puts the end of a call into trailers, or into the head of a trailers-only answer. An empty message
/// is left out.
pub fn put_status(headers: &mut HeaderMap, status: u8, message: &str) {
    headers.insert(GRPC_STATUS, HeaderValue::from(u16::from(status)));
    if !message.is_empty()
        && let Ok(message) = HeaderValue::from_maybe_shared(Bytes::from(percent_encode(message)))
    {
        headers.insert(GRPC_MESSAGE, message);
    }
}

/// Percent-encoding of `grpc-message`: everything but printable ASCII, and the percent sign.
fn percent_encode(text: &str) -> Vec<u8> {
    let digit = |nibble: u8| if nibble < 10 { b'0' + nibble } else { b'A' + nibble - 10 };
    let mut out = Vec::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => out.push(byte),
            _ => out.extend([b'%', digit(byte >> 4), digit(byte & 15)]),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, HeaderValue::from_str(value).unwrap())])
    }

    #[test]
    fn a_call_is_known_by_its_content_type() {
        for yes in
            ["application/grpc", "application/grpc+proto", "application/grpc;v=1", "Application/gRPC+json"]
        {
            assert!(is_grpc(&of(header::CONTENT_TYPE, yes)), "{yes}");
        }
        for no in
            ["application/grpc-web", "application/grpc-web+proto", "application/grp", "application/json"]
        {
            assert!(!is_grpc(&of(header::CONTENT_TYPE, no)), "{no}");
        }
        assert!(!is_grpc(&HeaderMap::new()));
    }

    #[test]
    fn timeouts_have_at_most_eight_digits_and_a_unit() {
        let timeout = |value| timeout(&of(GRPC_TIMEOUT, value));
        assert_eq!(timeout("1H"), Some(Duration::from_secs(3600)));
        assert_eq!(timeout("2M"), Some(Duration::from_secs(120)));
        assert_eq!(timeout("3S"), Some(Duration::from_secs(3)));
        assert_eq!(timeout("99999999m"), Some(Duration::from_millis(99_999_999)));
        assert_eq!(timeout("5u"), Some(Duration::from_micros(5)));
        assert_eq!(timeout("0n"), Some(Duration::ZERO));
        for bad in ["", "S", "1", "1s", "123456789S", "-1S", "+1S", "1.5S", " 1S"] {
            assert_eq!(timeout(bad), None, "{bad:?}");
        }
    }

    #[test]
    fn a_status_is_a_code_or_unknown() {
        for code in 0..=16u8 {
            assert_eq!(status(&of(GRPC_STATUS, &code.to_string())), Some(code));
        }
        for odd in ["17", "99", "", "-1", "ok", "00"] {
            assert_eq!(status(&of(GRPC_STATUS, odd)), Some(UNKNOWN), "{odd:?}");
        }
        assert_eq!(status(&HeaderMap::new()), None);
    }

    #[test]
    fn http_statuses_map_as_grpc_says() {
        let table = [
            (400, 13),
            (401, 16),
            (403, 7),
            (404, 12),
            (429, 14),
            (502, 14),
            (503, 14),
            (504, 14),
            (500, 2),
            (200, 2),
        ];
        for (http, grpc) in table {
            assert_eq!(status_from_http(http), grpc, "{http}");
        }
    }
}
