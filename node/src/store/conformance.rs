//! One suite of stories for every store: what the rooms above may rely on.
//!
//! Each story gets an empty store. Must never happen here: a story that knows which store it
//! is told to.

use super::fixtures::{Compile, LIMIT, action, builder, lookup, noise, read, stage};
use super::{
    Counts, KEPT_PREDICTIONS, MAX_MEMO_BYTES, MAX_PREDICTION_BYTES, MEMOS_PER_GENERATION,
    MemoryStore, Purge, RedbStore, Select, Store, StoreError,
};
use quarry_trust::{Digest, ObjectRef};
use std::io::{Seek, SeekFrom, Write};

macro_rules! stories {
    ($($story:ident)*) => {
        mod on_redb {
            use super::{RedbStore, Store};
            $(#[test] fn $story() {
                let dir = tempfile::tempdir().unwrap();
                let (store, _) = RedbStore::open(dir.path()).unwrap();
                super::$story(&store);
                let report = store.fsck(false).unwrap();
                assert!(report.is_sound(), "the story left {:?}", report.faults);
            })*
        }
        mod in_memory {
            use super::MemoryStore;
            $(#[test] fn $story() { super::$story(&MemoryStore::new()); })*
        }
    };
}
stories! {
    what_is_put_is_found_by_both_keys
    several_builders_and_widths_lie_side_by_side
    a_later_entry_of_one_builder_replaces_its_earlier_one
    offers_come_last_used_first_and_lead_to_distinct_inputs
    a_lookup_key_reaches_so_many_entries_and_no_more
    an_entry_without_prediction_is_found_by_its_action_alone
    an_entry_that_names_what_is_absent_is_refused
    an_offer_of_another_entry_is_refused
    an_object_of_another_length_is_not_here
    the_empty_object_is_always_here
    a_stage_that_is_dropped_leaves_nothing
    a_stage_takes_no_more_than_its_limit
    a_file_is_taken_as_it_was
    equal_objects_are_counted_once
    gc_takes_the_least_recently_used
    gc_spares_what_is_pinned_and_takes_it_afterwards
    gc_keeps_an_object_that_another_entry_names
    gc_takes_staged_objects_that_no_entry_came_for
    a_purge_counts_first_and_then_takes_that
    a_removed_entry_is_gone_and_its_objects_wait_for_gc
    each_offer_sees_all
    state_is_kept_by_plain_names
    what_has_settled_is_what_it_was
    memos_are_kept_in_bounds
    many_threads_put_while_gc_runs
}

const SMALL: usize = 1000;
const LARGE: usize = 200_000;

fn what_is_put_is_found_by_both_keys(store: &dyn Store) {
    for (number, len) in [(1, SMALL), (2, LARGE)] {
        let compile = Compile::new(number, len);
        compile.store(store).unwrap();
        assert!(compile.restores(store));
        let (_, offer) = compile.entry();
        assert_eq!(
            store.offers(&lookup(number), 8).unwrap(),
            vec![offer.clone()]
        );
        assert_eq!(store.entries(&action(number)).unwrap(), vec![offer]);
        assert!(store.has(&compile.output_ref().digest).unwrap());
    }
    assert!(store.entries(&action(3)).unwrap().is_empty());
    assert!(store.offers(&lookup(3), 8).unwrap().is_empty());
    let counts = store.counts().unwrap();
    assert_eq!((counts.entries, counts.objects), (2, 4));
    assert!(counts.bytes >= (SMALL + LARGE) as u64, "{counts:?}");
    store.flush().unwrap();
}

fn several_builders_and_widths_lie_side_by_side(store: &dyn Store) {
    let mut all = Vec::new();
    for builder in [1, 2] {
        for width in [None, Some(80), Some(120)] {
            let compile = Compile {
                builder,
                width,
                ..Compile::new(1, SMALL)
            };
            compile.store(store).unwrap();
            all.push(compile);
        }
    }
    assert_eq!(store.entries(&action(1)).unwrap().len(), 6);
    assert!(all.iter().all(|compile| compile.restores(store)));
    let newest = store.entries(&action(1)).unwrap().remove(0);
    assert_eq!(newest, all[5].entry().1, "newest first");
}

