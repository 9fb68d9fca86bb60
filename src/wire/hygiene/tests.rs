//! Hygiene, by table and by property.

use super::*;
use proptest::prelude::*;

fn request_with(target: &str, headers: &[(&str, &str)]) -> http::request::Parts {
    let mut builder = http::Request::builder().uri(target);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn response_with(status: u16, headers: &[(&str, &str)]) -> http::response::Parts {
    let mut builder = http::Response::builder().status(status);
    for (name, value) in headers {
        builder = builder.header(*name, *value);
    }
    builder.body(()).unwrap().into_parts().0
}

fn ask(target: &str, headers: &[(&str, &str)]) -> Result<(Asked, HeaderMap), FaultKind> {
    let mut parts = request_with(target, headers);
    request(&mut parts).map(|asked| (asked, parts.headers)).map_err(|fault| fault.kind)
}

const HOST: (&str, &str) = ("host", "fraud.example");

#[test]
fn a_target_that_servers_could_read_differently_is_refused() {
    let bad: &[(&str, &[(&str, &str)])] = &[
        ("/", &[]),
        ("/", &[HOST, HOST]),
        ("/", &[("host", "a, b")]),
        ("/", &[("host", "a,b")]),
        ("/", &[("host", "user@a")]),
        ("/", &[("host", "a/b")]),
        ("/", &[("host", "")]),
        ("/", &[("host", ":80")]),
        ("/", &[("host", "a:80:80")]),
        ("/", &[("host", "a:8x")]),
        ("/", &[("host", "a:-1")]),
        ("/", &[("host", "a:123456")]),
        ("/", &[("host", "[::1")]),
        ("/", &[("host", "::1]")]),
        ("/", &[("host", "::1")]),
        ("/", &[("host", "[::1]x")]),
        ("/", &[("host", "[::1]:x")]),
        ("/", &[("host", "[g::1]")]),
        ("/", &[("host", "[]")]),
        ("/", &[("host", "a[b]c")]),
        ("/", &[("host", "a%")]),
        ("/", &[("host", "a%2")]),
        ("/", &[("host", "a%zz")]),
        ("*", &[HOST]),
        ("/", &[HOST, ("content_length", "5")]),
        ("/", &[HOST, ("transfer_encoding", "chunked")]),
        ("http://a/", &[("host", "b")]),
        ("http://a:80/", &[("host", "a:81")]),
        ("http://u@a/", &[("host", "a")]),
        ("ftp://a/", &[("host", "a")]),
        ("a:80", &[("host", "a:80")]),
        ("/", &[HOST, ("content-length", "1"), ("content-length", "2")]),
        ("/", &[HOST, ("content-length", "+1")]),
        ("/", &[HOST, ("content-length", "1, 1")]),
        ("/", &[HOST, ("content-length", "")]),
        ("/", &[HOST, ("content-length", "1"), ("transfer-encoding", "chunked")]),
        ("/", &[HOST, ("expect", "200-maybe")]),
    ];
    for (target, headers) in bad {
        assert_eq!(ask(target, headers).err(), Some(FaultKind::BadRequest), "{target} {headers:?}");
    }
    let good: &[(&str, &[(&str, &str)])] = &[
        ("/", &[HOST]),
        ("/", &[("host", "[::1]:8080")]),
        ("/", &[("host", "[::ffff:127.0.0.1]")]),
        ("/", &[("host", "a:")]),
        ("/", &[("host", "A_b.c.:65535")]),
        ("/", &[("host", "127.0.0.1:80")]),
        ("/", &[("host", "80")]),
        ("/", &[("host", "a%20b")]),
        ("/", &[HOST, ("content_type", "x")]),
        ("http://a/", &[("host", "A")]),
        ("http://a:80/", &[("host", "a")]),
        ("https://a/", &[("host", "a:443")]),
    ];
    for (target, headers) in good {
        assert!(ask(target, headers).is_ok(), "{target} {headers:?}");
    }
}

#[test]
fn an_asterisk_is_for_options_alone() {
    let mut parts = request_with("*", &[HOST]);
    parts.method = Method::OPTIONS;
    assert!(request(&mut parts).is_ok());
}

#[test]
fn settings_of_an_upgrade_that_is_not_heard_end_here() {
    let (_, headers) = ask("/", &[HOST, ("http2-settings", "AAMAAABk")]).unwrap();
    assert_eq!(headers.len(), 1);
}

#[test]
fn http_1_0_may_send_an_empty_host() {
    let mut parts = request_with("/", &[("host", "")]);
    parts.version = Version::HTTP_10;
    assert!(request(&mut parts).is_ok());
}

#[test]
fn only_http_1_1_must_have_a_host() {
    for version in [Version::HTTP_10, Version::HTTP_2] {
        let mut parts = request_with("/", &[]);
        parts.version = version;
        assert!(request(&mut parts).is_ok(), "{version:?}");
    }
    let mut parts = request_with("https://a/", &[("host", "b")]);
    parts.version = Version::HTTP_2;
    assert!(request(&mut parts).is_err());
}

#[test]
fn a_path_by_http2_begins_with_a_slash() {
    for (method, path, passes) in [
        (Method::GET, "/", true),
        (Method::GET, "/?q", true),
        (Method::GET, "?q", false),
        (Method::OPTIONS, "*", true),
        (Method::OPTIONS, "?*", false),
        (Method::GET, "*", false),
    ] {
        let mut parts = request_with("/", &[]);
        (parts.method, parts.version) = (method, Version::HTTP_2);
        for builder in [http::Uri::builder(), http::Uri::builder().scheme("http").authority("a")] {
            parts.uri = builder.path_and_query(path).build().unwrap();
            assert_eq!(request(&mut parts).is_ok(), passes, "{path}");
        }
    }
    // Of a whole URL by HTTP/1.1 the path may be left out (RFC 3986 section 3.3).
    let mut parts = request_with("http://fraud.example?q", &[HOST]);
    assert!(request(&mut parts).is_ok());
}

#[test]
fn what_a_sidecar_does_not_do_is_not_implemented() {
    for method in [Method::CONNECT, Method::TRACE] {
        let mut parts = request_with("/", &[HOST]);
        parts.method = method;
        assert_eq!(request(&mut parts).unwrap_err().kind, FaultKind::NotImplemented);
    }
    for coding in ["gzip", "gzip, chunked", "identity"] {
        let refused = ask("/", &[HOST, ("transfer-encoding", coding)]).err();
        assert_eq!(refused, Some(FaultKind::NotImplemented), "{coding}");
    }
    let twice = [HOST, ("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")];
    assert_eq!(ask("/", &twice).err(), Some(FaultKind::NotImplemented));
}

#[test]
fn the_authority_is_that_of_the_target_or_else_the_host() {
    assert_eq!(authority(&request_with("/", &[HOST])), Some("fraud.example"));
    assert_eq!(authority(&request_with("http://a:1/", &[])), Some("a:1"));
    assert_eq!(authority(&request_with("/", &[])), None);
}

#[test]
fn an_expectation_is_remembered_and_removed() {
    let (asked, headers) = ask("/", &[HOST, ("expect", "100-Continue")]).unwrap();
    assert!(asked.expects_continue && !headers.contains_key("expect"));
    let mut parts = request_with("/", &[HOST, ("expect", "anything")]);
    parts.version = Version::HTTP_10;
    assert!(!request(&mut parts).unwrap().expects_continue);
    assert!(!parts.headers.contains_key("expect"));
}

#[test]
fn only_trailers_remain_of_te() {
    for (sent, kept) in [
        (&["trailers"][..], Some("trailers")),
        (&["gzip;q=0.5, Trailers"], Some("trailers")),
        (&["gzip", "trailers"], Some("trailers")),
        (&["trailers", "gzip"], Some("trailers")),
        (&["gzip"], None),
    ] {
        let others = [HOST, ("connection", "te")];
        let lines: Vec<_> = sent.iter().map(|value| ("te", *value)).chain(others).collect();
        let (asked, headers) = ask("/", &lines).unwrap();
        assert!(!headers.contains_key("connection"));
        let left: Vec<_> = headers.get_all("te").iter().collect();
        assert_eq!(left, kept.into_iter().collect::<Vec<_>>(), "{sent:?}");
        assert_eq!(asked.trailers, kept.is_some());
    }
}

#[test]
fn an_upgrade_is_remembered_where_the_client_may_ask_for_it() {
    let upgrade = ("upgrade", "websocket");
    let (asked, headers) = ask("/", &[HOST, upgrade, ("connection", "keep-alive, Upgrade")]).unwrap();
    assert_eq!(asked.upgrade.unwrap(), "websocket");
    assert!(!headers.contains_key("upgrade") && !headers.contains_key("connection"));
    let several = [HOST, upgrade, ("upgrade", "foo/2"), ("connection", "upgrade")];
    assert_eq!(ask("/", &several).unwrap().0.upgrade.unwrap(), "websocket, foo/2");
    assert_eq!(ask("/", &[HOST, upgrade]).unwrap().0.upgrade, None);
    let h2c = [HOST, ("upgrade", "h2c"), ("connection", "upgrade, http2-settings"), ("http2-settings", "x")];
    let (asked, headers) = ask("/", &h2c).unwrap();
    assert_eq!((asked.upgrade, headers.len()), (None, 1));
    let mut old = request_with("/", &[HOST, upgrade, ("connection", "upgrade")]);
    old.version = Version::HTTP_10;
    assert_eq!(request(&mut old).unwrap().upgrade, None);
}

#[test]
fn what_connection_names_goes_unless_everyone_needs_it() {
    let (_, headers) = ask(
        "/",
        &[
            HOST,
            ("connection", "close, X-Private, Authorization, content-length, Host"),
            ("connection", "x-forwarded-for,, x-switchback-version, x-other"),
            ("x-private", "1"),
            ("x-private", "2"),
            ("x-other", "1"),
            ("x-kept", "1"),
            ("authorization", "Bearer t"),
            ("content-length", "0"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-switchback-version", "v2"),
            ("x-switchback-error", "made up"),
            ("proxy-authorization", "Basic x"),
            ("trailer", "x-sum"),
        ],
    )
    .unwrap();
    let mut left: Vec<_> = headers.keys().map(HeaderName::as_str).collect();
    left.sort_unstable();
    let kept = [
        "authorization",
        "content-length",
        "host",
        "trailer",
        "x-forwarded-for",
        "x-kept",
        "x-switchback-version",
    ];
    assert_eq!(left, kept);
}

#[test]
fn a_length_said_twice_is_said_once() {
    let mut parts = request_with("/", &[HOST, ("content-length", "3"), ("content-length", "3")]);
    parts.version = Version::HTTP_2;
    request(&mut parts).unwrap();
    assert_eq!(parts.headers.get_all("content-length").iter().count(), 1);
    let mut parts = response_with(200, &[("content-length", "3"), ("content-length", "3")]);
    response(&mut parts, Version::HTTP_11).unwrap();
    assert_eq!(parts.headers.get_all("content-length").iter().count(), 1);
}

#[test]
fn a_grpc_call_is_recognised() {
    assert!(ask("/", &[HOST, ("content-type", "application/grpc")]).unwrap().0.grpc);
    assert!(!ask("/", &[HOST, ("content-type", "application/json")]).unwrap().0.grpc);
}

#[test]
fn an_answer_has_the_clients_version_and_a_length_only_where_it_may() {
    for (status, length) in [(200, true), (304, true), (204, false), (103, false)] {
        let mut parts = response_with(status, &[("content-length", "5"), ("etag", "x")]);
        response(&mut parts, Version::HTTP_2).unwrap();
        assert_eq!(parts.version, Version::HTTP_2);
        assert_eq!(parts.headers.contains_key("content-length"), length, "{status}");
        assert!(parts.headers.contains_key("etag"));
    }
    let mut both = response_with(200, &[("content-length", "5"), ("transfer-encoding", "Chunked")]);
    response(&mut both, Version::HTTP_11).unwrap();
    assert!(both.headers.is_empty());
}

#[test]
fn a_broken_answer_is_the_versions_fault() {
    for headers in [
        &[("content-length", "1"), ("content-length", "2")][..],
        &[("content-length", "x")],
        &[("transfer-encoding", "gzip, chunked")],
    ] {
        let fault = response(&mut response_with(200, headers), Version::HTTP_11).unwrap_err();
        assert_eq!(fault.kind, FaultKind::UpstreamProtocol, "{headers:?}");
    }
}

#[test]
fn a_switch_of_protocols_passes_to_http_1_1_only() {
    let sent = [
        ("upgrade", "websocket"),
        ("connection", "Upgrade, x-private"),
        ("x-private", "1"),
        ("keep-alive", "timeout=5"),
        ("sec-websocket-accept", "x"),
    ];
    let mut parts = response_with(101, &sent);
    response(&mut parts, Version::HTTP_11).unwrap();
    assert_eq!(parts.headers["upgrade"], "websocket");
    assert_eq!(parts.headers["connection"], "upgrade");
    assert_eq!(parts.headers["sec-websocket-accept"], "x");
    assert_eq!(parts.headers.len(), 3);
    assert!(response(&mut response_with(101, &sent), Version::HTTP_2).is_err());
    assert!(response(&mut response_with(101, &[]), Version::HTTP_11).is_err());
    let mut refused = response_with(426, &sent);
    response(&mut refused, Version::HTTP_11).unwrap();
    assert_eq!(refused.headers.len(), 1);
}

// === properties ===

const HOP: [&str; 8] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "transfer-encoding",
    "upgrade",
    "proxy-authorization",
    "expect",
];

fn name() -> impl Strategy<Value = String> {
    prop_oneof![
        2 => prop::sample::select(&HOP[..]).prop_map(str::to_owned),
        1 => Just("proxy-authenticate".to_owned()),
        2 => prop::sample::select(&["set-cookie", "trailer", "accept", "x-a", "x-b", "cookie"][..])
            .prop_map(str::to_owned),
        2 => "[a-z][a-z0-9-]{0,20}",
    ]
}

/// Visible characters, bytes above ASCII, and lists of names.
fn value() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(prop_oneof![32u8..127, 128u8..=255], 0..12),
        prop::collection::vec(name(), 0..4).prop_map(|names| names.join(" , ").into_bytes()),
    ]
}

