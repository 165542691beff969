//! A team's life, driven by a fuzzer: admins act, gossip, fork and merge; a stolen key signs
//! whatever it likes, behind any point of the chain.
//!
//! Enters: bytes, read as decisions. Leaves: a panic where a roster breaks a promise: what is
//! refused changes nothing; what is written is read back as itself; a revocation is never
//! forgotten but by the root's next charter; no peer belongs to two members; who was revoked
//! adds nobody; and once all have heard all they agree, in whatever order and grouping they heard
//! it. Every signature here is a real one.

use super::{Feed, Probe, bounds};
use crate::{charter, departure};
use quarry_trust::canon::{Canonical, Reader, Writer};
use quarry_trust::digest::CHANGE;
use quarry_trust::roster::{
    Change, Charter, FreshMark, Gone, Op, Project, Signed, Statement, TEAM_ITSELF,
};
use quarry_trust::{
    BuilderId, BuilderKey, Digest, Member, PeerId, Role, Roster, RosterError, Scope, Standing,
};
use std::collections::BTreeSet;
use std::sync::OnceLock;

/// When a story begins, seconds since 1970.
pub(super) const NOW: u64 = 1_800_000_000;
/// Whoever may appear: the root, three admins, and five more.
const PEOPLE: usize = 9;
/// Nodes that hold a roster each.
const NODES: usize = 3;
/// The project that is closed to some.
const PROJECT: &str = "closed";
/// Steps of one story: enough for two forks and their merges, and quick to check.
const STEPS: usize = 40;

/// The key of a person, from 1; 1 is the root.
pub(super) fn key(who: usize) -> &'static BuilderKey {
    static KEYS: OnceLock<Vec<BuilderKey>> = OnceLock::new();
    let seed = |who: usize| [u8::try_from(who).unwrap_or(0); 32];
    let all = || {
        (0..=PEOPLE)
            .map(|who| BuilderKey::from_seed(&seed(who)))
            .collect()
    };
    &KEYS.get_or_init(all)[who]
}

/// A person as a member.
pub(super) fn member(who: usize, peer: usize, role: Role) -> Member {
    Member {
        name: format!("user{who}"),
        role,
        peer: PeerId([u8::try_from(peer).unwrap_or(0); 32]),
        builder: key(who).id(),
        joined: NOW,
    }
}

/// A team of three admins: 2, 3 and 4.
pub(super) fn team() -> Roster {
    static TEAM: OnceLock<Roster> = OnceLock::new();
    let found = || {
        let founder = member(2, 2, Role::Admin);
        let mut roster = crate::charter::found("desk", key(1), founder, NOW);
        for who in [3, 4] {
            let add = Op::Add(member(who, who, Role::Admin));
            roster.propose(add, key(2), NOW).expect("an admin adds");
        }
        roster
    };
    TEAM.get_or_init(found).clone()
}

/// Inputs in which forks, merges, marks, a new charter and a stolen key all occur.
pub(super) fn seeds() -> Vec<Vec<u8>> {
    // node, deed, actor, subject, detail: five bytes a step. See `Story::step`.
    let add = |node, by, who| vec![node, 0, by, who, 1];
    let (hear, merge) = (
        |from, to| vec![from, 7, 0, 0, to],
        |by| vec![0, 4, by, 0, 0],
    );
    let plain = [add(0, 0, 3), add(0, 0, 4), vec![0, 3, 1, 3, 0], hear(0, 1)];
    let fork = [
        add(0, 0, 3),
        add(1, 1, 4),
        hear(1, 0),
        merge(2),
        vec![0, 5, 0, 0, 9],
        hear(0, 2),
    ];
    let charter = [
        add(0, 0, 3),
        vec![0, 3, 1, 3, 0],
        vec![0, 6, 0, 2, 3],
        hear(0, 1),
        hear(1, 0),
    ];
    let stolen = [
        vec![0, 3, 0, 2, 0],
        vec![0, 8, 2, 5, 1, 0, 0],
        vec![0, 8, 0, 5, 2, 1, 1],
        merge(0),
    ];
    let leaving = [
        add(0, 0, 5),
        vec![0, 9, 1, 5, 0],
        vec![1, 2, 1, 0, 0],
        hear(1, 0),
    ];
    vec![
        plain.concat(),
        fork.concat(),
        charter.concat(),
        stolen.concat(),
        leaving.concat(),
    ]
}

