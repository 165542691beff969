//! Projects that are closed to some members, and the secrets under which keys are announced.
//!
//! Plain data in canonical bytes. A project is a name, its members and the digest of a secret
//! that they share: what they announce of it is digested under that secret, so that others see
//! noise. The team itself is the project without a name, whose members are all. Whoever ceases to
//! be a member knows the secret still: so the project is stale until an admin signs the digest of
//! a new one.

use super::member::check_name;
use crate::canon::{CanonError, Canonical, Reader, Writer};
use crate::digest::{Digest, Domain};
use crate::key::BuilderId;
use std::collections::BTreeSet;

/// Projects in force at one time, the team itself among them.
pub const MAX_PROJECTS: usize = 256;
/// The name of the project that is the whole team.
pub const TEAM_ITSELF: &str = "";
/// Under this tag the digest of a project's secret is taken.
const SECRET: Domain = Domain("quarry 2026-11 project secret v1");

/// Who sees a project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    /// Its members; of the team itself none is named.
    pub members: BTreeSet<BuilderId>,
    /// The [`secret_digest`] of the secret that they share; `None` before there was any.
    pub secret: Option<Digest>,
    /// Whether somebody knows the secret who must not any more. Never signed: computed.
    pub stale: bool,
}

/// What a roster holds of a secret: enough to know the right one, not enough to guess it.
#[must_use]
pub fn secret_digest(secret: &[u8; 32]) -> Digest {
    Digest::tagged(SECRET, secret)
}

impl Canonical for Project {
    fn write(&self, w: &mut Writer) {
        w.set(&self.members);
        w.option(self.secret.as_ref(), |w, d| d.write(w));
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        let members = r.set(super::MAX_MEMBERS)?;
        let secret = r.option(Digest::read)?;
        Ok(Self { members, secret, stale: false })
    }
}

pub(super) fn read_name(r: &mut Reader<'_>) -> Result<String, CanonError> {
    let name = r.text(super::MAX_MEMBER_NAME)?;
    if name != TEAM_ITSELF {
        check_name(&name)?;
    }
    Ok(name)
}
