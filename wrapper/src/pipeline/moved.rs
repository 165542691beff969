//! Whether the ways to the inputs led elsewhere while a compile, or a script's run, went on.
//!
//! A file under a directory that was swapped for another has times as old as ever. Enters: the
//! paths of a recording's inputs and when its compile began. Leaves: a reason not to store it.
//! Must never happen here: a directory that changes in every build taken for a moved one, or no
//! directory would ever rest. (A mount that comes or goes meanwhile moves no time, and is not seen.)

use super::Recording;
use crate::compiler::Bypass;
use crate::digests::Identity;
use crate::invocation::Invocation;
use crate::paths::{Named, RootKind, Roots};
use std::collections::HashSet;
use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Component, Path, PathBuf};

/// Where git keeps what it knows.
const GIT: &str = ".git";

/// Which directories those are that are written to all the time, as device and inode.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Place {
    /// The working directory.
    directory: Option<(u64, u64)>,
    /// Git's in it, where that is one.
    git: Option<(u64, u64)>,
}

impl Place {
    /// As they are now.
    pub(super) fn of(inv: &Invocation) -> Self {
        let inode = |m: Metadata| (m.dev(), m.ino());
        let git = fs::symlink_metadata(inv.cwd.join(GIT)).ok();
        Self {
            directory: fs::metadata(&inv.cwd).ok().map(inode),
            git: git.filter(Metadata::is_dir).map(inode),
        }
    }
}

/// What began, where and when.
#[derive(Clone, Copy)]
pub(super) struct Began<'r> {
    pub inv: &'r Invocation,
    pub roots: &'r Roots,
    pub place: &'r Place,
    /// Nanoseconds since 1970.
    pub started: i128,
    /// Why it is not stored where something was moved.
    pub reason: Bypass,
}

impl<'r> Began<'r> {
    /// What a compile's recording says of it.
    pub(super) fn of(r: &'r Recording) -> Self {
        Self {
            inv: &r.inv,
            roots: &r.roots,
            place: &r.place,
            started: r.started,
            reason: Bypass::ChangedWhileCompiling,
        }
    }
}

/// What has been looked at already.
pub(super) struct Ways<'r> {
    began: Began<'r>,
    /// Directories that everybody shares: the roots, where the outputs go, and what is above.
    shared: Vec<PathBuf>,
    seen: HashSet<PathBuf>,
}

impl<'r> Ways<'r> {
    /// Nothing looked at yet; `out_dir` is where the outputs went.
    ///
    /// # Errors
    /// That another directory lies where the working directory did.
    pub(super) fn new(began: Began<'r>, out_dir: &Path) -> Result<Self, Bypass> {
        if Place::of(began.inv).directory != began.place.directory {
            return Err(began.reason);
        }
        let mut shared: Vec<PathBuf> = began.roots.dirs().collect();
        for dir in [out_dir.to_owned(), began.inv.cwd.clone()] {
            shared.extend(fs::canonicalize(&dir));
            shared.push(dir);
        }
        Ok(Self {
            began,
            shared,
            seen: HashSet::new(),
        })
    }

    /// Whether every directory and link on the way to `path` rested since the compile began, by
    /// the name that the compile used and by the one that the filesystem has for it.
    pub(super) fn rested(&mut self, path: &Path) -> Result<(), Bypass> {
        let real = fs::canonicalize(path).map_err(|_| self.began.reason)?;
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

    /// Whether it is git's directory, in the workspace the one that was there: whoever asks git
    /// something, a macro or an editor, has it put a lock there and take it away.
    fn is_git(&self, at: &Path, now: &Identity) -> bool {
        let elsewhere = !at.starts_with(&self.began.inv.cwd);
        self.began.place.git == Some((now.device, now.inode))
            || (elsewhere && at.components().any(|c| c.as_os_str() == GIT))
    }

    /// Whether all that was looked at rests to this day: to be asked once everything was read, which
    /// took its time.
    ///
    /// # Errors
    /// That something was moved.
    pub(super) fn still(&self) -> Result<(), Bypass> {
        if Place::of(self.began.inv).directory != self.began.place.directory {
            return Err(self.began.reason);
        }
        self.seen
            .iter()
            .try_for_each(|at| match at.components().next_back() {
                Some(Component::ParentDir) => Ok(()),
                _ => self.one(at),
            })
    }

    fn one(&self, at: &Path) -> Result<(), Bypass> {
        let m = fs::symlink_metadata(at).map_err(|_| self.began.reason)?;
        let now = Identity::of(&m);
        let started = self.began.started;
        let moved = if m.is_symlink() {
            now.newest() >= started
        } else if m.is_dir() {
            // Moved to this place, only ctime says so; another file in it moves both times, and
            // hides that. It counts as well but where a build writes, and directly below the top
            // (`/tmp`), where everybody does and nothing is moved.
            let built = matches!(
                self.began.roots.name(at),
                Named::Rooted(RootKind::Target | RootKind::Cargo, _)
            );
            let top = at.components().count() <= 2;
            let rests_otherwise = !built && !top && !self.is_git(at, &now);
            now.changed >= started && (now.modified < started || rests_otherwise)
        } else {
            // The file itself is the caller's to judge.
            false
        };
        if moved {
            Err(self.began.reason)
        } else {
            Ok(())
        }
    }
}
