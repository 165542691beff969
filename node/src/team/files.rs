//! Files of the home: read within a bound, replaced whole or not at all, readable by us alone.
//!
//! Enters: a path, bytes. Leaves: bytes. Must never happen here: a file half written, or one that
//! others may read.

use super::TeamError;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use zeroize::Zeroizing;

/// A file's bytes, or `None` where there is no such file.
pub(crate) fn read_bounded(path: &Path, max: u64) -> Result<Option<Zeroizing<Vec<u8>>>, TeamError> {
    let io_error = |source| TeamError::Io {
        path: path.to_owned(),
        source,
    };
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(io_error)?,
    };
    let mut bytes = Zeroizing::new(Vec::new());
    file.take(max + 1)
        .read_to_end(&mut bytes)
        .map_err(io_error)?;
    if bytes.len() as u64 > max {
        return Err(TeamError::Damaged {
            path: path.to_owned(),
            why: "it is too large".to_owned(),
        });
    }
    Ok(Some(bytes))
}

/// Replaces a file of the home, whole or not at all, readable by us alone.
pub(crate) fn write_private(path: &Path, bytes: &[u8]) -> Result<(), TeamError> {
    let temporary = path.with_extension("new");
    let write = || {
        let mut file = File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&temporary)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&temporary, path)?;
        // The rename itself must survive a power cut.
        path.parent()
            .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    write().map_err(|source| TeamError::Io {
        path: path.to_owned(),
        source,
    })
}