/// One story. See the module.
pub(super) fn story(probe: &Probe, data: &[u8]) {
    let mut feed = Feed::new(data);
    let mut story = Story {
        probe,
        nodes: vec![team(); NODES],
    };
    for _ in 0..STEPS {
        if feed.is_over() {
            break;
        }
        story.step(&mut feed);
    }
    story.all_hear_all();
}

struct Story<'a> {
    probe: &'a Probe,
    nodes: Vec<Roster>,
}

impl Story<'_> {
    fn step(&mut self, feed: &mut Feed<'_>) {
        let node = feed.pick(NODES);
        let (deed, actor, subject) = (feed.pick(10), 2 + feed.pick(8), 2 + feed.pick(8));
        let detail = usize::from(feed.byte());
        let before = self.nodes[node].clone();
        let op = match deed {
            7 => return self.gossip(node, detail % NODES),
            8 => return self.stolen(node, key(actor), subject, detail, feed),
            _ => op(deed, subject, detail),
        };
        let at = NOW + 100 * detail as u64;
        let (roster, signer) = (&mut self.nodes[node], key(actor));
        let done = match deed {
            4 => roster.merge_fork(signer, at),
            5 => roster.mark_fresh(signer, at),
            6 if node == 0 => {
                // One node has the root key: two charters of one epoch are a conflict by design.
                let admins = vec![member(subject, subject, Role::Admin)];
                let thrown_out = [key(2 + detail % 8).id()];
                charter::next(roster, admins, &thrown_out[..detail % 2], at)
                    .and_then(|next| Roster::chartered(Signed::new(next, key(1))))
                    .map(|next| *roster = next)
            }
            9 => departure::leave(roster, key(subject), at)
                .and_then(|word| departure::retire(roster, &word, signer, at)),
            _ => roster.propose(op, signer, at),
        };
        match done {
            Ok(()) => remembers(&before, roster),
            Err(_) => assert_eq!(before.to_wire(), roster.to_wire(), "refused, yet changed"),
        }
        sound(roster);
    }

    fn gossip(&mut self, from: usize, to: usize) {
        let before = self.nodes[to].clone();
        if let Some(after) = self.union(&before, &self.nodes[from].clone()) {
            remembers(&before, &after);
            self.nodes[to] = after;
        }
    }

    /// What one knows once it heard the other. `None` where a limit is reached.
    fn union(&self, ours: &Roster, theirs: &Roster) -> Option<Roster> {
        let (mut united, wire) = (ours.clone(), theirs.to_wire());
        let len = wire.len() + ours.to_wire().len();
        let merged = self
            .probe
            .within(bounds::roster, len, || united.merge(&wire));
        match merged {
            Ok(outcome) => {
                let changed = united.to_wire() != ours.to_wire();
                assert_eq!(outcome.changed, changed, "a merge says what it did");
                assert_eq!(outcome.forked, united.fork().is_some());
            }
            Err(RosterError::Rollback { .. }) => {
                assert_eq!(ours.to_wire(), united.to_wire(), "refused, yet changed");
            }
            Err(RosterError::Full(_)) => return None,
            Err(error) => panic!("an honest roster is refused: {error}"),
        }
        sound(&united);
        Some(united)
    }

    /// A key signs a change behind any point of the chain, and sends it with all that is known.
    fn stolen(
        &mut self,
        node: usize,
        signer: &BuilderKey,
        subject: usize,
        detail: usize,
        feed: &mut Feed<'_>,
    ) {
        let before = self.nodes[node].clone();
        let parts = Parts::of(&before);
        let links = parts.links();
        let mut op = op(detail, subject, detail / 5);
        if detail.is_multiple_of(3) {
            let heads = (0..=detail % 4).map(|_| links[feed.pick(links.len())]);
            op = Op::Merge(heads.collect());
        }
        let change = Change {
            team: before.team(),
            epoch: before.epoch(),
            prev: links[feed.pick(links.len())],
            at: NOW,
            signer: signer.id(),
            op,
        };
        let change = Signed::new(change, signer).to_wire();
        let mut after = before.clone();
        // A wire has one order: where the change belongs depends on its digest.
        let taken = (0..=parts.changes.len()).any(|at| {
            let wire = parts.with(&change, at);
            self.probe
                .within(bounds::roster, 2 * wire.len(), || after.merge(&wire))
                .is_ok()
        });
        if !taken {
            assert_eq!(before.to_wire(), after.to_wire(), "refused, yet changed");
            return;
        }
        remembers(&before, &after);
        sound(&after);
        if before.standing(&signer.id()) == Standing::Revoked {
            let known = |m: &Member| before.member_by_builder(&m.builder).is_some();
            assert!(
                after.members().all(known),
                "who was revoked has let somebody in"
            );
        }
        self.nodes[node] = after;
    }

    /// In whatever order and grouping all hear all, they know the same.
    fn all_hear_all(&self) {
        for roster in &self.nodes {
            let wire = roster.to_wire();
            let again = self.probe.within(bounds::roster, wire.len(), || {
                Roster::from_wire(&wire, Some(&roster.root()))
            });
            let again = again.expect("what a roster writes is read");
            assert_eq!(again.to_wire(), wire, "read back as itself");
            agree(&again, roster);
            let twice = self.union(roster, roster).expect("no more than before");
            assert_eq!(twice.to_wire(), wire, "hearing oneself changes nothing");
        }
        let [a, b, c] = [&self.nodes[0], &self.nodes[1], &self.nodes[2]];
        let join = |x: &Roster, y: &Roster| self.union(x, y);
        let (Some(ab), Some(ba), Some(bc)) = (join(a, b), join(b, a), join(b, c)) else {
            return;
        };
        agree(&ab, &ba);
        let (Some(left), Some(right)) = (join(&ab, c), join(a, &bc)) else {
            return;
        };
        agree(&left, &right);
        let Some(backwards) = join(c, b).and_then(|cb| join(&cb, a)) else {
            return;
        };
        agree(&left, &backwards);
    }
}

