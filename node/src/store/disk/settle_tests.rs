//! What settles is a third of its size; what is pinned, lent or damaged stays or goes.

use super::super::super::fixtures::{Compile, noise};
use super::super::super::{RedbStore, Store};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Compresses well, and is no two chunks alike.
fn text(seed: u64) -> Vec<u8> {
    let words = noise(seed, 200_000);
    words.iter().flat_map(|b| [*b, 7, 7, 7, 7, 7]).collect()
}

fn stored(dir: &Path, seeds: &[u64]) -> (RedbStore, Vec<Compile>) {
    let (store, _) = RedbStore::open(dir).unwrap();
    let compile = |seed: &u64| Compile {
        output: text(*seed),
        ..Compile::new(*seed, 0)
    };
    let compiles: Vec<Compile> = seeds.iter().map(compile).collect();
    for compile in &compiles {
        compile.store(&store).unwrap();
    }
    (store, compiles)
}

fn path(dir: &Path, folder: &str, compile: &Compile) -> PathBuf {
    let hex = compile.output_ref().digest.to_hex();
    dir.join(folder).join(&hex[..2]).join(&hex[2..])
}

#[test]
fn what_settles_shrinks_on_the_disk_and_survives_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let (store, compiles) = stored(dir.path(), &[1, 2]);
    let report = store.settle(u64::MAX, u64::MAX).unwrap();
    assert_eq!(report.objects, 2);
    assert!(report.after < report.before / 2, "{report:?}");
    for compile in &compiles {
        assert!(!path(dir.path(), "objects", compile).exists());
        let length = fs::metadata(path(dir.path(), "settled", compile))
            .unwrap()
            .len();
        assert!(length < report.before / 2);
    }
    drop(store);
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    assert!(compiles.iter().all(|compile| compile.restores(&store)));
    assert!(store.fsck(false).unwrap().is_sound());
}

#[test]
fn no_more_than_asked_for_is_packed_and_nothing_that_is_pinned_or_lent() {
    let dir = tempfile::tempdir().unwrap();
    let (store, compiles) = stored(dir.path(), &[1, 2, 3, 4]);
    let pinned = store.pin(&compiles[0].output_ref()).unwrap().unwrap();
    fs::hard_link(
        path(dir.path(), "objects", &compiles[1]),
        dir.path().join("lent"),
    )
    .unwrap();
    assert_eq!(store.settle(u64::MAX, 1).unwrap().objects, 1);
    assert_eq!(store.settle(u64::MAX, u64::MAX).unwrap().objects, 1);
    assert!(path(dir.path(), "objects", &compiles[0]).exists());
    assert!(path(dir.path(), "objects", &compiles[1]).exists());
    drop(pinned);
    fs::remove_file(dir.path().join("lent")).unwrap();
    assert_eq!(store.settle(u64::MAX, u64::MAX).unwrap().objects, 2);
    assert!(compiles.iter().all(|compile| compile.restores(&store)));
}

#[test]
fn damage_is_found_before_packing_and_after() {
    let dir = tempfile::tempdir().unwrap();
    let (store, compiles) = stored(dir.path(), &[1, 2]);
    let spoil = |path: &Path| {
        let mut bytes = fs::read(path).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        fs::remove_file(path).unwrap();
        fs::write(path, bytes).unwrap();
    };
    spoil(&path(dir.path(), "objects", &compiles[0]));
    assert_eq!(store.settle(u64::MAX, u64::MAX).unwrap().objects, 1);
    assert!(
        !store.has(&compiles[0].output_ref().digest).unwrap(),
        "a miss"
    );
    spoil(&path(dir.path(), "settled", &compiles[1]));
    assert!(!compiles[1].restores(&store));
    assert!(!store.fsck(false).unwrap().is_sound());
    assert!(!store.recheck(&compiles[1].output_ref().digest).unwrap());
    assert!(!path(dir.path(), "settled", &compiles[1]).exists());
}

#[test]
fn what_a_crash_leaves_beside_the_row_is_a_stray() {
    let dir = tempfile::tempdir().unwrap();
    let (store, compiles) = stored(dir.path(), &[1]);
    // Before the row: the packed file. After it: the file as it was.
    let (raw, packed) = (
        path(dir.path(), "objects", &compiles[0]),
        path(dir.path(), "settled", &compiles[0]),
    );
    let before = fs::read(&raw).unwrap();
    fs::create_dir_all(packed.parent().unwrap()).unwrap();
    fs::write(&packed, b"half of it").unwrap();
    assert_eq!(store.gc(u64::MAX).unwrap().strays, 1);
    assert!(!packed.exists() && compiles[0].restores(&store));
    store.settle(u64::MAX, u64::MAX).unwrap();
    fs::write(&raw, before).unwrap();
    assert_eq!(store.gc(u64::MAX).unwrap().strays, 1);
    assert!(!raw.exists() && compiles[0].restores(&store));
}

/// A build, and what is read ahead of it, want the same.
#[test]
fn who_wants_what_is_being_unpacked_waits_for_it() {
    let dir = tempfile::tempdir().unwrap();
    let (store, compiles) = stored(dir.path(), &[1]);
    store.settle(u64::MAX, u64::MAX).unwrap();
    let object = compiles[0].output_ref();
    let soon = Instant::now() + Duration::from_secs(60);
    let other = store.inner.thawing.take(object.digest, soon).unwrap();
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| store.thaw(&object).unwrap().is_some());
        std::thread::sleep(Duration::from_millis(100));
        assert!(!waits.is_finished());
        drop(other);
        assert!(waits.join().unwrap());
    });
}

#[test]
fn what_is_used_again_lies_as_it_was_and_a_crash_finds_it_either_way() {
    let dir = tempfile::tempdir().unwrap();
    let (store, compiles) = stored(dir.path(), &[1, 2]);
    store.settle(u64::MAX, u64::MAX).unwrap();
    let settled = store.counts().unwrap().bytes;
    let object = compiles[0].output_ref();
    let (raw, packed) = (
        path(dir.path(), "objects", &compiles[0]),
        path(dir.path(), "settled", &compiles[0]),
    );
    let (_, checked) = store.thaw(&object).unwrap().unwrap();
    assert!(checked && raw.exists());
    let (_, checked) = store.thaw(&object).unwrap().unwrap();
    assert!(!checked, "it was here, and nobody read it now");
    assert!(store.counts().unwrap().bytes > settled);
    // The row may be lost: then the packed file is what it promises.
    assert!(packed.exists());
    store.gc(u64::MAX).unwrap();
    assert!(!packed.exists() && raw.exists(), "durable by now");
    drop(store);
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    assert!(compiles.iter().all(|compile| compile.restores(&store)));
    assert!(store.fsck(false).unwrap().is_sound());
    assert_eq!(store.settle(u64::MAX, u64::MAX).unwrap().objects, 1);
    assert_eq!(store.counts().unwrap().bytes, settled);
}

#[test]
fn what_is_damaged_is_not_unpacked() {
    let dir = tempfile::tempdir().unwrap();
    let (store, compiles) = stored(dir.path(), &[1]);
    store.settle(u64::MAX, u64::MAX).unwrap();
    let packed = path(dir.path(), "settled", &compiles[0]);
    let mut bytes = fs::read(&packed).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::remove_file(&packed).unwrap();
    fs::write(&packed, bytes).unwrap();
    assert!(store.thaw(&compiles[0].output_ref()).unwrap().is_none());
    assert!(!path(dir.path(), "objects", &compiles[0]).exists());
    assert!(!store.has(&compiles[0].output_ref().digest).unwrap());
}