fn a_later_entry_of_one_builder_replaces_its_earlier_one(store: &dyn Store) {
    let first = Compile::new(1, SMALL);
    first.store(store).unwrap();
    let second = Compile {
        output: noise(77, SMALL),
        prediction: b"other".to_vec(),
        ..first.clone()
    };
    second.store(store).unwrap();
    assert_eq!(store.entries(&action(1)).unwrap(), vec![second.entry().1]);
    assert_eq!(store.offers(&lookup(1), 8).unwrap(), vec![second.entry().1]);
    assert_eq!(store.counts().unwrap().entries, 1);
}

fn offers_come_last_used_first_and_lead_to_distinct_inputs(store: &dyn Store) {
    // Actions 1, 2 and 3 read the same names (an edited file), action 4 read others.
    for number in 1..=4 {
        let prediction = if number == 4 {
            b"b.rs".to_vec()
        } else {
            b"a.rs".to_vec()
        };
        Compile {
            lookup: 9,
            prediction,
            ..Compile::new(number, SMALL)
        }
        .store(store)
        .unwrap();
    }
    store.entries(&action(2)).unwrap();
    let order = |max| -> Vec<Digest> {
        let offers = store.offers(&lookup(9), max).unwrap();
        offers
            .iter()
            .map(|offer| Digest::of(&offer.signed.bytes))
            .collect()
    };
    let of = |number: u64| {
        let prediction = if number == 4 {
            b"b.rs".to_vec()
        } else {
            b"a.rs".to_vec()
        };
        let compile = Compile {
            lookup: 9,
            prediction,
            ..Compile::new(number, SMALL)
        };
        Digest::of(&compile.entry().1.signed.bytes)
    };
    assert_eq!(order(8), [of(2), of(4), of(3), of(1)]);
    assert_eq!(order(2), [of(2), of(4)]);
    assert!(order(0).is_empty());
}

fn a_lookup_key_reaches_so_many_entries_and_no_more(store: &dyn Store) {
    let compile = |number| Compile {
        lookup: 9,
        ..Compile::new(number, 100)
    };
    for number in 0..KEPT_PREDICTIONS as u64 {
        compile(number).store(store).unwrap();
    }
    store.entries(&action(0)).unwrap();
    compile(1000).store(store).unwrap();
    let offers = store.offers(&lookup(9), 1000).unwrap();
    assert_eq!(offers.len(), KEPT_PREDICTIONS);
    assert!(offers.contains(&compile(0).entry().1), "used last");
    assert!(!offers.contains(&compile(1).entry().1), "used longest ago");
    let unreached = store.entries(&action(1)).unwrap();
    assert_eq!(
        unreached[0].signed,
        compile(1).entry().1.signed,
        "still here"
    );
    assert!(unreached[0].prediction.is_empty());
}

fn an_entry_without_prediction_is_found_by_its_action_alone(store: &dyn Store) {
    let compile = Compile {
        prediction: Vec::new(),
        ..Compile::new(1, SMALL)
    };
    compile.store(store).unwrap();
    assert!(compile.restores(store));
    assert!(store.offers(&lookup(1), 8).unwrap().is_empty());
}

fn an_entry_that_names_what_is_absent_is_refused(store: &dyn Store) {
    let compile = Compile::new(1, SMALL);
    let (entry, offer) = compile.entry();
    let refused = store.put(&entry, &offer);
    assert!(matches!(refused, Err(StoreError::Absent(_))), "{refused:?}");
    let _output = stage(store, &compile.output).unwrap();
    let refused = store.put(&entry, &offer);
    assert!(
        matches!(refused, Err(StoreError::Absent(d)) if d == entry.description.digest),
        "{refused:?}"
    );
    assert!(store.entries(&action(1)).unwrap().is_empty());
    assert_eq!(store.counts().unwrap().entries, 0);
}

