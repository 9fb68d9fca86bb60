//! Tokens, over real sockets.

use std::time::Duration;

use super::super::routes;
use super::*;
use crate::config::{AdminRole, AdminToken};
use crate::notify::Secret;

const EYE: &str = "Authorization: Bearer 0123456789abcdef-eye\r\n";
const CI: &str = "Authorization: Bearer 0123456789abcdef-ci\r\n";

fn with_tokens(address: &str) -> (AdminServer, Arc<Fake>) {
    let token = |name: &str, role, secret: &str| AdminToken {
        name: name.to_owned(),
        role,
        secret: Secret::new(secret),
    };
    let tokens = vec![
        token("eye", AdminRole::Read, "0123456789abcdef-eye"),
        token("ci", AdminRole::Operate, "0123456789abcdef-ci"),
    ];
    let sidecar = busy();
    (AdminServer::start(&AdminSpec { tokens, ..at(address) }, sidecar.clone()).unwrap(), sidecar)
}

#[test]
fn with_tokens_every_route_but_health_and_metrics_takes_one_of_the_right_role() {
    let (server, _sidecar) = with_tokens("127.0.0.1:0");
    for (method, path) in routes::ALL {
        let (method, path) = (method.to_uppercase(), path.replace(['{', '}'], ""));
        let line = format!("{method} {path}");
        let status = |headers: &str| ask(&server, &line, headers, "").status;
        if matches!(path.as_str(), "/healthz" | "/readyz" | "/metrics") {
            assert_eq!(status(""), 200, "{line}");
            continue;
        }
        let answer = ask(&server, &line, "", "");
        assert_eq!(answer.status, 401, "{line}");
        assert!(answer.head.contains("www-authenticate: bearer "), "{}", answer.head);
        assert_eq!(status("Authorization: Bearer 0123456789abcdef-evil\r\n"), 401, "{line}");
        let reads = method == "GET" || path.starts_with("/api/v1/gate/");
        assert_eq!(status(EYE) == 403, !reads, "{line}");
        assert!(!matches!(status(CI), 401 | 403), "{line}");
    }
    let denied = |reason: &str| {
        let page = get(&server, "/metrics").body;
        let series = format!("switchback_admin_denied_total{{reason=\"{reason}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&series)?.parse::<usize>().ok()).unwrap()
    };
    let closed = routes::ALL.len() - 3;
    assert_eq!((denied("no_token"), denied("unknown_token")), (closed, closed));
    assert!(denied("role") > 0);
    // Nobody learns without a token which paths there are.
    assert_eq!(get(&server, "/nope").status, 401);
}

#[test]
fn with_tokens_the_api_answers_where_others_can_reach_it_and_knows_who_asks() {
    let (server, _sidecar) = with_tokens("0.0.0.0:0");
    assert_eq!(ask(&server, "GET /api/v1/status", "", "").status, 401);
    assert_eq!(ask(&server, "GET /api/v1/status", EYE, "").status, 200);
    let start = r#"{"model": "fraud", "candidate": "v2"}"#;
    assert_eq!(ask(&server, "POST /api/v1/rollouts", EYE, start).status, 403);
    let answer = ask(&server, "POST /api/v1/rollouts", CI, start);
    assert_eq!((answer.status, &answer.json()["rollout"]["by"]["name"]), (201, &json!("ci")));
    let foreign = format!("{CI}Origin: http://evil.example\r\n");
    assert_eq!(ask(&server, "POST /api/v1/config/reload", &foreign, "").status, 403);
}

/// A connection that stays open, and the status of each answer on it.
struct Kept(TcpStream);

impl Kept {
    fn open(server: &AdminServer) -> Self {
        let BindAddress::Tcp(address) = server.address() else { panic!("not TCP") };
        let stream = TcpStream::connect(SocketAddr::from(([127, 0, 0, 1], address.port()))).unwrap();
        // Less than the time after which an idle connection is closed anyhow.
        stream.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
        Self(stream)
    }

    fn ask(&mut self, path: &str, headers: &str) -> u16 {
        let request = format!("GET {path} HTTP/1.1\r\nhost: a\r\n{headers}\r\n");
        if self.0.write_all(request.as_bytes()).is_err() {
            return 0;
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            if !matches!(self.0.read(&mut byte), Ok(1)) {
                return 0;
            }
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap();
        self.0.read_exact(&mut vec![0; length.parse().unwrap()]).unwrap();
        head.split(' ').nth(1).unwrap().parse().unwrap()
    }
}

#[test]
fn strangers_who_occupy_every_place_keep_neither_operators_nor_probes_out() {
    let (server, _sidecar) = with_tokens("0.0.0.0:0");
    let mut operator = Kept::open(&server);
    assert_eq!(operator.ask("/api/v1/status", CI), 200);
    // Some ask for health now and then, some are refused, and some say nothing at all.
    let mut strangers: Vec<Kept> = (0..100).map(|_| Kept::open(&server)).collect();
    for (number, stranger) in strangers.iter_mut().enumerate().skip(100 - 63) {
        match number % 3 {
            0 => assert_eq!(stranger.ask("/healthz", ""), 200, "{number}"),
            1 => assert_eq!(stranger.ask("/api/v1/status", ""), 401, "{number}"),
            _ => {}
        }
    }
    assert_eq!(Kept::open(&server).ask("/api/v1/status", CI), 200);
    assert_eq!(Kept::open(&server).ask("/healthz", ""), 200);
    assert_eq!(operator.ask("/api/v1/status", CI), 200, "who is known does not have to go");
    assert_eq!(strangers[99].ask("/healthz", ""), 200, "nor does the last that was heard of");
    let page = get(&server, "/metrics").body;
    let series = "switchback_admin_connections_displaced_total ";
    let displaced = page.lines().find_map(|line| line.strip_prefix(series)).unwrap();
    assert!(displaced.parse::<u32>().unwrap() >= 38, "{displaced}");
}
