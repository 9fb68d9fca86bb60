//! Content codings: what a compressed body says, for comparison only. What passes through the
//! proxy stays as it is.
//!
//! `gzip`, `deflate` (in zlib's wrapping as RFC 9110 section 8.4.1.2 has it, and bare as some
//! servers send it), `br` (RFC 7932) and `zstd` (RFC 8878) are undone, in the reverse of the order
//! in which `Content-Encoding` lists them. A few bytes can stand for gigabytes, so every step
//! stops at a limit of output. Absent: `compress`, dictionaries, and encoding.

use std::borrow::Cow;
use std::io::Read;

use flate2::read::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use ruzstd::decoding::StreamingDecoder;
use ruzstd::decoding::errors::{FrameDecoderError, ReadFrameHeaderError};

/// More codings than this on one body are refused: one is usual, two are rare.
const MAX_CODINGS: usize = 4;
/// Window that a zstd decoder must grant (RFC 9659); larger ones only as far as the output's limit.
const ZSTD_WINDOW: u64 = 8 << 20;
/// Buffer between a Brotli decoder and its input, in bytes.
const BROTLI_BUFFER: usize = 4096;

/// Why a body cannot be decoded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ContentError {
    /// A coding that is not known here.
    #[error("content coding {0:?} is unknown, expected gzip, deflate, br, zstd or identity")]
    Unknown(String),
    /// Too many codings on top of each other.
    #[error("more than {MAX_CODINGS} content codings")]
    Codings,
    /// The decoded body is longer than allowed.
    #[error("decoded body is longer than {0} bytes")]
    Limit(usize),
    /// The body is not what its coding says.
    #[error("body is not valid {coding}: {why}")]
    Broken {
        /// The coding.
        coding: &'static str,
        /// What its decoder says.
        why: String,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Coding {
    Identity,
    Gzip,
    Deflate,
    Brotli,
    Zstd,
}

impl Coding {
    fn parse(name: &str) -> Option<Self> {
        let known = [
            ("", Self::Identity),
            ("identity", Self::Identity),
            ("gzip", Self::Gzip),
            ("x-gzip", Self::Gzip),
            ("deflate", Self::Deflate),
            ("br", Self::Brotli),
            ("zstd", Self::Zstd),
        ];
        known.into_iter().find(|(known, _)| name.eq_ignore_ascii_case(known)).map(|(_, coding)| coding)
    }
}

/// `body` without the codings of its `Content-Encoding` header (or gRPC's `grpc-encoding`), at most
/// `limit` bytes after each step. Borrowed where there is nothing to undo.
///
/// # Errors
/// [`ContentError`] when a coding is unknown, the body is not valid in it, or the limit is passed.
pub fn decode<'a>(
    encoding: Option<&str>,
    body: &'a [u8],
    limit: usize,
) -> Result<Cow<'a, [u8]>, ContentError> {
    let mut codings = Vec::new();
    for name in encoding.unwrap_or_default().split(',').map(str::trim) {
        let coding = Coding::parse(name)
            .ok_or_else(|| ContentError::Unknown(name.chars().take(32).collect::<String>()))?;
        if coding != Coding::Identity {
            codings.push(coding);
        }
        if codings.len() > MAX_CODINGS {
            return Err(ContentError::Codings);
        }
    }
    let mut body = Cow::Borrowed(body);
    for coding in codings.into_iter().rev() {
        // Some servers name a coding on an answer without a body.
        if !body.is_empty() {
            body = Cow::Owned(undo(coding, &body, limit)?);
        }
    }
    if body.len() > limit { Err(ContentError::Limit(limit)) } else { Ok(body) }
}

fn undo(coding: Coding, body: &[u8], limit: usize) -> Result<Vec<u8>, ContentError> {
    match coding {
        Coding::Identity => Ok(body.to_vec()),
        Coding::Gzip => read("gzip", MultiGzDecoder::new(body), limit),
        Coding::Deflate if is_zlib(body) => match read("deflate", ZlibDecoder::new(body), limit) {
            // A bare stream may happen to begin like zlib's header.
            Err(broken @ ContentError::Broken { .. }) => {
                read("deflate", DeflateDecoder::new(body), limit).map_err(|_| broken)
            }
            other => other,
        },
        Coding::Deflate => read("deflate", DeflateDecoder::new(body), limit),
        Coding::Brotli => read("br", brotli_decompressor::Decompressor::new(body, BROTLI_BUFFER), limit),
        Coding::Zstd => zstd(body, limit),
    }
}

