//! Where the filesystem shares blocks between files: btrfs and xfs, in images of their own.
//!
//! A restored file is one of its own and writable, and takes no space until somebody writes to it.

use super::ground::{Place, counted, led};
use crate::harness::disk::Disk;
use crate::harness::{Dev, files};
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that the library carries, and what is made of it, too.
const WEIGHT: u64 = 16 << 20;
/// What directories, names and small files of a build may take. Bytes.
const SMALL: u64 = 5 << 20;

/// A library with bytes that nothing packs, and a program that says their sum.
fn heavy<'d>(dev: &'d Dev, name: &str) -> Place<'d> {
    let text = "pub static BIG: &[u8] = include_bytes!(\"big\");\n\
                pub fn said() -> String { BIG.iter().map(|b| u64::from(*b)).sum::<u64>().to_string() }\n";
    let place = Place::lib(dev, name, text);
    let mut bytes = vec![0; usize::try_from(WEIGHT).unwrap()];
    let mut state = 1_u64;
    for byte in &mut bytes {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *byte = state.to_le_bytes()[7];
    }
    fs::write(place.l("src/big"), bytes).unwrap();
    place
}

/// Whether a file is none of the store's under another name.
fn is_own_and_writable(dev: &Dev, file: &Path) {
    let state = fs::metadata(file).unwrap();
    assert!(!state.permissions().readonly(), "{}", file.display());
    let objects = dev.home().join("store/objects");
    let same = |path: &Path| fs::metadata(path).is_ok_and(|m| m.ino() == state.ino());
    assert!(!files(&objects, &|_| true).is_empty());
    assert!(files(&objects, &same).is_empty(), "{}", file.display());
}

fn restored_without_a_copy(kind: &str) {
    let Some(disk) = Disk::new(kind) else { return };
    let alice = Dev::within(&disk.top(), "alice");
    let here = heavy(&alice, "here");
    here.build().succeeded();
    alice.flush();
    let sum = here.run();
    here.clean();
    let before = disk.used();
    assert_eq!(here.again(), led(&sum, "1 hit"));
    let took = disk.used() - before;
    assert!(
        took < SMALL,
        "{kind}: {took} bytes for files of {WEIGHT} and more"
    );
    let library = here.dep("libl-", ".rlib");
    is_own_and_writable(&alice, &library);

    // Another target directory at the same time: it takes its sources and nothing else.
    let there = heavy(&alice, "some/where/else");
    let before = disk.used();
    let how = counted(&alice, || drop(there.build().succeeded()));
    assert_eq!(how, "1 hit");
    let took = disk.used() - before;
    assert!(took < SMALL, "{kind}: {took} bytes at a second place");
    is_own_and_writable(&alice, &there.dep("libl-", ".rlib"));

    // Who writes to a file writes to this one alone.
    let at = fs::metadata(&library).unwrap().len() / 2;
    let mut file = fs::File::options().write(true).open(&library).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(&[0x55; 4096]).unwrap();
    drop(file);
    there.nothing_left();
    assert_eq!(there.run(), sum);
    there.clean();
    assert_eq!(there.again(), led(&sum, "1 hit"));
    assert!(alice.qnode(&["fsck"]).succeeded().ok);
}

#[test]
fn on_btrfs_what_is_restored_shares_blocks_and_nothing_else() {
    restored_without_a_copy("btrfs");
}

#[test]
fn on_xfs_what_is_restored_shares_blocks_and_nothing_else() {
    restored_without_a_copy("xfs");
}
