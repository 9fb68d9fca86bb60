//! Bodies that are moved out of a connection without being read.

use tokio::net::{TcpListener, TcpStream};

use super::*;
use crate::wire::splice::{Passage, Pipes, Spliced as _};

/// Takes the whole body, by moving it wherever that is possible, and tells how: bytes moved, bytes
/// taken in frames.
#[derive(Clone, Default)]
struct Moves(Rc<Pipes>);

impl Handler for Moves {
    type Body = AnyBody;

    fn handle(&self, request: Request<IncomingBody>) -> impl Future<Output = Answer> + use<> {
        let pipes = self.0.clone();
        async move {
            let (mut body, mut moved, mut taken) = (request.into_body(), 0, 0);
            loop {
                let mut pipe = None;
                let mut passage = Passage::new(&mut pipe, &pipes, 100_000);
                // The pipe is thrown away with what it holds.
                match std::future::poll_fn(|cx| body.poll_splice(&mut passage, cx)).await {
                    Ok(Some(bytes)) => moved += bytes,
                    Ok(None) => match body.frame().await {
                        Some(Ok(frame)) => taken += frame.into_data().unwrap().len(),
                        None => break full(format!("{moved} {taken}")),
                        Some(Err(fault)) => break full(fault.to_string()),
                    },
                    Err(fault) => break full(fault.to_string()),
                }
            }
        }
    }
}

/// A connection over TCP, and who serves it.
async fn open() -> (TcpStream, JoinHandle<Result<(), ConnectionFault>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
    let (server, _) = listener.accept().await.unwrap();
    let seat = Arc::new(Seats::default()).take(1).unwrap();
    let io = Transport::Plain(Stream { socket: StreamSocket::Tcp(server), _seat: seat });
    let http1 = Http1::new(&DownstreamSpec::default(), |handler: &Moves, request| handler.handle(request));
    let latch = Rc::<Latch>::default();
    let served = spawn_local(async move { http1.serve(io, Bytes::new(), Moves::default(), &latch).await });
    (client, served)
}

async fn ask(client: &mut TcpStream, head: &str, body: &[u8]) -> String {
    client.write_all(format!("POST / HTTP/1.1\r\nhost: x\r\n{head}\r\n\r\n").as_bytes()).await.unwrap();
    client.write_all(body).await.unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"\r\n\r\n") {
        answer.push(client.read_u8().await.unwrap());
    }
    let head = String::from_utf8(answer).unwrap();
    let length = head.split("content-length: ").nth(1).unwrap().split("\r\n").next().unwrap();
    let mut text = vec![0; length.parse().unwrap()];
    client.read_exact(&mut text).await.unwrap();
    String::from_utf8(text).unwrap()
}

fn two(told: &str) -> (usize, usize) {
    let (moved, taken) = told.split_once(' ').unwrap_or_else(|| panic!("{told}"));
    (moved.parse().unwrap(), taken.parse().unwrap())
}

#[tokio::test]
async fn a_body_of_known_length_is_moved_and_the_next_request_is_read_behind_it() {
    LocalSet::new()
        .run_until(async {
            let (mut client, served) = open().await;
            for length in [400_000, 10, 1_000_000] {
                let body = vec![b'x'; length];
                let (moved, taken) =
                    two(&ask(&mut client, &format!("content-length: {length}"), &body).await);
                assert_eq!(moved + taken, length);
                // What came with the head, or was read on the way there, is taken as it is.
                assert!(length < 1000 || moved >= length - 70_000, "{moved} moved, {taken} taken");
            }
            // Chunks have to be read.
            let chunk = [b"30d40\r\n", &[b'x'; 200_000][..], b"\r\n0\r\n\r\n"].concat();
            assert_eq!(two(&ask(&mut client, "transfer-encoding: chunked", &chunk).await), (0, 200_000));
            drop(client);
            served.await.unwrap().unwrap();
        })
        .await;
}

#[tokio::test]
async fn a_client_that_leaves_in_the_middle_is_gone() {
    LocalSet::new()
        .run_until(async {
            let (mut client, served) = open().await;
            client.write_all(b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n").await.unwrap();
            client.write_all(&[b'x'; 200_000]).await.unwrap();
            drop(client);
            assert!(served.await.unwrap().is_err());
        })
        .await;
}
