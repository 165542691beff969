//! The tables and their rows, to the byte. `docs/store-format.md` says the same for people.
//!
//! Enters: values. Leaves: row bytes, and values taken out of row bytes that may be damaged.
//! Must never happen here: a row of one version read as another. The version stands in each
//! table's name; whoever changes a row gives its table a new one.

use super::super::StoreError;
use super::super::entry_key::{ENTRY_KEY_LEN, EntryKey};
use super::super::journal::JOURNAL_KEY_LEN;
use super::super::report::Counts;
use crate::chunks;
use quarry_trust::digest::DIGEST_LEN;
use quarry_trust::{Digest, LookupKey, SignedEntry};
use redb::{ReadTransaction, ReadableTable, TableDefinition, WriteTransaction};

/// Length of a key of [`LOOKUPS`]: lookup key ‖ entry key.
pub(super) const LOOKUP_ROW_LEN: usize = DIGEST_LEN + ENTRY_KEY_LEN;
/// Length of a key of [`PREDICTIONS`]: lookup key ‖ digest of the prediction.
pub(super) const PREDICTION_KEY_LEN: usize = 2 * DIGEST_LEN;

/// Entry key → [`EntryRow`].
pub(super) const ENTRIES: TableDefinition<&[u8; ENTRY_KEY_LEN], &[u8]> =
    TableDefinition::new("entries.1");
/// Lookup key ‖ entry key → digest of the entry's prediction.
pub(super) const LOOKUPS: TableDefinition<&[u8; LOOKUP_ROW_LEN], &[u8; DIGEST_LEN]> =
    TableDefinition::new("lookups.1");
/// Lookup key ‖ digest of a prediction → the prediction, packed by [`pack`].
pub(super) const PREDICTIONS: TableDefinition<&[u8; PREDICTION_KEY_LEN], &[u8]> =
    TableDefinition::new("predictions.1");
/// Entry key → tick of its last use.
pub(super) const USES: TableDefinition<&[u8; ENTRY_KEY_LEN], u64> = TableDefinition::new("uses.1");
/// Digest → [`ObjectRow`].
pub(super) const OBJECTS: TableDefinition<&[u8; DIGEST_LEN], &[u8; OBJECT_ROW_LEN]> =
    TableDefinition::new("objects.1");
/// Digest → body of an object that lies in the database, packed by [`pack`].
pub(super) const BODIES: TableDefinition<&[u8; DIGEST_LEN], &[u8]> =
    TableDefinition::new("bodies.1");
/// Builder ‖ digest of an entry's action and a directory → what was put there.
pub(super) const JOURNAL: TableDefinition<&[u8; JOURNAL_KEY_LEN], &[u8]> =
    TableDefinition::new("journal.1");
/// One row under `()`: [`Totals`].
pub(super) const TOTALS: TableDefinition<(), &[u8; TOTALS_LEN]> = TableDefinition::new("totals.1");
/// Memos, two generations; [`Totals`] says which one is being written.
pub(super) const MEMOS: [TableDefinition<&[u8], &[u8]>; 2] = [
    TableDefinition::new("memos.a.1"),
    TableDefinition::new("memos.b.1"),
];

/// Length of an [`ObjectRow`], in bytes.
pub(super) const OBJECT_ROW_LEN: usize = 17;
/// Length of the row of [`TOTALS`], in bytes.
pub(super) const TOTALS_LEN: usize = 33;
/// How strongly bodies and predictions are compressed: level 1 is three times as small at
/// 600 MB/s; level 3 gains a tenth more at half that speed.
const ZSTD_LEVEL: i32 = 1;

/// Creates the tables that are missing; an error where one has another form.
pub(super) fn create(txn: &WriteTransaction) -> Result<(), redb::TableError> {
    txn.open_table(ENTRIES)?;
    txn.open_table(LOOKUPS)?;
    txn.open_table(PREDICTIONS)?;
    txn.open_table(USES)?;
    txn.open_table(OBJECTS)?;
    txn.open_table(BODIES)?;
    txn.open_table(JOURNAL)?;
    for memos in MEMOS {
        txn.open_table(memos)?;
    }
    let mut totals = txn.open_table(TOTALS)?;
    if totals.get(())?.is_none() {
        totals.insert((), &Totals::default().to_row())?;
    }
    Ok(())
}

