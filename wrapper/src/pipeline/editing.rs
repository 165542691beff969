//! Whether somebody is at work on a unit here: then it is compiled incrementally, as cargo asked,
//! and for this checkout alone.
//!
//! Enters: a unit that nobody has compiled as it is now; what its own sources were when it was
//! last compiled for everybody, or restored, at this place. Leaves: the reason to keep the compile
//! private, or none. What an incremental compile makes is not deterministic (the members of an
//! rlib carry random names), so neither it nor what consumes it is ever stored. Must never happen
//! here: a first compile kept private, or a unit that only its surroundings changed for (flags,
//! variables, new dependencies).

use super::{Base, Pipeline};
use crate::compiler::Bypass;
use crate::compiler::depinfo::{DepInfo, MAX_BYTES};
use crate::compiler::rustc::args::Unit;
use crate::digests::{FileDigests, Memos, open_regular};
use crate::invocation::Invocation;
use crate::paths::{Named, RootKind, Roots};
use quarry_trust::Digest;
use quarry_trust::digest::Hasher;
use std::collections::{BTreeSet, HashMap};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// States kept in memory; beyond it they start over (the backing keeps them).
const STATES_MAX: usize = 20_000;
/// Files that clippy adds to dep-info: a package's manifest and its own configuration are no
/// source.
const NO_SOURCES: [&str; 3] = ["Cargo.toml", "clippy.toml", ".clippy.toml"];

/// What the sources of each unit were when it was last compiled for everybody, or restored, here.
pub(super) struct Shared {
    known: Mutex<HashMap<Vec<u8>, Digest>>,
    backing: Option<Arc<dyn Memos>>,
}

impl Shared {
    /// An empty memory, in front of `backing` where there is one.
    pub(super) fn new(backing: Option<Arc<dyn Memos>>) -> Self {
        Self {
            known: Mutex::default(),
            backing,
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<Vec<u8>, Digest>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn keep(&self, key: Vec<u8>, sources: Digest) {
        let mut known = self.lock();
        if known.len() >= STATES_MAX {
            known.clear();
        }
        known.insert(key, sources);
    }

    fn of(&self, key: &[u8]) -> Option<Digest> {
        if let Some(sources) = self.lock().get(key) {
            return Some(*sources);
        }
        let bytes = self.backing.as_ref()?.recall(key)?;
        let sources = Digest::from_bytes(bytes.try_into().ok()?);
        self.keep(key.to_owned(), sources);
        Some(sources)
    }

    fn note(&self, key: Vec<u8>, sources: Digest) {
        if self.of(&key) == Some(sources) {
            return;
        }
        if let Some(backing) = &self.backing {
            backing.remember(key.clone(), sources.as_bytes().to_vec());
        }
        self.keep(key, sources);
    }
}

/// A unit's place: another workspace that writes to the same target directory is another.
fn key(inv: &Invocation, unit: &Unit) -> Vec<u8> {
    let dep_info = inv.cwd.join(unit.dep_info_path());
    let cwd = inv.cwd.as_os_str().as_bytes();
    let dep_info = dep_info.as_os_str().as_bytes();
    [b"shared-v1:", cwd, b"\0", dep_info].concat()
}

/// The unit is in place here as it is for everybody: from now on, other sources are an edit.
pub(super) fn shared(pipeline: &Pipeline, inv: &Invocation, unit: &Unit, roots: &Roots) {
    if unit.is_incremental()
        && let Some(sources) = sources(pipeline.digests.as_ref(), inv, unit, roots)
    {
        pipeline.shared.note(key(inv, unit), sources);
    }
}

/// Why a compile that nobody has done yet is this checkout's own affair; `None` where it is
/// everybody's.
pub(super) fn private(
    pipeline: &Pipeline,
    inv: &Invocation,
    unit: &Unit,
    roots: &Roots,
    base: &Base,
) -> Option<Bypass> {
    if edited(pipeline, inv, unit, roots) {
        return Some(Bypass::Edited);
    }
    base.behind.private.then_some(Bypass::BuiltOnEdited)
}

/// Whether the unit's own sources are others than when it was last in place for everybody.
fn edited(pipeline: &Pipeline, inv: &Invocation, unit: &Unit, roots: &Roots) -> bool {
    if !unit.is_incremental() {
        return false;
    }
    let Some(before) = pipeline.shared.of(&key(inv, unit)) else {
        return false;
    };
    // After `cargo clean` there is no list of sources, and so no edit.
    let now = sources(pipeline.digests.as_ref(), inv, unit, roots);
    now.is_some_and(|now| now != before)
}

/// The unit's own sources, by name and content, as the dep-info in its place lists them: neither
/// what lies in cargo's home or the sysroot nor what a build script made. `None` where there is no
/// such list.
fn sources(
    digests: &dyn FileDigests,
    inv: &Invocation,
    unit: &Unit,
    roots: &Roots,
) -> Option<Digest> {
    let file = open_regular(&inv.cwd.join(unit.dep_info_path())).ok()?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_BYTES as u64 + 1).read_to_end(&mut bytes);
    read.ok()?;
    let dep_info = DepInfo::parse(&bytes).ok()?;
    let files: BTreeSet<&String> = dep_info.files.iter().collect();
    let mut hasher = Hasher::new();
    for file in files.into_iter().filter(|file| own(roots, Path::new(file))) {
        hasher.update(file.as_bytes());
        // What is gone is another state, too.
        match digests.digest(&inv.cwd.join(file)) {
            Ok(digest) => hasher.update(&[b"\0", digest.as_bytes().as_slice()].concat()),
            Err(_) => hasher.update(b"\0\0"),
        }
    }
    Some(hasher.finish())
}

/// Whether a file is one that people edit to change this crate.
fn own(roots: &Roots, file: &Path) -> bool {
    if NO_SOURCES.iter().any(|name| file.ends_with(name)) {
        return false;
    }
    match roots.name(file) {
        Named::Rooted(kind, _) => kind == RootKind::Workspace,
        // A path dependency outside the workspace.
        Named::Literal(_) | Named::Nameless(_) => true,
    }
}
