//! Which macros and crates stand behind an output file: what its dependents' keys must cover.
//!
//! A re-exported macro whose code changes leaves its re-exporter's rmeta as it was, so content of
//! direct externs is not enough: every unit's key holds the macro libraries reachable through its
//! externs. And C that is bundled two crates down changes neither the direct rlib nor its rmeta:
//! the key of what is linked holds all crates behind it. What was compiled or restored here is remembered by its *place* (path and identity);
//! a place that is unknown or was changed by others makes the caller fall back on every library
//! in the search directories.

use crate::action::{FileInput, MAX_FILES, MAX_TEXT};
use crate::digests::{Identity, Memos};
use quarry_trust::canon::{Reader, Writer};
use std::collections::HashMap;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

/// What stands behind a file.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Behind {
    /// Macro libraries from outside the sysroot, by file name and content.
    pub macros: Vec<FileInput>,
    /// Crates, by what their files' names have in common (`NAME-HASH`), in ascending order.
    pub crates: Vec<String>,
    /// The file, or something behind it, was compiled for this checkout alone.
    pub private: bool,
}

type Closure = Arc<Behind>;

/// What tells a file in its place from another one there. Without ctime: cargo's uplift links the
/// file, which moves that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PlaceIdentity {
    device: u64,
    inode: u64,
    size: u64,
    modified: i128,
    /// When the file came to be; `None` where the filesystem does not say.
    born: Option<i128>,
}

impl PlaceIdentity {
    /// Whether a file that is `now` is the one that this was. Cargo sets back the time of what it
    /// has checked to when it began to (`cargo::core::compiler::rustc`); no rewriting leads to an
    /// earlier time, and whatever takes the file's place is born later.
    fn is_still(self, now: Self) -> bool {
        let set_back = self.born.is_some() && now.modified < self.modified;
        self.may_be(now) && (now.modified == self.modified || set_back)
    }

    /// The same, with whatever time it has: what an incremental compile takes over from the one
    /// before is old, and cargo sets its time forward.
    fn may_be(self, now: Self) -> bool {
        (self.device, self.inode, self.size, self.born)
            == (now.device, now.inode, now.size, now.born)
    }
}

/// Places kept in memory; beyond it they start over (the backing keeps them).
const PLACES_MAX: usize = 100_000;

/// Stands for the identity of a private file whose compile has begun and not ended.
const ANY: &[u8] = b"any";

#[derive(Default)]
struct Table {
    /// Outputs of compiles that run now: an rmeta is used before its compile ends.
    running: HashMap<PathBuf, Closure>,
    done: HashMap<PathBuf, (PlaceIdentity, Closure)>,
}

/// The memory of places.
#[derive(Clone)]
pub struct Places {
    table: Arc<Mutex<Table>>,
    backing: Option<Arc<dyn Memos>>,
}

/// Keeps the places of a running compile known while it lives.
pub struct Pending {
    places: Places,
    paths: Vec<PathBuf>,
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut table = self.places.lock();
        for path in &self.paths {
            table.running.remove(path);
        }
    }
}

