//! Stories of one team: who comes, who goes, who disagrees, and what a thief can do.

use super::*;
use crate::canon::{Canonical, Writer};
use crate::digest::Digest;
use std::collections::BTreeSet;

pub(super) const NOW: u64 = 1_800_000_000;
pub(super) const DAY: u64 = 24 * 3600;

pub(super) const ROOT: u8 = 1;
pub(super) const ALICE: u8 = 2;
pub(super) const BOB: u8 = 3;
pub(super) const CAROL: u8 = 4;
pub(super) const DAVE: u8 = 5;
pub(super) const ERIN: u8 = 6;
pub(super) const EVE: u8 = 7;
pub(super) const MALLORY: u8 = 8;

pub(super) fn key(who: u8) -> BuilderKey {
    BuilderKey::from_seed(&[who; 32])
}

pub(super) fn id(who: u8) -> BuilderId {
    key(who).id()
}

pub(super) fn peer(who: u8) -> PeerId {
    PeerId([who; 32])
}

pub(super) fn member(who: u8, role: Role) -> Member {
    let name = format!("user{who}@host");
    Member { name, role, peer: peer(who), builder: id(who), joined: NOW }
}

/// A team whose one member is its admin.
pub(crate) fn found(name: &str, root: &BuilderKey, founder: Member, now: u64) -> Roster {
    let charter = Charter {
        name: name.to_owned(),
        root: root.id(),
        epoch: 1,
        members: vec![founder],
        former: vec![],
        created: now,
    };
    Roster::chartered(Signed::new(charter, root)).unwrap()
}

pub(super) fn desk() -> Roster {
    found("desk", &key(ROOT), member(ALICE, Role::Admin), NOW)
}

/// The root's next charter.
pub(super) fn next_epoch(
    roster: &Roster,
    mut members: Vec<Member>,
    mut former: Vec<(Member, Gone)>,
) -> Roster {
    members.sort_by_key(|m| m.builder);
    former.sort_by_key(|(m, _)| m.builder);
    let charter = Charter {
        epoch: roster.epoch() + 1,
        members,
        former,
        ..Charter::clone(roster.chain.charter())
    };
    Roster::chartered(Signed::new(charter, &key(ROOT))).unwrap()
}

/// Alice and Carol are admins, Bob a builder.
pub(super) fn team_of_three() -> Roster {
    let mut roster = desk();
    add(&mut roster, ALICE, BOB, Role::Builder);
    add(&mut roster, ALICE, CAROL, Role::Admin);
    roster
}

pub(super) fn add(roster: &mut Roster, by: u8, who: u8, role: Role) {
    roster.propose(Op::Add(member(who, role)), &key(by), NOW).unwrap();
}

/// A wire with one more change, which nobody checked.
pub(super) fn wire_with(roster: &Roster, by: u8, prev: Digest, op: Op) -> Vec<u8> {
    let change =
        Change { team: roster.team(), epoch: roster.epoch(), prev, at: NOW, signer: id(by), op };
    wire_of(roster, &Signed::new(change, &key(by)))
}

pub(super) fn wire_of(roster: &Roster, extra: &Signed<Change>) -> Vec<u8> {
    let mut w = Writer::default();
    w.u16(1);
    roster.chain.charter().write(&mut w);
    w.count(roster.chain.changes().len() + 1);
    roster.chain.changes().iter().for_each(|c| c.write(&mut w));
    extra.write(&mut w);
    w.count(0);
    w.finish()
}

pub(super) fn head(roster: &Roster) -> Digest {
    *roster.chain.heads().first().unwrap()
}

