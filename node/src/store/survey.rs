//! Who names what: the picture of a store from which gc and purge choose.
//!
//! Enters: every entry with its last use and the objects it names, every object with its size.
//! Leaves: which entries go, and which objects are then named by none. Pure: both stores choose
//! by the same rules. References are counted here, from the entries themselves, each time: a
//! kept count could drift after a crash, a scan cannot.

use super::entry_key::EntryKey;
use super::report::Select;
use quarry_trust::{Digest, Entry};
use std::collections::{HashMap, HashSet};

/// One entry, as far as upkeep cares.
#[derive(Debug)]
pub(super) struct Surveyed {
    pub(super) key: EntryKey,
    /// Tick of the last use: larger is later.
    pub(super) used: u64,
    /// Whether the purge's selection takes it.
    pub(super) picked: bool,
    /// Whether it does not decode: such an entry names nothing and goes first.
    pub(super) broken: bool,
    pub(super) objects: Vec<Digest>,
}

/// Everything in a store at one moment.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub(super) entries: Vec<Surveyed>,
    /// Stored bytes of each object.
    pub(super) objects: HashMap<Digest, u64>,
}

impl Survey {
    /// The least recently used entries that must go until what is left takes `limit` bytes.
    /// Entries that name a pinned object stay: removing them would free nothing that counts.
    pub(super) fn over(&mut self, limit: u64, pinned: impl Fn(&Digest) -> bool) -> Vec<EntryKey> {
        let mut names = self.names(|_| true);
        let unnamed = self
            .objects
            .iter()
            .filter(|(digest, _)| !names.contains_key(digest) && !pinned(digest));
        let mut live = self.objects.values().sum::<u64>() - unnamed.map(|(_, b)| b).sum::<u64>();
        self.entries
            .sort_unstable_by_key(|entry| (!entry.broken, entry.used));
        let mut gone = Vec::new();
        for entry in &self.entries {
            if live <= limit && !entry.broken {
                break;
            }
            if entry.objects.iter().any(&pinned) {
                continue;
            }
            for digest in &entry.objects {
                if let Some(count) = names.get_mut(digest) {
                    *count -= 1;
                    if *count == 0 {
                        live -= self.objects.get(digest).copied().unwrap_or(0);
                    }
                }
            }
            gone.push(entry.key);
        }
        gone
    }

    /// The entries that the selection picked.
    pub(super) fn picked(&self) -> Vec<EntryKey> {
        let picked = self.entries.iter().filter(|entry| entry.picked);
        picked.map(|entry| entry.key).collect()
    }

    /// Objects that no entry names once `gone` are gone, with their stored bytes.
    pub(super) fn unnamed_without(&self, gone: &HashSet<EntryKey>) -> Vec<(Digest, u64)> {
        let names = self.names(|entry| !gone.contains(&entry.key));
        let unnamed = self
            .objects
            .iter()
            .filter(|(digest, _)| !names.contains_key(digest));
        unnamed.map(|(digest, bytes)| (*digest, *bytes)).collect()
    }

    /// Objects that entries in `gone` name and no other does, with their stored bytes.
    pub(super) fn named_only_by(&self, gone: &HashSet<EntryKey>) -> Vec<(Digest, u64)> {
        let before = self.names(|entry| gone.contains(&entry.key));
        let mut unnamed = self.unnamed_without(gone);
        unnamed.retain(|(digest, _)| before.contains_key(digest));
        unnamed
    }

    fn names(&self, counts: impl Fn(&Surveyed) -> bool) -> HashMap<Digest, u32> {
        let mut names = HashMap::new();
        for entry in self.entries.iter().filter(|entry| counts(entry)) {
            for digest in &entry.objects {
                *names.entry(*digest).or_insert(0) += 1;
            }
        }
        names
    }
}

impl Select {
    /// Whether the selection takes this entry.
    pub(super) fn takes(&self, entry: &Entry) -> bool {
        match self {
            Self::Builder(builder) => entry.builder == *builder,
            Self::Crate(name) => entry.crate_name == *name,
            Self::All => true,
        }
    }
}

/// The distinct objects that an entry names; empty ones are no objects.
pub(super) fn named(entry: &Entry) -> Vec<Digest> {
    let mut named: Vec<Digest> = entry
        .objects()
        .filter(|object| object.size > 0)
        .map(|object| object.digest)
        .collect();
    named.sort_unstable();
    named.dedup();
    named
}
