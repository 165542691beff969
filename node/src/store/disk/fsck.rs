//! fsck: everything stored is read and checked.
//!
//! Enters: whether to repair. Leaves: what was read and what was wrong. Objects are checked
//! against digest and length, entries against their key and the objects they name, the lookup
//! index against the entries, the counts against a recount, files against the index, the
//! database's pages against their checksums. Repair removes what is broken, so that it is
//! compiled or fetched anew. Must never happen here: a sound object removed because it moved
//! while fsck looked (each fault is looked at again before it counts).

use super::super::StoreError;
use super::super::entry_key::EntryKey;
use super::super::report::{Counts, Fault, FsckReport};
use super::super::survey::named;
use super::engine::Stop;
use super::entries::{remove_entries, take_lookup};
use super::tables::{
    ENTRIES, EntryRow, LOOKUPS, OBJECTS, ObjectRow, PREDICTIONS, Totals, entry_of_lookup_row,
    prediction_key, unpack,
};
use super::upkeep::decode;
use super::{Inner, lock};
use crate::store::MAX_PREDICTION_BYTES;
use quarry_trust::{Digest, LookupKey};
use redb::{ReadTransaction, ReadableTable, WriteTransaction};
use std::collections::HashSet;

impl Inner {
    pub(super) fn fsck(&self, repair: bool) -> Result<FsckReport, StoreError> {
        let _alone = lock(&self.upkeep);
        let mut report = FsckReport::default();
        match self.engine.check_pages() {
            Ok(true) => {}
            Ok(false) => report.fault(Fault::DatabaseDamaged(
                "pages without their checksum, or lost; mended as far as it could be".to_owned(),
            )),
            // What cannot be read is set aside by whoever reads it, the next lines included.
            Err(error) => report.fault(Fault::DatabaseDamaged(error.to_string())),
        }
        self.sweep_thawed()?;
        let broken = self.check_objects(&mut report)?;
        let entries = self.check_entries(&broken, &mut report)?;
        let lookups = self.engine.read(broken_lookups)?;
        lookups
            .iter()
            .for_each(|_| report.fault(Fault::LookupBroken));
        if repair {
            {
                let _placing = self.placing();
                let broken: Vec<Digest> = broken.into_iter().collect();
                self.unplace(&broken)?;
            }
            self.engine.write(|txn| {
                remove_entries(txn, &entries)?;
                remove_lookups(txn, &lookups)
            })?;
        }
        self.check_files(repair, &mut report)?;
        self.check_counts(repair, &mut report)?;
        if repair {
            self.engine.flush()?;
            report.repaired = true;
        }
        Ok(report)
    }

    /// Reads every object; answers with those that are missing or damaged.
    fn check_objects(&self, report: &mut FsckReport) -> Result<HashSet<Digest>, StoreError> {
        let rows = self.engine.read(|txn| {
            let mut rows = Vec::new();
            for item in txn.open_table(OBJECTS)?.iter()? {
                let (digest, row) = item?;
                let digest = Digest::from_bytes(*digest.value());
                rows.push((digest, ObjectRow::from_row(row.value())));
            }
            Ok(rows)
        })?;
        let mut broken = HashSet::new();
        for (digest, row) in rows {
            let Some(row) = row else {
                report.fault(Fault::ObjectDamaged(digest));
                broken.insert(digest);
                continue;
            };
            report.objects += 1;
            report.bytes += row.size;
            let fault = match self.is_sound(&digest, row)? {
                Some(true) => continue,
                Some(false) => Fault::ObjectDamaged(digest),
                None => Fault::ObjectMissing(digest),
            };
            // Taken by a repairing reader since: then nothing is wrong any more.
            if self.row(&digest)? == Some(row) {
                report.fault(fault);
                broken.insert(digest);
            }
        }
        Ok(broken)
    }

    /// Reads every entry; answers with those that must go.
    fn check_entries(
        &self,
        broken: &HashSet<Digest>,
        report: &mut FsckReport,
    ) -> Result<Vec<EntryKey>, StoreError> {
        self.engine.read(|txn| {
            let objects = txn.open_table(OBJECTS)?;
            let mut gone = Vec::new();
            for item in txn.open_table(ENTRIES)?.iter()? {
                let (key, row) = item?;
                let key = EntryKey(*key.value());
                report.entries += 1;
                let Some(entry) = decode(row.value()).filter(|e| EntryKey::of(e) == key) else {
                    report.fault(Fault::EntryUnreadable(key.action()));
                    gone.push(key);
                    continue;
                };
                for digest in named(&entry) {
                    if broken.contains(&digest) || objects.get(digest.as_bytes())?.is_none() {
                        let (action, builder) = (entry.action, entry.builder);
                        report.fault(Fault::EntryIncomplete(action, builder, digest));
                        gone.push(key);
                        break;
                    }
                }
            }
            Ok(gone)
        })
    }

    fn check_files(&self, repair: bool, report: &mut FsckReport) -> Result<(), StoreError> {
        self.files.each_object(&mut |path, _, digest| {
            let _placing = self.placing();
            if self.is_stray(digest)? {
                report.fault(Fault::StrayFile(path.to_owned()));
                if repair {
                    std::fs::remove_file(path).map_err(|e| StoreError::io("removing", path, e))?;
                }
            }
            Ok(())
        })
    }

    /// Counts everything in one transaction and compares with what is kept.
    fn check_counts(&self, repair: bool, report: &mut FsckReport) -> Result<(), StoreError> {
        self.engine.write(|txn| {
            let mut counts = Counts::default();
            for item in txn.open_table(OBJECTS)?.iter()? {
                counts.objects += 1;
                counts.bytes += ObjectRow::from_row(item?.1.value()).map_or(0, |row| row.stored);
            }
            counts.entries = redb::ReadableTableMetadata::len(&txn.open_table(ENTRIES)?)?;
            Totals::change(txn, |totals| {
                if totals.counts != counts {
                    report.fault(Fault::CountsWrong);
                    if repair {
                        totals.counts = counts;
                    }
                }
            })?;
            Ok(())
        })
    }
}

/// Rows of the lookup index that lead to no entry, or to no prediction that can be read.
fn broken_lookups(txn: &ReadTransaction) -> Result<Vec<(LookupKey, EntryKey)>, Stop> {
    let entries = txn.open_table(ENTRIES)?;
    let predictions = txn.open_table(PREDICTIONS)?;
    let mut broken = Vec::new();
    for item in txn.open_table(LOOKUPS)?.iter()? {
        let (row, digest) = item?;
        let digest = Digest::from_bytes(*digest.value());
        let key = entry_of_lookup_row(row.value());
        let mut lookup = [0; 32];
        lookup.copy_from_slice(&row.value()[..32]);
        let lookup = LookupKey::from_digest(Digest::from_bytes(lookup));
        let leads = entries.get(&key.0)?.is_some_and(|row| {
            EntryRow::from_row(row.value()).is_some_and(|row| row.lookup == lookup)
        });
        let packed = predictions.get(&prediction_key(&lookup, &digest))?;
        let bytes = packed.and_then(|packed| unpack(packed.value(), MAX_PREDICTION_BYTES));
        if !leads || bytes.is_none_or(|bytes| Digest::of(&bytes) != digest) {
            broken.push((lookup, key));
        }
    }
    Ok(broken)
}

fn remove_lookups(txn: &WriteTransaction, rows: &[(LookupKey, EntryKey)]) -> Result<(), Stop> {
    for (lookup, key) in rows {
        take_lookup(txn, lookup, key)?;
    }
    Ok(())
}
