//! libFuzzer's entry to the target `addresses`.
#![no_main]

quarry_fuzz::fuzz!("addresses");
