//! How far a run goes, where it begins anew, and who fetches what.

use super::*;
use std::thread;

const PEER: PeerId = PeerId([4; 32]);

fn action(n: usize) -> ActionKey {
    ActionKey::of(&n.to_le_bytes())
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(60)
}

#[test]
fn what_was_fetched_unasked_is_a_teammates_at_its_first_use() {
    let gathered = Gathered::default();
    gathered.keep(action(1), PEER, 10);
    assert_eq!(gathered.take(&action(2)), None);
    assert_eq!(gathered.take(&action(1)), Some(PEER));
    assert_eq!(gathered.take(&action(1)), None);
}

#[test]
fn a_run_waits_for_the_build_and_goes_on_when_it_uses_something() {
    let gathered = Gathered::default();
    assert!(gathered.begins(PEER, action(0)));
    (0..UNUSED_MAX).for_each(|n| gathered.keep(action(n), PEER, 1));
    thread::scope(|scope| {
        let worker = scope.spawn(|| gathered.room());
        while !gathered.lock().waits {
            thread::yield_now();
        }
        assert_eq!(gathered.take(&action(7)), Some(PEER));
        assert!(worker.join().unwrap());
    });
    gathered.keep(action(UNUSED_MAX), PEER, UNUSED_BYTES);
    assert!(!gathered.room(), "nobody uses anything");
}

#[test]
fn a_run_that_led_astray_ends_where_the_build_asks_for_something_else() {
    let gathered = Gathered::default();
    assert!(gathered.begins(PEER, action(0)));
    assert!(!gathered.begins(PEER, action(1)), "one goes on");
    (0..UNUSED_MAX).for_each(|n| gathered.keep(action(n), PEER, 1));
    thread::scope(|scope| {
        let worker = scope.spawn(|| gathered.room());
        while !gathered.lock().waits {
            thread::yield_now();
        }
        assert!(!gathered.begins(PEER, action(500)));
        assert!(!worker.join().unwrap());
    });
    assert_eq!(gathered.ended(), None, "another worker is not done");
    assert_eq!(gathered.ended(), Some((PEER, action(500))));
    assert!(
        gathered.room(),
        "what the run before fetched counts no more"
    );
    assert_eq!(gathered.take(&action(7)), Some(PEER));
    for _ in 0..WORKERS {
        assert_eq!(gathered.ended(), None);
    }
    assert!(!gathered.begins(PEER, action(2)), "after a rest");
}

#[test]
fn runs_in_vain_come_to_an_end() {
    let gathered = Gathered::default();
    gathered.keep(action(0), PEER, IN_VAIN_BYTES);
    assert!(gathered.begins(PEER, action(1)));
    assert!(!gathered.room());
}

#[test]
fn nothing_is_fetched_twice_at_once_and_nobody_waits_beyond_the_deadline() {
    let turns = Turns::default();
    let turn = turns.take(action(1), soon());
    assert!(!turn.waited);
    assert!(!turns.take(action(2), soon()).waited);
    let late = turns.take(action(1), Instant::now());
    assert!(late.waited);
    drop(late);
    thread::scope(|scope| {
        let second = scope.spawn(|| turns.take(action(1), soon()).waited);
        thread::sleep(Duration::from_millis(20));
        assert!(!second.is_finished());
        drop(turn);
        assert!(second.join().unwrap());
    });
    assert!(!turns.take(action(1), soon()).waited);
}
