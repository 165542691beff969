//! Copies of programs, made before they are asked for.
//!
//! A program's file is its target directory's own, and a warm build ends with copying or unpacking
//! one, on one processor. Earlier, while cargo thinks, another processor has nothing to do. Enters:
//! an object; later a place for its copy. Leaves: the copy under that name. Must never happen here:
//! a copy handed out whose bytes somebody else could have changed unseen, or handed out twice.

use super::restore::temporary;
use super::{Object, bytes};
use crate::digests::{Identity, MemoDigests};
use crate::stamps::stamp;
use quarry_trust::{Digest, ObjectRef};
use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// Smaller files are copied at once, bytes.
const LEAST: u64 = 1 << 20;
/// Bytes of copies that wait.
const MOST: u64 = 256 << 20;
/// Bytes that the disk has room for beside all of them.
const ROOM: u64 = 1 << 30;
/// What nobody asked for within this time nobody wants.
const KEPT_FOR: Duration = Duration::from_secs(30);
/// As long is one waited for that is being made.
const MADE_WITHIN: Duration = Duration::from_secs(1);

struct Spare {
    path: PathBuf,
    size: u64,
    /// How it was left.
    state: Identity,
    made: Instant,
}

impl Drop for Spare {
    fn drop(&mut self) {
        // Where it was taken it has another name by now.
        let _ = fs::remove_file(&self.path);
    }
}

#[derive(Default)]
struct Kept {
    made: HashMap<Digest, Spare>,
    making: Option<Digest>,
    /// One could not be given the name that was asked for: it lies on another filesystem.
    apart: bool,
}

/// Copies that wait to be asked for.
#[derive(Default)]
pub(super) struct Spares {
    /// A directory of ours; none are made without one.
    dir: OnceLock<PathBuf>,
    kept: Mutex<Kept>,
    /// One is made, or will not be.
    made: Condvar,
}

