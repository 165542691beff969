//! Entries, their predictions and the way from a lookup key to both.
//!
//! Enters: verified entries with the offer they came in. Leaves: offers, as they were put; who
//! reads one verifies it again. Must never happen here: an entry visible without its objects'
//! rows, a row that is taken apart without a bound.

use super::super::entry_key::{ENTRY_KEY_LEN, EntryKey};
use super::super::survey::named;
use super::super::{
    KEPT_PREDICTIONS, MAX_ENTRIES_PER_ACTION, MAX_PREDICTION_BYTES, Offer, StoreError,
    spread_by_prediction,
};
use super::Inner;
use super::engine::Stop;
use super::tables::{
    ENTRIES, EntryRow, LOOKUP_ROW_LEN, LOOKUPS, OBJECTS, ObjectRow, PREDICTION_KEY_LEN,
    PREDICTIONS, Totals, USES, entry_of_lookup_row, lookup_row, oversize, pack, prediction_key,
    unpack,
};
use quarry_trust::canon::Canonical;
use quarry_trust::digest::DIGEST_LEN;
use quarry_trust::{ActionKey, BuilderId, Digest, Entry, LookupKey, SignedEntry, Verified};
use redb::{ReadTransaction, ReadableTable, Table, WriteTransaction};
use std::ops::Bound;

/// Entries read in one transaction by a walk, and the bytes after which a page ends: a
/// reader that pauses must not keep the database from reusing its pages.
const PAGE_ENTRIES: usize = 256;
const PAGE_BYTES: usize = 4 << 20;

impl Inner {
    pub(super) fn put(&self, entry: &Verified<Entry>, offer: &Offer) -> Result<(), StoreError> {
        if offer.signed.bytes != entry.to_canon() {
            return Err(StoreError::Mismatch);
        }
        if offer.prediction.len() > MAX_PREDICTION_BYTES {
            return Err(oversize(MAX_PREDICTION_BYTES));
        }
        let key = EntryKey::of(entry);
        let prediction = Digest::of(&offer.prediction);
        let packed = pack(&offer.prediction);
        let put = self.engine.tick();
        let row = EntryRow {
            put,
            lookup: entry.lookup,
            prediction,
            wire: &offer.signed.to_wire(),
        }
        .to_row();
        self.engine.write(|txn| {
            self.require_objects(txn, entry)?;
            let replaced = take_entry(txn, &key)?;
            txn.open_table(ENTRIES)?.insert(&key.0, row.as_slice())?;
            txn.open_table(USES)?.insert(&key.0, put)?;
            if !offer.prediction.is_empty() {
                let at = prediction_key(&entry.lookup, &prediction);
                let mut predictions = txn.open_table(PREDICTIONS)?;
                if predictions.get(&at)?.is_none() {
                    predictions.insert(&at, packed.as_slice())?;
                }
                drop(predictions);
                txn.open_table(LOOKUPS)?
                    .insert(&lookup_row(&entry.lookup, &key), prediction.as_bytes())?;
                self.keep_to_the_cap(txn, &entry.lookup)?;
            }
            Totals::change(txn, |totals| {
                totals.tick = totals.tick.max(put);
                totals.counts.entries += u64::from(!replaced);
            })?;
            Ok(())
        })
    }

    /// Refuses an entry that names what is not here, and keeps what it names from a gc that
    /// surveyed before.
    fn require_objects(&self, txn: &WriteTransaction, entry: &Entry) -> Result<(), Stop> {
        let objects = txn.open_table(OBJECTS)?;
        for object in entry.objects().filter(|object| object.size > 0) {
            let row = objects.get(object.digest.as_bytes())?;
            let row = row.and_then(|row| ObjectRow::from_row(row.value()));
            if row.is_none_or(|row| row.size != object.size) {
                return Err(StoreError::Absent(object.digest).into());
            }
        }
        self.note_named(&named(entry));
        Ok(())
    }

    /// Takes the least recently used entries out of reach of a lookup key that has too many.
    fn keep_to_the_cap(&self, txn: &WriteTransaction, lookup: &LookupKey) -> Result<(), Stop> {
        let mut reached = {
            let uses = txn.open_table(USES)?;
            let mut reached = Vec::new();
            for (key, _) in within(&txn.open_table(LOOKUPS)?, lookup)? {
                reached.push((self.last_use(&uses, &key)?, key));
            }
            reached
        };
        reached.sort_unstable();
        let over = reached.len().saturating_sub(KEPT_PREDICTIONS);
        for (_, key) in &reached[..over] {
            take_lookup(txn, lookup, key)?;
        }
        Ok(())
    }

