//! libFuzzer's entry to the target `frames`.
#![no_main]

quarry_fuzz::fuzz!("frames");