#[test]
fn alice_founds_a_team_and_bob_reads_it_whole() {
    let mut alices = desk();
    assert_eq!((alices.name(), alices.epoch()), ("desk", 1));
    add(&mut alices, ALICE, BOB, Role::Builder);
    add(&mut alices, ALICE, DAVE, Role::Reader);

    let bobs = Roster::from_wire(&alices.to_wire(), Some(&id(ROOT))).unwrap();
    assert_eq!(bobs.team(), alices.team());
    assert_eq!(bobs.members().count(), 3);
    assert_eq!(bobs.standing(&id(ALICE)), Standing::Stands);
    assert_eq!(bobs.standing(&id(BOB)), Standing::Stands);
    assert_eq!(bobs.standing(&id(DAVE)), Standing::Unknown, "a reader vouches for nothing");
    assert_eq!(bobs.standing(&id(ROOT)), Standing::Unknown, "the root builds nothing");
    assert!(bobs.is_admin(&id(ALICE)) && !bobs.is_admin(&id(BOB)));
    assert_eq!(bobs.member_by_peer(&peer(BOB)).unwrap().builder, id(BOB));
    assert!(bobs.member_by_peer(&peer(EVE)).is_none());
    assert_eq!(bobs.to_wire(), alices.to_wire());
    assert_eq!(
        Roster::from_wire(&alices.to_wire(), Some(&id(EVE))).unwrap_err(),
        RosterError::OtherRoot(id(ROOT))
    );
}

#[test]
fn a_team_keeps_its_id_only_with_its_name_and_root() {
    let founder = || member(ALICE, Role::Admin);
    let other_root = found("desk", &key(EVE), founder(), NOW);
    let other_name = found("desk2", &key(ROOT), founder(), NOW);
    let later = found("desk", &key(ROOT), founder(), NOW + 1);
    assert!(other_root.team() != desk().team() && other_name.team() != desk().team());
    assert_eq!(later.team(), desk().team());

    let mut ours = desk();
    let before = ours.to_wire();
    assert_eq!(ours.merge(&other_root.to_wire()).unwrap_err(), RosterError::OtherRoot(id(EVE)));
    assert_eq!(ours.merge(&other_name.to_wire()).unwrap_err(), RosterError::OtherTeam);
    assert_eq!(ours.merge(&later.to_wire()).unwrap_err(), RosterError::CharterConflict(1));
    assert_eq!(ours.to_wire(), before);
}

#[test]
fn what_is_so_appends_nothing_and_what_cannot_be_is_refused() {
    let mut roster = team_of_three();
    let alice = key(ALICE);
    roster.propose(Op::Revoke(id(BOB)), &alice, NOW).unwrap();
    let once = roster.to_wire();
    for op in [Op::Revoke(id(BOB)), Op::Retire(id(BOB)), Op::SetRole(id(CAROL), Role::Admin)] {
        roster.propose(op, &alice, NOW + 5).unwrap();
        assert_eq!(roster.to_wire(), once);
    }
    assert_eq!(roster.standing(&id(BOB)), Standing::Revoked);

    let mut refused = |op: Op| roster.propose(op, &alice, NOW).unwrap_err();
    assert_eq!(refused(Op::Add(member(BOB, Role::Builder))), RosterError::RevokedBuilder(id(BOB)));
    assert_eq!(
        refused(Op::Add(member(CAROL, Role::Builder))),
        RosterError::AlreadyMember(id(CAROL))
    );
    let squatter = Member { peer: peer(CAROL), ..member(DAVE, Role::Builder) };
    assert!(
        matches!(refused(Op::Add(squatter)), RosterError::PeerTaken { name, .. } if name == "user4@host")
    );
    assert_eq!(refused(Op::SetRole(id(BOB), Role::Admin)), RosterError::NotMember(id(BOB)));
    assert_eq!(refused(Op::Revoke(id(EVE))), RosterError::NotMember(id(EVE)));
    for name in ["", " bob", "a\nb", "a\u{202e}b", &"x".repeat(65)] {
        let member = Member { name: name.into(), ..member(DAVE, Role::Builder) };
        assert!(matches!(refused(Op::Add(member)), RosterError::Name(_)));
    }
    assert_eq!(refused(Op::Merge(BTreeSet::new())), RosterError::BadMerge);
    assert_eq!(roster.to_wire(), once);
}

