//! Just enough of the protobuf wire format to find and write string fields: the name of a model
//! stands in the first bytes of its message, and megabytes of tensors behind it.
//!
//! Reading works on a prefix of a message and says when it needs more of it. Deliberately absent:
//! groups (not in proto3), and any decoding of messages. The format is that of
//! <https://protobuf.dev/programming-guides/encoding/>.

use bytes::{BufMut, BytesMut};

/// What is known of a field after reading a prefix of its message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Find<T> {
    /// Here it is: its first occurrence.
    Found(T),
    /// The prefix ends before it.
    NeedMore,
    /// The message is complete and has none.
    Absent,
    /// Not a protobuf message, or the field is no string.
    Malformed,
}

/// The string `field` at the top level of a message of which `prefix` is read so far, all of it
/// when `complete`.
///
/// The *first* occurrence is found. Parsers let the last one win, which no prefix can tell; no
/// known client writes a name twice, and the rewriting of names appends, so it wins over both.
pub fn find_string(prefix: &[u8], field: u32, complete: bool) -> Find<&str> {
    as_string(find(prefix, field, complete, false), complete)
}

/// The same where fields stand in the order of their numbers, as every known writer has them: a field
/// that stands before megabytes of others is known to be absent once one with a higher number is met.
pub fn find_string_in_order(prefix: &[u8], field: u32, complete: bool) -> Find<&str> {
    as_string(find(prefix, field, complete, true), complete)
}

fn as_string(found: Find<Field<'_>>, complete: bool) -> Find<&str> {
    match found {
        Find::Found(Field { body: Body::Whole(bytes), .. }) => {
            std::str::from_utf8(bytes).map_or(Find::Malformed, Find::Found)
        }
        Find::Found(Field { body: Body::Partial, .. }) if complete => Find::Malformed,
        Find::Found(Field { body: Body::Partial, .. }) | Find::NeedMore => Find::NeedMore,
        Find::Found(Field { body: Body::Number, .. }) | Find::Malformed => Find::Malformed,
        Find::Absent => Find::Absent,
    }
}

/// Whether the length-delimited `field` occurs at the top level; its own bytes need not be there.
pub fn find_field(prefix: &[u8], field: u32, complete: bool) -> Find<()> {
    match find(prefix, field, complete, false) {
        Find::Found(Field { body: Body::Whole(_) | Body::Partial, .. }) => Find::Found(()),
        Find::Found(_) | Find::Malformed => Find::Malformed,
        Find::NeedMore => Find::NeedMore,
        Find::Absent => Find::Absent,
    }
}

/// Appends the length-delimited `field` (a string, bytes or a sub-message) to `out`.
pub fn put_field(out: &mut BytesMut, field: u32, value: &[u8]) {
    put_varint(out, u64::from(field) << 3 | LENGTH_DELIMITED);
    put_varint(out, u64::try_from(value.len()).unwrap_or(u64::MAX));
    out.put_slice(value);
}

const LENGTH_DELIMITED: u64 = 2;

fn put_varint(out: &mut BytesMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(u8::try_from(value & 0x7f).unwrap_or(0) | 0x80);
        value >>= 7;
    }
    out.put_u8(u8::try_from(value).unwrap_or(0));
}

struct Field<'a> {
    number: u64,
    body: Body<'a>,
}

enum Body<'a> {
    /// All bytes of a length-delimited field.
    Whole(&'a [u8]),
    /// A length-delimited field that goes on behind the prefix.
    Partial,
    /// A number.
    Number,
}

fn find(prefix: &[u8], field: u32, complete: bool, in_order: bool) -> Find<Field<'_>> {
    let mut rest = prefix;
    while !rest.is_empty() {
        match next_field(&mut rest) {
            Find::Found(found) if found.number == u64::from(field) => return Find::Found(found),
            Find::Found(found) if in_order && found.number > u64::from(field) => return Find::Absent,
            Find::Found(Field { body: Body::Partial, .. }) | Find::NeedMore => {
                return if complete { Find::Malformed } else { Find::NeedMore };
            }
            Find::Found(_) => {}
            Find::Absent | Find::Malformed => return Find::Malformed,
        }
    }
    if complete { Find::Absent } else { Find::NeedMore }
}

