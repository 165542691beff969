//! Objects' files: `objects/ab/cdef…`, written under `tmp/` and renamed.
//!
//! Enters: bytes, or a file of a compile. Leaves: a file under its digest's name, or nothing.
//! Must never happen here: a half-written file under a digest's name, a temporary file that
//! outlives its writer in this process.

use super::super::{INLINE_MAX, StoreError};
use super::tables::Place;
use quarry_trust::Digest;
use quarry_trust::digest::Hasher;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

/// Bytes read at a time while a file is copied or checked: large enough that the calls cost
/// nothing beside the hash.
const CHUNK: usize = 256 * 1024;
/// An object's mode: nobody writes to it once it has its name, not even its owner by mistake. One
/// that is lent to a target directory gets another, for good.
pub(in crate::store) const OBJECT_MODE: u32 = 0o400;
/// A temporary file that nothing was written to for this long has no writer any more.
const STALE_AFTER: Duration = Duration::from_secs(3600);

/// What is called with an object file's path, length, and the digest and place that its name says.
pub(super) type EachFile<'a> =
    dyn FnMut(&Path, u64, Option<(Digest, Place)>) -> Result<(), StoreError> + 'a;

/// The folders of a store.
#[derive(Debug)]
pub(super) struct Files {
    objects: PathBuf,
    settled: PathBuf,
    tmp: PathBuf,
    next: AtomicU64,
}

impl Files {
    /// Makes the folders, readable by their owner alone.
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let files = Self {
            objects: dir.join("objects"),
            settled: dir.join("settled"),
            tmp: dir.join("tmp"),
            next: AtomicU64::new(0),
        };
        for folder in [&files.objects, &files.settled, &files.tmp] {
            make_folder(folder)?;
        }
        Ok(files)
    }

    /// Where an object's file lies.
    pub(super) fn path(&self, digest: &Digest) -> PathBuf {
        named(&self.objects, digest)
    }

    /// Where a settled object's file lies.
    pub(super) fn settled_path(&self, digest: &Digest) -> PathBuf {
        named(&self.settled, digest)
    }

    /// A new file that nobody else can see the name of before [`Temporary::become_object`].
    pub(super) fn temporary(&self) -> Result<Temporary, StoreError> {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let path = self.tmp.join(format!("{}-{number}", std::process::id()));
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(OBJECT_MODE)
            .open(&path)
            .map_err(|e| StoreError::io("creating", &path, e))?;
        Ok(Temporary { path, file })
    }

    /// Opens an object's file if it has the length that the index says.
    pub(super) fn open_object(
        &self,
        digest: &Digest,
        len: u64,
    ) -> Result<Option<File>, StoreError> {
        open_long(&self.path(digest), len)
    }

    /// The same of a settled object's file.
    pub(super) fn open_settled(
        &self,
        digest: &Digest,
        len: u64,
    ) -> Result<Option<File>, StoreError> {
        open_long(&self.settled_path(digest), len)
    }

    /// Removes an object's files; one that is not there is removed already.
    pub(super) fn remove(&self, digest: &Digest) -> Result<(), StoreError> {
        remove(&self.path(digest))?;
        remove(&self.settled_path(digest))
    }

    /// Removes the file of an object that has settled.
    pub(super) fn remove_raw(&self, digest: &Digest) -> Result<(), StoreError> {
        remove(&self.path(digest))
    }

    /// Removes the packed file of an object that was unpacked.
    pub(super) fn remove_settled(&self, digest: &Digest) -> Result<(), StoreError> {
        remove(&self.settled_path(digest))
    }

    /// Calls `each` with every object's file: its path, its length, and the digest that its name
    /// says, if it says one.
    pub(super) fn each_object(&self, each: &mut EachFile<'_>) -> Result<(), StoreError> {
        for (folder, place) in [
            (&self.objects, Place::File),
            (&self.settled, Place::Settled),
        ] {
            for shard in list(folder)? {
                let prefix = shard.file_name().and_then(|n| n.to_str()).unwrap_or("");
                if !shard.is_dir() {
                    each(&shard, length(&shard), None)?;
                    continue;
                }
                for path in list(&shard)? {
                    let rest = path.file_name().and_then(|n| n.to_str()).unwrap_or("");
                    let digest = Digest::from_hex(&format!("{prefix}{rest}"));
                    let digest = digest.filter(|digest| named(folder, digest) == path);
                    each(&path, length(&path), digest.map(|digest| (digest, place)))?;
                }
            }
        }
        Ok(())
    }

    /// Removes temporary files: all of them at the start, when nobody can be writing one, else
    /// the stale ones. Answers with their number and bytes.
    pub(super) fn clear_temporary(&self, at_start: bool) -> Result<(u64, u64), StoreError> {
        let mut cleared = (0, 0);
        for path in list(&self.tmp)? {
            let Ok(metadata) = fs::symlink_metadata(&path) else {
                continue;
            };
            let age = metadata
                .modified()
                .ok()
                .and_then(|at| SystemTime::now().duration_since(at).ok());
            let stale = age.is_some_and(|age| age > STALE_AFTER);
            if (at_start || stale) && fs::remove_file(&path).is_ok() {
                cleared.0 += 1;
                cleared.1 += metadata.len();
            }
        }
        Ok(cleared)
    }
}

