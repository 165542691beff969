//! The store in memory: for tests of other rooms, under the same conformance suite.
//!
//! Enters and leaves: what the trait [`Store`] says. Nothing outlives it, nothing is compressed,
//! nothing can be damaged. Must never happen here: a rule that the real store does not have.

use super::entry_key::EntryKey;
use super::journal::{JOURNAL_KEY_LEN, JOURNAL_ROWS};
use super::pins::Pins;
use super::survey::{Survey, Surveyed, named};
use super::{
    Counts, FsckReport, GcReport, KEPT_PREDICTIONS, MAX_ENTRIES_PER_ACTION, MAX_MEMO_BYTES,
    MAX_PREDICTION_BYTES, MAX_STATE_BYTES, MEMOS_PER_GENERATION, Object, Offer, Pinned, Placed,
    Purge, Select, SettleReport, Stage, Store, StoreError, is_state_name, spread_by_prediction,
};
use quarry_trust::canon::Canonical;
use quarry_trust::{ActionKey, BuilderId, Digest, Entry, LookupKey, ObjectRef, Verified};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A store that lasts as long as the value.
#[derive(Clone, Default)]
pub struct MemoryStore {
    held: Arc<Mutex<Held>>,
    pins: Pins,
}

#[derive(Default)]
struct Held {
    entries: BTreeMap<EntryKey, Kept>,
    objects: HashMap<Digest, Vec<u8>>,
    state: HashMap<String, Vec<u8>>,
    /// Two generations, as in the real store.
    memos: [HashMap<Vec<u8>, Vec<u8>>; 2],
    journal: BTreeMap<[u8; JOURNAL_KEY_LEN], Placed>,
    tick: u64,
}

struct Kept {
    entry: Entry,
    offer: Offer,
    put: u64,
    used: u64,
    /// Whether its lookup key leads to it.
    reached: bool,
}

impl Held {
    fn tick(&mut self) -> u64 {
        self.tick += 1;
        self.tick
    }

    /// The keys within reach of a lookup key, last used first.
    fn within(&self, lookup: &LookupKey) -> Vec<EntryKey> {
        let reached = self
            .entries
            .iter()
            .filter(|(_, kept)| kept.reached && kept.entry.lookup == *lookup);
        let mut keys: Vec<_> = reached.map(|(key, kept)| (kept.used, *key)).collect();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        keys.into_iter().map(|(_, key)| key).collect()
    }

    /// An entry as it is given out: with its prediction if any entry in reach shares it.
    fn offer(&self, kept: &Kept) -> Offer {
        let mut offer = kept.offer.clone();
        let within = self.within(&kept.entry.lookup);
        let shared = |key: &EntryKey| self.entries[key].offer.prediction == offer.prediction;
        if !within.iter().any(shared) {
            offer.prediction.clear();
        }
        offer
    }

    fn survey(&self, select: Option<&Select>) -> Survey {
        let entries = self.entries.iter().map(|(key, kept)| Surveyed {
            key: *key,
            used: kept.used,
            picked: select.is_some_and(|select| select.takes(&kept.entry)),
            broken: false,
            objects: named(&kept.entry),
        });
        let objects = self.objects.iter();
        Survey {
            entries: entries.collect(),
            objects: objects.map(|(d, b)| (*d, b.len() as u64)).collect(),
        }
    }

    fn take(&mut self, gone: &HashSet<EntryKey>, objects: &[(Digest, u64)]) -> GcReport {
        self.entries.retain(|key, _| !gone.contains(key));
        for (digest, _) in objects {
            self.objects.remove(digest);
        }
        report(gone, objects)
    }
}

fn report(gone: &HashSet<EntryKey>, objects: &[(Digest, u64)]) -> GcReport {
    GcReport {
        entries: gone.len() as u64,
        objects: objects.len() as u64,
        bytes: objects.iter().map(|(_, bytes)| bytes).sum(),
        strays: 0,
    }
}

impl MemoryStore {
    /// An empty store.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        // A panic while it was held was a test's; each change below is whole by itself.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(&self, bytes: Vec<u8>) -> Pinned {
        let object = ObjectRef {
            digest: Digest::of(&bytes),
            size: bytes.len() as u64,
        };
        let mut held = self.held();
        let pinned = self.pinned(object);
        if object.size > 0 {
            held.objects.insert(object.digest, bytes);
        }
        pinned
    }

    fn pinned(&self, object: ObjectRef) -> Pinned {
        Pinned {
            object,
            fresh: false,
            _pin: self.pins.pin(object.digest),
        }
    }

    fn bytes(&self, object: &ObjectRef) -> Option<Vec<u8>> {
        if object.size == 0 {
            return (object.digest == Digest::of(b"")).then(Vec::new);
        }
        let bytes = self.held().objects.get(&object.digest).cloned();
        bytes.filter(|bytes| bytes.len() as u64 == object.size)
    }
}

