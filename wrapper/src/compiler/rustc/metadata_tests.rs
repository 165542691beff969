//! Crate hashes, in what the real rustc writes.

use super::{HASH, own_hashes, same_but_for_own_hash};
use std::fs;
use std::path::Path;
use std::process::Command;

/// Metadata and library of a crate with this source.
fn compiled(dir: &Path, file: &str, source: &str) -> [Vec<u8>; 2] {
    let at = dir.join(file);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(&at, source).unwrap();
    let done = Command::new("rustc")
        .args(["--crate-name=one", "--crate-type=lib", "-Cdebuginfo=0"])
        .args(["--emit=metadata,link", "--out-dir"])
        .arg(dir)
        .arg(&at)
        .status();
    assert!(done.unwrap().success());
    ["libone.rmeta", "libone.rlib"].map(|name| fs::read(dir.join(name)).unwrap())
}

#[test]
fn a_hash_is_found_once_in_metadata_and_once_in_a_library() {
    let dir = tempfile::tempdir().unwrap();
    let [metadata, library] = compiled(dir.path(), "a.rs", "pub fn f() {}");
    let [inner] = &own_hashes(&metadata, "one")[..] else {
        panic!("not once");
    };
    let [outer] = &own_hashes(&library, "one")[..] else {
        panic!("not once");
    };
    assert_eq!(metadata[inner.clone()], library[outer.clone()]);
    assert_eq!(inner.len(), HASH);
    assert!(own_hashes(&metadata, "other").is_empty());
}

#[test]
fn only_the_hash_may_differ() {
    let dir = tempfile::tempdir().unwrap();
    for bytes in compiled(dir.path(), "a.rs", "pub fn f() -> u32 { 7 }") {
        let place = own_hashes(&bytes, "one").remove(0);
        let changed = |at: usize| {
            let mut other = bytes.clone();
            other[at] ^= 1;
            other
        };
        let same = |other: &[u8]| same_but_for_own_hash(&bytes, other, "one");
        assert!(same(&bytes));
        for at in place.clone() {
            assert!(same(&changed(at)), "{at}");
        }
        for at in [
            0,
            8,
            place.start - 1,
            place.end,
            place.end + 2,
            bytes.len() - 1,
        ] {
            assert!(!same(&changed(at)), "{at}");
        }
        assert!(!same(&bytes[..bytes.len() - 1]), "shorter");
        assert!(!same_but_for_own_hash(
            &bytes,
            &changed(place.start),
            "other"
        ));
    }
    assert!(!same_but_for_own_hash(
        b"no metadata",
        b"no metadata",
        "one"
    ));
}

#[test]
fn a_crate_that_says_something_else_differs_by_more() {
    let dir = tempfile::tempdir().unwrap();
    let one = compiled(dir.path(), "a.rs", "pub const N: u32 = 7;");
    let other = compiled(dir.path(), "a.rs", "pub const N: u32 = 8;");
    for (one, other) in one.iter().zip(&other) {
        assert!(!same_but_for_own_hash(one, other, "one"));
    }
}

#[test]
fn whatever_stands_there_is_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    let [metadata, _] = compiled(dir.path(), "a.rs", "pub fn f() {}");
    for length in 0..metadata.len().min(4096) {
        own_hashes(&metadata[..length], "one");
    }
    let mut wild = metadata.clone();
    for position in [u64::MAX, u64::MAX - 20, metadata.len() as u64 - 1, 0] {
        wild[8..16].copy_from_slice(&position.to_le_bytes());
        assert!(own_hashes(&wild, "one").is_empty());
    }
}