fn named(folder: &Path, digest: &Digest) -> PathBuf {
    let hex = digest.to_hex();
    folder.join(&hex[..2]).join(&hex[2..])
}

fn open_long(path: &Path, len: u64) -> Result<Option<File>, StoreError> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(e) => return Err(StoreError::io("opening", path, e)),
    };
    let metadata = file
        .metadata()
        .map_err(|e| StoreError::io("looking at", path, e))?;
    Ok((metadata.is_file() && metadata.len() == len).then_some(file))
}

fn remove(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io("removing", path, e)),
        _ => Ok(()),
    }
}

/// Makes a folder for its owner alone; one that is there is left as it is.
pub(super) fn make_folder(path: &Path) -> Result<(), StoreError> {
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|e| StoreError::io("making the folder", path, e))
}

fn list(folder: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?
            .map(|item| item.map(|item| item.path()))
            .collect()
    };
    match read() {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        other => other.map_err(|e| StoreError::io("listing", folder, e)),
    }
}

fn length(path: &Path) -> u64 {
    fs::symlink_metadata(path).map_or(0, |m| m.len())
}

/// A file under `tmp/`; dropped, it is removed.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    file: File,
}

impl Temporary {
    /// Appends bytes.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), StoreError> {
        self.file
            .write_all(bytes)
            .map_err(|e| StoreError::io("writing", &self.path, e))
    }

    /// Waits until the bytes are on the disk: before another copy of them goes.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.file
            .sync_data()
            .map_err(|e| StoreError::io("syncing", &self.path, e))
    }

    /// Takes over a file's blocks without copying them. `false` where the filesystem cannot.
    pub(super) fn reflink(&mut self, from: &File) -> bool {
        #[cfg(target_os = "linux")]
        return rustix::fs::ioctl_ficlone(&self.file, from).is_ok();
        #[cfg(not(target_os = "linux"))]
        return {
            let _ = from;
            false
        };
    }

    /// The digest and length of what is in the file.
    pub(super) fn digest(&self, limit: u64) -> Result<(Digest, u64), StoreError> {
        digest_of(&self.file, limit, &mut |_| Ok(()))
            .map_err(|e| e.into_error(&self.path, "reading"))
    }

    /// Gives the file its object's name.
    pub(super) fn become_object(self, files: &Files, digest: &Digest) -> Result<(), StoreError> {
        self.rename(files.path(digest))
    }

    /// Gives the file its settled object's name.
    pub(super) fn become_settled(self, files: &Files, digest: &Digest) -> Result<(), StoreError> {
        self.rename(files.settled_path(digest))
    }

    fn rename(self, to: PathBuf) -> Result<(), StoreError> {
        let renamed = match fs::rename(&self.path, &to) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                make_folder(to.parent().unwrap_or(&to))?;
                fs::rename(&self.path, &to)
            }
            other => other,
        };
        // Dropping `self` looks for the old name, which is gone, or still to be removed.
        renamed.map_err(|e| StoreError::io("renaming to", &to, e))
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
    }
}

/// Why reading a file through ended early.
pub(super) enum ReadError {
    Io(io::Error),
    Sink(StoreError),
    Oversize(u64),
}

impl ReadError {
    pub(super) fn into_error(self, path: &Path, doing: &'static str) -> StoreError {
        match self {
            Self::Io(source) => StoreError::io(doing, path, source),
            Self::Sink(error) => error,
            Self::Oversize(limit) => StoreError::Oversize { limit },
        }
    }
}

/// Reads a file from its start, at most `limit` bytes of it, passing each chunk on; its own
/// position is left alone. Answers with digest and length.
pub(super) fn digest_of(
    file: &File,
    limit: u64,
    sink: &mut dyn FnMut(&[u8]) -> Result<(), StoreError>,
) -> Result<(Digest, u64), ReadError> {
    let mut hasher = Hasher::new();
    let mut chunk = vec![0; CHUNK];
    let mut at = 0;
    loop {
        let n = match file.read_at(&mut chunk, at) {
            Ok(0) => return Ok((hasher.finish(), at)),
            Ok(n) => n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(ReadError::Io(e)),
        };
        at += n as u64;
        if at > limit {
            return Err(ReadError::Oversize(limit));
        }
        hasher.update(&chunk[..n]);
        sink(&chunk[..n]).map_err(ReadError::Sink)?;
    }
}

/// Whether an object of this size lies in the database.
pub(super) const fn is_inline(size: u64) -> bool {
    size <= INLINE_MAX
}
