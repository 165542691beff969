//! What admins sign: changes of the membership, and freshness marks.
//!
//! Plain data in canonical bytes. Whether a signer may say it is decided in the chain.

use super::member::{Member, Role};
use super::project::{self, Project, TEAM_ITSELF};
use crate::canon::{CanonError, Reader, Writer};
use crate::digest::Digest;
use crate::entry::TeamId;
use crate::key::BuilderId;
use crate::{canonical, canonical_enum, statement};
use std::collections::BTreeSet;

/// The schema of the canonical bytes of changes and marks.
pub const CHANGE_SCHEMA: u16 = 1;
/// The tag under which admins sign changes.
pub const CHANGE_DOMAIN: &str = "quarry 2026-11 change v1";
/// The tag under which admins sign freshness marks.
pub const MARK_DOMAIN: &str = "quarry 2026-11 freshness mark v1";
/// Heads that one merge or mark names: every branch and every merge may end in one.
pub const MAX_HEADS: usize = 2 * super::chain::MAX_FORKS + 2;

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
    /// Ends the fork behind `prev`: the ends of its branches.
    Merge(BTreeSet<Digest>),
    /// Who sees a project, in place of whatever held before, and their new secret's digest.
    Project(String, Project),
}

impl Op {
    /// Whether it gives the same member a lower role than `other` does.
    pub(super) fn lowers(&self, other: &Self) -> bool {
        matches!((self, other), (Self::SetRole(a, low), Self::SetRole(b, high)) if a == b && low < high)
    }

    /// Whether it gives something: of a fork, that holds on no branch.
    pub(super) fn gives(&self) -> bool {
        match self {
            Self::Add(_) | Self::SetRole(..) => true,
            // The team's own secret is renewed by who merges.
            Self::Project(name, _) => name != TEAM_ITSELF,
            Self::Retire(_) | Self::Revoke(_) | Self::Merge(_) => false,
        }
    }
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

statement!(Change, CHANGE_DOMAIN, "change", signer);
statement!(FreshMark, MARK_DOMAIN, "freshness mark", signer);

// 4 was a merge that stood behind one of the heads; what it meant is not known here.
canonical_enum!(Op {
    0 => Add(member),
    1 => SetRole(builder, role),
    2 => Retire(builder),
    3 => Revoke(builder),
    5 => Merge(heads: (Writer::set, r => read_heads(r))),
    6 => Project(name: (Writer::text, r => project::read_name(r)), project),
} "an unknown change");
canonical!(Change, CHANGE_SCHEMA => { team, epoch, prev, at, signer, op });
canonical!(FreshMark, CHANGE_SCHEMA => {
    team, serial, at, signer, heads: (Writer::set, r => read_heads(r)),
});

fn read_heads(r: &mut Reader<'_>) -> Result<BTreeSet<Digest>, CanonError> {
    let heads = r.set(MAX_HEADS)?;
    if heads.is_empty() {
        return Err(CanonError::Value("an empty list of heads"));
    }
    Ok(heads)
}
