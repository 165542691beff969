//! What a build script said to cargo about when it is to run again.
//!
//! Enters: its stdout. Leaves: the files and variables that it names. Must never happen here: a
//! directive that cargo would understand and we do not.
//!
//! Source: cargo's `BuildOutput::parse`: lines that begin with `cargo:` or `cargo::`.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

/// What a script names.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Declared {
    /// Files and directories, against the package's directory.
    pub paths: Vec<PathBuf>,
    /// Variables.
    pub variables: Vec<String>,
}

impl Declared {
    /// Reads stdout.
    pub(super) fn of(stdout: &[u8]) -> Self {
        let mut all = Self::default();
        for line in stdout.split(|b| *b == b'\n') {
            let line = line.trim_ascii();
            let Some(rest) = line.strip_prefix(b"cargo:") else {
                continue;
            };
            let rest = rest.strip_prefix(b":").unwrap_or(rest);
            if let Some(path) = rest.strip_prefix(b"rerun-if-changed=") {
                all.paths.push(OsStr::from_bytes(path.trim_ascii()).into());
            } else if let Some(name) = rest.strip_prefix(b"rerun-if-env-changed=") {
                let name = String::from_utf8_lossy(name.trim_ascii()).into_owned();
                all.variables.push(name);
            }
        }
        all
    }

    /// Whether it names nothing: then cargo's rule is the whole package.
    pub(super) fn is_nothing(&self) -> bool {
        self.paths.is_empty() && self.variables.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_spellings_are_read_and_other_lines_are_not() {
        let said = b"cargo:rerun-if-changed=a.txt\n  cargo::rerun-if-changed=dir/b \n\
            cargo::rerun-if-env-changed=CC\nwarning: cargo:rerun-if-changed=no\n\
            cargo:rustc-cfg=x\n";
        let declared = Declared::of(said);
        assert_eq!(
            declared.paths,
            [PathBuf::from("a.txt"), PathBuf::from("dir/b")]
        );
        assert_eq!(declared.variables, ["CC"]);
        assert!(Declared::of(b"cargo::rustc-cfg=x\n").is_nothing());
    }
}
