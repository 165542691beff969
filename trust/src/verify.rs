//! Entry × roster × policy → verdict.
//!
//! [`Verifier::entry`] is the only door through which an entry becomes believed: it checks the
//! signature, the canonical form, that the entry is for the key that was asked, that its scope
//! is ours, and that its builder stands in the roster now. What comes out is a
//! [`Verified<Entry>`], which nothing else can make.

use crate::canon::{CanonError, Canonical};
use crate::digest::{ActionKey, LookupKey};
use crate::entry::{ENTRY_DOMAIN, Entry, MAX_ENTRY_BYTES, Scope, SignedEntry};
use crate::key::BuilderId;
use crate::roster::{Roster, Standing};
use std::ops::Deref;
use thiserror::Error;

/// A value that verification vouched for. The field is private and this module has the only
/// constructor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified<T>(T);

impl<T> Deref for Verified<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.0
    }
}

/// Why an entry, an object or an answer is not believed. Each is counted under [`Refusal::name`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Refusal {
    /// The signature does not hold over the bytes.
    #[error("the signature does not hold")]
    Unsigned,
    /// The builder is not in the roster, or the roster's freshness mark is too old.
    #[error("the builder is not trusted: {0}")]
    Untrusted(&'static str),
    /// The builder was revoked.
    #[error("the builder was revoked")]
    Revoked,
    /// Not the form or the digest that was promised.
    #[error("corrupt: {0}")]
    Corrupt(&'static str),
    /// Larger than its limit, or than it said.
    #[error("larger than its limit")]
    Oversize,
    /// A true entry, but for another key than was asked.
    #[error("it is for another key")]
    Misplaced,
}

impl Refusal {
    /// The counter's name in `stats` under `rejected`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Untrusted(_) => "untrusted",
            Self::Revoked => "revoked",
            Self::Corrupt(_) => "corrupt",
            Self::Oversize => "oversize",
            Self::Misplaced => "misplaced",
        }
    }
}

impl From<CanonError> for Refusal {
    fn from(error: CanonError) -> Self {
        match error {
            CanonError::Limit => Self::Oversize,
            CanonError::Short => Self::Corrupt("the bytes end inside a field"),
            CanonError::Trailing => Self::Corrupt("bytes follow the last field"),
            CanonError::Value(what) => Self::Corrupt(what),
            CanonError::Schema(_) => Self::Corrupt("an unknown schema"),
        }
    }
}

/// Where an entry lies while its verdict is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// In our own store: it was verified when it was put there.
    Store,
    /// On its way from a peer.
    Peer,
}

/// Everything a verdict depends on: ourselves, the roster, the time.
#[derive(Debug, Clone, Copy)]
pub struct Verifier<'a> {
    /// Our own builder: believed for private entries, and in a team by its standing.
    pub own: BuilderId,
    /// The team's roster, where there is one.
    pub roster: Option<&'a Roster>,
    /// Seconds since 1970, for the freshness mark.
    pub now: u64,
}

impl Verifier<'_> {
    /// Believes an entry, or says why not. `action` and `lookup` are the keys that were asked;
    /// `None` where that key was not the question.
    ///
    /// # Errors
    /// The [`Refusal`] that is to be counted.
    pub fn entry(
        &self,
        signed: &SignedEntry,
        source: Source,
        action: Option<&ActionKey>,
        lookup: Option<&LookupKey>,
    ) -> Result<Verified<Entry>, Refusal> {
        if signed.bytes.len() > MAX_ENTRY_BYTES {
            return Err(Refusal::Oversize);
        }
        let entry = Entry::from_canon(&signed.bytes)?;
        if !entry.builder.verifies(ENTRY_DOMAIN, &signed.bytes, &signed.signature) {
            return Err(Refusal::Unsigned);
        }
        self.again(&entry, source, action, lookup)?;
        Ok(Verified(entry))
    }

    /// The verdict over an entry whose signature held before: all that can change since.
    ///
    /// # Errors
    /// The [`Refusal`] that is to be counted.
    pub fn again(
        &self,
        entry: &Entry,
        source: Source,
        action: Option<&ActionKey>,
        lookup: Option<&LookupKey>,
    ) -> Result<(), Refusal> {
        if action.is_some_and(|k| *k != entry.action) || lookup.is_some_and(|k| *k != entry.lookup)
        {
            return Err(Refusal::Misplaced);
        }
        let own = entry.builder == self.own;
        let untrusted = |why| Err(Refusal::Untrusted(why));
        let roster = match (entry.scope, self.roster) {
            // What we compiled for ourselves, or for a project, whoever else may see it now.
            (Scope::Private, _) if own => return Ok(()),
            (Scope::Project(..), _) if own && source == Source::Store => return Ok(()),
            (Scope::Private, _) => return untrusted("a private entry of another node"),
            (_, None) => return untrusted("this node is in no team"),
            (_, Some(roster)) => roster,
        };
        if entry.scope.team() != Some(roster.team()) {
            return untrusted("an entry of another team");
        }
        match roster.standing(&entry.builder) {
            Standing::Revoked => return Err(Refusal::Revoked),
            // What a retired builder signed counts where it was verified before the retirement
            // arrived, which is what lies in our own store.
            Standing::Retired if source == Source::Store => {}
            Standing::Unknown | Standing::Retired => return untrusted("no builder of the roster"),
            Standing::Stands if own || roster.is_fresh(self.now) => {}
            Standing::Stands => return untrusted("the roster's freshness mark is too old"),
        }
        if !roster.sees(&self.own, &entry.scope) {
            return untrusted("a scope that this node is not in");
        }
        // Only who may see a project may sign for it; what was verified before stays.
        if source == Source::Peer && !roster.sees(&entry.builder, &entry.scope) {
            return untrusted("its builder is not in its scope");
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "verify_tests.rs"]
mod tests;
