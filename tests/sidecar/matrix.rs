//! Every way in to every way out: one port for HTTP/1.1 and HTTP/2, with and without TLS, TCP and
//! Unix sockets on both sides.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::sync::{Arc, Mutex};

use http::{Request, Response, Version};
use http_body_util::BodyExt as _;

use crate::support::streams::{Identity, Place, Stream, fields, ready, serve};
use crate::support::{Http, Sidecar, one_version, raw_upstream, run};

/// Gives back what it is sent, and says how it was asked.
async fn echo(request: Request<hyper::body::Incoming>) -> Response<crate::support::streams::Streamed> {
    let (head, body) = request.into_parts();
    let body = body.collect().await.unwrap();
    let trailers = fields(&[("x-sum", &body.to_bytes().len().to_string())]);
    let host = head.headers.get("host").map(|h| h.to_str().unwrap().to_owned());
    let host = host.or_else(|| head.uri.authority().map(|a| a.to_string())).unwrap_or_default();
    Response::builder()
        .header("x-asked-by", format!("{:?}", head.version))
        .header("x-host", host)
        .header("x-scheme", head.headers["x-forwarded-proto"].to_str().unwrap())
        .header("x-target", head.uri.path_and_query().unwrap().as_str())
        .header("trailer", "x-sum")
        .body(ready(&[b"answer"], Some(trailers)))
        .unwrap()
}

#[test]
fn every_way_in_leads_to_every_way_out() {
    run(async {
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::new(folder.path());
        let socket = folder.path().join("upstream.sock");
        let tcp = serve(Place::Tcp, echo).await;
        let tls = serve(Place::Tls(&identity), echo).await;
        let unix = serve(Place::Unix(&socket), echo).await;
        let ca = "tls: {ca: '{dir}/ca.pem'}";
        let outs = [
            ("tcp-one", &tcp, "protocol: http1", "HTTP/1.1"),
            ("tcp-two", &tcp, "protocol: http2", "HTTP/2.0"),
            ("unix-one", &unix, "protocol: http1", "HTTP/1.1"),
            ("unix-two", &unix, "protocol: http2", "HTTP/2.0"),
            ("tls-one", &tls, &format!("protocol: http1, {ca}"), "HTTP/1.1"),
            ("tls-two", &tls, &format!("protocol: http2, {ca}"), "HTTP/2.0"),
            ("tcp-auto", &tcp, "protocol: auto", ""),
            ("tls-auto", &tls, ca, ""),
        ];
        let mut config = "listeners:\n\
             - {name: main, address: 127.0.0.1:0}\n\
             - {name: secure, address: 127.0.0.1:0, tls: {certificate: '{dir}/cert.pem', key: '{dir}/key.pem'}}\n\
             - {name: local, address: 'unix:{dir}/in.sock'}\n\
             models:\n"
            .to_owned();
        for (name, url, options, _) in &outs {
            config += &format!(
                "- {{name: {name}, match: [{{pathPrefix: /{name}}}], \
                 versions: [{{name: v1, upstream: {{url: '{url}', {options}}}}}]}}\n"
            );
        }
        let inward = folder.path().join("in.sock");
        let sidecar = Sidecar::start_in(folder, &config);

        let (main, secure) = (sidecar.main(), sidecar.address("secure"));
        let ins = [
            ("http/1.1", Stream::one(main).await, "http"),
            ("h2c", Stream::two(main).await, "http"),
            ("http/1.1 over TLS", Stream::tls(secure, &identity, false).await, "https"),
            ("h2 over TLS", Stream::tls(secure, &identity, true).await, "https"),
            ("http/1.1 over Unix", Stream::unix(&inward, false).await, "http"),
            ("h2c over Unix", Stream::unix(&inward, true).await, "http"),
        ];
        for (way_in, mut client, scheme) in ins {
            for (way_out, _, _, asked_by) in &outs {
                let what = format!("{way_in} to {way_out}");
                // Twice: on a new connection and on a used one.
                for _ in 0..2 {
                    let request = Request::post(format!("/{way_out}/a?b=%20c")).header("te", "trailers");
                    let request = request.body(ready(&[b"one", b"two"], None)).unwrap();
                    let response = client.send(request).await.unwrap_or_else(|e| panic!("{what}: {e:?}"));
                    let header = |name| response.headers()[name].to_str().unwrap().to_owned();
                    assert_eq!(response.status(), 200, "{what}: {response:?}");
                    assert_eq!(header("x-host"), "test", "{what}");
                    assert_eq!(header("x-scheme"), scheme, "{what}");
                    assert_eq!(header("x-target"), format!("/{way_out}/a?b=%20c"), "{what}");
                    let http2 = response.version() == Version::HTTP_2;
                    let expected = match *asked_by {
                        "" if *way_out == "tcp-auto" && http2 => "HTTP/2.0",
                        "" if http2 => "HTTP/2.0",
                        "" => "HTTP/1.1",
                        said => said,
                    };
                    assert_eq!(header("x-asked-by"), expected, "{what}");
                    let body = response.into_body().collect().await.unwrap();
                    assert_eq!(body.trailers().unwrap()["x-sum"], "6", "{what}");
                    assert_eq!(body.to_bytes(), "answer", "{what}");
                }
            }
        }
    });
}

/// A model server as most are: without TLS it speaks HTTP/1.1 and nothing else. Notes the first line of
/// each request.
fn only_http1() -> (std::net::SocketAddr, Arc<Mutex<Vec<String>>>) {
    let lines = Arc::new(Mutex::new(Vec::new()));
    let seen = lines.clone();
    let address = raw_upstream(move |stream| {
        let mut writer = stream.try_clone().unwrap();
        let mut reader = BufReader::new(stream);
        loop {
            let (mut first, mut length) = (String::new(), 0);
            if reader.read_line(&mut first).is_ok_and(|read| read == 0) {
                return;
            }
            loop {
                let mut line = String::new();
                let _ = reader.read_line(&mut line);
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().unwrap();
                }
                if line.trim().is_empty() {
                    break;
                }
            }
            seen.lock().unwrap().push(first.trim().to_owned());
            if first.starts_with("PRI ") {
                let _ = writer.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
                return;
            }
            let mut body = vec![0; length];
            let _ = reader.read_exact(&mut body);
            let _ =
                writer.write_all(format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n").as_bytes());
            let _ = writer.write_all(&body);
        }
    });
    (address, lines)
}

#[test]
fn clients_of_http2_are_served_by_a_model_server_that_speaks_http1_only() {
    run(async {
        let (address, lines) = only_http1();
        let sidecar = Sidecar::start(&one_version(&format!("http://{address}"), ""));
        let mut client = Http::two(sidecar.main()).await;
        for body in [vec![b'x'; 300_000], vec![b'y'; 10], Vec::new()] {
            let answer = client.post("/v2/models/m/infer", &[], &body).await;
            assert_eq!((answer.status(), answer.body() == &body), (200.try_into().unwrap(), true));
        }
        // It was asked once, and what came of that is remembered.
        let lines = lines.lock().unwrap().clone();
        let asked = lines.iter().filter(|line| line.starts_with("PRI ")).count();
        assert_eq!((asked, lines.len()), (1, 4), "{lines:?}");

        // A gRPC call is none by HTTP/1.1: it fails, and takes nothing from the others.
        let call = client.post("/pkg.Service/Call", &[("content-type", "application/grpc")], b"").await;
        assert!(call.headers().contains_key("grpc-status"), "{call:?}");
        assert_eq!(client.post("/x", &[], b"z").await.status(), 200);
    });
}
