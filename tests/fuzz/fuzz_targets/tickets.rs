//! libFuzzer's entry to the target `tickets`.
#![no_main]

quarry_fuzz::fuzz!("tickets");
