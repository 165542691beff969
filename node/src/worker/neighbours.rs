//! What was put in place after what, so that a teammate's build need not ask for each by itself.
//!
//! Enters: an action, the journal. Leaves: the actions that the same target directory was given
//! after it, the newest of each unit, in the order of their last use. Must never happen here: a
//! verdict about who may see an entry; two walks through the journal at once.

use crate::store::{Placed, Store};
use quarry_trust::{ActionKey, Digest};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

/// Rows of the journal that are kept in order, the newest: some forty builds of 500 crates.
const ROWS_MAX: usize = 20_000;
/// What was read out of the journal is used for so long.
const FRESH: Duration = Duration::from_secs(30);
/// An action that is not among it is looked for in the journal again after so long.
const AGAIN: Duration = Duration::from_secs(2);
/// Neighbours of one action, at most.
const NEXT_MAX: usize = 64;

/// One unit in one target directory.
#[derive(Debug, Clone, Copy)]
struct Row {
    place: u64,
    unit: u64,
    at: u64,
    action: ActionKey,
}

impl Row {
    fn of(placed: &Placed) -> Self {
        let name = placed.files.first().map_or("", |(name, _)| name.as_str());
        let unit = [placed.dir.as_str(), name].join("\0");
        Self {
            place: Digest::of(place(&placed.dir).as_bytes()).short(),
            unit: Digest::of(unit.as_bytes()).short(),
            at: placed.at,
            action: placed.action,
        }
    }
}

/// The profile's directory, in which cargo gives each kind of unit one of its own.
fn place(dir: &str) -> &str {
    let kinds = ["/deps", "/examples", "/build/"];
    let at = kinds.iter().filter_map(|kind| dir.rfind(kind)).max();
    at.map_or(dir, |at| &dir[..at])
}

/// The journal in order.
struct Known {
    read: Instant,
    rows: Vec<Row>,
    /// Where each action was put last.
    last: HashMap<ActionKey, usize>,
}

impl Known {
    fn read(store: &dyn Store) -> Self {
        let mut rows = Vec::new();
        if let Err(error) = store.each_placed(None, &mut |placed| rows.push(Row::of(&placed))) {
            tracing::debug!(%error, "the journal was not read to its end");
        }
        Self::of(rows)
    }

    fn of(mut rows: Vec<Row>) -> Self {
        rows.sort_unstable_by_key(|row| std::cmp::Reverse(row.at));
        let mut met = HashSet::new();
        rows.retain(|row| met.insert((row.place, row.unit)));
        rows.truncate(ROWS_MAX);
        rows.sort_unstable_by_key(|row| (row.place, row.at));
        let mut last: HashMap<ActionKey, usize> = HashMap::new();
        for (index, row) in rows.iter().enumerate() {
            let known = last.entry(row.action).or_insert(index);
            if rows[*known].at < row.at {
                *known = index;
            }
        }
        Self {
            read: Instant::now(),
            rows,
            last,
        }
    }

    fn after(&self, action: &ActionKey) -> Vec<ActionKey> {
        let Some(&at) = self.last.get(action) else {
            return Vec::new();
        };
        let place = self.rows[at].place;
        let next = self.rows[at + 1..].iter();
        let next = next.take_while(|row| row.place == place);
        next.map(|row| row.action).take(NEXT_MAX).collect()
    }

    fn serves(&self, action: &ActionKey) -> bool {
        let age = self.read.elapsed();
        age < FRESH && (age < AGAIN || self.last.contains_key(action))
    }
}

/// What lies next to what.
#[derive(Default)]
pub struct Neighbours(Mutex<Option<Known>>);

impl Neighbours {
    /// The actions that were put in place after this one, at most 64. None while somebody else
    /// reads the journal.
    pub fn after(&self, action: &ActionKey, store: &dyn Store) -> Vec<ActionKey> {
        let mut known = match self.0.try_lock() {
            Ok(known) => known,
            Err(TryLockError::Poisoned(known)) => known.into_inner(),
            Err(TryLockError::WouldBlock) => return Vec::new(),
        };
        if !known.as_ref().is_some_and(|known| known.serves(action)) {
            *known = Some(Known::read(store));
        }
        let known = known.as_ref();
        known.map_or_else(Vec::new, |known| known.after(action))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{How, Kind, MemoryStore};
    use quarry_trust::{BuilderId, Scope};

    fn action(name: &str) -> ActionKey {
        ActionKey::of(name.as_bytes())
    }

    fn placed(dir: &str, file: &str, name: &str, at: u64) -> Placed {
        Placed {
            how: How::Compiled,
            builder: BuilderId([1; 32]),
            action: action(name),
            scope: Scope::Private,
            crate_name: "c".into(),
            kind: Kind::Library,
            dir: dir.into(),
            files: vec![(file.into(), Digest::of(name.as_bytes()))],
            at,
        }
    }

    #[test]
    fn what_follows_in_the_same_target_directory_is_next_and_the_newest_of_each_unit() {
        let store = MemoryStore::new();
        for (dir, file, name, at) in [
            (
                "/p/target/debug/build/a-1",
                "build_script_build-1",
                "script",
                1,
            ),
            ("/p/target/debug/build/a-1/out", "out", "run", 2),
            ("/p/target/debug/deps", "liba-1.rlib", "a", 3),
            ("/p/target/debug/deps", "libb-1.rlib", "b before", 4),
            ("/p/target/debug/deps", "libc-1.rlib", "c", 5),
            ("/p/target/debug/deps", "libb-1.rlib", "b", 6),
            ("/p/target/release/deps", "liba-2.rlib", "a released", 7),
            ("/q/target/debug/deps", "liba-1.rlib", "q", 2),
        ] {
            store.note(placed(dir, file, name, at));
        }
        let neighbours = Neighbours::default();
        let after = |name| neighbours.after(&action(name), &store);
        assert_eq!(after("script"), ["run", "a", "c", "b"].map(action));
        assert_eq!(after("c"), [action("b")]);
        for last in ["b", "b before", "a released", "q", "unheard of"] {
            assert_eq!(after(last), [], "{last}");
        }
    }

    #[test]
    fn an_action_of_two_places_leads_on_where_it_was_used_last() {
        let store = MemoryStore::new();
        for (dir, name, at) in [
            ("/p/target/debug/deps", "common", 1),
            ("/p/target/debug/deps", "of p", 2),
            ("/q/target/debug/deps", "common", 3),
            ("/q/target/debug/deps", "of q", 4),
        ] {
            store.note(placed(dir, &format!("lib{name}.rlib"), name, at));
        }
        let after = Neighbours::default().after(&action("common"), &store);
        assert_eq!(after, [action("of q")]);
    }

    #[test]
    fn no_more_is_kept_than_the_newest() {
        let row = |n: u64| Row {
            place: 1,
            unit: n,
            at: n,
            action: ActionKey::of(&n.to_le_bytes()),
        };
        let known = Known::of((0..ROWS_MAX as u64 + 10).map(row).collect());
        assert_eq!(known.rows.len(), ROWS_MAX);
        assert_eq!(known.rows[0].at, 10);
        assert_eq!(known.after(&row(10).action).len(), NEXT_MAX);
    }
}
