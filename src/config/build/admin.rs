//! The operator's side: where it is, and who may ask.

use std::collections::HashMap;
use std::path::Path;

use crate::base::BindAddress;

use super::super::problem::{At, Report};
use super::super::raw;
use super::super::read::{Field, List};
use super::super::spec::{AdminSpec, AdminToken};
use super::Unique;
use super::secrets::Source;

/// Fewer bytes than this can be guessed.
const SHORTEST: usize = 16;

/// What the admin is told and where its address was written, if it was.
pub(super) struct Admin {
    /// What it is told.
    pub spec: AdminSpec,
    /// Where its address was written.
    pub at: Option<At>,
}

/// The operator's side.
pub(super) fn admin(field: &Field<raw::Admin>, base: &Path, report: &mut Report) -> Admin {
    let section = field.get();
    let tokens = section.and_then(|admin| admin.tokens.get()).map(|list| tokens(list, base, report));
    let tokens = tokens.unwrap_or_default();
    let Some(given) = section.and_then(|admin| admin.address.given()) else {
        let address = BindAddress::Tcp(([127, 0, 0, 1], 9901).into());
        return Admin { spec: AdminSpec { address, tokens }, at: None };
    };
    let address = given.value.0.clone();
    let open = section.is_some_and(|admin| admin.tokens.is_missing());
    if open && matches!(&address, BindAddress::Tcp(tcp) if !tcp.ip().to_canonical().is_loopback()) {
        report.warn(
            &given.at,
            format!(
                "only health and metrics will answer at {address}: others can reach it and there is no token"
            ),
            "write `admin.tokens`, or bind 127.0.0.1",
        );
    }
    Admin { spec: AdminSpec { address, tokens }, at: Some(given.at.clone()) }
}

fn tokens(list: &List<raw::Token, 1, 64>, base: &Path, report: &mut Report) -> Vec<AdminToken> {
    let mut names = Unique::default();
    let mut seen: HashMap<String, u32> = HashMap::new();
    let mut specs = Vec::new();
    for item in &list.items {
        let raw = &item.value;
        if let Some(name) = raw.name.given() {
            names.add("token", &name.value.0, &name.at, report);
        }
        let source = Source { file_key: "file", file: &raw.file, env_key: "env", env: &raw.env };
        let Some(found) = source.required(&raw.at, base, report) else { continue };
        let text = found.secret.expose();
        // RFC 6750 section 2.1: what may stand after `Bearer`.
        let sendable = |b: u8| b.is_ascii_alphanumeric() || b"-._~+/=".contains(&b);
        if text.len() < SHORTEST {
            let message = format!("the token has {} bytes: it can be guessed", text.len());
            report.wrong(&found.at, message, "make one with `openssl rand -hex 32`");
        } else if !text.bytes().all(sendable) {
            report.wrong(
                &found.at,
                "the token has characters that no bearer token has",
                "make one with `openssl rand -hex 32`",
            );
        } else if let Some(line) = seen.get(text) {
            let message = format!("the same token is on line {line}");
            report.wrong(&found.at, message, "give each name a token of its own");
        }
        seen.insert(text.to_owned(), found.at.line);
        if let (Some(name), Some(role)) = (raw.name.get(), raw.role.get()) {
            specs.push(AdminToken { name: name.0.clone(), role: role.0, secret: found.secret });
        }
    }
    specs
}
