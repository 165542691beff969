//! Stories of admins who disagree, and of a thief who makes them.

use super::tests::*;
use super::*;
use std::collections::BTreeSet;

#[test]
fn two_admins_fork_and_a_merge_unites_them() {
    let mut alices = team_of_three();
    add(&mut alices, ALICE, EVE, Role::Builder);
    let mut carols = alices.clone();
    add(&mut alices, ALICE, DAVE, Role::Builder);
    alices.propose(Op::Revoke(id(BOB)), &key(ALICE), NOW).unwrap();
    add(&mut carols, CAROL, ERIN, Role::Builder);
    carols.propose(Op::Retire(id(EVE)), &key(CAROL), NOW).unwrap();

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
    assert_eq!(Roster::from_wire(&alices.to_wire(), None).unwrap().to_wire(), alices.to_wire());

    assert_eq!(alices.standing(&id(BOB)), Standing::Revoked);
    assert_eq!(alices.standing(&id(EVE)), Standing::Retired);
    assert_eq!(alices.standing(&id(DAVE)), Standing::Unknown);
    assert_eq!(alices.standing(&id(ERIN)), Standing::Unknown);
    let fork = alices.fork().unwrap();
    let signers: BTreeSet<_> = fork.heads.iter().map(|h| h.signer).collect();
    assert_eq!(signers, BTreeSet::from([id(ALICE), id(CAROL)]));
    let waits = |who| fork.waiting.contains(&Op::Add(member(who, Role::Builder)));
    assert!(fork.waiting.len() == 2 && waits(DAVE) && waits(ERIN));

    let more = Op::Add(member(MALLORY, Role::Builder));
    assert_eq!(alices.propose(more, &key(ALICE), NOW).unwrap_err(), RosterError::Forked(2));
    let blind = Op::Merge(BTreeSet::from([Digest::of(b"some head")]));
    assert_eq!(alices.propose(blind, &key(ALICE), NOW).unwrap_err(), RosterError::Forked(2));
    alices.merge_fork(&key(ALICE), NOW).unwrap();
    assert!(alices.fork().is_none());
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
    right.propose(Op::SetRole(id(BOB), Role::Reader), &carol, NOW).unwrap();
    right.propose(Op::Revoke(id(DAVE)), &carol, NOW).unwrap();
    left.merge(&right.to_wire()).unwrap();
    let role = |r: &Roster, who| r.member_by_builder(&id(who)).map(|m| m.role);
    assert_eq!(role(&left, BOB), Some(Role::Reader), "what takes away holds");
    assert_eq!(role(&left, ERIN), Some(Role::Reader), "as before the fork");
    assert_eq!(left.standing(&id(DAVE)), Standing::Revoked);

    left.merge_fork(&carol, NOW).unwrap();
    assert_eq!(role(&left, BOB), Some(Role::Reader), "the stricter");
    assert_eq!(role(&left, ERIN), Some(Role::Builder), "only one decided");
    assert_eq!(left.standing(&id(DAVE)), Standing::Revoked);
}

#[test]
fn one_peer_added_on_two_branches_is_one_member_after_the_merge() {
    let (mut left, mut right) = (team_of_three(), team_of_three());
    add(&mut left, ALICE, DAVE, Role::Builder);
    let same_peer = Member { peer: peer(DAVE), ..member(ERIN, Role::Builder) };
    right.propose(Op::Add(same_peer), &key(CAROL), NOW).unwrap();
    left.merge(&right.to_wire()).unwrap();
    left.merge_fork(&key(ALICE), NOW).unwrap();
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
    assert_eq!(
        team.fork().unwrap().waiting,
        [Op::Add(member(DAVE, Role::Builder))],
        "a merge would let in Dave alone"
    );

    // Nor can they wave their own branch through: who merges is an admin on every branch.
    let heads = team.chain.heads();
    let base = team.fork().unwrap().base;
    for accomplice in [EVE, MALLORY, 99] {
        let wire = wire_with(&team, accomplice, base, Op::Merge(heads.clone()));
        assert_eq!(team.merge(&wire).unwrap_err(), RosterError::NotAdmin(id(accomplice)));
    }

    team.merge_fork(&key(ALICE), NOW).unwrap();
    assert_eq!(team.standing(&id(DAVE)), Standing::Stands);
    for who in [MALLORY, 99] {
        assert_eq!(team.standing(&id(who)), Standing::Unknown);
    }

    // The accomplice goes on from its own branch: the fork is open again, and the next merge does
    // not fall for it either.
    add(&mut thief, MALLORY, 98, Role::Builder);
    team.merge(&thief.to_wire()).unwrap();
    team.merge_fork(&key(ALICE), NOW).unwrap();
    for who in [MALLORY, 99, 98] {
        assert_eq!(team.standing(&id(who)), Standing::Unknown);
    }
    assert_eq!(team.standing(&id(DAVE)), Standing::Stands);
}

