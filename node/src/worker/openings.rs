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
use super::placed::now_millis;
use crate::project::locked_above;
use crate::started;
use crate::store::{Placed, Store};
use quarry_trust::canon::{CanonError, Canonical, Reader, Writer};
use quarry_trust::digest::Domain;
use quarry_trust::{Digest, Scope, canonical};
use quarry_wrapper::digests::open_regular;
use quarry_wrapper::invocation::Invocation;
use std::collections::HashMap;
use std::ffi::OsString;
use std::io::Read;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

const DOMAIN: Domain = Domain("quarry 2026-11 opening v1");
/// Name of the list among the memos.
const KNOWN: &[u8] = b"openings";
const SCHEMA: u16 = 1;
/// Openings that are known, the newest: they fit into one memo.
pub(super) const KNOWN_MAX: usize = 32;
/// Builds whose first unit is waited for; beyond it all are forgotten.
const BEGUN_MAX: usize = 256;
/// And for so long: cargo may wait for another one first.
const BEGUN_FOR: Duration = Duration::from_secs(600);
/// A lock file that is longer is not read, bytes: those of the largest workspaces have one MB.
const LOCK_MAX: u64 = 16 << 20;
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
    /// Whom what it compiles is for.
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
    /// What stands for it, and when it began; none before that is known, nor afterwards.
    opening: Option<(Digest, u64)>,
}

/// The builds that begin here, by cargo's process.
#[derive(Default)]
pub(super) struct Openings(Mutex<HashMap<u32, Begun>>);

impl Openings {
    fn lock(&self) -> MutexGuard<'_, HashMap<u32, Begun>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The process `above` who asks asked something before it compiles. Behind its back what
    /// teammates know of such a build is fetched; no question is waited for.
    pub(super) fn asked(self: &Arc<Self>, inv: &Arc<Invocation>, above: u32, cache: &Believing) {
        // As long as the question is not answered it waits.
        let (Some(dir), Some(command)) = (inv.started.last(), started::command(above)) else {
            return;
        };
        if !self.is_first(above) {
            return;
        }
        let (dir, inv) = (dir.clone(), inv.clone());
        let (openings, cache) = (self.clone(), cache.same());
        let spawned = std::thread::Builder::new().name("opening".to_owned());
        let spawned = spawned.spawn(move || {
            let Some(lock) = lock_around(&dir) else {
                return;
            };
            let key = key(&command, &inv.env, &lock);
            openings.begins(above, key);
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

    fn is_first(&self, above: u32) -> bool {
        let mut begun = self.lock();
        begun.retain(|_, begun| begun.asked.elapsed() < BEGUN_FOR);
        if begun.contains_key(&above) {
            return false;
        }
        if begun.len() >= BEGUN_MAX {
            begun.clear();
        }
        let (asked, opening) = (Instant::now(), None);
        begun.insert(above, Begun { asked, opening });
        true
    }

    fn begins(&self, above: u32, key: Digest) {
        if let Some(begun) = self.lock().get_mut(&above) {
            begun.opening = Some((key, now_millis()));
        }
    }

    /// A unit was put in place for the process `above` who asked: what stands for the build whose
    /// first that is, and when it began.
    pub(super) fn first_of(&self, above: Option<u32>) -> Option<(Digest, u64)> {
        self.lock().get_mut(&above?)?.opening.take()
    }
}

/// Keeps how a build for `scope` began, with its first unit; given back where it is news.
pub(super) fn keep(
    (key, at): (Digest, u64),
    scope: Scope,
    placed: &Placed,
    store: &dyn Store,
) -> Option<Opening> {
    let opening = Opening {
        key,
        scope,
        place: place_of(&placed.dir),
        at,
    };
    let mut list = known(store);
    let before = list.len();
    list.retain(|known| (known.key, known.scope) != (key, scope));
    let is_new = list.len() == before;
    list.insert(0, opening);
    list.truncate(KNOWN_MAX);
    let memo = (KNOWN.to_vec(), List(list).to_canon());
    if let Err(error) = store.set_memo(&[memo]) {
        tracing::debug!(%error, "how a build began was not kept");
    }
    is_new.then_some(opening)
}

/// The lock file nearest above a directory; `None` where there is none, or it is none.
fn lock_around(dir: &Path) -> Option<Vec<u8>> {
    let lock = locked_above(dir)?.join("Cargo.lock");
    let mut bytes = Vec::new();
    let file = open_regular(&lock).ok()?;
    file.take(LOCK_MAX + 1).read_to_end(&mut bytes).ok()?;
    (bytes.len() as u64 <= LOCK_MAX).then_some(bytes)
}

/// What stands for a build: of cargo's command line, each word with a zero at its end, of its
/// variables, and of a lock file's bytes.
fn key(command: &[u8], variables: &[(OsString, OsString)], lock: &[u8]) -> Digest {
    let mut w = Writer::default();
    let mut left_out = false;
    for word in started::words(command).skip(1) {
        let option = word.split(|b| *b == b'=').next().unwrap_or_default();
        let aside = WITH_VALUE.contains(&option);
        if !left_out && !aside && !is_aside(word) {
            w.bytes(word);
        }
        left_out = !left_out && aside && option.len() == word.len();
    }
    let of = variables.iter();
    let of = of.map(|(name, value)| (name.as_encoded_bytes(), value.as_encoded_bytes()));
    let mut of: Vec<_> = of.filter(|(name, _)| decides(name)).collect();
    of.sort();
    w.count(of.len());
    for (name, value) in of {
        w.bytes(name);
        w.bytes(value);
    }
    w.fixed(Digest::of(lock).as_bytes());
    Digest::tagged(DOMAIN, &w.finish())
}

/// Whether a word decides nothing of what is compiled.
fn is_aside(word: &[u8]) -> bool {
    let after = |start: &[u8]| word.strip_prefix(start).unwrap_or_default();
    let (jobs, verbose) = (after(b"-j"), after(b"-v"));
    ALONE.contains(&word)
        || (!jobs.is_empty() && jobs.iter().all(u8::is_ascii_digit))
        || (!verbose.is_empty() && verbose.iter().all(|b| *b == b'v'))
}

/// Whether a variable decides what is compiled, as cargo's options do.
fn decides(name: &[u8]) -> bool {
    let starts = ["CARGO_BUILD_", "CARGO_PROFILE_", "CARGO_TARGET_"];
    let elsewhere = ["_DIR", "_JOBS", "_RUNNER", "_WRAPPER"];
    let named = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS", "RUSTUP_TOOLCHAIN"];
    named.iter().any(|n| name == n.as_bytes())
        || (starts.iter().any(|s| name.starts_with(s.as_bytes()))
            && !elsewhere.iter().any(|e| name.ends_with(e.as_bytes())))
}

#[cfg(test)]
#[path = "openings_tests.rs"]
pub(super) mod tests;
