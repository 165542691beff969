//! Batches are paced and numbered, a missed one is noticed, floods become one new filter.

use super::*;

fn key_batch(generation: u64, sequence: u64) -> Batch {
    Batch {
        generation,
        sequence,
        keys: vec![1],
    }
}

#[test]
fn a_batch_round_trips_and_is_bounded() {
    let full = Batch {
        generation: 3,
        sequence: 4,
        keys: (0..BATCH_KEYS as u64).collect(),
    };
    let bytes = full.encode();
    assert_eq!(bytes.len(), MAX_BATCH_BYTES);
    assert_eq!(Batch::decode(&bytes), Ok(full));
    let mut long = bytes.clone();
    long.push(0);
    assert_eq!(Batch::decode(&long), Err(WireError::Oversize));
    assert_eq!(
        Batch::decode(&bytes[..bytes.len() - 1]),
        Err(WireError::Corrupt("the bytes end inside a field"))
    );
}

#[test]
fn first_key_goes_at_once_the_next_wait_for_company() {
    let start = Instant::now();
    let mut announcer = Announcer::new(5);
    announcer.queue([1], start);
    assert_eq!(
        announcer.next(start).map(|b| (b.sequence, b.keys)),
        Some((1, vec![1]))
    );
    announcer.queue([2], start);
    announcer.queue([3], start);
    assert_eq!(announcer.next(start), None);
    assert_eq!(announcer.due(start), Some(start + BATCH_EVERY));
    let batch = announcer.next(start + BATCH_EVERY).expect("due");
    assert_eq!((batch.sequence, batch.keys), (2, vec![2, 3]));
    announcer.queue([4], start + BATCH_EVERY);
    assert_eq!(announcer.next(start + BATCH_EVERY), None);
    announcer.hurry();
    let batch = announcer
        .next(start + BATCH_EVERY)
        .expect("the one in a hurry");
    assert_eq!((batch.sequence, batch.keys), (3, vec![4]));
}

#[test]
fn one_beacon_follows_a_quiet_moment_and_no_second() {
    let start = Instant::now();
    let mut announcer = Announcer::new(5);
    assert_eq!(announcer.due(start), None);
    announcer.queue([1], start);
    announcer.next(start).expect("the batch");
    let beacon = announcer.next(start + BEACON_AFTER).expect("the beacon");
    assert_eq!((beacon.sequence, beacon.keys.len()), (1, 0));
    assert_eq!(announcer.next(start + 2 * BEACON_AFTER), None);
    assert_eq!(announcer.due(start), None);
}

#[test]
fn a_flood_of_keys_becomes_a_new_generation() {
    let start = Instant::now();
    let mut announcer = Announcer::new(5);
    announcer.queue(0..=MAX_WAITING as u64, start);
    let beacon = announcer.next(start).expect("a beacon");
    assert_eq!(
        (beacon.generation, beacon.sequence, beacon.keys.len()),
        (6, 0, 0)
    );
}

#[test]
fn in_order_is_used_a_gap_asks_for_the_filter() {
    let mut heard = Heard::filter(1, 4);
    assert_eq!(heard.batch(&key_batch(1, 5)), Hearing::Use);
    assert_eq!(heard.batch(&key_batch(1, 7)), Hearing::UseAndAsk);
    assert_eq!(heard.batch(&key_batch(1, 6)), Hearing::Use);
    assert_eq!(heard.batch(&key_batch(1, 8)), Hearing::Use);
}

#[test]
fn a_beacon_reveals_a_missed_last_batch() {
    let beacon = |sequence| Batch {
        generation: 1,
        sequence,
        keys: vec![],
    };
    let mut heard = Heard::filter(1, 4);
    assert_eq!(heard.batch(&beacon(4)), Hearing::Use);
    assert_eq!(heard.batch(&beacon(5)), Hearing::UseAndAsk);
}

#[test]
fn a_new_run_is_noticed_and_an_old_one_ignored() {
    let mut heard = Heard::filter(5, 4);
    assert_eq!(heard.batch(&key_batch(4, 99)), Hearing::Stale);
    assert_eq!(heard.batch(&key_batch(6, 1)), Hearing::NewRun);
    assert_eq!(heard.batch(&key_batch(6, u64::MAX)), Hearing::UseAndAsk);
    assert_eq!(heard.batch(&key_batch(6, u64::MAX)), Hearing::Use);
}
