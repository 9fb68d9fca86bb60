//! `golden.json`: examples that a model must answer.

use switchback::onnx::Golden;

pub fn run(data: &[u8]) {
    let Ok(golden) = Golden::parse(data) else { return };
    // A model that answers with what it was asked.
    let _ = golden.check(Ok);
    assert!(golden.check(|_| Err(switchback::onnx::EngineError::Loading)).is_err());
}
