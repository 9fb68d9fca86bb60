//! The generic webhook: the event as it is, with headers to tell, order and trust it by.
//!
//! `x-switchback-signature` is `sha256=` and the hexadecimal HMAC-SHA256 (RFC 2104), under the shared
//! secret, of the timestamp's digits, a full stop, and the body. The timestamp is within what is
//! signed, so that a receiver can refuse what was recorded and sent again; `x-switchback-delivery`
//! is the same on every attempt, so that it can drop what it has already.

use ring::hmac;
use serde_json::json;

use super::{Request, moment};
use crate::notify::event::Event;
use crate::notify::spec::Secret;

pub(super) fn request(
    url: &Secret,
    secret: Option<&Secret>,
    headers: &[(String, Secret)],
    event: &Event,
    delivery: &str,
    now_ms: u64,
) -> Request {
    let mut body = json!(event);
    if let Some(fields) = body.as_object_mut() {
        fields.insert("at".to_owned(), moment(event.at_ms).into());
    }
    let timestamp = (now_ms / 1_000).to_string();
    let mut request = Request::json(url.expose().to_owned(), &body)
        .with("x-switchback-event", event.kind.as_str())
        .with("x-switchback-delivery", delivery)
        .with("x-switchback-timestamp", timestamp.clone());
    for (name, value) in headers {
        request = request.with(&name.to_ascii_lowercase(), value.expose());
    }
    let Some(secret) = secret else { return request };
    let signature = sign(secret.expose().as_bytes(), &timestamp, &request.body);
    request.with("x-switchback-signature", signature)
}

fn sign(secret: &[u8], timestamp: &str, body: &[u8]) -> String {
    let mut context = hmac::Context::with_key(&hmac::Key::new(hmac::HMAC_SHA256, secret));
    context.update(timestamp.as_bytes());
    context.update(b".");
    context.update(body);
    let mut signature = "sha256=".to_owned();
    for byte in context.sign().as_ref() {
        signature.push_str(&format!("{byte:02x}"));
    }
    signature
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signature_is_what_any_other_hmac_makes_of_it() {
        // printf '1700000000.{"a":1}' | openssl dgst -sha256 -hmac s3cret
        let expected = "sha256=1698a50bc74d1ff1db85c4e0a5297c2ad9fdba245d5737cdb789e4cc6e098940";
        assert_eq!(sign(b"s3cret", "1700000000", br#"{"a":1}"#), expected);
    }
}
