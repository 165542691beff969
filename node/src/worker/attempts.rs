//! Attempts to share what only its directories' names bind to a checkout: which are under way, and
//! which something disturbed.
//!
//! Who cleans a target directory, switches branches or suspends the machine while an entry is
//! compiled once more takes away what that needs. The next hit on the entry shows that all of it
//! is there again: so it is tried again then, [`TRIES`] times in all. Must never happen here: an
//! attempt that is under way forever, since who asks for what is shared waits for it.

use super::recheck::Second;
use quarry_trust::ActionKey;
use quarry_wrapper::invocation::Invocation;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often one entry is tried, at most.
const TRIES: u32 = 3;
/// Attempts that are remembered, at most; what is disturbed when there are more is given up.
const REMEMBERED: usize = 256;

/// By action.
#[derive(Default)]
pub struct Attempts {
    open: Mutex<HashMap<ActionKey, Attempt>>,
    ended: Condvar,
}

struct Attempt {
    /// How many were begun.
    begun: u32,
    /// What was disturbed and rests until a hit; none while it is under way.
    resting: Option<Second>,
    /// Who was served the entry since this attempt began.
    served: Option<Arc<Invocation>>,
}

impl Attempts {
    /// An entry was stored: what to compile, unless that is under way.
    pub fn begin(&self, second: Second) -> Option<Second> {
        match self.open().entry(second.entry.action) {
            Slot::Vacant(slot) => {
                slot.insert(Attempt {
                    begun: 1,
                    resting: None,
                    served: None,
                });
                Some(second)
            }
            Slot::Occupied(slot) => slot.into_mut().again(&second.inv),
        }
    }

    /// A hit happened: what to compile, where an attempt rests.
    pub fn served(&self, action: ActionKey, inv: &Arc<Invocation>) -> Option<Second> {
        self.open().get_mut(&action)?.again(inv)
    }

    /// An attempt ended, disturbed or not: what to compile at once, where the entry was served
    /// meanwhile.
    pub fn ended(&self, second: Second, disturbed: bool) -> Option<Second> {
        let action = second.entry.action;
        let mut open = self.open();
        let attempt = open.get_mut(&action)?;
        let served = attempt.served.take();
        if !disturbed || attempt.begun >= TRIES {
            open.remove(&action);
            drop(open);
            self.ended.notify_all();
            return None;
        }
        drop(open);
        self.rest(second);
        self.served(action, &served?)
    }

    /// It is not compiled now, but perhaps at the next hit.
    pub fn rest(&self, second: Second) {
        let action = second.entry.action;
        let mut open = self.open();
        if open.len() > REMEMBERED {
            open.remove(&action);
        } else if let Some(attempt) = open.get_mut(&action) {
            attempt.resting = Some(second);
        }
        drop(open);
        self.ended.notify_all();
    }

    /// Returns when none is under way, or after `most`. Blocks.
    pub fn wait(&self, most: Duration) {
        let under_way = |open: &mut HashMap<_, Attempt>| open.values().any(|a| a.resting.is_none());
        // Who asks has waited long enough either way.
        let _ = self.ended.wait_timeout_while(self.open(), most, under_way);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<ActionKey, Attempt>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Attempt {
    /// What is needed was there for `inv`.
    fn again(&mut self, inv: &Arc<Invocation>) -> Option<Second> {
        let Some(mut second) = self.resting.take() else {
            self.served = Some(inv.clone());
            return None;
        };
        self.begun += 1;
        second.inv = inv.clone();
        Some(second)
    }
}
