//! Bytes on disk.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that the files below a directory take, each inode once.
pub fn bytes(dir: &Path) -> u64 {
    let (mut dirs, mut seen, mut sum) = (vec![dir.to_owned()], HashSet::new(), 0);
    while let Some(next) = dirs.pop() {
        for entry in fs::read_dir(&next).into_iter().flatten().flatten() {
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            if metadata.is_dir() {
                dirs.push(entry.path());
            } else if seen.insert(metadata.ino()) {
                sum += metadata.len();
            }
        }
    }
    sum
}
