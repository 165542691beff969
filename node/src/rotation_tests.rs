//! What a rotation can and cannot do.

use super::*;
use quarry_trust::roster::{Role, Standing};

fn key(n: u8) -> BuilderKey {
    BuilderKey::from_seed(&[n; 32])
}

/// Alice (1) is admin, Bob (2) a builder, who speaks as 102.
fn team() -> Roster {
    let member = |name: &str, n: u8, role| Member {
        name: name.into(),
        role,
        peer: PeerId(key(100 + n).id().0),
        builder: key(n).id(),
        joined: 10,
    };
    let mut roster = crate::charter::found("desk", &key(9), member("alice", 1, Role::Admin), 10);
    let bob = member("bob", 2, Role::Builder);
    roster.propose(Op::Add(bob), &key(1), 10).unwrap();
    roster
}

fn rotation(new: u8, peer: u8, compromised: bool, last: bool) -> Rotation {
    let keys = Keys {
        old: &key(2),
        new: &key(new),
        peer: &key(peer),
    };
    Rotation::new(team().team(), &keys, 20, compromised, last)
}

#[test]
fn bobs_new_key_takes_his_place_and_his_old_one_retires() {
    let mut roster = team();
    rotation(22, 102, false, true)
        .apply(&mut roster, &key(1), 30)
        .unwrap();
    assert_eq!(roster.standing(&key(2).id()), Standing::Retired);
    let bob = roster.member_by_builder(&key(22).id()).unwrap();
    assert_eq!((bob.name.as_str(), bob.role), ("bob", Role::Builder));
    assert_eq!(bob.peer, PeerId(key(102).id().0));
    let settled = roster.to_wire();
    rotation(22, 102, false, true)
        .apply(&mut roster, &key(1), 40)
        .unwrap();
    assert_eq!(roster.to_wire(), settled, "once is enough");
}

#[test]
fn the_new_key_is_in_the_projects_that_the_old_one_was_in_and_in_no_other() {
    for last in [true, false] {
        let mut roster = team();
        for (name, members) in [("pay", [1, 2].as_slice()), ("web", [1].as_slice())] {
            let members = members.iter().map(|n| key(*n).id()).collect();
            let project = Project {
                members,
                ..Project::default()
            };
            let op = Op::Project(name.into(), project);
            roster.propose(op, &key(1), 20).unwrap();
        }
        let peer = if last { 102 } else { 122 };
        rotation(22, peer, false, last)
            .apply(&mut roster, &key(1), 30)
            .unwrap();
        let in_it = |name: &str| -> Vec<u8> {
            let mut all = roster.projects();
            let project = all.find(|p| p.0 == name).unwrap().1;
            let among = |n: &u8| project.members.contains(&key(*n).id());
            [1, 2, 22].into_iter().filter(among).collect()
        };
        let pay: &[u8] = if last { &[1, 22] } else { &[1, 2, 22] };
        assert_eq!((in_it("pay"), in_it("web")), (pay.to_vec(), vec![1]));
    }
}

#[test]
fn a_compromised_key_is_revoked_with_all_that_it_signed() {
    let mut roster = team();
    rotation(22, 102, true, true)
        .apply(&mut roster, &key(1), 30)
        .unwrap();
    assert_eq!(roster.standing(&key(2).id()), Standing::Revoked);
    assert_eq!(roster.standing(&key(22).id()), Standing::Stands);
}

#[test]
fn with_a_new_peer_both_stand_until_the_last_word() {
    let mut roster = team();
    rotation(22, 122, false, false)
        .apply(&mut roster, &key(1), 30)
        .unwrap();
    assert_eq!(roster.standing(&key(2).id()), Standing::Stands);
    assert_eq!(roster.standing(&key(22).id()), Standing::Stands);
    rotation(22, 122, false, true)
        .apply(&mut roster, &key(1), 31)
        .unwrap();
    assert_eq!(roster.standing(&key(2).id()), Standing::Retired);
}

#[test]
fn a_rotation_is_whole_signed_by_all_three_keys_or_refused() {
    let wire = rotation(22, 122, false, true).to_wire();
    assert_eq!(Rotation::from_wire(&wire).unwrap().to_wire(), wire);
    for at in 0..wire.len() {
        let mut bent = wire.clone();
        bent[at] ^= 1;
        assert!(Rotation::from_wire(&bent).is_err(), "byte {at}");
        assert!(Rotation::from_wire(&wire[..at]).is_err(), "cut at {at}");
    }
    assert!(Rotation::from_wire(&[&wire[..], b"x"].concat()).is_err());
    // Mallory names a key that she does not hold: Alice's.
    let mut stolen = rotation(22, 122, false, true);
    stolen.said.new = key(1).id();
    stolen.by_old = key(2).sign(OLD_DOMAIN, &stolen.said.to_canon());
    stolen.by_peer = key(122).sign(NEW_DOMAIN, &stolen.said.to_canon());
    assert_eq!(
        Rotation::from_wire(&stolen.to_wire()),
        Err(RosterError::Signature("rotation"))
    );
}

#[test]
fn a_rotation_gives_no_more_than_the_old_key_had() {
    let mut roster = team();
    roster
        .propose(Op::SetRole(key(2).id(), Role::Reader), &key(1), 20)
        .unwrap();
    rotation(22, 102, false, true)
        .apply(&mut roster, &key(1), 30)
        .unwrap();
    assert_eq!(
        roster.member_by_builder(&key(22).id()).unwrap().role,
        Role::Reader
    );

    let mut roster = team();
    roster
        .propose(Op::Revoke(key(2).id()), &key(1), 20)
        .unwrap();
    rotation(22, 102, false, true)
        .apply(&mut roster, &key(1), 30)
        .unwrap();
    assert_eq!(
        roster.standing(&key(22).id()),
        Standing::Unknown,
        "who is revoked stays out"
    );

    // One from before Bob's latest joining is stale; one of another team is none of ours.
    let mut roster = team();
    let keys = Keys {
        old: &key(2),
        new: &key(22),
        peer: &key(102),
    };
    let early = Rotation::new(roster.team(), &keys, 5, false, true);
    assert!(early.apply(&mut roster, &key(1), 30).is_err());
    let other = Rotation::new(
        TeamId(quarry_trust::Digest::of(b"x")),
        &keys,
        20,
        false,
        true,
    );
    assert_eq!(
        other.apply(&mut roster, &key(1), 30),
        Err(RosterError::OtherTeam)
    );
}
