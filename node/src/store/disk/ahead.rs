//! The database read ahead: after a morning's start nothing of it is in memory, and each of the
//! first look-ups would wait for the disk some times.
//!
//! Enters: the database's file. Leaves: nothing; its pages are in the system's cache, as far as
//! they are worth an eighth of the machine's memory. What is there already costs a question.

use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// What is asked for at a time, in bytes: no more than a kernel reads ahead at once by default.
const PIECE: u64 = 128 << 10;
/// The part of the machine's memory that is worth it.
const SHARE: u64 = 8;

/// Reads the file's beginning while `goes_on`; returns the bytes that were asked for. Two pieces
/// are under way at the most: who looks something up meanwhile waits for these alone.
pub(super) fn read_ahead(path: &Path, goes_on: impl Fn() -> bool) -> u64 {
    let Ok(file) = File::open(path) else {
        return 0;
    };
    let memory = rustix::system::sysinfo();
    let memory = (memory.totalram as u64).saturating_mul(u64::from(memory.mem_unit));
    let length = file.metadata().map_or(0, |m| m.len());
    let end = length.min(memory / SHARE);
    let mut at = 0;
    while at < end && goes_on() {
        let next = end.min(at + PIECE);
        if fadvise(&file, at, NonZeroU64::new(next - at), Advice::WillNeed).is_err() {
            break;
        }
        // Waits for the piece before.
        if at > 0 && !matches!(file.read_at(&mut [0], at - 1), Ok(1)) {
            break;
        }
        at = next;
    }
    at
}

#[cfg(test)]
#[path = "ahead_tests.rs"]
mod tests;
