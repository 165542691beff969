//! Keys as files of the home: created, loaded, kept at 0600.
//!
//! Enters: a path. Leaves: the key in it, wiped when dropped. Must never happen here: a key that
//! others can read taken for a secret, a file with something else in it overwritten.

use quarry_trust::BuilderKey;
use quarry_trust::key::KEY_LEN;
use std::fs;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use thiserror::Error;
use zeroize::Zeroizing;

/// Why a key file cannot be used.
#[derive(Debug, Error)]
pub enum KeyError {
    /// The file could not be read or written.
    #[error("key file {path}: {source}")]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Others may read the file.
    #[error(
        "key file {0} can be read by others: run `chmod 600` on it, and replace the key if someone may have copied it"
    )]
    Open(PathBuf),
    /// The file does not hold a key.
    #[error(
        "key file {0} is not a key of {KEY_LEN} bytes: restore it from a backup, or move it away to make a new identity"
    )]
    Shape(PathBuf),
    /// The system gave no randomness.
    #[error("the system gave no randomness: {0}")]
    Random(getrandom::Error),
}

/// Loads the key in `path`, or creates it there with mode 0600.
///
/// # Errors
/// [`KeyError`]; a file that others may read is refused.
pub fn load_or_create(path: &Path) -> Result<BuilderKey, KeyError> {
    match load(path) {
        Err(KeyError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            create(path)
        }
        other => other,
    }
}

/// Loads the key in `path`.
///
/// # Errors
/// [`KeyError`]; a file that others may read is refused.
pub fn load(path: &Path) -> Result<BuilderKey, KeyError> {
    let io_error = |source| KeyError::Io {
        path: path.to_owned(),
        source,
    };
    let mut file = fs::File::open(path).map_err(io_error)?;
    let metadata = file.metadata().map_err(io_error)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        if metadata.permissions().mode() & 0o077 != 0 {
            return Err(KeyError::Open(path.to_owned()));
        }
    }
    if metadata.len() != KEY_LEN as u64 {
        return Err(KeyError::Shape(path.to_owned()));
    }
    let mut seed = Zeroizing::new([0; KEY_LEN]);
    file.read_exact(seed.as_mut()).map_err(io_error)?;
    Ok(BuilderKey::from_seed(&seed))
}

fn create(path: &Path) -> Result<BuilderKey, KeyError> {
    let io_error = |source| KeyError::Io {
        path: path.to_owned(),
        source,
    };
    let key = BuilderKey::generate().map_err(KeyError::Random)?;
    // Written whole under another name, then linked in: a crash leaves no half key, and of
    // two nodes that start at once one key wins and both load it.
    let temporary = path.with_extension(format!("new.{}", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create(true).truncate(true);
    #[cfg(unix)]
    {
        use std::os::unix::fs::OpenOptionsExt;
        options.mode(0o600);
    }
    let written = (|| {
        let mut file = options.open(&temporary)?;
        file.write_all(key.seed().as_ref())?;
        file.sync_all()?;
        match fs::hard_link(&temporary, path) {
            Err(e) if e.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            other => other,
        }
    })();
    let _ = fs::remove_file(&temporary);
    written.map_err(io_error)?;
    load(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_created_private_and_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("builder.key");
        let id = load_or_create(&path).unwrap().id();
        assert_eq!(load_or_create(&path).unwrap().id(), id);
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(
                fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            assert!(matches!(load(&path), Err(KeyError::Open(_))));
        }
    }

    #[test]
    fn a_cut_key_is_refused_and_kept() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("builder.key");
        load_or_create(&path).unwrap();
        let bytes = fs::read(&path).unwrap();
        fs::write(&path, &bytes[..7]).unwrap();
        assert!(matches!(load_or_create(&path), Err(KeyError::Shape(_))));
        assert_eq!(
            fs::read(&path).unwrap().len(),
            7,
            "what is there is not overwritten"
        );
    }
}
