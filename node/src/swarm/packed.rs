//! What was packed for one member, kept for the next.
//!
//! In the morning many ask one node for what it compiled last. That has not settled, and packing it
//! takes more than all else of serving. Enters: frames as they are sent. Leaves: the same frames, in
//! their order, of whole objects. They lie in one file without a name, up to a length, and for as
//! long as somebody asks. Must never happen here: frames of an object whose bytes were not those that
//! its digest says; a disk that is full in anybody's way.

use quarry_trust::Digest;
use quarry_trust::digest::Hasher;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

/// Bytes that are kept; beyond it all are forgotten, and it begins anew.
const MOST: u64 = 512 << 20;
/// What nobody asked for any of for so long is forgotten.
const KEPT_FOR: Duration = Duration::from_secs(600);

/// Frames that were sent at once.
#[derive(Debug, Clone, Copy)]
struct Batch {
    at: u64,
    length: usize,
    /// Bytes of the object that they hold.
    raw: u64,
}

struct Tape {
    file: Arc<File>,
    end: u64,
    kept: HashMap<Digest, Arc<[Batch]>>,
    /// Objects that are being sent, and will be kept.
    coming: HashSet<Digest>,
    used: Instant,
}

#[derive(Default)]
struct State {
    tape: Option<Tape>,
    /// The file before this one, as long as somebody reads it.
    before: Weak<File>,
    /// When the disk was full.
    full: Option<Instant>,
}

/// See the module.
pub(super) struct Packed {
    /// Where the file lies; nothing is kept without one.
    dir: Option<PathBuf>,
    state: Mutex<State>,
}

impl Packed {
    /// Nothing kept yet; the file will lie in this directory.
    pub(super) fn new(dir: Option<PathBuf>) -> Arc<Self> {
        let state = Mutex::default();
        Arc::new(Self { dir, state })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An object's frames, if they are kept.
    pub(super) fn get(&self, digest: &Digest) -> Option<Kept> {
        let mut state = self.lock();
        let tape = state.tape.as_mut()?;
        let batches = tape.kept.get(digest)?.clone();
        tape.used = Instant::now();
        Some(Kept {
            file: tape.file.clone(),
            batches,
            next: 0,
        })
    }

    /// Begins to keep an object; `None` where that is done already, or cannot be.
    pub(super) fn keep(self: &Arc<Self>, digest: Digest) -> Option<Keeping> {
        let mut state = self.lock();
        let full = |at: Instant| at.elapsed() < KEPT_FOR;
        if state.before.upgrade().is_some() || state.full.is_some_and(full) {
            return None;
        }
        if state.tape.is_none() {
            state.tape = Some(Tape {
                file: Arc::new(self.nameless().ok()?),
                end: 0,
                kept: HashMap::new(),
                coming: HashSet::new(),
                used: Instant::now(),
            });
        }
        let tape = state.tape.as_mut()?;
        tape.coming.insert(digest).then(|| Keeping {
            packed: self.clone(),
            digest,
            file: tape.file.clone(),
            batches: Vec::new(),
            hasher: Hasher::new(),
        })
    }

    fn nameless(&self) -> io::Result<File> {
        let dir = self.dir.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let path = dir.join(format!("packed-{}", std::process::id()));
        let mut options = File::options();
        let options = options.read(true).write(true).create_new(true).mode(0o600);
        let file = match options.open(&path) {
            // Of a node that was killed before it could take the name away.
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => {
                fs::remove_file(&path)?;
                options.open(&path)?
            }
            opened => opened?,
        };
        fs::remove_file(&path)?;
        Ok(file)
    }

    /// Lets all go where nobody has asked for long.
    /// Blocks, while the disk takes back what was kept.
    pub(super) fn forget(&self, now: Instant) {
        let unused = |tape: &mut Tape| now.saturating_duration_since(tape.used) >= KEPT_FOR;
        let tape = self.lock().tape.take_if(unused);
        drop(tape);
    }

    /// A place for so many bytes in this file; `None` where it is another by now, or full.
    fn place(&self, file: &Arc<File>, length: usize) -> Option<u64> {
        let mut state = self.lock();
        let of_file = |t: &&mut Tape| Arc::ptr_eq(&t.file, file);
        let tape = state.tape.as_mut().filter(of_file)?;
        let at = tape.end;
        tape.end += length as u64;
        if tape.end > MOST {
            (state.tape, state.before) = (None, Arc::downgrade(file));
            return None;
        }
        Some(at)
    }

    /// The disk takes no more of this file: it gets back what it gave.
    fn is_full(&self, file: &Arc<File>) {
        let mut state = self.lock();
        state.full = Some(Instant::now());
        let of_file = |t: &mut Tape| Arc::ptr_eq(&t.file, file);
        if state.tape.take_if(of_file).is_some() {
            state.before = Arc::downgrade(file);
        }
    }
}

/// An object that is being kept, as it is sent.
pub(super) struct Keeping {
    packed: Arc<Packed>,
    digest: Digest,
    file: Arc<File>,
    batches: Vec<Batch>,
    hasher: Hasher,
}

impl Drop for Keeping {
    fn drop(&mut self) {
        let mut state = self.packed.lock();
        let tape = state.tape.as_mut();
        if let Some(tape) = tape.filter(|t| Arc::ptr_eq(&t.file, &self.file)) {
            tape.coming.remove(&self.digest);
        }
    }
}

impl Keeping {
    /// Bytes of the object, before they are packed.
    pub(super) fn saw(&mut self, raw: &[u8]) {
        self.hasher.update(raw);
    }

