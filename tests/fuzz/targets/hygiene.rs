//! What may pass from one side to the other.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, Uri, Version};
use switchback::wire::hygiene;

use super::choose;

/// Fields that speak of a connection.
const HOP_BY_HOP: [&str; 4] = ["keep-alive", "proxy-connection", "transfer-encoding", "proxy-authenticate"];

/// First byte: 1 for HTTP/2, 2 for an answer. Then lines: method and target, or a status; fields.
pub fn run(data: &[u8]) {
    let (how, data) = choose(data);
    let mut lines = data.split(|byte| *byte == b'\n');
    let first = lines.next().and_then(|line| std::str::from_utf8(line).ok()).unwrap_or_default();
    let mut headers = HeaderMap::new();
    for line in lines.take(100) {
        let mut parts = line.splitn(2, |byte| *byte == b':');
        let name = parts.next().and_then(|name| HeaderName::from_bytes(name.trim_ascii()).ok());
        let value = parts.next().and_then(|value| HeaderValue::from_bytes(value.trim_ascii()).ok());
        if let (Some(name), Some(value)) = (name, value) {
            headers.append(name, value);
        }
    }
    if how & 2 != 0 { response(first, headers, how) } else { request(first, headers, how & 1 != 0) }
}

fn request(first: &str, headers: HeaderMap, is_http2: bool) {
    let (method, target) = first.split_once(' ').unwrap_or(("GET", "/"));
    let request = Request::builder().method(method).uri(target);
    let Ok((mut parts, ())) = request.body(()).map(Request::into_parts) else { return };
    parts.headers = headers;
    if is_http2 {
        parts.version = Version::HTTP_2;
        let host = parts.headers.get(HOST).and_then(|host| host.to_str().ok()).unwrap_or("x");
        let Ok(uri) = format!("https://{host}{}", parts.uri.path()).parse::<Uri>() else { return };
        parts.uri = uri;
    }
    let nominated = nominated(&parts.headers);
    let Ok(asked) = hygiene::request(&mut parts) else { return };
    let headers = &parts.headers;
    for name in HOP_BY_HOP.iter().copied().chain(["connection", "upgrade", "expect", "proxy-authorization"]) {
        assert!(name == "proxy-authenticate" || !headers.contains_key(name), "{name} passed");
    }
    assert!(!headers.contains_key("x-switchback-error"));
    assert!(headers.get(TE).is_none_or(|te| te == "trailers"));
    framed(headers);
    assert!(headers.get_all(HOST).iter().count() <= 1, "two hosts");
    assert!(is_http2 || parts.version != Version::HTTP_11 || headers.contains_key(HOST), "no host");
    gone(headers, &nominated);
    assert!(asked.upgrade.is_none() || parts.version == Version::HTTP_11);
    // What is clean stays as it is.
    let before = parts.headers.clone();
    let again = hygiene::request(&mut parts).expect("what passed once passes again");
    assert_eq!((parts.headers, again.grpc), (before, asked.grpc));
}

fn response(first: &str, headers: HeaderMap, how: u8) {
    let downstream = [Version::HTTP_10, Version::HTTP_11, Version::HTTP_2][usize::from(how >> 2) % 3];
    let answer = Response::builder().status(first.trim());
    let Ok((mut parts, ())) = answer.body(()).map(Response::into_parts) else { return };
    parts.headers = headers;
    let nominated = nominated(&parts.headers);
    if hygiene::response(&mut parts, downstream).is_err() {
        return;
    }
    let headers = &parts.headers;
    for name in HOP_BY_HOP {
        assert!(!headers.contains_key(name), "{name} passed");
    }
    if parts.status == StatusCode::SWITCHING_PROTOCOLS {
        assert!(headers.contains_key(UPGRADE) && headers[CONNECTION] == "upgrade");
    } else {
        assert!(!headers.contains_key(CONNECTION) && !headers.contains_key(UPGRADE));
        gone(headers, &nominated);
    }
    framed(headers);
    if parts.status.is_informational() || parts.status == StatusCode::NO_CONTENT {
        assert!(!headers.contains_key(CONTENT_LENGTH));
    }
}

fn framed(headers: &HeaderMap) {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    if let Some(length) = lengths.next() {
        assert!(length.as_bytes().iter().all(u8::is_ascii_digit) && !length.is_empty(), "{length:?}");
    }
    assert!(lengths.next().is_none(), "two lengths");
    assert!(!headers.contains_key(TRANSFER_ENCODING));
}

/// Fields that `Connection` names and that nobody else needs.
fn nominated(headers: &HeaderMap) -> Vec<String> {
    let values = headers.get_all(CONNECTION);
    let names = values.iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    let names = names.filter_map(|name| std::str::from_utf8(name.trim_ascii()).ok());
    names.filter(|name| name.starts_with("x-a")).map(str::to_owned).collect()
}

fn gone(headers: &HeaderMap, nominated: &[String]) {
    for name in nominated {
        assert!(!headers.contains_key(name.as_str()), "{name} was named by Connection and passed");
    }
}
