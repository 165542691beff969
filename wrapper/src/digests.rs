//! Digests of files, each read once: memoised by identity, never trusted inside one tick.
//!
//! A file's identity is device, inode, size, mtime and ctime. A digest is remembered only if the
//! file had not changed for [`SETTLED`] when it was read, on a filesystem whose clock is this
//! machine's, and only if the identity was the same before and after the read: a write in the
//! same tick as the read could otherwise go unseen. Where a filesystem keeps time of its own
//! (NFS, 9p and the like), or none (`/proc`), nothing is remembered.

use crate::nearby::Nearby;
use quarry_trust::{Digest, ObjectRef, digest};
use std::collections::HashMap;
use std::fs::{File, Metadata};
use std::hash::{Hash, Hasher};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file that changed this recently is digested again at the next question: several ticks of
/// the kernel's coarse clock (1 to 10 ms).
pub const SETTLED: Duration = Duration::from_millis(50);
/// The tick of filesystems that keep whole seconds: one on ext3, HFS+ and ext4 with small inodes,
/// two on FAT. Nanoseconds.
const SLOW_TICK: i128 = 2_000_000_000;
/// Digests kept in memory; beyond it the memo starts over (the backing keeps them).
const MEMO_MAX: usize = 200_000;
/// Bytes read at a time: they stay in the processor's own cache until they are hashed.
const CHUNK: usize = 128 * 1024;

/// Digests of files as they are now.
pub trait FileDigests: Send + Sync {
    /// BLAKE3 of the file's bytes.
    ///
    /// # Errors
    /// What opening or reading said; `InvalidInput` for what is no regular file.
    fn digest(&self, path: &Path) -> io::Result<Digest>;

    /// The same of a file that was found in this state just now.
    ///
    /// # Errors
    /// As there.
    fn digest_of(&self, path: &Path, _found: &Identity) -> io::Result<Digest> {
        self.digest(path)
    }
}

/// Small facts that survive a restart; losing them costs time only.
pub trait Memos: Send + Sync {
    /// What was remembered under a key.
    fn recall(&self, key: &[u8]) -> Option<Vec<u8>>;
    /// Remembers.
    fn remember(&self, key: Vec<u8>, value: Vec<u8>);
}

/// What tells one state of a file from another without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Device.
    pub device: u64,
    /// Inode.
    pub inode: u64,
    /// Length in bytes.
    pub size: u64,
    /// When the content last changed, at the latest: nanoseconds since 1970, the end of the tick
    /// that the filesystem stamped.
    pub modified: i128,
    /// When anything of it last changed, in the same way.
    pub changed: i128,
}

/// A memo is asked a hundred times for one look-up: of all that tells files apart, what does so
/// nearly always.
impl Hash for Identity {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let changed = self.changed.to_le_bytes();
        let low = changed
            .first_chunk()
            .map_or(0, |low| u64::from_le_bytes(*low));
        state.write_u64(self.inode.rotate_left(40) ^ low);
    }
}

impl Identity {
    /// The identity in a file's metadata.
    #[must_use]
    pub fn of(m: &Metadata) -> Self {
        Self {
            device: m.dev(),
            inode: m.ino(),
            size: m.size(),
            modified: tick_ends(nanos(m.mtime(), m.mtime_nsec())),
            changed: tick_ends(nanos(m.ctime(), m.ctime_nsec())),
        }
    }

    /// The same in what the system itself says.
    #[expect(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "the types differ between systems"
    )]
    #[must_use]
    pub fn of_stat(m: &rustix::fs::Stat) -> Self {
        Self {
            device: m.st_dev as u64,
            inode: m.st_ino as u64,
            size: m.st_size as u64,
            modified: tick_ends(nanos(m.st_mtime as i64, m.st_mtime_nsec as i64)),
            changed: tick_ends(nanos(m.st_ctime as i64, m.st_ctime_nsec as i64)),
        }
    }

    /// Whether nobody wrote to the file since it was `before`, whatever happened to its names.
    #[must_use]
    pub fn is_as_written(&self, before: &Self) -> bool {
        let changed = self.changed;
        *self == Self { changed, ..*before }
    }

    /// The later of the two times.
    #[must_use]
    pub fn newest(&self) -> i128 {
        self.modified.max(self.changed)
    }

    /// Fixed-width bytes, for memo keys.
    #[must_use]
    pub fn to_bytes(&self) -> [u8; 56] {
        let mut out = [0; 56];
        out[..8].copy_from_slice(&self.device.to_le_bytes());
        out[8..16].copy_from_slice(&self.inode.to_le_bytes());
        out[16..24].copy_from_slice(&self.size.to_le_bytes());
        out[24..40].copy_from_slice(&self.modified.to_le_bytes());
        out[40..].copy_from_slice(&self.changed.to_le_bytes());
        out
    }
}

