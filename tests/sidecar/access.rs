//! Who may ask the admin API: tokens of the configuration, from files, with roles.

use serde_json::{Value, json};

use crate::support::{RawClient, RawResponse, Sidecar, Upstream, run};

const CI: &str = "0123456789abcdef-ci";
const EYE: &str = "0123456789abcdef-eye";

/// A sidecar with two tokens, whose admin API listens at `address`.
fn with_tokens(address: &str, upstream: &Upstream) -> Sidecar {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("ci"), format!("{CI}\n")).unwrap();
    std::fs::write(folder.path().join("eye"), format!("{EYE}\n")).unwrap();
    let url = upstream.url();
    let config = format!(
        "admin: {{address: '{address}', tokens: [{{name: ci, role: operate, file: '{{dir}}/ci'}}, {{name: eye, role: read, file: '{{dir}}/eye'}}]}}
models:
  - name: m
    versions: [{{name: v1, upstream: {{url: '{url}'}}}}, {{name: v2, upstream: {{url: '{url}'}}, rewrite: {{model: other}}}}]
    rollout: {{steps: [{{setWeight: {{weight: 10%, maxDuration: none}}}}]}}
"
    );
    Sidecar::start_in(folder, &config)
}

fn ask(sidecar: &Sidecar, method: &str, path: &str, authorization: &str, body: &str) -> RawResponse {
    let header =
        if authorization.is_empty() { String::new() } else { format!("authorization: {authorization}\r\n") };
    let length = body.len();
    // An address of all interfaces is reached over loopback too.
    let address = std::net::SocketAddr::from(([127, 0, 0, 1], sidecar.admin().port()));
    let head = format!(
        "{method} {path} HTTP/1.1\r\nhost: sidecar.example:9901\r\n{header}content-length: {length}\r\n\r\n"
    );
    RawClient::connect(address).send(head + body).read()
}

fn bearer(token: &str) -> String {
    format!("Bearer {token}")
}

#[test]
fn roles_are_kept_apart_on_every_address_and_no_secret_is_shown_anywhere() {
    run(async {
        let upstream = Upstream::echo("v1");
        for address in ["127.0.0.1:0", "0.0.0.0:0"] {
            let sidecar = with_tokens(address, &upstream);
            for path in ["/healthz", "/metrics"] {
                assert_eq!(ask(&sidecar, "GET", path, "", "").status, 200, "{path}");
            }
            for path in ["/", "/api/v1/status", "/api/v1/openapi.json", "/api/v1/rollouts", "/nope"] {
                assert_eq!(ask(&sidecar, "GET", path, "", "").status, 401, "{path}");
                assert_eq!(
                    ask(&sidecar, "GET", path, "Bearer 0123456789abcdef-no", "").status,
                    401,
                    "{path}"
                );
                let known = if path == "/nope" { 404 } else { 200 };
                assert_eq!(ask(&sidecar, "GET", path, &bearer(EYE), "").status, known, "{path}");
            }
            let start = json!({"model": "m", "candidate": "v2"}).to_string();
            let denied = ask(&sidecar, "POST", "/api/v1/rollouts", &bearer(EYE), &start);
            assert_eq!(denied.status, 403, "{}", denied.text());
            assert!(denied.header("www-authenticate").unwrap().contains("insufficient_scope"));
            let done = ask(&sidecar, "POST", "/api/v1/rollouts", &bearer(CI), &start);
            assert_eq!(done.status, 201, "{}", done.text());
            let done: Value = serde_json::from_slice(&done.body).unwrap();
            assert_eq!(done["rollout"]["by"]["name"], "ci");
            // `printf 'flagger:0123456789abcdef-eye' | base64`, as Flagger sends what stands in a URL.
            let basic = "Basic ZmxhZ2dlcjowMTIzNDU2Nzg5YWJjZGVmLWV5ZQ==";
            assert_eq!(ask(&sidecar, "POST", "/api/v1/gate/m", basic, "{}").status, 200);

            let page = ask(&sidecar, "GET", "/metrics", "", "").text();
            assert!(page.contains("switchback_admin_denied_total{reason=\"no_token\"} 5"), "{page}");
            assert!(page.contains("switchback_admin_denied_total{reason=\"unknown_token\"} 5"), "{page}");
            assert!(page.contains("switchback_admin_denied_total{reason=\"role\"} 1"), "{page}");
            let status = ask(&sidecar, "GET", "/api/v1/status", &bearer(EYE), "").text();
            let log = sidecar.log();
            assert_eq!(
                log.matches("not let into the admin API").count(),
                1,
                "one line for all of them\n{log}"
            );
            for shown in [&page, &status, &log] {
                assert!(!shown.contains("0123456789abcdef"), "{shown}");
            }
        }
    });
}
