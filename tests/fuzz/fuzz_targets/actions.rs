//! libFuzzer's entry to the target `actions`.
#![no_main]

quarry_fuzz::fuzz!("actions");
