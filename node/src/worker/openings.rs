//! How builds begin: what cargo was told, and the versions that it is to use, stand for what it
//! will compile.
//!
//! Cargo thinks for a tenth of a second between its first question to the compiler and the first
//! crate. Meanwhile teammates who built the same are asked for what their build put in place.
//! Enters: cargo's process and the workspace's lock file; the first unit that a build puts in
//! place. Leaves: an opening, and where in the journal the build of it is. Must never happen here:
//! anything that a hit depends on: an opening says only where to look.

use super::believing::Believing;
use super::neighbours::place_of;
use crate::project::locked_above;
use crate::started;
use crate::store::{Placed, Store};
use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::digest::Domain;
use quarry_trust::{Digest, Scope, canonical};
use quarry_wrapper::digests::open_regular;
use quarry_wrapper::invocation::Invocation;
use std::collections::HashMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const DOMAIN: Domain = Domain("quarry 2026-11 opening v1");
/// Name of the list among the memos.
const KNOWN: &[u8] = b"openings";
const SCHEMA: u16 = 1;
/// Openings that are known, the newest: they fit into one memo.
pub(super) const KNOWN_MAX: usize = 32;
/// Builds whose first unit is waited for; beyond it all are forgotten.
const BEGUN_MAX: usize = 64;
/// A lock file that is longer is not read, bytes: those of the largest workspaces have one MB.
const LOCK_MAX: u64 = 16 << 20;
/// Cargo's questions within this time are of one build.
const ONE_BUILD: Duration = Duration::from_secs(2);
/// Options of cargo's that decide nothing of what is compiled, and are followed by a value.
const WITH_VALUE: [&[u8]; 6] = [
    b"--manifest-path",
    b"--target-dir",
    b"--jobs",
    b"-j",
    b"--color",
    b"--message-format",
];
/// The same without one.
const ALONE: [&[u8]; 8] = [
    b"--offline",
    b"--locked",
    b"--frozen",
    b"--quiet",
    b"-q",
    b"--verbose",
    b"-v",
    b"--keep-going",
];

/// A build that began here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Opening {
    /// What stands for it, the same at every teammate's.
    pub key: Digest,
    /// Whom its first unit is for.
    pub scope: Scope,
    /// Where it puts its units ([`place_of`]).
    pub place: u64,
    /// When it began, milliseconds since 1970 by this node's clock.
    pub at: u64,
}

canonical!(Opening {
    key,
    scope,
    place,
    at
});

/// The newest first.
struct List(Vec<Opening>);

impl Canonical for List {
    fn write(&self, w: &mut Writer) {
        w.u16(SCHEMA);
        w.list(&self.0);
    }

    fn read(r: &mut Reader<'_>) -> Result<Self, CanonError> {
        r.schema(SCHEMA)?;
        Ok(Self(r.list(KNOWN_MAX)?))
    }
}

/// The builds that began here of late, the newest first. Rubbish is none.
pub(super) fn known(store: &dyn Store) -> Vec<Opening> {
    let bytes = store.memo(KNOWN).ok().flatten().unwrap_or_default();
    List::from_canon(&bytes).map_or_else(|_| Vec::new(), |list| list.0)
}

/// A build whose first unit is waited for.
struct Begun {
    asked: Instant,
    /// Until it is known what stands for it: none.
    opening: Option<(Digest, u64)>,
}

/// The builds that begin here, by where cargo was started.
#[derive(Default)]
pub(super) struct Openings(Mutex<HashMap<PathBuf, Begun>>);

impl Openings {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Begun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Cargo, above the process `pid`, asked something before it compiles. Behind its back what
    /// teammates know of such a build is fetched; no question is waited for.
    pub(super) fn asked(self: &Arc<Self>, inv: &Invocation, pid: i32, cache: &Believing) {
        let Some((dir, manifest)) = inv.started.first().zip(inv.started.last()) else {
            return;
        };
        if !self.is_first(dir) {
            return;
        }
        let (dir, manifest) = (dir.clone(), manifest.clone());
        let (openings, cache) = (self.clone(), cache.same());
        let spawned = std::thread::Builder::new().name("opening".to_owned());
        let spawned = spawned.spawn(move || {
            let Some(key) = key(pid, &manifest) else {
                return;
            };
            openings.begins(&dir, key);
            // What was built here lies here.
            let known = known(cache.node().store.as_ref());
            if known.iter().all(|opening| opening.key != key) {
                cache.open(&key);
            }
        });
        if let Err(error) = spawned {
            tracing::debug!(%error, "nothing is fetched before cargo asks");
        }
    }

    fn is_first(&self, dir: &Path) -> bool {
        let mut begun = self.lock();
        let of_last = begun.get(dir).map(|begun| begun.asked.elapsed());
        if of_last.is_some_and(|ago| ago < ONE_BUILD) {
            return false;
        }
        if begun.len() >= BEGUN_MAX {
            begun.clear();
        }
        let (asked, opening) = (Instant::now(), None);
        begun.insert(dir.to_owned(), Begun { asked, opening });
        true
    }

    fn begins(&self, dir: &Path, key: Digest) {
        if let Some(begun) = self.lock().get_mut(dir) {
            begun.opening = Some((key, now()));
        }
    }

    /// A unit was put in place by who was started in `dir`. Where it is a build's first, how that
    /// began is kept, and given to be announced.
    pub(super) fn placed(
        &self,
        dir: Option<&Path>,
        placed: &Placed,
        store: &dyn Store,
    ) -> Option<Opening> {
        // What is for nobody says nothing of whom the rest is for.
        if placed.scope == Scope::Private {
            return None;
        }
        let (key, at) = self.lock().get_mut(dir?)?.opening.take()?;
        let opening = Opening {
            key,
            scope: placed.scope,
            place: place_of(&placed.dir),
            at,
        };
        let mut list = known(store);
        list.retain(|known| (known.key, known.scope) != (key, opening.scope));
        list.insert(0, opening);
        list.truncate(KNOWN_MAX);
        let memo = (KNOWN.to_vec(), List(list).to_canon());
        if let Err(error) = store.set_memo(&[memo]) {
            tracing::debug!(%error, "how a build began was not kept");
        }
        Some(opening)
    }
}

fn now() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}

/// What stands for the build that the process above `pid` begins, with a manifest in a directory;
/// `None` where there is no lock file above that, or the process does not say.
fn key(pid: i32, manifest: &Path) -> Option<Digest> {
    let lock = locked_above(manifest)?.join("Cargo.lock");
    let mut bytes = Vec::new();
    let file = open_regular(&lock).ok()?;
    file.take(LOCK_MAX + 1).read_to_end(&mut bytes).ok()?;
    if bytes.len() as u64 > LOCK_MAX {
        return None;
    }
    Some(key_of(&started::command(pid)?, &bytes))
}

/// The same of cargo's command line, each word with a zero at its end, and of a lock file's bytes.
fn key_of(command: &[u8], lock: &[u8]) -> Digest {
    let mut w = Writer::default();
    let words = started::words(command).skip(1);
    let mut left_out = false;
    for word in words {
        let option = word.split(|b| *b == b'=').next().unwrap_or_default();
        let aside = WITH_VALUE.contains(&option);
        if !left_out && !aside && !ALONE.contains(&word) {
            w.bytes(word);
        }
        left_out = !left_out && aside && option.len() == word.len();
    }
    w.fixed(Digest::of(lock).as_bytes());
    Digest::tagged(DOMAIN, &w.finish())
}

#[cfg(test)]
#[path = "openings_tests.rs"]
mod tests;