fn fields() -> impl Strategy<Value = Vec<(String, Vec<u8>)>> {
    prop::collection::vec((name(), value()), 0..16)
}

fn fill(headers: &mut HeaderMap, fields: &[(String, Vec<u8>)]) {
    for (name, value) in fields {
        let fixed: &[u8] = match name.as_str() {
            "transfer-encoding" => b"chunked",
            "expect" => b"100-continue",
            "content-length" => b"7",
            "host" => continue,
            _ => value,
        };
        if name == "transfer-encoding" && headers.contains_key(name) {
            continue;
        }
        let value = HeaderValue::from_bytes(fixed).unwrap();
        headers.append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value);
    }
}

/// What may be gone: hop-by-hop fields, and what `Connection` names.
fn may_go(before: &HeaderMap, name: &HeaderName, hop: &[&str]) -> bool {
    let nominated =
        before.get_all("connection").iter().flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).any(
            |item| {
                let item = item.split(|byte| *byte == b';').next().unwrap().trim_ascii();
                item.eq_ignore_ascii_case(name.as_str().as_bytes())
            },
        );
    hop.contains(&name.as_str()) || (nominated && !is_end_to_end(name.as_str()))
}

fn check(before: &HeaderMap, after: &HeaderMap, hop: &[&str]) {
    for name in before.keys() {
        let was: Vec<_> = before.get_all(name).iter().collect();
        let is: Vec<_> = after.get_all(name).iter().collect();
        if may_go(before, name, hop) {
            assert!(is.is_empty() || (name == "te" && is == ["trailers"]), "{name} is left of {before:?}");
        } else {
            assert_eq!(was, is, "{name} of {before:?}");
        }
    }
    assert!(after.keys().all(|name| before.contains_key(name)));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn of_a_request_nothing_hop_by_hop_is_left_and_nothing_else_is_touched(fields in fields()) {
        let mut parts = request_with("/", &[HOST]);
        fill(&mut parts.headers, &fields);
        let before = parts.headers.clone();
        if request(&mut parts).is_ok() {
            check(&before, &parts.headers, &HOP);
        } else {
            // Only the length that `fill` may put beside a transfer coding is refused.
            prop_assert!(before.contains_key("content-length") && before.contains_key("transfer-encoding"));
        }
    }

    #[test]
    fn of_an_answer_nothing_hop_by_hop_is_left_and_nothing_else_is_touched(fields in fields()) {
        let mut parts = response_with(200, &[]);
        fill(&mut parts.headers, &fields);
        let before = parts.headers.clone();
        response(&mut parts, Version::HTTP_11).unwrap();
        let hop = ["connection", "keep-alive", "proxy-connection", "te", "transfer-encoding", "upgrade",
            "proxy-authenticate"];
        check(&before, &parts.headers, &hop);
        prop_assert!(!parts.headers.contains_key("te"));
    }
}
