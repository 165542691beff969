//! Native libraries that a library crate may bundle.
//!
//! Enters: a unit. Leaves: the archives whose content is an input of it, or a reason to stay
//! away. `-l static` and `#[link(kind = "static")]` take archives out of the search directories
//! and put their members into the rlib; dep-info does not say so. Must never happen here: a
//! directory read without bounds, a directory that may hold crates overlooked.

use crate::compiler::Bypass;
use crate::compiler::rustc::args::{SearchKind, Unit};
use crate::invocation::Invocation;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

/// Entries of one search directory: `/usr/lib` of a well-filled machine has a few thousand.
const MAX_ENTRIES: usize = 20_000;
/// Archives that one unit may see.
const MAX_ARCHIVES: usize = 256;
/// Bytes of these archives together: they are digested on each new state.
const MAX_ARCHIVE_BYTES: u64 = 1 << 30;
const THIN_MAGIC: &[u8] = b"!<thin>\n";

/// The archives that are inputs of a unit, as absolute paths, sorted, each once. A directory that
/// does not exist holds none.
///
/// # Errors
/// The reason to run the unit untouched.
pub fn archives(unit: &Unit, inv: &Invocation) -> Result<Vec<PathBuf>, Bypass> {
    if unit
        .native_libs
        .iter()
        .any(|lib| lib.modifiers.iter().any(|m| m == "+verbatim"))
    {
        return Err(Bypass::NativeLibrary);
    }
    let mut found = Found::default();
    for search in &unit.search {
        let dir = inv.absolute(&search.path);
        match search.kind {
            SearchKind::Dependency | SearchKind::Framework => {}
            SearchKind::Native => found.look(&dir, false)?,
            SearchKind::Crate | SearchKind::All => found.look(&dir, true)?,
        }
    }
    found.paths.sort();
    found.paths.dedup();
    Ok(found.paths)
}

#[derive(Default)]
struct Found {
    paths: Vec<PathBuf>,
    bytes: u64,
}

impl Found {
    fn look(&mut self, dir: &Path, may_hold_crates: bool) -> Result<(), Bypass> {
        let entries = match fs::read_dir(dir) {
            Ok(entries) => entries,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(());
            }
            Err(_) => return Err(Bypass::NativeDirectory),
        };
        for (count, entry) in entries.enumerate() {
            if count >= MAX_ENTRIES {
                return Err(Bypass::NativeDirectoryTooLarge);
            }
            let entry = entry.map_err(|_| Bypass::NativeDirectory)?;
            let path = entry.path();
            let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
            let crate_like = matches!(extension, "rlib" | "rmeta" | "so" | "dylib" | "dll");
            if may_hold_crates && crate_like {
                return Err(Bypass::CrateDirectory);
            }
            if matches!(extension, "a" | "lib") {
                self.archive(path)?;
            }
        }
        Ok(())
    }

    fn archive(&mut self, path: PathBuf) -> Result<(), Bypass> {
        // A link that leads nowhere is no archive; rustc does not find it either.
        let Ok(metadata) = fs::metadata(&path) else {
            return Ok(());
        };
        if !metadata.is_file() {
            return Ok(());
        }
        self.bytes = self.bytes.saturating_add(metadata.len());
        if self.paths.len() >= MAX_ARCHIVES || self.bytes > MAX_ARCHIVE_BYTES {
            return Err(Bypass::NativeDirectoryTooLarge);
        }
        let mut magic = Vec::new();
        let opened = File::open(&path)
            .and_then(|file| file.take(THIN_MAGIC.len() as u64).read_to_end(&mut magic));
        match opened {
            Ok(_) if magic == THIN_MAGIC => Err(Bypass::ThinArchive),
            Ok(_) => {
                self.paths.push(path);
                Ok(())
            }
            Err(_) => Err(Bypass::NativeDirectory),
        }
    }
}

#[cfg(test)]
#[path = "native_tests.rs"]
mod tests;
