//! What is restored as the stored file itself, under a second name (31, 34).

use super::ground::{Led, Place, led};
use crate::harness::{Dev, joined, wait_keys};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant, SystemTime};

/// Larger than what lies in the database.
const TEXT: usize = 200_000;

/// So large that it is still being read when the next one asks for it.
const LONG_TEXT: usize = 16_000_000;

/// A checkout whose library nobody asked cargo for by name, so that cargo gives it no further name.
pub fn place<'d>(dev: &'d Dev, name: &str) -> Place<'d> {
    place_of(dev, name, TEXT)
}

fn place_of<'d>(dev: &'d Dev, name: &str, length: usize) -> Place<'d> {
    let data = "x".repeat(length);
    let mut place = Place::new(
        dev,
        name,
        &[
            (
                "src/lib.rs",
                "pub static DATA: &str = include_str!(\"data.txt\"); pub fn said() -> usize { DATA.len() }",
            ),
            ("src/data.txt", &data),
        ],
    );
    place.args = vec!["-p".into(), "app".into()];
    place
}

pub fn said(how: &str) -> Led {
    led(&TEXT.to_string(), how)
}

pub fn inode(path: &Path) -> u64 {
    fs::metadata(path).unwrap().ino()
}

/// The inodes of the files below a directory.
fn inodes(dir: &Path) -> HashSet<u64> {
    let mut inodes = HashSet::new();
    let mut dirs = vec![dir.to_owned()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            match path.is_dir() {
                true => dirs.push(path),
                false => drop(inodes.insert(inode(&path))),
            }
        }
    }
    inodes
}

/// The inodes of what is stored in files.
fn stored(dev: &Dev) -> HashSet<u64> {
    inodes(&dev.home().join("store/objects"))
}

/// Changes a byte in the middle of a file, and sets its time back to what it was.
pub fn damage(path: &Path) {
    let before = fs::metadata(path).unwrap();
    let mut file = File::options().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(before.len() / 2)).unwrap();
    file.write_all(b"!").unwrap();
    file.set_modified(before.modified().unwrap()).unwrap();
}

#[test]
fn a_library_is_lent_to_one_target_directory_and_copied_to_others() {
    let alice = Dev::new("alice");
    let (here, there) = (place(&alice, "here"), place(&alice, "over/there"));
    assert_eq!(here.fresh(), said("1 miss"));
    assert_eq!(here.fresh(), said("1 hit"));
    assert_eq!(there.fresh(), said("1 hit"));
    let (ours, theirs) = (here.dep("libl-", ".rlib"), there.dep("libl-", ".rlib"));
    let stored = stored(&alice);
    assert!(stored.contains(&inode(&ours)), "lent");
    assert!(!stored.contains(&inode(&theirs)), "lent once");
    // What one does to its file is nothing to the other.
    let later = SystemTime::now() + Duration::from_secs(60);
    let touched = File::options().append(true).open(&theirs).unwrap();
    touched.set_modified(later).unwrap();
    here.nothing_left();
    // What was given back can be lent again.
    here.clean();
    assert_eq!(there.fresh(), said("1 hit"));
    assert!(stored.contains(&inode(&there.dep("libl-", ".rlib"))));
}

#[test]
fn many_who_want_one_library_at_once_all_get_it() {
    let alice = Dev::new("alice");
    let first = place_of(&alice, "first", LONG_TEXT);
    assert_eq!(first.fresh().1, "1 miss");
    first.clean();
    for _ in 0..3 {
        let names = (0..6).map(|n| format!("p{n}"));
        let places: Vec<_> = names
            .map(|name| place_of(&alice, &name, LONG_TEXT))
            .collect();
        let builds = places.iter().map(|place| {
            place.clean();
            let mut command = place.command("build");
            command.stderr(Stdio::null()).spawn().unwrap()
        });
        let builds: Vec<_> = builds.collect();
        for mut build in builds {
            assert!(build.wait().unwrap().success());
        }
        assert!(
            places
                .iter()
                .all(|place| place.run() == LONG_TEXT.to_string())
        );
    }
    let stats = alice.stats();
    assert_eq!(alice.count("rejected.corrupt"), 0, "{stats}");
    assert_eq!(alice.count("misses"), 2, "{stats}");
}

#[test]
fn what_executes_and_what_cargo_links_has_files_of_its_own() {
    let alice = Dev::new("alice");
    let mut here = place(&alice, "here");
    here.args.clear();
    assert_eq!(here.fresh(), said("1 miss"));
    assert_eq!(here.fresh(), said("1 hit"));
    let stored = stored(&alice);
    let built = inodes(&here.at.join("target"));
    assert!(built.len() > 5);
    assert!(built.is_disjoint(&stored));
}

