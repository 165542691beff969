//! A filter finds every key it was built over, survives the wire, and no frame makes it panic.

use super::*;
use proptest::prelude::*;

fn keys(n: u64) -> Vec<u64> {
    (0..n)
        .map(|i| i.wrapping_mul(0x9E37_79B9_7F4A_7C15))
        .collect()
}

#[test]
fn every_size_finds_its_keys_after_the_wire() {
    for n in (0..70).chain([500, 1000, 4096, 20_000]) {
        let built = KeyFilter::build(7, 9, keys(n));
        let back = KeyFilter::decode(&built.encode()).expect("our own frame");
        assert_eq!(
            (back.generation, back.sequence, u64::from(back.keys)),
            (7, 9, n)
        );
        assert!(
            keys(n).into_iter().all(|key| back.contains(key)),
            "{n} keys"
        );
    }
}

#[test]
fn absent_keys_are_almost_never_found() {
    let filter = KeyFilter::build(0, 0, keys(10_000));
    let wrong = (0..100_000_u64)
        .filter(|i| filter.contains(i << 20 | 0xABCDE))
        .count();
    assert!(wrong < 50, "{wrong} of 100,000");
}

#[test]
fn repetitions_do_not_matter() {
    let mut twice = keys(1000);
    twice.extend(keys(1000));
    assert_eq!(KeyFilter::build(0, 0, twice).keys, 1000);
}

#[test]
fn the_largest_filter_fits_its_limit() {
    let frame = KeyFilter::build(0, 0, keys(MAX_KEYS as u64)).encode();
    assert!(frame.len() <= MAX_FILTER_BYTES, "{} bytes", frame.len());
    assert_eq!(
        KeyFilter::decode(&frame).expect("our own frame").keys as usize,
        MAX_KEYS
    );
}

#[test]
fn a_shape_that_would_index_out_of_bounds_is_refused() {
    let good = KeyFilter::build(0, 0, keys(1000)).encode();
    let segment = 1 + 8 + 8 + 4 + 8;
    for (at, value) in [
        (segment, 0),
        (segment, 3),
        (segment, u32::MAX),
        (segment + 4, u32::MAX),
        (segment + 4, 0),
    ] {
        let mut bad = good.clone();
        bad[at..at + 4].copy_from_slice(&u32::to_le_bytes(value));
        assert!(KeyFilter::decode(&bad).is_err(), "{at} {value}");
    }
    let mut bad = good;
    bad[segment + 8..segment + 12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(KeyFilter::decode(&bad).err(), Some(WireError::Oversize));
}

proptest! {
    #[test]
    fn no_frame_makes_a_lookup_panic(
        bytes in proptest::collection::vec(any::<u8>(), 0..200), key in any::<u64>()
    ) {
        if let Ok(filter) = KeyFilter::decode(&bytes) {
            filter.contains(key);
        }
    }

    #[test]
    fn no_bent_frame_makes_a_lookup_panic(at in 0_usize..45, value in any::<u8>(), key in any::<u64>()) {
        let mut bytes = KeyFilter::build(1, 2, keys(50)).encode();
        bytes[at] = value;
        if let Ok(filter) = KeyFilter::decode(&bytes) {
            filter.contains(key);
        }
    }
}
