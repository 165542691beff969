//! libFuzzer's entry to the target `rows`.
#![no_main]

quarry_fuzz::fuzz!("rows");
