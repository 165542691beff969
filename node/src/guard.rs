//! What keeps a process that holds keys from being read: by others' eyes on its files, and by
//! other programs of the same user.
//!
//! Enters: this process, a home. Leaves: the process closed to debuggers and core dumps; a
//! refusal where a private file is not private. Must never happen here: a file mended in silence:
//! whoever could read a key may have it.

use quarry_wrapper::home::Home;
use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Files of a home that hold a secret.
const PRIVATE: [&str; 8] = [
    "builder.key",
    "builder.key.next",
    "peer.key",
    "peer.key.next",
    "root.key",
    "team.bin",
    "invitations.bin",
    "rotation.bin",
];

/// Why a home's private files cannot be trusted to be private.
#[derive(Debug, Error)]
pub enum GuardError {
    /// Others may read it.
    #[error(
        "{path} can be read by others (mode {mode:03o}): run `chmod 600 {path}`, and replace the key (`qnode rotate`) if someone may have copied it"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another user owns it, and can change it at any time.
    #[error(
        "{path} belongs to user {owner}, not to user {user}: restore it from a backup as yourself"
    )]
    NotOurs {
        /// The file.
        path: PathBuf,
        /// Its owner.
        owner: u32,
        /// Who we are.
        user: u32,
    },
    /// A link, a pipe, a directory.
    #[error("{0} is no regular file: put the file itself there, not a link to it")]
    Kind(PathBuf),
    /// It could not be looked at.
    #[error("{path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// Refuses a home with a private file that is not private: readable by others, another user's, or
/// no regular file. What is not there is no fault.
///
/// # Errors
/// [`GuardError`], of the first file.
pub fn check_files(home: &Home) -> Result<(), GuardError> {
    PRIVATE
        .iter()
        .try_for_each(|name| check_file(&home.path().join(name)))
}

fn check_file(path: &Path) -> Result<(), GuardError> {
    let path = path.to_owned();
    let m = match fs::symlink_metadata(&path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(source) => return Err(GuardError::Io { path, source }),
        Ok(m) => m,
    };
    let user = rustix::process::geteuid().as_raw();
    let mode = m.permissions().mode() & 0o777;
    if !m.is_file() {
        Err(GuardError::Kind(path))
    } else if m.uid() != user {
        let owner = m.uid();
        Err(GuardError::NotOurs { path, owner, user })
    } else if mode & 0o077 != 0 {
        Err(GuardError::Open { path, mode })
    } else {
        Ok(())
    }
}

/// Closes this process to debuggers, to `/proc/PID/mem` of the same user, and to core dumps. What
/// it starts is open again. Where the system refuses, the process goes on as it is.
#[cfg(target_os = "linux")]
pub fn close_process() {
    use rustix::process::{DumpableBehavior, Resource, Rlimit, getrlimit, setrlimit};
    let closed = rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable);
    // The soft limit alone: a compiler that the node spawns gets its caller's.
    let limit = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    if let Err(error) = closed.and_then(|()| setrlimit(Resource::Core, limit)) {
        tracing::debug!(%error, "this process stays open to debuggers");
    }
}

/// Elsewhere core dumps alone are turned off. Unverified.
#[cfg(not(target_os = "linux"))]
pub fn close_process() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = Rlimit {
        current: Some(0),
        ..getrlimit(Resource::Core)
    };
    let _ = setrlimit(Resource::Core, limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_that_is_open_or_a_link_is_refused_with_what_to_type() {
        let dir = tempfile::tempdir().unwrap();
        let home = Home::at(dir.path().join("home")).unwrap();
        home.create().unwrap();
        check_files(&home).unwrap();
        let key = home.builder_key();
        fs::write(&key, [1; 32]).unwrap();
        fs::set_permissions(&key, fs::Permissions::from_mode(0o640)).unwrap();
        let said = check_files(&home).unwrap_err().to_string();
        assert!(
            said.contains(&format!("chmod 600 {}", key.display())),
            "{said}"
        );
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
        check_files(&home).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&key, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &key).unwrap();
        assert!(matches!(check_files(&home), Err(GuardError::Kind(_))));
    }
}
