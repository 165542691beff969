//! libFuzzer's entry to the target `libraries`.
#![no_main]

quarry_fuzz::fuzz!("libraries");
