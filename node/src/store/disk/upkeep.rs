//! gc and purge: what goes, in which order, without taking what somebody holds.
//!
//! Enters: a limit, or a selection. Leaves: counts of what went. The choice is made over one
//! snapshot by [`Survey`]; what was put, used or pinned since stays. Entries go first, then the
//! objects that none names, in batches, so that nobody waits for long; then files that no row
//! names. Must never happen here: an object taken that a stored entry names or a pin holds.

use super::super::StoreError;
use super::super::entry_key::EntryKey;
use super::super::report::{GcReport, Purge, Select};
use super::super::survey::{Survey, Surveyed, named};
use super::engine::Stop;
use super::entries::remove_entries;
use super::tables::{ENTRIES, EntryRow, OBJECTS, ObjectRow, Place, USES};
use super::{Inner, lock};
use quarry_trust::canon::Canonical;
use quarry_trust::{Digest, Entry};
use redb::{ReadTransaction, ReadableTable};
use std::collections::HashSet;

/// Entries removed in one transaction, and objects whose rows and files go under one hold of the
/// placing lock: some ten milliseconds, which is what a stage may have to wait.
const BATCH: usize = 256;

impl Inner {
    pub(super) fn gc(&self, limit: u64) -> Result<GcReport, StoreError> {
        self.while_watching(|| {
            let mut survey = self.survey(None)?;
            let victims = survey.over(limit, |digest| self.pins.holds(digest));
            let gone = self.evict(&survey, &victims, true)?;
            let mut report = GcReport {
                entries: gone.len() as u64,
                ..GcReport::default()
            };
            self.collect(&survey.unnamed_without(&gone), &mut report)?;
            self.sweep_strays(&mut report)?;
            Ok(report)
        })
    }

    pub(super) fn purge(&self, what: &Purge) -> Result<GcReport, StoreError> {
        self.while_watching(|| {
            let survey = self.survey(Some(&what.select))?;
            let picked = survey.picked();
            if what.dry_run {
                let gone: HashSet<EntryKey> = picked.into_iter().collect();
                let mut objects = survey.named_only_by(&gone);
                objects.retain(|(digest, _)| !self.pins.holds(digest));
                return Ok(GcReport {
                    entries: gone.len() as u64,
                    objects: objects.len() as u64,
                    bytes: objects.iter().map(|(_, bytes)| bytes).sum(),
                    strays: 0,
                });
            }
            let gone = self.evict(&survey, &picked, false)?;
            let mut report = GcReport {
                entries: gone.len() as u64,
                ..GcReport::default()
            };
            self.collect(&survey.named_only_by(&gone), &mut report)?;
            Ok(report)
        })
    }

    /// Runs upkeep alone, and notes what entries name meanwhile. The note begins inside a write
    /// transaction: every put is before it, and in the survey, or after it, and noted.
    fn while_watching<T>(
        &self,
        upkeep: impl FnOnce() -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let _alone = lock(&self.upkeep);
        self.engine.write(|_| {
            *lock(&self.named) = Some(HashSet::new());
            Ok(())
        })?;
        let done = upkeep();
        *lock(&self.named) = None;
        done
    }

    pub(super) fn survey(&self, select: Option<&Select>) -> Result<Survey, StoreError> {
        self.engine.read(|txn| {
            let mut survey = Survey::default();
            for item in txn.open_table(OBJECTS)?.iter()? {
                let (digest, row) = item?;
                let stored = ObjectRow::from_row(row.value()).map_or(0, |row| row.stored);
                survey
                    .objects
                    .insert(Digest::from_bytes(*digest.value()), stored);
            }
            self.survey_entries(txn, select, &mut survey)?;
            Ok(survey)
        })
    }

