//! The real store: redb for what is small and for every index, files for what is large.
//!
//! Enters and leaves: what the trait [`Store`] says. `docs/store-format.md` has every byte.
//! Must never happen here: a lock held while a caller's code runs. Locks are taken in this
//! order: upkeep, placing, the database's one writer, then the small ones (pins, named).

#[cfg(target_os = "linux")]
mod ahead;
mod engine;
mod entries;
mod files;
#[cfg(test)]
mod forms_tests;
mod fsck;
#[cfg(any(test, feature = "fuzzing"))]
pub(crate) mod fuzzing;
mod memos;
mod notes;
mod objects;
mod opening;
mod settle;
mod state;
mod tables;
mod upkeep;

use super::pins::Pins;
use super::{
    Counts, FsckReport, GcReport, Object, Offer, Pinned, Placed, Purge, SettleReport, Stage, Store,
    StoreError,
};
use crate::turns::Turns;
use engine::Engine;
pub use engine::Opened;
pub(super) use files::OBJECT_MODE;
use files::{Files, make_folder};
use quarry_trust::{
    ActionKey, BuilderId, Digest, Entry, LookupKey, ObjectRef, SignedEntry, Verified,
};
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

/// What the store and the stages begun in it share.
struct Inner {
    engine: Engine,
    files: Files,
    state: PathBuf,
    pins: Pins,
    /// Held while an object gets its name and row, and while gc takes both away.
    placing: Mutex<()>,
    /// Held while a piece of state is written, and waits for the disk.
    stating: Mutex<()>,
    /// One gc, purge or fsck at a time.
    upkeep: Mutex<()>,
    /// While gc runs: the objects that entries named since it looked.
    named: Mutex<Option<HashSet<Digest>>>,
    /// Objects that were unpacked for use; what their packed files are needed for ends with the
    /// next commit.
    thawed: Mutex<HashSet<Digest>>,
    /// Objects that are being unpacked.
    thawing: Turns<Digest>,
}

impl Inner {
    fn placing(&self) -> MutexGuard<'_, ()> {
        lock(&self.placing)
    }

    fn note_named(&self, objects: &[Digest]) {
        if let Some(named) = lock(&self.named).as_mut() {
            named.extend(objects);
        }
    }
}

/// Nothing lies half changed under these mutexes when a holder panics: the database's
/// transactions see to that.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The store on disk. Dropped, it makes everything durable and gives the database free.
pub struct RedbStore {
    inner: Arc<Inner>,
    committer: Option<JoinHandle<()>>,
}

impl RedbStore {
    /// Opens the store in `dir`, or makes one there. An unreadable database is set aside, and a
    /// new one begun: [`Opened`] says so.
    ///
    /// # Errors
    /// [`StoreError::InUse`] where another process has it open, or what the disk said.
    pub fn open(dir: &Path) -> Result<(Self, Opened), StoreError> {
        make_folder(dir)?;
        let (engine, opened) = Engine::open(dir)?;
        let files = Files::open(dir)?;
        let state = dir.join("state");
        make_folder(&state)?;
        // The database's lock is ours: what lies here was left by a node that died.
        files.clear_temporary(true)?;
        let inner = Arc::new(Inner {
            engine,
            files,
            state,
            pins: Pins::default(),
            placing: Mutex::default(),
            stating: Mutex::default(),
            upkeep: Mutex::default(),
            named: Mutex::default(),
            thawed: Mutex::default(),
            thawing: Turns::default(),
        });
        let committing = Arc::clone(&inner);
        let committer = std::thread::Builder::new()
            .name("store-commit".to_owned())
            .spawn(move || committing.engine.commit_until_closed())
            .map_err(|e| StoreError::io("starting the committing thread of", dir, e))?;
        #[cfg(target_os = "linux")]
        Self::read_ahead(&inner);
        let store = Self {
            inner,
            committer: Some(committer),
        };
        Ok((store, opened))
    }

