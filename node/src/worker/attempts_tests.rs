//! What is tried again, when, and how often.

use super::*;
use quarry_trust::verify::{Source, Verifier};
use quarry_trust::{BuilderKey, Digest, LookupKey, ObjectRef, TeamId, Verified};

const TEAM: Scope = Scope::Team(TeamId(Digest::from_bytes([5; 32])));

fn entry(action: u16, width: Option<u16>) -> Verified<Entry> {
    let key = BuilderKey::from_seed(&[7; 32]);
    let object = ObjectRef {
        digest: Digest::of(b""),
        size: 0,
    };
    let entry = Entry {
        scope: Scope::Private,
        builder: key.id(),
        lookup: LookupKey::of(b"lookup"),
        action: ActionKey::of(&action.to_le_bytes()),
        description: object,
        crate_name: "words".into(),
        outputs: Vec::new(),
        stdout: object,
        stderr: object,
        width,
        duration_ms: 1,
        created: 1,
    };
    let verifier = Verifier {
        own: key.id(),
        roster: None,
        now: 1,
    };
    let signed = entry.sign(&key);
    verifier.entry(&signed, Source::Store, None, None).unwrap()
}

fn inv(name: &str) -> Arc<Invocation> {
    Arc::new(Invocation {
        argv: vec![name.into()],
        env: Vec::new(),
        cwd: "/".into(),
        started: Vec::new(),
    })
}

fn stored(attempts: &Attempts, action: u16, width: Option<u16>) -> Second {
    let second = Second {
        purpose: Purpose::Loosen(TEAM),
        inv: inv("stored"),
        entry: entry(action, width),
        prediction: Vec::new(),
    };
    attempts.begins(&second);
    second
}

fn served(attempts: &Attempts, action: u16, by: &str, scope: Scope) -> Option<Second> {
    attempts.served(&entry(action, None), &inv(by), scope)
}

fn idle(attempts: &Attempts) -> bool {
    attempts.open().values().all(|a| a.under_way == 0)
}

#[test]
fn what_was_disturbed_is_tried_once_more_at_the_next_hit_and_as_that_asks() {
    let attempts = Attempts::default();
    let first = stored(&attempts, 1, None);
    attempts.works(&first);
    assert!(attempts.ended(first, true).is_none());
    assert!(idle(&attempts));
    let again = served(&attempts, 1, "hit", TEAM).unwrap();
    assert_eq!(again.inv.argv, ["hit"]);
    assert!(!idle(&attempts));
    // Twice in all.
    assert!(attempts.ended(again, true).is_none());
    assert!(served(&attempts, 1, "hit", TEAM).is_none());
    assert!(attempts.open().is_empty());
}

#[test]
fn a_hit_counts_from_when_the_attempt_is_at_work() {
    let attempts = Attempts::default();
    let first = stored(&attempts, 1, None);
    assert!(served(&attempts, 1, "while it waits", TEAM).is_none());
    attempts.works(&first);
    assert!(attempts.ended(first, true).is_none());
    let second = stored(&attempts, 2, None);
    attempts.works(&second);
    assert!(served(&attempts, 2, "meanwhile", TEAM).is_none());
    let again = attempts.ended(second, true).unwrap();
    assert_eq!(again.inv.argv, ["meanwhile"]);
    assert!(!idle(&attempts));
    assert!(attempts.ended(again, false).is_none());
    assert!(idle(&attempts));
}

#[test]
fn what_was_shown_or_was_for_others_is_not_tried_again() {
    let attempts = Attempts::default();
    let shown = stored(&attempts, 1, None);
    attempts.works(&shown);
    assert!(attempts.ended(shown, false).is_none());
    let disturbed = stored(&attempts, 2, None);
    attempts.works(&disturbed);
    assert!(attempts.ended(disturbed, true).is_none());
    assert!(served(&attempts, 1, "hit", TEAM).is_none());
    let closed = Scope::Project(TeamId(Digest::from_bytes([5; 32])), Digest::of(b"closed"));
    assert!(served(&attempts, 2, "hit", closed).is_none());
    assert!(attempts.open().is_empty());
}

#[test]
fn what_is_stored_twice_is_compiled_for_each_width_and_each_time() {
    let attempts = Attempts::default();
    let narrow = stored(&attempts, 1, Some(80));
    let wide = stored(&attempts, 1, Some(120));
    let once_more = stored(&attempts, 1, Some(80));
    for second in [narrow, wide] {
        attempts.works(&second);
        assert!(attempts.ended(second, true).is_none());
        assert!(!idle(&attempts));
    }
    attempts.works(&once_more);
    assert!(attempts.ended(once_more, false).is_none());
    assert!(idle(&attempts));
}

#[test]
fn what_found_no_room_waits_for_a_hit_and_has_lost_no_try() {
    let attempts = Attempts::default();
    attempts.put_off(stored(&attempts, 1, None));
    assert!(idle(&attempts));
    let first = served(&attempts, 1, "hit", TEAM).unwrap();
    attempts.works(&first);
    assert!(attempts.ended(first, true).is_none());
    assert!(served(&attempts, 1, "hit", TEAM).is_some());
}

#[test]
fn no_more_rest_than_the_table_holds() {
    let attempts = Attempts::default();
    for n in 0..=RESTING_MAX {
        attempts.put_off(stored(&attempts, u16::try_from(n).unwrap(), None));
    }
    assert_eq!(attempts.open().len(), RESTING_MAX);
    let newest = u16::try_from(RESTING_MAX).unwrap();
    assert!(served(&attempts, newest, "hit", TEAM).is_some());
}
