//! The chain: a charter and the changes behind it, and what they amount to.
//!
//! Verified statements enter in any order; a tree in its one canonical order leaves, with the
//! state at its end. Every signer must be an admin at its own place in the tree. Where the tree
//! branches, of all branches that count holds what takes away (retirements, revocations, lower
//! roles) and nothing that gives, until an admin signs a merge there: a change behind the point
//! where they part that names every branch's end. From then on the chain goes on behind the
//! merge; the branches beside it stay, for what they took away alone. Nothing here reads a clock
//! or checks a signature.

use super::change::{Change, Op};
use super::charter::Charter;
use super::error::RosterError;
use super::signed::Signed;
use super::state::State;
use crate::digest::Digest;
use crate::entry::TeamId;
use crate::key::BuilderId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Changes behind one charter: a member joining and leaving every day for twenty years. The
/// root's next charter starts again at none.
pub const MAX_CHANGES: usize = 16_384;
/// Branchings behind one charter, open or merged, and merges. Two admins fork when neither hears
/// of the other, which is rare; each branch costs a copy of the state.
pub const MAX_FORKS: usize = 64;

/// The end of one branch of a forked chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// Its link: what [`Op::Merge`] names.
    pub link: Digest,
    /// Who signed it.
    pub signer: BuilderId,
    /// When, seconds since 1970 by the signer's clock.
    pub at: u64,
}

/// An open fork, to be shown until an admin merges it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fork {
    /// The link behind which the branches part: where a merge must stand.
    pub(super) base: Digest,
    /// The branches' ends, by link; two at least.
    pub heads: Vec<Head>,
    /// What admins gave on the branches, which holds again only when the admin who merges signs
    /// it anew: without what a branch took away, and without what those signed who are no admins
    /// now.
    pub waiting: Vec<Op>,
}

#[derive(Debug, Clone)]
pub(super) struct Chain {
    charter: Signed<Charter>,
    team: TeamId,
    /// Node `i + 1` is change `i`; node 0 is the charter.
    changes: Vec<Signed<Change>>,
    /// By node. What a node names (its parent, a merge's heads) comes before it.
    links: Vec<Digest>,
    /// The node behind which each stands; the charter's is itself.
    parents: Vec<usize>,
    /// The node of each link.
    place: BTreeMap<Digest, usize>,
}

impl Chain {
    /// Orders changes behind a charter; of the same change twice the first is kept.
    pub fn new(
        charter: Signed<Charter>,
        changes: impl IntoIterator<Item = Signed<Change>>,
    ) -> Result<Self, RosterError> {
        let team = charter.team();
        let mut known: BTreeMap<Digest, Signed<Change>> = BTreeMap::new();
        for change in changes {
            if change.team != team {
                return Err(RosterError::OtherTeam);
            }
            if change.epoch != charter.epoch {
                return Err(RosterError::Orphan);
            }
            known.entry(change.link()).or_insert(change);
            if known.len() > MAX_CHANGES {
                return Err(RosterError::Full("changes"));
            }
        }
        let (changes, links, parents, place) = Default::default();
        let mut chain = Self { charter, team, changes, links, parents, place };
        chain.order(known)?;
        Ok(chain)
    }

    /// Puts each change behind all that it names; of those that could come next, the lowest link.
    fn order(&mut self, mut known: BTreeMap<Digest, Signed<Change>>) -> Result<(), RosterError> {
        let mut namers: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
        let mut missing: BTreeMap<Digest, usize> = BTreeMap::new();
        let mut stems = BTreeSet::new();
        let (mut forks, mut merges) = (0, 0);
        for (link, change) in &known {
            match change.op {
                Op::Merge(_) => merges += 1,
                _ => forks += usize::from(!stems.insert(change.prev)),
            }
            let named = named(change);
            missing.insert(*link, named.len());
            for name in named {
                namers.entry(name).or_default().push(*link);
            }
        }
        if forks > MAX_FORKS || merges > MAX_FORKS {
            return Err(RosterError::Full("forks"));
        }
        let mut ready = BinaryHeap::from([Reverse(self.charter.link())]);
        while let Some(Reverse(link)) = ready.pop() {
            let mut parent = 0;
            if let Some(change) = known.remove(&link) {
                parent = self.place.get(&change.prev).copied().unwrap_or(0);
                self.changes.push(change);
            }
            self.place.insert(link, self.links.len());
            self.links.push(link);
            self.parents.push(parent);
            for namer in namers.remove(&link).unwrap_or_default() {
                if let Some(left) = missing.get_mut(&namer) {
                    *left -= 1;
                    if *left == 0 {
                        ready.push(Reverse(namer));
                    }
                }
            }
        }
        if known.is_empty() { Ok(()) } else { Err(RosterError::Orphan) }
    }

