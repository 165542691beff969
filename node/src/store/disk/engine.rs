//! The database: opened, mended, committed. Everything above sees transactions only.
//!
//! Enters: jobs over a read or a write transaction. Leaves: their results, or a [`StoreError`].
//! A write is visible on return and durable at the next commit, at most [`COMMIT_EVERY`] later:
//! writes commit with redb's `Durability::None` (no fsync), and one thread follows them with an
//! `Immediate` commit under quick repair. `kill -9` in between takes the database back to the
//! last `Immediate` state, whole.
//!
//! redb refuses everything after one I/O error until it is reopened, so the engine reopens it
//! (what was not durable is lost, what was is served on); a damaged database is set aside and a
//! new one begun. Must never happen here: a panic that leaves, two processes in one database, a
//! damaged database that is deleted before a newer one took its place.

use super::super::entry_key::EntryKey;
use super::super::{COMMIT_EVERY, StoreError};
use super::memos;
use super::notes;
use super::opening::{Unopened, is_broken, open_database, set_aside};
use super::tables::{self, ENTRIES, Totals, USES};
use redb::{Database, Durability, ReadTransaction, ReadableDatabase, WriteTransaction};
use std::collections::HashMap;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Marks of use alone are worth an fsync only this often: losing them costs a little order.
const USES_EVERY: Duration = Duration::from_secs(30);
/// What the journal notes is written this soon: a restore must not wait for an fsync, and what a
/// crash takes must be little.
const NOTES_EVERY: Duration = Duration::from_secs(1);
/// Marks of use held in memory; beyond, they are written at the next commit.
const MAX_PENDING_USES: usize = 8192;
/// The database's file name in the store's folder.
pub(super) const FILE_NAME: &str = "store.redb";

/// What opening the store found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Opened {
    /// Nothing: a new store was made.
    Created,
    /// A store, with all that was durable in it.
    Reopened,
    /// A database that cannot be read: it was renamed and a new one made. Its objects' files
    /// are taken by the next gc.
    SetAside {
        /// Where the unreadable database lies now.
        to: PathBuf,
        /// What was wrong with it.
        why: String,
    },
}

/// Why a job over a transaction ended early.
pub(super) enum Stop {
    /// For the caller, as it is; the database is well.
    Store(StoreError),
    /// The database failed.
    Redb(redb::Error),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

macro_rules! stops {
    ($($error:ty),*) => {$(
        impl From<$error> for Stop {
            fn from(error: $error) -> Self {
                Self::Redb(error.into())
            }
        }
    )*};
}
stops!(
    redb::Error,
    redb::TransactionError,
    redb::TableError,
    redb::StorageError,
    redb::CommitError
);

/// The database, and how often it was reopened.
struct Slot {
    /// `None` after a reopening that failed; the next job tries again.
    db: Option<Database>,
    epoch: u64,
}

/// What waits for the next commit.
#[derive(Default)]
struct Pending {
    /// Something was written that is not durable.
    written: bool,
    uses: HashMap<EntryKey, u64>,
    /// Rows of the journal.
    notes: Vec<notes::Row>,
    /// Memos: read here until they are in the database.
    memos: memos::Waiting,
    /// The last tick given out: milliseconds since 1970, never twice the same, never backwards.
    tick: u64,
    /// How often the database was opened again, and with it lost what was not durable.
    losses: u64,
    /// As far as a flush has said so.
    losses_told: u64,
    /// How many commits reached the disk: what the tests of batching count.
    #[cfg(test)]
    commits: u64,
    closing: bool,
}

impl Pending {
    /// How long what waits may wait, where nothing else is written.
    fn patience(&self) -> Duration {
        match (self.notes.is_empty(), self.uses.is_empty()) {
            (false, _) => NOTES_EVERY,
            (true, false) => USES_EVERY,
            (true, true) => Duration::MAX,
        }
    }
}

/// The database and its commits.
pub(super) struct Engine {
    dir: PathBuf,
    slot: RwLock<Slot>,
    pending: Mutex<Pending>,
    /// Held from taking the flag until what it stands for is durable.
    committing: Mutex<()>,
    wake: Condvar,
}

impl Engine {
    /// Opens the database in `dir`, or makes one.
    pub(super) fn open(dir: &Path) -> Result<(Self, Opened), StoreError> {
        let path = dir.join(FILE_NAME);
        let existed = path.exists();
        let (db, opened) = match open_database(&path) {
            Ok(db) if existed => (db, Opened::Reopened),
            Ok(db) => (db, Opened::Created),
            Err(Unopened::Broken(why)) => {
                let to = set_aside(dir)?;
                let db = open_database(&path).map_err(|e| e.into_error(&path))?;
                (db, Opened::SetAside { to, why })
            }
            Err(other) => return Err(other.into_error(&path)),
        };
        let engine = Self {
            dir: dir.to_owned(),
            slot: RwLock::new(Slot {
                db: Some(db),
                epoch: 0,
            }),
            pending: Mutex::default(),
            committing: Mutex::default(),
            wake: Condvar::new(),
        };
        let totals = engine.read(|txn| Ok(Totals::read(&txn.open_table(tables::TOTALS)?)?))?;
        engine.pending().tick = totals.tick;
        Ok((engine, opened))
    }

