//! libFuzzer's entry to the target `observer`.
#![no_main]

quarry_fuzz::fuzz!("observer");
