//! The key under which an entry lies: action, terminal width, builder.
//!
//! Entries of several builders and several widths lie side by side under one action key and are
//! found by its prefix. A builder's later entry for the same action and width replaces its
//! earlier one, whatever their scopes.

use quarry_trust::digest::DIGEST_LEN;
use quarry_trust::key::KEY_LEN;
use quarry_trust::{ActionKey, BuilderId, Digest, Entry};

/// Length of an [`EntryKey`], in bytes.
pub(super) const ENTRY_KEY_LEN: usize = DIGEST_LEN + 4 + KEY_LEN;
/// The width marker of entries without rendered messages. No `u16` width reaches it.
const NO_WIDTH: u32 = u32::MAX;

/// action (32) ‖ width as big-endian `u32`, or `NO_WIDTH` (4) ‖ builder (32).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct EntryKey(pub(super) [u8; ENTRY_KEY_LEN]);

impl EntryKey {
    pub(super) fn of(entry: &Entry) -> Self {
        let mut key = [0; ENTRY_KEY_LEN];
        key[..DIGEST_LEN].copy_from_slice(entry.action.as_bytes());
        let width = entry.width.map_or(NO_WIDTH, u32::from);
        key[DIGEST_LEN..DIGEST_LEN + 4].copy_from_slice(&width.to_be_bytes());
        key[DIGEST_LEN + 4..].copy_from_slice(&entry.builder.0);
        Self(key)
    }

    /// The first and the last key that an action's entries can have.
    pub(super) fn bounds(action: &ActionKey) -> (Self, Self) {
        let (mut first, mut last) = ([0; ENTRY_KEY_LEN], [0xff; ENTRY_KEY_LEN]);
        first[..DIGEST_LEN].copy_from_slice(action.as_bytes());
        last[..DIGEST_LEN].copy_from_slice(action.as_bytes());
        (Self(first), Self(last))
    }

    pub(super) fn action(&self) -> ActionKey {
        let mut bytes = [0; DIGEST_LEN];
        bytes.copy_from_slice(&self.0[..DIGEST_LEN]);
        ActionKey::from_digest(Digest::from_bytes(bytes))
    }

    pub(super) fn builder(&self) -> BuilderId {
        let mut bytes = [0; KEY_LEN];
        bytes.copy_from_slice(&self.0[DIGEST_LEN + 4..]);
        BuilderId(bytes)
    }
}
