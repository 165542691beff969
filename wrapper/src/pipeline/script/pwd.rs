//! What the directory that cargo was started in, as PWD has it, is to a build script's run.
//!
//! Compilers and their tools take it for their working directory's name, and for nothing else. A
//! downloaded package has nothing to do with it, but any program that was started has it at hand.
//! Must never happen here: a PWD that was used passed over.

use super::key::inode;
use crate::action::Value;
use crate::invocation::Invocation;
use crate::observer::log::{COMPILER, Kind, PLACED, Record};
use crate::paths::{RootKind, Roots};
use crate::pipeline::observed::lexical;
use std::ffi::OsStr;
use std::fs;
use std::io::{self, BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Stands among the variables where only programs read PWD that take it for their working
/// directory's name: what matters is that it is no other name than the system's.
pub(super) const PWD_IS_PLAIN: &str = "=pwd";
/// Stands among the variables for a PWD above the target directory, by how far above: for programs
/// that have all variables at hand, where neither what they asked for nor what they made holds it.
pub(super) const PWD_IS_ABOVE: &str = "=pwd above";

/// What is looked through at a time, bytes.
const PIECE: usize = 1 << 20;

/// PWD, in one run.
#[derive(Clone, Copy)]
pub(super) struct Pwd<'a> {
    inv: &'a Invocation,
    roots: &'a Roots,
}

impl<'a> Pwd<'a> {
    pub(super) const fn new(inv: &'a Invocation, roots: &'a Roots) -> Self {
        Self { inv, roots }
    }

    /// Where it leads nowhere, or is what the system calls the directory that it leads to, and is
    /// no other name of where the run begins (a mount has two). Whoever takes it for the working
    /// directory's name where it leads there then learns nothing from it.
    pub(super) fn plain(&self) -> Option<&'a OsStr> {
        let is_plain = |pwd: &&OsStr| is_plain(pwd, &self.inv.cwd);
        self.inv.var("PWD").filter(is_plain)
    }

    /// The way down to the target directory, where it leads there and says nothing of where any
    /// other root is.
    pub(super) fn way(&self) -> Option<&'a str> {
        let pwd = Path::new(self.plain()?);
        let target = self.roots.root(RootKind::Target)?;
        let way = target.strip_prefix(pwd).ok()?.to_str()?;
        let apart = |root: PathBuf| !root.starts_with(pwd) && !pwd.starts_with(root);
        let mut others = self.roots.dirs().filter(|root| !root.starts_with(target));
        (!way.is_empty() && others.all(apart)).then_some(way)
    }

    /// What stands in the key under one of the names above.
    pub(super) fn value(&self, name: &str) -> Option<Value> {
        let said = match name {
            PWD_IS_PLAIN if self.plain().is_some() => "plain",
            PWD_IS_PLAIN => "another name",
            PWD_IS_ABOVE => match self.way() {
                Some(way) => way,
                None => return Some(Value::Unset),
            },
            _ => return None,
        };
        Some(Value::Public(said.to_owned()))
    }

    /// Whether a run could have found anything by PWD: it asked for what lies below it, outside the
    /// target directory; or something besides compilers did what nobody sees.
    pub(super) fn reaches(&self, records: &[Record<'_>]) -> bool {
        let Some((pwd, target)) = self.inv.var("PWD").zip(self.roots.root(RootKind::Target)) else {
            return true;
        };
        records.iter().any(|record| match record.kind {
            Kind::Variable | Kind::Given | Kind::Told | Kind::Directory | Kind::Machine => false,
            Kind::Socket => true,
            Kind::Raw | Kind::Loaded => ![PLACED, COMPILER].iter().any(|o| record.object == *o),
            _ => {
                let path = lexical(Path::new(record.text));
                let itself = record.kind == Kind::Look && path == Path::new(pwd);
                !itself && path.starts_with(pwd) && !path.starts_with(target)
            }
        })
    }

    /// Whether it could stand in what is read here, whole or by its last name alone.
    ///
    /// # Errors
    /// What the system said.
    pub(super) fn stands_in(&self, from: impl Read) -> io::Result<bool> {
        let last = self
            .inv
            .var("PWD")
            .and_then(|pwd| Path::new(pwd).file_name());
        let Some(last) = last.map(OsStr::as_bytes) else {
            return Ok(true);
        };
        let mut from = BufReader::with_capacity(PIECE, from);
        let mut seen = Vec::new();
        loop {
            let piece = from.fill_buf()?;
            if piece.is_empty() {
                return Ok(false);
            }
            let length = piece.len();
            seen.extend_from_slice(piece);
            from.consume(length);
            if memchr::memmem::find(&seen, last).is_some() {
                return Ok(true);
            }
            seen.drain(..seen.len().saturating_sub(last.len()));
        }
    }
}

fn is_plain(pwd: &OsStr, cwd: &Path) -> bool {
    let Ok(real) = fs::canonicalize(pwd) else {
        return true;
    };
    let inode = |path: &Path| fs::metadata(path).ok().map(|m| inode(&m));
    let other_name = inode(&real) == inode(cwd) && fs::canonicalize(cwd).ok() != Some(real.clone());
    real.as_os_str() == pwd && !other_name
}
