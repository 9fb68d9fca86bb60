//! One file for each target, with `run` in it: it may panic only where the product is wrong.

pub mod answers;
pub mod chunks;
pub mod codings;
pub mod config;
pub mod golden;
pub mod grpc_frames;
pub mod hygiene;
pub mod json_names;
pub mod metadata;
pub mod model_file;
pub mod oip_grpc;
pub mod oip_json;
pub mod paths;
pub mod renaming;
pub mod request_head;
pub mod response_head;
pub mod v1;

mod body;
mod by_hyper;
mod same;

/// The first byte, which chooses, and the rest.
fn choose(data: &[u8]) -> (u8, &[u8]) {
    data.split_first().map_or((0, data), |(first, rest)| (*first, rest))
}

/// `data` in pieces whose sizes come from `data` itself.
fn pieces(data: &[u8]) -> Vec<&[u8]> {
    let mut sizes = data.iter().map(|byte| 1 + usize::from(byte % 13)).cycle();
    let (mut rest, mut pieces) = (data, Vec::new());
    while !rest.is_empty() {
        let size = sizes.next().unwrap_or(1).min(rest.len());
        let (piece, behind) = rest.split_at(size);
        pieces.push(piece);
        rest = behind;
    }
    pieces
}
