//! How far a run goes, when it gives way to another, and who fetches what.

use super::*;
use crate::turns::Turns;
use quarry_trust::{Digest, ObjectRef, Signature, SignedEntry, TeamId};
use std::thread;

const PEER: PeerId = PeerId([4; 32]);
const TEAM: Scope = Scope::Team(TeamId(Digest::from_bytes([5; 32])));

fn entry(n: usize) -> Entry {
    let nothing = ObjectRef {
        digest: Digest::of(b""),
        size: 0,
    };
    Entry {
        scope: TEAM,
        builder: BuilderId([6; 32]),
        lookup: LookupKey::of(&n.to_le_bytes()),
        action: ActionKey::of(&n.to_le_bytes()),
        description: nothing,
        crate_name: "words".into(),
        outputs: Vec::new(),
        stdout: nothing,
        stderr: nothing,
        width: None,
        duration_ms: 1,
        created: 1,
    }
}

fn kept(gathered: &Gathered, n: usize, bytes: u64) {
    let signed = SignedEntry {
        bytes: n.to_le_bytes().to_vec(),
        signature: Signature([9; 64]),
    };
    let unused = Unused {
        from: PEER,
        lookup: entry(n).lookup,
        scope: TEAM,
        offer: Offer {
            prediction: Vec::new(),
            signed,
        },
        bytes,
        at: Instant::now(),
        _pins: Vec::new(),
    };
    gathered.keep(&entry(n), unused);
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

/// What `work` does while a worker waits for room, and whether it found some.
fn while_waiting(gathered: &Gathered, work: impl FnOnce()) -> bool {
    thread::scope(|scope| {
        let worker = scope.spawn(|| gathered.room());
        while !gathered.lock().waits {
            thread::yield_now();
        }
        work();
        worker.join().unwrap()
    })
}

#[test]
fn what_is_here_is_offered_to_who_asks_for_it_until_somebody_has_used_it() {
    let gathered = Gathered::default();
    kept(&gathered, 1, 10);
    let asked = |n: usize| gathered.offers(&Ask::Lookup(entry(n).lookup)).len();
    assert_eq!((asked(1), asked(2)), (1, 0));
    assert_eq!(gathered.offers(&Ask::Action(entry(1).action)).len(), 1);
    assert!(gathered.offers(&Ask::Next(entry(1).action)).is_empty());
    gathered.used(&entry(1));
    assert_eq!(asked(1), 0);
}

#[test]
fn a_run_waits_for_the_build_and_goes_on_when_it_uses_something() {
    let gathered = Gathered::default();
    assert!(gathered.begins());
    (0..UNUSED_MAX).for_each(|n| kept(&gathered, n, 1));
    assert!(while_waiting(&gathered, || gathered.used(&entry(7))));
    kept(&gathered, UNUSED_MAX, UNUSED_BYTES);
    assert!(!gathered.room(), "nobody uses anything");
}

#[test]
fn a_run_that_led_astray_ends_where_the_build_asks_for_something_else() {
    let gathered = Gathered::default();
    assert!(gathered.begins());
    assert!(!gathered.begins(), "one goes on");
    (0..UNUSED_MAX).for_each(|n| kept(&gathered, n, 1));
    assert!(!while_waiting(&gathered, || assert!(!gathered.begins())));
    (0..WORKERS).for_each(|_| gathered.ended());
    assert!(!gathered.begins(), "after a rest");
    thread::sleep(REST);
    assert!(gathered.begins());
    assert!(
        gathered.room(),
        "what the run before fetched counts no more"
    );
    assert!(gathered.has(&entry(7)), "and is still here");
}

#[test]
fn runs_in_vain_come_to_an_end() {
    let gathered = Gathered::default();
    kept(&gathered, 0, IN_VAIN_BYTES / 2);
    gathered.broke_off(IN_VAIN_BYTES / 4);
    assert!(gathered.begins());
    assert!(gathered.room());
    gathered.broke_off(IN_VAIN_BYTES / 4);
    assert!(!gathered.room(), "what broke off counts as well");
}

/// Its objects are kept from gc, whoever revoked their builder, until it is let go.
#[test]
fn what_nobody_will_use_is_let_go_though_nothing_is_built() {
    let gathered = Gathered::default();
    let now = Instant::now();
    kept(&gathered, 1, 10);
    gathered.let_go(now, |_| false);
    assert!(gathered.has(&entry(1)));
    gathered.let_go(now, |builder| *builder == entry(1).builder);
    assert!(!gathered.has(&entry(1)));
    kept(&gathered, 2, 10);
    gathered.let_go(Instant::now() + IN_VAIN, |_| false);
    assert!(!gathered.has(&entry(2)));
}

#[test]
fn nothing_is_fetched_twice_at_once_and_nobody_waits_beyond_the_deadline() {
    let turns = Turns::default();
    let action = |n| entry(n).action;
    let turn = turns.take(action(1), soon());
    assert!(turn.is_some());
    assert!(turns.take(action(2), soon()).is_some());
    assert!(turns.take(action(1), Instant::now()).is_none());
    thread::scope(|scope| {
        let second = scope.spawn(|| turns.take(action(1), soon()).is_some());
        thread::sleep(Duration::from_millis(20));
        assert!(!second.is_finished());
        drop(turn);
        assert!(second.join().unwrap());
    });
    assert!(turns.take(action(1), Instant::now()).is_some());
}
