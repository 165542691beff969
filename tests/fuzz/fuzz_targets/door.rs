//! libFuzzer's entry to the target `door`.
#![no_main]

quarry_fuzz::fuzz!("door");