    /// The database's file.
    pub(super) fn path(&self) -> PathBuf {
        self.dir.join(FILE_NAME)
    }

    /// Runs a job over what is visible now.
    pub(super) fn read<T>(
        &self,
        job: impl FnOnce(&ReadTransaction) -> Result<T, Stop>,
    ) -> Result<T, StoreError> {
        self.run(|db| {
            let txn = db.begin_read()?;
            job(&txn)
        })
    }

    /// Runs a job that changes things: all of it or nothing, visible on return, durable soon.
    pub(super) fn write<T>(
        &self,
        job: impl FnOnce(&WriteTransaction) -> Result<T, Stop>,
    ) -> Result<T, StoreError> {
        let done = self.run(|db| {
            let mut txn = db.begin_write()?;
            txn.set_durability(Durability::None)
                .map_err(|e| Stop::Redb(e.into()))?;
            let value = job(&txn)?;
            txn.commit()?;
            Ok(value)
        })?;
        self.pending().written = true;
        self.wake.notify_one();
        Ok(done)
    }

    /// As [`Engine::write`], but durable on return, with everything written before.
    pub(super) fn write_durably<T>(
        &self,
        job: impl FnOnce(&WriteTransaction) -> Result<T, Stop>,
    ) -> Result<T, StoreError> {
        self.run(|db| {
            let mut txn = db.begin_write()?;
            txn.set_quick_repair(true);
            let value = job(&txn)?;
            let tick = self.write_uses(&txn)?;
            Totals::change(&txn, |totals| totals.tick = totals.tick.max(tick))?;
            txn.commit()?;
            #[cfg(test)]
            {
                self.pending().commits += 1;
            }
            Ok(value)
        })
    }

    #[cfg(test)]
    pub(super) fn commits(&self) -> u64 {
        self.pending().commits
    }

    /// Makes everything written before this call durable, marks of use too.
    ///
    /// # Errors
    /// What the disk said, or [`StoreError::Lost`] where something written since the last flush
    /// is gone because the database had to be opened again in between.
    pub(super) fn flush(&self) -> Result<(), StoreError> {
        let known = self.pending().losses_told;
        let done = self.commit();
        let mut pending = self.pending();
        let losses = pending.losses;
        pending.losses_told = losses;
        done?;
        if losses == known {
            Ok(())
        } else {
            Err(StoreError::Lost(self.path()))
        }
    }

    /// The same, without a word about what was lost before.
    pub(super) fn commit(&self) -> Result<(), StoreError> {
        // Whoever took the flag before may still be on its way to the disk.
        let _one = self
            .committing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        {
            let mut pending = self.pending();
            let idle =
                pending.uses.is_empty() && pending.notes.is_empty() && pending.memos.is_empty();
            if !std::mem::take(&mut pending.written) && idle {
                return Ok(());
            }
        }
        let noted = self.take_notes();
        // They are read from memory until they are in the database.
        let memos = self.pending().memos.clone();
        let done = self.write_durably(|txn| {
            memos::write(txn, &memos)?;
            notes::write(txn, &noted)
        });
        if done.is_ok() {
            self.pending().memos.written(&memos);
        }
        self.unless_written(done, noted)
    }

