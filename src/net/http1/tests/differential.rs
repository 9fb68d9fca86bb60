//! What our codec makes of a connection's bytes, beside what hyper's server makes of them.

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;

use super::*;

/// What the handler was told of each request, in pieces of `piece` bytes; refusals are not told.
async fn by_us(bytes: &[u8], piece: usize) -> Vec<String> {
    let (reader, writer) = Open::new().client_halves();
    let told = told_of(reader);
    let send = async {
        let mut writer = writer;
        for piece in bytes.chunks(piece) {
            if writer.write_all(piece).await.is_err() {
                break;
            }
            tokio::task::yield_now().await;
        }
        // Held open: a client that ends its side is gone.
        writer
    };
    let (told, _writer) = tokio::join!(told, send);
    told
}

/// The bodies of the answers with status 200. Each set of requests ends its connection.
async fn told_of(mut reader: tokio::net::unix::OwnedReadHalf) -> Vec<String> {
    let mut answers = Vec::new();
    let _ = reader.read_to_end(&mut answers).await;
    told_in(&String::from_utf8_lossy(&answers))
}

fn told_in(answers: &str) -> Vec<String> {
    let mut told = Vec::new();
    let mut rest = answers;
    while let Some((head, behind)) = rest.split_once("\r\n\r\n") {
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let length: usize = length.map_or(0, |length| length.parse().unwrap());
        let Some((body, next)) = behind.split_at_checked(length) else { break };
        if head.starts_with("HTTP/1.1 200 ") || head.starts_with("HTTP/1.0 200 ") {
            told.push(body.to_owned());
        }
        rest = next;
    }
    told
}

async fn by_hyper(bytes: &[u8]) -> Vec<String> {
    let (client, server) = UnixStream::pair().unwrap();
    let service = service_fn(|request: Request<hyper::body::Incoming>| async {
        match told(request).await {
            Ok(text) => Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(text)))),
            Err(_) => Ok(Response::builder().status(400).body(Full::default()).unwrap()),
        }
    });
    spawn_local(
        hyper::server::conn::http1::Builder::new()
            .half_close(false)
            .serve_connection(TokioIo::new(server), service),
    );
    let (reader, mut writer) = client.into_split();
    let _ = writer.write_all(bytes).await;
    told_of(reader).await
}

impl Open {
    fn client_halves(self) -> (tokio::net::unix::OwnedReadHalf, tokio::net::unix::OwnedWriteHalf) {
        self.client.into_split()
    }
}

const LAST: &str = "GET /last HTTP/1.1\r\nconnection: close\r\n\r\n";

#[test]
fn a_request_means_what_hyper_says_it_does_or_is_refused() {
    let heads = [
        "POST /a?b HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\nconnection: keep-alive\r\n",
        "POST http://x/y HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "POST / HTTP/1.1\n",
        "\r\nPOST / HTTP/1.1\r\n",
        "POST  / HTTP/1.1\r\n",
        "POST /a b HTTP/1.1\r\n",
        "POST / HTTP/3\r\n",
        "post / HTTP/1.1\r\n",
        "POST / http/1.1\r\n",
        "POST /%zz HTTP/1.1\r\n",
    ];
    let fields = [
        "",
        "content-length: 5\r\n",
        "Content-Length:5 \r\ncontent-length: 5\r\n",
        "content-length: 5\r\ncontent-length: 6\r\n",
        "content-length: -5\r\n",
        "content-length: 5,5\r\n",
        "content-length: 005\r\n",
        "transfer-encoding: chunked\r\n",
        "transfer-encoding: chunked\r\ncontent-length: 5\r\n",
        "transfer-encoding: gzip, chunked\r\n",
        "transfer-encoding: chunked, gzip\r\n",
        "transfer-encoding: x\r\n",
        "a : b\r\n",
        "a: b\r\n c\r\n",
        ": b\r\n",
        "a: \x01\r\n",
        "a\r\n",
        "a: b\ncontent-length: 5\n",
        "a: b\r\na: c\r\nB:\r\nHost: x\r\nUser-Agent: y\r\n",
        "connection: close\r\n",
    ];
    let bodies = [
        "",
        "hello",
        "hello world",
        "5\r\nhello\r\n0\r\n\r\n",
        "5;x=y\r\nhello\r\n0\r\nx: y\r\n\r\n",
        "05\r\nhello\r\n00\r\n\r\n",
        "5\nhello\n0\n\n",
        "5 \r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello",
        "+5\r\nhello\r\n0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
    ];
    let (mut both, mut stricter) = (0, 0);
    let mut count = 0_usize;
    for head in heads {
        for field in fields {
            for body in bodies {
                count += 1;
                let text = format!("{head}{field}\r\n{body}{LAST}");
                let piece = [usize::MAX, 1, 7, 64][count % 4];
                run(async || {
                    let ours = by_us(text.as_bytes(), piece).await;
                    let theirs = by_hyper(text.as_bytes()).await;
                    if ours == theirs {
                        both += ours.len();
                        return;
                    }
                    // What we refuse, they may read; what we read, they read alike.
                    assert!(theirs.starts_with(&ours), "{text:?} in pieces of {piece}: {ours:?}, {theirs:?}");
                    let known = [
                        "gzip",
                        "encoding: x",
                        "5,5",
                        "\n\n",
                        "chunked\r\ncontent-length",
                        "a: b\ncont",
                        "5 \r\n",
                    ]
                    .iter()
                    .any(|part| field.contains(part) || body.contains(part))
                        || head.ends_with("1.1\n")
                        || head.contains("1.0") && field.contains("chunked");
                    assert!(known, "{text:?} in pieces of {piece} is refused: {ours:?}, {theirs:?}");
                    stricter += 1;
                });
            }
        }
    }
    assert!(both > 500 && stricter > 0, "{both} {stricter}");
}

/// Nearly well-formed pipelines, generated from a seed that is printed where they differ.
#[test]
fn pipelines_are_read_as_hyper_reads_them() {
    for seed in 0..300 {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut text = String::new();
        for request in 0..random.usize(1..6) {
            let body = "x".repeat(random.usize(0..40) * random.usize(0..400));
            let method = ["GET", "POST", "PUT", "DELETE", "X-Y"][random.usize(0..5)];
            text += &format!("{method} /{request}?{} HTTP/1.1\r\n", random.u32(..));
            for field in 0..random.usize(0..8) {
                text += &format!("x-{}: {}\r\n", field % 3, "v".repeat(random.usize(0..30)));
            }
            match random.u8(0..3) {
                0 if body.is_empty() => text += "\r\n",
                0 | 1 => text += &format!("content-length: {}\r\n\r\n{body}", body.len()),
                _ => {
                    text += "transfer-encoding: chunked\r\n\r\n";
                    let mut rest = &*body;
                    while !rest.is_empty() {
                        let (chunk, behind) = rest.split_at(random.usize(1..=rest.len()));
                        text += &format!("{:x}\r\n{chunk}\r\n", chunk.len());
                        rest = behind;
                    }
                    text += ["0\r\n\r\n", "0\r\nx-sum: 7\r\n\r\n"][random.usize(0..2)];
                }
            }
        }
        text += LAST;
        let piece = random.usize(1..2000);
        run(async || {
            let (ours, theirs) = (by_us(text.as_bytes(), piece).await, by_hyper(text.as_bytes()).await);
            assert_eq!(ours, theirs, "seed {seed}, pieces of {piece}: {text:?}");
            assert!(!ours.is_empty());
        });
    }
}
