//! What a model file refers to, read without loading it: is it whole, is it ONNX, and where do its
//! external weights lie.
//!
//! ONNX is a protobuf message (`onnx.proto3`). This walks through it by lengths, jumping over
//! weights, and reads nothing but the places of external data. Lengths that lead beyond their
//! message say that the file was cut off.

use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::path::Path;

/// Messages inside one another; graphs in attributes of nodes go deep, but not this deep.
const DEEPEST: usize = 256;
/// Places of external data that are read at most.
const MOST_PLACES: usize = 100_000;
/// Longest place, in bytes.
const LONGEST_PLACE: u64 = 4096;

/// Where a model's external data lies, as written, each place once and in order.
///
/// # Errors
/// Why this is no whole ONNX file.
pub(super) fn places_of(path: &Path) -> Result<Vec<String>, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let length = file.metadata().map_err(|error| error.to_string())?.len();
    if length == 0 {
        return Err("the file is empty".to_owned());
    }
    external_places(BufReader::with_capacity(64 * 1024, file), length)
}

/// The same for what `source` holds, of which the file has `length` bytes.
///
/// # Errors
/// Why this is no whole ONNX file.
pub fn external_places(source: impl Read + Seek, length: u64) -> Result<Vec<String>, String> {
    let mut walker = Walker { source, at: 0, places: Vec::new(), has_graph: false };
    walker.message(Kind::Model, length, 0)?;
    if !walker.has_graph {
        return Err("this is no ONNX model: it has no graph".to_owned());
    }
    walker.places.sort();
    walker.places.dedup();
    Ok(walker.places)
}

/// The messages of `onnx.proto3` that lead to external data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Model,
    Graph,
    Function,
    Node,
    Attribute,
    SparseTensor,
    Tensor,
    /// `StringStringEntryProto` of a tensor's `external_data`.
    Entry,
}

impl Kind {
    /// The message in this field, if the way leads through it.
    fn field(self, number: u64) -> Option<Self> {
        Some(match (self, number) {
            (Self::Model, 7) | (Self::Attribute, 6 | 11) => Self::Graph,
            (Self::Model, 25) => Self::Function,
            (Self::Graph, 1) | (Self::Function, 7) => Self::Node,
            (Self::Node, 5) | (Self::Function, 11) => Self::Attribute,
            (Self::Graph, 5) | (Self::Attribute, 5 | 10) | (Self::SparseTensor, 1 | 2) => Self::Tensor,
            (Self::Graph, 15) | (Self::Attribute, 22 | 23) => Self::SparseTensor,
            (Self::Tensor, 13) => Self::Entry,
            _ => return None,
        })
    }
}

struct Walker<S> {
    source: S,
    at: u64,
    places: Vec<String>,
    has_graph: bool,
}

const CUT_OFF: &str = "this is no whole ONNX file: it ends in the middle of a message, or is no ONNX at all";

impl<S: Read + Seek> Walker<S> {
    fn message(&mut self, kind: Kind, end: u64, depth: usize) -> Result<(), String> {
        if depth > DEEPEST {
            return Err("its messages lie too deep in one another".to_owned());
        }
        let (mut key, mut value) = (String::new(), String::new());
        while self.at < end {
            let tag = self.varint(end)?;
            let (number, wire) = (tag >> 3, tag & 7);
            match wire {
                0 => _ = self.varint(end)?,
                1 => self.skip(8, end)?,
                5 => self.skip(4, end)?,
                2 => {
                    let length = self.varint(end)?;
                    let inner = self.at.checked_add(length).filter(|inner| *inner <= end).ok_or(CUT_OFF)?;
                    match kind.field(number) {
                        Some(next) => {
                            self.has_graph |= kind == Kind::Model && next == Kind::Graph;
                            self.message(next, inner, depth + 1)?;
                        }
                        None if kind == Kind::Entry && number == 1 => key = self.text(length)?,
                        None if kind == Kind::Entry && number == 2 => value = self.text(length)?,
                        None => self.skip(length, end)?,
                    }
                }
                _ => return Err(CUT_OFF.to_owned()),
            }
        }
        if kind == Kind::Entry && key == "location" && self.places.last() != Some(&value) {
            if self.places.len() >= MOST_PLACES {
                return Err("it has too many places of external data".to_owned());
            }
            self.places.push(value);
        }
        Ok(())
    }

    fn varint(&mut self, end: u64) -> Result<u64, String> {
        let mut number = 0_u64;
        for shift in (0..70).step_by(7) {
            if self.at >= end {
                break;
            }
            let mut byte = [0];
            self.source.read_exact(&mut byte).map_err(|error| error.to_string())?;
            self.at += 1;
            let [byte] = byte;
            number |= u64::from(byte & 0x7f).checked_shl(shift).unwrap_or(0);
            if byte < 0x80 {
                return Ok(number);
            }
        }
        Err(CUT_OFF.to_owned())
    }

    fn skip(&mut self, length: u64, end: u64) -> Result<(), String> {
        let to = self.at.checked_add(length).filter(|to| *to <= end).ok_or(CUT_OFF)?;
        let step = i64::try_from(length).map_err(|_| CUT_OFF)?;
        self.source.seek_relative(step).map_err(|error| error.to_string())?;
        self.at = to;
        Ok(())
    }

    fn text(&mut self, length: u64) -> Result<String, String> {
        if length > LONGEST_PLACE {
            return Err("the place of external data is too long".to_owned());
        }
        let mut bytes = vec![0; usize::try_from(length).unwrap_or_default()];
        self.source.read_exact(&mut bytes).map_err(|error| error.to_string())?;
        self.at += length;
        String::from_utf8(bytes).map_err(|_| "the place of external data is not text".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use proptest::prelude::*;

    use super::*;
    use crate::onnx::testing;

    fn field(number: u8, inside: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, u8::try_from(inside.len()).unwrap()];
        bytes.extend_from_slice(inside);
        bytes
    }

    fn of(bytes: &[u8]) -> Result<Vec<String>, String> {
        external_places(Cursor::new(bytes), bytes.len() as u64)
    }

    fn model_with(place: &str) -> Vec<u8> {
        let entry = [field(1, b"location"), field(2, place.as_bytes())].concat();
        let tensor = [field(13, &entry), field(9, b"raw data")].concat();
        // Once as an initializer, once in an attribute of a node.
        let node = field(5, &field(5, &tensor));
        field(7, &[field(5, &tensor), field(1, &node)].concat())
    }

    #[test]
    fn external_data_is_found_wherever_a_tensor_may_stand() {
        assert_eq!(of(&model_with("weights.bin")).unwrap(), ["weights.bin"]);
    }

    #[test]
    fn models_of_ours_are_whole_and_any_prefix_of_them_is_not() {
        let bytes = std::fs::read(testing::demo("digits", 1).path()).unwrap();
        assert_eq!(of(&bytes).unwrap(), Vec::<String>::new());
        for cut in [1, 10, 100, 1000, bytes.len() / 2, bytes.len() - 1] {
            assert!(of(&bytes[..cut]).is_err(), "{cut}");
        }
        assert!(of(b"hello, world").is_err());
        assert!(of(&[]).unwrap_err().contains("no graph"));
    }

    proptest! {
        #[test]
        fn whatever_the_file_holds_nothing_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = of(&bytes);
        }

        #[test]
        fn a_damaged_model_does_not_panic_either(at in 0_usize..40, byte in any::<u8>()) {
            let mut bytes = model_with("weights.bin");
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = of(&bytes);
        }
    }
}
