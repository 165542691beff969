//! A member changes its keys: the old key signs for the new one, the new ones prove themselves.
//!
//! Enters: keys, or bytes that a peer passed on. Leaves: a [`Rotation`] whose three signatures
//! hold, and what an admin makes of it: ordinary changes of the chain, which alone count. Must
//! never happen here: I/O, a clock, a right that the old key did not have.

use crate::taking::take_away;
use quarry_trust::canon::{Canonical, Reader, Writer};
use quarry_trust::key::{SIGNATURE_LEN, Signature};
use quarry_trust::roster::{Op, Project, Roster, RosterError};
use quarry_trust::{BuilderId, BuilderKey, Member, PeerId, TeamId, canonical};
use std::collections::BTreeSet;

/// The schema of a rotation's bytes, and its kind among the words that travel with rosters (a
/// departure's first two bytes say 1).
pub const ROTATION_SCHEMA: u16 = 2;
/// The tag under which the old builder key signs.
const OLD_DOMAIN: &str = "quarry 2026-11 rotation v1";
/// The tag under which the new keys, builder and peer, sign.
const NEW_DOMAIN: &str = "quarry 2026-11 rotation proof v1";

/// What a member says of its keys.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Said {
    team: TeamId,
    old: BuilderId,
    new: BuilderId,
    peer: PeerId,
    at: u64,
    compromised: bool,
    last: bool,
}

/// A member's word that it signs as `new` and speaks as `peer` from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rotation {
    said: Said,
    by_old: Signature,
    by_new: Signature,
    by_peer: Signature,
}

/// The keys that a rotation is made of.
pub struct Keys<'a> {
    /// Under which the member signs now.
    pub old: &'a BuilderKey,
    /// Under which it will sign.
    pub new: &'a BuilderKey,
    /// As whom it will speak: the peer key of today, or a new one.
    pub peer: &'a BuilderKey,
}

canonical!(Said, ROTATION_SCHEMA => { team, old, new, peer, at, compromised, last });

impl Rotation {
    /// Signs that a member of `team` rotates. `last` is whether the old key may go: not yet where
    /// the peer changes too, since the old peer must hear that the new one is in. With
    /// `compromised` nothing that the old key signed shall count.
    #[must_use]
    pub fn new(team: TeamId, keys: &Keys<'_>, at: u64, compromised: bool, last: bool) -> Self {
        let said = Said {
            team,
            old: keys.old.id(),
            new: keys.new.id(),
            peer: PeerId(keys.peer.id().0),
            at,
            compromised,
            last,
        };
        let bytes = said.to_canon();
        Self {
            by_old: keys.old.sign(OLD_DOMAIN, &bytes),
            by_new: keys.new.sign(NEW_DOMAIN, &bytes),
            by_peer: keys.peer.sign(NEW_DOMAIN, &bytes),
            said,
        }
    }

    /// Whose key goes.
    #[must_use]
    pub const fn old(&self) -> BuilderId {
        self.said.old
    }

    /// Which key comes.
    #[must_use]
    pub const fn new_builder(&self) -> BuilderId {
        self.said.new
    }

    /// As whom the member will speak.
    #[must_use]
    pub const fn peer(&self) -> PeerId {
        self.said.peer
    }

    /// Whether the old key may go.
    #[must_use]
    pub const fn is_last(&self) -> bool {
        self.said.last
    }

    /// The bytes that are kept and sent.
    #[must_use]
    pub fn to_wire(&self) -> Vec<u8> {
        let mut w = Writer::default();
        self.said.write(&mut w);
        for signature in [&self.by_old, &self.by_new, &self.by_peer] {
            w.fixed(&signature.0);
        }
        w.finish()
    }

    /// Reads and verifies.
    ///
    /// # Errors
    /// [`RosterError::Form`], [`RosterError::Signature`].
    pub fn from_wire(wire: &[u8]) -> Result<Self, RosterError> {
        let mut r = Reader::new(wire);
        let said = Said::read(&mut r)?;
        let mut signature = || r.array::<SIGNATURE_LEN>().map(Signature);
        let (by_old, by_new, by_peer) = (signature()?, signature()?, signature()?);
        r.finish()?;
        let bytes = said.to_canon();
        // A peer key is an ed25519 key like any other; the tag keeps the uses apart.
        let holds = said.old.verifies(OLD_DOMAIN, &bytes, &by_old)
            && said.new.verifies(NEW_DOMAIN, &bytes, &by_new)
            && BuilderId(said.peer.0).verifies(NEW_DOMAIN, &bytes, &by_peer);
        if !holds {
            return Err(RosterError::Signature("rotation"));
        }
        Ok(Self {
            said,
            by_old,
            by_new,
            by_peer,
        })
    }

    /// Makes it part of the chain, as an admin: the new key is added with the old one's name and
    /// role, and the old one retired (or revoked). Where the old key is gone already nothing
    /// changes.
    ///
    /// # Errors
    /// [`RosterError`]; apply it to a copy.
    pub fn apply(
        &self,
        roster: &mut Roster,
        admin: &BuilderKey,
        now: u64,
    ) -> Result<(), RosterError> {
        let said = &self.said;
        if said.team != roster.team() {
            return Err(RosterError::OtherTeam);
        }
        let Some(old) = roster.member_by_builder(&said.old).cloned() else {
            return Ok(());
        };
        if said.at < old.joined {
            return Err(RosterError::StaleDeparture(said.old));
        }
        let end = match said.compromised {
            true => Op::Revoke(said.old),
            false => Op::Retire(said.old),
        };
        let there = roster.member_by_builder(&said.new);
        match there.map(|m| m.peer == said.peer) {
            Some(true) if said.last => take_away(roster, end, admin, now),
            Some(true) => Ok(()),
            Some(false) => Err(RosterError::AlreadyMember(said.new)),
            None => {
                let projects = projects_of(roster, &said.old);
                if said.last {
                    roster.propose(end, admin, now)?;
                }
                let renewed = Member {
                    peer: said.peer,
                    builder: said.new,
                    joined: now,
                    ..old
                };
                roster.propose(Op::Add(renewed), admin, now)?;
                for (name, mut members) in projects {
                    members.retain(|m| roster.member_by_builder(m).is_some());
                    members.insert(said.new);
                    // Without a secret it is stale, and is given one with the next change.
                    let project = Project {
                        members,
                        ..Project::default()
                    };
                    roster.propose(Op::Project(name, project), admin, now)?;
                }
                Ok(())
            }
        }
    }
}

/// The closed projects that a member is in, with all their members.
fn projects_of(roster: &Roster, member: &BuilderId) -> Vec<(String, BTreeSet<BuilderId>)> {
    let of = |(name, project): (&str, &Project)| (name.to_owned(), project.members.clone());
    let all = roster.projects().map(of);
    all.filter(|(_, members)| members.contains(member))
        .collect()
}

#[cfg(test)]
#[path = "rotation_tests.rs"]
mod tests;
