//! Stories of builds that begin.

use super::*;
use crate::store::{How, Kind, MemoryStore};
use quarry_trust::{ActionKey, BuilderId, TeamId};

impl Openings {
    /// A build whose first unit this is, and what stands for it.
    pub(in crate::worker) fn opened(dir: &Path, placed: &Placed, store: &dyn Store) -> Opening {
        let openings = Self::default();
        assert!(openings.is_first(dir));
        openings.begins(dir, Digest::of(dir.as_os_str().as_encoded_bytes()));
        openings.placed(Some(dir), placed, store).unwrap()
    }
}

const TEAM: Scope = Scope::Team(TeamId(Digest::from_bytes([5; 32])));

fn key_in(words: &[&str], lock: &str) -> Digest {
    key_of(
        format!("{}\0", words.join("\0")).as_bytes(),
        lock.as_bytes(),
    )
}

fn placed(scope: Scope) -> Placed {
    Placed {
        how: How::Compiled,
        builder: BuilderId([1; 32]),
        action: ActionKey::of(b"a"),
        scope,
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
        &["cargo", "build", "--target-dir=/t", "--", "--release"],
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
    assert_eq!(key_of(b"", b""), key_of(b"cargo", b""));
}

#[test]
fn a_build_is_known_by_its_first_unit_that_is_for_others_and_once() {
    let (openings, store) = (Openings::default(), MemoryStore::new());
    let here = Path::new("/p");
    let key = Digest::of(b"key");
    let placed_in =
        |dir: &str, scope| openings.placed(Some(Path::new(dir)), &placed(scope), &store);
    // Nothing is known of a build that asked nothing.
    openings.begins(here, key);
    assert_eq!(placed_in("/p", TEAM), None);
    assert!(openings.is_first(here));
    assert!(!openings.is_first(here), "the same build");
    assert_eq!(
        placed_in("/p", TEAM),
        None,
        "what stands for it is not known yet"
    );
    openings.begins(here, key);
    assert_eq!(placed_in("/elsewhere", TEAM), None);
    assert_eq!(openings.placed(None, &placed(TEAM), &store), None);
    assert_eq!(placed_in("/p", Scope::Private), None);
    assert_eq!(known(&store), []);
    let found = placed_in("/p", TEAM).unwrap();
    assert_eq!((found.key, found.scope), (key, TEAM));
    assert_eq!(found.place, place_of("/p/target/debug/build/b-1/out"));
    assert_eq!(known(&store), [found]);
    assert_eq!(placed_in("/p", TEAM), None, "it has begun");
}

#[test]
fn the_newest_are_known_each_once() {
    let (openings, store) = (Openings::default(), MemoryStore::new());
    let began = |n: u8| {
        let dir = PathBuf::from(format!("/{n}"));
        openings.lock().clear();
        assert!(openings.is_first(&dir));
        openings.begins(&dir, opening(n).key);
        openings.placed(Some(&dir), &placed(TEAM), &store).unwrap();
    };
    (0..=KNOWN_MAX as u8).for_each(began);
    began(5);
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
fn a_lock_file_stands_for_what_is_built_below_it() {
    let dir = tempfile::tempdir().unwrap();
    let pid = i32::try_from(std::process::id()).unwrap();
    let inner = dir.path().join("a/b");
    std::fs::create_dir_all(&inner).unwrap();
    assert_eq!(key(pid, &inner), None);
    let lock = dir.path().join("Cargo.lock");
    std::fs::write(&lock, "one").unwrap();
    let one = key(pid, &inner).unwrap();
    assert_eq!(key(pid, dir.path()), Some(one));
    std::fs::write(&lock, "two").unwrap();
    assert_ne!(key(pid, &inner), Some(one));
    assert_eq!(key(i32::MAX, &inner), None);
    std::fs::File::create(&lock)
        .unwrap()
        .set_len(LOCK_MAX + 1)
        .unwrap();
    assert_eq!(key(pid, &inner), None, "larger than any");
}
