//! OUT_DIR as one object, and back.
//!
//! Enters: a directory that a build script filled, or an object's bytes. Leaves: the object, and
//! whether a path of this checkout stands in it; or the directory again, in private files with
//! fresh times. Must never happen here: a file outside the directory that was asked for, a link
//! that leads out of it, a name or a length that is believed.
//!
//! The form: a mark; then entries, each directory before what lies in it: a kind, the length of
//! the path (16 bits, little endian), the path; for files the length of the content (64 bits) and
//! the content, for links the length of the target (16 bits) and the target; at the end a kind of
//! its own.

use crate::compiler::Bypass;
use crate::paths::Scanner;
use crate::pipeline::record;
use quarry_trust::Digest;
use quarry_trust::digest::Hasher;
use rustix::fs::Mode;
use std::collections::HashSet;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Component, Path, PathBuf};

const MARK: &[u8] = b"quarry out 1\n";
const DIRECTORY: u8 = 0;
const FILE: u8 = 1;
const PROGRAM: u8 = 2;
const LINK: u8 = 3;
const END: u8 = 255;
/// Entries of one OUT_DIR: a build of a large C library leaves some thousands.
const ENTRIES_MAX: usize = 100_000;
/// Bytes of one OUT_DIR.
const BYTES_MAX: u64 = 1 << 30;
/// A path in it, bytes.
const PATH_MAX: usize = 4096;
const CHUNK: u64 = 256 * 1024;

/// What was packed.
pub(super) struct Packed {
    /// Whether a path of this checkout stands in a file, a name or a link's target.
    pub bound: bool,
}

/// Writes all of a directory into a file.
pub(super) fn pack(dir: &Path, mut to: &File, scanner: &Scanner) -> Result<Packed, Bypass> {
    pack_to(&mut to, dir, Some(scanner))
}

/// The digest of what [`pack`] writes.
pub(super) fn digest(dir: &Path) -> Result<Digest, Bypass> {
    let mut hashing = Hashing(Hasher::new());
    pack_to(&mut hashing, dir, None)?;
    Ok(hashing.0.finish())
}

struct Hashing(Hasher);

impl Write for Hashing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Packs a directory; without a scanner nothing is looked for.
fn pack_to(to: &mut dyn Write, dir: &Path, scanner: Option<&Scanner>) -> Result<Packed, Bypass> {
    let mut packing = Packing {
        to: BufWriter::new(to),
        scanner,
        bound: false,
        entries: 0,
        bytes: 0,
    };
    packing.write(MARK)?;
    packing.directory(dir, Path::new(""))?;
    packing.write(&[END])?;
    packing.to.flush().map_err(|_| Bypass::StoreUnavailable)?;
    Ok(Packed {
        bound: packing.bound,
    })
}

struct Packing<'a> {
    to: BufWriter<&'a mut dyn Write>,
    scanner: Option<&'a Scanner>,
    bound: bool,
    entries: usize,
    bytes: u64,
}

impl Packing<'_> {
    fn write(&mut self, bytes: &[u8]) -> Result<(), Bypass> {
        let written = self.to.write_all(bytes);
        written.map_err(|_| Bypass::StoreUnavailable)
    }

    fn directory(&mut self, dir: &Path, below: &Path) -> Result<(), Bypass> {
        let gone = |_| Bypass::ScriptInputChanged;
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).map_err(gone)? {
            names.push(entry.map_err(gone)?.file_name());
            if self.entries + names.len() > ENTRIES_MAX {
                return Err(Bypass::ScriptOutTooLarge);
            }
        }
        names.sort();
        for name in names {
            let (path, below) = (dir.join(&name), below.join(&name));
            let m = fs::symlink_metadata(&path).map_err(gone)?;
            self.entries += 1;
            if self.entries > ENTRIES_MAX || below.as_os_str().len() > PATH_MAX {
                return Err(Bypass::ScriptOutTooLarge);
            }
            if m.is_dir() {
                self.head(DIRECTORY, &below)?;
                self.directory(&path, &below)?;
            } else if m.is_symlink() {
                let target = fs::read_link(&path).map_err(gone)?;
                if !stays_inside(&below, &target) {
                    return Err(Bypass::ScriptOutLink);
                }
                self.head(LINK, &below)?;
                self.short(target.as_os_str().as_bytes())?;
            } else if m.is_file() {
                self.file(&path, &below)?;
            } else {
                return Err(Bypass::ScriptOutLink);
            }
        }
        Ok(())
    }

    fn file(&mut self, path: &Path, below: &Path) -> Result<(), Bypass> {
        let gone = |_| Bypass::ScriptInputChanged;
        let file = crate::digests::open_regular(path).map_err(gone)?;
        let m = file.metadata().map_err(gone)?;
        self.bytes += m.len();
        if self.bytes > BYTES_MAX {
            return Err(Bypass::ScriptOutTooLarge);
        }
        if !self.bound
            && let Some(scanner) = self.scanner
        {
            match record::scan(&file, scanner) {
                Err(Bypass::PathInOutput) => self.bound = true,
                other => other?,
            }
        }
        io::Seek::rewind(&mut &file).map_err(gone)?;
        let program = m.permissions().mode() & 0o111 != 0;
        self.head(if program { PROGRAM } else { FILE }, below)?;
        self.write(&m.len().to_le_bytes())?;
        let copied = io::copy(&mut file.take(m.len()), &mut self.to);
        match copied {
            Ok(n) if n == m.len() => Ok(()),
            Ok(_) => Err(Bypass::ScriptInputChanged),
            Err(_) => Err(Bypass::StoreUnavailable),
        }
    }

    fn head(&mut self, kind: u8, below: &Path) -> Result<(), Bypass> {
        self.write(&[kind])?;
        let name = below.as_os_str().as_bytes();
        self.bound |= self.scanner.is_some_and(|s| s.found_in(name));
        self.short(name)
    }

    fn short(&mut self, bytes: &[u8]) -> Result<(), Bypass> {
        let length = u16::try_from(bytes.len()).map_err(|_| Bypass::ScriptOutTooLarge)?;
        self.write(&length.to_le_bytes())?;
        self.write(bytes)
    }
}

