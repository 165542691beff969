//! Memos: small facts that survive a restart, in two generations of which the older is dropped as
//! a whole.
//!
//! Enters: keys and values, up to a length. Leaves: the value put last. A memo waits in memory for
//! the next commit and is read there: whoever writes one waits for the disk only where many wait
//! already. Must never happen here: a memo that was put and is not found while the node lives.

use super::super::{MAX_MEMO_BYTES, MEMOS_PER_GENERATION, StoreError};
use super::Inner;
use super::engine::Stop;
use super::tables::{MEMOS, TOTALS, Totals};
use redb::{ReadableTableMetadata, WriteTransaction};
use std::collections::HashMap;
use std::sync::Arc;

/// Memos that wait, at most: what a large build leaves between two commits many times over.
/// Beyond, whoever brings more waits for the commit.
const WAITING_MAX: usize = 32_768;

/// Memos on their way to the database.
#[derive(Default, Clone)]
pub(super) struct Waiting(HashMap<Arc<[u8]>, Arc<[u8]>>);

impl Waiting {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn get(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.get(key).map(|value| value.to_vec())
    }

    /// Takes what is short enough to be kept. `false` where too many wait.
    pub(super) fn extend(&mut self, memos: &[(Vec<u8>, Vec<u8>)]) -> bool {
        if self.0.len() + memos.len() > WAITING_MAX {
            return false;
        }
        let short =
            |(key, value): &&(Vec<u8>, Vec<u8>)| key.len().max(value.len()) <= MAX_MEMO_BYTES;
        let short = memos.iter().filter(short);
        self.0
            .extend(short.map(|(key, value)| (key.as_slice().into(), value.as_slice().into())));
        true
    }

    /// These are in the database now; what was put anew since waits on.
    pub(super) fn written(&mut self, these: &Self) {
        self.0.retain(|key, value| {
            let then = these.0.get(key);
            then.is_none_or(|then| !Arc::ptr_eq(then, value))
        });
    }
}

/// Writes memos into the generation that is being written.
pub(super) fn write(txn: &WriteTransaction, memos: &Waiting) -> Result<(), Stop> {
    if memos.is_empty() {
        return Ok(());
    }
    let mut current = Totals::read(&txn.open_table(TOTALS)?)?.memos;
    if txn.open_table(MEMOS[current])?.len()? >= MEMOS_PER_GENERATION {
        current = 1 - current;
        txn.delete_table(MEMOS[current])?;
        Totals::change(txn, |totals| totals.memos = current)?;
    }
    let mut table = txn.open_table(MEMOS[current])?;
    for (key, value) in &memos.0 {
        table.insert(&**key, &**value)?;
    }
    Ok(())
}

impl Inner {
    pub(super) fn memo(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if let Some(value) = self.engine.waiting_memo(key) {
            return Ok(Some(value));
        }
        let (found, old) = self.engine.read(|txn| {
            let current = Totals::read(&txn.open_table(TOTALS)?)?.memos;
            for (at, old) in [(current, false), (1 - current, true)] {
                let memos = txn.open_table(MEMOS[at])?;
                if let Some(value) = memos.get(key)? {
                    return Ok((Some(value.value().to_vec()), old));
                }
            }
            Ok((None, false))
        })?;
        if let (Some(value), true) = (&found, old) {
            // Still of use: it outlives its generation.
            self.set_memo(&[(key.to_vec(), value.clone())])?;
        }
        Ok(found)
    }

    pub(super) fn set_memo(&self, memos: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError> {
        for some in memos.chunks(WAITING_MAX / 2) {
            if !self.engine.remember(some) {
                self.engine.commit()?;
                self.engine.remember(some);
            }
        }
        Ok(())
    }
}
