//! The store: signed entries, predictions, objects, and the node's own small state.
//!
//! Enters: verified entries with their predictions, staged objects. Leaves: the same bytes, to
//! be verified again by who reads them (an entry) or digest-checked on the way (an object).
//! Must never happen here: a decision about trust, a key, a compiler, a socket.
//!
//! Two stores pass one conformance suite: redb with files beside it (the real one) and memory
//! (for tests of other rooms).

use crate::chunks;
use quarry_trust::{
    ActionKey, BuilderId, Digest, Entry, LookupKey, ObjectRef, SignedEntry, Verified,
};
use std::fs::File;
use std::io::{Cursor, Read, Write};
use std::time::Duration;

mod disk;
mod entry_key;
mod error;
mod journal;
mod memory;
mod pins;
mod report;
mod survey;

#[cfg(test)]
mod conformance;
#[cfg(test)]
mod fixtures;

#[cfg(any(test, feature = "fuzzing"))]
pub(crate) use disk::fuzzing as disk_fuzzing;
pub use disk::{Opened, RedbStore};
pub use error::StoreError;
pub use journal::{How, JOURNAL_ROWS, Kind, Placed};
pub use memory::MemoryStore;
pub use pins::Pin;
pub use report::{Counts, Fault, FsckReport, GcReport, MAX_FAULTS, Purge, Select, SettleReport};

/// Objects up to this size lie inside the database; larger ones are files beside it. Bytes.
pub const INLINE_MAX: u64 = 64 * 1024;
/// Entries kept within reach of one lookup key; the least recently used loses its place there
/// first, and is then found by its action key alone. A branch has a few; edits leave many.
pub const KEPT_PREDICTIONS: usize = 64;
/// Size of one prediction's bytes.
pub const MAX_PREDICTION_BYTES: usize = 1 << 20;
/// What is put becomes durable within this time without being asked to: long enough that the
/// objects of many compiles share one fsync, short enough that little is compiled again.
pub const COMMIT_EVERY: Duration = Duration::from_millis(200);
/// Entries answered under one action key: a team's builders at the usual few terminal widths.
pub const MAX_ENTRIES_PER_ACTION: usize = 64;
/// Memos kept at least (and at most twice as many): the older half is dropped as a whole.
pub const MEMOS_PER_GENERATION: u64 = 100_000;
/// Length of a memo's key, and of its value, in bytes. Longer ones are not kept.
pub const MAX_MEMO_BYTES: usize = 4096;
/// Size of one piece of state, in bytes.
pub const MAX_STATE_BYTES: u64 = 16 << 20;

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
    /// An open file of chunks that make up the stated length; their digest is checked by who reads
    /// them.
    Settled(File),
}

impl Object {
    /// Reads its `size` bytes, or fewer where less is here.
    #[must_use]
    pub fn reader(self, size: u64) -> Box<dyn Read> {
        match self {
            Self::Bytes(bytes) => Box::new(Cursor::new(bytes)),
            Self::File(file) => Box::new(file.take(size)),
            Self::Settled(file) => Box::new(chunks::unpacked(file, size)),
        }
    }