/// Seconds and nanoseconds since 1970, in nanoseconds.
#[must_use]
pub fn nanos(seconds: i64, nanoseconds: i64) -> i128 {
    i128::from(seconds) * 1_000_000_000 + i128::from(nanoseconds)
}

/// The end of the tick that a time was stamped in, nanoseconds since 1970. A clock with parts of a
/// second hardly ever gives none; one without stamps the beginning of its tick.
fn tick_ends(time: i128) -> i128 {
    if time % 1_000_000_000 == 0 {
        time + SLOW_TICK
    } else {
        time
    }
}

/// Nanoseconds since 1970 by this machine's clock.
#[must_use]
pub fn now_nanos() -> i128 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i128::try_from(since.as_nanos()).unwrap_or(i128::MAX)
}

/// The time now by the clock of the filesystem that a directory lies on, in nanoseconds since
/// 1970: the beginning of its tick, so that whatever is stamped later is stamped with no less.
///
/// # Errors
/// What opening the directory, or creating a file there, said.
pub fn clock_mark(dir: &Path) -> io::Result<i128> {
    #[cfg(target_os = "linux")]
    if is_local(&rustix::fs::statfs(dir)?) {
        // By which the kernel stamps: a file made to look at its time would say the same.
        let tick = rustix::time::clock_gettime(rustix::time::ClockId::RealtimeCoarse);
        return Ok(nanos(tick.tv_sec, tick.tv_nsec));
    }
    let name = format!(".quarry-clock-{}-{}", std::process::id(), now_nanos());
    let path = dir.join(name);
    let file = File::options().write(true).create_new(true).open(&path)?;
    let mark = file.metadata().map(|m| nanos(m.ctime(), m.ctime_nsec()));
    let _ = std::fs::remove_file(&path);
    mark
}

/// Whether the filesystem of an open file stamps times by this machine's clock, whenever its content
/// changes.
#[cfg(target_os = "linux")]
#[must_use]
pub fn local_clock(file: impl std::os::fd::AsFd) -> bool {
    rustix::fs::fstatfs(file).is_ok_and(|found| is_local(&found))
}

#[cfg(target_os = "linux")]
fn is_local(found: &rustix::fs::StatFs) -> bool {
    // From linux/magic.h and statfs(2): NFS, 9p, SMB, CIFS, SMB2, CODA, AFS, CEPH, FUSE; then
    // those in which the kernel makes up what a file holds, whose time stands still while that
    // changes: proc, sysfs, debugfs, tracefs, securityfs, configfs, cgroup, cgroup2, resctrl,
    // selinuxfs, efivarfs, pstore, bpf.
    const FOREIGN: [i64; 22] = [
        0x6969,
        0x0102_1997,
        0x517B,
        0xFF53_4D42,
        0xFE53_4D42,
        0x7375_7245,
        0x5346_414F,
        0x00C3_6400,
        0x6573_5546,
        0x9FA0,
        0x6265_6572,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0x6265_6570,
        0x0027_E0EB,
        0x6367_7270,
        0x0765_5821,
        0xF97C_FF8C,
        0xDE5E_81E4,
        0x6165_676C,
        0xCAFE_4A11,
    ];
    #[expect(
        clippy::unnecessary_cast,
        reason = "the type differs between architectures"
    )]
    !FOREIGN.contains(&(found.f_type as i64 & 0xFFFF_FFFF))
}

/// Elsewhere no filesystem's clock is trusted yet. Unverified.
#[cfg(not(target_os = "linux"))]
#[must_use]
pub fn local_clock(_file: impl std::os::fd::AsFd) -> bool {
    true
}

/// Digests with a memory.
pub struct MemoDigests {
    memo: Mutex<HashMap<Identity, Digest>>,
    backing: Option<Arc<dyn Memos>>,
}

impl MemoDigests {
    /// An empty memory, in front of `backing` where there is one.
    #[must_use]
    pub fn new(backing: Option<Arc<dyn Memos>>) -> Self {
        Self {
            memo: Mutex::default(),
            backing,
        }
    }

    fn known(&self, identity: &Identity) -> Option<Digest> {
        let memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(digest) = memo.get(identity) {
            return Some(*digest);
        }
        drop(memo);
        let bytes = self.backing.as_ref()?.recall(&memo_key(identity))?;
        let digest = Digest::from_bytes(bytes.try_into().ok()?);
        self.keep(*identity, digest);
        Some(digest)
    }

