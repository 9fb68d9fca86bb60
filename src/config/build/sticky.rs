//! Stickiness: exactly one source of the key.

use crate::base::ModelName;
use crate::routing::spec::StickySpec;
use crate::split::KeySource;

use super::super::problem::Report;
use super::super::raw;

/// What is kept on one version; without a salt of its own it takes the model's `name`.
pub(super) fn sticky(raw: &raw::Sticky, name: Option<&ModelName>, report: &mut Report) -> Option<StickySpec> {
    let written = [
        ("header", raw.header.is_missing()),
        ("cookie", raw.cookie.is_missing()),
        ("jsonPointer", raw.json_pointer.is_missing()),
        ("clientAddress", raw.client_address.is_missing()),
    ];
    super::exactly_one("source of the key", &written, &raw.at, report)?;
    if let Some(flag) = raw.client_address.given().filter(|flag| !flag.value.0) {
        report.wrong(&flag.at, "only true makes sense", "write true, or remove `sticky`");
    }
    let source = None
        .or_else(|| raw.header.get().map(|h| KeySource::Header(h.0.clone())))
        .or_else(|| raw.cookie.get().map(|c| KeySource::Cookie(c.0.clone())))
        .or_else(|| raw.json_pointer.get().map(|p| KeySource::JsonPointer(p.0.clone())))
        .or_else(|| raw.client_address.get().map(|_| KeySource::ClientAddress))?;
    let salt = raw.salt.get().map(|s| s.0.clone()).or_else(|| name.map(ToString::to_string))?;
    Some(StickySpec { source, salt })
}
