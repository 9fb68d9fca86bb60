//! Faults as answers: the one place that turns a [`Fault`] into what a client reads.
//!
//! Whether the connection can be kept after it is the codec's to decide: it knows what of the
//! request is still unread.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode, header};

use super::grpc;
use crate::base::Fault;

/// The reason of a fault, on every answer that Switchback makes itself because something failed.
pub const X_SWITCHBACK_ERROR: HeaderName = HeaderName::from_static("x-switchback-error");

/// The answer to a request that failed with `fault`; `grpc` where the request was a gRPC call
/// (see [`super::hygiene::Asked::grpc`]).
pub fn fault(fault: &Fault, grpc: bool) -> Response<Bytes> {
    if grpc { grpc_fault(fault) } else { http_fault(fault) }
}

/// HTTP: the status, and a JSON body `{"error": "<reason>: <detail>"}`.
fn http_fault(fault: &Fault) -> Response<Bytes> {
    let body = serde_json::json!({ "error": fault.to_string() }).to_string();
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() =
        StatusCode::from_u16(fault.kind.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(X_SWITCHBACK_ERROR, HeaderValue::from_static(fault.kind.reason()));
    response
}

/// gRPC: a trailers-only answer, `200` with the status in the head and no body.
fn grpc_fault(fault: &Fault) -> Response<Bytes> {
    let mut response = Response::new(Bytes::new());
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    grpc::put_status(headers, fault.kind.grpc_status(), &fault.to_string());
    headers.insert(X_SWITCHBACK_ERROR, HeaderValue::from_static(fault.kind.reason()));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::FaultKind;

    const NASTY: &str = "a \"quoted\" 100%\r\nü\u{0}";

    #[test]
    fn an_http_fault_has_its_status_its_reason_and_a_json_body() {
        for kind in FaultKind::ALL {
            let answer = fault(&Fault::new(kind, NASTY), false);
            assert_eq!(answer.status().as_u16(), kind.http_status());
            assert_eq!(answer.headers()[X_SWITCHBACK_ERROR], kind.reason());
            assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/json");
            let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
            assert_eq!(body, serde_json::json!({"error": format!("{}: {NASTY}", kind.reason())}));
        }
    }

    #[test]
    fn a_grpc_fault_is_trailers_only_with_an_encoded_message() {
        let answer = fault(&Fault::new(FaultKind::Overloaded, NASTY), true);
        assert_eq!(answer.status(), 200);
        assert!(answer.body().is_empty());
        assert_eq!(answer.headers()[header::CONTENT_TYPE], "application/grpc");
        assert_eq!(grpc::status(answer.headers()), Some(8));
        assert_eq!(answer.headers()[grpc::GRPC_MESSAGE], "overloaded: a \"quoted\" 100%25%0D%0A%C3%BC%00");
        assert_eq!(answer.headers()[X_SWITCHBACK_ERROR], "overloaded");
    }
}
