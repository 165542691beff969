//! Who belongs at one point of the chain.
//!
//! A state and a change enter, the next state leaves. Must never happen here: something that is
//! given by a branch which is not part of the chain's trunk.

use super::change::Op;
use super::charter::{Charter, MAX_MEMBERS};
use super::error::RosterError;
use super::member::{Gone, Member, Role};
use super::project::{MAX_PROJECTS, Project, TEAM_ITSELF};
use crate::key::BuilderId;
use std::collections::BTreeMap;

/// One person's machine, in force or gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Record {
    pub member: Member,
    pub gone: Option<Gone>,
}

/// Everyone, and who sees which project, at one point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct State {
    people: BTreeMap<BuilderId, Record>,
    projects: BTreeMap<String, Project>,
}

impl State {
    /// The state that a charter founds.
    pub fn of(charter: &Charter) -> Self {
        let here = charter.members.iter().map(|m| (m, None));
        let gone = charter.former.iter().map(|(m, gone)| (m, Some(*gone)));
        let record = |(m, gone): (&Member, _)| {
            let member = m.clone();
            (m.builder, Record { member, gone })
        };
        // Who is gone when a charter begins may know the secret of before.
        let team = Project { stale: !charter.former.is_empty(), ..Project::default() };
        Self {
            people: here.chain(gone).map(record).collect(),
            projects: BTreeMap::from([(TEAM_ITSELF.to_owned(), team)]),
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
        let here = self.records().filter(|r| r.gone.is_none());
        here.map(|r| &r.member)
    }

    /// The record of `builder`, if it is in force.
    pub fn member(&self, builder: &BuilderId) -> Option<&Member> {
        let record = self.get(builder).filter(|r| r.gone.is_none())?;
        Some(&record.member)
    }

    pub fn is_admin(&self, builder: &BuilderId) -> bool {
        self.member(builder).is_some_and(|m| m.role == Role::Admin)
    }

    /// By name; [`TEAM_ITSELF`] is the team.
    pub const fn projects(&self) -> &BTreeMap<String, Project> {
        &self.projects
    }

    /// Takes one change. What is so already changes nothing.
    pub fn apply(&mut self, op: &Op) -> Result<(), RosterError> {
        match op {
            Op::Add(member) => {
                self.check_new(member)?;
                let member = member.clone();
                let record = Record { member, gone: None };
                self.people.insert(record.member.builder, record);
            }
            Op::SetRole(builder, role) => {
                let record = self.people.get_mut(builder).filter(|r| r.gone.is_none());
                record.ok_or(RosterError::NotMember(*builder))?.member.role = *role;
            }
            Op::Retire(builder) | Op::Revoke(builder) => {
                if !self.people.contains_key(builder) {
                    return Err(RosterError::NotMember(*builder));
                }
                self.end(op, builder);
            }
            Op::Project(name, project) => self.set_project(name, project)?,
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

    fn set_project(&mut self, name: &str, project: &Project) -> Result<(), RosterError> {
        if let Some(stranger) = project.members.iter().find(|b| self.member(b).is_none()) {
            return Err(RosterError::NotMember(*stranger));
        }
        if name == TEAM_ITSELF && !project.members.is_empty() {
            return Err(RosterError::Name("the team itself names no members"));
        }
        let before = self.projects.get(name);
        // Who was taken out knows the secret that is named still.
        let taken = before
            .is_some_and(|b| b.secret == project.secret && !b.members.is_subset(&project.members));
        let mut next = project.clone();
        next.stale = project.secret.is_none() || taken;
        if next.members.is_empty() && name != TEAM_ITSELF {
            self.projects.remove(name);
        } else {
            self.projects.insert(name.to_owned(), next);
        }
        if self.projects.len() > MAX_PROJECTS {
            return Err(RosterError::Full("projects"));
        }
        Ok(())
    }

    /// Takes away what the changes of other branches take away, and gives nothing.
    pub fn strike(&mut self, ops: &[Op]) {
        for op in ops {
            match op {
                Op::SetRole(builder, role) => {
                    if let Some(record) = self.people.get_mut(builder) {
                        record.member.role = record.member.role.min(*role);
                    }
                }
                Op::Retire(builder) | Op::Revoke(builder) => {
                    // Whoever was added and revoked on the branch must not come back here.
                    let added = ops.iter().find_map(|o| match o {
                        Op::Add(m) if m.builder == *builder => Some(m),
                        _ => None,
                    });
                    if let (Some(member), Op::Revoke(_)) = (added, op) {
                        let (member, gone) = (member.clone(), Some(Gone::Revoked));
                        let record = || Record { member, gone };
                        self.people.entry(*builder).or_insert_with(record);
                    }
                    self.end(op, builder);
                }
                Op::Project(name, theirs) => {
                    if let Some(ours) = self.projects.get_mut(name) {
                        let before = ours.members.len();
                        ours.members.retain(|m| theirs.members.contains(m));
                        ours.stale |= ours.members.len() < before;
                    }
                }
                Op::Add(_) | Op::Merge(_) => {}
            }
        }
    }

    /// Retires or revokes; never makes milder what is.
    fn end(&mut self, op: &Op, builder: &BuilderId) {
        let gone = match op {
            Op::Revoke(_) => Gone::Revoked,
            _ => Gone::Retired,
        };
        let Some(record) = self.people.get_mut(builder) else {
            return;
        };
        if record.gone.is_none() {
            for (name, project) in &mut self.projects {
                project.stale |= project.members.remove(builder) || name == TEAM_ITSELF;
            }
        }
        record.gone = record.gone.max(Some(gone));
    }
}
