//! libFuzzer's entry to the target `exchange`.
#![no_main]

quarry_fuzz::fuzz!("exchange");