fn next_field<'a>(rest: &mut &'a [u8]) -> Find<Field<'a>> {
    let tag = match take_varint(rest) {
        Find::Found(tag) => tag,
        Find::NeedMore => return Find::NeedMore,
        _ => return Find::Malformed,
    };
    let number = tag >> 3;
    if number == 0 || number > (1 << 29) - 1 {
        return Find::Malformed;
    }
    let skip = match tag & 7 {
        0 => {
            return match take_varint(rest) {
                Find::Found(_) => Find::Found(Field { number, body: Body::Number }),
                Find::NeedMore => Find::NeedMore,
                _ => Find::Malformed,
            };
        }
        1 => 8,
        5 => 4,
        LENGTH_DELIMITED => {
            let length = match take_varint(rest) {
                Find::Found(length) => length,
                Find::NeedMore => return Find::NeedMore,
                _ => return Find::Malformed,
            };
            // 2 GiB is the format's own limit of a message.
            let Some(length) = usize::try_from(length).ok().filter(|l| *l <= i32::MAX as usize) else {
                return Find::Malformed;
            };
            let body = match rest.split_at_checked(length) {
                Some((bytes, after)) => {
                    *rest = after;
                    Body::Whole(bytes)
                }
                None => {
                    *rest = &[];
                    Body::Partial
                }
            };
            return Find::Found(Field { number, body });
        }
        _ => return Find::Malformed,
    };
    match rest.split_at_checked(skip) {
        Some((_, after)) => {
            *rest = after;
            Find::Found(Field { number, body: Body::Number })
        }
        None => Find::NeedMore,
    }
}

fn take_varint(rest: &mut &[u8]) -> Find<u64> {
    let mut value = 0u64;
    for shift in 0..10u32 {
        let Some((byte, after)) = rest.split_first() else { return Find::NeedMore };
        *rest = after;
        if shift == 9 && *byte > 1 {
            return Find::Malformed;
        }
        value |= u64::from(byte & 0x7f) << (shift * 7);
        if byte & 0x80 == 0 {
            return Find::Found(value);
        }
    }
    Find::Malformed
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(parts: &[(u32, &str)]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for (field, value) in parts {
            put_field(&mut out, *field, value.as_bytes());
        }
        out.to_vec()
    }

    #[test]
    fn a_string_is_found_behind_any_other_field() {
        let mut bytes = vec![0x18, 0xac, 0x02]; // field 3, varint 300
        bytes.extend([0x21, 1, 2, 3, 4, 5, 6, 7, 8]); // field 4, fixed64
        bytes.extend([0x2d, 1, 2, 3, 4]); // field 5, fixed32
        bytes.extend(message(&[(7, "x"), (1, "fraud"), (2, "3")]));
        assert_eq!(find_string(&bytes, 1, true), Find::Found("fraud"));
        assert_eq!(find_string(&bytes, 2, false), Find::Found("3"));
        assert_eq!(find_string(&bytes, 6, true), Find::Absent);
        assert_eq!(find_string(&bytes, 6, false), Find::NeedMore);
        assert_eq!(find_string(&bytes, 3, true), Find::Malformed);
        assert_eq!(find_string(&[], 1, true), Find::Absent);
    }

    #[test]
    fn every_prefix_asks_for_more_until_the_string_is_whole() {
        let bytes = message(&[(3, "id"), (1, "fraud"), (5, "tensor")]);
        let end = 4 + 7;
        for cut in 0..bytes.len() {
            let want = if cut < end { Find::NeedMore } else { Find::Found("fraud") };
            assert_eq!(find_string(&bytes[..cut], 1, false), want, "{cut}");
        }
        assert_eq!(find_field(&bytes[..5], 1, false), Find::NeedMore);
        assert_eq!(find_field(&bytes[..6], 1, false), Find::Found(()));
    }

    #[test]
    fn in_order_a_higher_number_says_that_a_field_is_absent() {
        let bytes = message(&[(1, "fraud"), (5, "tensor"), (2, "3")]);
        assert_eq!(find_string_in_order(&bytes, 1, false), Find::Found("fraud"));
        assert_eq!(find_string_in_order(&bytes[..7], 2, false), Find::NeedMore);
        // Known as soon as the tag and length of the tensor are there.
        assert_eq!(find_string_in_order(&bytes[..9], 2, false), Find::Absent);
        assert_eq!(find_string(&bytes, 2, false), Find::Found("3"));
    }

    #[test]
    fn what_is_not_protobuf_is_malformed() {
        for bad in
            [&[0x00][..], &[0x0b], &[0x0a, 5, b'a'], &[0xff; 11], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
        {
            assert_eq!(find_string(bad, 1, true), Find::Malformed, "{bad:?}");
        }
        assert_eq!(find_string(&[0x0a, 1, 0xff], 1, true), Find::Malformed);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes in proptest::collection::vec(any::<u8>(), 0..64), field in 1u32..9) {
            let _ = find_string(&bytes, field, true);
            let _ = find_field(&bytes, field, false);
        }

        #[test]
        fn written_fields_read_back(field in 1u32..1000, value in ".{0,300}") {
            let bytes = message(&[(field + 1, "x"), (field, &value)]);
            prop_assert_eq!(find_string(&bytes, field, true), Find::Found(value.as_str()));
        }
    }
}
