//! Members: a person's machine, with a name, a role, one peer and one builder.
//!
//! Plain data in canonical bytes. Names are printable and bounded, since they are shown in
//! terminals and logs: a name that could break a line or reorder its neighbours does not decode.

use super::error::RosterError;
use crate::canon::{CanonError, Reader, Writer};
use crate::key::{BuilderId, PeerId};
use crate::{canonical, canonical_enum};

/// Length of a member's or team's name in bytes: `user@host` fits.
pub const MAX_MEMBER_NAME: usize = 64;

/// What a member may do. The order is that of power: of two, the smaller is the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Uses what others built; its own entries count for nobody else.
    Reader,
    /// Its entries count.
    Builder,
    /// A builder that signs membership changes too.
    Admin,
}

impl Role {
    /// The word that people read and type.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Reader => "reader",
            Self::Builder => "builder",
            Self::Admin => "admin",
        }
    }
}

/// One member's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Member {
    /// For people: 1 to [`MAX_MEMBER_NAME`] printable bytes. Not unique.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// Who it is on the network. No two members in force share one.
    pub peer: PeerId,
    /// Under which key it signs.
    pub builder: BuilderId,
    /// When it joined, seconds since 1970 by the admin's clock. Information.
    pub joined: u64,
}

/// How somebody ceased to be a member. The greater is the stricter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gone {
    /// Left: what was verified from it before still counts.
    Retired,
    /// Thrown out: nothing that it signed counts.
    Revoked,
}

/// Refuses a name that is empty, too long, padded, or not printable on one line.
///
/// # Errors
/// [`CanonError::Limit`] or [`CanonError::Value`].
pub fn check_name(name: &str) -> Result<(), CanonError> {
    if name.len() > MAX_MEMBER_NAME {
        return Err(CanonError::Limit);
    }
    if name.is_empty() || name.trim() != name {
        return Err(CanonError::Value("it is empty, or begins or ends with a blank"));
    }
    // Besides control characters: the invisible ones, and those that turn the line's direction.
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}')
    };
    if name.chars().any(hidden) {
        return Err(CanonError::Value("it holds an unprintable character"));
    }
    Ok(())
}

/// As [`check_name`], for what people typed.
///
/// # Errors
/// [`RosterError::Name`].
pub fn check_typed(name: &str) -> Result<(), RosterError> {
    check_name(name).map_err(|error| {
        RosterError::Name(match error {
            CanonError::Value(what) => what,
            _ => "it is longer than 64 bytes",
        })
    })
}

pub(super) fn read_name(r: &mut Reader<'_>) -> Result<String, CanonError> {
    let name = r.text(MAX_MEMBER_NAME)?;
    check_name(&name)?;
    Ok(name)
}

canonical_enum!(Role { 0 => Reader, 1 => Builder, 2 => Admin } "an unknown role");
canonical_enum!(Gone { 0 => Retired, 1 => Revoked } "an unknown way to be gone");
canonical!(Member { name: (Writer::text, r => read_name(r)), role, peer, builder, joined });