impl Places {
    /// An empty memory, in front of `backing` where there is one.
    #[must_use]
    pub fn new(backing: Option<Arc<dyn Memos>>) -> Self {
        Self {
            table: Arc::default(),
            backing,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A compile that writes these files has begun.
    #[must_use]
    pub fn begin(&self, paths: &[PathBuf], behind: &Behind) -> Pending {
        let closure = Arc::new(behind.clone());
        if let Some(backing) = self.backing.as_ref().filter(|_| behind.private) {
            // Should nobody hear how it ends, what is there then is not taken for anybody's.
            for path in paths {
                backing.remember(private_key(path), ANY.to_vec());
            }
        }
        let mut table = self.lock();
        for path in paths {
            table.done.remove(path);
            table.running.insert(path.clone(), closure.clone());
        }
        Pending {
            places: self.clone(),
            paths: paths.to_vec(),
        }
    }

    /// These files are in place, with this behind them.
    pub fn note(&self, paths: &[PathBuf], behind: &Behind) {
        let closure = Arc::new(behind.clone());
        for path in paths {
            let Some(identity) = identity(path) else {
                continue;
            };
            if let Some(backing) = &self.backing {
                backing.remember(key(path), encode(identity, &closure));
                let key = private_key(path);
                if closure.private {
                    // Short, so that it is kept where the closure is too large for a memo.
                    backing.remember(key, encode(identity, &Behind::default()));
                } else if backing.recall(&key).is_some() {
                    backing.remember(key, Vec::new());
                }
            }
            let mut table = self.lock();
            if table.done.len() >= PLACES_MAX {
                table.done.clear();
            }
            table.done.insert(path.clone(), (identity, closure.clone()));
        }
    }

    /// Whether a file, or something behind it, was compiled for this checkout alone.
    #[must_use]
    pub fn is_private(&self, path: &Path) -> bool {
        if let Some(closure) = self.behind(path) {
            return closure.private;
        }
        let backing = self.backing.as_ref();
        backing
            .and_then(|backing| backing.recall(&private_key(path)))
            .is_some_and(|memo| {
                let then = decode(&memo).map(|(then, _)| then);
                // In doubt it is private: that costs a hit, never more.
                let may_be =
                    |then: PlaceIdentity| identity(path).is_some_and(|now| then.may_be(now));
                memo == ANY || then.is_some_and(may_be)
            })
    }

    /// What stands behind a file; `None` where that is not known.
    #[must_use]
    pub fn behind(&self, path: &Path) -> Option<Closure> {
        let now = identity(path)?;
        let table = self.lock();
        if let Some(closure) = table.running.get(path) {
            return Some(closure.clone());
        }
        if let Some((then, closure)) = table.done.get(path) {
            return then.is_still(now).then(|| closure.clone());
        }
        drop(table);
        let (then, closure) = decode(&self.backing.as_ref()?.recall(&key(path))?)?;
        if !then.is_still(now) {
            return None;
        }
        let closure = Arc::new(closure);
        self.lock()
            .done
            .insert(path.to_owned(), (then, closure.clone()));
        Some(closure)
    }
}

fn identity(path: &Path) -> Option<PlaceIdentity> {
    let m = fs::metadata(path).ok()?;
    let Identity {
        device,
        inode,
        size,
        modified,
        ..
    } = Identity::of(&m);
    let born = m.created().ok();
    let born = born.and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Some(PlaceIdentity {
        device,
        inode,
        size,
        modified,
        born: born.and_then(|since| i128::try_from(since.as_nanos()).ok()),
    })
}

fn key(path: &Path) -> Vec<u8> {
    [b"place-v4:".as_slice(), path.as_os_str().as_bytes()].concat()
}

fn private_key(path: &Path) -> Vec<u8> {
    [b"private-v2:".as_slice(), path.as_os_str().as_bytes()].concat()
}

fn encode(identity: PlaceIdentity, closure: &Behind) -> Vec<u8> {
    let mut w = Writer::default();
    w.u64(identity.device);
    w.u64(identity.inode);
    w.u64(identity.size);
    w.fixed(&identity.modified.to_le_bytes());
    w.option(identity.born.as_ref(), |w, born| {
        w.fixed(&born.to_le_bytes())
    });
    w.list(&closure.macros);
    w.count(closure.crates.len());
    for name in &closure.crates {
        w.text(name);
    }
    w.u8(u8::from(closure.private));
    w.finish()
}

fn decode(bytes: &[u8]) -> Option<(PlaceIdentity, Behind)> {
    let mut r = Reader::new(bytes);
    let identity = PlaceIdentity {
        device: r.u64().ok()?,
        inode: r.u64().ok()?,
        size: r.u64().ok()?,
        modified: i128::from_le_bytes(r.array().ok()?),
        born: r.option(|r| r.array().map(i128::from_le_bytes)).ok()?,
    };
    let macros = r.list(MAX_FILES).ok()?;
    let count = r.count(MAX_FILES).ok()?;
    let crates = (0..count).map(|_| r.text(MAX_TEXT).ok());
    let crates = crates.collect::<Option<_>>()?;
    let private = match r.u8().ok()? {
        0 => false,
        1 => true,
        _ => return None,
    };
    r.finish().ok()?;
    let behind = Behind {
        macros,
        crates,
        private,
    };
    Some((identity, behind))
}

/// For `crate::fuzzing`: read, and written again.
pub(crate) fn again_for_fuzzing(bytes: &[u8]) -> Option<Vec<u8>> {
    decode(bytes).map(|(identity, behind)| encode(identity, &behind))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quarry_trust::Digest;

    fn something() -> Behind {
        Behind {
            macros: vec![FileInput {
                name: "libm.so".into(),
                digest: Some(Digest::of(b"m")),
            }],
            crates: vec!["a-1".into(), "b-2".into()],
            private: true,
        }
    }

    #[test]
    fn a_running_compile_is_known_until_it_ends() {
        let dir = tempfile::tempdir().unwrap();
        let rmeta = dir.path().join("liba.rmeta");
        fs::write(&rmeta, b"early").unwrap();
        let places = Places::new(None);
        let pending = places.begin(std::slice::from_ref(&rmeta), &something());
        assert_eq!(*places.behind(&rmeta).unwrap(), something());
        drop(pending);
        assert!(
            places.behind(&rmeta).is_none(),
            "an interrupted compile leaves no claim"
        );
    }

    #[test]
    fn a_file_whose_time_was_set_back_is_the_same_and_one_that_was_touched_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let rmeta = dir.path().join("liba.rmeta");
        fs::write(&rmeta, b"checked").unwrap();
        let places = Places::new(None);
        places.note(std::slice::from_ref(&rmeta), &something());
        let at = |seconds: i64| {
            let file = fs::File::options().append(true).open(&rmeta).unwrap();
            let now = std::time::SystemTime::now();
            let gap = std::time::Duration::from_secs(seconds.unsigned_abs());
            file.set_modified(if seconds < 0 { now - gap } else { now + gap })
                .unwrap();
        };
        at(-60);
        assert!(places.behind(&rmeta).is_some());
        at(60);
        assert!(places.behind(&rmeta).is_none());
        // Another file, born later, with a time as old: a rebuild that was checked, too.
        let other = dir.path().join("other");
        fs::write(&other, b"checked").unwrap();
        fs::rename(&other, &rmeta).unwrap();
        at(-60);
        assert!(places.behind(&rmeta).is_none());
    }

    #[test]
    fn a_file_that_others_rebuilt_is_unknown_and_an_uplifted_one_is_known() {
        let dir = tempfile::tempdir().unwrap();
        let rlib = dir.path().join("liba.rlib");
        fs::write(&rlib, b"ours").unwrap();
        let places = Places::new(None);
        places.note(std::slice::from_ref(&rlib), &something());
        fs::hard_link(&rlib, dir.path().join("uplifted.rlib")).unwrap();
        assert!(places.behind(&rlib).is_some());
        fs::remove_file(&rlib).unwrap();
        fs::write(&rlib, b"theirs").unwrap();
        assert!(places.behind(&rlib).is_none());
    }

    /// A store keeps short memos only.
    #[derive(Default)]
    struct Short(Mutex<HashMap<Vec<u8>, Vec<u8>>>);

    impl Memos for Short {
        fn recall(&self, key: &[u8]) -> Option<Vec<u8>> {
            self.0.lock().unwrap().get(key).cloned()
        }

        fn remember(&self, key: Vec<u8>, value: Vec<u8>) {
            if value.len() <= 4096 {
                self.0.lock().unwrap().insert(key, value);
            }
        }
    }

    #[test]
    fn a_private_file_is_one_after_a_restart_however_much_stands_behind_it() {
        let dir = tempfile::tempdir().unwrap();
        let rlib = dir.path().join("liba.rlib");
        fs::write(&rlib, b"ours alone").unwrap();
        let mut behind = something();
        behind.crates = (0..9_999).map(|n| format!("crate-{n}")).collect();
        let store = Arc::new(Short::default());
        Places::new(Some(store.clone())).note(std::slice::from_ref(&rlib), &behind);
        let restarted = Places::new(Some(store));
        assert!(restarted.behind(&rlib).is_none() && restarted.is_private(&rlib));
        fs::remove_file(&rlib).unwrap();
        fs::write(&rlib, b"restored").unwrap();
        assert!(!restarted.is_private(&rlib));
    }

    #[test]
    fn a_private_compile_whose_end_nobody_heard_leaves_nothing_that_is_anybodys() {
        let dir = tempfile::tempdir().unwrap();
        let rlib = dir.path().join("liba.rlib");
        let store = Arc::new(Short::default());
        let before = Places::new(Some(store.clone()));
        // As if killed: nothing is tidied up.
        std::mem::forget(before.begin(std::slice::from_ref(&rlib), &something()));
        fs::write(&rlib, b"ours alone").unwrap();
        let restarted = Places::new(Some(store.clone()));
        assert!(restarted.behind(&rlib).is_none() && restarted.is_private(&rlib));
        let everybodys = Behind {
            crates: (0..9_999).map(|n| format!("crate-{n}")).collect(),
            ..Behind::default()
        };
        restarted.note(std::slice::from_ref(&rlib), &everybodys);
        assert!(
            !Places::new(Some(store)).is_private(&rlib),
            "restored since"
        );
    }

    #[test]
    fn memos_round_trip() {
        let identity = PlaceIdentity {
            device: 1,
            inode: 2,
            size: 3,
            modified: -4,
            born: Some(5),
        };
        assert_eq!(
            decode(&encode(identity, &something())),
            Some((identity, something()))
        );
        assert_eq!(decode(&[1, 2, 3]), None);
    }
}
