//! A model server: TLS belongs to `https` and nothing else.

use std::path::Path;

use crate::upstream::{Address, UpstreamSpec, UpstreamTls};

use super::super::problem::Report;
use super::super::raw;
use super::{files, set_count, set_time};

/// What the pool to a model server is told.
pub(super) fn upstream(raw: &raw::Upstream, base: &Path, report: &mut Report) -> Option<UpstreamSpec> {
    let tls = raw.tls.get().map(|tls| tls_spec(tls, base, report));
    let url = &raw.url.get()?.0;
    let mut spec = UpstreamSpec::new(url.address.clone(), url.authority.clone());
    if let (Some(section), false) = (raw.tls.get(), url.tls) {
        let fix = match &url.address {
            Address::Tcp { .. } => format!("write \"https://{}\" as url, or remove tls", url.authority),
            Address::Unix(_) => "remove it: a Unix socket does not leave this machine".to_owned(),
        };
        report.wrong(&section.at, "tls without https", fix);
    }
    spec.tls = url.tls.then(|| tls.unwrap_or(UpstreamTls { ca: None, server_name: None }));
    spec.protocol = raw.protocol.get().map_or(spec.protocol, |p| p.0);
    set_time(&mut spec.connect_timeout, &raw.connect_timeout);
    set_count(&mut spec.max_connections, &raw.max_connections);
    set_count(&mut spec.max_idle, &raw.max_idle);
    set_time(&mut spec.idle_timeout, &raw.idle_timeout);
    set_count(&mut spec.h2_streams_per_connection, &raw.h2_streams_per_connection);
    // More idle connections than there may be at all means: keep them all.
    spec.max_idle = spec.max_idle.min(spec.max_connections);
    Some(spec)
}

fn tls_spec(raw: &raw::UpstreamTls, base: &Path, report: &mut Report) -> UpstreamTls {
    UpstreamTls {
        ca: files::existing(&raw.ca, base, report),
        server_name: raw.server_name.get().map(|n| n.0.clone()),
    }
}
