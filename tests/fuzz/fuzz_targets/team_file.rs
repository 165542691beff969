//! libFuzzer's entry to the target `team_file`.
#![no_main]

quarry_fuzz::fuzz!("team_file");
