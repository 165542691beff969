//! Programs that a build script starts and of which as much is known as of a compile: the compiler
//! in the run's key, and qwrap in front of it.
//!
//! Enters: the observer's log, what cargo gave the run. Leaves: whether all that was started is of
//! these, and whether what a variable names is qwrap. Must never happen here: rustup's proxy taken
//! for the compiler behind it, a compiler that loaded libraries which nobody looked at.

use crate::compiler::library_path_leads_elsewhere;
use crate::compiler::probe::resolve;
use crate::invocation::Invocation;
use crate::observer::log::{Kind, Record};
use crate::paths::{RootKind, Roots};
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// In which cargo says what is to be started in the compiler's place.
const WRAPPERS: [&str; 2] = ["RUSTC_WRAPPER", "RUSTC_WORKSPACE_WRAPPER"];

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

    /// Whether every program that was started is the compiler in the key, named by its own path,
    /// or qwrap, which inside a run becomes the compiler that it was given; and whether each began
    /// with what cargo gave the script of all that leads to other libraries and programs.
    pub(super) fn are_known(&self, records: &[Record<'_>]) -> bool {
        let of = |kind| records.iter().filter(move |r| r.kind == kind);
        if of(Kind::Spawn).count() == 0 {
            return true;
        }
        let Some(compilers) = self.compilers() else {
            return false;
        };
        let is_compiler = |path: &Path| compilers.iter().any(|known| path == known);
        let started = |r: &Record<'_>| {
            let path = Path::new(r.text);
            is_compiler(path) || self.is_wrapper(path) || self.is_named_wrapper(r.text)
        };
        let began = |r: &Record<'_>| {
            let path = Path::new(r.text);
            is_compiler(path) || self.is_wrapper(path)
        };
        // The first that began is the script itself.
        of(Kind::Spawn).all(started)
            && of(Kind::Entered).skip(1).all(began)
            && of(Kind::Given).all(|r| self.was_given(r.text))
            && !self.loads_elsewhere()
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