#[test]
fn the_last_admin_stays_unless_its_key_is_revoked() {
    let mut roster = desk();
    add(&mut roster, ALICE, BOB, Role::Builder);
    for op in [Op::Retire(id(ALICE)), Op::SetRole(id(ALICE), Role::Builder)] {
        assert_eq!(roster.propose(op, &key(ALICE), NOW).unwrap_err(), RosterError::LastAdmin);
    }
    roster.propose(Op::Revoke(id(ALICE)), &key(ALICE), NOW).unwrap();
    assert_eq!(roster.standing(&id(ALICE)), Standing::Revoked);
    let op = Op::Revoke(id(BOB));
    assert_eq!(
        roster.propose(op, &key(ALICE), NOW).unwrap_err(),
        RosterError::NotAdmin(id(ALICE)),
        "from here on only the root's next charter helps"
    );
}

#[test]
fn only_an_admin_of_that_moment_can_sign() {
    let mut roster = team_of_three();
    let before = roster.to_wire();
    let op = || Op::Add(member(MALLORY, Role::Builder));
    for outsider in [BOB, EVE, ROOT] {
        assert_eq!(
            roster.propose(op(), &key(outsider), NOW).unwrap_err(),
            RosterError::NotAdmin(id(outsider))
        );
        let wire = wire_with(&roster, outsider, head(&roster), op());
        assert_eq!(roster.merge(&wire).unwrap_err(), RosterError::NotAdmin(id(outsider)));
    }
    assert_eq!(roster.to_wire(), before, "a refused wire leaves no trace");

    // Carol is an admin no longer: what she signs from now on is refused, whole wire and all.
    roster.propose(Op::SetRole(id(CAROL), Role::Builder), &key(ALICE), NOW).unwrap();
    let wire = wire_with(&roster, CAROL, head(&roster), op());
    assert_eq!(roster.merge(&wire).unwrap_err(), RosterError::NotAdmin(id(CAROL)));
    assert_eq!(Roster::from_wire(&wire, None).unwrap_err(), RosterError::NotAdmin(id(CAROL)));
}

#[test]
fn a_change_of_another_place_team_or_hand_is_refused() {
    let roster = team_of_three();
    let nowhere = wire_with(&roster, ALICE, Digest::of(b"nowhere"), Op::Revoke(id(BOB)));
    assert_eq!(Roster::from_wire(&nowhere, None).unwrap_err(), RosterError::Orphan);

    let change = Change {
        team: roster.team(),
        epoch: 1,
        prev: head(&roster),
        at: NOW,
        signer: id(ALICE),
        op: Op::Revoke(id(BOB)),
    };
    let refused = |change: Change| {
        let wire = wire_of(&roster, &Signed::new(change, &key(ALICE)));
        Roster::from_wire(&wire, None).unwrap_err()
    };
    let other = TeamId(Digest::of(b"other"));
    assert_eq!(refused(Change { team: other, ..change.clone() }), RosterError::OtherTeam);
    assert_eq!(refused(Change { epoch: 2, ..change.clone() }), RosterError::Orphan);

    // Eve's signature under Alice's name.
    let mut wire = wire_of(&roster, &Signed::new(change.clone(), &key(ALICE)));
    let good = Signed::new(change.clone(), &key(ALICE)).to_wire();
    let forged = key(EVE).sign(Change::DOMAIN, &change.to_canon());
    let end = wire.len() - 4;
    wire[end - 64..end].copy_from_slice(&forged.0);
    assert_eq!(Roster::from_wire(&wire, None).unwrap_err(), RosterError::Signature("change"));
    // Alice's own signature over the same bytes as a mark is none over a change.
    let crossed = key(ALICE).sign(FreshMark::DOMAIN, &change.to_canon());
    wire[end - 64..end].copy_from_slice(&crossed.0);
    assert!(Roster::from_wire(&wire, None).is_err());
    wire[end - 64..end].copy_from_slice(&good[good.len() - 64..]);
    assert!(Roster::from_wire(&wire, None).is_ok());
}

