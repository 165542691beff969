//! What a build script, and every program that it started, was seen to do.
//!
//! Enters: the observer's log. Leaves: names to digest, and what keeps the run with this node;
//! or the reason why it cannot be kept at all. Must never happen here: a program that nobody
//! observed passed over, a change outside OUT_DIR passed over.

use super::Facts;
use crate::action::Look;
use crate::compiler::Bypass;
use crate::observer::log::{Kind, Outcome, Record};
use crate::paths::{RootKind, Roots};
use crate::pipeline::observed::{nothing_to_know, of_the_kernel};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Variables that tell nothing of what is to be built: how many processes may run and through
/// which pipes they hear of it, and our own. (Cargo does not run a script again for these.)
const PASSED_OVER: [&str; 6] = [
    "CARGO_MAKEFLAGS",
    "LD_PRELOAD",
    "MAKEFLAGS",
    "MFLAGS",
    "NUM_JOBS",
    "RUSTC_WRAPPER",
];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Files that were read, or whose presence was asked about.
    pub files: BTreeSet<PathBuf>,
    /// Paths where nothing was.
    pub absent: BTreeSet<PathBuf>,
    /// Directories that were listed or asked about.
    pub looks: BTreeSet<(PathBuf, Look)>,
    /// Variables that were read.
    pub variables: BTreeSet<String>,
    /// Why nobody else may have the run; empty where all of it was understood.
    pub alone: BTreeSet<&'static str>,
}

/// Reads a log. `wrapper` is qwrap, as the script finds it.
///
/// # Errors
/// The reason why the run cannot be kept.
pub(super) fn seen(
    records: &[Record<'_>],
    facts: &Facts,
    roots: &Roots,
    wrapper: Option<&Path>,
) -> Result<Seen, Bypass> {
    let count = |kind| records.iter().filter(|r| r.kind == kind).count();
    let programs = count(Kind::Entered);
    // The script itself, and whatever was started and did begin.
    if programs + count(Kind::NotStarted) != count(Kind::Spawn) + 1 {
        return Err(Bypass::ScriptUnobserved);
    }
    let mut taking = Taking {
        facts,
        roots: roots.dirs().collect(),
        written: BTreeSet::new(),
        seen: Seen::default(),
    };
    if !are_the_compiler(records, roots, wrapper) {
        taking.seen.alone.insert("programs");
    }
    for record in records.iter().filter(|r| r.kind == Kind::Write) {
        taking.write(record)?;
    }
    for record in records {
        taking.take(record)?;
    }
    // The first that began is the script, which stands in the key by itself.
    let begun = records.iter().filter(|r| r.kind == Kind::Entered);
    for program in begun.skip(1) {
        // Inside a run qwrap becomes the compiler that it was given, and does nothing else.
        if !is_same(Path::new(program.text), wrapper) {
            taking.path(program)?;
        }
    }
    Ok(taking.seen)
}

/// Whether every program that was started is the compiler in the key (or qwrap in front of it), and
/// was named by its path: what that does is known as well as what a compile does. Cargo looks
/// through all variables, which nobody sees.
fn are_the_compiler(records: &[Record<'_>], roots: &Roots, wrapper: Option<&Path>) -> bool {
    let Some(sysroot) = roots.root(RootKind::Sysroot) else {
        return !records.iter().any(|r| r.kind == Kind::Spawn);
    };
    let real = fs::canonicalize(sysroot).unwrap_or_else(|_| sysroot.to_owned());
    let compiler = [sysroot, real.as_path()].map(|dir| dir.join("bin/rustc"));
    let known = |r: &Record<'_>| {
        let path = Path::new(r.text);
        compiler.iter().any(|known| path == known) || is_same(path, wrapper)
    };
    // The first that began is the script itself.
    let begun = records.iter().filter(|r| r.kind == Kind::Entered).skip(1);
    let mut started = records.iter().filter(|r| r.kind == Kind::Spawn);
    started.all(known) && begun.into_iter().all(known)
}

fn is_same(path: &Path, wrapper: Option<&Path>) -> bool {
    let real = |path: &Path| fs::canonicalize(path).ok();
    wrapper.is_some_and(|w| path.is_absolute() && real(path).is_some_and(|p| Some(p) == real(w)))
}

struct Taking<'a> {
    facts: &'a Facts,
    /// Whatever lies here is not temporary, wherever this is.
    roots: Vec<PathBuf>,
    written: BTreeSet<PathBuf>,
    seen: Seen,
}

/// A path without `.`, doubled and trailing slashes.
fn plain(text: &OsStr) -> PathBuf {
    Path::new(text).components().collect()
}

/// Whether a path leads into a repository's metadata.
pub(super) fn is_git(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == ".git")
}

/// Terminals and a process's own streams.
fn is_stream(path: &Path) -> bool {
    let own = [
        "/dev/tty",
        "/dev/stdin",
        "/dev/stdout",
        "/dev/stderr",
        "/dev/ptmx",
    ];
    own.iter().any(|known| path == Path::new(known))
        || ["/dev/fd", "/dev/pts", "/proc/self/fd"]
            .iter()
            .any(|dir| path.starts_with(dir))
}

