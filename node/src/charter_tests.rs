//! Drafts and signed charters: told truly, and refused where they are not whole.

use super::*;
use quarry_trust::{BuilderKey, PeerId};

fn key(n: u8) -> BuilderKey {
    BuilderKey::from_seed(&[n; 32])
}

fn member(name: &str, n: u8, role: Role) -> Member {
    Member {
        name: name.into(),
        role,
        peer: PeerId(key(100 + n).id().0),
        builder: key(n).id(),
        joined: 1,
    }
}

/// Alice is admin, Bob builder, Carol reader.
fn team() -> Roster {
    use quarry_trust::roster::Op;
    let mut roster = crate::charter::found("desk", &key(9), member("alice", 1, Role::Admin), 1);
    for m in [
        member("bob", 2, Role::Builder),
        member("carol", 3, Role::Reader),
    ] {
        roster.propose(Op::Add(m), &key(1), 2).unwrap();
    }
    roster
}

fn draft() -> Draft {
    let before = team();
    let bob = member("bob", 2, Role::Builder);
    let charter = next(&before, vec![bob], &[key(1).id()], 3).unwrap();
    Draft {
        charter,
        before: Some(before),
    }
}

fn names(members: &[Member]) -> Vec<&str> {
    members.iter().map(|m| m.name.as_str()).collect()
}

#[test]
fn a_draft_tells_what_it_would_change_from_what_it_carries() {
    let read = Draft::from_bytes(&draft().to_bytes()).unwrap();
    assert_eq!(read.charter, draft().charter);
    let changes = read.changes();
    assert_eq!(names(&changes.admins), ["bob"]);
    assert_eq!(names(&changes.revoked), ["alice"]);
    let rest = [
        &changes.demoted,
        &changes.roles,
        &changes.back,
        &changes.dropped,
    ];
    assert!(rest.iter().all(|list| list.is_empty()), "{changes:?}");
    assert_eq!(read.fingerprint().len(), 19);
    let mut other = read.clone();
    other.charter.created += 1;
    assert_ne!(other.fingerprint(), read.fingerprint());
}

#[test]
fn a_draft_that_brings_somebody_back_or_leaves_somebody_out_says_so() {
    let mut draft = draft();
    draft.charter.members.retain(|m| m.name != "carol");
    assert_eq!(names(&draft.changes().dropped), ["carol"]);
    let mut later = team();
    later
        .propose(quarry_trust::roster::Op::Revoke(key(2).id()), &key(1), 5)
        .unwrap();
    let told = changes(&later, &draft.charter);
    assert_eq!(names(&told.admins), ["bob"]);
    assert_eq!(
        names(&told.back),
        ["bob"],
        "who was revoked since stands again"
    );
}

#[test]
fn every_draft_that_is_cut_or_bent_is_refused() {
    let whole = draft().to_bytes();
    for length in 0..whole.len() {
        assert!(Draft::from_bytes(&whole[..length]).is_err(), "{length}");
    }
    let long = [&whole[..], b"x"].concat();
    assert!(matches!(
        Draft::from_bytes(&long),
        Err(CharterError::Form(..))
    ));
    let mut far = draft();
    far.charter.epoch = u64::MAX;
    assert!(matches!(
        Draft::from_bytes(&far.to_bytes()),
        Err(CharterError::Draft(_))
    ));
    let mut other = draft();
    other.charter.name = "dusk".into();
    assert!(matches!(
        Draft::from_bytes(&other.to_bytes()),
        Err(CharterError::Draft(_))
    ));
    let mut alone = draft();
    alone.before = None;
    assert!(matches!(
        Draft::from_bytes(&alone.to_bytes()),
        Err(CharterError::Draft(_))
    ));
}

#[test]
fn a_signed_charter_is_read_whole_or_not_at_all() {
    let signed = Signed::new(draft().charter, &key(9));
    let whole = signed_bytes(&signed);
    assert_eq!(read_signed(&whole).unwrap(), signed);
    for length in 0..whole.len() {
        assert!(read_signed(&whole[..length]).is_err(), "{length}");
    }
    let mut bent = whole.clone();
    let at = bent.len() - 70;
    bent[at] ^= 1;
    assert!(read_signed(&bent).is_err());
    assert_eq!(
        read_signed(&draft().to_bytes()),
        Err(CharterError::Kind("signed charter"))
    );
}

#[test]
fn the_next_charter_carries_everybody_on_and_brings_no_revoked_key_back() {
    use quarry_trust::roster::Op;
    use quarry_trust::{RosterError, Standing};
    let mut before = team();
    let dave = member("dave", 4, Role::Admin);
    before.propose(Op::Add(dave), &key(1), 3).unwrap();
    let retire = Op::Retire(key(2).id());
    before.propose(retire, &key(1), 3).unwrap();
    let alice = vec![member("alice", 1, Role::Admin)];
    let charter = next(&before, alice.clone(), &[key(3).id()], 4).unwrap();
    let after = Roster::chartered(Signed::new(charter, &key(9))).unwrap();
    assert_eq!((after.team(), after.epoch()), (before.team(), 2));
    let standing = |n| after.standing(&key(n).id());
    assert!(after.is_admin(&key(1).id()) && !after.is_admin(&key(4).id()));
    assert_eq!(standing(4), Standing::Stands, "a builder still");
    assert_eq!(after.member_by_builder(&key(3).id()), None);
    assert_eq!(standing(2), Standing::Retired);
    let revoked = |m: &Member, gone: Gone| m.builder == key(3).id() && gone == Gone::Revoked;
    assert!(after.former().any(|(m, gone)| revoked(m, gone)));

    let back = [alice, vec![member("carol", 3, Role::Admin)]].concat();
    assert_eq!(
        next(&after, back, &[], 5),
        Err(RosterError::RevokedBuilder(key(3).id()))
    );
    assert!(matches!(
        next(&after, vec![], &[], 5),
        Err(RosterError::Charter(_))
    ));
}