fn an_offer_of_another_entry_is_refused(store: &dyn Store) {
    let compile = Compile::new(1, SMALL);
    compile.store(store).unwrap();
    let (entry, mut offer) = compile.entry();
    offer.signed = Compile::new(2, SMALL).entry().1.signed;
    assert!(matches!(
        store.put(&entry, &offer),
        Err(StoreError::Mismatch)
    ));
    let (entry, mut offer) = compile.entry();
    offer.prediction = vec![0; MAX_PREDICTION_BYTES + 1];
    assert!(matches!(
        store.put(&entry, &offer),
        Err(StoreError::Oversize { .. })
    ));
}

fn an_object_of_another_length_is_not_here(store: &dyn Store) {
    for len in [SMALL, LARGE] {
        let pinned = stage(store, &noise(1, len)).unwrap();
        let lies = ObjectRef {
            size: pinned.object.size - 1,
            ..pinned.object
        };
        assert!(store.object(&lies).unwrap().is_none());
        assert!(store.pin(&lies).unwrap().is_none());
        assert!(store.object(&pinned.object).unwrap().is_some());
        assert!(store.pin(&pinned.object).unwrap().is_some());
        assert!(store.recheck(&pinned.object.digest).unwrap());
    }
    assert!(!store.recheck(&Digest::of(b"never staged")).unwrap());
}

fn the_empty_object_is_always_here(store: &dyn Store) {
    let empty = ObjectRef {
        digest: Digest::of(b""),
        size: 0,
    };
    assert_eq!(read(store, &empty), Some(Vec::new()));
    assert_eq!(stage(store, b"").unwrap().object, empty);
    assert!(store.pin(&empty).unwrap().is_some());
    let lies = ObjectRef {
        digest: Digest::of(b"x"),
        size: 0,
    };
    assert!(store.object(&lies).unwrap().is_none());
    assert_eq!(store.counts().unwrap(), Counts::default());
}

fn a_stage_that_is_dropped_leaves_nothing(store: &dyn Store) {
    for len in [SMALL, LARGE] {
        let mut stage = store.stage(LIMIT).unwrap();
        stage.write_all(&noise(1, len)).unwrap();
        drop(stage);
        assert!(!store.has(&Digest::of(&noise(1, len))).unwrap());
    }
    assert_eq!(store.counts().unwrap(), Counts::default());
}

fn a_stage_takes_no_more_than_its_limit(store: &dyn Store) {
    for limit in [SMALL, LARGE] {
        let bytes = noise(1, limit);
        let mut exact = store.stage(limit as u64).unwrap();
        exact.write_all(&bytes).unwrap();
        assert_eq!(exact.commit().unwrap().object.size, limit as u64);
        let mut over = store.stage(limit as u64).unwrap();
        over.write_all(&bytes).unwrap();
        let error = StoreError::of_stage(over.write_all(b"!").unwrap_err());
        assert!(matches!(error, StoreError::Oversize { limit: l } if l == limit as u64));
        assert!(over.commit().is_err(), "a failed stage ends in nothing");
    }
}

fn a_file_is_taken_as_it_was(store: &dyn Store) {
    for len in [0, SMALL, LARGE, 3 << 20] {
        let bytes = noise(len as u64, len);
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(&bytes).unwrap();
        let pinned = store.stage_file(&file, len as u64).unwrap();
        assert_eq!(
            file.stream_position().unwrap(),
            len as u64,
            "the caller's position stays"
        );
        file.seek(SeekFrom::Start(0)).unwrap();
        file.write_all(b"overwritten").unwrap();
        assert_eq!(read(store, &pinned.object), Some(bytes));
    }
    let mut file = tempfile::tempfile().unwrap();
    file.write_all(&noise(1, SMALL)).unwrap();
    let refused = store.stage_file(&file, SMALL as u64 - 1);
    assert!(
        matches!(refused, Err(StoreError::Oversize { .. })),
        "{refused:?}"
    );
}

