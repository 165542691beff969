//! Whether the ways to the inputs led elsewhere while a compile ran.
//!
//! A file under a directory that was swapped for another has times as old as ever. Enters: the
//! paths of a recording's inputs and when its compile began. Leaves: a reason not to store it.
//! Must never happen here: a directory that changes in every build taken for a moved one, or no
//! directory would ever rest.

use super::Recording;
use crate::compiler::Bypass;
use crate::digests::Identity;
use crate::invocation::Invocation;
use crate::paths::{Named, RootKind};
use std::collections::HashSet;
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Where git keeps what it knows.
const GIT: &str = ".git";

/// The identity of git's directory in the workspace, where it is one.
pub(super) fn git(inv: &Invocation) -> Option<Identity> {
    let m = fs::symlink_metadata(inv.cwd.join(GIT)).ok()?;
    m.is_dir().then(|| Identity::of(&m))
}

/// What has been looked at already.
pub(super) struct Ways<'r> {
    recording: &'r Recording,
    /// Directories that everybody shares: the roots, where the outputs go, and what is above.
    shared: Vec<PathBuf>,
    seen: HashSet<PathBuf>,
}

impl<'r> Ways<'r> {
    /// Nothing looked at yet; `out_dir` is where the outputs went.
    pub(super) fn new(recording: &'r Recording, out_dir: &Path) -> Self {
        let mut shared: Vec<PathBuf> = recording.roots.dirs().collect();
        shared.push(recording.inv.cwd.clone());
        for dir in [out_dir.to_owned(), recording.inv.cwd.clone()] {
            shared.extend(fs::canonicalize(&dir));
            shared.push(dir);
        }
        Self {
            recording,
            shared,
            seen: HashSet::new(),
        }
    }

    /// Whether every directory and link on the way to `path` rested since the compile began, by
    /// the name that the compile used and by the one that the filesystem has for it.
    pub(super) fn rested(&mut self, path: &Path) -> Result<(), Bypass> {
        let real = fs::canonicalize(path).map_err(|_| Bypass::ChangedWhileCompiling)?;
        let given: PathBuf = path.components().collect();
        for path in [given, real] {
            for at in path.ancestors() {
                if self.shared.iter().any(|dir| dir.starts_with(at))
                    || !self.seen.insert(at.to_owned())
                {
                    break;
                }
                // What lies above a `..` the filesystem's own name has, too.
                if !matches!(at.components().next_back(), Some(Component::ParentDir)) {
                    self.one(at)?;
                }
            }
        }
        Ok(())
    }

    /// Whether it is git's directory, the one that was there: whoever asks git something, a macro
    /// or an editor, has it put a lock there and take it away.
    fn is_git(&self, now: &Identity) -> bool {
        let then = self.recording.git.as_ref();
        then.is_some_and(|g| (g.device, g.inode) == (now.device, now.inode))
    }

    fn one(&self, at: &Path) -> Result<(), Bypass> {
        let m = fs::symlink_metadata(at).map_err(|_| Bypass::ChangedWhileCompiling)?;
        let now = Identity::of(&m);
        let started = self.recording.started;
        let moved = if m.is_symlink() {
            now.newest() >= started
        } else if m.is_dir() {
            // Moved to this place, only ctime says so; another file in it moves both times. In
            // the workspace nothing else writes, so there an entry that came or went counts too.
            let rests_otherwise = !matches!(
                self.recording.roots.name(at),
                Named::Rooted(RootKind::Target | RootKind::Cargo, _)
            ) && at.starts_with(&self.recording.inv.cwd)
                && !self.is_git(&now);
            now.changed >= started && (now.modified < started || rests_otherwise)
        } else {
            // The file itself is the caller's to judge.
            false
        };
        if moved {
            Err(Bypass::ChangedWhileCompiling)
        } else {
            Ok(())
        }
    }
}