    fn survey_entries(
        &self,
        txn: &ReadTransaction,
        select: Option<&Select>,
        survey: &mut Survey,
    ) -> Result<(), Stop> {
        let uses = txn.open_table(USES)?;
        for item in txn.open_table(ENTRIES)?.iter()? {
            let (key, row) = item?;
            let key = EntryKey(*key.value());
            let entry = decode(row.value());
            let picked = match (select, &entry) {
                (None, _) => false,
                (Some(Select::Builder(builder)), None) => key.builder() == *builder,
                (Some(select), None) => *select == Select::All,
                (Some(select), Some(entry)) => select.takes(entry),
            };
            survey.entries.push(Surveyed {
                key,
                used: self.last_use(&uses, &key)?,
                picked,
                broken: entry.is_none(),
                objects: entry.as_ref().map(named).unwrap_or_default(),
            });
        }
        Ok(())
    }

    /// Removes entries; with `unused` those alone that were not used since the survey. Answers
    /// with what went.
    fn evict(
        &self,
        survey: &Survey,
        keys: &[EntryKey],
        unused: bool,
    ) -> Result<HashSet<EntryKey>, StoreError> {
        let seen: std::collections::HashMap<EntryKey, u64> = survey
            .entries
            .iter()
            .map(|entry| (entry.key, entry.used))
            .collect();
        let mut gone = HashSet::new();
        for batch in keys.chunks(BATCH) {
            let taken = self.engine.write(|txn| {
                let mut taken = Vec::new();
                {
                    let uses = txn.open_table(USES)?;
                    for key in batch {
                        let used = self.last_use(&uses, key)?;
                        if !unused || seen.get(key).is_some_and(|then| used <= *then) {
                            taken.push(*key);
                        }
                    }
                }
                remove_entries(txn, &taken)?;
                Ok(taken)
            })?;
            gone.extend(taken);
        }
        Ok(gone)
    }

    /// Takes objects that nobody pinned and no entry named since the survey.
    fn collect(&self, objects: &[(Digest, u64)], report: &mut GcReport) -> Result<(), StoreError> {
        for batch in objects.chunks(BATCH) {
            let _placing = self.placing();
            let free: Vec<Digest> = {
                let named = lock(&self.named);
                let is_named = |d: &Digest| named.as_ref().is_some_and(|n| n.contains(d));
                let digests = batch.iter().map(|(digest, _)| *digest);
                digests
                    .filter(|digest| !self.pins.holds(digest) && !is_named(digest))
                    .collect()
            };
            let (count, bytes) = self.unplace(&free)?;
            report.objects += count;
            report.bytes += bytes;
        }
        Ok(())
    }

    /// Removes files that no row names, and temporary files whose writer is gone.
    fn sweep_strays(&self, report: &mut GcReport) -> Result<(), StoreError> {
        self.sweep_thawed()?;
        self.files.each_object(&mut |path, len, digest| {
            // A file gets its row under the lock under which it gets its name: seen from here,
            // a file without a row belongs to nothing.
            let _placing = self.placing();
            if self.is_stray(digest)? && std::fs::remove_file(path).is_ok() {
                report.strays += 1;
                report.bytes += len;
            }
            Ok(())
        })?;
        let (files, bytes) = self.files.clear_temporary(false)?;
        report.strays += files;
        report.bytes += bytes;
        Ok(())
    }

    /// Whether no row promises such a file. The caller holds `placing`.
    pub(super) fn is_stray(&self, file: Option<(Digest, Place)>) -> Result<bool, StoreError> {
        let Some((digest, place)) = file else {
            return Ok(true);
        };
        if lock(&self.thawed).contains(&digest) {
            return Ok(false);
        }
        self.engine.read(|txn| {
            let row = txn.open_table(OBJECTS)?.get(digest.as_bytes())?;
            // A row in a form of a later version is not ours to contradict.
            Ok(row.is_none_or(|row| {
                ObjectRow::from_row(row.value()).is_some_and(|row| row.place != place)
            }))
        })
    }
}

/// The entry in a row, if the row is whole.
pub(super) fn decode(row: &[u8]) -> Option<Entry> {
    let signed = EntryRow::from_row(row)?.signed()?;
    Entry::from_canon(&signed.bytes).ok()
}

#[cfg(test)]
#[path = "upkeep_tests.rs"]
mod tests;
