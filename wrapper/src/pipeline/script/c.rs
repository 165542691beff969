//! What C compilers are told that build scripts start: that this checkout's roots are to be called
//! by their placeholders. Objects then hold no path of this machine, and who links them in is
//! shared.
//!
//! Enters: a run and its roots. Leaves: arguments, or none where the compiler does not know them
//! (gcc before 8, clang before 10). Must never happen here: an argument that makes a compile fail.

use crate::compiler::probe::ask::ask;
use crate::invocation::Invocation;
use crate::paths::Roots;
use std::collections::HashMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

/// Compilers that are remembered, by PATH; beyond it they are asked again.
const MEMO_MAX: usize = 64;

/// Whether the C compiler that each PATH leads to knows the argument.
#[derive(Default)]
pub(in crate::pipeline) struct Compilers(Mutex<HashMap<Option<OsString>, bool>>);

impl Compilers {
    /// The arguments for a run, in the order of the command line: the last match wins.
    pub(super) fn arguments(&self, inv: &Invocation, roots: &Roots) -> Vec<Vec<u8>> {
        if !self.know(inv) {
            return Vec::new();
        }
        let remaps = roots.remaps().into_iter();
        remaps
            .map(|(from, to)| {
                let from = from.as_os_str().as_bytes();
                [b"-ffile-prefix-map=", from, b"=", to.as_bytes()].concat()
            })
            // Where a path ends and its name begins could not be told, or where an argument does.
            .filter(|arg| {
                let separators = arg.iter().filter(|b| **b == b'=').count();
                separators == 2 && !arg.iter().any(u8::is_ascii_control)
            })
            .collect()
    }

    fn know(&self, inv: &Invocation) -> bool {
        let lock = || self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let path = inv.var("PATH").map(OsString::from);
        if let Some(known) = lock().get(&path) {
            return *known;
        }
        let trial = ["-ffile-prefix-map=/a=/b", "-E", "-x", "c", "/dev/null"];
        let knows = ask(Path::new("cc"), &trial, inv).is_ok();
        let mut memo = lock();
        if memo.len() >= MEMO_MAX {
            memo.clear();
        }
        memo.insert(path, knows);
        knows
    }
}
