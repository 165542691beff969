//! libFuzzer's entry to the target `config`.
#![no_main]

quarry_fuzz::fuzz!("config");