/// Opens every table; an error where one is missing or has another form.
pub(super) fn check(txn: &ReadTransaction) -> Result<(), redb::TableError> {
    txn.open_table(ENTRIES)?;
    txn.open_table(LOOKUPS)?;
    txn.open_table(PREDICTIONS)?;
    txn.open_table(USES)?;
    txn.open_table(OBJECTS)?;
    txn.open_table(BODIES)?;
    txn.open_table(JOURNAL)?;
    for memos in MEMOS {
        txn.open_table(memos)?;
    }
    if txn.open_table(TOTALS)?.get(())?.is_none() {
        return Err(redb::TableError::TableDoesNotExist("totals.1".to_owned()));
    }
    Ok(())
}

/// When an entry was put, where it is looked up, and its wire bytes.
pub(super) struct EntryRow<'a> {
    /// Tick of the put: larger is newer.
    pub(super) put: u64,
    pub(super) lookup: LookupKey,
    /// Digest of the prediction under that lookup key.
    pub(super) prediction: Digest,
    /// Signature, then canonical bytes.
    pub(super) wire: &'a [u8],
}

impl<'a> EntryRow<'a> {
    /// put (8, LE) ‖ lookup (32) ‖ prediction (32) ‖ wire.
    pub(super) fn to_row(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(8 + 2 * DIGEST_LEN + self.wire.len());
        row.extend_from_slice(&self.put.to_le_bytes());
        row.extend_from_slice(self.lookup.as_bytes());
        row.extend_from_slice(self.prediction.as_bytes());
        row.extend_from_slice(self.wire);
        row
    }

    pub(super) fn from_row(row: &'a [u8]) -> Option<Self> {
        let (put, row) = row.split_first_chunk()?;
        let (lookup, row) = row.split_first_chunk()?;
        let (prediction, wire) = row.split_first_chunk()?;
        Some(Self {
            put: u64::from_le_bytes(*put),
            lookup: LookupKey::from_digest(Digest::from_bytes(*lookup)),
            prediction: Digest::from_bytes(*prediction),
            wire,
        })
    }

    pub(super) fn signed(&self) -> Option<SignedEntry> {
        SignedEntry::from_wire(self.wire).ok()
    }
}

/// Where an object lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Place {
    /// In [`BODIES`].
    Inline = 0,
    /// In a file, as it is.
    File = 1,
    /// In a file of chunks, each packed by itself: [`crate::chunks`].
    Settled = 2,
}

/// Place (1) ‖ size (8, LE) ‖ stored bytes (8, LE).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ObjectRow {
    pub(super) place: Place,
    /// Length of the object.
    pub(super) size: u64,
    /// Length of what is stored.
    pub(super) stored: u64,
}

impl ObjectRow {
    pub(super) fn to_row(self) -> [u8; OBJECT_ROW_LEN] {
        let mut row = [self.place as u8; OBJECT_ROW_LEN];
        row[1..9].copy_from_slice(&self.size.to_le_bytes());
        row[9..].copy_from_slice(&self.stored.to_le_bytes());
        row
    }

    /// `None` for a place that this version does not know: the object counts as absent.
    pub(super) fn from_row(row: &[u8; OBJECT_ROW_LEN]) -> Option<Self> {
        let place = match row[0] {
            0 => Place::Inline,
            1 => Place::File,
            2 => Place::Settled,
            _ => return None,
        };
        Some(Self {
            place,
            size: u64_at(row, 1),
            stored: u64_at(row, 9),
        })
    }
}

/// entries ‖ objects ‖ bytes ‖ tick (8 each, LE) ‖ memo generation (1: 0 or 1).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Totals {
    pub(super) counts: Counts,
    /// The last tick given out.
    pub(super) tick: u64,
    /// Index in [`MEMOS`] of the generation being written.
    pub(super) memos: usize,
}