struct MemoryStage {
    store: MemoryStore,
    limit: u64,
    bytes: Vec<u8>,
    failed: bool,
}

impl Write for MemoryStage {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.bytes.len() as u64 + bytes.len() as u64 > self.limit {
            self.failed = true;
            return Err(StoreError::Oversize { limit: self.limit }.into_io());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Stage for MemoryStage {
    fn commit(self: Box<Self>) -> Result<Pinned, StoreError> {
        if self.failed {
            return Err(StoreError::Unfinished);
        }
        Ok(self.store.place(self.bytes))
    }
}

impl Store for MemoryStore {
    fn entries(&self, action: &ActionKey) -> Result<Vec<Offer>, StoreError> {
        let mut held = self.held();
        let (first, last) = EntryKey::bounds(action);
        let found = held.entries.range(first..=last);
        let mut keys: Vec<_> = found.map(|(key, kept)| (kept.put, *key)).collect();
        keys.sort_unstable_by(|a, b| b.cmp(a));
        keys.truncate(MAX_ENTRIES_PER_ACTION);
        let mut offers = Vec::new();
        for (_, key) in keys {
            offers.push(held.offer(&held.entries[&key]));
            let used = held.tick();
            if let Some(kept) = held.entries.get_mut(&key) {
                kept.used = used;
            }
        }
        Ok(offers)
    }

    fn offers(&self, lookup: &LookupKey, max: usize) -> Result<Vec<Offer>, StoreError> {
        let held = self.held();
        let keys = spread_by_prediction(held.within(lookup), |key| {
            Digest::of(&held.entries[key].offer.prediction)
        });
        let offers = keys
            .iter()
            .take(max)
            .map(|key| held.entries[key].offer.clone());
        Ok(offers.collect())
    }

    fn put(&self, entry: &Verified<Entry>, offer: &Offer) -> Result<(), StoreError> {
        if offer.signed.bytes != entry.to_canon() {
            return Err(StoreError::Mismatch);
        }
        if offer.prediction.len() > MAX_PREDICTION_BYTES {
            return Err(StoreError::Oversize {
                limit: MAX_PREDICTION_BYTES as u64,
            });
        }
        for object in entry.objects() {
            if self.bytes(&object).is_none() {
                return Err(StoreError::Absent(object.digest));
            }
        }
        let mut held = self.held();
        let put = held.tick();
        let kept = Kept {
            entry: (**entry).clone(),
            offer: offer.clone(),
            put,
            used: put,
            reached: !offer.prediction.is_empty(),
        };
        held.entries.insert(EntryKey::of(entry), kept);
        for key in held
            .within(&entry.lookup)
            .into_iter()
            .skip(KEPT_PREDICTIONS)
        {
            if let Some(kept) = held.entries.get_mut(&key) {
                kept.reached = false;
            }
        }
        Ok(())
    }

    fn remove(&self, action: &ActionKey, builder: &BuilderId) -> Result<bool, StoreError> {
        let mut held = self.held();
        let before = held.entries.len();
        held.entries
            .retain(|key, _| key.action() != *action || key.builder() != *builder);
        Ok(held.entries.len() < before)
    }

    fn stage(&self, limit: u64) -> Result<Box<dyn Stage>, StoreError> {
        Ok(Box::new(MemoryStage {
            store: self.clone(),
            limit,
            bytes: Vec::new(),
            failed: false,
        }))
    }

    fn stage_file(&self, file: &File, limit: u64) -> Result<Pinned, StoreError> {
        use std::os::unix::fs::FileExt;
        let failed = |e| StoreError::io("reading", std::path::Path::new("a compile's output"), e);
        let len = file.metadata().map_err(failed)?.len();
        if len > limit {
            return Err(StoreError::Oversize { limit });
        }
        let mut bytes = vec![0; usize::try_from(len).unwrap_or(usize::MAX)];
        file.read_exact_at(&mut bytes, 0).map_err(failed)?;
        Ok(self.place(bytes))
    }

    fn object(&self, object: &ObjectRef) -> Result<Option<Object>, StoreError> {
        Ok(self.bytes(object).map(Object::Bytes))
    }

