//! Stories of admins who disagree, and of a thief who makes them.

use super::tests::*;
use super::*;
use crate::digest::Digest;
use std::collections::BTreeSet;

#[test]
fn two_admins_fork_and_a_merge_unites_them() {
    let mut alices = team_of_three();
    add(&mut alices, ALICE, EVE, Role::Builder);
    let mut carols = alices.clone();
    add(&mut alices, ALICE, DAVE, Role::Builder);
    alices
        .propose(Op::Revoke(id(BOB)), &key(ALICE), NOW)
        .unwrap();
    add(&mut carols, CAROL, ERIN, Role::Builder);
    carols
        .propose(Op::Retire(id(EVE)), &key(CAROL), NOW)
        .unwrap();

    let (from_alice, from_carol) = (alices.to_wire(), carols.to_wire());
    let outcome = alices.merge(&from_carol).unwrap();
    assert!(outcome.changed && outcome.forked && outcome.revoked.is_empty());
    assert_eq!(
        BTreeSet::from_iter(outcome.left),
        BTreeSet::from([peer(DAVE), peer(EVE)]),
        "of a fork the additions of neither branch hold"
    );
    carols.merge(&from_alice).unwrap();
    assert_eq!(alices.to_wire(), carols.to_wire());
    assert_eq!(
        Roster::from_wire(&alices.to_wire(), None)
            .unwrap()
            .to_wire(),
        alices.to_wire()
    );

    assert_eq!(alices.standing(&id(BOB)), Standing::Revoked);
    assert_eq!(alices.standing(&id(EVE)), Standing::Retired);
    assert_eq!(alices.standing(&id(DAVE)), Standing::Unknown);
    assert_eq!(alices.standing(&id(ERIN)), Standing::Unknown);
    let fork = alices.fork().unwrap();
    let signers: BTreeSet<_> = fork.heads.iter().map(|h| h.signer).collect();
    assert_eq!(signers, BTreeSet::from([id(ALICE), id(CAROL)]));
    let waiting: BTreeSet<_> = fork.waiting.iter().map(|m| m.builder).collect();
    assert_eq!(waiting, BTreeSet::from([id(DAVE), id(ERIN)]));

    let more = Op::Add(member(MALLORY, Role::Builder));
    assert_eq!(
        alices.propose(more, &key(ALICE), NOW).unwrap_err(),
        RosterError::Forked(2)
    );
    let blind = Op::Merge(BTreeSet::from([Digest::of(b"some head")]));
    assert_eq!(
        alices.propose(blind, &key(ALICE), NOW).unwrap_err(),
        RosterError::BadMerge
    );
    let merge = alices.merge_op().unwrap();
    alices.propose(merge, &key(ALICE), NOW).unwrap();
    assert!(alices.fork().is_none() && alices.merge_op().is_none());
    assert_eq!(alices.standing(&id(DAVE)), Standing::Stands);
    assert_eq!(alices.standing(&id(ERIN)), Standing::Stands);
    assert_eq!(alices.standing(&id(BOB)), Standing::Revoked);
    assert_eq!(alices.standing(&id(EVE)), Standing::Retired);
    let outcome = carols.merge(&alices.to_wire()).unwrap();
    assert!(outcome.changed && !outcome.forked && outcome.left.is_empty());
}

#[test]
fn of_what_two_branches_decided_the_stricter_holds() {
    let mut base = team_of_three();
    add(&mut base, ALICE, DAVE, Role::Builder);
    add(&mut base, ALICE, ERIN, Role::Reader);
    let (mut left, mut right) = (base.clone(), base);
    let (alice, carol) = (key(ALICE), key(CAROL));
    for op in [
        Op::SetRole(id(BOB), Role::Admin),
        Op::Retire(id(DAVE)),
        Op::SetRole(id(ERIN), Role::Builder),
    ] {
        left.propose(op, &alice, NOW).unwrap();
    }
    right
        .propose(Op::SetRole(id(BOB), Role::Reader), &carol, NOW)
        .unwrap();
    right.propose(Op::Revoke(id(DAVE)), &carol, NOW).unwrap();
    left.merge(&right.to_wire()).unwrap();
    let role = |r: &Roster, who| r.member_by_builder(&id(who)).map(|m| m.role);
    assert_eq!(role(&left, BOB), Some(Role::Builder), "as before the fork");
    assert_eq!(role(&left, ERIN), Some(Role::Reader), "as before the fork");
    assert_eq!(left.standing(&id(DAVE)), Standing::Revoked);

    let merge = left.merge_op().unwrap();
    left.propose(merge, &carol, NOW).unwrap();
    assert_eq!(role(&left, BOB), Some(Role::Reader), "the stricter");
    assert_eq!(role(&left, ERIN), Some(Role::Builder), "only one decided");
    assert_eq!(left.standing(&id(DAVE)), Standing::Revoked);
}