impl Spares {
    /// Has copies lie in this directory from now on, which is emptied first.
    pub(super) fn lie_in(&self, dir: PathBuf) {
        let _ = fs::remove_dir_all(&dir);
        if fs::create_dir_all(&dir).is_ok() {
            let _ = self.dir.set(dir);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a copy of an object, where that pays; whether there is one now. What goes wrong is
    /// found out, and told, by who wants it. Blocks; one at a time.
    pub(super) fn make(&self, digests: &MemoDigests, from: Object, object: &ObjectRef) -> bool {
        let Some(dir) = self.dir.get().filter(|dir| has_room(dir)) else {
            return false;
        };
        let mut kept = self.lock();
        let waiting: u64 = kept.made.values().map(|spare| spare.size).sum();
        let fits = object.size >= LEAST && waiting.saturating_add(object.size) <= MOST;
        if !fits || kept.apart || kept.made.contains_key(&object.digest) {
            return false;
        }
        kept.making = Some(object.digest);
        drop(kept);
        let made = copied(digests, from, object, temporary(dir, "spare"));
        let mut kept = self.lock();
        kept.making = None;
        let is_made = made.map(|spare| kept.made.insert(object.digest, spare));
        drop(kept);
        self.made.notify_all();
        is_made.is_ok()
    }

    /// Gives an object's copy another name, if there is one, and it can go there.
    pub(super) fn take(&self, object: &ObjectRef, at: &Path) -> Option<File> {
        let being_made = |kept: &mut Kept| kept.making == Some(object.digest);
        let waited = self
            .made
            .wait_timeout_while(self.lock(), MADE_WITHIN, being_made);
        let (mut kept, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let spare = kept.made.remove(&object.digest)?;
        drop(kept);
        let file = File::open(&spare.path).ok()?;
        let now = file.metadata().ok()?;
        (Identity::of(&now) == spare.state && now.nlink() == 1).then_some(())?;
        match fs::rename(&spare.path, at) {
            Ok(()) => Some(file),
            Err(error) => {
                self.lock().apart |= error.kind() == ErrorKind::CrossesDevices;
                None
            }
        }
    }

    /// Lets go what waited too long.
    pub(super) fn let_go(&self) {
        let waits = |_: &Digest, spare: &mut Spare| spare.made.elapsed() < KEPT_FOR;
        self.lock().made.retain(waits);
    }
}

/// Whether a disk is far from full.
fn has_room(dir: &Path) -> bool {
    rustix::fs::statvfs(dir)
        .is_ok_and(|disk| disk.f_bavail.saturating_mul(disk.f_frsize) >= ROOM + MOST)
}

/// A copy of an object that is whole, and by which every later change shows.
fn copied(
    digests: &MemoDigests,
    from: Object,
    object: &ObjectRef,
    path: PathBuf,
) -> io::Result<Spare> {
    let written = match from {
        Object::File(from) => bytes::copy(digests, &from, object, &path),
        Object::Packed(from) => bytes::unpack(from, object, &path),
        Object::Bytes(bytes) => bytes::write(&bytes, &path),
    };
    let state = written.and_then(|file| match stamp(&file) {
        true => Ok(Identity::of(&file.metadata()?)),
        false => Err(ErrorKind::Unsupported.into()),
    });
    match state {
        Ok(state) => Ok(Spare {
            path,
            size: object.size,
            state,
            made: Instant::now(),
        }),
        Err(error) => {
            let _ = fs::remove_file(&path);
            Err(error)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Desk {
        dir: tempfile::TempDir,
        digests: MemoDigests,
        spares: Spares,
    }

    fn bytes(byte: u8, size: u64) -> Vec<u8> {
        vec![byte; usize::try_from(size).unwrap()]
    }

    impl Desk {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let spares = dir.path().join("spares");
            fs::create_dir(&spares).unwrap();
            fs::write(spares.join("of a run before"), "").unwrap();
            let desk = Self {
                spares: Spares::default(),
                digests: MemoDigests::new(None),
                dir,
            };
            desk.spares.lie_in(spares);
            desk
        }

        /// Of an object whose file is filled with this.
        fn make(&self, byte: u8, size: u64) -> (ObjectRef, bool) {
            let path = self.at(&byte.to_string());
            fs::write(&path, bytes(byte, size)).unwrap();
            let digest = Digest::of(&bytes(byte, size));
            let object = ObjectRef { digest, size };
            let from = Object::File(File::open(&path).unwrap());
            let made = self.spares.make(&self.digests, from, &object);
            (object, made)
        }

        fn lying(&self) -> Vec<PathBuf> {
            let all = fs::read_dir(self.at("spares")).unwrap();
            all.map(|entry| entry.unwrap().path()).collect()
        }

        fn at(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn takes(&self, object: &ObjectRef, name: &str) -> bool {
            let taken = self.spares.take(object, &self.at(name));
            assert_eq!(taken.is_some(), self.at(name).exists());
            taken.is_some()
        }
    }

    #[test]
    fn a_copy_is_given_once_and_whole() {
        let desk = Desk::new();
        assert_eq!(desk.lying().len(), 0, "it was emptied");
        let (object, made) = desk.make(7, LEAST);
        assert!(made);
        assert!(desk.takes(&object, "one"));
        assert_eq!(fs::read(desk.at("one")).unwrap(), bytes(7, LEAST));
        assert!(!desk.takes(&object, "two"));
        assert_eq!(desk.lying().len(), 0);
    }

    #[test]
    fn what_was_packed_is_unpacked_and_checked() {
        let desk = Desk::new();
        for (digest_of, is_right) in [(5, true), (6, false)] {
            let digest = Digest::of(&bytes(digest_of, LEAST));
            let object = ObjectRef {
                digest,
                size: LEAST,
            };
            let packed = Object::Packed(Box::new(io::Cursor::new(bytes(5, LEAST))));
            let made = desk.spares.make(&desk.digests, packed, &object);
            assert_eq!(made, is_right);
            assert_eq!(desk.takes(&object, &digest_of.to_string()), is_right);
        }
        assert_eq!(fs::read(desk.at("5")).unwrap(), bytes(5, LEAST));
        assert_eq!(desk.lying().len(), 0);
    }

    #[test]
    fn what_somebody_could_have_written_to_is_not_given() {
        let desk = Desk::new();
        let (object, _) = desk.make(7, LEAST);
        fs::write(desk.lying().remove(0), bytes(8, LEAST)).unwrap();
        assert!(!desk.takes(&object, "one"));
        let (object, _) = desk.make(7, LEAST);
        fs::hard_link(desk.lying().remove(0), desk.at("another name")).unwrap();
        assert!(!desk.takes(&object, "one"));
        assert_eq!(desk.lying().len(), 0);
    }

    #[test]
    fn what_is_small_or_too_much_or_damaged_is_not_copied() {
        let desk = Desk::new();
        assert!(!desk.make(1, LEAST - 1).1);
        let damaged = ObjectRef {
            digest: Digest::of(b"another"),
            size: LEAST,
        };
        fs::write(desk.at("damaged"), bytes(1, LEAST)).unwrap();
        let from = || Object::File(File::open(desk.at("damaged")).unwrap());
        assert!(!desk.spares.make(&desk.digests, from(), &damaged));
        assert_eq!(desk.lying().len(), 0);
        let half = MOST / 2 + 1;
        let (first, second) = (desk.make(2, half), desk.make(3, half));
        assert_eq!((first.1, second.1), (true, false));
        assert!(!desk.takes(&second.0, "second"));
        assert!(desk.takes(&first.0, "first"));
        let none = Spares::default();
        assert!(!none.make(&desk.digests, from(), &damaged));
    }

    #[test]
    fn who_wants_what_is_being_made_waits_for_it() {
        let desk = Desk::new();
        let (object, _) = desk.make(7, LEAST);
        desk.spares.lock().making = Some(object.digest);
        std::thread::scope(|scope| {
            let taking = scope.spawn(|| desk.takes(&object, "one"));
            std::thread::sleep(Duration::from_millis(100));
            assert!(!taking.is_finished());
            desk.spares.lock().making = None;
            desk.spares.made.notify_all();
            assert!(taking.join().unwrap());
        });
    }

    #[test]
    fn none_is_made_again_where_it_cannot_go() {
        let desk = Desk::new();
        // Another filesystem than that of any temporary directory.
        let elsewhere = Path::new("/proc/a-name");
        let (object, _) = desk.make(7, LEAST);
        assert!(desk.spares.take(&object, elsewhere).is_none());
        assert!(!desk.make(7, LEAST).1);
        assert_eq!(desk.lying().len(), 0);
    }

    #[test]
    fn what_nobody_wants_goes() {
        let desk = Desk::new();
        let (object, _) = desk.make(7, LEAST);
        desk.spares.let_go();
        assert_eq!(desk.lying().len(), 1);
        let long = Instant::now().checked_sub(KEPT_FOR).unwrap();
        let mut kept = desk.spares.lock();
        kept.made.get_mut(&object.digest).unwrap().made = long;
        drop(kept);
        desk.spares.let_go();
        assert_eq!(desk.lying().len(), 0);
    }
}
