//! The roster as bytes: written, read whole and verified, and united with ours.
//!
//! The form is canonical: charter, changes in the chain's one order, marks by signer, and nothing
//! else. All of a wire is verified before any of it is used.

use super::Roster;
use super::chain::{Chain, MAX_CHANGES};
use super::change::{Change, FreshMark};
use super::charter::MAX_MEMBERS;
use super::error::RosterError;
use super::member::Gone;
use super::signed::Signed;
use crate::canon::{CanonError, Reader, Writer};
use crate::key::{BuilderId, PeerId};
use std::collections::{BTreeMap, BTreeSet};

/// The schema of a roster's bytes.
const WIRE_SCHEMA: u16 = 1;
/// Size of a roster's bytes: what a node keeps and sends on each new connection.
pub const MAX_WIRE: usize = 4 << 20;

/// What came of a union.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Merge {
    /// Whether we learnt anything: then it is to be stored and passed on.
    pub changed: bool,
    /// Builders that are revoked now and were not before.
    pub revoked: Vec<BuilderId>,
    /// Peers that were admitted before and are not now: to be disconnected.
    pub left: Vec<PeerId>,
    /// Whether the chain has an open fork now.
    pub forked: bool,
}

impl Roster {
    /// The bytes that are stored and sent: the same for all who know the same.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u16(WIRE_SCHEMA);
        self.chain.charter().write(&mut w);
        w.count(self.chain.changes().len());
        for change in self.chain.changes() {
            change.write(&mut w);
        }
        w.count(self.marks.len());
        for mark in self.marks.values() {
            mark.write(&mut w);
        }
        w.finish()
    }

    /// Reads a whole roster and verifies it to its first link. `expected_root` pins the root
    /// where one is known, from a ticket say: without it, any root is believed.
    ///
    /// # Errors
    /// [`RosterError`].
    pub fn from_wire(bytes: &[u8], expected_root: Option<&BuilderId>) -> Result<Self, RosterError> {
        Self::read(bytes, expected_root, None)
    }

    /// Unites what a peer knows with what we know. A wire that is not wholly valid is refused;
    /// one that lacks some of ours takes nothing away.
    ///
    /// # Errors
    /// [`RosterError`]; the roster is then as it was.
    pub fn merge(&mut self, wire: &[u8]) -> Result<Merge, RosterError> {
        if wire == self.to_wire() {
            let forked = self.fork().is_some();
            return Ok(Merge { forked, ..Merge::default() });
        }
        let theirs = Self::read(wire, Some(&self.root()), Some(self))?;
        let (here, there) = (self.chain.charter(), theirs.chain.charter());
        if self.team() != theirs.team() {
            return Err(RosterError::OtherTeam);
        }
        if there.epoch < here.epoch {
            return Err(RosterError::Rollback { ours: here.epoch, theirs: there.epoch });
        }
        let united = if there.epoch > here.epoch {
            theirs
        } else if **here != **there {
            return Err(RosterError::CharterConflict(here.epoch));
        } else {
            let changes = self.chain.changes().iter().chain(theirs.chain.changes()).cloned();
            let chain = Chain::new(here.clone(), changes)?;
            let mut marks = self.marks.clone();
            for (signer, mark) in theirs.marks {
                let order = |m: &Signed<FreshMark>| (m.serial, m.link());
                if marks.get(&signer).is_none_or(|ours| order(ours) < order(&mark)) {
                    marks.insert(signer, mark);
                }
            }
            Self::assemble(chain, marks)?.bounded()?
        };
        let merge = self.compare(&united);
        *self = united;
        Ok(merge)
    }

    /// What is different in `next`.
    fn compare(&self, next: &Self) -> Merge {
        let revoked = |r: &Self| -> BTreeSet<BuilderId> {
            r.former().filter(|(_, g)| *g == Gone::Revoked).map(|(m, _)| m.builder).collect()
        };
        let peers = |r: &Self| -> BTreeSet<PeerId> { r.members().map(|m| m.peer).collect() };
        Merge {
            changed: self.to_wire() != next.to_wire(),
            revoked: revoked(next).difference(&revoked(self)).copied().collect(),
            left: peers(self).difference(&peers(next)).copied().collect(),
            forked: next.fork().is_some(),
        }
    }

    /// Refuses to grow beyond what others would read.
    pub(super) fn bounded(self) -> Result<Self, RosterError> {
        if self.to_wire().len() > MAX_WIRE { Err(RosterError::Full("bytes")) } else { Ok(self) }
    }

    fn read(
        bytes: &[u8],
        expected_root: Option<&BuilderId>,
        ours: Option<&Self>,
    ) -> Result<Self, RosterError> {
        if bytes.len() > MAX_WIRE {
            return Err(CanonError::Limit.into());
        }
        let mut r = Reader::new(bytes);
        r.schema(WIRE_SCHEMA)?;
        let charter = Signed::read(&mut r, |c| ours.is_some_and(|o| o.chain.charter() == c))?;
        if expected_root.is_some_and(|root| *root != charter.root) {
            return Err(RosterError::OtherRoot(charter.root));
        }
        // What is here already was verified, and is not verified on every connection again.
        let mut changes: Vec<Signed<Change>> = Vec::new();
        for _ in 0..r.count(MAX_CHANGES)? {
            changes.push(Signed::read(&mut r, |c| ours.is_some_and(|o| o.chain.holds(c)))?);
        }
        let mut marks: BTreeMap<BuilderId, Signed<FreshMark>> = BTreeMap::new();
        for _ in 0..r.count(MAX_MEMBERS)? {
            let mark = Signed::read(&mut r, |m: &Signed<FreshMark>| {
                ours.is_some_and(|o| o.marks.get(&m.signer) == Some(m))
            })?;
            if mark.team != charter.team() {
                return Err(RosterError::OtherTeam);
            }
            marks.insert(mark.signer, mark);
        }
        r.finish()?;
        let roster = Self::assemble(Chain::new(charter, changes)?, marks)?;
        if roster.to_wire() != bytes {
            return Err(CanonError::Value(
                "a roster out of order, or with a mark that does not hold",
            )
            .into());
        }
        Ok(roster)
    }
}

#[cfg(test)]
#[path = "wire_tests.rs"]
mod tests;