#[test]
fn a_peer_that_knows_less_takes_nothing_away() {
    let mut roster = team_of_three();
    let old = roster.to_wire();
    roster.propose(Op::Revoke(id(BOB)), &key(ALICE), NOW).unwrap();
    let outcome = roster.merge(&old).unwrap();
    assert_eq!(outcome, Merge::default());
    assert_eq!(roster.standing(&id(BOB)), Standing::Revoked);

    let mut behind = Roster::from_wire(&old, None).unwrap();
    let outcome = behind.merge(&roster.to_wire()).unwrap();
    assert!(outcome.changed && !outcome.forked);
    assert_eq!(outcome.revoked, [id(BOB)]);
    assert_eq!(outcome.left, [peer(BOB)]);
    assert_eq!(behind.to_wire(), roster.to_wire());
    assert!(!behind.merge(&roster.to_wire()).unwrap().changed);
}

#[test]
fn a_member_that_retired_may_come_back() {
    let mut roster = team_of_three();
    for _ in 0..2 {
        let retire = Op::Retire(id(BOB));
        roster.propose(retire, &key(CAROL), NOW + 11).unwrap();
    }
    assert_eq!(roster.standing(&id(BOB)), Standing::Retired);
    assert!(roster.member_by_peer(&peer(BOB)).is_none());
    let former: Vec<_> = roster.former().map(|(m, how)| (m.builder, how)).collect();
    assert_eq!(former, [(id(BOB), Gone::Retired)]);
    add(&mut roster, ALICE, BOB, Role::Builder);
    assert_eq!(roster.standing(&id(BOB)), Standing::Stands);
}

#[test]
fn a_roster_goes_stale_and_an_admin_freshens_it() {
    let mut roster = team_of_three();
    assert_eq!(roster.freshness(), NOW);
    assert!(roster.is_fresh(NOW + ROSTER_MAX_AGE));
    assert!(!roster.is_fresh(NOW + ROSTER_MAX_AGE + 1));
    assert!(matches!(roster.mark_fresh(&key(BOB), NOW), Err(RosterError::NotAdmin(_))));

    let mut others = roster.clone();
    let later = NOW + 40 * DAY;
    roster.mark_fresh(&key(ALICE), later).unwrap();
    others.mark_fresh(&key(CAROL), later + DAY).unwrap();
    assert!(roster.is_fresh(later));
    let outcome = roster.merge(&others.to_wire()).unwrap();
    assert!(outcome.changed && !outcome.forked, "two marks are no fork");
    assert_eq!(roster.freshness(), later + DAY);
    others.merge(&roster.to_wire()).unwrap();
    assert_eq!(others.to_wire(), roster.to_wire());
}

#[test]
fn a_clock_that_runs_ahead_neither_freshens_for_ever_nor_hides_a_sound_mark() {
    let mut roster = team_of_three();
    let ahead = NOW + 400 * DAY;
    roster.mark_fresh(&key(ALICE), ahead).unwrap();
    let stale = NOW + 31 * DAY;
    assert!(!roster.is_fresh(stale), "what lies a year ahead is no evidence");
    assert!(
        roster.is_fresh(ahead - MAX_SKEW) && !roster.is_fresh(ahead - MAX_SKEW - 1),
        "a day ahead is a clock's fault"
    );
    let wrong = roster.clone();
    roster.mark_fresh(&key(ALICE), stale).unwrap();
    assert!(roster.is_fresh(stale), "her clock is mended");
    assert!(!roster.is_fresh(ahead), "and the wrong mark is gone");
    let outcome = roster.merge(&wrong.to_wire()).unwrap();
    assert!(!outcome.changed && !roster.is_fresh(ahead));
}

#[test]
fn no_mark_of_a_removed_admin_and_none_over_unknown_heads_freshens() {
    let mut roster = team_of_three();
    let old = roster.clone();
    let later = NOW + 40 * DAY;
    roster.mark_fresh(&key(CAROL), later).unwrap();
    assert!(roster.is_fresh(later));
    roster.propose(Op::Revoke(id(CAROL)), &key(ALICE), NOW).unwrap();
    assert!(!roster.is_fresh(later), "her word counts no longer");

    // Who would keep Bob in the dark puts Alice's newest mark on last month's roster.
    roster.mark_fresh(&key(ALICE), later).unwrap();
    let mark = roster.marks[&id(ALICE)].clone();
    let mut w = Writer::default();
    let bare = old.to_wire();
    w.fixed(&bare[..bare.len() - 4]);
    w.count(1);
    mark.write(&mut w);
    assert!(matches!(Roster::from_wire(&w.finish(), None), Err(RosterError::Form(_))));
}

