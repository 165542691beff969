//! Libraries and linkers on a machine of their own making.

use super::*;
use crate::compiler::probe::Compilers;
use crate::compiler::rustc::testing::Checkout;
use crate::digests::MemoDigests;
use std::fs;
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};

const SHARED: &str = "\x7fELF shared";

fn find(name: &str, dirs: &[PathBuf]) -> Option<Library> {
    Library::find(name, dirs, &MemoDigests::new(None))
}

#[test]
fn a_library_is_what_the_linker_would_take_and_all_that_this_refers_to() {
    let dir = tempfile::tempdir().unwrap();
    let (near, far) = (dir.path().join("near"), dir.path().join("far"));
    fs::create_dir(&near).unwrap();
    fs::create_dir(&far).unwrap();
    let dirs = [near.clone(), far.clone()];
    assert_eq!(find("z", &dirs), None);
    fs::write(far.join("libz.so"), SHARED).unwrap();
    let first = find("z", &dirs).unwrap().digest;
    fs::write(far.join("libz.a"), "!<arch>\n").unwrap();
    let with_archive = find("z", &dirs).unwrap().digest;
    assert_ne!(first, with_archive, "linked statically it would be taken");
    fs::rename(far.join("libz.a"), near.join("libz.a")).unwrap();
    assert_ne!(
        find("z", &dirs).unwrap().digest,
        with_archive,
        "now it comes first"
    );
    fs::remove_file(near.join("libz.a")).unwrap();
    assert_eq!(find("z", &dirs).unwrap().digest, first);
    // A text, as libc.so is one.
    let real = far.join("libz.so.1");
    fs::write(&real, SHARED).unwrap();
    fs::write(far.join("libt.a"), "!<arch>\n").unwrap();
    let text = format!(
        "/* GNU ld script */ OUTPUT_FORMAT(elf64-x86-64)\nGROUP ( {} AS_NEEDED ( -lt ) )",
        real.display()
    );
    fs::write(far.join("libz.so"), text).unwrap();
    let by_text = find("z", &dirs).unwrap();
    assert_eq!(by_text.read.len(), 3);
    fs::write(&real, format!("{SHARED}!")).unwrap();
    let changed = find("z", &dirs).unwrap().digest;
    assert_ne!(changed, by_text.digest);
    fs::write(far.join("libt.a"), "!<arch>\nx").unwrap();
    assert_ne!(find("z", &dirs).unwrap().digest, changed);
    fs::remove_file(far.join("libt.a")).unwrap();
    assert_eq!(find("z", &dirs), None, "what it refers to is not there");
    fs::write(far.join("libz.so"), "INPUT(-lz)").unwrap();
    assert_eq!(find("z", &dirs), None, "a chain has an end");
}

#[test]
fn a_name_leads_nowhere_else() {
    assert!(is_plain("stdc++-6.1_x"));
    for name in ["", "../x", "a/b", ":libz.a", "a b", "a\0", &"a".repeat(300)] {
        assert!(!is_plain(name), "{name}");
    }
}

#[test]
fn what_stands_in_front_of_a_compiler_is_not_taken_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str, bytes: &[u8]| {
        let path = dir.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    };
    assert!(is_driver(&at("x86_64-linux-gnu-gcc-12", b"\x7fELF")));
    assert!(is_driver(&at("clang-19", b"\x7fELF")));
    assert!(!is_driver(&at("cc", b"#!/bin/sh\nexec gcc \"$@\"\n")));
    assert!(!is_driver(&at("ccache", b"\x7fELF")));
}

/// Real digests; a directory changes during the first of them.
struct Restless {
    files: MemoDigests,
    directory: PathBuf,
    changes: AtomicUsize,
}

impl FileDigests for Restless {
    fn digest(&self, path: &Path) -> io::Result<Digest> {
        let left = self.changes.load(Ordering::Relaxed);
        if left > 0 {
            self.changes.store(left - 1, Ordering::Relaxed);
            fs::write(self.directory.join(left.to_string()), "")?;
        }
        self.files.digest(path)
    }
}

#[test]
fn a_linker_whose_directory_changes_meanwhile_is_looked_at_again() {
    let checkout = Checkout::new("p", &[("src/lib.rs", "")]);
    let dir = tempfile::tempdir().unwrap();
    let mut inv = checkout.invocation();
    let unit = checkout.unit().0;
    let still = MemoDigests::new(None);
    let compiler = Compilers::new().identify(&inv, &unit, &still).unwrap();
    let path = inv.var("PATH").unwrap().to_owned();
    let path = std::iter::once(dir.path().to_owned()).chain(std::env::split_paths(&path));
    let path = std::env::join_paths(path).unwrap();
    inv.env.retain(|(name, _)| name != "PATH");
    inv.env.push(("PATH".into(), path));
    let identify = |changes| {
        let files = Restless {
            files: MemoDigests::new(None),
            directory: dir.path().to_owned(),
            changes: AtomicUsize::new(changes),
        };
        Linkers::default().identify(&inv, &unit, &compiler, &files)
    };
    let calm = identify(0).unwrap();
    assert_eq!(identify(1).unwrap(), calm);
    assert_eq!(
        identify(usize::MAX),
        Err(Bypass::LinkerUnidentified),
        "it never comes to rest"
    );
}
