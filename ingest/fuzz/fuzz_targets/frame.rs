//! Any bytes as a frame, for libFuzzer: what must hold is in `check.rs`.

#![no_main]

#[path = "../check.rs"]
mod check;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| check::frame(bytes));
