//! The fields of a whole protobuf message, one after the other, as
//! <https://protobuf.dev/programming-guides/encoding/> has them. Absent: groups, which proto3 has
//! not, and prefixes of messages, which [`super::protobuf`] is for.

/// What was to be a message is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a protobuf message")]
pub(super) struct NotProtobuf;

/// The body of a field.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Wire<'a> {
    /// A number of variable length.
    Varint(u64),
    /// Eight bytes, little-endian.
    Fixed64([u8; 8]),
    /// Four bytes, little-endian.
    Fixed32([u8; 4]),
    /// A string, bytes, a message or packed numbers.
    Bytes(&'a [u8]),
}

/// The fields of `message` with their numbers. The first one that is broken is the last one.
pub(super) fn fields(message: &[u8]) -> impl Iterator<Item = Result<(u32, Wire<'_>), NotProtobuf>> {
    let mut rest = message;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let field = next(&mut rest);
        if field.is_none() {
            rest = &[];
        }
        Some(field.ok_or(NotProtobuf))
    })
}

fn next<'a>(rest: &mut &'a [u8]) -> Option<(u32, Wire<'a>)> {
    let tag = varint(rest)?;
    let number = u32::try_from(tag >> 3).ok().filter(|number| (1..1 << 29).contains(number))?;
    let body = match tag & 7 {
        0 => Wire::Varint(varint(rest)?),
        1 => Wire::Fixed64(chunk(rest)?),
        2 => {
            let length = usize::try_from(varint(rest)?).ok()?;
            let (bytes, after) = rest.split_at_checked(length)?;
            *rest = after;
            Wire::Bytes(bytes)
        }
        5 => Wire::Fixed32(chunk(rest)?),
        _ => return None,
    };
    Some((number, body))
}

fn chunk<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (chunk, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*chunk)
}

/// A number of variable length, at most ten bytes.
pub(super) fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0_u64;
    for shift in 0..10_u32 {
        let (byte, after) = rest.split_first()?;
        *rest = after;
        if shift == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (shift * 7);
        if byte & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}
