//! libFuzzer's entry to the target `places`.
#![no_main]

quarry_fuzz::fuzz!("places");
