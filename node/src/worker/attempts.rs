//! Attempts to share what only its directories' names bind to a checkout: which are under way, and
//! which something disturbed.
//!
//! Who cleans a target directory, switches branches or suspends the machine while an entry is
//! compiled once more takes away what that needs. The next hit on the entry shows that all of it
//! is there again: so it is tried again then, [`TRIES`] times in all. Must never happen here: an
//! attempt that is under way forever, since who asks for what is shared waits for it; an entry
//! that is shared with others than it was stored for.

use super::recheck::{Purpose, Second};
use quarry_trust::{ActionKey, Entry, Scope};
use quarry_wrapper::invocation::Invocation;
use std::collections::HashMap;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How often one entry is tried, at most.
const TRIES: u32 = 2;
/// Attempts that rest, at most; one of them is given up for the next.
const RESTING_MAX: usize = 256;

/// As the store tells a node's own entries apart.
type Key = (ActionKey, Option<u16>);

/// Attempts by entry.
#[derive(Default)]
pub struct Attempts {
    open: Mutex<HashMap<Key, Attempt>>,
    ended: Condvar,
}

#[derive(Default)]
struct Attempt {
    /// How many were begun since the entry was stored.
    begun: u32,
    /// How many wait or are at work.
    under_way: u32,
    /// What was disturbed, until a hit.
    resting: Option<Second>,
    /// Who was served the entry since the last one began to work.
    served: Option<Arc<Invocation>>,
}

impl Attempts {
    /// An entry was stored, and what compiles it once more is about to wait for its turn.
    pub fn begins(&self, second: &Second) {
        let mut open = self.open();
        let attempt = open.entry(key(&second.entry)).or_default();
        attempt.under_way += 1;
        (attempt.begun, attempt.resting) = (1, None);
    }

    /// It is at work from now on.
    pub fn works(&self, second: &Second) {
        if let Some(attempt) = self.open().get_mut(&key(&second.entry)) {
            attempt.served = None;
        }
    }

    /// A hit happened for these: what to compile, where an attempt rests.
    pub fn served(&self, entry: &Entry, inv: &Arc<Invocation>, scope: Scope) -> Option<Second> {
        let mut open = self.open();
        let attempt = open.get_mut(&key(entry))?;
        if attempt.under_way > 0 {
            attempt.served = Some(inv.clone());
            return None;
        }
        let mut second = attempt.resting.take()?;
        if second.purpose != Purpose::Loosen(scope) {
            open.remove(&key(entry));
            return None;
        }
        second.inv = inv.clone();
        attempt.begun += 1;
        attempt.under_way += 1;
        Some(second)
    }

    /// An attempt ended, disturbed or not: what to compile at once, where the entry was served
    /// meanwhile.
    pub fn ended(&self, mut second: Second, disturbed: bool) -> Option<Second> {
        let key = key(&second.entry);
        let mut open = self.open();
        let attempt = open.get_mut(&key)?;
        let again = disturbed && attempt.under_way == 1 && attempt.begun < TRIES;
        if again && let Some(inv) = attempt.served.take() {
            second.inv = inv;
            attempt.begun += 1;
            return Some(second);
        }
        if again {
            self.rests(open, second);
        } else {
            attempt.under_way -= 1;
            if attempt.under_way == 0 {
                open.remove(&key);
            }
            self.ended.notify_all();
        }
        None
    }

    /// Too many wait: it is not compiled now, but perhaps at the next hit.
    pub fn put_off(&self, second: Second) {
        let mut open = self.open();
        if let Some(attempt) = open.get_mut(&key(&second.entry)) {
            attempt.begun = attempt.begun.saturating_sub(1);
            self.rests(open, second);
        }
    }

    fn rests(&self, mut open: MutexGuard<'_, HashMap<Key, Attempt>>, second: Second) {
        let all = open.iter().filter(|(_, attempt)| attempt.under_way == 0);
        let (count, given_up) = (all.clone().count(), all.map(|(key, _)| *key).next());
        if let Some(key) = given_up.filter(|_| count >= RESTING_MAX) {
            open.remove(&key);
        }
        if let Some(attempt) = open.get_mut(&key(&second.entry)) {
            attempt.under_way -= 1;
            (attempt.resting, attempt.served) = (Some(second), None);
        }
        drop(open);
        self.ended.notify_all();
    }

    /// Returns when none is under way, or after `most`. Blocks.
    pub fn wait(&self, most: Duration) {
        let under_way = |open: &mut HashMap<_, Attempt>| open.values().any(|a| a.under_way > 0);
        // Who asks has waited long enough either way.
        let _ = self.ended.wait_timeout_while(self.open(), most, under_way);
    }

    fn open(&self) -> MutexGuard<'_, HashMap<Key, Attempt>> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

const fn key(entry: &Entry) -> Key {
    (entry.action, entry.width)
}

#[cfg(test)]
#[path = "attempts_tests.rs"]
mod tests;