    /// Queues memos: read at once, durable with the next commit. `false` where too many wait.
    pub(super) fn remember(&self, memos: &[(Vec<u8>, Vec<u8>)]) -> bool {
        let mut pending = self.pending();
        let first = !std::mem::replace(&mut pending.written, true);
        let queued = pending.memos.extend(memos);
        drop(pending);
        if first {
            self.wake.notify_one();
        }
        queued
    }

    /// A memo that waits for the next commit.
    pub(super) fn waiting_memo(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.pending().memos.get(key)
    }

    /// Queues a row of the journal: in memory, written soon.
    pub(super) fn note(&self, row: notes::Row) {
        let mut pending = self.pending();
        let first = pending.notes.is_empty();
        notes::wait(&mut pending.notes, row);
        if first {
            self.wake.notify_one();
        }
    }

    /// Makes queued rows of the journal visible to readers.
    pub(super) fn write_notes(&self) -> Result<(), StoreError> {
        let noted = self.take_notes();
        if noted.is_empty() {
            return Ok(());
        }
        let done = self.write(|txn| notes::write(txn, &noted));
        self.unless_written(done, noted)
    }

    fn take_notes(&self) -> Vec<notes::Row> {
        std::mem::take(&mut self.pending().notes)
    }

    /// Rows that were not written wait on, before those that came meanwhile.
    fn unless_written(
        &self,
        done: Result<(), StoreError>,
        noted: Vec<notes::Row>,
    ) -> Result<(), StoreError> {
        if done.is_err() {
            let mut pending = self.pending();
            let later = std::mem::replace(&mut pending.notes, noted);
            for row in later {
                notes::wait(&mut pending.notes, row);
            }
        }
        done
    }

    fn write_uses(&self, txn: &WriteTransaction) -> Result<u64, Stop> {
        let (uses, tick) = {
            let mut pending = self.pending();
            (std::mem::take(&mut pending.uses), pending.tick)
        };
        if !uses.is_empty() {
            let entries = txn.open_table(ENTRIES)?;
            let mut table = txn.open_table(USES)?;
            for (key, used) in uses {
                // An entry that was removed since must not leave a mark behind.
                if redb::ReadableTable::get(&entries, &key.0)?.is_some() {
                    table.insert(&key.0, used)?;
                }
            }
        }
        Ok(tick)
    }

    /// The next tick.
    pub(super) fn tick(&self) -> u64 {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(0));
        let mut pending = self.pending();
        pending.tick = now.max(pending.tick + 1);
        pending.tick
    }

    /// Marks the use of an entry: in memory, written with the next commit.
    pub(super) fn touch(&self, key: EntryKey) {
        let tick = self.tick();
        let mut pending = self.pending();
        let first = pending.uses.is_empty();
        pending.uses.insert(key, tick);
        if pending.uses.len() >= MAX_PENDING_USES {
            pending.written = true;
        }
        if first || pending.written {
            self.wake.notify_one();
        }
    }

    /// The last use of an entry that is not yet written, if there is one.
    pub(super) fn pending_use(&self, key: &EntryKey) -> Option<u64> {
        self.pending().uses.get(key).copied()
    }

    /// The committing thread: sleeps while nothing is to be done.
    pub(super) fn commit_until_closed(&self) {
        let mut pending = self.pending();
        while !pending.closing {
            if !pending.written {
                let wait = pending.patience();
                let idle = |p: &mut Pending| !p.closing && !p.written && p.patience() == wait;
                let (back, waited) = wait_while(&self.wake, pending, wait, idle);
                pending = back;
                if !waited.timed_out() && !pending.written {
                    continue;
                }
            }
            // The rest of the batch gathers.
            let (back, _) = wait_while(&self.wake, pending, COMMIT_EVERY, |p| !p.closing);
            drop(back);
            if let Err(error) = self.commit() {
                tracing::warn!(%error, "what was stored last is not durable");
            }
            pending = self.pending();
        }
    }

    /// Lets the committing thread end.
    pub(super) fn close(&self) {
        self.pending().closing = true;
        self.wake.notify_all();
    }

