//! Who is meant by a beginning.

use super::*;
use quarry_trust::roster::{Op, Role};
use quarry_trust::{BuilderId, BuilderKey, PeerId};

const NOW: u64 = 1_800_000_000;
const ALICE: u8 = 2;
const BOB: u8 = 3;
const CAROL: u8 = 4;
const DAVE: u8 = 5;

fn key(who: u8) -> BuilderKey {
    BuilderKey::from_seed(&[who; 32])
}

fn id(who: u8) -> BuilderId {
    key(who).id()
}

fn peer(who: u8) -> PeerId {
    PeerId([who; 32])
}

fn member(who: u8, role: Role) -> Member {
    let (name, builder, peer, joined) = (format!("user{who}"), id(who), peer(who), NOW);
    Member {
        name,
        role,
        peer,
        builder,
        joined,
    }
}

fn desk() -> Roster {
    crate::charter::found("desk", &key(1), member(ALICE, Role::Admin), NOW)
}

#[test]
fn a_member_is_found_by_its_peer_as_it_is_printed() {
    let mut roster = desk();
    let bob = Member {
        peer: PeerId(key(BOB).id().0),
        ..member(BOB, Role::Builder)
    };
    roster.propose(Op::Add(bob), &key(ALICE), NOW).unwrap();
    let printed = display(&PeerId(key(BOB).id().0));
    assert!(printed.starts_with("12D3KooW"));
    assert_eq!(roster.find(&printed).unwrap().builder, id(BOB));
    assert_eq!(roster.find(&printed[..16]).unwrap().builder, id(BOB));
}

#[test]
fn a_member_is_found_by_the_beginning_of_name_peer_or_builder() {
    let mut roster = desk();
    for (who, name) in [(BOB, "bob"), (CAROL, "bobby"), (DAVE, "dave")] {
        let member = Member {
            name: name.into(),
            ..member(who, Role::Builder)
        };
        roster.propose(Op::Add(member), &key(ALICE), NOW).unwrap();
    }
    assert_eq!(
        roster.find("bob").unwrap().builder,
        id(BOB),
        "a whole name wins"
    );
    assert_eq!(roster.find("bobb").unwrap().builder, id(CAROL));
    assert_eq!(roster.find("da").unwrap().builder, id(DAVE));
    assert_eq!(
        roster.find(&peer(DAVE).to_hex()[..6]).unwrap().builder,
        id(DAVE)
    );
    assert_eq!(
        roster.find(&id(DAVE).to_hex()[..12]).unwrap().builder,
        id(DAVE)
    );
    assert!(
        matches!(roster.find("bo"), Err(FindError::Ambiguous { names, .. }) if names.len() == 2)
    );
    assert!(matches!(roster.find("zoe"), Err(FindError::NotFound(_))));
    assert!(matches!(roster.find(""), Err(FindError::NotFound(_))));
    roster
        .propose(Op::Retire(id(DAVE)), &key(ALICE), NOW)
        .unwrap();
    assert!(matches!(roster.find("dave"), Err(FindError::NotFound(_))));
}

#[test]
fn a_name_that_is_another_s_key_stands_for_nobody() {
    let mut roster = desk();
    for (who, name) in [
        (BOB, "bob".to_owned()),
        (CAROL, id(BOB).to_hex()[..16].to_owned()),
    ] {
        let member = Member {
            name,
            ..member(who, Role::Builder)
        };
        roster.propose(Op::Add(member), &key(ALICE), NOW).unwrap();
    }
    let typed = &id(BOB).to_hex()[..16];
    assert!(
        matches!(roster.find(typed), Err(FindError::Ambiguous { names, .. }) if names.len() == 2)
    );
    assert_eq!(
        roster.find(&id(BOB).to_hex()[..17]).unwrap().builder,
        id(BOB)
    );
}
