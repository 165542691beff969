//! Builders that contradict each other: told once, counted, and never taken for granted.
//!
//! Enters: verified entries for one action. Leaves: a sentence that names both builders; the first
//! time also an alarm for `doctor`, a line in the log and a count. Must never happen here: a
//! verdict about who is right.

use crate::service::counters::Counters;
use crate::team::Team;
use quarry_trust::policy::disagreement;
use quarry_trust::{BuilderId, Digest, Entry, Verified};
use std::collections::HashSet;
use std::sync::{Mutex, PoisonError};

/// Contradictions that are remembered as told, at most; then all may be told again.
const TOLD_MAX: usize = 10_000;

/// What was told already, by action and both builders.
#[derive(Default)]
pub struct Disputes(Mutex<HashSet<(Digest, BuilderId, BuilderId)>>);

impl Disputes {
    /// The contradiction among these entries, in words, where there is one.
    pub fn among(
        &self,
        entries: &[&Verified<Entry>],
        team: &Team,
        counters: &Counters,
    ) -> Option<String> {
        let (one, other) = disagreement(entries)?;
        let (one, other) = (entries[one], entries[other]);
        let name = |entry: &Entry| {
            let name = team.builder_name(&entry.builder);
            let key = &entry.builder.to_hex()[..16];
            name.map_or_else(|| key.to_owned(), |name| format!("{name} ({key})"))
        };
        let text = format!(
            "{} and {} signed different results for {} (action {}): either one of them is wrong, \
             or the compile depends on what its key does not hold. `qnode purge --builder` removes \
             what one of them signed",
            name(one),
            name(other),
            one.crate_name,
            one.action
        );
        let (low, high) = (
            one.builder.min(other.builder),
            one.builder.max(other.builder),
        );
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.len() >= TOLD_MAX {
            told.clear();
        }
        if told.insert((one.action.digest(), low, high)) {
            tracing::error!("{text}");
            counters.disagreed(text.clone());
        }
        Some(text)
    }
}
