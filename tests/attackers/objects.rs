//! A member offers good entries, and objects that are something else.

use super::mallory::{MARK, Mallory, Script, mallory_and_bob};
use super::wire::{self, CHUNK};
use quarry_trust::canon::Canonical;
use std::io::Read;

fn bob_refuses(name: &str, why: &str, script: impl FnOnce(&Mallory) -> Script) {
    let (mallory, bob) = mallory_and_bob();
    let _attack = mallory.attack(&bob, script(&mallory));
    mallory.bob_compiles_instead(&bob);
    mallory.was_refused(&bob, name, why);
}

/// As many bytes, all of them Mallory's.
fn marked(size: usize) -> Vec<u8> {
    MARK.iter().copied().cycle().take(size).collect()
}

#[test]
fn an_object_whose_digest_does_not_match() {
    bob_refuses("corrupt", "not what its digest says", |mallory| {
        mallory.serving(|bytes| wire::object(&marked(bytes.len())))
    });
}

#[test]
fn an_object_with_one_bit_flipped() {
    bob_refuses("corrupt", "not what its digest says", |mallory| {
        mallory.serving(|bytes| {
            let mut bytes = bytes.to_vec();
            bytes[0] ^= 1;
            wire::object(&bytes)
        })
    });
}

#[test]
fn an_object_that_says_it_is_longer() {
    bob_refuses("oversize", "larger than its limit", |mallory| {
        mallory.serving(|bytes| {
            let more = [bytes, MARK].concat();
            wire::object(&more)
        })
    });
}

#[test]
fn an_object_that_says_it_is_shorter() {
    bob_refuses("corrupt", "shorter than its entry says", |mallory| {
        mallory.serving(|bytes| wire::object(&bytes[1..]))
    });
}

#[test]
fn an_entry_whose_sizes_lie_under_a_good_signature() {
    bob_refuses("corrupt", "shorter than its entry says", |mallory| {
        mallory.offering(|honest| {
            let mut entry = honest.entry.clone();
            for output in &mut entry.outputs {
                output.object.size += 1000;
            }
            (honest.prediction.clone(), mallory.sign(entry.to_canon()))
        })
    });
}

#[test]
fn a_chunk_longer_than_its_object() {
    bob_refuses("oversize", "larger than its limit", |mallory| {
        mallory.serving(|bytes| {
            let more = marked(bytes.len() + 1);
            [
                wire::head(bytes.len() as u64),
                wire::chunk(more.len(), &more),
            ]
            .concat()
        })
    });
}

#[test]
fn a_zstd_bomb() {
    let mut zeros = std::io::repeat(0).take(1 << 30);
    let mut bomb = Vec::new();
    zstd::stream::copy_encode(&mut zeros, &mut bomb, 3).unwrap();
    assert!(bomb.len() < CHUNK, "a GiB in {} bytes", bomb.len());
    bob_refuses("oversize", "larger than its limit", |mallory| {
        // Her entries say that every output is one chunk: so much she may send.
        let offers = mallory.offering(|honest| {
            let mut entry = honest.entry.clone();
            for output in &mut entry.outputs {
                output.object.size = CHUNK as u64;
            }
            (honest.prediction.clone(), mallory.sign(entry.to_canon()))
        });
        let reply = [wire::head(CHUNK as u64), wire::chunk(CHUNK, &bomb)].concat();
        let objects = offers.objects.into_keys().map(|d| (d, reply.clone()));
        Script {
            objects: objects.collect(),
            ..offers
        }
    });
}

#[test]
fn an_object_that_never_ends() {
    bob_refuses("oversize", "larger than its limit", |mallory| Script {
        flood: true,
        ..mallory.serving(|bytes| wire::head(bytes.len() as u64))
    });
}
