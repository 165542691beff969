//! libFuzzer's entry to the target `depinfo`.
#![no_main]

quarry_fuzz::fuzz!("depinfo");
