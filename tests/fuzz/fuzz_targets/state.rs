//! libFuzzer's entry to the target `state`.
#![no_main]

quarry_fuzz::fuzz!("state");