#[test]
fn a_thief_who_merges_without_naming_her_revocation_wins_nothing() {
    let mut base = team_of_three();
    add(&mut base, ALICE, EVE, Role::Admin);
    let mut thief = base.clone();
    let stem = head(&base);
    let mut team = base;
    add(&mut team, ALICE, DAVE, Role::Builder);
    let before_the_revocation = head(&team);
    team.propose(Op::Revoke(id(EVE)), &key(ALICE), NOW).unwrap();

    // She names the team's branch as it was, and goes on behind her merge.
    add(&mut thief, EVE, MALLORY, Role::Builder);
    let partial = BTreeSet::from([before_the_revocation, head(&thief)]);
    let mut known = team.clone();
    known.merge(&thief.to_wire()).unwrap();
    let wire = wire_with(&known, EVE, stem, Op::Merge(partial));
    known.merge(&wire).unwrap();
    assert!(known.fork().is_some());
    let merged = *known
        .chain
        .heads()
        .iter()
        .find(|h| {
            let signers = known.fork().unwrap().heads.iter();
            signers.clone().any(|s| s.link == **h && s.signer == id(EVE))
        })
        .unwrap();
    let wire = wire_with(&known, EVE, merged, Op::Add(member(99, Role::Admin)));
    known.merge(&wire).unwrap();
    assert_eq!(known.standing(&id(EVE)), Standing::Revoked);
    known.merge_fork(&key(ALICE), NOW).unwrap();
    assert!(known.fork().is_none());
    assert_eq!(known.standing(&id(DAVE)), Standing::Stands);
    for who in [MALLORY, 99] {
        assert_eq!(known.standing(&id(who)), Standing::Unknown);
    }
}

#[test]
fn two_merges_of_one_fork_are_a_fork_that_a_third_ends() {
    let base = team_of_three();
    let (mut left, mut right, mut late) = (base.clone(), base.clone(), base);
    add(&mut left, ALICE, DAVE, Role::Builder);
    add(&mut right, CAROL, ERIN, Role::Builder);
    left.merge(&right.to_wire()).unwrap();
    right = left.clone();
    // Both merge the same fork without knowing of each other.
    for (roster, who) in [(&mut left, ALICE), (&mut right, CAROL)] {
        roster.merge_fork(&key(who), NOW).unwrap();
        assert!(roster.fork().is_none());
    }
    left.merge(&right.to_wire()).unwrap();
    assert_eq!(left.standing(&id(DAVE)), Standing::Unknown, "each gave it on its own");
    left.merge_fork(&key(ALICE), NOW).unwrap();
    assert!(left.fork().is_none());
    for who in [DAVE, ERIN] {
        assert_eq!(left.standing(&id(who)), Standing::Stands);
    }

    // An admin who slept through it all revokes Bob.
    late.propose(Op::Revoke(id(BOB)), &key(CAROL), NOW + 1).unwrap();
    let outcome = left.merge(&late.to_wire()).unwrap();
    assert_eq!(outcome.revoked, [id(BOB)]);
    left.merge_fork(&key(CAROL), NOW + 2).unwrap();
    assert_eq!(left.standing(&id(DAVE)), Standing::Stands);
    assert_eq!(left.standing(&id(BOB)), Standing::Revoked);
    // A merge of what it stands behind itself merges nothing.
    let behind = left.chain.changes()[0].link();
    let wire = wire_with(&left, ALICE, head(&left), Op::Merge(BTreeSet::from([behind])));
    assert_eq!(left.merge(&wire).unwrap_err(), RosterError::BadMerge);
}

