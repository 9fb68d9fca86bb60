//! Addresses: each is used once, the admin's included.

use std::path::Path;

use crate::base::BindAddress;
use crate::net::{ClientsSpec, DownstreamSpec, KeyPair, ListenerSpec, TlsSpec};

use super::super::problem::Report;
use super::super::raw;
use super::super::read::{Field, List};
use super::super::text::PathText;
use super::admin::Admin;
use super::{Unique, files, number, set_count, set_size, set_time};

/// The listeners, or the default one.
pub(super) fn listeners(
    field: &Field<List<raw::Listener, 1, 64>>,
    base: &Path,
    admin: &Admin,
    report: &mut Report,
) -> Vec<ListenerSpec> {
    let Some(list) = field.get() else {
        let address = BindAddress::Tcp(([0, 0, 0, 0], 8080).into());
        if let Some(at) = admin.at.as_ref().filter(|_| field.is_missing())
            && overlap(&address, &admin.spec.address)
        {
            let message = format!("{} is the listeners' address", admin.spec.address);
            report.wrong(at, message, "write another port, or `listeners`");
        }
        let name = "main".to_owned();
        return vec![ListenerSpec { name, address, tls: None, allow_pin: false, trusted_peers: None }];
    };
    let mut names = Unique::default();
    let mut seen: Vec<(BindAddress, u32)> = Vec::new();
    let mut specs = Vec::new();
    for item in &list.items {
        let listener = &item.value;
        if let Some(name) = listener.name.given() {
            names.add("listener", &name.value.0, &name.at, report);
        }
        if let Some(given) = listener.address.given() {
            let address = &given.value.0;
            if let Some((other, line)) = seen.iter().find(|(other, _)| overlap(other, address)) {
                let message = format!("{address} is in use by the listener on line {line} ({other})");
                report.wrong(&given.at, message, "write another port");
            } else if overlap(address, &admin.spec.address) {
                let admin = &admin.spec.address;
                let message = format!("{address} is in use by the admin address ({admin})");
                report.wrong(&given.at, message, "write another port here or as `admin.address`");
            }
            seen.push((address.clone(), given.at.line));
        }
        let tls = listener.tls.get().map(|tls| tls_spec(tls, base, report));
        if let (Some(name), Some(address)) = (listener.name.get(), listener.address.get()) {
            specs.push(ListenerSpec {
                name: name.0.clone(),
                address: address.0.clone(),
                tls: tls.flatten(),
                allow_pin: listener.allow_pin.get().is_some_and(|f| f.0),
                trusted_peers: listener
                    .trusted_peers
                    .get()
                    .map(|list| list.items.iter().map(|item| item.value.0).collect()),
            });
        }
    }
    specs
}

/// Whether the second of two binds would fail or shadow the first.
fn overlap(a: &BindAddress, b: &BindAddress) -> bool {
    match (a, b) {
        (BindAddress::Tcp(a), BindAddress::Tcp(b)) => {
            let all = a.ip().is_unspecified() || b.ip().is_unspecified();
            let ips = a.ip() == b.ip() || (all && a.is_ipv4() == b.is_ipv4());
            a.port() != 0 && a.port() == b.port() && ips
        }
        (a, b) => a == b,
    }
}

fn tls_spec(tls: &raw::ListenerTls, base: &Path, report: &mut Report) -> Option<TlsSpec> {
    let identity = pair((&tls.certificate, &tls.key), base, report);
    let more = tls.more.get().map(|list| list.items.as_slice()).unwrap_or_default();
    let more = more.iter().filter_map(|item| pair((&item.value.certificate, &item.value.key), base, report));
    let more = more.collect();
    let names = tls.client_names.get().map(|list| list.items.iter().map(|item| item.value.0.clone()));
    let ca = files::existing(&tls.client_ca, base, report);
    if tls.client_ca.is_missing() {
        let names = tls.client_names.given().map(|given| &given.at);
        let optional = tls.client_optional.given().map(|given| &given.at);
        for at in names.into_iter().chain(optional) {
            report.wrong(at, "clients are not asked for certificates", "write `clientCa`, or remove it");
        }
    }
    let clients = ca.map(|ca| ClientsSpec {
        ca,
        names: names.map(Iterator::collect).unwrap_or_default(),
        optional: tls.client_optional.get().is_some_and(|flag| flag.0),
    });
    let min_version = tls.min_version.get().map(|version| version.0).unwrap_or_default();
    Some(TlsSpec { identity: identity?, more, clients, min_version, http2: true })
}

fn pair(
    (certificate, key): (&Field<PathText>, &Field<PathText>),
    base: &Path,
    report: &mut Report,
) -> Option<KeyPair> {
    let (certificate, key) = (files::existing(certificate, base, report), files::existing(key, base, report));
    Some(KeyPair { certificate: certificate?, key: key? })
}

/// What clients may do.
pub(super) fn downstream(section: Option<&raw::Downstream>) -> DownstreamSpec {
    let mut spec = DownstreamSpec::default();
    let Some(raw) = section else { return spec };
    set_count(&mut spec.max_connections, &raw.max_connections);
    set_size(&mut spec.header_bytes, &raw.header_bytes);
    set_count(&mut spec.header_count, &raw.header_count);
    set_time(&mut spec.first_byte_timeout, &raw.first_byte_timeout);
    set_time(&mut spec.handshake_timeout, &raw.handshake_timeout);
    set_time(&mut spec.header_timeout, &raw.header_timeout);
    set_count(&mut spec.max_handshakes, &raw.max_handshakes);
    set_time(&mut spec.send_timeout, &raw.send_timeout);
    spec.body_rate = raw.body_rate.get().map_or(spec.body_rate, |n| n.0);
    let Some(h2) = raw.h2.get() else { return spec };
    let narrow = |n: u64| u32::try_from(number(n)).unwrap_or(u32::MAX);
    spec.h2_max_streams = h2.max_streams.get().map_or(spec.h2_max_streams, |n| narrow(n.0));
    spec.h2_stream_window = h2.stream_window.get().map_or(spec.h2_stream_window, |n| narrow(n.0));
    set_time(&mut spec.h2_idle_timeout, &h2.idle_timeout);
    set_count(&mut spec.h2_pending_resets, &h2.pending_resets);
    set_count(&mut spec.h2_local_resets, &h2.local_resets);
    spec.h2_resets = h2.resets.get().map_or(spec.h2_resets, |n| narrow(n.0));
    spec.h2_control_frames = h2.control_frames.get().map_or(spec.h2_control_frames, |n| narrow(n.0));
    spec.h2_connection_window = h2.connection_window.get().map_or(spec.h2_connection_window, |n| narrow(n.0));
    spec
}
