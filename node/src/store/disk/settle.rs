//! Settling: objects that nobody has used for a while are packed, and take a third of the space.
//!
//! Enters: since when nobody must have used an object, and how many bytes to pack at most. Leaves:
//! the same objects in chunks. An object is read, digested, packed under a temporary name and
//! named; then its row says where it lies, durably; then the file as it was goes. A crash in
//! between leaves a stray file, never a row that promises one. Must never happen here: an object
//! packed that is damaged, pinned, or lent to a target directory.

use super::super::StoreError;
use super::super::report::SettleReport;
use super::tables::{OBJECTS, ObjectRow, Place, Totals};
use super::{Inner, lock};
use crate::chunks::{self, CHUNK, Strength};
use quarry_trust::Digest;
use quarry_trust::digest::Hasher;
use redb::ReadableTable;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::MetadataExt;

/// How strongly settled objects are packed: to 26 % of a dev build's bytes, at 130 MB/s, for which
/// nobody waits, and 1340 MB/s out. zstd's own level 3 leaves 27 %, at 355 and 1200.
const STRENGTH: Strength = Strength {
    level: 6,
    min_match: 6,
};
/// Objects whose rows change in one durable commit.
const BATCH: usize = 64;

/// An object that was packed and has its settled name.
struct Packed {
    digest: Digest,
    was: ObjectRow,
    now: ObjectRow,
}

impl Inner {
    pub(super) fn settle(&self, before: u64, budget: u64) -> Result<SettleReport, StoreError> {
        let _alone = lock(&self.upkeep);
        self.sweep_thawed()?;
        let mut report = SettleReport::default();
        for batch in self.idle(before)?.chunks(BATCH) {
            let mut packed = Vec::new();
            for (digest, row) in batch {
                if report.before >= budget {
                    break;
                }
                if let Some(now) = self.pack_one(digest, *row)? {
                    report.objects += 1;
                    report.before += row.stored;
                    report.after += now.stored;
                    packed.push(Packed {
                        digest: *digest,
                        was: *row,
                        now,
                    });
                }
            }
            self.move_rows(&packed)?;
        }
        chunks::forget_packer();
        Ok(report)
    }

    /// Removes the packed files of what was unpacked for use, once that is durable.
    pub(super) fn sweep_thawed(&self) -> Result<(), StoreError> {
        let thawed: Vec<Digest> = {
            // Whoever unpacks holds it until the new row is written.
            let _placing = self.placing();
            lock(&self.thawed).iter().copied().collect()
        };
        if thawed.is_empty() {
            return Ok(());
        }
        self.engine.commit()?;
        for digest in thawed {
            let _placing = self.placing();
            match self.row(&digest)? {
                Some(row) if row.place == Place::File => {
                    // The row is on the disk; now the bytes are, too.
                    if let Some(file) = self.files.open_object(&digest, row.stored)? {
                        let path = self.files.path(&digest);
                        file.sync_data()
                            .map_err(|e| StoreError::io("syncing", &path, e))?;
                    }
                    self.files.remove_settled(&digest)?;
                }
                Some(_) => {}
                None => self.files.remove_settled(&digest)?,
            }
            lock(&self.thawed).remove(&digest);
        }
        Ok(())
    }

    /// Objects in files of their own that entries name, none of which was used since `before`.
    fn idle(&self, before: u64) -> Result<Vec<(Digest, ObjectRow)>, StoreError> {
        let survey = self.survey(None)?;
        let mut used: HashMap<Digest, u64> = HashMap::new();
        for entry in &survey.entries {
            for digest in &entry.objects {
                let last = used.entry(*digest).or_default();
                *last = entry.used.max(*last);
            }
        }
        self.engine.read(|txn| {
            let mut idle = Vec::new();
            for item in txn.open_table(OBJECTS)?.iter()? {
                let (digest, row) = item?;
                let digest = Digest::from_bytes(*digest.value());
                let row = ObjectRow::from_row(row.value());
                let raw = row.filter(|row| row.place == Place::File);
                let rested = used.get(&digest).is_some_and(|last| *last < before);
                idle.extend(raw.filter(|_| rested).map(|row| (digest, row)));
            }
            Ok(idle)
        })
    }

    /// Packs one object and gives the file its name; `None` where it stays as it is.
    fn pack_one(&self, digest: &Digest, row: ObjectRow) -> Result<Option<ObjectRow>, StoreError> {
        let path = self.files.path(digest);
        let Some(mut file) = self.files.open_object(digest, row.stored)? else {
            return Ok(None);
        };
        if self.pins.holds(digest) || is_lent(&file) {
            return Ok(None);
        }
        let failed = |e| StoreError::io("reading", &path, e);
        let mut packed = self.files.temporary()?;
        let (mut hasher, mut raw, mut out) = (Hasher::new(), vec![0; CHUNK], Vec::new());
        let mut stored = 0;
        loop {
            let n = fill(&mut file, &mut raw).map_err(failed)?;
            if n == 0 {
                break;
            }
            hasher.update(&raw[..n]);
            out.clear();
            chunks::encode(&raw[..n], Some(STRENGTH), &mut out);
            packed.append(&out)?;
            stored += out.len() as u64;
        }
        if hasher.finish() != *digest {
            self.recheck(digest)?;
            return Ok(None);
        }
        packed.sync()?;
        packed.become_settled(&self.files, digest)?;
        Ok(Some(ObjectRow {
            place: Place::Settled,
            size: row.size,
            stored,
        }))
    }

    /// Says where packed objects lie now, durably, and removes the files as they were. What was
    /// pinned, lent or written anew meanwhile stays; its packed file is a stray.
    fn move_rows(&self, packed: &[Packed]) -> Result<(), StoreError> {
        let _placing = self.placing();
        let mut moved = Vec::new();
        for one in packed {
            let file = self.files.open_object(&one.digest, one.was.stored)?;
            let free = file.is_some_and(|file| !is_lent(&file)) && !self.pins.holds(&one.digest);
            if free && self.row(&one.digest)? == Some(one.was) {
                moved.push(one);
            }
        }
        if moved.is_empty() {
            return Ok(());
        }
        self.engine.write_durably(|txn| {
            let mut objects = txn.open_table(OBJECTS)?;
            for one in &moved {
                objects.insert(one.digest.as_bytes(), &one.now.to_row())?;
            }
            drop(objects);
            Totals::change(txn, |totals| {
                for one in &moved {
                    let bytes = totals.counts.bytes + one.now.stored;
                    totals.counts.bytes = bytes.saturating_sub(one.was.stored);
                }
            })?;
            Ok(())
        })?;
        for one in &moved {
            self.files.remove_raw(&one.digest)?;
        }
        Ok(())
    }
}

/// Whether a target directory has the file as well: packing it would free nothing.
fn is_lent(file: &File) -> bool {
    file.metadata().map_or(true, |m| m.nlink() != 1)
}

/// Reads until the buffer is full or the file ends.
fn fill(file: &mut File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut n = 0;
    while n < buffer.len() {
        match file.read(&mut buffer[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(n)
}

#[cfg(test)]
#[path = "settle_tests.rs"]
mod tests;
