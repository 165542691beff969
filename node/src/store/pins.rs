//! Pins: objects that gc must not take while somebody holds them.
//!
//! Enters: a digest. Leaves: a [`Pin`] that holds it until dropped. In memory alone: a crash
//! drops all pins, which is right, since nobody holds anything then.

use quarry_trust::Digest;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The pinned digests of one store, with the number of holders of each.
#[derive(Debug, Clone, Default)]
pub(super) struct Pins(Arc<Mutex<HashMap<Digest, usize>>>);

impl Pins {
    pub(super) fn pin(&self, digest: Digest) -> Pin {
        *self.lock().entry(digest).or_insert(0) += 1;
        Pin {
            pins: self.clone(),
            digest,
        }
    }

    pub(super) fn holds(&self, digest: &Digest) -> bool {
        self.lock().contains_key(digest)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Digest, usize>> {
        // The map is never left half changed, so a holder's panic does not spoil it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps one object from gc while it lives.
#[derive(Debug)]
pub struct Pin {
    pins: Pins,
    digest: Digest,
}

impl Drop for Pin {
    fn drop(&mut self) {
        let mut held = self.pins.lock();
        if let Some(count) = held.get_mut(&self.digest) {
            *count -= 1;
            if *count == 0 {
                held.remove(&self.digest);
            }
        }
    }
}
