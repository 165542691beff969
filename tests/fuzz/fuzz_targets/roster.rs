//! libFuzzer's entry to the target `roster`.
#![no_main]

quarry_fuzz::fuzz!("roster");
