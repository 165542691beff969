//! Damage stories: bytes change, files vanish, the disk fills, the database is another's.
//!
//! What is damaged is a miss and is found by fsck; it never panics, and it never restores as
//! something else.

use super::super::fixtures::{Compile, action, lookup, noise, read, stage};
use super::super::report::Fault;
use super::super::{Counts, Opened, Store, StoreError};
use super::RedbStore;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

const LARGE: usize = 150_000;

fn open(dir: &Path) -> RedbStore {
    RedbStore::open(dir).unwrap().0
}

fn file_of(dir: &Path, compile: &Compile) -> PathBuf {
    let hex = compile.output_ref().digest.to_hex();
    dir.join("objects").join(&hex[..2]).join(&hex[2..])
}

/// Writes into a file that its owner may only read.
fn overwrite(path: &Path, at: u64, bytes: &[u8]) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    let mut file = fs::OpenOptions::new().write(true).open(path).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(bytes).unwrap();
}

/// What a reader does who finds a large object damaged, and what comes of it.
fn assert_is_stored_anew(store: &RedbStore, compile: &Compile) {
    assert!(!compile.restores(store), "a damaged object is a miss");
    assert!(!store.recheck(&compile.output_ref().digest).unwrap());
    compile.store(store).unwrap();
    assert!(compile.restores(store));
    assert!(store.fsck(false).unwrap().is_sound());
}

#[test]
fn a_changed_byte_is_a_miss_and_is_stored_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let compile = Compile::new(1, LARGE);
    compile.store(&store).unwrap();
    overwrite(&file_of(dir.path(), &compile), 77_000, b"!");
    assert_is_stored_anew(&store, &compile);
}

#[test]
fn a_torn_or_missing_file_is_a_miss_and_is_stored_anew() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let compile = Compile::new(1, LARGE);
    compile.store(&store).unwrap();
    let path = file_of(dir.path(), &compile);
    fs::write(&path, &compile.output[..LARGE / 2]).unwrap();
    assert!(store.object(&compile.output_ref()).unwrap().is_none());
    assert_is_stored_anew(&store, &compile);
    fs::remove_file(&path).unwrap();
    assert!(store.object(&compile.output_ref()).unwrap().is_none());
    // Without a reader's complaint, too: a stage looks whether the file is there.
    compile.store(&store).unwrap();
    assert!(compile.restores(&store));
}

#[test]
fn fsck_finds_what_is_broken_and_repair_removes_it() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    let compiles: Vec<_> = (1..=4).map(|number| Compile::new(number, LARGE)).collect();
    compiles
        .iter()
        .for_each(|compile| compile.store(&store).unwrap());
    overwrite(&file_of(dir.path(), &compiles[0]), 5, b"!");
    fs::remove_file(file_of(dir.path(), &compiles[1])).unwrap();
    let stray = dir.path().join("objects/ab/not-an-object");
    fs::create_dir_all(stray.parent().unwrap()).unwrap();
    fs::write(&stray, b"stray").unwrap();
    let report = store.fsck(false).unwrap();
    let digest = |at: usize| compiles[at].output_ref().digest;
    let builder = super::super::fixtures::builder(1).id();
    for fault in [
        Fault::ObjectDamaged(digest(0)),
        Fault::ObjectMissing(digest(1)),
        Fault::EntryIncomplete(action(1), builder, digest(0)),
        Fault::EntryIncomplete(action(2), builder, digest(1)),
        Fault::StrayFile(stray.clone()),
    ] {
        assert!(report.faults.contains(&fault), "{fault:?} in {report:?}");
    }
    assert_eq!(report.faults_total, 5);
    assert_eq!(
        (report.entries, report.objects, report.repaired),
        (4, 8, false)
    );
    assert!(stray.exists(), "without repair nothing is touched");
    assert_eq!(store.fsck(true).unwrap().faults, report.faults);
    assert!(store.fsck(false).unwrap().is_sound());
    assert!(!stray.exists());
    let left: Vec<bool> = compiles
        .iter()
        .map(|compile| compile.restores(&store))
        .collect();
    assert_eq!(left, [false, false, true, true]);
    assert!(store.offers(&lookup(1), 8).unwrap().is_empty());
}

