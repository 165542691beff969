//! Who is a candidate, in which order, and who is not any more.

use super::*;

const ALICE: PeerId = PeerId([1; 32]);
const CAROL: PeerId = PeerId([3; 32]);

fn meet(peers: &[PeerId]) -> Index {
    let index = Index::default();
    index.keep(&peers.iter().copied().collect());
    for peer in peers {
        index.connected(peer, String::new());
        index.accepted(peer);
    }
    index
}

fn filter(keys: &[Digest]) -> KeyFilter {
    KeyFilter::build(1, 0, keys.iter().map(Digest::short).collect())
}

#[test]
fn the_nearest_holder_comes_first() {
    let key = Digest::of(b"key");
    let index = meet(&[ALICE, CAROL]);
    index.filter(&ALICE, filter(&[key]));
    index.filter(&CAROL, filter(&[key]));
    index.round_trip(&ALICE, Duration::from_millis(9));
    index.round_trip(&CAROL, Duration::from_millis(2));
    assert_eq!(index.candidates(&key), [CAROL, ALICE]);
    assert!(index.candidates(&Digest::of(b"absent")).is_empty());
}

#[test]
fn nothing_counts_before_rosters_were_exchanged() {
    let key = Digest::of(b"key");
    let index = Index::default();
    index.keep(&HashSet::from([ALICE]));
    index.connected(&ALICE, String::new());
    index.filter(&ALICE, filter(&[key]));
    assert!(index.candidates(&key).is_empty());
    assert!(index.traffic(&ALICE).is_err());
}

#[test]
fn announced_keys_count_and_survive_an_older_filter() {
    let (old, new) = (Digest::of(b"old"), Digest::of(b"new"));
    let index = meet(&[ALICE]);
    assert!(index.batch(
        &ALICE,
        &Batch {
            generation: 1,
            sequence: 1,
            keys: vec![]
        }
    ));
    index.filter(&ALICE, filter(&[old]));
    let batch = Batch {
        generation: 1,
        sequence: 1,
        keys: vec![new.short()],
    };
    assert!(!index.batch(&ALICE, &batch));
    index.filter(&ALICE, filter(&[old]));
    assert_eq!(index.candidates(&new), [ALICE]);
    assert_eq!(index.status()[0].keys, 2);
}

#[test]
fn more_announced_keys_than_are_kept_ask_for_a_filter() {
    let index = meet(&[ALICE]);
    index.filter(&ALICE, filter(&[]));
    for sequence in 1..=200 {
        let first = sequence * 500;
        let batch = Batch {
            generation: 1,
            sequence,
            keys: (first..first + 500).collect(),
        };
        assert!(!index.batch(&ALICE, &batch));
    }
    assert!(index.batch(
        &ALICE,
        &Batch {
            generation: 1,
            sequence: 201,
            keys: vec![7]
        }
    ));
    assert_eq!(index.status()[0].keys, MAX_RECENT as u64);
}

#[test]
fn an_offender_is_no_candidate_for_a_while() {
    let key = Digest::of(b"key");
    let index = meet(&[ALICE]);
    index.filter(&ALICE, filter(&[key]));
    index.offence(&ALICE);
    assert!(index.candidates(&key).is_empty());
}

#[test]
fn one_offence_in_a_hundred_is_not_forgiven() {
    let index = meet(&[ALICE]);
    let mut left_out = Vec::new();
    for _ in 0..14 {
        // Whatever it gave in between.
        (0..100).for_each(|_| index.prompt(&ALICE));
        index.offence(&ALICE);
        left_out.push(index.status()[0].left_out.expect("it is left out"));
    }
    assert!(left_out.is_sorted_by(|a, b| *b >= *a - Duration::from_secs(1)));
    assert!(left_out[0] <= EXCLUSION);
    assert!(left_out[13] > MAX_OFFENDER - Duration::from_secs(60));
    assert_eq!(index.status()[0].offences, 14);
}

#[test]
fn who_gives_is_asked_before_who_only_says_so() {
    let key = Digest::of(b"key");
    let index = meet(&[ALICE, CAROL]);
    index.filter(&ALICE, filter(&[key]));
    index.filter(&CAROL, filter(&[key]));
    index.round_trip(&ALICE, Duration::from_millis(9));
    index.round_trip(&CAROL, Duration::from_millis(2));
    index.in_vain(&CAROL);
    assert_eq!(index.candidates(&key), [ALICE, CAROL]);
    index.prompt(&CAROL);
    assert_eq!(
        index.candidates(&key),
        [CAROL, ALICE],
        "it has given something"
    );
    index.offence(&CAROL);
    index.with(&CAROL, |m| m.excluded_until = None);
    assert_eq!(
        index.candidates(&key),
        [ALICE, CAROL],
        "its time is over, its offence is not"
    );
}

#[test]
fn a_silent_peer_is_waited_for_less_and_less_until_it_delivers() {
    let index = meet(&[ALICE]);
    let excluded = |now: Instant| {
        index.slow_at(&ALICE, now);
        let until = index.read(&ALICE, |m| m.excluded_until).flatten();
        until.expect("it is excluded") - now
    };
    let began = Instant::now();
    let mut now = began;
    let mut waits = 0;
    while now < began + Duration::from_secs(3600) {
        let wait = excluded(now);
        assert_eq!(
            excluded(now),
            wait,
            "compiles that wait at the same time are one delay"
        );
        now += wait;
        waits += 1;
    }
    assert!(waits <= 13, "an hour of building asks it {waits} times");
    index.prompt(&ALICE);
    assert_eq!(excluded(now), SLOW_EXCLUSION);
}

#[test]
fn who_left_the_roster_or_the_network_is_no_candidate() {
    let key = Digest::of(b"key");
    let index = meet(&[ALICE, CAROL]);
    index.filter(&ALICE, filter(&[key]));
    index.filter(&CAROL, filter(&[key]));
    index.disconnected(&ALICE);
    index.keep(&HashSet::from([ALICE]));
    assert!(index.candidates(&key).is_empty());
    assert_eq!(index.status().len(), 1);
}
