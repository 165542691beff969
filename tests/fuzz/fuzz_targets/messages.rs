//! libFuzzer's entry to the target `messages`.
#![no_main]

quarry_fuzz::fuzz!("messages");
