//! What was put in place after what, so that a teammate's build need not ask for each by itself.
//!
//! Enters: an action, the journal. Leaves: the actions that the same target directory was given
//! after it, the newest of each unit, in the order of their last use; at the end, what the same
//! build began with. Must never happen here: a
//! verdict about who may see an entry; two walks through the journal at once.

use crate::store::{How, Placed, Store};
use quarry_trust::{ActionKey, Digest, Scope};
use std::collections::{HashMap, HashSet};
use std::sync::{Mutex, TryLockError};
use std::time::{Duration, Instant};

/// Rows of the journal that are kept in order, the newest: some forty builds of 500 crates.
const ROWS_MAX: usize = 20_000;
/// What was read out of the journal is used for so long.
const FRESH: Duration = Duration::from_secs(30);
/// An action that is not among it is looked for in the journal again after so long.
const AGAIN: Duration = Duration::from_secs(10);
/// Between two units of one build no more time passes, milliseconds.
const PAUSE: u64 = 5 * 60 * 1000;
/// Neighbours of one action, at most.
const NEXT_MAX: usize = 64;

/// One unit in one target directory.
#[derive(Debug, Clone, Copy)]
struct Row {
    place: u64,
    unit: u64,
    at: u64,
    action: ActionKey,
    scope: Scope,
    compiled: bool,
}

impl Row {
    fn of(placed: &Placed) -> Self {
        let name = placed.files.first().map_or("", |(name, _)| name.as_str());
        let unit = [placed.dir.as_str(), name].join("\0");
        Self {
            place: place_of(&placed.dir),
            unit: Digest::of(unit.as_bytes()).short(),
            at: placed.at,
            action: placed.action,
            scope: placed.scope,
            compiled: placed.how == How::Compiled,
        }
    }
}

/// What stands for the profile's directory in which an output directory lies.
pub(super) fn place_of(dir: &str) -> u64 {
    Digest::of(place(dir).as_bytes()).short()
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
        // Looked into by place, and there by time.
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

    /// What was put into a place since a time.
    fn from(&self, place: u64, at: u64) -> impl Iterator<Item = &Row> {
        let begins = |row: &Row| (row.place, row.at) < (place, at);
        let rows = self.rows[self.rows.partition_point(begins)..].iter();
        rows.take_while(move |row| row.place == place)
    }

    /// A closed project's directory, or one of a workspace that is for nobody, says nothing to who
    /// is outside: not even in what order it uses what all may see.
    fn shows(&self, place: u64, sees: &dyn Fn(&Scope) -> bool) -> bool {
        let rows = self.from(place, 0);
        let (mut private, mut shared) = (false, false);
        for row in rows {
            match row.scope {
                Scope::Private => private = true,
                scope if !sees(&scope) => return false,
                _ => shared |= row.compiled,
            }
        }
        shared || !private
    }

    fn after(&self, action: &ActionKey, sees: &dyn Fn(&Scope) -> bool) -> Vec<ActionKey> {
        let Some(&at) = self.last.get(action) else {
            return Vec::new();
        };
        let place = self.rows[at].place;
        if !self.shows(place, sees) {
            return Vec::new();
        }
        let next = self.rows[at + 1..].iter();
        let next = next.take_while(|row| row.place == place);
        // Of what is compiled at once some is done sooner than what was begun before it: so the
        // same build's beginning follows its end.
        let same_build = |pair: &&[Row]| pair[0].place == place && pair[1].at - pair[0].at <= PAUSE;
        let before = self.rows[..=at].windows(2).rev();
        let before = before.take_while(same_build).count();
        let begun = self.rows[at - before..at].iter();
        next.chain(begun)
            .map(|row| row.action)
            .take(NEXT_MAX)
            .collect()
    }

    fn since(&self, place: u64, at: u64, sees: &dyn Fn(&Scope) -> bool) -> Vec<ActionKey> {
        if !self.shows(place, sees) {
            return Vec::new();
        }
        let rows = self.from(place, at);
        rows.map(|row| row.action).take(NEXT_MAX).collect()
    }

    /// Whether it is young enough to be used; where it does not hold what is looked for, it has to
    /// be younger.
    fn serves(&self, holds: impl FnOnce(&Self) -> bool) -> bool {
        let age = self.read.elapsed();
        age < FRESH && (age < AGAIN || holds(self))
    }
}

/// What lies next to what.
#[derive(Default)]
pub struct Neighbours(Mutex<Option<Known>>);

impl Neighbours {
    /// The actions that were put in place after this one, at most 64, where all of that place is
    /// for who asks (`sees`). None while somebody else reads the journal.
    pub fn after(
        &self,
        action: &ActionKey,
        sees: &dyn Fn(&Scope) -> bool,
        store: &dyn Store,
    ) -> Vec<ActionKey> {
        let holds = |known: &Known| known.last.contains_key(action);
        self.known(store, holds, |known| known.after(action, sees))
    }

    /// The actions that were put into a place since a time, in the same way.
    pub fn since(
        &self,
        (place, at): (u64, u64),
        sees: &dyn Fn(&Scope) -> bool,
        store: &dyn Store,
    ) -> Vec<ActionKey> {
        let holds = |known: &Known| known.from(place, at).next().is_some();
        self.known(store, holds, |known| known.since(place, at, sees))
    }

