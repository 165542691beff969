//! libFuzzer's entry to the target `announcements`.
#![no_main]

quarry_fuzz::fuzz!("announcements");
