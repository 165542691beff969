//! libFuzzer's entry to the target `providers`.
#![no_main]

quarry_fuzz::fuzz!("providers");