impl Taking<'_> {
    fn alone(&mut self, why: &'static str) -> Result<(), Bypass> {
        self.seen.alone.insert(why);
        Ok(())
    }

    /// Whether a path is one for temporary files.
    fn is_temporary(&self, path: &Path) -> bool {
        let below = |dirs: &[PathBuf]| dirs.iter().any(|dir| path.starts_with(dir));
        below(&self.facts.temporary) && !below(&self.roots)
    }

    fn write(&mut self, record: &Record<'_>) -> Result<(), Bypass> {
        let path = plain(record.text);
        if nothing_to_know(&path) || is_stream(&path) || self.facts.is_out(&path) {
            return Ok(());
        }
        if record.outcome != Outcome::Done {
            // Nothing was changed; that it was tried may have told something.
            return self.alone("attempts");
        }
        if !self.is_temporary(&path) || path.symlink_metadata().is_ok() {
            return Err(Bypass::ScriptWrites);
        }
        self.written.insert(path);
        self.alone("temporary-files")
    }

    fn take(&mut self, record: &Record<'_>) -> Result<(), Bypass> {
        match record.kind {
            Kind::Entered | Kind::Spawn => {
                let name = Path::new(record.text).file_name().unwrap_or_default();
                if name == "git" || name.as_bytes().starts_with(b"git-") {
                    return Err(Bypass::ScriptGit);
                }
                Ok(())
            }
            Kind::Write | Kind::NotStarted | Kind::Directory => Ok(()),
            Kind::Socket => self.alone("network"),
            Kind::Machine => self.alone("machine"),
            Kind::Raw | Kind::Loaded => self.alone("unwatched"),
            Kind::Variable => self.variable(record),
            Kind::Read | Kind::List | Kind::Look | Kind::Link | Kind::Resolve => self.path(record),
        }
    }

    fn variable(&mut self, record: &Record<'_>) -> Result<(), Bypass> {
        let Some(name) = record.text.to_str() else {
            return self.alone("names");
        };
        if !name.starts_with("QUARRY") && !PASSED_OVER.contains(&name) {
            self.seen.variables.insert(name.to_owned());
        }
        Ok(())
    }

    fn path(&mut self, record: &Record<'_>) -> Result<(), Bypass> {
        let path = plain(record.text);
        if self.facts.is_out(&path) || nothing_to_know(&path) {
            return Ok(());
        }
        if is_git(&path) && record.outcome != Outcome::Absent {
            return Err(Bypass::ScriptGit);
        }
        if of_the_kernel(&path) {
            // How much memory the asking process has: rustc asks for its own statistics.
            if path == Path::new("/proc/self/statm") {
                return Ok(());
            }
            return self.alone("machine");
        }
        if self.is_temporary(&path)
            && (self.written.contains(&path) || path.symlink_metadata().is_err())
        {
            return self.alone("temporary-files");
        }
        match record.outcome {
            Outcome::Failed => self.alone("unreadable"),
            Outcome::Absent => self.nothing(path, record.kind),
            Outcome::Done => self.something(path, record.kind),
        }
    }

    fn nothing(&mut self, path: PathBuf, kind: Kind) -> Result<(), Bypass> {
        match path.symlink_metadata() {
            Err(_) => {
                self.seen.absent.insert(path);
                Ok(())
            }
            // A link that leads nowhere, or no directory where one was to be listed.
            Ok(m) if m.is_symlink() => self.alone("links"),
            Ok(m) if kind == Kind::List && m.is_file() => {
                self.seen.files.insert(path);
                Ok(())
            }
            Ok(_) => Err(Bypass::ScriptInputChanged),
        }
    }

    /// Whether a path below a root is what it is called without links, in which case that nothing
    /// on the way to it becomes one is part of what was seen.
    fn is_called_so(&mut self, path: &Path) -> bool {
        if fs::canonicalize(path).ok().as_deref() != Some(path) {
            return false;
        }
        let mut way = Vec::new();
        for at in path.ancestors().skip(1) {
            if self.roots.iter().any(|root| root == at) {
                self.seen.looks.extend(way);
                return true;
            }
            way.push((at.to_owned(), Look::Kind));
        }
        false
    }

    fn something(&mut self, path: PathBuf, kind: Kind) -> Result<(), Bypass> {
        let m = path.symlink_metadata();
        let m = m.map_err(|_| Bypass::ScriptInputChanged)?;
        let leads_away = match kind {
            Kind::Link => true,
            Kind::Resolve => !self.is_called_so(&path),
            _ => m.is_symlink(),
        };
        if leads_away {
            self.alone("links")?;
        }
        let behind = fs::metadata(&path).map_err(|_| Bypass::ScriptInputChanged)?;
        if behind.is_file() {
            self.seen.files.insert(path);
        } else if !behind.is_dir() {
            self.alone("special-files")?;
        } else if matches!(kind, Kind::Read | Kind::List) {
            self.seen.looks.insert((path, Look::List));
        } else if m.is_dir() {
            self.seen.looks.insert((path, Look::Kind));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "seen_tests.rs"]
mod tests;