fn equal_objects_are_counted_once(store: &dyn Store) {
    let first = stage(store, &noise(1, LARGE)).unwrap();
    let counts = store.counts().unwrap();
    let second = stage(store, &noise(1, LARGE)).unwrap();
    assert_eq!(first.object, second.object);
    assert_eq!(store.counts().unwrap(), counts);
    assert_eq!((counts.objects, counts.bytes), (1, LARGE as u64));
}

fn gc_takes_the_least_recently_used(store: &dyn Store) {
    let compiles: Vec<_> = (0..10).map(|number| Compile::new(number, LARGE)).collect();
    for compile in &compiles {
        compile.store(store).unwrap();
    }
    assert!(compiles[0].restores(store), "and so it was used last");
    let limit = 4 * (LARGE as u64 + 1000);
    let report = store.gc(limit).unwrap();
    assert_eq!((report.entries, report.objects, report.strays), (6, 12, 0));
    let left: Vec<bool> = compiles
        .iter()
        .map(|compile| compile.restores(store))
        .collect();
    let mut expected = [false; 10];
    for kept in [0, 7, 8, 9] {
        expected[kept] = true;
    }
    assert_eq!(left, expected);
    let counts = store.counts().unwrap();
    assert_eq!((counts.entries, counts.objects), (4, 8));
    assert!(counts.bytes <= limit);
    let idle = store.gc(limit).unwrap();
    assert_eq!(idle, super::GcReport::default(), "nothing is left to do");
    assert!(store.offers(&lookup(1), 8).unwrap().is_empty());
}

fn gc_spares_what_is_pinned_and_takes_it_afterwards(store: &dyn Store) {
    let held = Compile::new(1, LARGE);
    held.store(store).unwrap();
    let pin = store.pin(&held.output_ref()).unwrap().unwrap();
    let staged = stage(store, &noise(55, LARGE)).unwrap();
    Compile::new(2, LARGE).store(store).unwrap();
    store.gc(0).unwrap();
    assert!(held.restores(store), "what a restore holds stays");
    assert!(
        read(store, &staged.object).is_some(),
        "what is about to be put stays"
    );
    assert!(!Compile::new(2, LARGE).restores(store));
    drop((pin, staged));
    store.gc(0).unwrap();
    assert_eq!(store.counts().unwrap(), Counts::default());
}

fn gc_keeps_an_object_that_another_entry_names(store: &dyn Store) {
    let old = Compile::new(1, LARGE);
    let new = Compile {
        output: old.output.clone(),
        ..Compile::new(2, LARGE)
    };
    old.store(store).unwrap();
    new.store(store).unwrap();
    assert!(new.restores(store));
    store.gc(LARGE as u64 + 30).unwrap();
    assert!(new.restores(store));
    assert_eq!(store.counts().unwrap().entries, 1);
}

fn gc_takes_staged_objects_that_no_entry_came_for(store: &dyn Store) {
    Compile::new(1, LARGE).store(store).unwrap();
    drop(stage(store, &noise(9, LARGE)).unwrap());
    let report = store.gc(u64::MAX).unwrap();
    assert_eq!((report.entries, report.objects), (0, 1));
    assert!(Compile::new(1, LARGE).restores(store));
}

