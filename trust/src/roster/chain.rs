//! The chain: a charter and the changes behind it, and what they amount to.
//!
//! Verified statements enter in any order; a directed graph in its one canonical order leaves,
//! with the state at its end. Every signer must be an admin at its own point of the graph. Of an
//! open fork the retirements and revocations of all branches hold and the rest of none; a merge
//! joins them. Nothing here reads a clock or checks a signature.

use super::change::{Change, Op};
use super::charter::{Charter, MAX_MEMBERS};
use super::error::RosterError;
use super::member::{Gone, Member};
use super::signed::Signed;
use super::state::{Branch, State};
use crate::digest::Digest;
use crate::entry::TeamId;
use crate::key::BuilderId;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, BinaryHeap};

/// Changes behind one charter: a member joining and leaving every day for twenty years. The
/// root's next charter starts again at none.
pub const MAX_CHANGES: usize = 16_384;
/// Branchings behind one charter, open or merged. Two admins fork when neither hears of the
/// other, which is rare; each branch costs a copy of the state.
pub const MAX_FORKS: usize = 64;

/// One head of a forked chain.
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
    /// The heads, by link; two at least.
    pub heads: Vec<Head>,
    /// Who would be a member, or a member in another role, if the heads were merged now.
    pub waiting: Vec<Member>,
}

#[derive(Debug, Clone)]
pub(super) struct Chain {
    charter: Signed<Charter>,
    team: TeamId,
    /// Node `i + 1` is change `i`; node 0 is the charter.
    changes: Vec<Signed<Change>>,
    /// By node. Parents come before their children.
    links: Vec<Digest>,
    parents: Vec<Vec<usize>>,
    /// The node of each link.
    place: BTreeMap<Digest, usize>,
}

