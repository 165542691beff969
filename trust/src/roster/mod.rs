//! The roster: who belongs to a team, as its root and its admins signed it.
//!
//! A charter signed by the root, a chain of changes signed by admins, and admins' freshness
//! marks enter as signed bytes or as proposals with a key; who is a member, whose entries count,
//! who left and who was thrown out leave. No I/O, no clock: times are arguments, in seconds
//! since 1970. Nothing that was learnt is ever unlearnt, except by the root's next charter, and
//! a refused wire or proposal leaves everything as it was.

mod chain;
mod change;
mod charter;
mod error;
mod member;
mod project;
mod signed;
mod state;
mod wire;

pub use chain::{Fork, Head, MAX_CHANGES, MAX_FORKS};
pub use change::{Change, FreshMark, MAX_HEADS, Op};
pub use charter::{Charter, MAX_FORMER, MAX_MEMBERS};
pub use error::RosterError;
pub use member::{Gone, MAX_MEMBER_NAME, Member, Role, check_name, check_typed};
pub use project::{MAX_PROJECTS, Project, TEAM_ITSELF, secret_digest};
pub use signed::{Signed, Statement};
pub use wire::{MAX_WIRE, Merge};

use crate::digest::Digest;
use crate::entry::{Scope, TeamId};
use crate::key::{BuilderId, BuilderKey, PeerId};
use chain::Chain;
use state::State;
use std::collections::{BTreeMap, BTreeSet};

/// How old the newest evidence of an admin at work may be, in seconds: 30 days. Long enough for a holiday, short enough that who is kept in
/// the dark does not believe a revoked builder for ever.
pub const ROSTER_MAX_AGE: u64 = 30 * 24 * 3600;
/// How far an admin's clock may run ahead of ours, in seconds: one day. Evidence from further in
/// the future counts nothing until its time is that near.
pub const MAX_SKEW: u64 = 24 * 3600;

/// Where a builder stands with the team.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// An admin or builder in force: its entries count.
    Stands,
    /// It left: what was verified before counts.
    Retired,
    /// It was thrown out: nothing counts.
    Revoked,
    /// Never heard of, or a reader: nothing counts.
    Unknown,
}

/// A team's membership, verified to its first link.
#[derive(Debug, Clone)]
pub struct Roster {
    chain: Chain,
    marks: BTreeMap<BuilderId, Signed<FreshMark>>,
    // What follows is computed from the above whenever that changes.
    state: State,
    fork: Option<Fork>,
    /// When the root and today's admins signed something, ascending.
    evidence: Vec<u64>,
    /// The members of each project, by the scope of its entries.
    scopes: BTreeMap<Scope, BTreeSet<BuilderId>>,
}

impl Roster {
    /// The roster that a signed charter alone makes.
    ///
    /// # Errors
    /// [`RosterError`] for lists that do not make a state.
    pub fn chartered(charter: Signed<Charter>) -> Result<Self, RosterError> {
        Self::assemble(Chain::new(charter, [])?, BTreeMap::new())
    }

    /// Computes what the chain amounts to. Of the marks those are kept that an admin of now
    /// signed over heads that are here.
    fn assemble(
        chain: Chain,
        mut marks: BTreeMap<BuilderId, Signed<FreshMark>>,
    ) -> Result<Self, RosterError> {
        let (state, fork) = chain.view()?;
        marks.retain(|signer, mark| {
            state.is_admin(signer) && mark.heads.iter().all(|head| chain.has(head))
        });
        let changes = chain.changes().iter().filter(|c| state.is_admin(&c.signer));
        let mut evidence: Vec<u64> = changes.map(|c| c.at).collect();
        evidence.push(chain.charter().created);
        evidence.extend(marks.values().map(|m| m.at));
        evidence.sort_unstable();
        let scope = |(name, project): (&String, &Project)| {
            (Scope::project(chain.team(), name), project.members.clone())
        };
        let scopes = state.projects().iter().map(scope).collect();
        Ok(Self { chain, marks, state, fork, evidence, scopes })
    }

    /// The team's id.
    #[must_use]
    pub fn team(&self) -> TeamId {
        self.chain.team()
    }