fn a_purge_counts_first_and_then_takes_that(store: &dyn Store) {
    let of = |number, builder, crate_name| Compile {
        builder,
        crate_name,
        ..Compile::new(number, LARGE)
    };
    let all = [
        of(1, 1, "serde"),
        of(2, 2, "serde"),
        of(3, 2, "syn"),
        of(4, 3, "syn"),
    ];
    all.iter().for_each(|compile| compile.store(store).unwrap());
    let selections = [
        (
            Select::Builder(builder(2).id()),
            2,
            [true, false, false, true],
        ),
        (
            Select::Crate("syn".to_owned()),
            1,
            [true, false, false, false],
        ),
        (Select::All, 1, [false; 4]),
    ];
    for (select, entries, left) in selections {
        let before = store.counts().unwrap();
        let would = store
            .purge(&Purge {
                select: select.clone(),
                dry_run: true,
            })
            .unwrap();
        assert_eq!(store.counts().unwrap(), before, "a dry run only counts");
        let did = store
            .purge(&Purge {
                select,
                dry_run: false,
            })
            .unwrap();
        assert_eq!(would, did);
        assert_eq!((did.entries, did.objects), (entries, 2 * entries));
        let restores: Vec<bool> = all.iter().map(|compile| compile.restores(store)).collect();
        assert_eq!(restores, left);
    }
    assert_eq!(store.counts().unwrap(), Counts::default());
}

fn a_removed_entry_is_gone_and_its_objects_wait_for_gc(store: &dyn Store) {
    for width in [None, Some(80)] {
        Compile {
            width,
            ..Compile::new(1, LARGE)
        }
        .store(store)
        .unwrap();
    }
    Compile {
        builder: 2,
        ..Compile::new(1, LARGE)
    }
    .store(store)
    .unwrap();
    assert!(store.remove(&action(1), &builder(1).id()).unwrap());
    assert!(!store.remove(&action(1), &builder(1).id()).unwrap());
    assert_eq!(store.entries(&action(1)).unwrap().len(), 1);
    assert!(store.remove(&action(1), &builder(2).id()).unwrap());
    assert!(store.offers(&lookup(1), 8).unwrap().is_empty());
    let counts = store.counts().unwrap();
    assert_eq!((counts.entries, counts.objects), (0, 2));
    assert_eq!(store.gc(u64::MAX).unwrap().objects, 2);
}

fn each_offer_sees_all(store: &dyn Store) {
    let mut expected = Vec::new();
    for number in 0..600 {
        let compile = Compile {
            output: noise(1, SMALL),
            ..Compile::new(number, 0)
        };
        compile.store(store).unwrap();
        expected.push(compile.entry().1);
    }
    let mut seen = Vec::new();
    store.each_offer(&mut |offer| seen.push(offer)).unwrap();
    let order = |offer: &super::Offer| Digest::of(&offer.signed.bytes);
    seen.sort_by_key(order);
    expected.sort_by_key(order);
    assert_eq!(seen, expected);
    let mut signed = Vec::new();
    store.each_signed(&mut |one| signed.push(one)).unwrap();
    signed.sort_by_key(|one| Digest::of(&one.bytes));
    assert!(signed.iter().eq(expected.iter().map(|offer| &offer.signed)));
}

fn state_is_kept_by_plain_names(store: &dyn Store) {
    assert_eq!(store.state("roster").unwrap(), None);
    store.set_state("roster", b"one").unwrap();
    store.set_state("peers-2", &noise(1, LARGE)).unwrap();
    store.set_state("roster", b"two").unwrap();
    assert_eq!(store.state("roster").unwrap(), Some(b"two".to_vec()));
    assert_eq!(store.state("peers-2").unwrap(), Some(noise(1, LARGE)));
    for name in ["", "../roster", "a/b", "A", ".", "a.new", &"n".repeat(65)] {
        assert!(
            matches!(store.set_state(name, b"x"), Err(StoreError::Name(_))),
            "{name:?}"
        );
        assert!(
            matches!(store.state(name), Err(StoreError::Name(_))),
            "{name:?}"
        );
    }
}

