//! gRPC messages in their frames.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use switchback::wire::grpc_message::{GRPC_ENCODING, Messages, frame};

use super::{choose, pieces};

const LIMIT: usize = 4096;

/// First byte: how messages may be compressed.
pub fn run(data: &[u8]) {
    let (which, body) = choose(data);
    let encoding = ["identity", "gzip", "deflate", "snappy"][usize::from(which) % 4];
    let headers = HeaderMap::from_iter([(GRPC_ENCODING, HeaderValue::from_static(encoding))]);
    let read = |pieces: Vec<&[u8]>| {
        let mut messages = Messages::new(&headers, LIMIT);
        let mut found = Vec::new();
        for piece in pieces {
            messages.push(Bytes::copy_from_slice(piece));
            loop {
                match messages.take_next() {
                    Ok(Some(message)) => found.push(message),
                    Ok(None) => break,
                    Err(_) => return (found, None),
                }
            }
        }
        (found, Some(messages.end().is_ok()))
    };
    let whole = read(vec![body]);
    assert_eq!(whole, read(pieces(body)), "what is read depends on how it was cut");
    for message in &whole.0 {
        assert!(message.len() <= LIMIT);
        let again = frame(message.len(), |out| out.extend_from_slice(message)).expect("it fits");
        assert_eq!(read(vec![&again]), (vec![message.clone()], Some(true)));
    }
}
