//! What C compilers are told that build scripts start: that this checkout's roots are to be called
//! by their placeholders. Objects then hold no path of this machine, and who links them in is
//! shared.
//!
//! Enters: a run and its roots. Leaves: arguments, or none where the compiler does not know them
//! (gcc before 8, clang before 10). Must never happen here: an argument that makes a compile fail.

use crate::compiler::probe::ask::ask;
use crate::compiler::probe::resolve;
use crate::digests::Identity;
use crate::invocation::Invocation;
use crate::paths::Roots;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};

/// Compilers that are remembered; beyond it they are asked again.
const MEMO_MAX: usize = 64;

/// What `cc` may be, or start: a cache for compilers looks for them along PATH itself.
const NAMES: [&str; 3] = ["cc", "gcc", "clang"];

/// Whether `cc` knows the argument, by all compilers along PATH and the states of their files.
/// PATH itself is another one for each cargo home.
#[derive(Default)]
pub(in crate::pipeline) struct Compilers(Mutex<HashMap<Vec<(PathBuf, Identity)>, bool>>);

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
        let Some(cc) = resolve(inv, OsStr::new("cc")) else {
            return false;
        };
        let dirs = std::env::split_paths(inv.var("PATH").unwrap_or_default());
        let all = dirs.flat_map(|dir| NAMES.map(|name| inv.absolute(&dir).join(name)));
        let found = all.filter_map(|path| Some((Identity::of(&fs::metadata(&path).ok()?), path)));
        let key: Vec<_> = found.map(|(state, path)| (path, state)).collect();
        if let Some(known) = lock().get(&key) {
            return *known;
        }
        let trial = ["-ffile-prefix-map=/a=/b", "-E", "-x", "c", "/dev/null"];
        let knows = match ask(&cc, &trial, inv) {
            Ok(_) => true,
            // It said no itself.
            Err(error) if error.kind() == io::ErrorKind::Other => false,
            Err(_) => return false,
        };
        let mut memo = lock();
        if memo.len() >= MEMO_MAX {
            memo.clear();
        }
        memo.insert(key, knows);
        knows
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;
    use std::process::Command;

    #[test]
    fn a_compiler_is_asked_once_however_path_leads_to_it_and_again_once_it_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let (cc, asked) = (dir.path().join("cc"), dir.path().join("asked"));
        // Another process writes it: ours may fork meanwhile, and what is open cannot be started.
        let write = |ends: &str| {
            let script = format!("#!/bin/sh\necho >>{}\n{ends}\n", asked.display());
            let mut sh = Command::new("sh");
            sh.args([
                "-c",
                "printf %s \"$1\" >\"$2\"; chmod +x \"$2\"",
                "sh",
                &script,
            ]);
            assert!(sh.arg(&cc).status().unwrap().success());
        };
        let by = |path: &Path| Invocation {
            argv: Vec::new(),
            env: vec![("PATH".into(), path.into())],
            cwd: dir.path().to_owned(),
            started: Vec::new(),
        };
        let homes = dir.path().join("a-cargo-home");
        let both = std::env::join_paths([&homes, dir.path()]).unwrap();
        let times = || fs::read_to_string(&asked).unwrap().len();
        let compilers = Compilers::default();
        write("exit 0");
        assert!(compilers.know(&by(dir.path())) && compilers.know(&by(Path::new(&both))));
        assert_eq!(times(), 1);
        write("exit 1 # knows no such argument");
        assert!(!compilers.know(&by(dir.path())));
        assert_eq!(times(), 2);
        assert!(!compilers.know(&by(&homes)), "there is none");
        // The same cc finds another gcc along this PATH.
        fs::create_dir(&homes).unwrap();
        fs::write(homes.join("gcc"), "").unwrap();
        assert!(!compilers.know(&by(Path::new(&both))));
        assert_eq!(times(), 3);
    }
}
