//! libFuzzer's entry to the target `control`.
#![no_main]

quarry_fuzz::fuzz!("control");