#[test]
fn the_root_takes_the_team_back_from_a_stolen_admin() {
    let mut roster = team_of_three();
    add(&mut roster, ALICE, EVE, Role::Admin);
    let mut thief = roster.clone();
    for victim in [ALICE, CAROL, BOB] {
        thief.propose(Op::Revoke(id(victim)), &key(EVE), NOW).unwrap();
    }
    roster.propose(Op::Retire(id(BOB)), &key(ALICE), NOW).unwrap();

    let here = vec![member(ALICE, Role::Admin), member(CAROL, Role::Builder)];
    let gone = [(BOB, Gone::Retired), (EVE, Gone::Revoked)];
    let gone = gone.map(|(who, gone)| (member(who, Role::Builder), gone));
    let next = next_epoch(&roster, here, gone.to_vec());
    assert_eq!((roster.team(), 2), (next.team(), next.epoch()));
    roster.merge(&next.to_wire()).unwrap();
    assert!(roster.is_admin(&id(ALICE)) && !roster.is_admin(&id(CAROL)));
    assert_eq!(roster.standing(&id(CAROL)), Standing::Stands, "a builder still");
    assert_eq!(roster.standing(&id(EVE)), Standing::Revoked);
    assert_eq!(roster.standing(&id(BOB)), Standing::Retired);
    assert_eq!(
        roster.merge(&thief.to_wire()).unwrap_err(),
        RosterError::Rollback { ours: 2, theirs: 1 }
    );
    add(&mut roster, ALICE, DAVE, Role::Builder);

    let outcome = thief.merge(&roster.to_wire()).unwrap();
    assert!(outcome.changed);
    assert_eq!(outcome.revoked, [id(EVE)]);
    assert_eq!(outcome.left, [peer(EVE)]);
    assert_eq!(thief.to_wire(), roster.to_wire());
    let wire = wire_with(&roster, EVE, head(&roster), Op::Revoke(id(ALICE)));
    assert_eq!(roster.merge(&wire).unwrap_err(), RosterError::NotAdmin(id(EVE)));
}

#[test]
fn every_bound_holds() {
    let oversize = vec![0; MAX_WIRE + 1];
    assert!(matches!(
        Roster::from_wire(&oversize, None),
        Err(RosterError::Form(crate::canon::CanonError::Limit))
    ));

    let mut roster = desk();
    let crowd = (0..MAX_MEMBERS - 1).map(|i| {
        let mut raw = [0xee; 32];
        raw[..8].copy_from_slice(&(i as u64).to_le_bytes());
        Member { peer: PeerId(raw), builder: BuilderId(raw), ..member(BOB, Role::Builder) }
    });
    let admins: Vec<_> = crowd.chain([member(ALICE, Role::Admin)]).collect();
    roster = next_epoch(&roster, admins, vec![]);
    assert_eq!(roster.members().count(), MAX_MEMBERS);
    let one_more = Op::Add(member(CAROL, Role::Builder));
    assert_eq!(
        roster.propose(one_more, &key(ALICE), NOW).unwrap_err(),
        RosterError::Full("members")
    );
    assert!(Roster::from_wire(&roster.to_wire(), None).is_ok());

    // Alice signs on from one old copy again and again.
    let base = team_of_three();
    let mut forked = base.clone();
    for who in 100..=100 + MAX_FORKS as u8 {
        let mut branch = base.clone();
        add(&mut branch, ALICE, who, Role::Builder);
        forked.merge(&branch.to_wire()).unwrap();
    }
    assert_eq!(forked.fork().unwrap().heads.len(), MAX_FORKS + 1);
    let mut one_too_many = base;
    add(&mut one_too_many, ALICE, 99, Role::Builder);
    assert_eq!(forked.merge(&one_too_many.to_wire()).unwrap_err(), RosterError::Full("forks"));
    forked.merge_fork(&key(CAROL), NOW).unwrap();
    assert_eq!(forked.members().count(), 3 + MAX_FORKS + 1);
}
