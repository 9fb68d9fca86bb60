//! Answers that are errors.

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Response, StatusCode};

use crate::base::{Fault, FaultKind};
use crate::inference::v2_json::{EncodeError, InvalidRequest};
use crate::onnx::error::EngineError;

/// An answer that is an error.
pub(super) struct Refusal {
    pub(super) status: StatusCode,
    pub(super) header: Option<(HeaderName, HeaderValue)>,
    pub(super) fault: Fault,
}

impl Refusal {
    pub(super) fn into_response(self) -> Response<Bytes> {
        let body = serde_json::json!({"error": self.fault.detail}).to_string();
        let mut response = super::json(body.into());
        *response.status_mut() = self.status;
        response.headers_mut().extend(self.header);
        response.extensions_mut().insert(self.fault.kind);
        response.extensions_mut().insert(self.fault);
        response
    }
}

impl From<Fault> for Refusal {
    fn from(fault: Fault) -> Self {
        let status = StatusCode::from_u16(fault.kind.http_status());
        Self { status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR), header: None, fault }
    }
}

impl From<EngineError> for Refusal {
    fn from(error: EngineError) -> Self {
        Fault::from(error).into()
    }
}

impl From<InvalidRequest> for Refusal {
    fn from(error: InvalidRequest) -> Self {
        Fault::new(FaultKind::BadRequest, error.to_string()).into()
    }
}

impl From<EncodeError> for Refusal {
    fn from(error: EncodeError) -> Self {
        let kind = match error {
            // The model's doing: it counts against the version that answered.
            EncodeError::NotFinite { .. } => FaultKind::Internal,
            EncodeError::NotRows { .. } => FaultKind::BadRequest,
        };
        Fault::new(kind, error.to_string()).into()
    }
}
