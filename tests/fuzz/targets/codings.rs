//! Compressed bodies: whatever they hold, no more than the limit comes out.

use switchback::inference::content::decode;

use super::choose;

const CODINGS: [&str; 6] = ["gzip", "deflate", "br", "zstd", "gzip, br", "zstd, identity"];

pub fn run(data: &[u8]) {
    let (which, body) = choose(data);
    for limit in [100, 64 * 1024] {
        if let Ok(text) = decode(Some(CODINGS[usize::from(which) % CODINGS.len()]), body, limit) {
            assert!(text.len() <= limit);
        }
    }
}
