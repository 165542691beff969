//! What can go wrong in the store, in words for who must mend it.
//!
//! Enters: what the disk, the database and the callers did. Leaves: one [`StoreError`]. Must
//! never happen here: a panic, or an error that hides a full disk behind "I/O error".

use quarry_trust::Digest;
use std::io;
use std::path::{Path, PathBuf};
use thiserror::Error;

/// Why the store could not do what was asked. A build never fails over one: it compiles instead.
#[derive(Debug, Error)]
pub enum StoreError {
    /// No space, no quota, or a file-size limit.
    #[error(
        "no space for {}: free some on that disk, or lower `store_limit`; compiles go on, nothing is stored", .0.display()
    )]
    Full(PathBuf),
    /// The filesystem or the folder cannot be written.
    #[error(
        "{} cannot be written: make it writable for this user, or set QUARRY_HOME to a folder that is", .0.display()
    )]
    ReadOnly(PathBuf),
    /// Another process has the database open.
    #[error(
        "{} is open in another process: stop the other node, or set QUARRY_HOME for this one", .0.display()
    )]
    InUse(PathBuf),
    /// Anything else that the system said.
    #[error("{doing} {}: {source}; `qnode doctor` checks the store", path.display())]
    Io {
        /// What was being done.
        doing: &'static str,
        /// To what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The database is damaged. It has been set aside, or will be when the node starts again.
    #[error(
        "the database {} is damaged ({what}): it is set aside and rebuilt empty; compiles refill it", path.display()
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What was found.
        what: String,
    },
    /// What was written since the last flush is gone: the database failed and was opened again.
    #[error(
        "the database {} failed and was opened again: what was stored since the last flush is lost, and compiles store it anew", .0.display()
    )]
    Lost(PathBuf),
    /// More bytes than the caller's limit, or than the store takes.
    #[error("more than {limit} bytes: not stored; the compile's result is used as it is")]
    Oversize {
        /// The limit in bytes.
        limit: u64,
    },
    /// An object was to be ended of which a write had failed.
    #[error("a write to this object failed before: it is dropped, stage it again from its start")]
    Unfinished,
    /// An entry names an object that is not here.
    #[error("the entry names object {0}, which is not in the store: stage or fetch it first")]
    Absent(Digest),
    /// The offer's bytes are not those of the verified entry.
    #[error("the offer's bytes are not those of the verified entry: put what was verified")]
    Mismatch,
    /// A piece of state does not have the digest that was written with it.
    #[error(
        "{} is damaged: restore it from a backup, or move it away: what it held (counters, addresses) is gathered again", .0.display()
    )]
    State(PathBuf),
    /// A name of a piece of state that cannot be a file name.
    #[error("{0:?} cannot name a piece of state: use 1 to 64 of a-z, 0-9, '-' and '_'")]
    Name(String),
}

impl StoreError {
    /// Sorts a system error by what its reader can do about it.
    pub(super) fn io(doing: &'static str, path: &Path, source: io::Error) -> Self {
        use io::ErrorKind as Kind;
        match source.kind() {
            // A file-size limit (`ulimit -f`) is a full disk to who meets it.
            Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
                Self::Full(path.to_owned())
            }
            Kind::ReadOnlyFilesystem | Kind::PermissionDenied => Self::ReadOnly(path.to_owned()),
            _ => Self::Io {
                doing,
                path: path.to_owned(),
                source,
            },
        }
    }

    /// Takes the error out of what writing to a [`super::Stage`] returned.
    #[must_use]
    pub fn of_stage(error: io::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(inner) => inner,
            Err(source) => Self::Io {
                doing: "staging an object in",
                path: PathBuf::from("the store"),
                source,
            },
        }
    }

    /// Wraps the error for [`std::io::Write`]; [`StoreError::of_stage`] takes it out again.
    pub(super) fn into_io(self) -> io::Error {
        let kind = match &self {
            Self::Full(_) => io::ErrorKind::StorageFull,
            Self::Oversize { .. } => io::ErrorKind::FileTooLarge,
            Self::ReadOnly(_) => io::ErrorKind::PermissionDenied,
            _ => io::ErrorKind::Other,
        };
        io::Error::new(kind, self)
    }
}
