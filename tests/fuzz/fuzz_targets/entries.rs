//! libFuzzer's entry to the target `entries`.
#![no_main]

quarry_fuzz::fuzz!("entries");