fn what_has_settled_is_what_it_was(store: &dyn Store) {
    let compile = |number, output: Vec<u8>| Compile {
        output,
        ..Compile::new(number, 0)
    };
    let compiles = [
        compile(1, b"fn main() {}\n".repeat(100_000)),
        compile(2, noise(2, LARGE)),
        compile(3, noise(3, SMALL)),
    ];
    for compile in &compiles {
        compile.store(store).unwrap();
    }
    let before = store.counts().unwrap();
    assert_eq!(
        store.settle(0, u64::MAX).unwrap().objects,
        0,
        "all was used"
    );
    store.settle(u64::MAX, u64::MAX).unwrap();
    let after = store.counts().unwrap();
    assert_eq!(
        (after.entries, after.objects),
        (before.entries, before.objects)
    );
    assert!(after.bytes <= before.bytes + 100);
    assert!(compiles.iter().all(|compile| compile.restores(store)));
    // Again, and stored again: it is here already.
    store.settle(u64::MAX, u64::MAX).unwrap();
    compiles[0].store(store).unwrap();
    assert_eq!(store.counts().unwrap(), after);
    for compile in &compiles {
        assert!(store.recheck(&compile.output_ref().digest).unwrap());
    }
    store.gc(0).unwrap();
    assert_eq!(store.counts().unwrap(), Counts::default());
}

fn memos_are_kept_in_bounds(store: &dyn Store) {
    let key = |number: u64| number.to_be_bytes().to_vec();
    let memos = |from: u64, to: u64| -> Vec<_> {
        (from..to)
            .map(|number| (key(number), b"digest".to_vec()))
            .collect()
    };
    let long = vec![0; MAX_MEMO_BYTES + 1];
    store.set_memo(&[(b"long".to_vec(), long)]).unwrap();
    assert_eq!(store.memo(b"long").unwrap(), None);
    let full = MEMOS_PER_GENERATION;
    store.set_memo(&memos(0, full)).unwrap();
    assert_eq!(store.memo(&key(5)).unwrap(), Some(b"digest".to_vec()));
    store.set_memo(&memos(full, 2 * full)).unwrap();
    assert!(
        store.memo(&key(5)).unwrap().is_some(),
        "the older generation still answers"
    );
    store.flush().unwrap();
    store.set_memo(&memos(2 * full, 3 * full + 1)).unwrap();
    store.flush().unwrap();
    assert_eq!(store.memo(&key(6)).unwrap(), None, "the oldest is dropped");
    assert!(store.memo(&key(2 * full + 7)).unwrap().is_some());
    store.set_memo(&[(key(1), b"first".to_vec())]).unwrap();
    store.set_memo(&[(key(1), b"second".to_vec())]).unwrap();
    assert_eq!(store.memo(&key(1)).unwrap(), Some(b"second".to_vec()));
}

fn many_threads_put_while_gc_runs(store: &dyn Store) {
    std::thread::scope(|scope| {
        let putters: Vec<_> = (0..4)
            .map(|thread| {
                scope.spawn(move || {
                    for number in 0..40 {
                        // Outputs are shared between threads, so that gc meets objects that are
                        // just being named again.
                        let compile = Compile {
                            output: noise(number % 7, if number % 2 == 0 { SMALL } else { LARGE }),
                            ..Compile::new(1000 * thread + number, 0)
                        };
                        let pin = stage(store, &compile.output).unwrap();
                        compile.store(store).unwrap();
                        assert!(
                            read(store, &pin.object).is_some(),
                            "a pinned object is here"
                        );
                    }
                })
            })
            .collect();
        while putters.iter().any(|putter| !putter.is_finished()) {
            store.gc(3 * LARGE as u64).unwrap();
        }
    });
    // Whatever is left is whole.
    let mut left = 0;
    store
        .each_offer(&mut |offer| {
            left += 1;
            let entry = quarry_trust::canon::Canonical::from_canon(&offer.signed.bytes).unwrap();
            let entry: quarry_trust::Entry = entry;
            for object in entry.objects().filter(|object| object.size > 0) {
                assert!(read(store, &object).is_some(), "a stored entry is whole");
            }
        })
        .unwrap();
    assert!(left > 0, "gc keeps what fits");
}
