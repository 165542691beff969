//! libFuzzer's entry to the target `objects`.
#![no_main]

quarry_fuzz::fuzz!("objects");
