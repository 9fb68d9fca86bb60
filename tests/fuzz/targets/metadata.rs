//! `metadata.json` beside a model.

use switchback::onnx::Metadata;

pub fn run(data: &[u8]) {
    let Ok(metadata) = Metadata::parse(data) else { return };
    let written = serde_json::to_vec(&metadata).expect("what was read can be written");
    assert_eq!(Metadata::parse(&written).as_ref(), Ok(&metadata));
}
