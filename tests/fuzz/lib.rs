//! What the fuzzers of this folder run. The integration test `main.rs` runs the same.

pub mod targets;

/// The fuzzer of one target.
#[macro_export]
macro_rules! fuzz {
    ($target:ident) => {
        libfuzzer_sys::fuzz_target!(|data: &[u8]| $crate::targets::$target::run(data));
    };
}