/// What an admin may do to somebody.
fn op(deed: usize, subject: usize, detail: usize) -> Op {
    let role = [Role::Reader, Role::Builder, Role::Admin][detail % 3];
    let builder = key(subject).id();
    match deed % 5 {
        0 => {
            // Now and then with the peer of somebody else.
            let peer = if detail >= 128 {
                2 + detail % 8
            } else {
                subject
            };
            Op::Add(member(subject, peer, role))
        }
        1 => Op::SetRole(builder, role),
        2 => Op::Retire(builder),
        3 => Op::Revoke(builder),
        _ => {
            let members = [2, 3, subject].map(|who| key(who).id());
            let project = Project {
                members: members[detail % 3..].iter().copied().collect(),
                secret: (detail >= 128).then(|| Digest::of(&[subject as u8])),
                stale: false,
            };
            Op::Project(PROJECT.to_owned(), project)
        }
    }
}

fn revoked(roster: &Roster) -> BTreeSet<BuilderId> {
    let gone = roster.former().filter(|(_, how)| *how == Gone::Revoked);
    gone.map(|(m, _)| m.builder).collect()
}

/// No revocation is forgotten, unless the root began anew; and no epoch is.
fn remembers(before: &Roster, after: &Roster) {
    assert!(before.epoch() <= after.epoch(), "an older charter");
    if before.epoch() == after.epoch() {
        let (was, is) = (revoked(before), revoked(after));
        assert!(was.is_subset(&is), "a revocation is forgotten");
    }
}

