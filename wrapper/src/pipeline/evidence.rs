//! Evidence: what compiling again gave, where it is the same to the last byte as what a teammate
//! signed, becomes an entry of our own. So that members come to agree on what each of them
//! compiled.
//!
//! Enters: an entry, and the directory in which its command was run again. Leaves: the same
//! record, to be signed by this node. Must never happen here: a signature for anything that was
//! not compiled here and compared, messages and dep-info among it.

use super::UnsignedEntry;
use super::loosen::again;
use crate::compiler::depinfo::{self, DepInfo};
use crate::compiler::rustc::args::Unit;
use crate::digests::{FileDigests, open_regular};
use crate::paths::{Rewrites, Roots};
use crate::run::CAPTURE_MAX;
use quarry_trust::{Digest, Entry, ObjectRef, OutputKind};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Stdio;

/// Where the streams of such a compile go, in its private directory. rustc writes no such names.
const STDOUT: &str = "=stdout";
const STDERR: &str = "=stderr";

/// The streams of a compile in `scratch`.
pub(super) fn streams(scratch: &Path) -> io::Result<(Stdio, Stdio)> {
    let out = File::create_new(scratch.join(STDOUT))?;
    let err = File::create_new(scratch.join(STDERR))?;
    Ok((out.into(), err.into()))
}

/// What a compile in `scratch` was of, and where it would have written to.
pub(super) struct Compiled<'a> {
    pub unit: &'a Unit,
    pub roots: &'a Roots,
    pub scratch: &'a Path,
    pub duration_ms: u64,
}

impl Compiled<'_> {
    /// The entry as our own, where everything in it is what came out here.
    pub fn same_as(&self, entry: &Entry, digests: &dyn FileDigests) -> Option<UnsignedEntry> {
        let made = self.unit.outputs();
        let made = made.iter().map(|o| o.name.as_str());
        let made = made
            .filter(|name| self.scratch.join(name).is_file())
            .count();
        let same = made == entry.outputs.len()
            && entry.outputs.iter().all(|output| {
                let path = self.scratch.join(output.name.as_str());
                let executable = fs::metadata(&path).map(|m| m.permissions().mode() & 0o111 != 0);
                let object = match output.kind {
                    OutputKind::DepInfo => self.dep_info(&path),
                    _ => object_of(&path, digests),
                };
                executable.is_ok_and(|x| x == output.executable) && object == Some(output.object)
            })
            && self.said(STDOUT) == Some(entry.stdout)
            && self.said(STDERR) == Some(entry.stderr);
        same.then(|| UnsignedEntry {
            duration_ms: self.duration_ms,
            ..again(entry)
        })
    }

    /// A dep-info file as it would be stored.
    fn dep_info(&self, path: &Path) -> Option<ObjectRef> {
        let bytes = self.read(path, depinfo::MAX_BYTES)?;
        let stored = DepInfo::parse(&bytes).ok()?.to_stored(self.roots).ok()?;
        Some(object(&stored))
    }

    /// A stream as it would be stored.
    fn said(&self, stream: &str) -> Option<ObjectRef> {
        let bytes = self.read(&self.scratch.join(stream), CAPTURE_MAX)?;
        Some(object(&self.roots.normalise(&bytes)))
    }

    /// A text, as it would be had the command written to its own directory.
    fn read(&self, path: &Path, most: usize) -> Option<Vec<u8>> {
        let mut bytes = Vec::new();
        let file = open_regular(path).ok()?;
        file.take(most as u64 + 1).read_to_end(&mut bytes).ok()?;
        let bytes_of = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let place = (bytes_of(self.scratch), bytes_of(&self.unit.out_dir));
        (bytes.len() <= most).then(|| Rewrites::new(&[place]).apply(&bytes))
    }
}

fn object(bytes: &[u8]) -> ObjectRef {
    ObjectRef {
        digest: Digest::of(bytes),
        size: bytes.len() as u64,
    }
}

fn object_of(path: &Path, digests: &dyn FileDigests) -> Option<ObjectRef> {
    let size = fs::metadata(path).ok()?.len();
    let digest = digests.digest(path).ok()?;
    Some(ObjectRef { digest, size })
}

#[cfg(test)]
#[path = "evidence_tests.rs"]
mod tests;