    pub const fn team(&self) -> TeamId {
        self.team
    }

    pub const fn charter(&self) -> &Signed<Charter> {
        &self.charter
    }

    pub fn changes(&self) -> &[Signed<Change>] {
        &self.changes
    }

    pub fn has(&self, link: &Digest) -> bool {
        self.place.contains_key(link)
    }

    /// Whether exactly this change, signature and all, is here: then it was verified.
    pub fn holds(&self, change: &Signed<Change>) -> bool {
        let node = self.place.get(&change.link());
        node.and_then(|n| self.change(*n)) == Some(change)
    }

    /// The links that nothing stands behind and no merge names.
    pub fn heads(&self) -> BTreeSet<Digest> {
        self.ends().map(|node| self.links[node]).collect()
    }

    /// The link behind which the next change stands, where there is no fork.
    pub fn end(&self) -> Digest {
        let (trunk, _) = self.trunk();
        self.links[trunk.last().copied().unwrap_or(0)]
    }

    /// Checks every signer's right, and says who belongs.
    pub fn view(&self) -> Result<(State, Option<Fork>), RosterError> {
        let (trunk, branches) = self.trunk();
        let end = trunk.last().copied().unwrap_or(0);
        let mut view = self.replay(end)?;
        if branches.is_empty() {
            return Ok((view, None));
        }
        let beside: BTreeSet<usize> = self.behind(end).skip(1).collect();
        view.strike(&self.ops(&beside));
        let heads = self.ends().filter(|node| beside.contains(node));
        let head = |node: usize| {
            let change = self.change(node)?;
            let (link, signer, at) = (self.links[node], change.signer, change.at);
            Some(Head { link, signer, at })
        };
        let mut heads: Vec<Head> = heads.filter_map(head).collect();
        heads.sort_by_key(|h| h.link);
        let base = self.links[end];
        let waiting = self.waiting(&view, &beside);
        Ok((view, Some(Fork { base, heads, waiting })))
    }

    /// What of the branches' gifts can be given again.
    fn waiting(&self, view: &State, beside: &BTreeSet<usize>) -> Vec<Op> {
        let ops = self.ops(beside);
        let mut next = view.clone();
        let mut waiting = Vec::new();
        for change in beside.iter().filter_map(|node| self.change(*node)) {
            let taken = |op: &Op| op.lowers(&change.op);
            if !view.is_admin(&change.signer) || !change.op.gives() || ops.iter().any(taken) {
                continue;
            }
            let before = next.clone();
            if next.apply(&change.op).is_err() {
                next = before;
            } else if next != before {
                waiting.push(change.op.clone());
            }
        }
        waiting
    }

    /// The state at `end`; checks the signers of all nodes.
    fn replay(&self, end: usize) -> Result<State, RosterError> {
        let mut left = vec![0_usize; self.links.len()];
        for parent in self.parents.iter().skip(1) {
            left[*parent] += 1;
        }
        // One more for who asks. A state is copied only where the chain branches.
        left[end] += 1;
        let mut live = BTreeMap::from([(0, State::of(&self.charter))]);
        for (i, change) in self.changes.iter().enumerate() {
            let (node, parent) = (i + 1, self.parents[i + 1]);
            left[parent] -= 1;
            let state = match left[parent] {
                0 => live.remove(&parent),
                _ => live.get(&parent).cloned(),
            };
            let mut state = state.ok_or(RosterError::Orphan)?;
            if matches!(change.op, Op::Merge(_)) {
                let beside = self.beside(node).ok_or(RosterError::BadMerge)?;
                state.strike(&self.ops(&beside));
            }
            // Of a merge, too: so nobody who was thrown out on a branch that it names, or was
            // made an admin there alone, can sign it.
            if !state.is_admin(&change.signer) {
                return Err(RosterError::NotAdmin(change.signer));
            }
            state.apply(&change.op)?;
            live.insert(node, state);
        }
        live.remove(&end).ok_or(RosterError::Orphan)
    }

