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
use std::collections::{HashMap, HashSet};
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
const KEPT_FOR: Duration = Duration::from_secs(60);
/// As long is one waited for that is being unpacked.
const MADE_WITHIN: Duration = Duration::from_secs(1);
/// Set-group-id: what is made in such a directory is its group's.
const SETGID: u32 = 0o2000;

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
    /// Is being unpacked, which nobody should do twice.
    unpacking: Option<Digest>,
    /// While copies are being made: were asked for, and were not here. The build has them.
    missed: Option<HashSet<Digest>>,
}

impl Kept {
    fn was_missed(&self, object: &ObjectRef) -> bool {
        let missed = self.missed.as_ref();
        missed.is_some_and(|all| all.contains(&object.digest))
    }
}

/// A directory of ours, and the filesystem that it lies on.
struct Dir {
    path: PathBuf,
    device: u64,
}

/// Copies that wait to be asked for.
#[derive(Default)]
pub(super) struct Spares {
    /// None are made without one.
    dir: OnceLock<Dir>,
    kept: Mutex<Kept>,
    /// One is unpacked, or will not be.
    made: Condvar,
}

impl Spares {
    /// Has copies lie in this directory from now on, which is emptied first. None are made where
    /// its filesystem does not keep the times that tell whether somebody wrote to one.
    pub(super) fn lie_in(&self, path: PathBuf) {
        let _ = fs::remove_dir_all(&path);
        let probe = path.join("probe");
        let stamped = fs::create_dir_all(&path)
            .and_then(|()| bytes::create(&probe))
            .is_ok_and(|file| stamp(&file));
        let _ = fs::remove_file(&probe);
        if let (true, Ok(found)) = (stamped, fs::metadata(&path)) {
            let device = found.dev();
            let _ = self.dir.set(Dir { path, device });
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Copies will be made for a build that begins.
    pub(super) fn begin(&self) {
        self.lock().missed = Some(HashSet::new());
    }

    /// No more of them.
    pub(super) fn end(&self) {
        self.lock().missed = None;
    }

    /// Whether a copy waits already, or was asked for while none did.
    pub(super) fn is_past(&self, object: &ObjectRef) -> bool {
        let kept = self.lock();
        kept.made.contains_key(&object.digest) || kept.was_missed(object)
    }

    /// Where to copy an object for a place on this filesystem, if that pays.
    fn wants(&self, object: &ObjectRef, device: u64) -> Option<&Path> {
        let dir = self.dir.get().filter(|dir| dir.device == device)?;
        let waiting: u64 = self.lock().made.values().map(|spare| spare.size).sum();
        let fits = object.size >= LEAST && waiting.saturating_add(object.size) <= MOST;
        (fits && has_room(&dir.path)).then_some(dir.path.as_path())
    }

    /// Makes a copy of an object for a place on this filesystem, where that pays; whether it did.
    /// What goes wrong is found out, and told, by who wants it. Blocks; one at a time.
    pub(super) fn make(
        &self,
        digests: &MemoDigests,
        open: impl FnOnce() -> Option<Object>,
        (object, device): (&ObjectRef, u64),
    ) -> bool {
        let Some(dir) = self.wants(object, device) else {
            return false;
        };
        let Some(from) = open() else { return false };
        if matches!(from, Object::Packed(_)) {
            self.lock().unpacking = Some(object.digest);
        }
        let made = copied(digests, from, object, temporary(dir, "spare"));
        let mut kept = self.lock();
        kept.unpacking = None;
        // Else it was asked for meanwhile, and is of no use.
        let made = made.ok().filter(|_| !kept.was_missed(object));
        let is_made = made.is_some();
        let before = made.and_then(|spare| kept.made.insert(object.digest, spare));
        drop(kept);
        drop(before);
        self.made.notify_all();
        is_made
    }

    /// Gives an object's copy another name, if there is one, and it can go there.
    pub(super) fn take(&self, object: &ObjectRef, at: &Path) -> Option<File> {
        if object.size < LEAST {
            return None;
        }
        let unpacking = |kept: &mut Kept| kept.unpacking == Some(object.digest);
        let waited = self
            .made
            .wait_timeout_while(self.lock(), MADE_WITHIN, unpacking);
        let (mut kept, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let Some(spare) = kept.made.remove(&object.digest) else {
            kept.missed.as_mut().map(|all| all.insert(object.digest));
            return None;
        };
        drop(kept);
        let file = File::open(&spare.path).ok()?;
        let now = file.metadata().ok()?;
        let there = fs::metadata(at.parent()?).ok()?;
        let untouched = Identity::of(&now) == spare.state && now.nlink() == 1;
        let as_made_there = there.mode() & SETGID == 0 || there.gid() == now.gid();
        (untouched && as_made_there).then_some(())?;
        fs::rename(&spare.path, at).ok()?;
        Some(file)
    }

    /// Lets go what waited too long.
    pub(super) fn let_go(&self) {
        self.drop_those(|spare| spare.made.elapsed() >= KEPT_FOR);
    }

    /// Lets go all.
    pub(super) fn clear(&self) {
        self.drop_those(|_| true);
    }

    fn drop_those(&self, which: impl Fn(&Spare) -> bool) {
        let gone: Vec<_> = {
            let mut kept = self.lock();
            kept.made.extract_if(|_, spare| which(spare)).collect()
        };
        // Files are removed while nobody waits for the lock.
        drop(gone);
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

    fn object(byte: u8, size: u64) -> ObjectRef {
        let digest = Digest::of(&bytes(byte, size));
        ObjectRef { digest, size }
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
            let object = object(byte, size);
            let from = || Some(Object::File(File::open(&path).unwrap()));
            (object, self.make_of(from, &object))
        }

        fn make_of(&self, from: impl FnOnce() -> Option<Object>, object: &ObjectRef) -> bool {
            let device = fs::metadata(self.dir.path()).unwrap().dev();
            self.spares.make(&self.digests, from, (object, device))
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
            let object = object(digest_of, LEAST);
            let packed = || Some(Object::Packed(Box::new(io::Cursor::new(bytes(5, LEAST)))));
            let made = desk.make_of(packed, &object);
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
        let copy = desk.lying().remove(0);
        fs::hard_link(&copy, desk.at("another name")).unwrap();
        // It had its other name before it was last looked at.
        let mut kept = desk.spares.lock();
        let spare = kept.made.get_mut(&object.digest).unwrap();
        spare.state = Identity::of(&fs::metadata(copy).unwrap());
        drop(kept);
        assert!(!desk.takes(&object, "one"));
        assert_eq!(desk.lying().len(), 0);
    }

    #[test]
    fn what_is_small_or_too_much_or_damaged_is_not_copied() {
        let desk = Desk::new();
        assert!(!desk.make(1, LEAST - 1).1);
        let damaged = object(9, LEAST);
        fs::write(desk.at("damaged"), bytes(1, LEAST)).unwrap();
        let from = || Some(Object::File(File::open(desk.at("damaged")).unwrap()));
        assert!(!desk.make_of(from, &damaged));
        assert_eq!(desk.lying().len(), 0);
        let half = MOST / 2 + 1;
        let (first, second) = (desk.make(2, half), desk.make(3, half));
        assert_eq!((first.1, second.1), (true, false));
        assert!(!desk.takes(&second.0, "second"));
        assert!(desk.takes(&first.0, "first"));
        let none = Spares::default();
        assert!(!none.make(&desk.digests, || None, (&first.0, 0)));
    }

    #[test]
    fn who_wants_what_is_being_unpacked_waits_for_it() {
        /// Gives its bytes when it is told to.
        struct Slow(std::sync::mpsc::Receiver<()>, io::Cursor<Vec<u8>>);

        impl io::Read for Slow {
            fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
                let _ = self.0.recv();
                self.1.read(to)
            }
        }

        let desk = Desk::new();
        let object = object(7, LEAST);
        let (go, told) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            let slow = Slow(told, io::Cursor::new(bytes(7, LEAST)));
            let packed = || Some(Object::Packed(Box::new(slow)));
            let making = scope.spawn(|| desk.make_of(packed, &object));
            while desk.spares.lock().unpacking.is_none() {
                std::thread::yield_now();
            }
            let taking = scope.spawn(|| desk.takes(&object, "one"));
            std::thread::sleep(Duration::from_millis(100));
            assert!(!taking.is_finished());
            drop(go);
            assert!(making.join().unwrap());
            assert!(taking.join().unwrap());
        });
    }

    #[test]
    fn what_the_build_has_already_is_not_copied_for_it() {
        let desk = Desk::new();
        let object = object(7, LEAST);
        desk.spares.begin();
        assert!(!desk.spares.is_past(&object));
        assert!(!desk.takes(&object, "one"));
        assert!(desk.spares.is_past(&object));
        assert!(!desk.make(7, LEAST).1);
        assert_eq!(desk.lying().len(), 0);
        desk.spares.end();
        assert!(!desk.spares.is_past(&object));
        assert!(!desk.takes(&object, "one"), "and it is not noted any more");
        assert!(desk.make(7, LEAST).1);
        assert!(desk.spares.is_past(&object));
    }

    #[test]
    fn none_is_made_for_another_filesystem() {
        let desk = Desk::new();
        let (object, _) = desk.make(7, LEAST);
        desk.spares.clear();
        assert_eq!(desk.lying().len(), 0);
        let from = || Some(Object::File(File::open(desk.at("7")).unwrap()));
        let elsewhere = fs::metadata("/proc").unwrap().dev();
        let made = desk.spares.make(&desk.digests, from, (&object, elsewhere));
        assert!(!made);
        assert!(desk.make_of(from, &object));
    }

    #[test]
    fn a_directory_gives_its_group_to_what_is_made_there() {
        use std::os::unix::fs::PermissionsExt;
        let desk = Desk::new();
        let (object, _) = desk.make(7, LEAST);
        let shared = desk.at("shared");
        fs::create_dir(&shared).unwrap();
        fs::set_permissions(&shared, fs::Permissions::from_mode(0o2775)).unwrap();
        let group = fs::metadata(&shared).unwrap().gid();
        // Whoever is no other group's member, and not root, can make no such directory.
        let other = std::os::unix::fs::chown(&shared, None, Some(group + 1)).is_ok();
        let _ = fs::set_permissions(&shared, fs::Permissions::from_mode(0o2775));
        assert_eq!(desk.takes(&object, "shared/one"), !other);
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