#[test]
fn an_unreadable_database_is_set_aside_and_one_of_them_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("store.redb");
    let compile = Compile::new(1, LARGE);
    for (round, junk) in [vec![0; 100_000], b"not a database".to_vec(), noise(1, 5000)]
        .into_iter()
        .enumerate()
    {
        fs::write(&database, &junk).unwrap();
        let (store, opened) = RedbStore::open(dir.path()).unwrap();
        let Opened::SetAside { to, why } = opened else {
            panic!("{opened:?}");
        };
        assert!(!why.is_empty());
        assert_eq!(
            to,
            dir.path().join(format!("store.redb.broken-{}", round + 1))
        );
        assert_eq!(fs::read(&to).unwrap(), junk);
        assert_eq!(store.counts().unwrap(), Counts::default());
        compile.store(&store).unwrap();
        assert!(compile.restores(&store));
        store.set_state("roster", b"of the team").unwrap();
        drop(store);
        let broken = fs::read_dir(dir.path()).unwrap().filter(|item| {
            let name = item.as_ref().unwrap().file_name();
            name.to_string_lossy().contains("broken")
        });
        assert_eq!(broken.count(), 1);
    }
    fs::write(&database, b"again").unwrap();
    let store = open(dir.path());
    assert_eq!(
        store.state("roster").unwrap(),
        Some(b"of the team".to_vec())
    );
    assert_eq!(
        store.gc(u64::MAX).unwrap().strays,
        1,
        "the old database's object"
    );
}

#[test]
fn a_cut_database_is_set_aside() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    (0..50).for_each(|number| Compile::new(number, 5000).store(&store).unwrap());
    drop(store);
    let database = dir.path().join("store.redb");
    let len = fs::metadata(&database).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&database).unwrap();
    file.set_len(len / 3).unwrap();
    let (store, opened) = RedbStore::open(dir.path()).unwrap();
    assert!(matches!(opened, Opened::SetAside { .. }), "{opened:?}");
    Compile::new(1, 5000).store(&store).unwrap();
    assert!(Compile::new(1, 5000).restores(&store));
}

#[test]
fn bytes_changed_anywhere_in_the_database_never_panic_and_never_restore_wrongly() {
    let dir = tempfile::tempdir().unwrap();
    let compiles: Vec<_> = (0..40).map(|number| Compile::new(number, 4000)).collect();
    let store = open(dir.path());
    compiles
        .iter()
        .for_each(|compile| compile.store(&store).unwrap());
    drop(store);
    let database = dir.path().join("store.redb");
    let sound = fs::read(&database).unwrap();
    let mut harmed = 0;
    for round in 0..60 {
        let mut bytes = sound.clone();
        let at = (round * 7919 * 131) % (bytes.len() - 64);
        bytes[at..at + 48].fill(0xA5);
        fs::write(&database, &bytes).unwrap();
        let Ok((store, _)) = RedbStore::open(dir.path()) else {
            panic!("round {round}: it opens, set aside or not");
        };
        for compile in &compiles {
            let (entry, offer) = compile.entry();
            // An error is a miss; an object is given out with its digest checked or not at all;
            // entries are verified by who reads them.
            let _ = store.entries(&entry.action);
            let _ = store.offers(&entry.lookup, 8);
            if let Ok(Some(found)) = store.object(&compile.output_ref()) {
                let super::super::Object::Bytes(found) = found else {
                    panic!("a small object is no file");
                };
                assert!(found == compile.output, "round {round}");
            } else {
                harmed += 1;
            }
            drop(offer);
        }
        let _ = store.fsck(true);
        let fresh = Compile::new(1000, 4000);
        if fresh.store(&store).is_err() {
            // The damage came to light just now, and the database was made anew.
            fresh.store(&store).unwrap();
        }
        assert!(fresh.restores(&store), "round {round}");
    }
    println!("{harmed} of {} reads met the damage", 60 * compiles.len());
    assert!(harmed > 0, "the rounds did hit something");
}

#[test]
fn a_table_of_another_form_is_never_misread() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("store.redb");
    const FOREIGN: redb::TableDefinition<u64, &str> = redb::TableDefinition::new("entries.1");
    const LATER: redb::TableDefinition<u64, &str> = redb::TableDefinition::new("entries.2");
    let write = |table: redb::TableDefinition<u64, &str>| {
        let db = redb::Database::create(&database).unwrap();
        let txn = db.begin_write().unwrap();
        txn.open_table(table)
            .unwrap()
            .insert(1, "of another form")
            .unwrap();
        txn.commit().unwrap();
    };
    write(FOREIGN);
    let (store, opened) = RedbStore::open(dir.path()).unwrap();
    assert!(matches!(opened, Opened::SetAside { .. }), "{opened:?}");
    Compile::new(1, 5000).store(&store).unwrap();
    drop(store);
    // A later version's tables lie beside ours, untouched.
    write(LATER);
    let (store, opened) = RedbStore::open(dir.path()).unwrap();
    assert_eq!(opened, Opened::Reopened);
    assert!(Compile::new(1, 5000).restores(&store));
    drop(store);
    let db = redb::Database::create(&database).unwrap();
    let txn = redb::ReadableDatabase::begin_read(&db).unwrap();
    let later = txn.open_table(LATER).unwrap();
    assert_eq!(later.get(1).unwrap().unwrap().value(), "of another form");
}

