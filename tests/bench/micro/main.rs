//! What the parts of a hit and of a miss take: `cargo bench --bench micro`.
//!
//! Everything is real: a checkout of 55 files compiled by rustc, a store on this disk, two swarms
//! over loopback.

#[expect(dead_code, reason = "shared with the integration tests")]
#[path = "../../harness/mod.rs"]
mod harness;

mod checkout;
mod wire;

use checkout::Checkout;
use divan::Bencher;
use divan::counter::BytesCount;
use quarry_node::store::{RedbStore, Store};
use quarry_node::worker::Answer;
use quarry_trust::LookupKey;
use quarry_trust::canon::Canonical;
use quarry_wrapper::action::Description;
use quarry_wrapper::digests::{FileDigests, MemoDigests};
use std::io::Write;

fn main() {
    divan::main();
}

/// From the digests of all inputs to an action key.
#[divan::bench]
fn key_of_55_files(bencher: Bencher<'_, '_>) {
    let checkout = Checkout::compiled();
    let description = checkout.description();
    let description = Description::from_canon(&description).unwrap();
    bencher.bench_local(|| description.action());
}

/// The digest of a source whose state is known: what each input of a look-up costs.
#[divan::bench]
fn digest_that_is_known(bencher: Bencher<'_, '_>) {
    let checkout = Checkout::compiled();
    let digests = MemoDigests::new(None);
    std::thread::sleep(quarry_wrapper::digests::SETTLED);
    let source = checkout.source(0);
    bencher.bench_local(|| digests.digest(&source).unwrap());
}

/// A key that nobody holds, all sources known: from the command to the word to compile.
#[divan::bench(sample_size = 1, sample_count = 200)]
fn lookup_of_an_absent_key(bencher: Bencher<'_, '_>) {
    let checkout = Checkout::compiled();
    checkout.change_all(1);
    std::thread::sleep(quarry_wrapper::digests::SETTLED);
    absent(&checkout);
    bencher.bench_local(|| absent(&checkout));
}

/// The same after all 55 sources have changed.
#[divan::bench(sample_size = 1, sample_count = 50)]
fn lookup_of_an_absent_key_after_55_files_changed(bencher: Bencher<'_, '_>) {
    let checkout = Checkout::compiled();
    let mut round = 1;
    bencher
        .with_inputs(|| {
            round += 1;
            checkout.change_all(round);
        })
        .bench_local_values(|()| absent(&checkout));
}

fn absent(checkout: &Checkout) {
    match checkout.begin() {
        Answer::Run(..) => {}
        _ => panic!("nobody compiled these sources"),
    }
}

/// A hit whose outputs are not there: from the command to files in their places.
#[divan::bench(sample_size = 1, sample_count = 200)]
fn restore_of_what_was_removed(bencher: Bencher<'_, '_>) {
    let checkout = Checkout::compiled();
    bencher
        .with_inputs(|| checkout.clean())
        .bench_local_values(|()| hit(&checkout));
}

/// A hit whose outputs are there from the hit before.
#[divan::bench(sample_size = 1, sample_count = 200)]
fn restore_of_what_is_there(bencher: Bencher<'_, '_>) {
    let checkout = Checkout::compiled();
    checkout.clean();
    hit(&checkout);
    bencher.bench_local(|| hit(&checkout));
}

fn hit(checkout: &Checkout) {
    match checkout.begin() {
        Answer::Replay(_) => {}
        _ => panic!("it was compiled"),
    }
}

fn store() -> (tempfile::TempDir, RedbStore) {
    let dir = tempfile::tempdir().unwrap();
    let (store, _) = RedbStore::open(dir.path()).unwrap();
    (dir, store)
}

/// Takes an object of a MiB, digested, into the store.
#[divan::bench(sample_size = 1, sample_count = 100)]
fn store_of_a_mib(bencher: Bencher<'_, '_>) {
    let (_dir, store) = store();
    let mut bytes = vec![0_u8; 1 << 20];
    let mut round = 0_u64;
    bencher
        .counter(BytesCount::new(bytes.len()))
        .bench_local(|| {
            round += 1;
            bytes[..8].copy_from_slice(&round.to_le_bytes());
            let mut stage = store.stage(1 << 20).unwrap();
            stage.write_all(&bytes).unwrap();
            stage.commit().unwrap();
        });
}

/// The store's answer for a key that it does not hold.
#[divan::bench]
fn store_of_an_absent_key(bencher: Bencher<'_, '_>) {
    let (_dir, store) = store();
    let key = LookupKey::of(b"nobody's");
    bencher.bench_local(|| assert!(store.offers(&key, 16).unwrap().is_empty()));
}

/// An object of 8 MiB from one node to another over loopback, packed on the way.
#[divan::bench(sample_size = 1, sample_count = 40)]
fn transfer_of_8_mib(bencher: Bencher<'_, '_>) {
    let wire = wire::Wire::new(8 << 20);
    bencher
        .counter(BytesCount::new(8_usize << 20))
        .bench_local(|| wire.fetch());
}