    /// Frames that hold so many bytes. `None` where no more can be kept.
    pub(super) fn add(mut self, frames: &[u8], raw: u64) -> Option<Self> {
        let length = frames.len();
        let at = self.packed.place(&self.file, length)?;
        if self.file.write_all_at(frames, at).is_err() {
            self.packed.is_full(&self.file);
            return None;
        }
        self.batches.push(Batch { at, length, raw });
        Some(self)
    }

    /// These were all.
    pub(super) fn done(mut self) {
        let hasher = std::mem::replace(&mut self.hasher, Hasher::new());
        let right = hasher.finish() == self.digest;
        let batches = std::mem::take(&mut self.batches);
        let mut state = self.packed.lock();
        let tape = state.tape.as_mut();
        if let Some(tape) = tape.filter(|t| right && Arc::ptr_eq(&t.file, &self.file)) {
            tape.used = Instant::now();
            tape.kept.insert(self.digest, batches.into());
        }
    }
}

/// An object's frames.
pub(super) struct Kept {
    file: Arc<File>,
    batches: Arc<[Batch]>,
    next: usize,
}

impl Kept {
    /// Appends the next frames. Gives how many bytes of the object they hold.
    pub(super) fn read(&mut self, out: &mut Vec<u8>) -> io::Result<u64> {
        let batch = self.batches.get(self.next);
        let batch = batch.ok_or(io::ErrorKind::UnexpectedEof)?;
        let from = out.len();
        out.resize(from + batch.length, 0);
        self.file.read_exact_at(&mut out[from..], batch.at)?;
        self.next += 1;
        Ok(batch.raw)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed() -> (tempfile::TempDir, Arc<Packed>) {
        let dir = tempfile::tempdir().unwrap();
        let packed = Packed::new(Some(dir.path().to_owned()));
        (dir, packed)
    }

    fn keep(packed: &Arc<Packed>, object: &[u8], says: &[u8]) -> Digest {
        let digest = Digest::of(says);
        let mut keeping = packed.keep(digest).unwrap();
        assert!(packed.keep(digest).is_none(), "it is on its way");
        for part in object.chunks(4) {
            keeping.saw(part);
            keeping = keeping
                .add(&[part, b"!"].concat(), part.len() as u64)
                .unwrap();
        }
        keeping.done();
        digest
    }

    fn read(mut kept: Kept, size: u64) -> Vec<u8> {
        let (mut out, mut read) = (Vec::new(), 0);
        while read < size {
            read += kept.read(&mut out).unwrap();
        }
        assert!(kept.read(&mut out).is_err(), "there is no more");
        out
    }

    #[test]
    fn what_was_sent_once_is_read_again_and_leaves_no_name() {
        let (dir, packed) = packed();
        let one = keep(&packed, b"one object", b"one object");
        let two = keep(&packed, b"another", b"another");
        assert_eq!(read(packed.get(&two).unwrap(), 7), b"anot!her!");
        assert_eq!(read(packed.get(&one).unwrap(), 10), b"one !obje!ct!");
        assert!(packed.get(&Digest::of(b"none")).is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_not_what_it_says_is_not_kept_nor_what_was_not_sent_whole() {
        let (_dir, packed) = packed();
        let changed = keep(&packed, b"changed", b"as it was");
        assert!(packed.get(&changed).is_none());
        let half = Digest::of(b"half");
        let keeping = packed.keep(half).unwrap();
        drop(keeping.add(b"ha", 2));
        assert!(packed.get(&half).is_none());
    }

    #[test]
    fn it_is_forgotten_when_it_is_too_much_or_nobody_asks() {
        let (_dir, packed) = packed();
        let one = keep(&packed, b"one", b"one");
        packed.forget(Instant::now());
        assert!(packed.get(&one).is_some());
        packed.forget(Instant::now() + KEPT_FOR);
        assert!(packed.get(&one).is_none());
        let one = keep(&packed, b"one", b"one");
        let late = packed.keep(Digest::of(b"late")).unwrap();
        packed.lock().tape.as_mut().unwrap().end = MOST;
        let reader = packed.get(&one).unwrap();
        let large = packed.keep(Digest::of(b"large")).unwrap();
        assert!(large.add(b"one too many", 12).is_none());
        assert!(packed.get(&one).is_none(), "it begins anew");
        assert!(packed.keep(one).is_none(), "while the old file is there");
        assert_eq!(read(reader, 3), b"one!", "who reads is not disturbed");
        assert!(late.add(b"of the old file", 15).is_none());
        let again = keep(&packed, b"again", b"again");
        assert!(packed.get(&again).is_some());
        assert!(Packed::new(None).keep(again).is_none());
        let file = packed.lock().tape.as_ref().unwrap().file.clone();
        packed.is_full(&file);
        drop(file);
        assert!(packed.get(&again).is_none() && packed.keep(again).is_none());
    }
}
