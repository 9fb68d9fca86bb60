//! Chunks of a body, read by us and by hyper.

use super::request_head;

pub fn run(data: &[u8]) {
    let head = b"POST / HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n";
    request_head::run(&[head, data].concat());
}
