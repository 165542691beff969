//! Turns: what takes a while is not done twice at once.
//!
//! Enters: what it is done with. Leaves: the right to do it, once nobody else does. Must never
//! happen here: a turn that outlives its holder.

use std::collections::HashSet;
use std::hash::Hash;
use std::sync::{Condvar, Mutex, PoisonError};
use std::time::Instant;

/// Who does what.
pub struct Turns<K> {
    taken: Mutex<HashSet<K>>,
    free: Condvar,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self {
            taken: Mutex::default(),
            free: Condvar::new(),
        }
    }
}

/// Held while it is done.
pub struct Turn<'a, K: Eq + Hash> {
    turns: &'a Turns<K>,
    of: K,
}

impl<K: Eq + Hash + Copy> Turns<K> {
    /// Waits while somebody else does the same; `None` where that lasts beyond the deadline.
    pub fn take(&self, of: K, deadline: Instant) -> Option<Turn<'_, K>> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        while !taken.insert(of) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return None;
            }
            let free = self.free.wait_timeout(taken, left);
            taken = free.unwrap_or_else(PoisonError::into_inner).0;
        }
        Some(Turn { turns: self, of })
    }
}

impl<K: Eq + Hash> Drop for Turn<'_, K> {
    fn drop(&mut self) {
        let taken = self.turns.taken.lock();
        taken
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.of);
        self.turns.free.notify_all();
    }
}
