//! Entries whose signatures held: each is verified once while the node lives, not at every hit.
//!
//! Enters: an entry as it was signed. Leaves: what verification made of these very bytes under
//! this very signature. Must never happen here: a verdict over who stands in the roster; that may
//! change, and is asked each time.

use crate::team::Team;
use quarry_trust::verify::Source;
use quarry_trust::{ActionKey, Digest, Entry, LookupKey, Refusal, SignedEntry, Verified};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Entries that are remembered: some builds of the largest workspaces, at one or two KiB each.
const REMEMBERED: usize = 4096;

/// What was verified.
#[derive(Default)]
pub(super) struct Signatures(Mutex<HashMap<Digest, Verified<Entry>>>);

impl Signatures {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Verified<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The verdict over an entry, as [`Team::verify`]'s.
    ///
    /// # Errors
    /// The [`Refusal`] to count.
    pub(super) fn verify(
        &self,
        team: &Team,
        signed: &SignedEntry,
        source: Source,
        action: Option<&ActionKey>,
        lookup: Option<&LookupKey>,
    ) -> Result<Verified<Entry>, Refusal> {
        let digest = Digest::of(&signed.to_wire());
        let known = self.lock().get(&digest).cloned();
        if let Some(entry) = known {
            team.verify_again(&entry, source, action, lookup)?;
            return Ok(entry);
        }
        let entry = team.verify(signed, source, action, lookup)?;
        let mut known = self.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(digest, entry.clone());
        Ok(entry)
    }
}