#[test]
fn a_second_node_on_the_same_store_is_told_so_and_harms_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    Compile::new(1, LARGE).store(&store).unwrap();
    let second = RedbStore::open(dir.path());
    assert!(matches!(second, Err(StoreError::InUse(_))));
    assert!(Compile::new(1, LARGE).restores(&store));
    drop(store);
    assert!(Compile::new(1, LARGE).restores(&open(dir.path())));
}

#[test]
fn damaged_state_is_said_and_not_given_out() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    store.set_state("roster", b"of the team").unwrap();
    overwrite(&dir.path().join("state/roster"), 45, b"!");
    let damaged = store.state("roster");
    assert!(matches!(damaged, Err(StoreError::State(_))), "{damaged:?}");
    store.set_state("roster", b"anew").unwrap();
    assert_eq!(store.state("roster").unwrap(), Some(b"anew".to_vec()));
}

#[test]
fn the_store_is_its_owners_alone() {
    let dir = tempfile::tempdir().unwrap();
    let home = dir.path().join("store");
    let store = open(&home);
    let compile = Compile::new(1, LARGE);
    compile.store(&store).unwrap();
    store.set_state("roster", b"x").unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&home), 0o700);
    assert_eq!(mode(&home.join("objects")), 0o700);
    assert_eq!(mode(&home.join("store.redb")), 0o600);
    assert_eq!(mode(&home.join("state/roster")), 0o600);
    assert_eq!(mode(&file_of(&home, &compile)), 0o400);
}

const SMALL_DISK: &str = "QUARRY_TEST_SMALL_DISK";

#[test]
fn a_full_disk_is_said_and_the_store_serves_on() {
    let dir = tempfile::tempdir().unwrap();
    let namespace = ["--user", "--map-root-user", "--mount"];
    let here = Command::new("unshare").args(namespace).arg("true").status();
    if !here.is_ok_and(|status| status.success()) {
        eprintln!(
            "not told: this machine allows no user namespaces, so no small disk of one's own"
        );
        return;
    }
    let child = Command::new("unshare")
        .args(namespace)
        .args([
            "sh",
            "-c",
            "mount -t tmpfs -o size=12m tmpfs \"$1\" && shift && exec \"$@\"",
            "sh",
        ])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture"])
        .arg("store::disk::damage_tests::on_a_small_disk")
        .env(SMALL_DISK, dir.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&child.stdout) + String::from_utf8_lossy(&child.stderr);
    assert!(
        child.status.success() && said.contains("1 passed"),
        "{said}"
    );
}

#[test]
fn on_a_small_disk() {
    // The story of the full disk starts this by name, on a filesystem of its own.
    let Some(dir) = std::env::var_os(SMALL_DISK).map(PathBuf::from) else {
        return;
    };
    let (store, _) = RedbStore::open(&dir.join("store")).unwrap();
    let early: Vec<_> = (0..10)
        .map(|number| Compile::new(number, 4000 + 20_000 * number as usize))
        .collect();
    early
        .iter()
        .for_each(|compile| compile.store(&store).unwrap());
    store.flush().unwrap();
    let all_early = || early.iter().all(|compile| compile.restores(&store));
    // Large objects meet the end of the disk themselves.
    let full = (100..200).find_map(|number| Compile::new(number, 1 << 20).store(&store).err());
    assert!(matches!(full, Some(StoreError::Full(_))), "{full:?}");
    assert!(all_early(), "reading goes on");
    assert_eq!(fs::read_dir(dir.join("store/tmp")).unwrap().count(), 0);
    // Small ones let the database meet it, at a commit.
    fs::write(dir.join("ballast"), vec![1; 16 << 20]).unwrap_err();
    let full = (200..1200).find_map(|number| {
        Compile::new(number, 50_000)
            .store(&store)
            .and_then(|()| store.flush())
            .err()
    });
    assert!(matches!(full, Some(StoreError::Full(_))), "{full:?}");
    assert!(all_early(), "reading goes on");
    // gc frees space where there is none, and the store works again without a restart.
    let freed = store.gc(1 << 20).unwrap();
    assert!(freed.bytes > 2 << 20, "{freed:?}");
    fs::remove_file(dir.join("ballast")).unwrap();
    // Where a write met the end of the disk before a flush did, the next flush says it, once.
    let told = store.flush();
    assert!(
        matches!(told, Ok(()) | Err(StoreError::Lost(_))),
        "{told:?}"
    );
    let late = Compile::new(5000, 100_000);
    late.store(&store).unwrap();
    store.flush().unwrap();
    assert!(late.restores(&store));
    // An entry whose objects were lost at the end of the disk is a miss, and no more.
    let report = store.fsck(true).unwrap();
    let harmless = |fault: &Fault| matches!(fault, Fault::EntryIncomplete(..));
    assert!(report.faults.iter().all(harmless), "{report:?}");
    let report = store.fsck(false).unwrap();
    assert!(report.is_sound() && late.restores(&store), "{report:?}");
    assert!(read(&store, &stage(&store, &noise(1, 9)).unwrap().object).is_some());
}
