//! The database read ahead, counted by what the disk was asked.

use super::*;
use std::io::Write;

/// What this thread had the disk read while `work` ran, in bytes; `work`'s answer.
fn read_from_disk<T>(work: impl FnOnce() -> T) -> (u64, T) {
    let so_far = || -> u64 {
        let said = std::fs::read_to_string("/proc/thread-self/io").unwrap();
        let read = said.lines().find_map(|l| l.strip_prefix("read_bytes: "));
        read.unwrap().parse().unwrap()
    };
    let before = so_far();
    let answer = work();
    (so_far() - before, answer)
}

/// A file of 40 pieces on a disk, of which nothing is in memory; `None` where the system does
/// not say what a thread had it read.
fn cold() -> Option<tempfile::NamedTempFile> {
    let file = cold_file();
    let mut byte = [0];
    let (read, _) = read_from_disk(|| file.as_file().read_at(&mut byte, 0).unwrap());
    if read == 0 {
        eprintln!("SKIPPED: the directory of this test is on no disk that counts its reads");
        return None;
    }
    Some(cold_file())
}

fn cold_file() -> tempfile::NamedTempFile {
    let test = std::env::current_exe().unwrap();
    let mut file = tempfile::NamedTempFile::new_in(test.parent().unwrap()).unwrap();
    for _ in 0..40 {
        file.write_all(&vec![7; PIECE as usize]).unwrap();
    }
    file.as_file().sync_all().unwrap();
    fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    file
}

/// Whoever reads the file afterwards has the disk asked for nothing more.
#[test]
fn the_whole_file_is_asked_for() {
    let Some(file) = cold() else { return };
    let (first, asked) = read_from_disk(|| read_ahead(file.path(), || true));
    assert_eq!(asked, 40 * PIECE);
    assert_ne!(first, 0);
    let mut page = [0; 4096];
    let (then, ()) = read_from_disk(|| {
        for at in (0..40 * PIECE).step_by(page.len()) {
            file.as_file().read_exact_at(&mut page, at).unwrap();
        }
    });
    assert_eq!(then, 0, "{first} bytes were read ahead");
}

#[test]
fn it_ends_with_the_store() {
    let Some(file) = cold() else { return };
    let left = std::cell::Cell::new(3);
    let goes_on = || left.replace(left.get() - 1) > 0;
    let (read, asked) = read_from_disk(|| read_ahead(file.path(), goes_on));
    assert_eq!(asked, 3 * PIECE);
    assert!((1..20 * PIECE).contains(&read), "{read} bytes were read");
}
