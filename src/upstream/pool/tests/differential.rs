//! What the HTTP/1.1 codec makes of an answer, beside what hyper's client makes of it.

use tokio::io::AsyncWriteExt;

use super::*;

/// Sends `request` to a server that reads the head and then writes `answer` in pieces of `piece`
/// bytes, and closes.
pub(super) async fn answered(
    request: Request<TestBody>,
    answer: &[u8],
    piece: usize,
) -> Result<Response<Answer>, SendError<TestBody>> {
    let (listener, mut spec) = listen().await;
    spec.max_header_bytes = 8192;
    let answer = answer.to_vec();
    spawn_local(async move {
        let mut stream = accept(&listener).await;
        stream.set_nodelay(true).unwrap();
        read_head(&mut stream).await;
        for piece in answer.chunks(piece) {
            if stream.write_all(piece).await.is_err() {
                return;
            }
            tokio::task::yield_now().await;
        }
    });
    pool(&spec).send(request).await
}

/// Everything of an answer that a client could see.
pub(super) async fn seen(answer: Result<Response<Answer>, SendError<TestBody>>) -> Result<String, FaultKind> {
    let (head, body) = answer.map_err(|error| error.fault.kind)?.into_parts();
    let body = body.collect().await.map_err(|fault| fault.kind)?;
    let trailers = body.trailers().cloned();
    let bytes = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    Ok(format!("{} {:?} {bytes:?} {trailers:?}", head.status, head.headers))
}

/// What hyper's client makes of an answer; `None` where it refuses.
async fn by_hyper(answer: &[u8]) -> Option<String> {
    let (client, mut server) = tokio::io::duplex(1 << 20);
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake::<_, http_body_util::Empty<Bytes>>(TokioIo::new(client))
            .await
            .unwrap();
    spawn_local(connection);
    let answer = answer.to_vec();
    spawn_local(async move {
        read_head(&mut server).await;
        server.write_all(&answer).await.unwrap();
    });
    let request = Request::builder().uri("/").header("host", "x").body(http_body_util::Empty::new()).unwrap();
    let (head, body) = sender.send_request(request).await.ok()?.into_parts();
    let body = body.collect().await.ok()?;
    let trailers = body.trailers().cloned();
    let bytes = String::from_utf8(body.to_bytes().to_vec()).unwrap();
    Some(format!("{} {:?} {bytes:?} {trailers:?}", head.status, head.headers))
}

#[test]
fn an_answer_means_what_hyper_says_it_does_or_is_refused() {
    run(async {
        let heads = [
            "HTTP/1.1 200 OK\r\n",
            "HTTP/1.0 200 OK\r\n",
            "HTTP/1.1 204 No\r\n",
            "HTTP/1.1 304\r\n",
            "HTTP/1.1 200 OK\n",
            "\r\nHTTP/1.1 200 OK\r\n",
            "HTTP/1.1  200 OK\r\n",
            "HTTP/1.1 999 \r\n",
            "HTTP/1.1 20 OK\r\n",
            "HTTP/3 200 OK\r\n",
            "http/1.1 200 OK\r\n",
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n",
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
            "a: b\r\na: c\r\nB:\r\n",
        ];
        let bodies = [
            "",
            "hello",
            "hello world",
            "5\r\nhello\r\n0\r\n\r\n",
            "5;x=y\r\nhello\r\n0\r\nx: y\r\n\r\n",
            "05\r\nhello\r\n00\r\n\r\n",
            "5\nhello\n0\n\n",
            "5\r\nhello\r\n0\r\n",
            "5 \r\nhello\r\n0\r\n\r\n",
            "fffffffffffffffff\r\nhello",
            "+5\r\nhello\r\n0\r\n\r\n",
            "5\r\nhello!\r\n0\r\n\r\n",
        ];
        let (mut both, mut stricter) = (0, 0);
        for head in heads {
            for field in fields {
                for body in bodies {
                    let text = format!("{head}{field}\r\n{body}");
                    let ours = seen(answered(get("/"), text.as_bytes(), usize::MAX).await).await.ok();
                    let theirs = by_hyper(text.as_bytes()).await;
                    let Some(ours) = ours else {
                        let strict = ["gzip", ": x", "-5", "5,5", "content-length: 6", "chunked\r\ncontent"];
                        let lines = format!("{head}{field}");
                        let known = strict.iter().any(|part| field.contains(part))
                            || lines.matches('\n').count() != lines.matches("\r\n").count()
                            || head.starts_with('\r');
                        assert!(theirs.is_none() || known, "{text:?} is refused");
                        stricter += usize::from(theirs.is_some());
                        continue;
                    };
                    both += 1;
                    assert_eq!(Some(ours), theirs, "{text:?}");
                }
            }
        }
        assert!(both > 300 && stricter > 0, "{both} {stricter}");
    });
}