/// What holds of every roster.
fn sound(roster: &Roster) {
    for builder in revoked(roster) {
        assert_eq!(roster.standing(&builder), Standing::Revoked);
        assert!(roster.member_by_builder(&builder).is_none());
    }
    let peers: BTreeSet<_> = roster.members().map(|m| m.peer).collect();
    assert_eq!(
        peers.len(),
        roster.members().count(),
        "one peer, two members"
    );
    let own = Scope::project(roster.team(), PROJECT);
    for (name, project) in roster.projects().filter(|p| p.0 != TEAM_ITSELF) {
        for builder in &project.members {
            assert!(
                roster.member_by_builder(builder).is_some(),
                "sees, and is gone"
            );
            assert!(name != PROJECT || roster.sees(builder, &own));
        }
    }
}

/// Two rosters that are the same for everybody who asks.
fn agree(one: &Roster, other: &Roster) {
    assert!(one.members().eq(other.members()), "members differ");
    assert_eq!(revoked(one), revoked(other), "revocations differ");
    assert_eq!(one.fork(), other.fork(), "forks differ");
    assert_eq!(one.to_wire(), other.to_wire(), "wires differ");
}

/// A roster's wire, taken apart.
pub(super) struct Parts {
    head: Vec<u8>,
    charter: Digest,
    changes: Vec<(Vec<u8>, Digest)>,
    tail: Vec<u8>,
}

impl Parts {
    pub(super) fn of(roster: &Roster) -> Self {
        let wire = roster.to_wire();
        let mut r = Reader::new(&wire);
        let schema = r.u16().expect("a schema");
        let charter = Signed::<Charter>::from_wire(&signed::<Charter>(&mut r)).expect("ours");
        let count = r.u32().expect("a count");
        let changes = (0..count).map(|_| {
            let bytes = signed::<Change>(&mut r);
            let link = link(&bytes[..bytes.len() - 64], <Change as Statement>::DOMAIN);
            (bytes, link)
        });
        let changes = changes.collect();
        let marks = r.u32().expect("a count");
        let mut tail = marks.to_le_bytes().to_vec();
        (0..marks).for_each(|_| tail.extend(signed::<FreshMark>(&mut r)));
        let mut head = schema.to_le_bytes().to_vec();
        head.extend(charter.to_wire());
        Self {
            head,
            charter: link(&charter.to_canon(), <Charter as Statement>::DOMAIN),
            changes,
            tail,
        }
    }

    fn links(&self) -> Vec<Digest> {
        let changes = self.changes.iter().map(|(_, link)| *link);
        [self.charter].into_iter().chain(changes).collect()
    }

    /// The wire with one more change, at a place among the others.
    fn with(&self, change: &[u8], at: usize) -> Vec<u8> {
        let count = u32::try_from(self.changes.len() + 1).unwrap_or(0);
        let mut wire = [self.head.as_slice(), &count.to_le_bytes()].concat();
        for (i, (bytes, _)) in self.changes.iter().enumerate() {
            if i == at {
                wire.extend(change);
            }
            wire.extend(bytes);
        }
        if at == self.changes.len() {
            wire.extend(change);
        }
        wire.extend(&self.tail);
        wire
    }
}

/// The bytes of the next statement and its signature.
fn signed<T: Canonical>(r: &mut Reader<'_>) -> Vec<u8> {
    let mut bytes = T::read(r).expect("our own").to_canon();
    bytes.extend(r.array::<64>().expect("a signature"));
    bytes
}

/// The digest by which a successor names a statement.
fn link(canonical: &[u8], domain: &str) -> Digest {
    let mut w = Writer::default();
    w.text(domain);
    w.fixed(canonical);
    Digest::tagged(CHANGE, &w.finish())
}
