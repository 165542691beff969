//! The journal's rows: written behind the caller's back, read by builder.
//!
//! Enters: what was put into target directories, in batches with the next commit. Leaves: the
//! rows of one builder, or all. Must never happen here: a caller that waits for the disk, more
//! rows than the journal's limit and its slack.

use super::super::StoreError;
use super::super::journal::{
    JOURNAL_KEY_LEN, JOURNAL_ROWS, JOURNAL_SLACK, JOURNAL_WAITING, Placed,
};
use super::Inner;
use super::engine::Stop;
use super::tables::JOURNAL;
use quarry_trust::BuilderId;
use quarry_trust::digest::DIGEST_LEN;
use redb::{ReadTransaction, ReadableTable, ReadableTableMetadata, WriteTransaction};
use std::ops::Bound;

/// Rows read in one transaction, so that a reader that pauses does not keep pages from reuse.
const PAGE: usize = 1024;

/// A row that waits: its key and its bytes.
pub(super) type Row = ([u8; JOURNAL_KEY_LEN], Vec<u8>);

/// Adds a row to those that wait, unless too many do.
pub(super) fn wait(waiting: &mut Vec<Row>, row: Row) {
    match waiting.len() {
        0..JOURNAL_WAITING => waiting.push(row),
        JOURNAL_WAITING => {
            tracing::warn!("the journal of restores cannot be written and goes on with a gap");
            // Once: the one more says that it was told.
            waiting.push(row);
        }
        _ => {}
    }
}

/// Writes what waits, and takes the oldest rows where there are too many.
pub(super) fn write(txn: &WriteTransaction, rows: &[Row]) -> Result<(), Stop> {
    write_within(txn, rows, JOURNAL_ROWS, JOURNAL_SLACK)
}

fn write_within(txn: &WriteTransaction, rows: &[Row], most: u64, slack: u64) -> Result<(), Stop> {
    if rows.is_empty() {
        return Ok(());
    }
    let mut table = txn.open_table(JOURNAL)?;
    for (key, row) in rows {
        table.insert(key, row.as_slice())?;
    }
    let over = table.len()?.saturating_sub(most);
    if over < slack.max(1) {
        return Ok(());
    }
    let mut by_age = Vec::new();
    for item in table.iter()? {
        let (key, row) = item?;
        by_age.push((Placed::time_of(row.value()), *key.value()));
    }
    by_age.sort_unstable();
    let over = usize::try_from(over).unwrap_or(usize::MAX);
    for (_, key) in by_age.iter().take(over) {
        table.remove(key)?;
    }
    Ok(())
}

impl Inner {
    pub(super) fn note(&self, placed: &Placed) {
        if placed.fits() {
            self.engine.note((placed.key(), placed.to_row()));
        } else {
            tracing::debug!(dir = placed.dir, "too long for the journal");
        }
    }

    pub(super) fn each_placed(
        &self,
        builder: Option<&BuilderId>,
        each: &mut dyn FnMut(Placed),
    ) -> Result<(), StoreError> {
        // What waits belongs to the answer.
        self.engine.write_notes()?;
        let mut after = None;
        loop {
            let (page, last) = self.engine.read(|txn| page(txn, builder, after.as_ref()))?;
            page.into_iter().for_each(&mut *each);
            match last {
                Some(last) => after = Some(last),
                None => return Ok(()),
            }
        }
    }
}

type Page = (Vec<Placed>, Option<[u8; JOURNAL_KEY_LEN]>);

/// Some rows behind `after`, and the key of the last where more may follow.
fn page(
    txn: &ReadTransaction,
    builder: Option<&BuilderId>,
    after: Option<&[u8; JOURNAL_KEY_LEN]>,
) -> Result<Page, Stop> {
    let edge = |fill: u8| {
        let mut key = [fill; JOURNAL_KEY_LEN];
        if let Some(builder) = builder {
            key[..DIGEST_LEN].copy_from_slice(&builder.0);
        }
        key
    };
    let (first, last) = (edge(0), edge(0xff));
    let from = after.map_or(Bound::Included(&first), Bound::Excluded);
    let table = txn.open_table(JOURNAL)?;
    let mut rows = Vec::new();
    let mut at = None;
    let range = table.range::<&[u8; JOURNAL_KEY_LEN]>((from, Bound::Included(&last)))?;
    for (count, item) in range.enumerate() {
        let (key, row) = item?;
        // A row that does not come apart is of a later schema, or damaged: it says nothing.
        rows.extend(Placed::from_row(row.value()));
        if count + 1 == PAGE {
            at = Some(*key.value());
            break;
        }
    }
    Ok((rows, at))
}

#[cfg(test)]
#[path = "notes_tests.rs"]
mod tests;
