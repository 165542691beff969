//! Who leaves, who may come back, and what an old word cannot undo.

use super::*;
use proptest::prelude::*;
use quarry_trust::canon::Canonical;
use quarry_trust::roster::{Gone, Standing};
use quarry_trust::{Digest, Member, PeerId, Role};

const NOW: u64 = 1_800_000_000;
const ROOT: u8 = 1;
const ALICE: u8 = 2;
const BOB: u8 = 3;
const CAROL: u8 = 4;
const EVE: u8 = 7;

fn key(who: u8) -> BuilderKey {
    BuilderKey::from_seed(&[who; 32])
}

fn member(who: u8, role: Role) -> Member {
    Member {
        name: format!("user{who}"),
        role,
        peer: PeerId([who; 32]),
        builder: key(who).id(),
        joined: NOW,
    }
}

fn team_of_three() -> Roster {
    let mut roster = crate::charter::found("desk", &key(ROOT), member(ALICE, Role::Admin), NOW);
    for (who, role) in [(BOB, Role::Builder), (CAROL, Role::Admin)] {
        let add = Op::Add(member(who, role));
        roster.propose(add, &key(ALICE), NOW).unwrap();
    }
    roster
}

#[test]
fn a_member_leaves_and_may_come_back() {
    let (mut roster, bob) = (team_of_three(), key(BOB).id());
    let wire = leave(&roster, &key(BOB), NOW + 10).unwrap().to_wire();
    let received = Signed::<Departure>::from_wire(&wire).unwrap();
    retire(&mut roster, &received, &key(CAROL), NOW + 11).unwrap();
    assert_eq!(roster.standing(&bob), Standing::Retired);
    assert!(roster.member_by_peer(&PeerId([BOB; 32])).is_none());
    let former: Vec<_> = roster.former().map(|(m, how)| (m.builder, how)).collect();
    assert_eq!(former, [(bob, Gone::Retired)]);
    retire(&mut roster, &received, &key(ALICE), NOW + 12).unwrap();

    let back = Member {
        joined: NOW + 20,
        ..member(BOB, Role::Builder)
    };
    roster
        .propose(Op::Add(back), &key(ALICE), NOW + 20)
        .unwrap();
    assert_eq!(roster.standing(&bob), Standing::Stands);
    assert_eq!(
        retire(&mut roster, &received, &key(ALICE), NOW + 30),
        Err(RosterError::StaleDeparture(bob)),
        "who kept the old departure cannot throw Bob out with it"
    );
    assert_eq!(
        leave(&roster, &key(EVE), NOW).unwrap_err(),
        RosterError::NotMember(key(EVE).id())
    );
    let elsewhere = crate::charter::found("elsewhere", &key(ROOT), member(BOB, Role::Admin), NOW);
    let other = leave(&elsewhere, &key(BOB), NOW + 40).unwrap();
    assert_eq!(
        retire(&mut roster, &other, &key(ALICE), NOW + 40),
        Err(RosterError::OtherTeam)
    );
}

#[test]
fn the_bytes_are_those_of_before_it_had_a_room_of_its_own() {
    let word = leave(&team_of_three(), &key(BOB), NOW).unwrap();
    let wire = word.to_wire();
    assert_eq!(wire[..2], [1, 0]);
    assert_eq!(wire[2..34], word.team.to_canon());
    assert_eq!(wire[34..66], word.builder.0);
    assert_eq!(wire[66..74], NOW.to_le_bytes());
    assert_eq!(wire.len(), 74 + 64);
}

proptest! {
    #[test]
    fn every_other_string_of_bytes_is_refused(
        team: [u8; 32], builder: [u8; 32], at: u64, bend in 0_usize..74, bit in 0_u8..8,
    ) {
        let said = Departure { team: TeamId(Digest::from_bytes(team)), builder: BuilderId(builder), at };
        let bytes = said.to_canon();
        let read = Departure::from_canon(&bytes);
        prop_assert_eq!(read.as_ref(), Ok(&said));
        for length in 0..bytes.len() {
            prop_assert!(Departure::from_canon(&bytes[..length]).is_err());
        }
        prop_assert!(Departure::from_canon(&[&bytes[..], b"x"].concat()).is_err());
        let mut bent = bytes.clone();
        bent[bend] ^= 1 << bit;
        prop_assert!(Departure::from_canon(&bent).map_or(true, |other| other.to_canon() == bent));
        let signed = leave(&team_of_three(), &key(BOB), at).unwrap().to_wire();
        let mut bent = signed.clone();
        bent[bend] ^= 1 << bit;
        prop_assert!(Signed::<Departure>::from_wire(&bent).is_err());
    }
}
