//! The canonical form of everything a roster is made of, and nodes that end up agreeing.

use super::super::tests::found;
use super::super::{Charter, Member, Op, Role};
use super::*;
use crate::canon::tests::{Bend, bends, holds_canonical};
use crate::digest::Digest;
use crate::entry::TeamId;
use crate::key::BuilderKey;
use crate::roster::Project;
use proptest::collection::{btree_set, vec};
use proptest::prelude::*;

const NOW: u64 = 1_800_000_000;

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

fn roles() -> impl Strategy<Value = Role> {
    prop_oneof![Just(Role::Reader), Just(Role::Builder), Just(Role::Admin)]
}

fn members() -> impl Strategy<Value = Member> {
    let ids = (any::<[u8; 32]>(), any::<[u8; 32]>());
    ("[a-zäß@.-]{1,20}", roles(), ids, any::<u64>()).prop_map(|(name, role, ids, joined)| Member {
        name,
        role,
        peer: PeerId(ids.0),
        builder: BuilderId(ids.1),
        joined,
    })
}

fn digests() -> impl Strategy<Value = Digest> {
    any::<[u8; 32]>().prop_map(Digest::from_bytes)
}

fn builders() -> impl Strategy<Value = BuilderId> {
    any::<[u8; 32]>().prop_map(BuilderId)
}

fn ops() -> impl Strategy<Value = Op> {
    prop_oneof![
        members().prop_map(Op::Add),
        (builders(), roles()).prop_map(|(b, r)| Op::SetRole(b, r)),
        builders().prop_map(Op::Retire),
        builders().prop_map(Op::Revoke),
        btree_set(digests(), 1..4).prop_map(Op::Merge),
        (0..9_u8, btree_set(builders(), 0..4), proptest::option::of(digests())).prop_map(
            |(name, members, secret)| Op::Project(
                format!("project {name}"),
                Project { members, secret, stale: false }
            )
        ),
    ]
}

fn changes() -> impl Strategy<Value = Change> {
    let place = (digests(), any::<u64>(), digests());
    (place, any::<u64>(), builders(), ops()).prop_map(|((team, epoch, prev), at, signer, op)| {
        let team = TeamId(team);
        Change { team, epoch, prev, at, signer, op }
    })
}

fn marks() -> impl Strategy<Value = FreshMark> {
    let numbers = (any::<u64>(), any::<u64>());
    (digests(), numbers, builders(), btree_set(digests(), 1..4)).prop_map(
        |(team, (serial, at), signer, heads)| {
            let team = TeamId(team);
            FreshMark { team, serial, at, signer, heads }
        },
    )
}

fn charters() -> impl Strategy<Value = Charter> {
    let people = (vec(members(), 1..4), vec(members(), 0..3));
    ("[a-z]{1,12}", builders(), any::<u64>(), people).prop_map(|(name, root, epoch, people)| {
        let (mut here, mut gone) = people;
        here[0].role = Role::Admin;
        here.sort_by_key(|m| m.builder);
        gone.sort_by_key(|m| m.builder);
        let former = gone.into_iter().map(|m| (m, Gone::Revoked)).collect();
        Charter { name, root, epoch, members: here, former, created: NOW }
    })
}

proptest! {
    #[test]
    fn a_charter_has_one_form(charter in charters(), bends in bends()) {
        holds_canonical(&charter, &bends);
    }

    #[test]
    fn a_change_has_one_form(change in changes(), bends in bends()) {
        holds_canonical(&change, &bends);
    }

    #[test]
    fn a_mark_has_one_form(mark in marks(), bends in bends()) {
        holds_canonical(&mark, &bends);
    }

    #[test]
    fn no_bent_roster_is_read(bends in bends()) {
        let wire = rich_wire();
        for bend in &bends {
            let bent = bend.apply(&wire);
            prop_assert!(bent == wire || Roster::from_wire(&bent, None).is_err());
        }
    }
}

/// A wire with a bit of everything: changes, a fork, its merge, two marks.
fn rich_wire() -> Vec<u8> {
    let mut left = found("desk", &key(1), member(2, Role::Admin), NOW);
    left.propose(Op::Add(member(3, Role::Admin)), &key(2), NOW).unwrap();
    let mut right = left.clone();
    left.propose(Op::Add(member(4, Role::Builder)), &key(2), NOW).unwrap();
    right.propose(Op::Add(member(5, Role::Reader)), &key(3), NOW).unwrap();
    left.merge(&right.to_wire()).unwrap();
    left.merge_fork(&key(3), NOW).unwrap();
    left.mark_fresh(&key(2), NOW + 1).unwrap();
    left.mark_fresh(&key(3), NOW + 2).unwrap();
    left.to_wire()
}

