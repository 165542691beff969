//! The charter: who belongs to the team, signed by its root.
//!
//! The first charter names the founder. A later one, of a higher epoch, is a whole new beginning
//! signed by the root: it carries everyone in force and everyone gone, and the chain of changes
//! starts again behind it. So the root can take the team back from a stolen admin key, and an
//! overlong chain can be folded. Contradictory lists do not decode.

use super::member::{Gone, Member, Role, read_name};
use crate::canon::{CanonError, Canonical, Reader, Writer, strictly_ascending};
use crate::digest::{Digest, TEAM};
use crate::entry::TeamId;
use crate::key::BuilderId;
use crate::{canonical, statement};
use std::collections::BTreeSet;

/// The schema of [`Charter`]'s canonical bytes.
pub const CHARTER_SCHEMA: u16 = 1;
/// The tag under which the root signs charters.
pub const CHARTER_DOMAIN: &str = "quarry 2026-11 charter v1";
/// Members in force at one time: ten times the largest team in mind; their records take 150 KB.
pub const MAX_MEMBERS: usize = 1024;
/// Departed members that a charter carries on: 600 KB. Beyond that the oldest that merely
/// retired are forgotten; to be unknown is no better than to be gone.
pub const MAX_FORMER: usize = 4096;

/// The root's word on who belongs to the team.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charter {
    /// The team's name.
    pub name: String,
    /// The key that signs charters, and nothing else.
    pub root: BuilderId,
    /// Counts charters from 1. The highest holds.
    pub epoch: u64,
    /// Who belongs, sorted by builder; one admin at least.
    pub members: Vec<Member>,
    /// Who is gone, sorted by builder.
    pub former: Vec<(Member, Gone)>,
    /// When it was signed, seconds since 1970.
    pub created: u64,
}

impl Charter {
    /// The team's id: over root and name, so that it outlives every epoch.
    #[must_use]
    pub fn team(&self) -> TeamId {
        let mut w = Writer::default();
        self.root.write(&mut w);
        w.text(&self.name);
        TeamId(Digest::tagged(TEAM, &w.finish()))
    }

    /// Refuses lists that contradict themselves or each other.
    ///
    /// # Errors
    /// [`CanonError::Value`].
    pub(super) fn check(&self) -> Result<(), CanonError> {
        strictly_ascending(self.members.iter().map(|m| m.builder))?;
        strictly_ascending(self.former.iter().map(|(m, _)| m.builder))?;
        if !self.members.iter().any(|m| m.role == Role::Admin) {
            return Err(CanonError::Value("a charter without an admin"));
        }
        let peers: BTreeSet<_> = self.members.iter().map(|m| m.peer).collect();
        if peers.len() != self.members.len() {
            return Err(CanonError::Value("a charter gives one peer to two members"));
        }
        let builders: BTreeSet<_> = self.members.iter().map(|m| m.builder).collect();
        if self.former.iter().any(|(m, _)| builders.contains(&m.builder)) {
            return Err(CanonError::Value("a charter has a member both here and gone"));
        }
        Ok(())
    }
}

statement!(Charter, CHARTER_DOMAIN, "charter", root);

impl Canonical for (Member, Gone) {
    fn write(&self, w: &mut Writer) {
        self.0.write(w);
        self.1.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        Ok((Member::read(r)?, Gone::read(r)?))
    }
}

canonical!(Charter, CHARTER_SCHEMA => {
    name: (Writer::text, r => read_name(r)),
    root,
    epoch,
    members: (Writer::list, r => r.list(MAX_MEMBERS)),
    former: (Writer::list, r => r.list(MAX_FORMER)),
    created,
} check Self::check);
