//! What versions are told about clients.

use super::*;

fn request_with(headers: &[(&str, &str)]) -> http::request::Parts {
    let mut builder = http::Request::builder().uri("/score").header("host", "fraud.example");
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn peer() -> Peer {
    Peer::new(Some("::ffff:10.1.2.3".parse().unwrap()), true, "main".into(), false)
}

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

#[test]
fn a_bare_request_gets_everything() {
    let mut parts = request_with(&[]);
    request(&mut parts, &peer());
    assert_eq!(parts.headers[X_FORWARDED_FOR], "10.1.2.3");
    assert_eq!(parts.headers[X_FORWARDED_PROTO], "https");
    assert_eq!(parts.headers[X_FORWARDED_HOST], "fraud.example");
    assert!(is_valid_parent(parts.headers[TRACEPARENT].as_bytes()));
    let id = parts.headers[X_REQUEST_ID].to_str().unwrap();
    let shape: String = id.chars().map(|c| if c.is_ascii_hexdigit() { 'x' } else { c }).collect();
    assert_eq!(shape, "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx");
    assert_eq!(&id[14..15], "4");
    assert!(matches!(&id[19..20], "8" | "9" | "a" | "b"));
}

#[test]
fn what_an_outer_proxy_says_is_kept_and_added_to() {
    let mut parts = request_with(&[
        ("x-forwarded-for", "1.1.1.1"),
        ("x-forwarded-for", "2.2.2.2, 3.3.3.3"),
        ("x-forwarded-proto", "http"),
        ("x-forwarded-host", "outer.example"),
        ("x-request-id", "abc"),
        ("traceparent", PARENT),
        ("tracestate", "a=b"),
    ]);
    request(&mut parts, &peer());
    let lines: Vec<_> = parts.headers.get_all(X_FORWARDED_FOR).iter().collect();
    assert_eq!(lines, ["1.1.1.1, 2.2.2.2, 3.3.3.3, 10.1.2.3"]);
    assert_eq!(parts.headers[X_FORWARDED_PROTO], "http");
    assert_eq!(parts.headers[X_FORWARDED_HOST], "outer.example");
    assert_eq!(parts.headers[X_REQUEST_ID], "abc");
    assert_eq!(parts.headers[TRACEPARENT], PARENT);
    assert_eq!(parts.headers[TRACESTATE], "a=b");
}

#[test]
fn a_client_of_a_unix_socket_has_no_address() {
    let mut parts = request_with(&[]);
    request(&mut parts, &Peer::new(None, false, "local".into(), false));
    assert!(!parts.headers.contains_key(X_FORWARDED_FOR));
    assert_eq!(parts.headers[X_FORWARDED_PROTO], "http");
}

#[test]
fn the_host_of_an_http2_request_is_its_authority() {
    let mut parts = http::Request::get("https://h2.example:8443/x").body(()).unwrap().into_parts().0;
    request(&mut parts, &peer());
    assert_eq!(parts.headers[X_FORWARDED_HOST], "h2.example:8443");
}

#[test]
fn an_invalid_parent_is_replaced_and_its_state_dropped() {
    let good = [PARENT.to_owned(), format!("cc{}", &PARENT[2..]), format!("cc{}-what", &PARENT[2..])];
    for good in &good {
        assert!(is_valid_parent(good.as_bytes()), "{good}");
    }
    let bad = [
        String::new(),
        format!("{PARENT}-what"),
        format!("cc{}.what", &PARENT[2..]),
        format!("ff{}", &PARENT[2..]),
        PARENT.to_uppercase(),
        PARENT.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32)),
        PARENT.replace("00f067aa0ba902b7", &"0".repeat(16)),
        PARENT.replace('-', "_"),
        PARENT[..54].to_owned(),
    ];
    for bad in &bad {
        let mut parts = request_with(&[("traceparent", bad), ("tracestate", "a=b")]);
        request(&mut parts, &peer());
        assert!(is_valid_parent(parts.headers[TRACEPARENT].as_bytes()), "{bad}");
        assert_ne!(parts.headers[TRACEPARENT], bad.as_str());
        assert!(!parts.headers.contains_key(TRACESTATE), "{bad}");
    }
    let mut parts = request_with(&[("traceparent", PARENT), ("traceparent", PARENT)]);
    request(&mut parts, &peer());
    assert_eq!(parts.headers.get_all(TRACEPARENT).iter().count(), 1);
    assert_ne!(parts.headers[TRACEPARENT], PARENT);
}

#[test]
fn ids_differ() {
    assert_ne!(request_id(), request_id());
    assert_ne!(traceparent(), traceparent());
}

#[test]
fn who_is_not_trusted_is_told_by_its_own_address_alone() {
    let stranger = Peer { trusted: false, ..peer() };
    let mut parts = http::Request::builder()
        .uri("/")
        .header("host", "real.example")
        .header("x-forwarded-for", "1.2.3.4")
        .header("x-forwarded-proto", "gopher")
        .header("x-forwarded-host", "fake.example")
        .header("forwarded", "for=1.2.3.4")
        .header("x-real-ip", "1.2.3.4")
        .header("x-request-id", "kept")
        .body(())
        .unwrap()
        .into_parts()
        .0;
    request(&mut parts, &stranger);
    assert_eq!(Some(&parts.headers["x-forwarded-for"]), stranger.forwarded_for.as_ref());
    assert_eq!(parts.headers["x-forwarded-proto"], stranger.scheme);
    assert_eq!(parts.headers["x-forwarded-host"], "real.example");
    assert_eq!(parts.headers["x-request-id"], "kept");
    assert!(!parts.headers.contains_key("forwarded") && !parts.headers.contains_key("x-real-ip"));
}

/// Many servers read `_` and `-` as the same.
const CLAIMS: [&str; 14] = [
    "x-forwarded-client-cert",
    "x-forwarded-user",
    "x-forwarded-email",
    "x-forwarded-port",
    "x-forwarded-prefix",
    "x-forwarded-server",
    "x-forwarded-ssl",
    "X_Forwarded_For",
    "x_forwarded-proto",
    "x-forwarded_host",
    "x_real_ip",
    "x-real_ip",
    "forwarded",
    "x-forwarded-for",
];

#[test]
fn whatever_a_stranger_claims_to_be_forwarded_is_taken_off_however_it_is_spelt() {
    let stranger = Peer { trusted: false, ..peer() };
    for claim in CLAIMS {
        let mut parts =
            request_with(&[(claim, "1"), (claim, "2"), ("x-forward", "kept"), ("x-real", "kept")]);
        request(&mut parts, &stranger);
        let claimed: Vec<_> =
            parts.headers.iter().filter(|(_, value)| *value == "1" || *value == "2").collect();
        assert!(claimed.is_empty(), "{claimed:?}");
        assert_eq!(parts.headers.values().filter(|value| *value == "kept").count(), 2, "{claim}");
        let mut parts = request_with(&[(claim, "1")]);
        request(&mut parts, &peer());
        assert!(parts.headers[claim].to_str().unwrap().starts_with('1'), "{claim} of a trusted peer");
    }
}

#[test]
fn no_claim_of_where_a_request_comes_from_stands_behind_its_body() {
    for claim in CLAIMS {
        let claim = claim.parse().unwrap();
        assert!(crate::wire::http1::is_forbidden_trailer(&claim), "{claim}");
    }
    assert!(!crate::wire::http1::is_forbidden_trailer(&X_REQUEST_ID));
}
