//! The pipeline's memos, kept in the store. Losing them costs time only, so errors are dropped.

use crate::store::Store;
use quarry_wrapper::digests::Memos;
use std::sync::Arc;

/// Memos in a store.
pub struct StoreMemos(pub Arc<dyn Store>);

impl Memos for StoreMemos {
    fn recall(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.0.memo(key).ok().flatten()
    }

    fn remember(&self, key: Vec<u8>, value: Vec<u8>) {
        if let Err(error) = self.0.set_memo(&[(key, value)]) {
            tracing::debug!(%error, "a memo was not kept");
        }
    }
}
