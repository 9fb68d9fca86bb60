//! `cargo +nightly fuzz run response_head`, in `tests/fuzz`.
#![no_main]

#[path = "../targets.rs"]
#[allow(dead_code)]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::response_head(bytes));
