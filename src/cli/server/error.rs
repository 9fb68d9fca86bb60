//! Why a sidecar did not do what it was asked for, in words for whoever asked.

use serde_json::Value;

/// Characters of an answer that is not ours which are shown.
const SHOWN: usize = 200;

/// Why there is no good answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(in super::super) enum CallError {
    /// Nobody answers, or not to the end. May pass.
    #[error("{0}")]
    Unreachable(String),
    /// No token, an unknown one, or one that may not do this.
    #[error("{0}")]
    Denied(String),
    /// It contradicts something.
    #[error("refused: {0}")]
    Refused(String),
    /// There is no such thing.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense.
    #[error("{0}")]
    Invalid(String),
    /// It can't be done now: the sidecar is ending, busy, or something failed there. May pass.
    #[error("{0}")]
    Unavailable(String),
    /// What answers is no sidecar, or one of another time.
    #[error("what {0} answers is not the answer of a sidecar: is this the address of its admin API?")]
    Garbled(String),
}

impl CallError {
    /// Whether the same request may succeed a little later.
    pub(in super::super) fn may_pass(&self) -> bool {
        matches!(self, Self::Unreachable(_) | Self::Unavailable(_))
    }
}

/// There is no answer.
pub(super) fn unreachable(name: &str, error: &ureq::Error) -> CallError {
    let why = match error {
        ureq::Error::Timeout(_) => "no answer in time".to_owned(),
        ureq::Error::HostNotFound => "the host is not known".to_owned(),
        ureq::Error::ConnectionFailed => "no connection".to_owned(),
        ureq::Error::Io(error) => error.to_string(),
        error => error.to_string(),
    };
    CallError::Unreachable(format!(
        "no sidecar answers at {name} ({why}): is it running? --server or SWITCHBACK_SERVER says where its admin API is"
    ))
}

/// The answer broke off.
pub(super) fn cut(name: &str, error: &std::io::Error) -> CallError {
    CallError::Unreachable(format!("the answer of {name} broke off: {error}"))
}

/// The answer is a refusal.
pub(super) fn refused(status: u16, body: &[u8], name: &str) -> CallError {
    let said = serde_json::from_slice::<Value>(body).ok();
    let said = said.as_ref().and_then(|body| body.get("error")).and_then(Value::as_str);
    let Some(said) = said.map(str::to_owned) else {
        let text = String::from_utf8_lossy(body);
        let line: String = text.split_whitespace().collect::<Vec<_>>().join(" ");
        let line: String = line.chars().filter(|c| !c.is_control()).take(SHOWN).collect();
        return match status {
            500.. => CallError::Unavailable(format!("{name} answers {status}: {line}")),
            _ => CallError::Garbled(format!("{name} (status {status})")),
        };
    };
    match status {
        401 => CallError::Denied(format!(
            "{said}; SWITCHBACK_TOKEN or --token-file gives a token, --client-cert and --client-key a certificate"
        )),
        403 => CallError::Denied(said),
        404 => CallError::NotFound(said),
        409 => CallError::Refused(said),
        429 | 500.. => CallError::Unavailable(said),
        _ => CallError::Invalid(said),
    }
}
