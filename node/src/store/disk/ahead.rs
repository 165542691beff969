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
mod tests {
    use super::*;
    use rustix::io::{Errno, ReadWriteFlags, preadv2};
    use std::io::{IoSliceMut, Write};

    /// Whether a read at this place waits for no disk.
    fn in_memory(file: &File, at: u64) -> bool {
        let mut byte = [0];
        let bytes = &mut [IoSliceMut::new(&mut byte)];
        match preadv2(file, bytes, at, ReadWriteFlags::NOWAIT) {
            Ok(read) => read == 1,
            Err(Errno::AGAIN) => false,
            Err(error) => panic!("{error}"),
        }
    }

    /// A file on a disk, of which nothing is in memory.
    fn cold(pieces: u64) -> tempfile::NamedTempFile {
        let test = std::env::current_exe().unwrap();
        let mut file = tempfile::NamedTempFile::new_in(test.parent().unwrap()).unwrap();
        for _ in 0..pieces {
            file.write_all(&vec![7; PIECE as usize]).unwrap();
        }
        file.as_file().sync_all().unwrap();
        fadvise(&file, 0, None, Advice::DontNeed).unwrap();
        file
    }

    #[test]
    fn the_whole_file_is_in_memory_then() {
        let file = cold(40);
        let places: Vec<u64> = (0..40 * PIECE).step_by(4096).collect();
        let there = || {
            places
                .iter()
                .filter(|at| in_memory(file.as_file(), **at))
                .count()
        };
        assert_eq!(there(), 0, "this test needs a directory on a disk");
        assert_eq!(read_ahead(file.path(), || true), 40 * PIECE);
        // Nobody has waited for the last piece.
        in_memory(file.as_file(), 40 * PIECE - 1);
        assert!(there() >= places.len() - PIECE as usize / 4096);
    }

    #[test]
    fn it_ends_with_the_store() {
        let file = cold(40);
        let left = std::cell::Cell::new(3);
        let goes_on = || left.replace(left.get() - 1) > 0;
        assert_eq!(read_ahead(file.path(), goes_on), 3 * PIECE);
        assert!(!in_memory(file.as_file(), 39 * PIECE));
    }
}
