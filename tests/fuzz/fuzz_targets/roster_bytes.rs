//! libFuzzer's entry to the target `roster_bytes`.
#![no_main]

quarry_fuzz::fuzz!("roster_bytes");
