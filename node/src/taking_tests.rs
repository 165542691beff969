//! Stories of admins who fork on and on, and are thrown out all the same.

use super::*;
use quarry_trust::roster::Standing;
use quarry_trust::{BuilderId, Member, PeerId};

const NOW: u64 = 1_800_000_000;
const ROOT: u8 = 1;
const ALICE: u8 = 2;
const BOB: u8 = 3;
const CAROL: u8 = 4;
const DAVE: u8 = 5;
const FRIEND: u8 = 6;

fn key(who: u8) -> BuilderKey {
    BuilderKey::from_seed(&[who; 32])
}

fn id(who: u8) -> BuilderId {
    key(who).id()
}

fn member(who: u8, role: Role) -> Member {
    Member {
        name: format!("user{who}"),
        role,
        peer: PeerId([who; 32]),
        builder: id(who),
        joined: NOW,
    }
}

fn add(roster: &mut Roster, by: u8, who: u8, role: Role) {
    let add = Op::Add(member(who, role));
    roster.propose(add, &key(by), NOW).unwrap();
}

/// Alice, Bob and Carol are admins. Alice let Dave in, Bob his friend, and the friend another.
fn forked() -> Roster {
    fork_and_bobs().0
}

/// The same, and what Bob alone knows.
fn fork_and_bobs() -> (Roster, Roster) {
    let mut alices = crate::charter::found("desk", &key(ROOT), member(ALICE, Role::Admin), NOW);
    add(&mut alices, ALICE, BOB, Role::Admin);
    add(&mut alices, ALICE, CAROL, Role::Admin);
    let mut bobs = alices.clone();
    add(&mut alices, ALICE, DAVE, Role::Builder);
    add(&mut bobs, BOB, FRIEND, Role::Admin);
    add(&mut bobs, FRIEND, 99, Role::Builder);
    alices.merge(&bobs.to_wire()).unwrap();
    assert!(alices.fork().is_some_and(|f| f.waiting.len() == 2));
    (alices, bobs)
}

#[test]
fn who_forks_is_revoked_and_what_it_gave_meanwhile_waits_for_nobody() {
    let mut team = forked();
    let before = team.to_wire();
    // Carol signed on neither branch.
    take_away(&mut team, Op::Revoke(id(BOB)), &key(CAROL), NOW).unwrap();
    assert_eq!(team.standing(&id(BOB)), Standing::Revoked, "at once");
    let fork = team.fork().unwrap();
    assert_eq!(fork.waiting, [Op::Add(member(DAVE, Role::Builder))]);

    // Who knew of the fork alone learns it; Bob's own node has no say.
    let mut elsewhere = Roster::from_wire(&before, None).unwrap();
    let learnt = elsewhere.merge(&team.to_wire()).unwrap();
    assert_eq!(learnt.revoked, [id(BOB)]);

    team.merge_fork(&key(CAROL), NOW).unwrap();
    assert_eq!(team.standing(&id(DAVE)), Standing::Stands);
    for who in [FRIEND, 99] {
        assert_eq!(team.standing(&id(who)), Standing::Unknown);
    }
}

#[test]
fn on_a_fork_that_is_opened_again_and_again_each_revocation_holds() {
    let (mut team, mut bobs) = fork_and_bobs();
    take_away(&mut team, Op::Revoke(id(BOB)), &key(ALICE), NOW).unwrap();
    for accomplice in 60..64 {
        team.merge_fork(&key(ALICE), NOW).unwrap();
        assert!(team.fork().is_none());
        // He goes on from where he was: he knows no merge and no revocation.
        add(&mut bobs, BOB, accomplice, Role::Admin);
        team.merge(&bobs.to_wire()).unwrap();
        assert!(team.fork().is_some());
        assert_eq!(team.standing(&id(BOB)), Standing::Revoked);
        for who in [FRIEND, accomplice] {
            assert_eq!(team.standing(&id(who)), Standing::Unknown);
        }
    }
    // Dave waits again, known on one branch alone, and can be thrown out all the same.
    assert!(
        team.fork()
            .is_some_and(|f| f.waiting == [Op::Add(member(DAVE, Role::Builder))])
    );
    let dave = Op::Revoke(id(DAVE));
    take_away(&mut team, dave, &key(CAROL), NOW).unwrap();
    team.merge_fork(&key(CAROL), NOW).unwrap();
    assert_eq!(team.standing(&id(DAVE)), Standing::Revoked);
    assert_eq!(team.standing(&id(FRIEND)), Standing::Unknown);
}

