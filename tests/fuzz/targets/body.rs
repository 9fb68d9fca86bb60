//! A body taken off what was read, as both codecs do it.

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use switchback::wire::http1::{Content, Malformed};

/// Longest trailer section.
const LIMIT: usize = 4096;

/// What came of it.
#[derive(Debug, PartialEq)]
pub enum Read {
    /// Content, trailers (none where they are empty), and what stands behind.
    Whole(Vec<u8>, HeaderMap, Vec<u8>),
    /// More must come.
    Part(Vec<u8>),
    Broken(Malformed),
}

/// Reads a body that comes in `pieces`; then the connection ends.
pub fn read<'a>(mut content: Content, pieces: impl IntoIterator<Item = &'a [u8]>) -> Read {
    let (mut bytes, mut trailers) = (Vec::new(), HeaderMap::new());
    let mut rest = Bytes::new();
    for piece in pieces {
        let mut joined = BytesMut::from(&rest[..]);
        joined.extend_from_slice(piece);
        rest = joined.freeze();
        loop {
            match content.take(&mut rest, LIMIT) {
                Err(malformed) => {
                    assert_eq!(content.take(&mut rest, LIMIT).err(), Some(malformed), "it stays wrong");
                    return Read::Broken(malformed);
                }
                Ok(None) => break,
                Ok(Some(frame)) => match frame.into_data() {
                    Ok(data) => {
                        assert!(!data.is_empty(), "an empty frame would end a chunked body");
                        bytes.extend_from_slice(&data);
                    }
                    Err(frame) => trailers = frame.into_trailers().unwrap_or_default(),
                },
            }
        }
    }
    if content.is_over() || content.is_ended_by_close() {
        return Read::Whole(bytes, trailers, rest.to_vec());
    }
    Read::Part(bytes)
}

/// The same, however it is cut.
pub fn read_however_cut(content: impl Fn() -> Content, data: &[u8]) -> Read {
    let whole = read(content(), [data]);
    let cut = read(content(), super::pieces(data));
    match (&whole, &cut) {
        (Read::Part(_), Read::Part(_)) | (Read::Broken(_), Read::Broken(_)) => {}
        _ => assert_eq!(whole, cut, "what is read depends on how it was cut"),
    }
    whole
}