    /// Whether it has been a file of a target directory as well, where anybody may have written to
    /// it: while it has not, its owner alone may read it, and nobody write.
    #[must_use]
    pub fn was_lent(&self) -> bool {
        use std::os::unix::fs::PermissionsExt;
        let Self::File(file) = self else {
            return false;
        };
        let mode = file.metadata().map(|m| m.permissions().mode());
        mode.map_or(true, |mode| mode & 0o777 != disk::OBJECT_MODE)
    }
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
#[derive(Debug)]
pub struct Pinned {
    /// The object.
    pub object: ObjectRef,
    /// Its file was written just now, digested on the way: not one that was here before.
    pub fresh: bool,
    _pin: Pin,
}

/// Whether `name` can name a piece of state: it becomes a file name.
fn is_state_name(name: &str) -> bool {
    let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    (1..=64).contains(&name.len()) && name.bytes().all(plain)
}

/// The order in which offers are given: each distinct prediction once, by the entry used last,
/// then the other entries; so that a short list leads to as many action keys as it can.
fn spread_by_prediction<T>(
    mut used_last_first: Vec<T>,
    prediction: impl Fn(&T) -> Digest,
) -> Vec<T> {
    let mut seen = std::collections::HashSet::new();
    let mut repeated = Vec::new();
    let mut distinct = Vec::new();
    for item in used_last_first.drain(..) {
        let to = if seen.insert(prediction(&item)) {
            &mut distinct
        } else {
            &mut repeated
        };
        to.push(item);
    }
    distinct.append(&mut repeated);
    distinct
}

/// What is held by every implementation, behind `&self`, from any thread. All calls block.
pub trait Store: Send + Sync + 'static {
    /// Entries under an action key, of every builder and scope, newest first. Also marks use.
    fn entries(&self, action: &ActionKey) -> Result<Vec<Offer>, StoreError>;
    /// Predictions under a lookup key with their entries, at most `max`: each distinct prediction
    /// once, last used first, then further entries with predictions already given. Marks no use.
    fn offers(&self, lookup: &LookupKey, max: usize) -> Result<Vec<Offer>, StoreError>;
    /// Keeps an entry with its prediction. Visible to readers on return; durable after `flush`,
    /// or within [`COMMIT_EVERY`]. Every object that it names must have been staged (empty ones
    /// need not be). An empty prediction leads nowhere: the entry is then found by its action
    /// key alone. A builder's earlier entry for the same action and width is replaced.
    ///
    /// # Errors
    /// [`StoreError::Absent`] where an object is not here, [`StoreError::Mismatch`] where the
    /// offer is not of this entry, [`StoreError::Oversize`], or what the disk said.
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
    /// Opens an object that lies in a file of its own, unpacked first where it has settled: what is
    /// used again is to be had as fast as before. Its bytes were digested where that was done
    /// now (`true`). `None` where it is not here, damaged, or has no file of its own.
    fn thaw(&self, object: &ObjectRef) -> Result<Option<(File, bool)>, StoreError>;
    /// Keeps an object that is here already from gc, or `None` where it is not here: what a
    /// fetch does instead of fetching, and a restore before it opens many.
    fn pin(&self, object: &ObjectRef) -> Result<Option<Pinned>, StoreError>;
    /// Reads an object again, and removes it if its bytes are not what its digest says: what
    /// who finds a damaged file calls, so that the next stage of it writes it anew. `true` where
    /// it is here and sound.
    fn recheck(&self, digest: &Digest) -> Result<bool, StoreError>;
    /// Whether the object is here, by the index alone.
    fn has(&self, digest: &Digest) -> Result<bool, StoreError>;
    /// Calls `each` with every entry, in pages: what is put meanwhile may or may not be seen.
    fn each_offer(&self, each: &mut dyn FnMut(Offer)) -> Result<(), StoreError>;
    /// The same without the predictions, which take most of the time.
    fn each_signed(&self, each: &mut dyn FnMut(SignedEntry)) -> Result<(), StoreError> {
        self.each_offer(&mut |offer| each(offer.signed))
    }
    /// The node's own small state (counters, addresses), by name: 1 to 64 of
    /// `a-z 0-9 - _`. Kept apart from the cache, which may be thrown away at any time.
    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError>;
    /// Replaces one piece of state; durable on return.
    fn set_state(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError>;
    /// A memo (file identity → digest; place → macros behind it). Lost memos cost time only.
    fn memo(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Writes memos: read at once, durable with the next commit. Hardly ever waits for the disk.
    fn set_memo(&self, memos: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError>;
    /// Notes what was put into a target directory. In memory on return; durable within a second
    /// or two, together with what else is written. Never waits for the disk.
    fn note(&self, placed: Placed);
    /// Calls `each` with what is noted, of one builder's entries or of all, in pages and in no
    /// order that means anything. At most [`JOURNAL_ROWS`] and a little: the oldest are gone.
    fn each_placed(
        &self,
        builder: Option<&BuilderId>,
        each: &mut dyn FnMut(Placed),
    ) -> Result<(), StoreError>;
    /// Makes everything put so far durable.
    fn flush(&self) -> Result<(), StoreError>;
    /// How much is here.
    fn counts(&self) -> Result<Counts, StoreError>;
    /// Evicts least recently used entries, and objects that no entry names, until at most
    /// `limit` bytes of objects are left. Pinned objects, and entries that name one, stay.
    fn gc(&self, limit: u64) -> Result<GcReport, StoreError>;
    /// Reads everything and checks it: objects against digests, entries against the objects they
    /// name. With `repair`, what is broken is removed.
    fn fsck(&self, repair: bool) -> Result<FsckReport, StoreError>;
    /// Packs objects that lie in files of their own and that no entry has named in use since tick
    /// `before` (milliseconds since 1970), at most about `budget` bytes of them. Nobody waits for
    /// it, and readers see the same bytes throughout. What is pinned or lent stays as it is.
    fn settle(&self, before: u64, budget: u64) -> Result<SettleReport, StoreError>;
    /// Removes the entries that match, and the objects that only they name.
    fn purge(&self, what: &Purge) -> Result<GcReport, StoreError>;
}
