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

/// Bytes on their way into the store: a compile's output or a fetched object. Dropped without
/// `commit`, it leaves nothing behind.
pub trait Stage: Write + Send {
    /// Ends the object and names it. It is readable at once and is kept from gc until the
    /// returned pin is dropped (by then an entry that names it has been put).
    ///
    /// # Errors
    /// What the disk said.
    fn commit(self: Box<Self>) -> Result<Pinned, StoreError>;
}

/// A staged object, kept from gc while this lives.
pub struct Pinned {
    /// The object.
    pub object: ObjectRef,
    _pin: Pin,
}

/// What is held by every implementation, behind `&self`, from any thread. All calls block.
pub trait Store: Send + Sync + 'static {
    /// Entries under an action key, of every builder and scope, newest first. Also marks use.
    fn entries(&self, action: &ActionKey) -> Result<Vec<Offer>, StoreError>;
    /// Predictions under a lookup key with their entries, last used first, at most `max`.
    fn offers(&self, lookup: &LookupKey, max: usize) -> Result<Vec<Offer>, StoreError>;
    /// Keeps an entry with its prediction. Visible to readers on return; durable after `flush`,
    /// or within [`COMMIT_EVERY`]. Every object that it names must have been staged.
    fn put(&self, entry: &Verified<Entry>, offer: &Offer) -> Result<(), StoreError>;
    /// Removes one entry (not its objects, which gc takes): what fsck, a failed digest or a
    /// refused signature does to it.
    fn remove(&self, action: &ActionKey, builder: &BuilderId) -> Result<bool, StoreError>;
    /// Begins an object of at most `limit` bytes; writing more is an error.
    fn stage(&self, limit: u64) -> Result<Box<dyn Stage>, StoreError>;
    /// Takes a file's bytes as an object: reflink where the filesystem has it, else a copy,
    /// hashed in the same pass. The file may be written to afterwards without harm.
    fn stage_file(&self, file: &File, limit: u64) -> Result<Pinned, StoreError>;
    /// Opens an object, or `None` where it is not here or has another length.
    fn object(&self, object: &ObjectRef) -> Result<Option<Object>, StoreError>;
    /// Whether the object is here, by the index alone.
    fn has(&self, digest: &Digest) -> Result<bool, StoreError>;
    /// Calls `each` with every entry, as (wire bytes of the entry, prediction).
    fn each_offer(&self, each: &mut dyn FnMut(Offer)) -> Result<(), StoreError>;
    /// The node's own small state (roster, counters, addresses), by name.
    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Replaces one piece of state; durable on return.
    fn set_state(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;
    /// A memo (file identity → digest; place → macros behind it). Lost memos cost time only.
    fn memo(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Writes memos; not durable before the next commit.
    fn set_memo(&self, memos: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError>;
    /// Makes everything put so far durable.
    fn flush(&self) -> Result<(), StoreError>;
    /// How much is here.
    fn counts(&self) -> Result<Counts, StoreError>;
    /// Evicts least recently used entries, and objects that no entry names, until at most
    /// `limit` bytes of objects are left.
    fn gc(&self, limit: u64) -> Result<GcReport, StoreError>;
    /// Reads everything and checks it: objects against digests, entries against the objects they
    /// name. With `repair`, what is broken is removed.
    fn fsck(&self, repair: bool) -> Result<FsckReport, StoreError>;
    /// Removes the entries that match, and the objects that only they name.
    fn purge(&self, what: &Purge) -> Result<GcReport, StoreError>;
}
