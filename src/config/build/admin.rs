//! The operator's side: where it is, and who may ask.

use std::collections::HashMap;
use std::path::Path;

use crate::base::BindAddress;
use crate::net::{ClientsSpec, KeyPair, TlsSpec};

use super::super::problem::{At, Report};
use super::super::raw;
use super::super::read::{Field, List};
use super::super::spec::{AdminClient, AdminSpec, AdminToken};
use super::secrets::Source;
use super::{Unique, files};

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
    let mut names = Unique::default();
    let tokens =
        section.and_then(|admin| admin.tokens.get()).map(|list| tokens(list, base, &mut names, report));
    let tokens = tokens.unwrap_or_default();
    let tls = section.and_then(|admin| admin.tls.get()).and_then(|tls| tls_spec(tls, base, report));
    let clients = section.and_then(|admin| clients(admin, &mut names, report)).unwrap_or_default();
    let Some(given) = section.and_then(|admin| admin.address.given()) else {
        let address = BindAddress::Tcp(([127, 0, 0, 1], 9901).into());
        return Admin { spec: AdminSpec { address, tokens, tls, clients }, at: None };
    };
    let address = given.value.0.clone();
    let open = section.is_some_and(|admin| admin.tokens.is_missing() && admin.clients.is_missing());
    if open && matches!(&address, BindAddress::Tcp(tcp) if !tcp.ip().to_canonical().is_loopback()) {
        report.warn(
            &given.at,
            format!(
                "only health and metrics will answer at {address}: others can reach it and there is no token"
            ),
            "write `admin.tokens`, or bind 127.0.0.1",
        );
    }
    Admin { spec: AdminSpec { address, tokens, tls, clients }, at: Some(given.at.clone()) }
}

fn tls_spec(raw: &raw::AdminTls, base: &Path, report: &mut Report) -> Option<TlsSpec> {
    let certificate = files::existing(&raw.certificate, base, report);
    let key = files::existing(&raw.key, base, report);
    let ca = files::existing(&raw.client_ca, base, report);
    let identity = KeyPair { certificate: certificate?, key: key? };
    Some(TlsSpec {
        // Probes and scrapes come without; who may do more is a matter of each request.
        clients: ca.map(|ca| ClientsSpec { ca, names: Vec::new(), optional: true }),
        min_version: raw.min_version.get().map(|version| version.0).unwrap_or_default(),
        http2: false,
        ..TlsSpec::new(identity)
    })
}

fn clients(raw: &raw::Admin, names: &mut Unique, report: &mut Report) -> Option<Vec<AdminClient>> {
    if let Some(given) = raw.clients.given()
        && raw.tls.get().is_none_or(|tls| tls.client_ca.is_missing())
    {
        report.wrong(&given.at, "nobody is asked for a certificate", "write `tls.clientCa`, or remove it");
    }
    let mut specs = Vec::new();
    for item in &raw.clients.get()?.items {
        let client = &item.value;
        if let Some(name) = client.name.given() {
            names.add("caller", &name.value.0, &name.at, report);
        }
        if let (Some(name), Some(role), Some(rules)) =
            (client.name.get(), client.role.get(), client.names.get())
        {
            let names = rules.items.iter().map(|item| item.value.0.clone()).collect();
            specs.push(AdminClient { name: name.0.clone(), role: role.0, names });
        }
    }
    Some(specs)
}

fn tokens(
    list: &List<raw::Token, 1, 64>,
    base: &Path,
    names: &mut Unique,
    report: &mut Report,
) -> Vec<AdminToken> {
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