    /// The nodes from the charter to where the chain ends or forks, and there the branches.
    fn trunk(&self) -> (Vec<usize>, Vec<usize>) {
        let mut children: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
        for (node, parent) in self.parents.iter().enumerate().skip(1) {
            children.entry(*parent).or_default().push(node);
        }
        let mut trunk = vec![0];
        loop {
            let here = trunk.last().copied().unwrap_or(0);
            let mut branches = children.remove(&here).unwrap_or_default();
            if branches.len() > 1 {
                let merged: Vec<_> = branches.iter().filter_map(|b| self.beside(*b)).collect();
                branches.retain(|branch| !merged.iter().any(|m| self.is_within(*branch, m)));
            }
            match branches[..] {
                [only] => trunk.push(only),
                _ => return (trunk, branches),
            }
        }
    }

    /// What a merge covers: the nodes from each head that it names up to where it stands, and
    /// what the merges among them cover. `None` for what is no merge of branches beside it.
    fn beside(&self, merge: usize) -> Option<BTreeSet<usize>> {
        let mut covered = BTreeSet::new();
        self.cover(merge, &mut covered)?;
        Some(covered)
    }

    /// Adds to `covered`; what is in it is not walked again, however many merges name it.
    fn cover(&self, merge: usize, covered: &mut BTreeSet<usize>) -> Option<()> {
        let Op::Merge(heads) = &self.change(merge)?.op else {
            return None;
        };
        let base = self.parents[merge];
        let beside: BTreeSet<usize> = self.behind(base).skip(1).collect();
        for head in heads {
            let mut node = *self.place.get(head)?;
            if !beside.contains(&node) {
                return None;
            }
            while node != base && covered.insert(node) {
                // `None` for what is no merge; and one that is none of branches beside it was
                // refused at its own place.
                let _ = self.cover(node, covered);
                node = self.parents[node];
            }
        }
        Some(())
    }

    /// Whether `covered` has all that stands behind `branch`, itself included: a branch that
    /// went on after a merge is open again.
    fn is_within(&self, branch: usize, covered: &BTreeSet<usize>) -> bool {
        self.behind(branch).all(|node| covered.contains(&node))
    }

    /// `ancestor` and the nodes that stand behind it, in order.
    fn behind(&self, ancestor: usize) -> impl Iterator<Item = usize> {
        let mut behind = vec![false; self.links.len()];
        behind[ancestor] = true;
        for node in ancestor + 1..behind.len() {
            behind[node] = behind[self.parents[node]];
        }
        let found = behind.into_iter().enumerate();
        found.filter_map(|(node, is)| is.then_some(node))
    }

    /// The nodes behind which nothing stands and that no merge names.
    fn ends(&self) -> impl Iterator<Item = usize> {
        let mut ends: BTreeSet<usize> = (0..self.links.len()).collect();
        for (node, parent) in self.parents.iter().enumerate().skip(1) {
            ends.remove(parent);
            if let Some(Op::Merge(heads)) = self.change(node).map(|c| &c.op) {
                for head in heads {
                    self.place.get(head).map(|node| ends.remove(node));
                }
            }
        }
        ends.into_iter()
    }

    fn change(&self, node: usize) -> Option<&Signed<Change>> {
        self.changes.get(node.checked_sub(1)?)
    }

    fn ops(&self, nodes: &BTreeSet<usize>) -> Vec<Op> {
        let ops = nodes.iter().filter_map(|node| self.change(*node));
        ops.map(|change| change.op.clone()).collect()
    }
}

/// The links that a change needs before it.
fn named(change: &Change) -> BTreeSet<Digest> {
    let mut named = BTreeSet::from([change.prev]);
    if let Op::Merge(heads) = &change.op {
        named.extend(heads);
    }
    named
}