    fn thaw(&self, _: &ObjectRef) -> Result<Option<(File, bool)>, StoreError> {
        Ok(None)
    }

    fn pin(&self, object: &ObjectRef) -> Result<Option<Pinned>, StoreError> {
        let pinned = self.pinned(*object);
        Ok(self.bytes(object).map(|_| pinned))
    }

    fn recheck(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.has(digest)
    }

    fn has(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.held().objects.contains_key(digest))
    }

    fn each_offer(&self, each: &mut dyn FnMut(Offer)) -> Result<(), StoreError> {
        let offers: Vec<Offer> = {
            let held = self.held();
            held.entries.values().map(|kept| held.offer(kept)).collect()
        };
        offers.into_iter().for_each(each);
        Ok(())
    }

    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if !is_state_name(name) {
            return Err(StoreError::Name(name.to_owned()));
        }
        Ok(self.held().state.get(name).cloned())
    }

    fn set_state(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        if !is_state_name(name) {
            return Err(StoreError::Name(name.to_owned()));
        }
        if bytes.len() as u64 > MAX_STATE_BYTES {
            return Err(StoreError::Oversize {
                limit: MAX_STATE_BYTES,
            });
        }
        self.held().state.insert(name.to_owned(), bytes.to_vec());
        Ok(())
    }

    fn memo(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        let held = self.held();
        Ok(held.memos.iter().find_map(|memos| memos.get(key)).cloned())
    }

    fn set_memo(&self, memos: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError> {
        let mut held = self.held();
        if held.memos[0].len() as u64 >= MEMOS_PER_GENERATION {
            let full = std::mem::take(&mut held.memos[0]);
            held.memos[1] = full;
        }
        for (key, value) in memos {
            if key.len().max(value.len()) <= MAX_MEMO_BYTES {
                held.memos[0].insert(key.clone(), value.clone());
            }
        }
        Ok(())
    }

    fn note(&self, placed: Placed) {
        if !placed.fits() {
            return;
        }
        let mut held = self.held();
        held.journal.insert(placed.key(), placed);
        if held.journal.len() as u64 > JOURNAL_ROWS {
            let oldest = held.journal.iter().min_by_key(|(_, placed)| placed.at);
            if let Some(key) = oldest.map(|(key, _)| *key) {
                held.journal.remove(&key);
            }
        }
    }

    fn each_placed(
        &self,
        builder: Option<&BuilderId>,
        each: &mut dyn FnMut(Placed),
    ) -> Result<(), StoreError> {
        let rows: Vec<Placed> = {
            let held = self.held();
            let of = |p: &&Placed| builder.is_none_or(|builder| p.builder == *builder);
            held.journal.values().filter(of).cloned().collect()
        };
        rows.into_iter().for_each(each);
        Ok(())
    }

    fn flush(&self) -> Result<(), StoreError> {
        Ok(())
    }

    fn counts(&self) -> Result<Counts, StoreError> {
        let held = self.held();
        Ok(Counts {
            entries: held.entries.len() as u64,
            objects: held.objects.len() as u64,
            bytes: held.objects.values().map(|bytes| bytes.len() as u64).sum(),
        })
    }

    fn gc(&self, limit: u64) -> Result<GcReport, StoreError> {
        let mut held = self.held();
        let mut survey = held.survey(None);
        let victims = survey.over(limit, |digest| self.pins.holds(digest));
        let gone = victims.into_iter().collect();
        let mut objects = survey.unnamed_without(&gone);
        objects.retain(|(digest, _)| !self.pins.holds(digest));
        Ok(held.take(&gone, &objects))
    }

    fn fsck(&self, repair: bool) -> Result<FsckReport, StoreError> {
        let counts = self.counts()?;
        Ok(FsckReport {
            entries: counts.entries,
            objects: counts.objects,
            bytes: counts.bytes,
            repaired: repair,
            ..FsckReport::default()
        })
    }

    fn settle(&self, _before: u64, _budget: u64) -> Result<SettleReport, StoreError> {
        // Memory has no files.
        Ok(SettleReport::default())
    }

    fn purge(&self, what: &Purge) -> Result<GcReport, StoreError> {
        let mut held = self.held();
        let survey = held.survey(Some(&what.select));
        let gone = survey.picked().into_iter().collect();
        let mut objects = survey.named_only_by(&gone);
        objects.retain(|(digest, _)| !self.pins.holds(digest));
        if what.dry_run {
            return Ok(report(&gone, &objects));
        }
        Ok(held.take(&gone, &objects))
    }
}
