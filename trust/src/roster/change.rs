//! What admins sign (changes of the membership, freshness marks) and what a leaving member signs.
//!
//! Plain data in canonical bytes. Whether a signer may say it is decided in the chain.

use super::member::{Member, Role};
use super::signed::Statement;
use crate::canon::{CanonError, Canonical, Reader, Writer, strictly_ascending};
use crate::digest::Digest;
use crate::entry::TeamId;
use crate::key::BuilderId;
use std::collections::BTreeSet;

/// The schema of the canonical bytes of changes, marks and departures.
pub const CHANGE_SCHEMA: u16 = 1;
/// The tag under which admins sign changes.
pub const CHANGE_DOMAIN: &str = "quarry 2026-11 change v1";
/// The tag under which admins sign freshness marks.
pub const MARK_DOMAIN: &str = "quarry 2026-11 freshness mark v1";
/// The tag under which a leaving member signs its departure.
pub const DEPARTURE_DOMAIN: &str = "quarry 2026-11 departure v1";
/// Heads that one merge or mark names: one more than the forks that a chain may have.
pub const MAX_HEADS: usize = super::chain::MAX_FORKS + 1;

/// What a change does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// A new member, or a retired one that comes back.
    Add(Member),
    /// Another role for a member.
    SetRole(BuilderId, Role),
    /// The member left: its peer is admitted no longer.
    Retire(BuilderId),
    /// The member is thrown out: besides, nothing that it signed counts.
    Revoke(BuilderId),
    /// Ends a fork: the other heads, beside the one that `prev` names.
    Merge(BTreeSet<Digest>),
}

/// One link of the chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// The team whose membership changes.
    pub team: TeamId,
    /// The epoch of the charter behind which it stands.
    pub epoch: u64,
    /// The link of the charter or change before it.
    pub prev: Digest,
    /// When it was signed, seconds since 1970.
    pub at: u64,
    /// The admin that signed.
    pub signer: BuilderId,
    /// What it does.
    pub op: Op,
}

/// An admin's word that, at that time, it knew of no more than these heads and what is behind
/// them. Outside the chain, so that two admins' marks do not fork it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FreshMark {
    /// The team.
    pub team: TeamId,
    /// Counts this signer's marks: the highest replaces the others, so that a mark by a clock
    /// that ran ahead can be taken back.
    pub serial: u64,
    /// When it was signed, seconds since 1970.
    pub at: u64,
    /// The admin that signed.
    pub signer: BuilderId,
    /// The heads of the chain: a roster that lacks one is refused with this mark, so that no old
    /// roster can be freshened.
    pub heads: BTreeSet<Digest>,
}

/// A member's word that it leaves: an admin turns it into [`Op::Retire`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The team that is left.
    pub team: TeamId,
    /// Who leaves, and signs.
    pub builder: BuilderId,
    /// When, seconds since 1970; never before the joining, so that an old departure does not
    /// undo a return.
    pub at: u64,
}

macro_rules! statement {
    ($name:ident, $domain:expr, $kind:literal, $signer:ident) => {
        impl Statement for $name {
            const DOMAIN: &'static str = $domain;
            const KIND: &'static str = $kind;

            fn signer(&self) -> BuilderId {
                self.$signer
            }
        }
    };
}

statement!(Change, CHANGE_DOMAIN, "change", signer);
statement!(FreshMark, MARK_DOMAIN, "freshness mark", signer);
statement!(Departure, DEPARTURE_DOMAIN, "departure", builder);

fn write_heads(w: &mut Writer, heads: &BTreeSet<Digest>) {
    w.count(heads.len());
    for head in heads {
        head.write(w);
    }
}

fn read_heads(r: &mut Reader<'_>) -> Result<BTreeSet<Digest>, CanonError> {
    let heads: Vec<Digest> = r.list(MAX_HEADS)?;
    if heads.is_empty() {
        return Err(CanonError::Value("an empty list of heads"));
    }
    strictly_ascending(heads.iter())?;
    Ok(heads.into_iter().collect())
}

fn read_schema(r: &mut Reader<'_>) -> Result<(), CanonError> {
    match r.u16()? {
        CHANGE_SCHEMA => Ok(()),
        other => Err(CanonError::Schema(other)),
    }
}

impl Canonical for Op {
    fn write(&self, w: &mut Writer) {
        match self {
            Self::Add(member) => {
                w.u8(0);
                member.write(w);
            }
            Self::SetRole(builder, role) => {
                w.u8(1);
                builder.write(w);
                role.write(w);
            }
            Self::Retire(builder) => {
                w.u8(2);
                builder.write(w);
            }
            Self::Revoke(builder) => {
                w.u8(3);
                builder.write(w);
            }
            Self::Merge(heads) => {
                w.u8(4);
                write_heads(w, heads);
            }
        }
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        match r.u8()? {
            0 => Member::read(r).map(Self::Add),
            1 => Ok(Self::SetRole(BuilderId::read(r)?, Role::read(r)?)),
            2 => BuilderId::read(r).map(Self::Retire),
            3 => BuilderId::read(r).map(Self::Revoke),
            4 => read_heads(r).map(Self::Merge),
            _ => Err(CanonError::Value("an unknown change")),
        }
    }
}

impl Canonical for Change {
    fn write(&self, w: &mut Writer) {
        w.u16(CHANGE_SCHEMA);
        self.team.write(w);
        w.u64(self.epoch);
        self.prev.write(w);
        w.u64(self.at);
        self.signer.write(w);
        self.op.write(w);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        read_schema(r)?;
        Ok(Self {
            team: TeamId::read(r)?,
            epoch: r.u64()?,
            prev: Digest::read(r)?,
            at: r.u64()?,
            signer: BuilderId::read(r)?,
            op: Op::read(r)?,
        })
    }
}

impl Canonical for FreshMark {
    fn write(&self, w: &mut Writer) {
        w.u16(CHANGE_SCHEMA);
        self.team.write(w);
        w.u64(self.serial);
        w.u64(self.at);
        self.signer.write(w);
        write_heads(w, &self.heads);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        read_schema(r)?;
        Ok(Self {
            team: TeamId::read(r)?,
            serial: r.u64()?,
            at: r.u64()?,
            signer: BuilderId::read(r)?,
            heads: read_heads(r)?,
        })
    }
}

impl Canonical for Departure {
    fn write(&self, w: &mut Writer) {
        w.u16(CHANGE_SCHEMA);
        self.team.write(w);
        self.builder.write(w);
        w.u64(self.at);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        read_schema(r)?;
        Ok(Self {
            team: TeamId::read(r)?,
            builder: BuilderId::read(r)?,
            at: r.u64()?,
        })
    }
}
