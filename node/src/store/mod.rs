//! The store: signed entries, predictions, objects, and the node's own small state.
//!
//! Enters: verified entries with their predictions, staged objects. Leaves: the same bytes, to
//! be verified again by who reads them (an entry) or digest-checked on the way (an object).
//! Must never happen here: a decision about trust, a key, a compiler, a socket.
//!
//! Two stores pass one conformance suite: redb with files beside it (the real one) and memory
//! (for tests of other rooms).

use quarry_trust::{ActionKey, BuilderId, Digest, Entry, LookupKey, ObjectRef, SignedEntry, Verified};
use std::fs::File;
use std::io::Write;

/// Objects up to this size lie inside the database; larger ones are files beside it. Bytes.
pub const INLINE_MAX: u64 = 64 * 1024;
/// Predictions kept under one lookup key; the least recently used goes first.
pub const MAX_PREDICTIONS: usize = 8;
/// Size of one prediction's bytes.
pub const MAX_PREDICTION_BYTES: usize = 1 << 20;

/// A signed entry and the prediction that leads to it: what an answer to a lookup key carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// Names of the inputs that the entry's compile read; a hint. Opaque bytes here.
    pub prediction: Vec<u8>,
    /// The entry, as received.
    pub signed: SignedEntry,
}

/// An object as it lies here. Held open: gc may unlink it, who reads it is not disturbed.
#[derive(Debug)]
pub enum Object {
    /// Decompressed bytes; their digest has been checked.
    Bytes(Vec<u8>),
    /// An open file of the stated length; its digest is checked by who reads it.
    File(File),
}
