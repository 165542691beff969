//! The cache as the pipeline sees it.
//!
//! Enters: keys, and what a compile left. Leaves: verified entries, objects that are here. Must
//! never happen here: belief in anything that is not [`Verified`].

use quarry_trust::{
    ActionKey, Entry, LookupKey, ObjectRef, OutputKind, PeerId, SignedEntry, Verified,
};
use std::any::Any;
use std::fs::File;
use std::io::{self, Read};

/// Where to look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// In the node's own store.
    Local,
    /// At the peers whose index says that they may hold it.
    Peers,
}

/// An entry that was verified, the prediction that leads to it, and who has its objects.
#[derive(Debug, Clone)]
pub struct Candidate {
    /// The prediction's canonical bytes.
    pub prediction: Vec<u8>,
    /// The entry as it was signed.
    pub signed: SignedEntry,
    /// What verification made of it.
    pub entry: Verified<Entry>,
    /// The peer that offered it; `None` where it lies here.
    pub from: Option<PeerId>,
}

/// An object that is here.
pub enum Object {
    /// Its bytes; their digest has been checked.
    Bytes(Vec<u8>),
    /// An open file; its digest is checked by who reads it.
    File(File),
    /// What is read out of a packed file; its digest is checked by who reads it.
    Packed(Box<dyn Read>),
}

/// An object that was just taken into the cache, kept from eviction while this lives.
pub struct Staged {
    /// Its name and length.
    pub object: ObjectRef,
    /// Dropping this lets gc take the object, unless an entry names it by then.
    pub pin: Box<dyn Any + Send>,
}

/// One output of a compile that is to be kept.
pub struct StagedOutput {
    /// Its plain file name.
    pub name: String,
    /// What it is to the restore.
    pub kind: OutputKind,
    /// Whether its mode has an executable bit.
    pub executable: bool,
    /// Its bytes.
    pub staged: Staged,
}

/// An entry before the node signs it.
pub struct UnsignedEntry {
    /// What was known before the inputs were.
    pub lookup: LookupKey,
    /// The action key.
    pub action: ActionKey,
    /// The canonical description, whose digest the action key is.
    pub description: Staged,
    /// The names of the inputs, canonical.
    pub prediction: Vec<u8>,
    /// The crate's name.
    pub crate_name: String,
    /// The files.
    pub outputs: Vec<StagedOutput>,
    /// Normalised stdout.
    pub stdout: Staged,
    /// Normalised stderr.
    pub stderr: Staged,
    /// Terminal columns that messages were rendered for, 0 where the command gave none; `None`
    /// where there are no messages.
    pub width: Option<u16>,
    /// Wall time of the compile, milliseconds.
    pub duration_ms: u64,
    /// Whether it must stay with this node (a variable that looks like a secret was read).
    pub private: bool,
}

/// The cache as the pipeline sees it. Calls block, bounded by the cache's own deadlines.
pub trait Cache: Send + Sync {
    /// Predictions under a lookup key, with their verified entries.
    fn predict(&self, lookup: &LookupKey, tier: Tier) -> Vec<Candidate>;
    /// What peers offered under a lookup key before anybody asked, whose objects are here.
    fn foreseen(&self, _: &LookupKey) -> Vec<Candidate> {
        Vec::new()
    }
    /// Verified entries under an action key.
    fn get(&self, action: &ActionKey, tier: Tier) -> Vec<Candidate>;
    /// Which of these entries, all fit for one command, are believed, as indices: none, or some
    /// that name the same bytes. `executes` says whether what they hold runs while building.
    fn judge(&self, fit: &[&Candidate], executes: bool) -> Vec<usize>;
    /// Makes sure that every object that a restore needs is here: fetches what is not, checks
    /// digests, keeps the entry, and with it those that made it believed. `false` where that
    /// fails.
    fn bring(&self, candidate: &Candidate, believed: &[&Candidate]) -> bool;
    /// Opens an object that is here.
    fn open_object(&self, object: &ObjectRef) -> Option<Object>;
    /// The same, but that what is packed stays so.
    fn open_as_it_lies(&self, object: &ObjectRef) -> Option<Object> {
        self.open_object(object)
    }
    /// A signed entry does not fit the command that it is for: count it, use it no more.
    fn refused(&self, candidate: &Candidate, why: &'static str);
    /// Whether an entry that was verified is believed still. Asked when all is ready to be put in
    /// place: bringing it took time, in which its builder may have been revoked.
    fn stands(&self, entry: &Verified<Entry>) -> bool;
    /// Whether an entry was made and signed by this very node.
    fn is_own(&self, entry: &Entry) -> bool;
    /// An object of this entry is missing or damaged: set the entry aside.
    fn damaged(&self, entry: &Verified<Entry>);
    /// Takes bytes as an object.
    ///
    /// # Errors
    /// What the store said.
    fn stage_bytes(&self, bytes: &[u8]) -> io::Result<Staged>;
    /// Takes an open file's bytes as an object; the file may change afterwards.
    ///
    /// # Errors
    /// What the store said.
    fn stage_file(&self, file: &File) -> io::Result<Staged>;
    /// Signs and keeps an entry, and announces it behind the caller's back.
    ///
    /// # Errors
    /// What the store said.
    fn put(&self, entry: UnsignedEntry) -> io::Result<Verified<Entry>>;
    /// The secret under which values of variables are digested.
    fn value_secret(&self) -> [u8; 32];
}