    /// Checks every page of the database against its checksum. `false`: damage was found, and
    /// redb mended what it could. Waits for all jobs and keeps new ones out meanwhile.
    pub(super) fn check_pages(&self) -> Result<bool, StoreError> {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        let Some(db) = slot.db.as_mut() else {
            return Ok(false);
        };
        match catch_unwind(AssertUnwindSafe(|| db.check_integrity())) {
            Ok(Ok(sound)) => Ok(sound),
            Ok(Err(error)) => Err(Unopened::from(error).into_error(&self.path())),
            Err(_) => Err(StoreError::Corrupt {
                path: self.path(),
                what: "its pages contradict each other".to_owned(),
            }),
        }
    }

    fn run<T>(&self, job: impl FnOnce(&Database) -> Result<T, Stop>) -> Result<T, StoreError> {
        let slot = self.slot()?;
        let epoch = slot.epoch;
        let Some(db) = slot.db.as_ref() else {
            return Err(self.error(redb::Error::DatabaseClosed));
        };
        // A damaged page can make redb panic: that must not take the node along.
        let result = catch_unwind(AssertUnwindSafe(|| job(db)));
        drop(slot);
        match result {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(Stop::Store(error))) => Err(error),
            Ok(Err(Stop::Redb(error))) => {
                self.mend(epoch, is_broken(&error));
                Err(self.error(error))
            }
            Err(_) => {
                let what = "its pages contradict each other".to_owned();
                self.mend(epoch, Some(what.clone()));
                Err(StoreError::Corrupt {
                    path: self.path(),
                    what,
                })
            }
        }
    }

    /// The database, reopened where an earlier reopening failed.
    fn slot(&self) -> Result<RwLockReadGuard<'_, Slot>, StoreError> {
        let slot = self.slot.read().unwrap_or_else(PoisonError::into_inner);
        if slot.db.is_some() {
            return Ok(slot);
        }
        drop(slot);
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.db.is_none() {
            slot.db = Some(open_database(&self.path()).map_err(|e| e.into_error(&self.path()))?);
        }
        drop(slot);
        Ok(self.slot.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reopens the database after a failure, unless somebody did since `epoch`. Where it is
    /// damaged (`broken` says how), it is set aside and a new one made.
    fn mend(&self, epoch: u64, broken: Option<String>) {
        let mut slot = self.slot.write().unwrap_or_else(PoisonError::into_inner);
        if slot.epoch != epoch {
            return;
        }
        slot.epoch += 1;
        // Closing gives the file's lock back; it may itself meet the damage.
        let old = slot.db.take();
        let _ = catch_unwind(AssertUnwindSafe(move || drop(old)));
        {
            let mut pending = self.pending();
            pending.written = false;
            pending.losses += 1;
        }
        if let Some(why) = broken {
            match set_aside(&self.dir) {
                Ok(to) => {
                    tracing::error!(%why, to = %to.display(), "the store's database is damaged and was set aside; a new one is begun")
                }
                Err(error) => {
                    tracing::error!(%error, "a damaged database could not be set aside");
                    return;
                }
            }
        }
        match open_database(&self.path()) {
            Ok(db) => slot.db = Some(db),
            Err(error) => {
                let error = error.into_error(&self.path());
                tracing::error!(%error, "the store's database could not be opened again; the next use tries once more");
            }
        }
    }

    fn error(&self, error: redb::Error) -> StoreError {
        let path = self.path();
        match error {
            redb::Error::Io(source) => StoreError::io("writing the database", &path, source),
            redb::Error::DatabaseAlreadyOpen => StoreError::InUse(path),
            other if is_broken(&other).is_some() => StoreError::Corrupt {
                path,
                what: other.to_string(),
            },
            other => StoreError::Io {
                doing: "using the database",
                path,
                source: io::Error::other(other),
            },
        }
    }

    fn pending(&self) -> MutexGuard<'_, Pending> {
        // Plain values, each set in one step: a panic elsewhere leaves them right.
        self.pending.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn wait_while<'a>(
    wake: &Condvar,
    guard: MutexGuard<'a, Pending>,
    at_most: Duration,
    condition: impl FnMut(&mut Pending) -> bool,
) -> (MutexGuard<'a, Pending>, std::sync::WaitTimeoutResult) {
    // A year stands for "until woken": the condition variable refuses Duration::MAX on some
    // platforms.
    let at_most = at_most.min(Duration::from_secs(365 * 24 * 3600));
    wake.wait_timeout_while(guard, at_most, condition)
        .unwrap_or_else(PoisonError::into_inner)
}
