//! NumPy's format for one array (numpy.lib.format, versions 1 to 3): C order, numbers and truth
//! values.

use crate::inference::raw;
use crate::inference::tensor::{Dtype, TensorData, element_count};

/// An array.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Array {
    pub(super) shape: Vec<i64>,
    pub(super) data: TensorData,
}

/// Reads a file's bytes.
pub(super) fn read(bytes: &[u8]) -> Result<Array, String> {
    let rest = bytes.strip_prefix(b"\x93NUMPY").ok_or("it does not begin as a .npy file does")?;
    let cut = || "it is cut off".to_owned();
    let (version, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
    let (length, rest) = match version {
        [1, _] => {
            let (length, rest) = rest.split_first_chunk::<2>().ok_or_else(cut)?;
            (usize::from(u16::from_le_bytes(*length)), rest)
        }
        [2 | 3, _] => {
            let (length, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
            (usize::try_from(u32::from_le_bytes(*length)).map_err(|_| cut())?, rest)
        }
        [version, _] => return Err(format!("version {version} of the format is not known")),
    };
    let (header, values) = rest.split_at_checked(length).ok_or_else(cut)?;
    let header = std::str::from_utf8(header).map_err(|_| "its header is no text".to_owned())?;
    if value_of(header, "fortran_order").is_none_or(|value| !value.starts_with("False")) {
        return Err("it is in Fortran order: save it with numpy.ascontiguousarray".to_owned());
    }
    let descr = value_of(header, "descr")
        .and_then(|value| value.strip_prefix(['\'', '"']))
        .and_then(|value| value.split(['\'', '"']).next())
        .ok_or("its values are records: save a plain array")?;
    let shape = value_of(header, "shape")
        .and_then(|value| value.strip_prefix('(')?.split(')').next())
        .ok_or("its header names no shape")?;
    let shape = shape
        .split(',')
        .map(str::trim)
        .filter(|dim| !dim.is_empty())
        .map(|dim| dim.parse::<i64>().map_err(|_| format!("its shape ({shape}) is none")))
        .collect::<Result<Vec<i64>, String>>()?;
    let count = element_count(&shape).ok_or_else(|| format!("its shape {shape:?} is none"))?;
    Ok(Array { data: data(descr, values, count)?, shape })
}

/// What stands behind `key` in the literal of a dictionary.
fn value_of<'a>(header: &'a str, key: &str) -> Option<&'a str> {
    let at = ["'", "\""].iter().find_map(|quote| {
        let name = format!("{quote}{key}{quote}");
        header.find(&name).map(|at| at + name.len())
    })?;
    header.get(at..)?.trim_start().strip_prefix(':').map(str::trim_start)
}

fn data(descr: &str, values: &[u8], count: usize) -> Result<TensorData, String> {
    let (dtype, width) = match descr {
        "|b1" => (Dtype::Bool, 1),
        "|u1" => (Dtype::Uint8, 1),
        "|i1" => (Dtype::Int8, 1),
        "<u2" => (Dtype::Uint16, 2),
        "<u4" => (Dtype::Uint32, 4),
        "<u8" => (Dtype::Uint64, 8),
        "<i2" => (Dtype::Int16, 2),
        "<i4" => (Dtype::Int32, 4),
        "<i8" => (Dtype::Int64, 8),
        "<f2" => (Dtype::Fp16, 2),
        "<f4" => (Dtype::Fp32, 4),
        "<f8" => (Dtype::Fp64, 8),
        _ => {
            return Err(format!(
                "its values are of type {:?}: save little-endian numbers or truth values",
                descr.chars().take(20).collect::<String>()
            ));
        }
    };
    let wanted = count.checked_mul(width).and_then(|length| values.get(..length));
    raw::decode(
        dtype,
        wanted.ok_or_else(|| format!("it has {} of its {count} values", values.len() / width))?,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn file(header: &str, values: &[u8]) -> Vec<u8> {
        let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
        bytes.extend((header.len() as u16).to_le_bytes());
        bytes.extend(header.as_bytes());
        bytes.extend(values);
        bytes
    }

    #[test]
    fn an_array_is_read_as_numpy_wrote_it() {
        let values: Vec<u8> = [1.5f32, -2.0, 0.25, 4.0].iter().flat_map(|v| v.to_le_bytes()).collect();
        let good = file("{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }   \n", &values);
        let array = read(&good).unwrap();
        assert_eq!(array.shape, [2, 2]);
        assert_eq!(array.data, TensorData::Fp32(vec![1.5, -2.0, 0.25, 4.0]));
        let one = file("{'descr': '|u1', 'fortran_order': False, 'shape': (3,), }", &[1, 2, 3]);
        assert_eq!(read(&one).unwrap(), Array { shape: vec![3], data: TensorData::Uint8(vec![1, 2, 3]) });
    }

    #[test]
    fn what_cannot_be_used_says_why() {
        let header = |descr: &str, order: &str, shape: &str| {
            format!("{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}")
        };
        for (bytes, part) in [
            (b"PK".to_vec(), "does not begin"),
            (b"\x93NUMPY\x09\x00".to_vec(), "version 9"),
            (b"\x93NUMPY\x01\x00\xff\x00{".to_vec(), "cut off"),
            (file(&header("'<f4'", "True", "(1,)"), &[0; 4]), "Fortran"),
            (file(&header("'>f4'", "False", "(1,)"), &[0; 4]), "\">f4\""),
            (file(&header("[('a', '<f4')]", "False", "(1,)"), &[0; 4]), "records"),
            (file(&header("'<f4'", "False", "(5,)"), &[0; 8]), "2 of its 5"),
            (file(&header("'<f4'", "False", "(-5,)"), &[0; 8]), "shape"),
        ] {
            let said = read(&bytes).unwrap_err();
            assert!(said.contains(part), "{said}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..100)) {
            let _ = read(&bytes);
            let mut begun = b"\x93NUMPY\x01\x00".to_vec();
            begun.extend(bytes);
            let _ = read(&begun);
        }
    }
}
