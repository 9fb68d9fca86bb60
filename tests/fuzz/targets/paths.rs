//! Which API a path belongs to, and the names in it.

use switchback::inference::path::{Api, parse};

pub fn run(data: &[u8]) {
    let Ok(path) = std::str::from_utf8(data) else { return };
    let api = parse(path);
    for segment in api.model().into_iter().chain(api.version()) {
        assert!(!segment.raw().is_empty() && !segment.raw().contains('/'));
        match segment.decode() {
            Some(name) => {
                assert!(segment.is(&name));
                assert!(!name.chars().any(char::is_control));
            }
            None => assert!(segment.raw().contains('%') || segment.raw().chars().any(char::is_control)),
        }
    }
    if let Api::V1(call) | Api::V2(call) = api {
        assert!(path.ends_with(call.tail));
    }
}
