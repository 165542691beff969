//! libFuzzer's entry to the target `filters`.
#![no_main]

quarry_fuzz::fuzz!("filters");