#[test]
fn a_lent_library_that_was_written_to_is_compiled_again_whatever_its_times_say() {
    let alice = Dev::new("alice");
    let here = place(&alice, "here");
    assert_eq!(here.fresh(), said("1 miss"));
    assert_eq!(here.fresh(), said("1 hit"));
    let rlib = here.dep("libl-", ".rlib");
    let sound = fs::read(&rlib).unwrap();
    damage(&rlib);
    assert_eq!(here.fresh(), said("1 miss"));
    assert_eq!(fs::read(here.dep("libl-", ".rlib")).unwrap(), sound);
    assert_eq!(here.fresh(), said("1 hit"));
    assert!(alice.qnode(&["fsck"]).ok);
}

#[test]
fn a_lent_library_that_was_written_to_is_not_given_to_a_teammate() {
    let devs = joined(
        vec![Dev::new("alice"), Dev::new("bobby")],
        &["alice", "bob"],
    );
    let [alice, bob] = &devs[..] else {
        unreachable!()
    };
    let here = place(alice, "here");
    assert_eq!(here.fresh(), said("1 miss"));
    assert_eq!(here.fresh(), said("1 hit"));
    damage(&here.dep("libl-", ".rlib"));
    wait_keys(bob, alice);
    let there = place(bob, "over/there");
    assert_eq!(there.fresh(), said("1 miss"));
    assert_eq!(bob.count("rejected.corrupt"), 0, "{}", bob.stats());
    // And what is sound is: back to who had it first.
    wait_keys(alice, bob);
    assert_eq!(here.fresh(), said("1 peer"), "{}", alice.stats());
}

#[test]
fn a_lent_library_is_rebuilt_without_us_and_evicted_without_harm() {
    let alice = Dev::new("alice");
    let here = place(&alice, "here");
    assert_eq!(here.fresh(), said("1 miss"));
    assert_eq!(here.fresh(), said("1 hit"));
    let sound = fs::read(here.dep("libl-", ".rlib")).unwrap();
    here.write(&[("src/data.txt", "short")]);
    here.plain().succeeded();
    assert_eq!(here.run(), "5");
    here.write(&[("src/data.txt", &"x".repeat(TEXT))]);
    assert_eq!(here.fresh(), said("1 hit"));
    assert_eq!(fs::read(here.dep("libl-", ".rlib")).unwrap(), sound);
    alice.qnode(&["purge", "--all", "--yes"]).succeeded();
    assert_eq!(fs::read(here.dep("libl-", ".rlib")).unwrap(), sound);
    here.nothing_left();
}

#[test]
fn what_has_settled_is_restored_and_served_as_it_was() {
    let devs = joined(
        vec![Dev::new("alice"), Dev::new("bobby")],
        &["alice", "bob"],
    );
    let [alice, bob] = &devs[..] else {
        unreachable!()
    };
    let here = place(alice, "here");
    assert_eq!(here.fresh(), said("1 miss"));
    let sound = fs::read(here.dep("libl-", ".rlib")).unwrap();
    alice.flush();
    let told = alice.qnode(&["settle"]).succeeded().out;
    assert!(told.starts_with("packed "), "{told}");
    assert!(stored(alice).is_empty(), "all is packed");
    wait_keys(bob, alice);
    let there = place(bob, "over/there");
    assert_eq!(there.fresh(), said("1 peer"));
    assert_eq!(fs::read(there.dep("libl-", ".rlib")).unwrap(), sound);
    assert_eq!(here.fresh(), said("1 hit"));
    assert_eq!(fs::read(here.dep("libl-", ".rlib")).unwrap(), sound);
    here.nothing_left();
    alice.qnode(&["fsck"]).succeeded();
}

#[test]
fn a_program_is_copied_before_cargo_asks_for_it() {
    let alice = Dev::new("alice");
    let mut here = place(&alice, "here");
    assert_eq!(here.fresh(), said("1 miss"));
    let program = here.at.join("target/debug/app");
    let whole = fs::read(&program).unwrap();
    assert_eq!(here.fresh(), said("1 hit"));
    alice.flush();
    alice.qnode(&["settle"]).succeeded();
    here.clean();
    // Cargo asks what the compiler is before it finds that there is no such package.
    let args = std::mem::replace(&mut here.args, vec!["-p".into(), "none".into()]);
    assert!(here.build().err.contains("none"));
    here.args = args;
    let spare = alice.home().join("spare");
    let until = Instant::now() + Duration::from_secs(10);
    let copies = loop {
        let copies = inodes(&spare);
        if !copies.is_empty() {
            break copies;
        }
        assert!(Instant::now() < until, "nothing was copied");
        std::thread::sleep(Duration::from_millis(1));
    };
    assert_eq!(here.again(), said("1 hit"));
    assert!(copies.contains(&inode(&program)), "it was copied again");
    assert_eq!(fs::read(&program).unwrap(), whole);
    assert!(inodes(&spare).is_empty());
}
