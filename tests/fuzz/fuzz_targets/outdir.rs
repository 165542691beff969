//! libFuzzer's entry to the target `outdir`.
#![no_main]

quarry_fuzz::fuzz!("outdir");