    pub(super) fn last_use(
        &self,
        uses: &impl ReadableTable<&'static [u8; ENTRY_KEY_LEN], u64>,
        key: &EntryKey,
    ) -> Result<u64, redb::StorageError> {
        let written = uses.get(&key.0)?.map_or(0, |used| used.value());
        Ok(self.engine.pending_use(key).unwrap_or(0).max(written))
    }

    pub(super) fn entries(&self, action: &ActionKey) -> Result<Vec<Offer>, StoreError> {
        let mut found = self.engine.read(|txn| {
            let (first, last) = EntryKey::bounds(action);
            let mut found = Vec::new();
            for item in txn
                .open_table(ENTRIES)?
                .range::<&[u8; ENTRY_KEY_LEN]>(&first.0..=&last.0)?
            {
                let (key, row) = item?;
                // A row that does not come apart is left to fsck.
                if let Some(row) = EntryRow::from_row(row.value()) {
                    found.push((row.put, EntryKey(*key.value())));
                }
            }
            found.sort_unstable_by(|a, b| b.cmp(a));
            found.truncate(MAX_ENTRIES_PER_ACTION);
            let mut offers = Vec::new();
            for (_, key) in found {
                if let Some(offer) = load(txn, &key)? {
                    offers.push((key, offer));
                }
            }
            Ok(offers)
        })?;
        found.iter().for_each(|(key, _)| self.engine.touch(*key));
        Ok(found.drain(..).map(|(_, offer)| offer).collect())
    }

    pub(super) fn offers(&self, lookup: &LookupKey, max: usize) -> Result<Vec<Offer>, StoreError> {
        self.engine.read(|txn| {
            let uses = txn.open_table(USES)?;
            let mut reached = Vec::new();
            for (key, prediction) in within(&txn.open_table(LOOKUPS)?, lookup)? {
                reached.push((self.last_use(&uses, &key)?, key, prediction));
            }
            reached.sort_unstable_by(|a, b| b.cmp(a));
            let mut offers = Vec::new();
            for (_, key, _) in spread_by_prediction(reached, |(_, _, prediction)| *prediction) {
                if offers.len() == max {
                    break;
                }
                offers.extend(load(txn, &key)?);
            }
            Ok(offers)
        })
    }

    pub(super) fn remove(
        &self,
        action: &ActionKey,
        builder: &BuilderId,
    ) -> Result<bool, StoreError> {
        let (first, last) = EntryKey::bounds(action);
        self.engine.write(|txn| {
            let mut keys = Vec::new();
            for item in txn
                .open_table(ENTRIES)?
                .range::<&[u8; ENTRY_KEY_LEN]>(&first.0..=&last.0)?
            {
                let key = EntryKey(*item?.0.value());
                if key.builder() == *builder {
                    keys.push(key);
                }
            }
            remove_entries(txn, &keys)?;
            Ok(!keys.is_empty())
        })
    }

    pub(super) fn each_offer(&self, each: &mut dyn FnMut(Offer)) -> Result<(), StoreError> {
        self.pages(load, each)
    }

    pub(super) fn each_signed(&self, each: &mut dyn FnMut(SignedEntry)) -> Result<(), StoreError> {
        let signed = |txn: &ReadTransaction, key: &EntryKey| {
            let read = row(txn, key)?;
            Ok(read.map(|(_, signed)| signed))
        };
        self.pages(signed, each)
    }

    /// Calls `each` with what is read of each entry, in pages.
    fn pages<T: Sized + Weighed>(
        &self,
        read: impl Fn(&ReadTransaction, &EntryKey) -> Result<Option<T>, Stop>,
        each: &mut dyn FnMut(T),
    ) -> Result<(), StoreError> {
        let mut after: Option<EntryKey> = None;
        loop {
            let page = self.engine.read(|txn| page(txn, after.as_ref(), &read))?;
            let Some((last, _)) = page.last() else {
                return Ok(());
            };
            after = Some(*last);
            for (_, one) in page {
                one.into_iter().for_each(&mut *each);
            }
        }
    }
}

/// What a page ends by.
trait Weighed {
    /// Bytes, about.
    fn weight(&self) -> usize;
}

impl Weighed for Offer {
    fn weight(&self) -> usize {
        self.prediction.len()
    }
}

impl Weighed for SignedEntry {
    fn weight(&self) -> usize {
        self.bytes.len()
    }
}