    /// In a thread that ends with the store. Without one, look-ups wait for the disk.
    #[cfg(target_os = "linux")]
    fn read_ahead(inner: &Arc<Inner>) {
        let path = inner.engine.path();
        let store = Arc::downgrade(inner);
        let _ = std::thread::Builder::new()
            .name("store-ahead".to_owned())
            .spawn(move || ahead::read_ahead(&path, || store.strong_count() > 0));
    }
}

impl Drop for RedbStore {
    fn drop(&mut self) {
        self.inner.engine.close();
        if let Some(committer) = self.committer.take() {
            let _ = committer.join();
        }
        if let Err(error) = self.inner.engine.flush() {
            tracing::warn!(%error, "what was stored last is not durable");
        }
    }
}

impl Store for RedbStore {
    fn entries(&self, action: &ActionKey) -> Result<Vec<Offer>, StoreError> {
        self.inner.entries(action)
    }

    fn offers(&self, lookup: &LookupKey, max: usize) -> Result<Vec<Offer>, StoreError> {
        self.inner.offers(lookup, max)
    }

    fn put(&self, entry: &Verified<Entry>, offer: &Offer) -> Result<(), StoreError> {
        self.inner.put(entry, offer)
    }

    fn remove(&self, action: &ActionKey, builder: &BuilderId) -> Result<bool, StoreError> {
        self.inner.remove(action, builder)
    }

    fn stage(&self, limit: u64) -> Result<Box<dyn Stage>, StoreError> {
        Ok(objects::stage(&self.inner, limit))
    }

    fn stage_file(&self, file: &File, limit: u64) -> Result<Pinned, StoreError> {
        self.inner.stage_file(file, limit)
    }

    fn object(&self, object: &ObjectRef) -> Result<Option<Object>, StoreError> {
        self.inner.object(object)
    }

    fn thaw(&self, object: &ObjectRef) -> Result<Option<(File, bool)>, StoreError> {
        self.inner.thaw(object)
    }

    fn pin(&self, object: &ObjectRef) -> Result<Option<Pinned>, StoreError> {
        self.inner.pin(object)
    }

    fn recheck(&self, digest: &Digest) -> Result<bool, StoreError> {
        self.inner.recheck(digest)
    }

    fn has(&self, digest: &Digest) -> Result<bool, StoreError> {
        Ok(self.inner.row(digest)?.is_some())
    }

    fn each_offer(&self, each: &mut dyn FnMut(Offer)) -> Result<(), StoreError> {
        self.inner.each_offer(each)
    }

    fn each_signed(&self, each: &mut dyn FnMut(SignedEntry)) -> Result<(), StoreError> {
        self.inner.each_signed(each)
    }

    fn state(&self, name: &str) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.state(name)
    }

    fn set_state(&self, name: &str, bytes: &[u8]) -> Result<(), StoreError> {
        self.inner.set_state(name, bytes)
    }

    fn memo(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.memo(key)
    }

    fn set_memo(&self, memos: &[(Vec<u8>, Vec<u8>)]) -> Result<(), StoreError> {
        self.inner.set_memo(memos)
    }

    fn note(&self, placed: Placed) {
        self.inner.note(&placed);
    }

    fn each_placed(
        &self,
        builder: Option<&BuilderId>,
        each: &mut dyn FnMut(Placed),
    ) -> Result<(), StoreError> {
        self.inner.each_placed(builder, each)
    }

    fn flush(&self) -> Result<(), StoreError> {
        self.inner.engine.flush()
    }

    fn counts(&self) -> Result<Counts, StoreError> {
        Ok(self.inner.totals()?.counts)
    }

    fn gc(&self, limit: u64) -> Result<GcReport, StoreError> {
        self.inner.gc(limit)
    }

    fn fsck(&self, repair: bool) -> Result<FsckReport, StoreError> {
        self.inner.fsck(repair)
    }

    fn settle(&self, before: u64, budget: u64) -> Result<SettleReport, StoreError> {
        self.inner.settle(before, budget)
    }

    fn purge(&self, what: &Purge) -> Result<GcReport, StoreError> {
        self.inner.purge(what)
    }
}

#[cfg(test)]
#[path = "crash_tests.rs"]
mod crash_tests;
#[cfg(test)]
#[path = "damage_tests.rs"]
mod damage_tests;