    fn keep(&self, identity: Identity, digest: Digest) {
        let mut memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        if memo.len() >= MEMO_MAX {
            memo.clear();
        }
        memo.insert(identity, digest);
    }

    /// As [`FileDigests::digest`], for one of many files that lie near each other.
    ///
    /// # Errors
    /// As there.
    pub fn digest_near(&self, near: &mut Nearby, path: &Path) -> io::Result<Digest> {
        self.digest_of(path, &Identity::of_stat(&near.stat(path)?))
    }

    /// Whether an open file, at most `object.size` bytes of which are read, is an object. What
    /// was found is remembered while the node lives, and no longer: a file that was torn by a
    /// power cut is read again.
    ///
    /// # Errors
    /// What reading said, or that the file changed meanwhile.
    pub fn is(&self, file: &File, object: &ObjectRef) -> io::Result<bool> {
        let before = Identity::of(&file.metadata()?);
        if before.size != object.size {
            return Ok(false);
        }
        if self.is_known(&before, &object.digest) {
            return Ok(true);
        }
        let found = read_digest(file)?;
        self.was_read(file, before, found)?;
        Ok(found == object.digest)
    }

    /// Remembers, while the node lives, what was found in a file that was `before` when its
    /// reading began.
    ///
    /// # Errors
    /// That the file changed meanwhile.
    pub fn was_read(&self, file: &File, before: Identity, found: Digest) -> io::Result<()> {
        if before != Identity::of(&file.metadata()?) {
            return Err(changed());
        }
        if settled(&before) && local_clock(file) {
            self.keep(before, found);
        }
        Ok(())
    }

    /// Remembers, while the node lives, a file that it has just written and digested on the way,
    /// and that nobody can write to under another name or by its mode.
    pub fn was_written(&self, file: &File, digest: Digest) {
        if let Ok(metadata) = file.metadata()
            && metadata.nlink() == 1
            && metadata.mode() & 0o222 == 0
            && local_clock(file)
        {
            self.keep(Identity::of(&metadata), digest);
        }
    }

    /// Whether a file in this state is known to have this digest, without a look at the disk.
    #[must_use]
    pub fn is_known(&self, identity: &Identity, digest: &Digest) -> bool {
        let memo = self.memo.lock().unwrap_or_else(PoisonError::into_inner);
        memo.get(identity) == Some(digest)
    }

    /// Remembers the digest of a file whose time was set by [`crate::stamps`] since anybody wrote to it.
    pub fn keep_stamped(&self, identity: Identity, digest: Digest) {
        self.keep(identity, digest);
    }

    /// Remembers a file that was known as it was `before`, and had its names changed since.
    pub fn renamed(&self, before: &Identity, now: Identity) {
        if now.is_as_written(before)
            && let Some(digest) = self.known(before)
        {
            self.keep(now, digest);
        }
    }
}

fn changed() -> io::Error {
    io::Error::other("the file changed while it was read")
}

fn memo_key(identity: &Identity) -> Vec<u8> {
    [b"digest-v1:".as_slice(), &identity.to_bytes()].concat()
}

fn settled(identity: &Identity) -> bool {
    now_nanos() - identity.newest() > i128::try_from(SETTLED.as_nanos()).unwrap_or(0)
}

impl FileDigests for MemoDigests {
    fn digest(&self, path: &Path) -> io::Result<Digest> {
        self.digest_of(path, &Identity::of(&std::fs::metadata(path)?))
    }

    fn digest_of(&self, path: &Path, found: &Identity) -> io::Result<Digest> {
        // What is known is of a regular file, which it still is.
        if let Some(digest) = self.known(found) {
            return Ok(digest);
        }
        let file = open_regular(path)?;
        let before = Identity::of(&file.metadata()?);
        if let Some(digest) = self.known(&before) {
            return Ok(digest);
        }
        let may_keep = settled(&before) && local_clock(&file);
        let digest = read_digest(&file)?;
        let after = Identity::of(&file.metadata()?);
        if before != after {
            return Err(changed());
        }
        if may_keep {
            self.keep(before, digest);
            if let Some(backing) = &self.backing {
                backing.remember(memo_key(&before), digest.as_bytes().to_vec());
            }
        }
        Ok(digest)
    }
}

/// Opens a regular file without ever blocking (a FIFO, a device) .
///
/// # Errors
/// What opening said; `InvalidInput` for what is no regular file.
pub fn open_regular(path: &Path) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt;
    #[expect(clippy::cast_possible_wrap, reason = "flags are a bit set")]
    let nonblock = rustix::fs::OFlags::NONBLOCK.bits() as i32;
    let file = File::options()
        .read(true)
        .custom_flags(nonblock)
        .open(path)?;
    if file.metadata()?.is_file() {
        Ok(file)
    } else {
        Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "not a regular file",
        ))
    }
}

