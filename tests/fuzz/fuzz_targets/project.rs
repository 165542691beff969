//! libFuzzer's entry to the target `project`.
#![no_main]

quarry_fuzz::fuzz!("project");
