//! An invocation: a compiler command as it came.
//!
//! Enters: argv, environment and working directory, as the caller of qwrap had them, and where its
//! own caller was started. Leaves: the
//! same, never altered. Must never happen here: a decision about what the command means, a look
//! at this process's own environment, a value of a variable in a log (so `Debug` prints names).

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};

/// A compiler command as it came.
#[derive(Clone, PartialEq, Eq)]
pub struct Invocation {
    /// The compiler and its arguments, as qwrap got them, without qwrap itself.
    pub argv: Vec<OsString>,
    /// The caller's whole environment, in its order.
    pub env: Vec<(OsString, OsString)>,
    /// The caller's working directory, absolute.
    pub cwd: PathBuf,
    /// Where the build was started, as far as it can be seen: directories. Part of no key.
    pub started: Vec<PathBuf>,
}

impl Invocation {
    /// The value of a variable in the caller's environment. Where a name stands twice the first
    /// counts, as `getenv` has it.
    #[must_use]
    pub fn var(&self, name: &str) -> Option<&OsStr> {
        self.env
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, value)| value.as_os_str())
    }

    /// The value of a variable, where it is set and not empty.
    #[must_use]
    pub fn nonempty_var(&self, name: &str) -> Option<&OsStr> {
        self.var(name).filter(|value| !value.is_empty())
    }

    /// A path of the command, against the caller's working directory.
    #[must_use]
    pub fn absolute(&self, path: &Path) -> PathBuf {
        self.cwd.join(path)
    }
}

impl fmt::Debug for Invocation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<_> = self.env.iter().map(|(name, _)| name).collect();
        f.debug_struct("Invocation")
            .field("argv", &self.argv)
            .field("env", &names)
            .field("cwd", &self.cwd)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_two_equal_names_counts_and_values_stay_out_of_logs() {
        let inv = Invocation {
            argv: vec!["rustc".into()],
            env: vec![
                ("A".into(), "hush".into()),
                ("A".into(), "2".into()),
                ("E".into(), "".into()),
            ],
            cwd: "/w".into(),
            started: Vec::new(),
        };
        assert_eq!(inv.var("A"), Some(OsStr::new("hush")));
        assert_eq!(inv.var("E"), Some(OsStr::new("")));
        assert_eq!(inv.nonempty_var("E"), None);
        assert_eq!(inv.var("B"), None);
        assert!(!format!("{inv:?}").contains("hush"));
        assert_eq!(
            inv.absolute(Path::new("src/lib.rs")),
            Path::new("/w/src/lib.rs")
        );
    }
}
