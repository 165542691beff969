//! What the next build will put in place, read before cargo asks for it.
//!
//! Before a build compiles anything cargo asks the compiler what it is, and then thinks for a
//! while, on one processor. Meanwhile the objects that the build before put in place here are
//! unpacked, where they have settled, and digested again, where they were lent, so that none of
//! its hits waits for that; what is not in memory is fetched from the disk; of programs the copies
//! are made that it will want. A compiler and a linker that nobody has used yet are digested then,
//! too: some hundreds of MB. Enters: objects that were put in place, by the directory where cargo
//! was started; the sign that it was started there again. Leaves: digests in the memo, copies. Must
//! never happen here: anything that a hit depends on.

use super::{Cache, Object, Pipeline};
use crate::invocation::Invocation;
use quarry_trust::{Digest, ObjectRef};
use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

/// Directories that are remembered; beyond it all are forgotten.
const PLACES_MAX: usize = 64;
/// Compilers that are remembered; beyond it all are met again.
const TOOLS_MAX: usize = 64;
/// Bytes of an object that takes tens of milliseconds to be unpacked.
const LARGE: u64 = 16 << 20;
/// Objects of one build that are remembered.
const OBJECTS_MAX: usize = 20_000;

/// What a build put in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    object: ObjectRef,
    /// The filesystem that a copy of it lay on; `None` where it was lent.
    copied: Option<u64>,
}

#[derive(Default)]
struct Place {
    met: HashSet<Digest>,
    objects: Vec<Expected>,
}

/// What builds put in place.
#[derive(Default)]
pub(super) struct Ahead {
    places: Mutex<HashMap<PathBuf, Place>>,
    looking: Mutex<()>,
    /// Compilers whose files were looked at, as commands name them.
    met: Mutex<HashSet<OsString>>,
}

impl Ahead {
    fn lock(&self) -> MutexGuard<'_, HashMap<PathBuf, Place>> {
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This object is a file of a target directory now, lent, or copied onto this
    /// filesystem.
    pub(super) fn placed(&self, inv: &Invocation, object: &ObjectRef, copied: Option<u64>) {
        let Some(started) = inv.started.first() else {
            return;
        };
        let mut places = self.lock();
        if !places.contains_key(started) {
            if places.len() >= PLACES_MAX {
                places.clear();
            }
            places.insert(started.clone(), Place::default());
        }
        if let Some(place) = places.get_mut(started)
            && place.objects.len() < OBJECTS_MAX
            && place.met.insert(object.digest)
        {
            let object = *object;
            place.objects.push(Expected { object, copied });
        }
    }
}

impl Pipeline {
    /// What the build before put in place, where a question of cargo's says that the next one
    /// begins; once for each build.
    #[must_use]
    pub fn expected(&self, inv: &Invocation) -> Vec<Expected> {
        let started = inv.started.first();
        let place = started.and_then(|dir| self.ahead.lock().remove(dir));
        place.map(|place| place.objects).unwrap_or_default()
    }

    /// Whether a compiler is asked for by this name for the first time.
    #[must_use]
    pub fn is_new(&self, inv: &Invocation) -> bool {
        let Some(named) = inv.argv.first() else {
            return false;
        };
        let mut met = self.ahead.met.lock();
        let met = met.as_mut().unwrap_or_else(|poisoned| poisoned.get_mut());
        if met.len() >= TOOLS_MAX {
            met.clear();
        }
        met.insert(named.clone())
    }

    /// Digests the files of a compiler and of the linker that it would use. Blocks.
    pub fn meet(&self, inv: &Invocation) {
        let digests = self.digests.as_ref();
        let Some(named) = inv.argv.first() else {
            return;
        };
        // What cannot be identified is found out, and told, by who needs it.
        if let Ok(compiler) = self.compilers.identify_named(inv, named, None, digests) {
            // By this path cargo names it where rustup has started cargo.
            let path = compiler.path.as_os_str();
            let _ = self.compilers.identify_named(inv, path, None, digests);
            let _ = self
                .linkers
                .identify_named(inv, Path::new("cc"), &compiler, digests);
        }
    }

