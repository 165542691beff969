//! How an object becomes a file of a target directory: lent, or copied.
//!
//! Enters: an object's own file, or its bytes. Leaves: a file that nobody has yet seen under its
//! name, whose bytes were checked. Must never happen here: an object lent twice, or as what
//! executes or what cargo gives further names; a file of an object whose bytes were not digested
//! since anybody could write to them.
//!
//! *Lent* is the object's own file under a second name. Whoever writes into the one then writes
//! into the other, so a lent object's bytes are digested anew before they are used wherever its
//! times are others than when that was done last, and lending changes one.

use super::find::Trip;
use super::restore::damaged;
use crate::compiler::rustc::args::UnitKind;
use crate::digests::{Identity, MemoDigests};
use quarry_trust::{ObjectRef, Output, OutputKind, digest::Hasher};
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::Path;

/// Bytes copied at a time where the kernel does not copy by itself.
const CHUNK: usize = 256 * 1024;
/// Set for the packages that cargo was asked for: it gives their libraries a second name.
const ASKED_FOR: &str = "CARGO_PRIMARY_PACKAGE";

/// What rustc alone reads, and writes anew where it writes it.
pub(super) fn is_library(output: &Output) -> bool {
    output.kind == OutputKind::Metadata || output.name.as_str().ends_with(".rlib")
}

/// Whether an output may be the object's own file: no private copy is needed of what only rustc
/// reads, and nobody else gives names to.
pub(super) fn may_be_lent(trip: &Trip<'_>, output: &Output) -> bool {
    trip.unit.kind == UnitKind::Lib && is_library(output) && trip.inv.var(ASKED_FOR).is_none()
}

/// A new file.
pub(super) fn create(at: &Path) -> io::Result<File> {
    File::options().write(true).create_new(true).open(at)
}

/// A new file of these bytes.
pub(super) fn write(bytes: &[u8], at: &Path) -> io::Result<File> {
    let mut file = create(at)?;
    file.write_all(bytes)?;
    Ok(file)
}

/// A new file of what is read.
///
/// # Errors
/// What the disk said, or that what was read is not the object.
pub(super) fn unpack(from: impl Read, object: &ObjectRef, at: &Path) -> io::Result<File> {
    let mut to = create(at)?;
    digested(from, object, &mut to)?;
    Ok(to)
}

/// Gives an object's own file a second name. `false` where it has one already, or where the
/// filesystem does not.
///
/// # Errors
/// What the disk said, or that the file is not the object.
#[cfg(target_os = "linux")]
pub(super) fn lend(
    digests: &MemoDigests,
    from: &File,
    object: &ObjectRef,
    at: &Path,
) -> io::Result<bool> {
    use rustix::fs::{AtFlags, CWD, linkat};
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::MetadataExt;
    let metadata = from.metadata()?;
    // Whoever was lent it may have given it away.
    let ours = metadata.uid() == rustix::process::geteuid().as_raw();
    if metadata.nlink() != 1 || !ours {
        return Ok(false);
    }
    let before = Identity::of(&metadata);
    match digests.is(from, object) {
        Ok(true) => {}
        Ok(false) => return Err(damaged()),
        // It changed meanwhile: lent to somebody else, most likely.
        Err(_) => return Ok(false),
    }
    // By the open file: its name may be another file's by now.
    let open = format!("/proc/self/fd/{}", from.as_raw_fd());
    if linkat(CWD, open, CWD, at, AtFlags::SYMLINK_FOLLOW).is_err() {
        return Ok(false);
    }
    let now = from.metadata()?;
    let lent = Identity::of(&now);
    let same = (lent.size, lent.modified) == (before.size, before.modified);
    if now.nlink() == 2 && same {
        return Ok(true);
    }
    // Somebody else was lent it at the same moment, or wrote to it.
    fs::remove_file(at)?;
    Ok(false)
}

/// Elsewhere nothing is lent: macOS clones files.
#[cfg(not(target_os = "linux"))]
pub(super) fn lend(_: &MemoDigests, _: &File, _: &ObjectRef, _: &Path) -> io::Result<bool> {
    Ok(false)
}

/// A private copy of an object's file: its blocks shared where the filesystem does that, else
/// copied by the kernel where its bytes are known, else by us while they are digested.
///
/// # Errors
/// What the disk said, or that the file is not the object.
pub(super) fn copy(
    digests: &MemoDigests,
    from: &File,
    object: &ObjectRef,
    at: &Path,
) -> io::Result<File> {
    let mut to = create(at)?;
    let before = Identity::of(&from.metadata()?);
    #[cfg(target_os = "linux")]
    {
        let known = digests.is_known(&before, &object.digest) && before.size == object.size;
        let cloned = rustix::fs::ioctl_ficlone(&to, from).is_ok();
        if cloned || (known && copied(from, &to, object.size)?) {
            let same = Identity::of(&from.metadata()?) == before;
            if known && same {
                return Ok(to);
            }
            // Where it was lent to somebody meanwhile, or is not known, what was copied is read.
            if !digests.is(&reopened(&to)?, object)? {
                return Err(damaged());
            }
            // For the next time, unless it changed meanwhile.
            let _ = digests.was_read(from, before, object.digest);
            return Ok(to);
        }
    }
    digested(from, object, &mut to)?;
    // For the next time, unless it changed meanwhile: what was copied is right in any case.
    let _ = digests.was_read(from, before, object.digest);
    Ok(to)
}

/// The same file for reading.
#[cfg(target_os = "linux")]
fn reopened(file: &File) -> io::Result<File> {
    use std::os::fd::AsRawFd;
    File::open(format!("/proc/self/fd/{}", file.as_raw_fd()))
}

/// Lets the kernel copy. `false` where it does not, with nothing written.
#[cfg(target_os = "linux")]
fn copied(from: &File, to: &File, size: u64) -> io::Result<bool> {
    use rustix::fs::{FallocateFlags, copy_file_range, fallocate};
    // Blocks that are there cost a third less to fill than blocks found one by one. Where there
    // are not enough, copying says so. The length grows with what is there: after a power cut
    // it tells.
    let _ = fallocate(to, FallocateFlags::KEEP_SIZE, 0, size);
    let (mut at, mut written) = (0, 0);
    while written < size {
        let left = usize::try_from(size - written).unwrap_or(usize::MAX);
        match copy_file_range(from, Some(&mut at), to, None, left) {
            Ok(0) => return Err(damaged()),
            Ok(n) => written += n as u64,
            Err(_) if written == 0 => return Ok(false),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn digested(mut from: impl Read, object: &ObjectRef, to: &mut File) -> io::Result<()> {
    let mut hasher = Hasher::new();
    let mut written = 0;
    let mut buffer = vec![0; CHUNK];
    loop {
        let n = match from.read(&mut buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            other => other?,
        };
        written += n as u64;
        if n == 0 || written > object.size {
            break;
        }
        hasher.update(&buffer[..n]);
        to.write_all(&buffer[..n])?;
    }
    match written == object.size && hasher.finish() == object.digest {
        true => Ok(()),
        false => Err(damaged()),
    }
}