/// Whether a link at `below` leads to what lies in the directory: up no further than to it, and
/// then only down. (Up again behind another link would lead anywhere.)
fn stays_inside(below: &Path, target: &Path) -> bool {
    let depth = below.components().count().saturating_sub(1);
    let mut up = 0;
    let mut down = false;
    for component in target.components() {
        match component {
            Component::CurDir => {}
            Component::ParentDir if !down => up += 1,
            Component::Normal(_) => down = true,
            _ => return false,
        }
    }
    up <= depth && target.as_os_str().len() <= PATH_MAX && !target.as_os_str().is_empty()
}

fn invalid() -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidData,
        "no OUT_DIR in a form that is known",
    )
}

/// Makes a directory as the caller would have.
pub(super) fn directory(at: &Path, umask: u32) -> io::Result<()> {
    // Ours may allow less.
    fs::create_dir(at)?;
    fs::set_permissions(at, fs::Permissions::from_mode(0o777 & !umask))
}

/// Fills an empty directory with what was packed. Everything is checked by itself; whether the
/// bytes are those that they should be is for the caller, who read them through a digest.
pub(super) fn unpack(from: &mut dyn Read, dir: &Path, umask: u32) -> io::Result<()> {
    let mut mark = [0; MARK.len()];
    from.read_exact(&mut mark)?;
    if mark != MARK {
        return Err(invalid());
    }
    let mut made: HashSet<PathBuf> = HashSet::from([PathBuf::new()]);
    let mut bytes = 0_u64;
    for _ in 0..=ENTRIES_MAX {
        let [kind] = array(from)?;
        if kind == END {
            return match from.read(&mut [0])? {
                0 => Ok(()),
                _ => Err(invalid()),
            };
        }
        let below = path(from)?;
        let above = below.parent().ok_or_else(invalid)?;
        let plain = below
            .components()
            .all(|c| matches!(c, Component::Normal(_)));
        // A directory that we made ourselves is no link.
        if !plain || !made.contains(above) {
            return Err(invalid());
        }
        let at = dir.join(&below);
        match kind {
            DIRECTORY => {
                directory(&at, umask)?;
                made.insert(below);
            }
            LINK => {
                let target = path(from)?;
                if !stays_inside(&below, &target) {
                    return Err(invalid());
                }
                symlink(target, &at)?;
            }
            FILE | PROGRAM => {
                let length = u64::from_le_bytes(array(from)?);
                bytes = bytes.saturating_add(length);
                if bytes > BYTES_MAX {
                    return Err(invalid());
                }
                let mode = if kind == PROGRAM { 0o777 } else { 0o666 } & !umask;
                file(from, &at, length, mode)?;
            }
            _ => return Err(invalid()),
        }
    }
    Err(invalid())
}

fn file(from: &mut dyn Read, at: &Path, length: u64, mode: u32) -> io::Result<()> {
    let mut file = File::options().write(true).create_new(true).open(at)?;
    let mut left = length;
    let mut buffer = vec![0; usize::try_from(CHUNK.min(length)).unwrap_or(0)];
    while left > 0 {
        let most = usize::try_from(left.min(CHUNK)).unwrap_or(0);
        from.read_exact(&mut buffer[..most])?;
        file.write_all(&buffer[..most])?;
        left -= most as u64;
    }
    rustix::fs::fchmod(&file, Mode::from_raw_mode(mode))?;
    Ok(())
}

fn array<const N: usize>(from: &mut dyn Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    from.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn path(from: &mut dyn Read) -> io::Result<PathBuf> {
    let length = usize::from(u16::from_le_bytes(array(from)?));
    if length == 0 || length > PATH_MAX {
        return Err(invalid());
    }
    let mut bytes = vec![0; length];
    from.read_exact(&mut bytes)?;
    if bytes.contains(&0) {
        return Err(invalid());
    }
    Ok(PathBuf::from(OsStr::from_bytes(&bytes)))
}

#[cfg(test)]
#[path = "out_tests.rs"]
mod tests;