#[test]
fn a_roster_is_refused_with_any_byte_bent_cut_or_added() {
    let wire = rich_wire();
    assert_eq!(Roster::from_wire(&wire, None).unwrap().to_wire(), wire);
    for at in 0..wire.len() {
        for mask in [1, 0x80] {
            let bent = Bend::Flip(at, mask).apply(&wire);
            assert!(Roster::from_wire(&bent, None).is_err(), "byte {at}");
        }
        assert!(Roster::from_wire(&wire[..at], None).is_err(), "cut at {at}");
    }
    let longer = [wire, vec![0]].concat();
    assert!(Roster::from_wire(&longer, None).is_err());
}

#[test]
fn a_roster_in_another_order_or_twice_over_is_refused() {
    let roster = Roster::from_wire(&rich_wire(), None).unwrap();
    let write = |changes: &[Signed<Change>], marks: &[&Signed<FreshMark>]| {
        let mut w = Writer::default();
        w.u16(WIRE_SCHEMA);
        roster.chain.charter().write(&mut w);
        w.count(changes.len());
        changes.iter().for_each(|c| c.write(&mut w));
        w.count(marks.len());
        marks.iter().for_each(|m| m.write(&mut w));
        w.finish()
    };
    let changes = roster.chain.changes();
    let marks: Vec<_> = roster.marks.values().collect();
    assert_eq!(write(changes, &marks), roster.to_wire());
    let mut swapped = changes.to_vec();
    swapped.swap(1, 2);
    let mut twice = changes.to_vec();
    twice.push(changes[0].clone());
    let mut backwards = marks.clone();
    backwards.reverse();
    for wire in [write(&swapped, &marks), write(&twice, &marks), write(changes, &backwards)] {
        assert!(matches!(Roster::from_wire(&wire, None), Err(RosterError::Form(_))));
    }
}

/// One step of a team's life: who acts, what on whom, and who hears of it.
#[derive(Debug, Clone)]
struct Step {
    node: usize,
    deed: u8,
    subject: u8,
    role: Role,
    hears: Option<usize>,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (0..3_usize, 0..6_u8, 2..9_u8, roles(), proptest::option::of(0..3_usize));
    let step = step.prop_map(|(node, deed, subject, role, hears)| Step {
        node,
        deed,
        subject,
        role,
        hears,
    });
    vec(step, 1..40)
}

fn act(roster: &mut Roster, signer: &BuilderKey, step: &Step) {
    let subject = key(step.subject).id();
    let op = match step.deed {
        0 | 1 => Op::Add(member(step.subject, step.role)),
        2 => Op::SetRole(subject, step.role),
        3 => Op::Retire(subject),
        4 if step.subject > 4 => Op::Revoke(subject),
        _ if roster.fork().is_some() => {
            let _ = roster.merge_fork(signer, NOW);
            return;
        }
        _ => Op::Retire(subject),
    };
    // Many a proposal is refused: that is part of life.
    let _ = roster.propose(op, signer, NOW);
}

fn revoked(roster: &Roster) -> BTreeSet<BuilderId> {
    let gone = roster.former().filter(|(_, how)| *how == Gone::Revoked);
    gone.map(|(m, _)| m.builder).collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Three admins act and gossip at random. Whatever they do: every wire is read back as
    /// itself, no revocation is forgotten, no peer is given twice, and once all have heard all,
    /// they agree, in whichever order they heard it.
    #[test]
    fn admins_who_gossip_end_up_with_the_same_roster(steps in steps()) {
        let mut first = found("desk", &key(1), member(2, Role::Admin), NOW);
        for who in [3, 4] {
            first.propose(Op::Add(member(who, Role::Admin)), &key(2), NOW).unwrap();
        }
        let mut nodes = vec![first; 3];
        for step in &steps {
            let before = revoked(&nodes[step.node]);
            act(&mut nodes[step.node], &key(step.node as u8 + 2), step);
            prop_assert!(before.is_subset(&revoked(&nodes[step.node])));
            let wire = nodes[step.node].to_wire();
            let again = Roster::from_wire(&wire, None);
            prop_assert_eq!(again.map(|r| r.to_wire()), Ok(wire.clone()));
            if let Some(hearer) = step.hears {
                let before = revoked(&nodes[hearer]);
                nodes[hearer].merge(&wire).unwrap();
                prop_assert!(before.is_subset(&revoked(&nodes[hearer])));
                let peers: BTreeSet<_> = nodes[hearer].members().map(|m| m.peer).collect();
                prop_assert_eq!(peers.len(), nodes[hearer].members().count());
            }
        }
        let wires: Vec<_> = nodes.iter().map(Roster::to_wire).collect();
        for (i, node) in nodes.iter_mut().enumerate() {
            for j in 0..3 {
                node.merge(&wires[(i + j) % 3]).unwrap();
            }
        }
        for node in &nodes[1..] {
            prop_assert_eq!(node.to_wire(), nodes[0].to_wire());
            prop_assert!(node.members().eq(nodes[0].members()));
        }
    }
}