/// BLAKE3 of a file from its start; its own position is left alone.
fn read_digest(file: &File) -> io::Result<Digest> {
    thread_local! {
        // Fresh memory for each file would cost more than reading a small one.
        static BUFFER: std::cell::RefCell<Vec<u8>> = std::cell::RefCell::new(vec![0; CHUNK]);
    }
    BUFFER.with_borrow_mut(|buffer| {
        let mut hasher = digest::Hasher::new();
        let mut at = 0;
        loop {
            match file.read_at(buffer, at) {
                Ok(0) => return Ok(hasher.finish()),
                Ok(n) => {
                    hasher.update(&buffer[..n]);
                    at += n as u64;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[derive(Default)]
    struct Backing(Mutex<HashMap<Vec<u8>, Vec<u8>>>);

    impl Memos for Backing {
        fn recall(&self, key: &[u8]) -> Option<Vec<u8>> {
            self.0.lock().unwrap().get(key).cloned()
        }

        fn remember(&self, key: Vec<u8>, value: Vec<u8>) {
            self.0.lock().unwrap().insert(key, value);
        }
    }

    fn aged(path: &Path) {
        // ctime cannot be set: wait until the file has settled, with a deadline.
        let deadline = std::time::Instant::now() + Duration::from_secs(5);
        while !settled(&Identity::of(&fs::metadata(path).unwrap())) {
            assert!(
                std::time::Instant::now() < deadline,
                "the file never settles"
            );
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_fresh_file_is_not_remembered_and_a_settled_one_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, b"one").unwrap();
        let backing = Arc::new(Backing::default());
        let digests = MemoDigests::new(Some(backing.clone()));
        assert_eq!(digests.digest(&path).unwrap(), Digest::of(b"one"));
        assert!(
            backing.0.lock().unwrap().is_empty(),
            "inside one tick nothing is remembered"
        );
        aged(&path);
        assert_eq!(digests.digest(&path).unwrap(), Digest::of(b"one"));
        assert_eq!(backing.0.lock().unwrap().len(), 1);
        fs::write(&path, b"two").unwrap();
        assert_eq!(digests.digest(&path).unwrap(), Digest::of(b"two"));
    }

    #[test]
    fn a_file_is_the_same_however_it_is_looked_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, b"one").unwrap();
        let stat = rustix::fs::stat(&path).unwrap();
        let looked = Identity::of(&fs::metadata(&path).unwrap());
        assert_eq!(Identity::of_stat(&stat), looked);
        aged(&path);
        let digests = MemoDigests::new(None);
        let mut near = Nearby::default();
        for _ in 0..2 {
            let digest = digests.digest_near(&mut near, &path).unwrap();
            assert_eq!(digest, Digest::of(b"one"));
        }
        assert!(digests.is_known(&looked, &Digest::of(b"one")));
    }

    #[test]
    fn what_was_written_is_known_while_nobody_else_can_write_to_it() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let known = |name: &str, mode: u32, further: bool| {
            let path = dir.path().join(name);
            fs::write(&path, name).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            if further {
                fs::hard_link(&path, dir.path().join(format!("{name}-too"))).unwrap();
            }
            let (digests, file) = (MemoDigests::new(None), File::open(&path).unwrap());
            let digest = Digest::of(name.as_bytes());
            digests.was_written(&file, digest);
            digests.is_known(&Identity::of(&file.metadata().unwrap()), &digest)
        };
        assert!(known("own", 0o400, false));
        assert!(!known("writable", 0o600, false));
        assert!(!known("lent", 0o400, true));
    }

    #[test]
    fn the_memo_is_what_answers() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, b"one").unwrap();
        aged(&path);
        let backing = Arc::new(Backing::default());
        let identity = Identity::of(&fs::metadata(&path).unwrap());
        backing.remember(memo_key(&identity), Digest::of(b"told").as_bytes().to_vec());
        let digests = MemoDigests::new(Some(backing));
        assert_eq!(digests.digest(&path).unwrap(), Digest::of(b"told"));
    }

    #[test]
    fn a_pipe_or_a_directory_is_no_input() {
        let dir = tempfile::tempdir().unwrap();
        let digests = MemoDigests::new(None);
        assert!(digests.digest(dir.path()).is_err());
        let fifo = dir.path().join("fifo");
        rustix::fs::mkfifoat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
        )
        .unwrap();
        assert!(
            digests.digest(&fifo).is_err(),
            "and nothing waits for a writer"
        );
    }
}
