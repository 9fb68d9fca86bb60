//! What is written of a message between its start line and its content: fields, numbers, frames of
//! chunks.

use http::{HeaderMap, HeaderValue};

use super::is_forbidden_trailer;

/// A field would end its line early.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a header field holds a control character")]
pub struct Injected;

/// Appends a field.
pub fn push_field(name: &str, value: &HeaderValue, out: &mut Vec<u8>) {
    let value = value.as_bytes();
    out.reserve(name.len() + value.len() + 4);
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Appends the size line of a chunk (RFC 9112 section 7.1).
pub fn push_chunk_size(size: usize, out: &mut Vec<u8>) {
    let mut digits = [0; 16];
    let (mut left, mut count) = (size, 0);
    for digit in digits.iter_mut().rev() {
        let nibble = (left & 15) as u8;
        *digit = if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 };
        (left, count) = (left >> 4, count + 1);
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
    out.extend_from_slice(b"\r\n");
}

/// Appends the last chunk with those of `trailers` that may stand there.
///
/// # Errors
/// Where a field would end its line early; `out` must not be sent then.
pub fn push_end(trailers: &HeaderMap, out: &mut Vec<u8>) -> Result<(), Injected> {
    let begin = out.len();
    out.extend_from_slice(b"0\r\n");
    let mut lines = 2;
    for (name, value) in trailers {
        if !is_forbidden_trailer(name) {
            push_field(name.as_str(), value, out);
            lines += 1;
        }
    }
    out.extend_from_slice(b"\r\n");
    check_lines(out.get(begin..).unwrap_or_default(), lines)
}

/// Checks that `text` has `lines` line ends and no other control character.
///
/// `HeaderValue` and `Uri` hold no line ends. Should that ever fail to be so, what is written would
/// be two messages.
///
/// # Errors
/// [`Injected`] where it has others.
pub fn check_lines(text: &[u8], lines: usize) -> Result<(), Injected> {
    if count_controls(text) == lines * 2 { Ok(()) } else { Err(Injected) }
}

/// Control characters of `text`, line ends included; a tab is none.
pub fn count_controls(text: &[u8]) -> usize {
    // Sums of bytes over short runs: the compiler makes vector code of it.
    text.chunks(240)
        .map(|run| usize::from(run.iter().map(|&byte| u8::from(byte < b' ' && byte != b'\t')).sum::<u8>()))
        .sum()
}

/// A length as RFC 9110 section 8.6 writes it: digits only.
pub fn decimal(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0_u64, |number, &digit| match digit {
        b'0'..=b'9' => number.checked_mul(10)?.checked_add(u64::from(digit - b'0')),
        _ => None,
    })
}

/// Appends a length.
pub fn push_decimal(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20];
    let (mut left, mut count) = (number, 0);
    for digit in digits.iter_mut().rev() {
        *digit = b'0' + (left % 10) as u8;
        (left, count) = (left / 10, count + 1);
        if left == 0 {
            break;
        }
    }
    out.extend_from_slice(digits.get(digits.len() - count..).unwrap_or_default());
}

/// Whether one of the items of a comma-separated list is `wanted`, in whatever case.
pub fn has_token(value: &HeaderValue, wanted: &[u8]) -> bool {
    let mut tokens = value.as_bytes().split(|&byte| byte == b',');
    tokens.any(|token| token.trim_ascii().eq_ignore_ascii_case(wanted))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_ends_a_line_but_us() {
        assert!(check_lines(b"a: b\r\n\r\n", 2).is_ok());
        for bad in [&b"a: b\r\nc: d\r\n\r\n"[..], b"a: b\nc\r\n\r\n", b"a: b\0\r\n\r\n", b"a: b\r\r\n\r\n"] {
            assert_eq!(check_lines(bad, 2), Err(Injected));
        }
        let tabs = [b"a:\t".as_slice(), &[b'x'; 1000], b"\xff\r\n\r\n"].concat();
        assert!(check_lines(&tabs, 2).is_ok());
    }

    #[test]
    fn numbers_are_written_as_they_are_read() {
        for number in [0, 1, 9, 10, 255, 256, 65_535, 1 << 40, u64::MAX] {
            let mut out = Vec::new();
            push_decimal(number, &mut out);
            assert_eq!(out, number.to_string().as_bytes());
            assert_eq!(decimal(&out), Some(number));
            out.clear();
            push_chunk_size(number as usize, &mut out);
            assert_eq!(out, format!("{number:x}\r\n").as_bytes());
        }
    }

    #[test]
    fn trailers_are_written_but_for_those_that_frame() {
        let mut trailers = HeaderMap::new();
        for (name, value) in [("grpc-status", "0"), ("content-length", "9"), ("host", "x"), ("x-sum", "7")] {
            trailers.insert(name, value.parse().unwrap());
        }
        for name in ["expect", "range", "forwarded", "proxy-authorization", "authorization", "set-cookie"] {
            trailers.insert(name, "a".parse().unwrap());
        }
        let mut out = Vec::new();
        push_end(&trailers, &mut out).unwrap();
        assert_eq!(out, b"0\r\ngrpc-status: 0\r\nx-sum: 7\r\n\r\n");
    }

    #[test]
    fn a_token_is_found_wherever_it_stands() {
        let value = HeaderValue::from_static("keep-alive, Close ,x");
        assert!(has_token(&value, b"close") && has_token(&value, b"x") && !has_token(&value, b"keep"));
    }
}
