//! Stories of builds that begin.

use super::*;
use crate::store::{How, Kind, MemoryStore};
use quarry_trust::{ActionKey, BuilderId, TeamId};

const CARGO: u32 = 77;

/// A build for `scope` whose first unit this is.
pub(in crate::worker) fn opened(scope: Scope, placed: &Placed, store: &dyn Store) -> Opening {
    keep((Digest::of(placed.dir.as_bytes()), 1), scope, placed, store).unwrap()
}

const TEAM: Scope = Scope::Team(TeamId(Digest::from_bytes([5; 32])));

fn key_in(words: &[&str], lock: &str) -> Digest {
    key_with(&[], words, lock)
}

fn key_with(variables: &[(&str, &str)], words: &[&str], lock: &str) -> Digest {
    let command = format!("{}\0", words.join("\0"));
    let variables: Vec<_> = variables
        .iter()
        .map(|(n, v)| (n.into(), v.into()))
        .collect();
    key(command.as_bytes(), &variables, lock.as_bytes())
}

fn placed() -> Placed {
    Placed {
        how: How::Compiled,
        builder: BuilderId([1; 32]),
        action: ActionKey::of(b"a"),
        scope: TEAM,
        crate_name: "c".into(),
        kind: Kind::Library,
        dir: "/p/target/debug/deps".into(),
        files: Vec::new(),
        at: 7,
    }
}

fn opening(n: u8) -> Opening {
    Opening {
        key: Digest::from_bytes([n; 32]),
        scope: TEAM,
        place: 1,
        at: 2,
    }
}

#[test]
fn what_decides_what_is_compiled_tells_builds_apart_and_nothing_else() {
    let plain = key_in(&["cargo", "build"], "lock");
    for same in [
        &["/usr/bin/cargo", "build", "--offline", "-v"][..],
        &["cargo", "build", "--manifest-path", "/p/Cargo.toml"],
        &["cargo", "--color=always", "build", "-j", "-j", "--locked"],
        &[
            "cargo",
            "build",
            "--target-dir=/t",
            "-vv",
            "-j4",
            "--",
            "--release",
        ],
    ] {
        assert_eq!(key_in(same, "lock"), plain, "{same:?}");
    }
    for other in [
        &["cargo", "build", "--release"][..],
        &["cargo", "check"],
        &["cargo", "build", "--features", "a"],
        &["cargo", "build", "--target", "wasm32-wasip1"],
        &[
            "cargo",
            "build",
            "--manifest-path=/p/Cargo.toml",
            "--release",
        ],
    ] {
        assert_ne!(key_in(other, "lock"), plain, "{other:?}");
    }
    assert_ne!(key_in(&["cargo", "build"], "other lock"), plain);
    assert_ne!(key_in(&["cargo", "b", "uild"], "lock"), plain);
    assert_eq!(key(b"", &[], b""), key(b"cargo", &[], b""));
    let with = |variables: &[(&str, &str)]| key_with(variables, &["cargo", "build"], "lock");
    let (flags, toolchain) = (
        ("RUSTFLAGS", "-Cdebuginfo=1"),
        ("RUSTUP_TOOLCHAIN", "nightly"),
    );
    assert_ne!(with(&[flags]), plain);
    assert_ne!(with(&[toolchain]), plain);
    assert_eq!(with(&[flags, toolchain]), with(&[toolchain, flags]));
    assert_ne!(with(&[("CARGO_PROFILE_DEV_DEBUG", "0")]), plain);
    let elsewhere = [
        ("HOME", "/h"),
        ("CARGO_TARGET_DIR", "/t"),
        ("CARGO_BUILD_JOBS", "3"),
    ];
    assert_eq!(with(&elsewhere), plain);
}

#[test]
fn a_build_begins_once() {
    let openings = Openings::default();
    let key = Digest::of(b"key");
    let first = |above| openings.first_of(above).map(|(key, _)| key);
    // Nothing is known of a build that asked nothing.
    openings.begins(CARGO, key);
    assert_eq!(first(Some(CARGO)), None);
    assert!(openings.is_first(CARGO));
    assert!(!openings.is_first(CARGO), "the same build");
    // What stands for it is not known yet.
    assert_eq!(first(Some(CARGO)), None);
    openings.begins(CARGO, key);
    assert_eq!(first(Some(CARGO + 1)), None);
    assert_eq!(first(None), None);
    assert_eq!(first(Some(CARGO)), Some(key));
    assert_eq!(first(Some(CARGO)), None, "it has begun");
}

#[test]
fn the_newest_are_known_each_once() {
    let store = MemoryStore::new();
    let began = |n: u8| keep((opening(n).key, 7), TEAM, &placed(), &store);
    for n in 0..=KNOWN_MAX as u8 {
        let found = began(n).unwrap();
        assert_eq!(
            (found.key, found.scope, found.at),
            (opening(n).key, TEAM, 7)
        );
        assert_eq!(found.place, place_of("/p/target/debug/build/b-1/out"));
    }
    assert_eq!(began(5), None, "no news");
    let keys: Vec<u8> = known(&store).iter().map(|o| o.key.as_bytes()[0]).collect();
    assert_eq!(keys.len(), KNOWN_MAX);
    assert_eq!(keys[..3], [5, KNOWN_MAX as u8, KNOWN_MAX as u8 - 1]);
    assert_eq!(keys.iter().filter(|n| **n == 5).count(), 1);
}

#[test]
fn the_list_has_a_form_of_its_own_and_what_is_none_is_empty() {
    let store = MemoryStore::new();
    let bytes = List(vec![opening(9)]).to_canon();
    let expected = [
        &[1, 0][..],
        &[1, 0, 0, 0],
        &[9; 32],
        &TEAM.to_canon(),
        &[1, 0, 0, 0, 0, 0, 0, 0],
        &[2, 0, 0, 0, 0, 0, 0, 0],
    ];
    assert_eq!(bytes, expected.concat());
    let kept = |bytes: &[u8]| {
        store.set_memo(&[(KNOWN.to_vec(), bytes.to_vec())]).unwrap();
        known(&store)
    };
    assert_eq!(kept(&bytes), [opening(9)]);
    let full = List(vec![opening(9); KNOWN_MAX]).to_canon();
    assert!(full.len() <= crate::store::MAX_MEMO_BYTES);
    assert_eq!(kept(&full).len(), KNOWN_MAX);
    let project = Scope::Project(TeamId(Digest::of(b"t")), Digest::of(b"p"));
    let longest = Opening {
        scope: project,
        ..opening(9)
    };
    let full = List(vec![longest; KNOWN_MAX]).to_canon();
    assert!(full.len() <= crate::store::MAX_MEMO_BYTES);
    let of_tomorrow = [&[2, 0], &bytes[2..]].concat();
    let too_many = List(vec![opening(9); KNOWN_MAX + 1]).to_canon();
    for rubbish in [&of_tomorrow[..], &too_many, &bytes[..bytes.len() - 1], b""] {
        assert_eq!(kept(rubbish), []);
    }
}

#[test]
fn a_lock_file_is_found_above_and_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let inner = dir.path().join("a/b");
    std::fs::create_dir_all(&inner).unwrap();
    assert_eq!(lock_around(&inner), None);
    let lock = dir.path().join("Cargo.lock");
    std::fs::write(&lock, "one").unwrap();
    assert_eq!(lock_around(&inner), Some(b"one".to_vec()));
    std::fs::File::create(&lock)
        .unwrap()
        .set_len(LOCK_MAX + 1)
        .unwrap();
    assert_eq!(lock_around(&inner), None, "larger than any");
}