fn page<T: Weighed>(
    txn: &ReadTransaction,
    after: Option<&EntryKey>,
    read: impl Fn(&ReadTransaction, &EntryKey) -> Result<Option<T>, Stop>,
) -> Result<Vec<(EntryKey, Option<T>)>, Stop> {
    let from = after.map_or(Bound::Unbounded, |key| Bound::Excluded(&key.0));
    let mut page = Vec::new();
    let mut bytes = 0;
    for item in txn
        .open_table(ENTRIES)?
        .range::<&[u8; ENTRY_KEY_LEN]>((from, Bound::Unbounded))?
    {
        let key = EntryKey(*item?.0.value());
        let one = read(txn, &key)?;
        bytes += one.as_ref().map_or(0, Weighed::weight);
        page.push((key, one));
        if page.len() == PAGE_ENTRIES || bytes >= PAGE_BYTES {
            break;
        }
    }
    Ok(page)
}

/// An entry with its prediction (an empty one where it has none within reach).
fn load(txn: &ReadTransaction, key: &EntryKey) -> Result<Option<Offer>, Stop> {
    let Some((at, signed)) = row(txn, key)? else {
        return Ok(None);
    };
    let prediction = txn.open_table(PREDICTIONS)?.get(&at)?;
    let prediction = prediction.and_then(|packed| unpack(packed.value(), MAX_PREDICTION_BYTES));
    Ok(Some(Offer {
        prediction: prediction.unwrap_or_default(),
        signed,
    }))
}

/// An entry, and under which key its prediction lies; `None` where it is not here, or is none.
fn row(
    txn: &ReadTransaction,
    key: &EntryKey,
) -> Result<Option<([u8; PREDICTION_KEY_LEN], SignedEntry)>, Stop> {
    let entries = txn.open_table(ENTRIES)?;
    let Some(guard) = entries.get(&key.0)? else {
        return Ok(None);
    };
    let read = |row: EntryRow<'_>| {
        let at = prediction_key(&row.lookup, &row.prediction);
        Some((at, row.signed()?))
    };
    Ok(EntryRow::from_row(guard.value()).and_then(read))
}

/// The entries within reach of a lookup key, with the digests of their predictions.
pub(super) fn within(
    lookups: &impl ReadableTable<&'static [u8; LOOKUP_ROW_LEN], &'static [u8; DIGEST_LEN]>,
    lookup: &LookupKey,
) -> Result<Vec<(EntryKey, Digest)>, redb::StorageError> {
    let first = lookup_row(lookup, &EntryKey([0; ENTRY_KEY_LEN]));
    let last = lookup_row(lookup, &EntryKey([0xff; ENTRY_KEY_LEN]));
    let mut found = Vec::new();
    for item in lookups.range::<&[u8; LOOKUP_ROW_LEN]>(&first..=&last)? {
        let (row, prediction) = item?;
        let prediction = Digest::from_bytes(*prediction.value());
        found.push((entry_of_lookup_row(row.value()), prediction));
    }
    Ok(found)
}

/// Removes entries with all that leads to them, and counts them off. Their objects stay.
pub(super) fn remove_entries(txn: &WriteTransaction, keys: &[EntryKey]) -> Result<u64, Stop> {
    let mut removed = 0;
    for key in keys {
        removed += u64::from(take_entry(txn, key)?);
    }
    if removed > 0 {
        Totals::change(txn, |totals| {
            totals.counts.entries = totals.counts.entries.saturating_sub(removed);
        })?;
    }
    Ok(removed)
}

/// Takes one entry out, without counting it off. `false` where it is not here.
fn take_entry(txn: &WriteTransaction, key: &EntryKey) -> Result<bool, Stop> {
    let lookup = {
        let mut entries = txn.open_table(ENTRIES)?;
        let Some(row) = entries.remove(&key.0)? else {
            return Ok(false);
        };
        EntryRow::from_row(row.value()).map(|row| row.lookup)
    };
    txn.open_table(USES)?.remove(&key.0)?;
    if let Some(lookup) = lookup {
        take_lookup(txn, &lookup, key)?;
    }
    Ok(true)
}

/// Takes an entry out of reach of its lookup key, and its prediction where no other entry there
/// has the same.
pub(super) fn take_lookup(
    txn: &WriteTransaction,
    lookup: &LookupKey,
    key: &EntryKey,
) -> Result<(), Stop> {
    let mut lookups: Table<'_, _, _> = txn.open_table(LOOKUPS)?;
    let prediction = match lookups.remove(&lookup_row(lookup, key))? {
        Some(prediction) => Digest::from_bytes(*prediction.value()),
        None => return Ok(()),
    };
    let shared = within(&lookups, lookup)?;
    if shared.iter().all(|(_, other)| *other != prediction) {
        txn.open_table(PREDICTIONS)?
            .remove(&prediction_key(lookup, &prediction))?;
    }
    Ok(())
}
