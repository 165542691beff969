//! Members as people name them: by any unambiguous beginning.
//!
//! Enters: a roster, what was typed. Leaves: the one member that is meant. Must never happen here:
//! a guess.

use crate::swarm::identity::display;
use quarry_trust::roster::{Gone, Member, Roster};
use thiserror::Error;

/// Names that an ambiguous prefix lists: a line's worth.
pub const FIND_SHOWN: usize = 5;
/// What is at least so long may be the beginning of a key, even where it is somebody's name.
pub const KEY_LIKE: usize = 4;

/// Why [`Find::find`] names nobody.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum FindError {
    /// No member begins like that.
    #[error("no member's name, peer or builder begins with {0:?}; see `qnode members`")]
    NotFound(String),
    /// Several members begin like that.
    #[error("{prefix:?} could be {}; give more of the name, peer or builder", names.join(", "))]
    Ambiguous {
        /// What was asked.
        prefix: String,
        /// Some of those that match, by name: at most [`FIND_SHOWN`].
        names: Vec<String>,
    },
}

/// Finding a member by what people type.
pub trait Find {
    /// The member in force whose whole name is `prefix`, or the only one whose name, peer (as
    /// it is printed, or in hexadecimal) or builder (in hexadecimal) begins with it.
    ///
    /// # Errors
    /// [`FindError`].
    fn find(&self, prefix: &str) -> Result<&Member, FindError>;

    /// Those that left or were thrown out who are called exactly `prefix`, or else those whose
    /// name or keys begin with it.
    fn find_former(&self, prefix: &str) -> Vec<(&Member, Gone)>;
}

/// That `prefix` could be any of `found`.
pub fn ambiguous<'a>(prefix: &str, found: impl Iterator<Item = &'a Member>) -> FindError {
    let names = found.take(FIND_SHOWN);
    let names = names.map(|m| format!("{} ({})", m.name, &m.builder.to_hex()[..8]));
    FindError::Ambiguous {
        prefix: prefix.into(),
        names: names.collect(),
    }
}

/// Whether a key of `member`, as it is printed or in hexadecimal, begins with `prefix`.
pub fn has_key(member: &Member, prefix: &str) -> bool {
    let keys = [
        member.peer.to_hex(),
        member.builder.to_hex(),
        display(&member.peer),
    ];
    keys.iter().any(|key| key.starts_with(prefix))
}

impl Find for Roster {
    fn find(&self, prefix: &str) -> Result<&Member, FindError> {
        let is_named = |m: &&Member| m.name == prefix;
        let has_key = |m: &&Member| has_key(m, prefix);
        let mut found: Vec<&Member> = self.members().filter(is_named).collect();
        if prefix.len() >= KEY_LIKE {
            // A name that is the beginning of a key must not stand in that key's place.
            let others = self.members().filter(has_key);
            found.extend(others.filter(|m| m.name != prefix));
        }
        if found.is_empty() && !prefix.is_empty() {
            let fits = |m: &&Member| m.name.starts_with(prefix) || has_key(m);
            found = self.members().filter(fits).collect();
        }
        if found.len() > 1 {
            return Err(ambiguous(prefix, found.into_iter()));
        }
        found
            .first()
            .copied()
            .ok_or_else(|| FindError::NotFound(prefix.into()))
    }

    fn find_former(&self, prefix: &str) -> Vec<(&Member, Gone)> {
        let mut found: Vec<_> = self.former().filter(|(m, _)| m.name == prefix).collect();
        if found.is_empty() && !prefix.is_empty() {
            let fits = |m: &Member| m.name.starts_with(prefix) || has_key(m, prefix);
            found = self.former().filter(|(m, _)| fits(m)).collect();
        }
        found
    }
}

#[cfg(test)]
#[path = "find_tests.rs"]
mod tests;
