//! A model file, looked through before it is loaded.

use std::io::Cursor;

use switchback::onnx::external_places;

pub fn run(data: &[u8]) {
    let length = u64::try_from(data.len()).unwrap_or(0);
    let Ok(places) = external_places(Cursor::new(data), length) else { return };
    assert!(places.is_sorted() && places.iter().map(String::len).sum::<usize>() <= data.len());
    // A file that says to be longer than it is was cut off.
    assert!(external_places(Cursor::new(data), length + 1).is_err());
}