/// The two bytes of RFC 1950: method 8, and a check that makes them a multiple of 31.
fn is_zlib(body: &[u8]) -> bool {
    matches!(body, [first, second, ..]
        if first & 0x0f == 8 && (u16::from(*first) << 8 | u16::from(*second)) % 31 == 0)
}

fn read(coding: &'static str, decoder: impl Read, limit: usize) -> Result<Vec<u8>, ContentError> {
    let mut out = Vec::new();
    read_more(coding, decoder, limit, &mut out)?;
    Ok(out)
}

fn read_more(
    coding: &'static str,
    decoder: impl Read,
    limit: usize,
    out: &mut Vec<u8>,
) -> Result<(), ContentError> {
    let left = limit.saturating_sub(out.len());
    let left = u64::try_from(left).unwrap_or(u64::MAX).saturating_add(1);
    decoder
        .take(left)
        .read_to_end(out)
        .map_err(|error| ContentError::Broken { coding, why: error.to_string() })?;
    if out.len() > limit { Err(ContentError::Limit(limit)) } else { Ok(()) }
}

/// Every frame of `body`, as RFC 8878 section 3 lets them follow each other.
fn zstd(body: &[u8], limit: usize) -> Result<Vec<u8>, ContentError> {
    let window = u64::try_from(limit).unwrap_or(u64::MAX).max(ZSTD_WINDOW);
    let broken = |why: String| ContentError::Broken { coding: "zstd", why };
    let mut out = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        match StreamingDecoder::new_with_max_window_size(&mut rest, window) {
            Ok(decoder) => read_more("zstd", decoder, limit, &mut out)?,
            Err(FrameDecoderError::ReadFrameHeaderError(ReadFrameHeaderError::SkipFrame {
                length, ..
            })) => {
                let skipped = usize::try_from(length).ok().and_then(|length| rest.get(length..));
                rest = skipped.ok_or_else(|| broken("a skippable frame is cut off".to_owned()))?;
            }
            Err(FrameDecoderError::WindowSizeTooBig { .. }) => return Err(ContentError::Limit(limit)),
            Err(error) => return Err(broken(error.to_string())),
        }
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::Compression;
    use flate2::write::{DeflateEncoder, GzEncoder, ZlibEncoder};
    use proptest::prelude::*;

    use super::*;

    const LIMIT: usize = 1 << 16;

    fn gzip(text: &[u8]) -> Vec<u8> {
        let mut to = GzEncoder::new(Vec::new(), Compression::best());
        to.write_all(text).unwrap();
        to.finish().unwrap()
    }

    fn zlib(text: &[u8]) -> Vec<u8> {
        let mut to = ZlibEncoder::new(Vec::new(), Compression::best());
        to.write_all(text).unwrap();
        to.finish().unwrap()
    }

    fn bare(text: &[u8]) -> Vec<u8> {
        let mut to = DeflateEncoder::new(Vec::new(), Compression::best());
        to.write_all(text).unwrap();
        to.finish().unwrap()
    }

    fn zstandard(text: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(text, ruzstd::encoding::CompressionLevel::Fastest)
    }

    /// An uncompressed meta-block (RFC 7932 section 9.2): 16-bit window, the text, the end.
    fn brotli(text: &[u8]) -> Vec<u8> {
        let length = u32::try_from(text.len() - 1).unwrap();
        // WBITS 0; ISLAST 0; MNIBBLES 4 (00); MLEN - 1 in 16 bits; ISUNCOMPRESSED 1.
        let bits = length << 4 | 1 << 20;
        let mut out = bits.to_le_bytes()[..3].to_vec();
        out.extend_from_slice(text);
        out.push(0b11);
        out
    }

    #[test]
    fn every_coding_gives_the_same_text() {
        let text = b"{\"outputs\":[1,2,3]}";
        for (encoding, body) in [
            (None, text.to_vec()),
            (Some("identity"), text.to_vec()),
            (Some(""), text.to_vec()),
            (Some("gzip"), gzip(text)),
            (Some("X-GZIP"), gzip(text)),
            (Some("deflate"), zlib(text)),
            (Some("deflate"), bare(text)),
            (Some("br"), brotli(text)),
            (Some("zstd"), zstandard(text)),
            (Some("gzip, identity , zstd"), zstandard(&gzip(text))),
        ] {
            assert_eq!(decode(encoding, &body, LIMIT).unwrap().as_ref(), text, "{encoding:?}");
        }
    }

    #[test]
    fn what_another_encoder_compressed_is_read() {
        let text = concat!(
            r#"{"outputs":[{"name":"y","datatype":"FP32","shape":[8],"#,
            r#""data":[0.5,0.5,0.5,0.5,0.5,0.5,0.5,0.5]}]}"#
        );
        // Written by Google's encoder, as Node.js has it: entropy coding, dictionary, back references.
        let hex = "1b6000202c0fe8ad2f06152d09930b878a52e7d72230387bca28af5874baab8fc5658b6cc9d0cd991aa8\
                   16819bcbe3940b58038f5a1460473d6c8c419e21519a27139bba5528fee6da300d2902f9fa4625";
        let digits: Vec<u32> = hex.chars().filter_map(|c| c.to_digit(16)).collect();
        let body: Vec<u8> =
            digits.chunks(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).unwrap()).collect();
        assert_eq!(decode(Some("br"), &body, LIMIT).unwrap().as_ref(), text.as_bytes());
    }

    #[test]
    fn members_and_frames_follow_each_other() {
        let twice = [gzip(b"ab"), gzip(b"cd")].concat();
        assert_eq!(decode(Some("gzip"), &twice, LIMIT).unwrap().as_ref(), b"abcd");
        let skip = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        let frames = [zstandard(b"ab"), skip, zstandard(b"cd")].concat();
        assert_eq!(decode(Some("zstd"), &frames, LIMIT).unwrap().as_ref(), b"abcd");
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let zeros = vec![0; LIMIT + 1];
        for (encoding, body) in
            [("gzip", gzip(&zeros)), ("deflate", zlib(&zeros)), ("zstd", zstandard(&zeros))]
        {
            assert!(body.len() < LIMIT / 4, "{encoding}");
            assert_eq!(decode(Some(encoding), &body, LIMIT), Err(ContentError::Limit(LIMIT)), "{encoding}");
            assert_eq!(decode(Some(encoding), &body, LIMIT + 1).unwrap().len(), LIMIT + 1);
        }
        assert_eq!(decode(None, &zeros, LIMIT), Err(ContentError::Limit(LIMIT)));
    }

    #[test]
    fn what_cannot_be_decoded_says_why() {
        let cut = |body: Vec<u8>| body[..body.len() / 2].to_vec();
        let text = b"some text that is long enough to be cut off in the middle of it";
        for (encoding, body) in [
            ("gzip", cut(gzip(text))),
            ("deflate", cut(zlib(text))),
            ("br", cut(brotli(text))),
            ("zstd", cut(zstandard(text))),
            ("gzip", text.to_vec()),
            ("zstd", text.to_vec()),
        ] {
            assert!(
                matches!(decode(Some(encoding), &body, LIMIT), Err(ContentError::Broken { .. })),
                "{encoding}"
            );
        }
        assert_eq!(decode(Some("lzw"), text, LIMIT), Err(ContentError::Unknown("lzw".to_owned())));
        assert_eq!(decode(Some("br,br,br,br,br"), text, LIMIT), Err(ContentError::Codings));
        assert_eq!(decode(Some("br"), b"", LIMIT).unwrap().as_ref(), b"");
    }

    proptest! {
        #[test]
        fn garbage_is_survived(body in prop::collection::vec(any::<u8>(), 0..200), which in 0..4_usize) {
            let encoding = ["gzip", "deflate", "br", "zstd"][which];
            let _ = decode(Some(encoding), &body, 4096);
        }

        #[test]
        fn damaged_bodies_are_survived(
            text in prop::collection::vec(any::<u8>(), 1..400), at in any::<prop::sample::Index>(), bits in 1..=255_u8,
        ) {
            for (encoding, mut body) in [
                ("gzip", gzip(&text)), ("deflate", zlib(&text)), ("br", brotli(&text)), ("zstd", zstandard(&text)),
            ] {
                let at = at.index(body.len());
                body[at] ^= bits;
                let _ = decode(Some(encoding), &body, 4096);
            }
        }
    }
}