    /// The team's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.chain.charter().name
    }

    /// The root's public key.
    #[must_use]
    pub fn root(&self) -> BuilderId {
        self.chain.charter().root
    }

    /// The charter's epoch, from 1.
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.chain.charter().epoch
    }

    /// The open fork, if there is one: to be shown.
    #[must_use]
    pub const fn fork(&self) -> Option<&Fork> {
        self.fork.as_ref()
    }

    /// Those in force, by builder.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.state.members()
    }

    /// Those that left or were thrown out, as they last were.
    pub fn former(&self) -> impl Iterator<Item = (&Member, Gone)> {
        self.state.records().filter_map(|r| Some((&r.member, r.gone?)))
    }

    /// The member in force that speaks as `peer`.
    #[must_use]
    pub fn member_by_peer(&self, peer: &PeerId) -> Option<&Member> {
        self.members().find(|m| m.peer == *peer)
    }

    /// The member in force that signs as `builder`.
    #[must_use]
    pub fn member_by_builder(&self, builder: &BuilderId) -> Option<&Member> {
        self.state.member(builder)
    }

    /// Where `builder` stands.
    #[must_use]
    pub fn standing(&self, builder: &BuilderId) -> Standing {
        match self.state.get(builder).map(|r| (r.gone, r.member.role)) {
            Some((Some(Gone::Revoked), _)) => Standing::Revoked,
            None | Some((_, Role::Reader)) => Standing::Unknown,
            Some((Some(Gone::Retired), _)) => Standing::Retired,
            Some((None, _)) => Standing::Stands,
        }
    }

    /// Whether `builder` is an admin in force.
    #[must_use]
    pub fn is_admin(&self, builder: &BuilderId) -> bool {
        self.state.is_admin(builder)
    }

    /// When the root or one of today's admins last signed something, seconds since 1970 by
    /// their clock: it may lie in the future.
    #[must_use]
    pub fn freshness(&self) -> u64 {
        self.evidence.last().copied().unwrap_or(0)
    }

    /// Whether the root or one of today's admins signed something within [`ROSTER_MAX_AGE`]
    /// before `now`. What lies up to [`MAX_SKEW`] ahead counts as a clock that runs ahead, what
    /// lies further counts nothing: so no signature keeps a roster fresh for longer than
    /// `ROSTER_MAX_AGE + MAX_SKEW` in one stretch, and a mark that is dated far ahead hides no sound one.
    #[must_use]
    pub fn is_fresh(&self, now: u64) -> bool {
        let past = self.evidence.partition_point(|at| *at <= now.saturating_add(MAX_SKEW));
        let newest = past.checked_sub(1).and_then(|i| self.evidence.get(i));
        newest.is_some_and(|at| now <= at.saturating_add(ROSTER_MAX_AGE))
    }

    /// The projects that admins made, by name, [`TEAM_ITSELF`] among them.
    pub fn projects(&self) -> impl Iterator<Item = (&str, &Project)> {
        let projects = self.state.projects().iter();
        projects.map(|(name, project)| (name.as_str(), project))
    }

    /// Whether `builder` may see what is scoped to the whole team, or to one of its projects.
    #[must_use]
    pub fn sees(&self, builder: &BuilderId, scope: &Scope) -> bool {
        self.state.member(builder).is_some()
            && match scope {
                Scope::Private => false,
                Scope::Team(theirs) => *theirs == self.team(),
                Scope::Project(..) => self.scopes.get(scope).is_some_and(|m| m.contains(builder)),
            }
    }

    /// Signs a change as an admin and appends it at the end. What is so already appends nothing.
    /// Nothing but a merge can be appended to a forked chain.
    ///
    /// # Errors
    /// [`RosterError`]; the roster is then as it was.
    pub fn propose(&mut self, op: Op, signer: &BuilderKey, now: u64) -> Result<(), RosterError> {
        if !self.is_admin(&signer.id()) {
            return Err(RosterError::NotAdmin(signer.id()));
        }
        if let Some(fork) = &self.fork {
            return Err(RosterError::Forked(fork.heads.len()));
        }
        if matches!(op, Op::Merge(_)) {
            return Err(RosterError::BadMerge);
        }
        if self.is_so(&op)? {
            return Ok(());
        }
        self.append(self.chain.end(), op, signer, now)
    }

    /// Ends the open fork as an admin: what its branches took away holds, and what waits in
    /// [`Fork::waiting`] is signed anew. Without a fork nothing happens.
    ///
    /// # Errors
    /// [`RosterError`]; the roster is then as it was.
    pub fn merge_fork(&mut self, signer: &BuilderKey, now: u64) -> Result<(), RosterError> {
        let Some(fork) = self.fork.clone() else {
            return Ok(());
        };
        let mut next = self.clone();
        let heads = fork.heads.iter().map(|h| h.link).collect();
        next.append(fork.base, Op::Merge(heads), signer, now)?;
        for mut op in fork.waiting {
            if let Op::Project(_, project) = &mut op {
                // Who merges may not know it, and names a new one.
                project.secret = None;
            }
            next.propose(op, signer, now)?;
        }
        *self = next;
        Ok(())
    }

    fn append(
        &mut self,
        prev: Digest,
        op: Op,
        signer: &BuilderKey,
        at: u64,
    ) -> Result<(), RosterError> {
        let change =
            Change { team: self.team(), epoch: self.epoch(), prev, at, signer: signer.id(), op };
        let changes = self.chain.changes().iter().cloned();
        let changes = changes.chain([Signed::new(change, signer)]);
        let chain = Chain::new(self.chain.charter().clone(), changes)?;
        *self = Self::assemble(chain, self.marks.clone())?.bounded()?;
        Ok(())
    }

    /// Whether `op` would change nothing; refuses what an admin must not do.
    fn is_so(&self, op: &Op) -> Result<bool, RosterError> {
        if let Op::Add(member) = op {
            member::check_typed(&member.name)?;
        }
        let mut next = self.state.clone();
        next.apply(op)?;
        // A stolen key must be revocable even where it is the last admin's: the root goes on.
        let last = !next.members().any(|m| m.role == Role::Admin);
        if last && !matches!(op, Op::Revoke(_)) {
            return Err(RosterError::LastAdmin);
        }
        Ok(next == self.state)
    }

    /// Signs, as an admin, that nothing newer is known than what is here.
    ///
    /// # Errors
    /// [`RosterError::NotAdmin`], [`RosterError::Full`].
    pub fn mark_fresh(&mut self, signer: &BuilderKey, now: u64) -> Result<(), RosterError> {
        let id = signer.id();
        if !self.is_admin(&id) {
            return Err(RosterError::NotAdmin(id));
        }
        let serial = self.marks.get(&id).map_or(0, |m| m.serial.saturating_add(1));
        let heads = self.chain.heads();
        let mark = FreshMark { team: self.team(), serial, at: now, signer: id, heads };
        let mut marks = self.marks.clone();
        marks.insert(id, Signed::new(mark, signer));
        *self = Self::assemble(self.chain.clone(), marks)?.bounded()?;
        Ok(())
    }
}

#[cfg(test)]
#[path = "roster_tests.rs"]
pub(crate) mod tests;

#[cfg(test)]
#[path = "fork_tests.rs"]
mod fork_tests;
