//! What upkeep is asked for and what it answers: plain data.
//!
//! Must never happen here: I/O, or a sentence for a terminal (the command line writes those).

use quarry_trust::{ActionKey, BuilderId, Digest};
use std::path::PathBuf;

/// Faults that one fsck lists. The rest is only counted: a broken disk must not fill memory.
pub const MAX_FAULTS: usize = 1000;

/// How much is in the store.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Entries, of every builder and terminal width.
    pub entries: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes that the objects take as stored (small ones compressed).
    pub bytes: u64,
}

/// What gc or purge removed (or, in a dry run, would have).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GcReport {
    /// Entries.
    pub entries: u64,
    /// Objects.
    pub objects: u64,
    /// Bytes freed, of objects and stray files.
    pub bytes: u64,
    /// Files that belonged to nothing: left by a crash or by a database that was set aside.
    pub strays: u64,
}

/// What was packed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SettleReport {
    /// Objects.
    pub objects: u64,
    /// Bytes that they took.
    pub before: u64,
    /// Bytes that they take now.
    pub after: u64,
}

/// Which entries a purge takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Select {
    /// Every entry that this builder signed.
    Builder(BuilderId),
    /// Every entry of the crate of this name.
    Crate(String),
    /// Everything.
    All,
}

/// A purge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Purge {
    /// Which entries go.
    pub select: Select,
    /// Only count what would go.
    pub dry_run: bool,
}

/// One thing that fsck found wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fault {
    /// The index names an object whose bytes are not here.
    ObjectMissing(Digest),
    /// An object's bytes do not have its digest or length.
    ObjectDamaged(Digest),
    /// A stored entry does not decode, or lies under another key than its own.
    EntryUnreadable(ActionKey),
    /// An entry names an object that is not here, or is broken.
    EntryIncomplete(ActionKey, BuilderId, Digest),
    /// A row of the lookup index or a prediction belongs to no entry, or is damaged.
    LookupBroken,
    /// A file that no row names.
    StrayFile(PathBuf),
    /// The kept counts are not what a recount finds.
    CountsWrong,
    /// The database's own structure is damaged.
    DatabaseDamaged(String),
}

/// What fsck read and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FsckReport {
    /// Entries read.
    pub entries: u64,
    /// Objects read.
    pub objects: u64,
    /// Bytes of objects read, decompressed.
    pub bytes: u64,
    /// The first [`MAX_FAULTS`] faults.
    pub faults: Vec<Fault>,
    /// All faults.
    pub faults_total: u64,
    /// Whether what was broken has been removed.
    pub repaired: bool,
}

impl FsckReport {
    pub(super) fn fault(&mut self, fault: Fault) {
        self.faults_total += 1;
        if self.faults.len() < MAX_FAULTS {
            self.faults.push(fault);
        }
    }

    /// Whether nothing was found wrong.
    #[must_use]
    pub const fn is_sound(&self) -> bool {
        self.faults_total == 0
    }
}