/// What a walk over a part of the graph leaves.
struct Walked {
    /// The nodes of the part that have no child in it, with the states there.
    tips: Vec<(usize, State)>,
    /// By node: the node that made its signer what it was when it signed.
    warrants: Vec<usize>,
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
        let mut chain = Self {
            charter,
            team,
            changes: vec![],
            links: vec![],
            parents: vec![],
            place: BTreeMap::new(),
        };
        chain.order(known)?;
        Ok(chain)
    }

    /// Puts each change behind its parents; of those that could come next, the lowest link.
    fn order(&mut self, mut known: BTreeMap<Digest, Signed<Change>>) -> Result<(), RosterError> {
        let mut children: BTreeMap<Digest, Vec<Digest>> = BTreeMap::new();
        let mut missing: BTreeMap<Digest, usize> = BTreeMap::new();
        for (link, change) in &known {
            let parents = parents_of(change)?;
            missing.insert(*link, parents.len());
            for parent in parents {
                children.entry(parent).or_default().push(*link);
            }
        }
        if children.values().map(|c| c.len() - 1).sum::<usize>() > MAX_FORKS {
            return Err(RosterError::Full("forks"));
        }
        let mut ready = BinaryHeap::from([Reverse(self.charter.link())]);
        while let Some(Reverse(link)) = ready.pop() {
            let mut parents = Vec::new();
            if let Some(change) = known.remove(&link) {
                let places = parents_of(&change)?.into_iter();
                parents.extend(places.filter_map(|p| self.place.get(&p).copied()));
                self.changes.push(change);
            }
            self.place.insert(link, self.links.len());
            self.links.push(link);
            self.parents.push(parents);
            for child in children.remove(&link).unwrap_or_default() {
                if let Some(left) = missing.get_mut(&child) {
                    *left -= 1;
                    if *left == 0 {
                        ready.push(Reverse(child));
                    }
                }
            }
        }
        if known.is_empty() {
            Ok(())
        } else {
            Err(RosterError::Orphan)
        }
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
        let node = self
            .place
            .get(&change.link())
            .and_then(|n| n.checked_sub(1));
        node.and_then(|i| self.changes.get(i)) == Some(change)
    }

    /// The links of what nothing follows.
    pub fn heads(&self) -> BTreeSet<Digest> {
        let followed: BTreeSet<usize> = self.parents.iter().flatten().copied().collect();
        let heads = (0..self.links.len()).filter(|node| !followed.contains(node));
        heads.map(|node| self.links[node]).collect()
    }

    /// Checks every signer's right, and says who belongs.
    pub fn view(&self) -> Result<(State, Option<Fork>), RosterError> {
        let whole = vec![true; self.links.len()];
        let Walked { tips, warrants } = self.walk(&whole)?;
        if tips.len() == 1 {
            return Ok((
                tips.into_iter().map(|t| t.1).next().unwrap_or_default(),
                None,
            ));
        }
        let heads = self.fork_heads(&tips);
        let branches = self.branches(tips);
        // What every head has is settled. Where its own end is manifold, every head merged it.
        let common: Vec<bool> = (0..self.links.len())
            .map(|i| branches.iter().all(|b| b.knows[i]))
            .collect();
        let settled = self.walk(&common)?;
        let mut view = self.join(&self.branches(settled.tips), &settled.warrants);
        for (i, change) in self.changes.iter().enumerate() {
            if !common[i + 1] {
                let known = branches.iter().filter_map(|b| match &change.op {
                    Op::Retire(builder) | Op::Revoke(builder) => b.state.get(builder),
                    _ => None,
                });
                view.strike(&change.op, i + 1, known.max_by_key(|r| r.gone));
            }
        }
        let merged = self.join(&branches, &warrants);
        let waiting = merged
            .members()
            .filter(|m| view.member(&m.builder) != Some(*m));
        let waiting = waiting.cloned().collect();
        Ok((view, Some(Fork { heads, waiting })))
    }

    fn fork_heads(&self, tips: &[(usize, State)]) -> Vec<Head> {
        let changes = tips
            .iter()
            .filter_map(|t| Some((t.0, self.changes.get(t.0.checked_sub(1)?)?)));
        let head = |(node, c): (usize, &Signed<Change>)| Head {
            link: self.links[node],
            signer: c.signer,
            at: c.at,
        };
        let mut heads: Vec<Head> = changes.map(head).collect();
        heads.sort_by_key(|h| h.link);
        heads
    }

    /// Replays the nodes of `within`, which has the parents of all that it has.
    fn walk(&self, within: &[bool]) -> Result<Walked, RosterError> {
        let mut uses = vec![0_usize; self.links.len()];
        for node in (0..self.links.len()).filter(|n| within[*n]) {
            for parent in &self.parents[node] {
                uses[*parent] += 1;
            }
        }
        // A state is copied only where the chain forks, and dropped with its last child.
        let mut live = BTreeMap::from([(0, State::of(&self.charter))]);
        let mut left = uses.clone();
        let mut warrants = vec![0; self.links.len()];
        for (i, change) in self
            .changes
            .iter()
            .enumerate()
            .filter(|(i, _)| within[i + 1])
        {
            let mut before = Vec::new();
            for parent in &self.parents[i + 1] {
                left[*parent] -= 1;
                let last = left[*parent] == 0;
                let state = if last {
                    live.remove(parent)
                } else {
                    live.get(parent).cloned()
                };
                before.push((*parent, state.ok_or(RosterError::Orphan)?));
            }
            let state = self.step(change, i + 1, before, &mut warrants)?;
            live.insert(i + 1, state);
        }
        Ok(Walked {
            tips: live.into_iter().collect(),
            warrants,
        })
    }

    fn step(
        &self,
        change: &Change,
        node: usize,
        mut before: Vec<(usize, State)>,
        warrants: &mut [usize],
    ) -> Result<State, RosterError> {
        // A merge's signer must be an admin on every branch that it joins: nobody who was
        // thrown out or made an admin on one of them alone can wave that branch through.
        if !before
            .iter()
            .all(|(_, state)| state.is_admin(&change.signer))
        {
            return Err(RosterError::NotAdmin(change.signer));
        }
        let warrant = before.first().and_then(|(_, s)| s.get(&change.signer));
        warrants[node] = warrant.map_or(0, |r| r.by);
        let mut state = if before.len() > 1 {
            let nodes: Vec<usize> = before.iter().map(|b| b.0).collect();
            let branches = self.branches(before);
            let nested = |(i, n): (usize, &usize)| {
                branches
                    .iter()
                    .enumerate()
                    .any(|(j, b)| i != j && b.knows[*n])
            };
            if nodes.iter().enumerate().any(nested) {
                return Err(RosterError::BadMerge);
            }
            let joined = self.join(&branches, warrants);
            if joined.members().count() > MAX_MEMBERS {
                return Err(RosterError::Full("members"));
            }
            joined
        } else {
            before.pop().map(|b| b.1).unwrap_or_default()
        };
        state.apply(&change.op, node)?;
        Ok(state)
    }

    fn branches(&self, tips: Vec<(usize, State)>) -> Vec<Branch> {
        let knows = |tip: usize| {
            let mut knows = vec![false; self.links.len()];
            knows[tip] = true;
            for node in (1..=tip).rev() {
                if knows[node] {
                    self.parents[node].iter().for_each(|p| knows[*p] = true);
                }
            }
            knows
        };
        tips.into_iter()
            .map(|(tip, state)| Branch {
                state,
                knows: knows(tip),
            })
            .collect()
    }

    /// Joins branches. An addition or role counts nothing where another branch, without knowing
    /// of it, revoked its signer, or took from the signer (or from who vouched for it) the right
    /// to give it: else a stolen key would fork from before its revocation, and the next merge
    /// would let in whom it added.
    fn join(&self, branches: &[Branch], warrants: &[usize]) -> State {
        let mut void = vec![false; self.links.len()];
        for (i, change) in self.changes.iter().enumerate() {
            let (node, warrant) = (i + 1, warrants[i + 1]);
            if !matches!(change.op, Op::Add(_) | Op::SetRole(..))
                || !branches.iter().any(|b| b.knows[node])
            {
                continue;
            }
            void[node] = void[warrant]
                || branches.iter().filter(|b| !b.knows[node]).any(|b| {
                    let signer = b.state.get(&change.signer);
                    signer.is_some_and(|r| r.gone == Some(Gone::Revoked))
                        || (b.knows[warrant] && !b.state.is_admin(&change.signer))
                });
        }
        State::join(branches, &void, &self.links)
    }
}

/// The links that a change stands behind.
fn parents_of(change: &Change) -> Result<Vec<Digest>, RosterError> {
    let mut parents = vec![change.prev];
    if let Op::Merge(heads) = &change.op {
        if heads.contains(&change.prev) {
            return Err(RosterError::BadMerge);
        }
        parents.extend(heads);
    }
    Ok(parents)
}