    fn known(
        &self,
        store: &dyn Store,
        holds: impl Fn(&Known) -> bool,
        tell: impl FnOnce(&Known) -> Vec<ActionKey>,
    ) -> Vec<ActionKey> {
        let mut known = match self.0.try_lock() {
            Ok(known) => known,
            Err(TryLockError::Poisoned(known)) => known.into_inner(),
            Err(TryLockError::WouldBlock) => return Vec::new(),
        };
        if !known.as_ref().is_some_and(|known| known.serves(holds)) {
            *known = Some(Known::read(store));
        }
        known.as_ref().map_or_else(Vec::new, tell)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Kind, MemoryStore};
    use quarry_trust::{BuilderId, TeamId};

    fn action(name: &str) -> ActionKey {
        ActionKey::of(name.as_bytes())
    }

    const TEAM: Scope = Scope::Team(TeamId(Digest::from_bytes([5; 32])));

    fn placed(dir: &str, file: &str, name: &str, at: u64) -> Placed {
        Placed {
            how: How::Compiled,
            builder: BuilderId([1; 32]),
            action: action(name),
            scope: TEAM,
            crate_name: "c".into(),
            kind: Kind::Library,
            dir: dir.into(),
            files: vec![(file.into(), Digest::of(name.as_bytes()))],
            at,
        }
    }

    fn noted(rows: &[(&str, &str, u64)]) -> MemoryStore {
        let store = MemoryStore::new();
        for (dir, name, at) in rows {
            store.note(placed(dir, &format!("lib{name}.rlib"), name, *at));
        }
        store
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
        let after = |name| neighbours.after(&action(name), &|_| true, &store);
        assert_eq!(after("script"), ["run", "a", "c", "b"].map(action));
        assert_eq!(after("c"), ["b", "script", "run", "a"].map(action));
        assert_eq!(after("b"), ["script", "run", "a", "c"].map(action));
        for last in ["b before", "a released", "q", "unheard of"] {
            assert_eq!(after(last), [], "{last}");
        }
    }

    #[test]
    fn what_a_build_put_in_place_is_told_from_when_it_began() {
        let store = noted(&[
            ("/p/target/debug/deps", "before", 1),
            ("/q/target/debug/deps", "of q", 3),
            ("/p/target/debug/deps", "second", 4),
            ("/p/target/debug/build/b-1", "first", 3),
        ]);
        let neighbours = Neighbours::default();
        let since = |dir: &str, at: u64, sees: bool| {
            neighbours.since((place_of(dir), at), &|_| sees, &store)
        };
        let p = "/p/target/debug/build/c-1";
        assert_eq!(since(p, 2, true), ["first", "second"].map(action));
        assert_eq!(since(p, 4, true), [action("second")]);
        assert_eq!(since(p, 5, true), []);
        assert_eq!(since(p, 2, false), []);
        assert_eq!(since("/p/target/release/deps", 2, true), []);
        assert_eq!(since("/q/target/debug/deps", 0, true), [action("of q")]);
    }

    #[test]
    fn an_action_of_two_places_leads_on_where_it_was_used_last() {
        let store = noted(&[
            ("/p/target/debug/deps", "common", 1),
            ("/p/target/debug/deps", "of p", 2),
            ("/q/target/debug/deps", "common", 3),
            ("/q/target/debug/deps", "of q", 4),
        ]);
        let after = Neighbours::default().after(&action("common"), &|_| true, &store);
        assert_eq!(after, [action("of q")]);
    }

    #[test]
    fn a_place_that_is_not_for_who_asks_says_nothing() {
        let project = Scope::Project(TeamId(Digest::from_bytes([5; 32])), Digest::of(b"closed"));
        let after = |rows: &[(How, Scope)], sees: &dyn Fn(&Scope) -> bool| {
            let store = MemoryStore::new();
            for (at, (how, scope)) in (0_u64..).zip(rows) {
                let name = at.to_string();
                let row = placed("/p/target/debug/deps", &format!("lib{at}.rlib"), &name, at);
                let (how, scope) = (*how, *scope);
                store.note(Placed { how, scope, ..row });
            }
            let neighbours = Neighbours::default();
            neighbours.after(&action("0"), sees, &store).len()
        };
        let outside = |scope: &Scope| *scope == TEAM;
        let closed = [
            (How::Restored, TEAM),
            (How::Restored, TEAM),
            (How::Compiled, project),
        ];
        assert_eq!(after(&closed, &|_| true), 2);
        assert_eq!(after(&closed, &outside), 0);
        // What its owner alone may see in a workspace that is everybody's is only left out.
        let kept = [
            (How::Restored, TEAM),
            (How::Compiled, TEAM),
            (How::Compiled, Scope::Private),
        ];
        assert_eq!(after(&kept, &outside), 2);
        let alone = [
            (How::Restored, TEAM),
            (How::Restored, TEAM),
            (How::Compiled, Scope::Private),
        ];
        assert_eq!(after(&alone, &outside), 0);
    }

    #[test]
    fn no_more_is_kept_than_the_newest() {
        let row = |n: u64| Row {
            place: 1,
            unit: n,
            at: n,
            action: ActionKey::of(&n.to_le_bytes()),
            scope: TEAM,
            compiled: true,
        };
        let known = Known::of((0..ROWS_MAX as u64 + 10).map(row).collect());
        assert_eq!(known.rows.len(), ROWS_MAX);
        assert_eq!(known.rows[0].at, 10);
        assert_eq!(known.after(&row(10).action, &|_| true).len(), NEXT_MAX);
    }
}