#[test]
fn who_leaves_a_project_leaves_a_stale_secret_behind() {
    let mut roster = team_of_three();
    let open_to = |who: &[u8], secret: u8| Project {
        members: who.iter().map(|w| id(*w)).collect(),
        secret: Some(secret_digest(&[secret; 32])),
        stale: false,
    };
    let project = |r: &Roster, name: &str| r.projects().find(|p| p.0 == name).map(|p| p.1.clone());
    let op = Op::Project("pay".into(), open_to(&[ALICE, BOB], 1));
    roster.propose(op, &key(ALICE), NOW).unwrap();
    let scope = Scope::project(roster.team(), "pay");
    assert!(roster.sees(&id(BOB), &scope) && !roster.sees(&id(CAROL), &scope));
    let (mut left, mut right) = (roster.clone(), roster.clone());

    roster.propose(Op::Retire(id(BOB)), &key(ALICE), NOW).unwrap();
    assert!(!roster.sees(&id(BOB), &scope) && roster.sees(&id(ALICE), &scope));
    assert!(project(&roster, "pay").unwrap().stale && project(&roster, "").unwrap().stale);
    let op = Op::Project("pay".into(), open_to(&[ALICE], 2));
    roster.propose(op, &key(ALICE), NOW).unwrap();
    assert!(!project(&roster, "pay").unwrap().stale);
    // Who comes back is no member of the project by that.
    add(&mut roster, ALICE, BOB, Role::Builder);
    assert!(!roster.sees(&id(BOB), &scope));

    // Nor does the same secret under fewer members pass for a new one.
    let mut shrunk = left.clone();
    let op = Op::Project("pay".into(), open_to(&[ALICE], 1));
    shrunk.propose(op, &key(ALICE), NOW).unwrap();
    assert!(project(&shrunk, "pay").unwrap().stale);
    let op = Op::Project("pay".into(), open_to(&[], 1));
    shrunk.propose(op, &key(ALICE), NOW).unwrap();
    assert_eq!(project(&shrunk, "pay"), None, "closed to everybody, it is no more");

    // Of a fork, those see it whom both branches let.
    let op = Op::Project("pay".into(), open_to(&[ALICE, BOB, CAROL], 3));
    left.propose(op, &key(ALICE), NOW).unwrap();
    let op = Op::Project("pay".into(), open_to(&[BOB, CAROL], 4));
    right.propose(op, &key(CAROL), NOW).unwrap();
    left.merge(&right.to_wire()).unwrap();
    assert_eq!(project(&left, "pay").unwrap(), Project { stale: true, ..open_to(&[BOB], 1) });
    let stranger = Op::Project("new".into(), open_to(&[99], 1));
    assert_eq!(
        roster.propose(stranger, &key(ALICE), NOW).unwrap_err(),
        RosterError::NotMember(id(99))
    );
}

/// Each merge names all merges before it: what each covers is asked once, not once for each way
/// that leads to it, of which thirty have a thousand million.
#[test]
fn merges_of_merges_cost_no_more_than_they_cover() {
    const MERGES: u64 = 30;
    let mut roster = team_of_three();
    let base = roster.chain.end();
    add(&mut roster, ALICE, EVE, Role::Builder);
    let mut heads = roster.chain.heads();
    let begun = std::time::Instant::now();
    for at in 0..MERGES {
        let before = roster.chain.heads();
        let merge = Op::Merge(heads.clone());
        roster.append(base, merge, &key(ALICE), NOW + at).unwrap();
        heads.extend(roster.chain.heads().difference(&before));
    }
    let whole = begun.elapsed();
    assert!(whole.as_secs() < 5, "{MERGES} merges took {whole:?}");
    assert!(roster.fork().is_none());
}

#[test]
fn after_a_merge_every_project_waits_for_a_new_secret() {
    let mut base = team_of_three();
    add(&mut base, ALICE, DAVE, Role::Builder);
    let (mut left, mut right) = (base.clone(), base);
    let secret = |of: u8, who: &[u8]| Project {
        members: who.iter().map(|w| id(*w)).collect(),
        secret: Some(secret_digest(&[of; 32])),
        stale: false,
    };
    // Two admins hear of one departure, and both renew what Dave knew.
    for (roster, who, new) in [(&mut left, ALICE, 1), (&mut right, CAROL, 2)] {
        roster.propose(Op::Retire(id(DAVE)), &key(who), NOW).unwrap();
        let team = Op::Project(TEAM_ITSELF.into(), secret(new, &[]));
        roster.propose(team, &key(who), NOW).unwrap();
    }
    let pay = Op::Project("pay".into(), secret(3, &[ALICE, CAROL]));
    right.propose(pay, &key(CAROL), NOW).unwrap();
    left.merge(&right.to_wire()).unwrap();
    assert_eq!(left.fork().unwrap().waiting.len(), 1, "pay alone");
    left.merge_fork(&key(ALICE), NOW).unwrap();
    let stale = |r: &Roster| r.projects().filter(|p| p.1.stale).count();
    assert_eq!((left.projects().count(), stale(&left)), (2, 2));
    assert!(left.projects().all(|(_, p)| p.secret.is_none()));
}

#[test]
fn the_team_itself_names_no_members() {
    let mut roster = team_of_three();
    let named = Project { members: BTreeSet::from([id(BOB)]), ..Project::default() };
    let op = Op::Project(TEAM_ITSELF.into(), named);
    let refused = Err(RosterError::Name("the team itself names no members"));
    assert_eq!(roster.propose(op.clone(), &key(ALICE), NOW), refused);
    let wire = wire_with(&roster, ALICE, roster.chain.end(), op);
    assert_eq!(roster.merge(&wire).map(|_| ()), refused);
}

#[test]
fn a_charter_that_leaves_somebody_behind_waits_for_a_new_secret() {
    let roster = team_of_three();
    let here = vec![member(ALICE, Role::Admin)];
    let stale = |former: &[u8]| {
        let gone = former.iter().map(|who| (member(*who, Role::Builder), Gone::Retired));
        let next = next_epoch(&roster, here.clone(), gone.collect());
        next.projects().any(|(name, project)| name == TEAM_ITSELF && project.stale)
    };
    assert!(stale(&[BOB]), "who is gone knows the secret of before");
    assert!(!stale(&[]));
}
