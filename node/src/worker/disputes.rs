//! Builders that contradict each other: told once, counted, and never taken for granted.
//!
//! Enters: verified entries for one action. Leaves: a sentence that names both builders; the first
//! time also an alarm for `doctor`, a line in the log and a count. Must never happen here: a
//! verdict about who is right.

use crate::service::counters::Counters;
use crate::team::Team;
use quarry_trust::policy::agree;
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
        let (one, other) = contradiction(entries)?;
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

/// The first two entries in which builders contradict each other about one action.
fn contradiction<'e>(
    entries: &[&'e Verified<Entry>],
) -> Option<(&'e Verified<Entry>, &'e Verified<Entry>)> {
    let pairs = (0..entries.len()).flat_map(|b| (0..b).map(move |a| (a, b)));
    let mut pairs = pairs.map(|(a, b)| (entries[a], entries[b]));
    pairs.find(|(a, b)| contradict(a, b))
}

/// Whether two builders say different things of one action. For terminals of different widths
/// messages are different, and nothing is said against that.
fn contradict(one: &Entry, other: &Entry) -> bool {
    let one_question = one.action == other.action && one.width == other.width;
    one_question && one.builder != other.builder && !agree(one, other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_trust::{ActionKey, LookupKey, ObjectRef, Scope};

    fn entry(who: u8, said: &[u8]) -> Entry {
        let object = |bytes: &[u8]| ObjectRef {
            digest: Digest::of(bytes),
            size: 1,
        };
        Entry {
            scope: Scope::Private,
            builder: BuilderId([who; 32]),
            lookup: LookupKey::of(b"lookup"),
            action: ActionKey::of(b"action"),
            description: object(b"description"),
            crate_name: "demo".into(),
            outputs: Vec::new(),
            stdout: object(said),
            stderr: object(b"err"),
            width: Some(80),
            duration_ms: 7,
            created: 7,
        }
    }

    #[test]
    fn a_contradiction_is_one_between_builders_about_one_question() {
        let alice = entry(1, b"this");
        assert!(contradict(&alice, &entry(2, b"that")));
        assert!(!contradict(&alice, &entry(2, b"this")));
        assert!(
            !contradict(&alice, &entry(1, b"that")),
            "her own later word"
        );
        let wide = Entry {
            width: Some(120),
            ..entry(2, b"that")
        };
        assert!(!contradict(&alice, &wide), "another terminal's messages");
        let other = Entry {
            action: ActionKey::of(b"other"),
            ..entry(2, b"that")
        };
        assert!(!contradict(&alice, &other));
    }
}