#[test]
fn one_peer_added_on_two_branches_is_one_member_after_the_merge() {
    let (mut left, mut right) = (team_of_three(), team_of_three());
    add(&mut left, ALICE, DAVE, Role::Builder);
    let same_peer = Member {
        peer: peer(DAVE),
        ..member(ERIN, Role::Builder)
    };
    right.propose(Op::Add(same_peer), &key(CAROL), NOW).unwrap();
    left.merge(&right.to_wire()).unwrap();
    let merge = left.merge_op().unwrap();
    left.propose(merge, &key(ALICE), NOW).unwrap();
    assert_eq!(left.members().filter(|m| m.peer == peer(DAVE)).count(), 1);
}

#[test]
fn a_stolen_key_that_forks_from_before_its_revocation_lets_nobody_in() {
    let mut base = team_of_three();
    add(&mut base, ALICE, EVE, Role::Admin);
    let mut thief = base.clone();
    let mut team = base;
    team.propose(Op::Revoke(id(EVE)), &key(ALICE), NOW).unwrap();
    add(&mut team, ALICE, DAVE, Role::Builder);
    // Eve adds an accomplice, who adds another.
    add(&mut thief, EVE, MALLORY, Role::Admin);
    add(&mut thief, MALLORY, 99, Role::Admin);

    let outcome = team.merge(&thief.to_wire()).unwrap();
    assert!(outcome.forked);
    assert_eq!(team.standing(&id(EVE)), Standing::Revoked);
    assert_eq!(team.standing(&id(MALLORY)), Standing::Unknown);
    let waiting: Vec<_> = team
        .fork()
        .unwrap()
        .waiting
        .iter()
        .map(|m| m.builder)
        .collect();
    assert_eq!(waiting, [id(DAVE)], "a merge would let in Dave alone");

    // Nor can they wave their own branch through: each is no admin on the other branch.
    let heads = team.chain.heads();
    for accomplice in [EVE, MALLORY, 99] {
        for prev in &heads {
            let others: BTreeSet<Digest> = heads.iter().filter(|h| *h != prev).copied().collect();
            let wire = wire_with(&team, accomplice, *prev, Op::Merge(others));
            assert_eq!(
                team.merge(&wire).unwrap_err(),
                RosterError::NotAdmin(id(accomplice))
            );
        }
    }

    let merge = team.merge_op().unwrap();
    team.propose(merge, &key(ALICE), NOW).unwrap();
    assert_eq!(team.standing(&id(DAVE)), Standing::Stands);
    for who in [MALLORY, 99] {
        assert_eq!(team.standing(&id(who)), Standing::Unknown);
    }

    // The accomplice goes on from its own branch: the next merge does not fall for it either.
    add(&mut thief, MALLORY, 98, Role::Builder);
    team.merge(&thief.to_wire()).unwrap();
    let merge = team.merge_op().unwrap();
    team.propose(merge, &key(ALICE), NOW).unwrap();
    for who in [MALLORY, 99, 98] {
        assert_eq!(team.standing(&id(who)), Standing::Unknown);
    }
    assert_eq!(team.standing(&id(DAVE)), Standing::Stands);
}

#[test]
fn an_open_fork_beside_a_merged_one_is_seen_from_where_they_part() {
    let base = team_of_three();
    let (mut left, mut right, mut late) = (base.clone(), base.clone(), base);
    add(&mut left, ALICE, DAVE, Role::Builder);
    add(&mut right, CAROL, ERIN, Role::Builder);
    left.merge(&right.to_wire()).unwrap();
    right = left.clone();
    // Both merge the same fork without knowing of each other.
    for (roster, who) in [(&mut left, ALICE), (&mut right, CAROL)] {
        let merge = roster.merge_op().unwrap();
        roster.propose(merge, &key(who), NOW).unwrap();
    }
    left.merge(&right.to_wire()).unwrap();
    assert!(left.fork().is_some_and(|f| f.waiting.is_empty()));
    assert_eq!(left.standing(&id(DAVE)), Standing::Stands, "both merged it");
    assert_eq!(left.standing(&id(ERIN)), Standing::Stands, "both merged it");
    let merge = left.merge_op().unwrap();
    left.propose(merge, &key(ALICE), NOW).unwrap();

    // An admin who slept through it all revokes Bob.
    late.propose(Op::Revoke(id(BOB)), &key(CAROL), NOW + 1)
        .unwrap();
    let outcome = left.merge(&late.to_wire()).unwrap();
    assert_eq!(outcome.revoked, [id(BOB)]);
    assert_eq!(left.fork().unwrap().heads.len(), 2);
    let merge = left.merge_op().unwrap();
    left.propose(merge, &key(CAROL), NOW + 2).unwrap();
    assert_eq!(left.standing(&id(DAVE)), Standing::Stands);
    assert_eq!(left.standing(&id(BOB)), Standing::Revoked);
    // A merge of what is behind the head already merges nothing.
    let behind = left.chain.changes()[0].link();
    let wire = wire_with(
        &left,
        ALICE,
        head(&left),
        Op::Merge(BTreeSet::from([behind])),
    );
    assert_eq!(left.merge(&wire).unwrap_err(), RosterError::BadMerge);
}