    /// Reads objects that will be asked for, and remembers what they are; copies those that will be
    /// copied. Blocks; one at a time.
    pub fn look_ahead(&self, expected: &[Expected], cache: &dyn Cache) {
        let _one = match self.ahead.looking.try_lock() {
            Ok(one) => one,
            Err(TryLockError::Poisoned(one)) => one.into_inner(),
            Err(TryLockError::WouldBlock) => return,
        };
        self.spares.begin();
        // What takes longest is begun first: in the end a build waits for its programs alone,
        // and of what several builds left for the last one's. All else is wanted in its order.
        let is_large = |one: &&Expected| one.object.size >= LARGE;
        let (large, small): (Vec<_>, Vec<_>) = expected.iter().partition(is_large);
        for &Expected { object, copied } in large.into_iter().rev().chain(small) {
            if copied.is_some() && self.spares.is_past(&object) {
                continue;
            }
            // What is wrong with it is found out, and told, by who restores it.
            let open = || cache.open_as_it_lies(&object);
            let made =
                copied.is_some_and(|on| self.spares.make(&self.digests, open, (&object, on)));
            if !made && let Some(Object::File(file)) = cache.open_object(&object) {
                let _ = self.digests.is(&file, &object);
            }
        }
        self.spares.end();
    }

    /// Has copies that are made before they are asked for lie in a directory, which is emptied. It
    /// should lie on the filesystem of the target directories: elsewhere they are of no use.
    pub fn spare_in(&self, dir: PathBuf) {
        self.spares.lie_in(dir);
    }

    /// Lets go copies that nobody asked for; to be called now and then.
    pub fn let_go(&self) {
        self.spares.let_go();
    }

    /// Lets go all of them: the node ends.
    pub fn let_copies_go(&self) {
        self.spares.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn started_in(dir: &str) -> Invocation {
        Invocation {
            argv: vec!["rustc".into()],
            env: Vec::new(),
            cwd: "/elsewhere".into(),
            started: vec![dir.into()],
        }
    }

    #[test]
    fn what_a_build_put_in_place_is_expected_once_and_there_alone() {
        let pipeline = Pipeline::new(None);
        let here = started_in("/here");
        let object = |n: u64| ObjectRef {
            digest: Digest::of(&n.to_le_bytes()),
            size: n,
        };
        for n in [1, 2, 1] {
            pipeline
                .ahead
                .placed(&here, &object(n), (n == 2).then_some(9));
        }
        assert_eq!(pipeline.expected(&started_in("/there")), []);
        let expected = [(object(1), None), (object(2), Some(9))];
        let expected = expected.map(|(object, copied)| Expected { object, copied });
        assert_eq!(pipeline.expected(&here), expected);
        assert_eq!(pipeline.expected(&here), []);
    }

    #[derive(Default)]
    struct Backing(Mutex<HashMap<Vec<u8>, Vec<u8>>>);

    impl crate::digests::Memos for Backing {
        fn recall(&self, key: &[u8]) -> Option<Vec<u8>> {
            self.0.lock().unwrap().get(key).cloned()
        }

        fn remember(&self, key: Vec<u8>, value: Vec<u8>) {
            self.0.lock().unwrap().insert(key, value);
        }
    }

    #[test]
    fn a_compiler_and_its_linker_are_met_once_and_remembered_by_their_files() {
        let backing = std::sync::Arc::new(Backing::default());
        let pipeline = Pipeline::new(Some(backing.clone()));
        let mut inv = started_in("/here");
        inv.env = std::env::vars_os().collect();
        inv.cwd = "/".into();
        assert!(pipeline.is_new(&inv));
        assert!(!pipeline.is_new(&inv));
        let digests = || {
            let known = backing.0.lock().unwrap();
            known.keys().filter(|k| k.starts_with(b"digest-")).count()
        };
        assert_eq!(digests(), 0);
        pipeline.meet(&inv);
        // rustc, its driver and std; the linker's programs and start files.
        assert!(digests() > 10, "{} files", digests());
    }
}
