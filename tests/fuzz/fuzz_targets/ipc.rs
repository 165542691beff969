//! libFuzzer's entry to the target `ipc`.
#![no_main]

quarry_fuzz::fuzz!("ipc");