impl Totals {
    fn to_row(self) -> [u8; TOTALS_LEN] {
        let mut row = [0; TOTALS_LEN];
        let Counts {
            entries,
            objects,
            bytes,
        } = self.counts;
        for (at, value) in [entries, objects, bytes, self.tick].into_iter().enumerate() {
            row[8 * at..8 * at + 8].copy_from_slice(&value.to_le_bytes());
        }
        row[32] = u8::from(self.memos == 1);
        row
    }

    fn from_row(row: &[u8; TOTALS_LEN]) -> Self {
        let counts = Counts {
            entries: u64_at(row, 0),
            objects: u64_at(row, 8),
            bytes: u64_at(row, 16),
        };
        Self {
            counts,
            tick: u64_at(row, 24),
            memos: usize::from(row[32] == 1),
        }
    }

    pub(super) fn read(
        totals: &impl ReadableTable<(), &'static [u8; TOTALS_LEN]>,
    ) -> Result<Self, redb::StorageError> {
        let row = totals.get(())?;
        Ok(row.map_or_else(Self::default, |row| Self::from_row(row.value())))
    }

    /// Changes the totals of a transaction.
    pub(super) fn change(
        txn: &WriteTransaction,
        change: impl FnOnce(&mut Self),
    ) -> Result<(), redb::TableError> {
        let mut table = txn.open_table(TOTALS)?;
        let mut totals = Self::read(&table)?;
        change(&mut totals);
        table.insert((), &totals.to_row())?;
        Ok(())
    }
}

fn u64_at(row: &[u8], at: usize) -> u64 {
    let mut bytes = [0; 8];
    bytes.copy_from_slice(&row[at..at + 8]);
    u64::from_le_bytes(bytes)
}

/// Lookup key ‖ entry key.
pub(super) fn lookup_row(lookup: &LookupKey, key: &EntryKey) -> [u8; LOOKUP_ROW_LEN] {
    let mut row = [0; LOOKUP_ROW_LEN];
    row[..DIGEST_LEN].copy_from_slice(lookup.as_bytes());
    row[DIGEST_LEN..].copy_from_slice(&key.0);
    row
}

/// The entry key in a key of [`LOOKUPS`].
pub(super) fn entry_of_lookup_row(row: &[u8; LOOKUP_ROW_LEN]) -> EntryKey {
    let mut key = [0; ENTRY_KEY_LEN];
    key.copy_from_slice(&row[DIGEST_LEN..]);
    EntryKey(key)
}

/// Lookup key ‖ digest of a prediction.
pub(super) fn prediction_key(lookup: &LookupKey, prediction: &Digest) -> [u8; PREDICTION_KEY_LEN] {
    let mut key = [0; PREDICTION_KEY_LEN];
    key[..DIGEST_LEN].copy_from_slice(lookup.as_bytes());
    key[DIGEST_LEN..].copy_from_slice(prediction.as_bytes());
    key
}

/// One byte, then the bytes as they are (0) or as one zstd frame (1), whichever is smaller.
pub(super) fn pack(bytes: &[u8]) -> Vec<u8> {
    let mut packed = vec![0];
    match zstd::bulk::compress(bytes, ZSTD_LEVEL) {
        Ok(frame) if frame.len() < bytes.len() => {
            packed[0] = 1;
            packed.extend_from_slice(&frame);
        }
        _ => packed.extend_from_slice(bytes),
    }
    packed
}

/// Takes packed bytes apart; `None` where they are damaged or longer than `max`.
pub(super) fn unpack(packed: &[u8], max: usize) -> Option<Vec<u8>> {
    match packed.split_first()? {
        (0, bytes) if bytes.len() <= max => Some(bytes.to_vec()),
        // The frame's own idea of its size is the buffer's, and never more than the bound.
        (1, frame) => {
            let said = zstd::zstd_safe::get_frame_content_size(frame).ok()??;
            let room = usize::try_from(said).ok().filter(|room| *room <= max)?;
            chunks::unpack(frame, room)
        }
        _ => None,
    }
}

/// The limit as it stands in an error.
pub(super) fn oversize(limit: usize) -> StoreError {
    StoreError::Oversize {
        limit: limit as u64,
    }
}
