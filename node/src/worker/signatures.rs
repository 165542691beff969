//! Entries whose signatures held: each is verified once while the node lives, not at every hit.
//!
//! Enters: an entry as it was signed. Leaves: what verification made of these very bytes under
//! this very signature. Must never happen here: a verdict over who stands in the roster; that may
//! change, and is asked each time.

use quarry_trust::{Digest, Entry, SignedEntry, Verified};
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

    /// The entry, where its signature held before.
    pub(super) fn known(&self, signed: &SignedEntry) -> Option<Verified<Entry>> {
        self.lock().get(&Digest::of(&signed.to_wire())).cloned()
    }

    /// Remembers that it held.
    pub(super) fn held(&self, signed: &SignedEntry, entry: &Verified<Entry>) {
        let mut known = self.lock();
        if known.len() >= REMEMBERED {
            known.clear();
        }
        known.insert(Digest::of(&signed.to_wire()), entry.clone());
    }
}
