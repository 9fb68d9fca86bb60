//! Headers that Switchback itself answers for and the configuration may not change.

use http::HeaderName;

use super::super::problem::{At, Report};

/// Whether `name` may be changed; if not, `report` says why.
pub(super) fn may_change(name: &HeaderName, at: &At, report: &mut Report) -> bool {
    let (why, fix) = match name.as_str() {
        "host" => ("is set by itself", "write `rewrite.host`"),
        "content-length" | "transfer-encoding" => ("is part of the message's framing", "remove it"),
        // RFC 9110 section 7.6.1, and what else ends at each hop.
        "connection" | "keep-alive" | "proxy-connection" | "te" | "trailer" | "upgrade" | "expect" => {
            ("belongs to one connection and is never passed on", "remove it")
        }
        name if name.starts_with("x-switchback-") => ("is Switchback's own", "remove it"),
        _ => return true,
    };
    report.wrong(at, format!("the header {:?} {why}", name.as_str()), fix);
    false
}
