//! Programs that a build script starts and of which as much is known as of a compile: the compiler
//! in the run's key, and qwrap in front of it.
//!
//! Enters: the observer's log, what cargo gave the run. Leaves: whether all that was started is of
//! these, what was looked for and is nowhere, and whether what a variable names is qwrap. Must never happen here: rustup's proxy taken
//! for the compiler behind it, a compiler that loaded libraries which nobody looked at.

use super::pwd::Pwd;
use crate::compiler::library_path_leads_elsewhere;
use crate::compiler::probe::resolve;
use crate::invocation::Invocation;
use crate::observer::log::{Kind, Record};
use crate::paths::{RootKind, Roots};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// In which cargo says what is to be started in the compiler's place.
pub(super) const WRAPPERS: [&str; 2] = ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];

/// The known programs of one run.
pub(super) struct Programs<'a> {
    inv: &'a Invocation,
    roots: &'a Roots,
    /// Where qwrap lies.
    wrapper: Option<&'a Path>,
}

impl<'a> Programs<'a> {
    pub(super) const fn new(
        inv: &'a Invocation,
        roots: &'a Roots,
        wrapper: Option<&'a Path>,
    ) -> Self {
        Self {
            inv,
            roots,
            wrapper,
        }
    }

    /// The directory that cargo was started in.
    pub(super) const fn pwd(&self) -> Pwd<'a> {
        Pwd::new(self.inv, self.roots)
    }

    /// The names of programs that were to be started and are nowhere, where every other one is the
    /// compiler in the key, named by its own path, or qwrap, which inside a run becomes the
    /// compiler that it was given; and where each began with what cargo gave the script of all
    /// that leads to other libraries and programs. Else `None`.
    pub(super) fn understood(&self, records: &[Record<'_>]) -> Option<BTreeSet<String>> {
        let of = |kind| records.iter().filter(move |r| r.kind == kind);
        let mut nowhere = BTreeSet::new();
        if of(Kind::Spawn).count() == 0 {
            return Some(nowhere);
        }
        let compilers = self.compilers()?;
        let known =
            |path: &Path| compilers.iter().any(|known| path == known) || self.is_wrapper(path);
        let mut failed = of(Kind::NotStarted);
        for program in of(Kind::Spawn) {
            if known(Path::new(program.text)) || self.is_named_wrapper(program.text) {
                continue;
            }
            let name = program.text.to_str().filter(|n| self.is_nowhere(n))?;
            failed.next()?;
            nowhere.insert(name.to_owned());
        }
        // The first that began is the script itself.
        let all = of(Kind::Entered).skip(1).all(|r| known(Path::new(r.text)))
            && of(Kind::Given).all(|r| self.was_given(r.text))
            && !self.loads_elsewhere();
        all.then_some(nowhere)
    }

    /// Whether no directory in PATH has anything by this name.
    pub(super) fn is_nowhere(&self, name: &str) -> bool {
        let absent = |dir: PathBuf| {
            let there = dir.join(name).symlink_metadata();
            let nothing = |e: &io::Error| {
                matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                )
            };
            dir.is_absolute() && there.as_ref().is_err_and(nothing)
        };
        // Without the variable the C library looks where it thinks fit.
        let Some(path) = self.inv.nonempty_var("PATH") else {
            return false;
        };
        let plain = !name.is_empty() && !name.contains('/') && name != "sh";
        plain && std::env::split_paths(path).all(absent)
    }

    /// Where the compiler in the key lies, and what the filesystem calls that.
    fn compilers(&self) -> Option<Vec<PathBuf>> {
        let sysroot = self.roots.root(RootKind::Sysroot)?;
        let compiler = sysroot.join("bin/rustc");
        let real = fs::canonicalize(sysroot).ok()?.join("bin/rustc");
        Some(vec![fs::canonicalize(&compiler).ok()?, compiler, real])
    }

    /// Whether this is qwrap's own path.
    pub(super) fn is_wrapper(&self, path: &Path) -> bool {
        let real = |path: &Path| fs::canonicalize(path).ok();
        let is = |wrapper| real(path).is_some_and(|p| Some(p) == real(wrapper));
        path.is_absolute() && self.wrapper.is_some_and(is)
    }

    /// Whether this is a name by which cargo has qwrap started, and PATH leads there.
    fn is_named_wrapper(&self, name: &OsStr) -> bool {
        WRAPPERS
            .iter()
            .any(|variable| self.inv.var(variable) == Some(name) && self.leads_to_wrapper(variable))
    }

    /// Whether what cargo would start by this variable is qwrap.
    pub(super) fn leads_to_wrapper(&self, variable: &str) -> bool {
        let Some(named) = self
            .inv
            .var(variable)
            .filter(|_| WRAPPERS.contains(&variable))
        else {
            return false;
        };
        let plain = named.as_bytes().iter().all(|b| *b != b'/');
        let path = match plain {
            true => resolve(self.inv, named),
            false => Some(PathBuf::from(named)),
        };
        path.is_some_and(|path| self.is_wrapper(&path))
    }

    /// Whether a `NAME=VALUE` is what cargo gave the script.
    fn was_given(&self, text: &OsStr) -> bool {
        let mut parts = text.as_bytes().splitn(2, |b| *b == b'=');
        let (Some(name), Some(value)) = (parts.next(), parts.next()) else {
            return false;
        };
        let name = std::str::from_utf8(name).ok();
        let given = name.and_then(|name| self.inv.var(name));
        given.is_some_and(|given| given.as_bytes() == value)
    }

    /// Whether the loader would look for the compiler's libraries where no key reaches.
    fn loads_elsewhere(&self) -> bool {
        let target = self.roots.root(RootKind::Target).map(Path::to_owned);
        let compilers = self.compilers().unwrap_or_default();
        let compilers: Vec<&Path> = compilers.iter().map(PathBuf::as_path).collect();
        library_path_leads_elsewhere(self.inv, target, &compilers)
    }
}

#[cfg(test)]
#[path = "programs_tests.rs"]
mod tests;
