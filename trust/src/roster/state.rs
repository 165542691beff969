//! Who belongs at one point of the chain, and how the states of several branches become one.
//!
//! A state and a change enter, the next state leaves. Each record knows the node of the chain
//! that made it so, by which joining tells what overtook what. The result depends on the
//! ancestry of a node alone, never on what else is known or in which order it came.

use super::change::Op;
use super::charter::{Charter, MAX_MEMBERS};
use super::error::RosterError;
use super::member::{Gone, Member, Role};
use crate::digest::Digest;
use crate::key::{BuilderId, PeerId};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// One person's machine, in force or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub member: Arc<Member>,
    pub gone: Option<Gone>,
    /// The node of the chain that made it so.
    pub by: usize,
}

/// Everyone, at one point.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct State {
    people: BTreeMap<BuilderId, Record>,
}

/// A branch of the chain on its way into a join.
pub(super) struct Branch {
    pub state: State,
    /// By node: whether the branch has it.
    pub knows: Vec<bool>,
}

impl State {
    /// The state that a charter, node 0, founds.
    pub fn of(charter: &Charter) -> Self {
        let here = charter.members.iter().map(|m| (m, None));
        let gone = charter.former.iter().map(|(m, gone)| (m, Some(*gone)));
        let record = |(m, gone): (&Member, _)| {
            let member = Arc::new(m.clone());
            (
                m.builder,
                Record {
                    member,
                    gone,
                    by: 0,
                },
            )
        };
        Self {
            people: here.chain(gone).map(record).collect(),
        }
    }

    pub fn get(&self, builder: &BuilderId) -> Option<&Record> {
        self.people.get(builder)
    }

    pub fn records(&self) -> impl Iterator<Item = &Record> {
        self.people.values()
    }

    /// Those in force.
    pub fn members(&self) -> impl Iterator<Item = &Member> {
        self.records()
            .filter(|r| r.gone.is_none())
            .map(|r| r.member.as_ref())
    }

    /// The record of `builder`, if it is in force.
    pub fn member(&self, builder: &BuilderId) -> Option<&Member> {
        let record = self.get(builder).filter(|r| r.gone.is_none())?;
        Some(&record.member)
    }

    pub fn is_admin(&self, builder: &BuilderId) -> bool {
        self.member(builder).is_some_and(|m| m.role == Role::Admin)
    }

    /// Takes one change, made by `node`. What is so already changes nothing.
    pub fn apply(&mut self, op: &Op, node: usize) -> Result<(), RosterError> {
        match op {
            Op::Add(member) => {
                self.check_new(member)?;
                let member = Arc::new(member.clone());
                let record = Record {
                    member,
                    gone: None,
                    by: node,
                };
                self.people.insert(record.member.builder, record);
            }
            Op::SetRole(builder, role) => {
                let record = self.people.get_mut(builder).filter(|r| r.gone.is_none());
                let record = record.ok_or(RosterError::NotMember(*builder))?;
                if record.member.role != *role {
                    Arc::make_mut(&mut record.member).role = *role;
                    record.by = node;
                }
            }
            Op::Retire(builder) | Op::Revoke(builder) => {
                let record = self.people.get_mut(builder);
                let record = record.ok_or(RosterError::NotMember(*builder))?;
                record.end(op, node);
            }
            Op::Merge(_) => {}
        }
        Ok(())
    }

    fn check_new(&self, member: &Member) -> Result<(), RosterError> {
        match self.get(&member.builder).map(|r| r.gone) {
            Some(Some(Gone::Revoked)) => return Err(RosterError::RevokedBuilder(member.builder)),
            Some(None) => return Err(RosterError::AlreadyMember(member.builder)),
            Some(Some(Gone::Retired)) | None => {}
        }
        if let Some(other) = self.members().find(|m| m.peer == member.peer) {
            let (peer, name) = (member.peer, other.name.clone());
            return Err(RosterError::PeerTaken { peer, name });
        }
        if self.members().count() >= MAX_MEMBERS {
            return Err(RosterError::Full("members"));
        }
        Ok(())
    }

    /// Lets a retirement or revocation hold, whatever the branch; `known` is its subject's record
    /// on that branch, for whom this state never heard of.
    pub fn strike(&mut self, op: &Op, node: usize, known: Option<&Record>) {
        let (Op::Retire(builder) | Op::Revoke(builder)) = op else {
            return;
        };
        if !self.people.contains_key(builder) {
            // Somebody added beside us and gone already: a retired one was never here.
            let revoked = known.filter(|r| r.gone == Some(Gone::Revoked));
            self.people.extend(revoked.map(|r| (*builder, r.clone())));
        }
        if let Some(record) = self.people.get_mut(builder) {
            record.end(op, node);
        }
    }

    /// The union of branches. Of what one branch knew of and changed, its word holds; of what
    /// both changed unknowingly, the stricter; a revocation always. `void` nodes count nothing.
    pub fn join(branches: &[Branch], void: &[bool], links: &[Digest]) -> Self {
        let builders: BTreeSet<_> = branches
            .iter()
            .flat_map(|b| b.state.people.keys())
            .collect();
        let mut people: BTreeMap<BuilderId, Record> = BTreeMap::new();
        for builder in builders {
            let records = || branches.iter().filter_map(|b| b.state.get(builder));
            let revoked = records().filter(|r| r.gone == Some(Gone::Revoked));
            let standing = records().filter(|r| {
                !void[r.by]
                    && !branches.iter().any(|b| {
                        let theirs = b.state.get(builder);
                        b.knows[r.by] && theirs.is_none_or(|t| t.by != r.by && !void[t.by])
                    })
            });
            let strictness = |r: &&Record| (r.gone.is_none(), r.member.role, links[r.by]);
            let chosen = revoked.min_by_key(|r| links[r.by]);
            if let Some(record) = chosen.or_else(|| standing.min_by_key(strictness)) {
                people.insert(*builder, record.clone());
            }
        }
        Self::settle_peers(&mut people, branches, links);
        Self { people }
    }

    /// Two branches may have added one peer under two builders: the one that was there before
    /// stays, else the one whose change has the lower link. The other can be added again.
    fn settle_peers(
        people: &mut BTreeMap<BuilderId, Record>,
        branches: &[Branch],
        links: &[Digest],
    ) {
        let rank = |r: &Record| (!branches.iter().all(|b| b.knows[r.by]), links[r.by]);
        let mut holders: BTreeMap<PeerId, (_, BuilderId)> = BTreeMap::new();
        for record in people.values().filter(|r| r.gone.is_none()) {
            let claim = (rank(record), record.member.builder);
            let holder = holders.entry(record.member.peer).or_insert(claim);
            *holder = claim.min(*holder);
        }
        people.retain(|builder, r| {
            r.gone.is_some() || holders.get(&r.member.peer).is_some_and(|h| h.1 == *builder)
        });
    }
}

impl Record {
    /// Retires or revokes; never makes milder what is.
    fn end(&mut self, op: &Op, node: usize) {
        let gone = if matches!(op, Op::Revoke(_)) {
            Gone::Revoked
        } else {
            Gone::Retired
        };
        if self.gone < Some(gone) {
            self.gone = Some(gone);
            self.by = node;
        }
    }
}