#[test]
fn on_a_fork_a_role_is_lowered_and_a_member_retired_and_nothing_is_given() {
    let mut team = forked();
    let lower = Op::SetRole(id(BOB), Role::Reader);
    take_away(&mut team, lower, &key(ALICE), NOW).unwrap();
    let role = |r: &Roster, who| r.member_by_builder(&id(who)).map(|m| m.role);
    assert_eq!(role(&team, BOB), Some(Role::Reader));
    take_away(&mut team, Op::Retire(id(CAROL)), &key(ALICE), NOW).unwrap();
    assert_eq!(team.standing(&id(CAROL)), Standing::Retired);

    let before = team.to_wire();
    let refused = |team: &mut Roster, op, by| take_away(team, op, &key(by), NOW).unwrap_err();
    for gift in [
        Op::SetRole(id(BOB), Role::Builder),
        Op::Add(member(42, Role::Reader)),
        Op::Merge(BTreeSet::from([Digest::of(b"some head")])),
    ] {
        let why = refused(&mut team, gift, ALICE);
        assert_eq!(why, RosterError::Forked(2));
        assert!(why.to_string().contains("qnode team merge"), "{why}");
    }
    // Bob is no admin now; and Alice, the last, cannot go but by a revocation.
    let who = refused(&mut team, Op::Revoke(id(ALICE)), BOB);
    assert_eq!(who, RosterError::NotAdmin(id(BOB)));
    for op in [Op::Retire(id(ALICE)), Op::SetRole(id(ALICE), Role::Reader)] {
        assert_eq!(refused(&mut team, op, ALICE), RosterError::LastAdmin);
    }
    assert_eq!(team.to_wire(), before);
}

#[test]
fn a_branch_with_an_ended_fork_inside_is_taken_whole() {
    let mut team = forked();
    team.merge_fork(&key(ALICE), NOW).unwrap();
    let mut bobs = team.clone();
    let gone = Op::Retire(id(DAVE));
    team.propose(gone, &key(ALICE), NOW + 1).unwrap();
    add(&mut bobs, BOB, 50, Role::Builder);
    team.merge(&bobs.to_wire()).unwrap();
    team.mark_fresh(&key(CAROL), NOW + 2).unwrap();
    take_away(&mut team, Op::Revoke(id(BOB)), &key(ALICE), NOW + 3).unwrap();
    team.merge_fork(&key(ALICE), NOW + 3).unwrap();
    assert_eq!(team.standing(&id(BOB)), Standing::Revoked);
    assert_eq!(team.standing(&id(50)), Standing::Unknown);
}

#[test]
fn an_admin_of_one_branch_alone_is_nobody_to_leave_the_team_to() {
    let mut alices = crate::charter::found("desk", &key(ROOT), member(ALICE, Role::Admin), NOW);
    add(&mut alices, ALICE, BOB, Role::Admin);
    let mut bobs = alices.clone();
    add(&mut alices, ALICE, DAVE, Role::Admin);
    add(&mut bobs, BOB, FRIEND, Role::Reader);
    alices.merge(&bobs.to_wire()).unwrap();
    let lower = Op::SetRole(id(BOB), Role::Builder);
    take_away(&mut alices, lower, &key(ALICE), NOW).unwrap();
    // On her branch Dave is an admin, and for the team he waits.
    let leaves = take_away(&mut alices, Op::Retire(id(ALICE)), &key(ALICE), NOW);
    assert_eq!(leaves.unwrap_err(), RosterError::LastAdmin);
    take_away(&mut alices, Op::Revoke(id(ALICE)), &key(ALICE), NOW).unwrap();
    assert_eq!(alices.standing(&id(ALICE)), Standing::Revoked);
}
