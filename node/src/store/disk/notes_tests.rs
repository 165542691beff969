//! The journal in the database: oldest rows go first, and an older store gets the table.

use super::super::super::journal::{How, Kind, Placed};
use super::super::super::{Opened, Purge, RedbStore, Select, Store};
use super::*;
use quarry_trust::{ActionKey, Scope};

fn placed(number: u64) -> Placed {
    Placed {
        how: How::Restored,
        builder: BuilderId([u8::try_from(number % 2).unwrap(); 32]),
        action: ActionKey::of(&number.to_le_bytes()),
        scope: Scope::Private,
        crate_name: "serde".into(),
        kind: Kind::Library,
        dir: "/target/debug/deps".into(),
        files: Vec::new(),
        at: number,
    }
}

fn times(store: &RedbStore) -> Vec<u64> {
    let mut times = Vec::new();
    store.each_placed(None, &mut |p| times.push(p.at)).unwrap();
    times.sort_unstable();
    times
}

#[test]
fn the_oldest_rows_go_when_there_are_too_many() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    let write = |numbers: std::ops::Range<u64>| {
        let rows: Vec<Row> = numbers
            .map(|n| (placed(n).key(), placed(n).to_row()))
            .collect();
        let engine = &store.inner.engine;
        engine.write(|txn| write_within(txn, &rows, 10, 3)).unwrap();
    };
    write(1..13);
    assert_eq!(
        times(&store).len(),
        12,
        "within the slack nothing is looked for"
    );
    write(13..14);
    assert_eq!(times(&store), (4..14).collect::<Vec<_>>());
}

#[test]
fn more_rows_than_a_page_are_all_given() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    let all = PAGE as u64 * 2 + 7;
    (0..all).for_each(|n| store.note(placed(n)));
    assert_eq!(times(&store), (0..all).collect::<Vec<_>>());
    let mut even = 0;
    let zero = BuilderId([0; 32]);
    store.each_placed(Some(&zero), &mut |_| even += 1).unwrap();
    assert_eq!(even, all.div_ceil(2), "of one builder alone");
}

#[test]
fn a_store_of_before_the_journal_gets_one_and_keeps_its_entries() {
    use super::super::super::fixtures::Compile;
    let dir = tempfile::tempdir().unwrap();
    let compile = Compile::new(1, 1000);
    {
        let (store, _) = RedbStore::open(dir.path()).unwrap();
        compile.store(&store).unwrap();
        let engine = &store.inner.engine;
        engine.write(|txn| Ok(txn.delete_table(JOURNAL)?)).unwrap();
    }
    let (store, opened) = RedbStore::open(dir.path()).unwrap();
    assert_eq!(opened, Opened::Reopened);
    assert!(compile.restores(&store));
    assert!(times(&store).is_empty());
    store.note(placed(5));
    assert_eq!(times(&store), [5]);
}

#[test]
fn what_was_noted_is_durable_soon_and_outlives_a_purge() {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    let before = store.inner.engine.commits();
    store.note(placed(1));
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    while store.inner.engine.commits() == before {
        assert!(std::time::Instant::now() < deadline, "nobody wrote it");
        std::thread::yield_now();
    }
    let all = Purge {
        select: Select::All,
        dry_run: false,
    };
    store.purge(&all).unwrap();
    drop(store);
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    assert_eq!(times(&store), [1]);
}
