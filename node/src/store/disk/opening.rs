//! Opening the database, judging what is wrong with one, setting it aside.
//!
//! Enters: a path. Leaves: a database with all its tables, or why there is none: damage, another
//! process, the disk. Must never happen here: a damaged database that is deleted before a newer
//! one took its place.

use super::super::StoreError;
use super::tables;
use redb::{Builder, Database, DatabaseError, ReadableDatabase};
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

/// redb's page cache, in bytes: an idle node has 60 MB in all, and the system caches the file.
const CACHE_BYTES: usize = 16 << 20;
/// What a database that was set aside is called: this and a number.
const BROKEN: &str = "store.redb.broken-";

/// Why a database did not open.
pub(super) enum Unopened {
    /// Its bytes are not those of a database of ours.
    Broken(String),
    InUse,
    Io(io::Error),
}

impl Unopened {
    pub(super) fn into_error(self, path: &Path) -> StoreError {
        let path = path.to_owned();
        match self {
            Self::Broken(what) => StoreError::Corrupt { path, what },
            Self::InUse => StoreError::InUse(path),
            Self::Io(source) => StoreError::io("opening the database", &path, source),
        }
    }
}

impl From<redb::Error> for Unopened {
    fn from(error: redb::Error) -> Self {
        match error {
            redb::Error::DatabaseAlreadyOpen => Self::InUse,
            redb::Error::Io(error) if !is_torn(&error) => Self::Io(error),
            other => match is_broken(&other) {
                Some(why) => Self::Broken(why),
                None => Self::Io(io::Error::other(other)),
            },
        }
    }
}

impl From<DatabaseError> for Unopened {
    fn from(error: DatabaseError) -> Self {
        Self::from(redb::Error::from(error))
    }
}

/// Opens or makes the database with all its tables.
pub(super) fn open_database(path: &Path) -> Result<Database, Unopened> {
    let opened = catch_unwind(AssertUnwindSafe(|| -> Result<Database, redb::Error> {
        let db = Builder::new().set_cache_size(CACHE_BYTES).create(path)?;
        let checked = tables::check(&db.begin_read()?);
        match checked {
            Ok(()) => {}
            Err(redb::TableError::TableDoesNotExist(_)) => {
                let mut txn = db.begin_write()?;
                txn.set_quick_repair(true);
                tables::create(&txn)?;
                txn.commit()?;
            }
            Err(error) => return Err(error.into()),
        }
        Ok(db)
    }));
    match opened {
        Ok(Ok(db)) => {
            private(path).map_err(Unopened::Io)?;
            Ok(db)
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => Err(Unopened::Broken(
            "its pages contradict each other".to_owned(),
        )),
    }
}

/// The database holds what compiles wrote: its owner's alone.
fn private(path: &Path) -> io::Result<()> {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}

/// A read beyond the file's end, or data that is none: damage, not trouble with the disk.
fn is_torn(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof | io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput
    )
}

/// What is wrong with the database, where it is the database and not the disk.
pub(super) fn is_broken(error: &redb::Error) -> Option<String> {
    use redb::Error as E;
    match error {
        E::Corrupted(_)
        | E::UpgradeRequired(_)
        | E::RepairAborted
        | E::TableTypeMismatch { .. }
        | E::TableIsMultimap(_)
        | E::TableIsNotMultimap(_)
        | E::TypeDefinitionChanged { .. }
        | E::TableDoesNotExist(_) => Some(error.to_string()),
        E::Io(io) if is_torn(io) => Some(error.to_string()),
        _ => None,
    }
}

/// Renames the database to the next free `store.redb.broken-N`, and keeps that one alone.
pub(super) fn set_aside(dir: &Path) -> Result<PathBuf, StoreError> {
    let io = |doing| move |source| StoreError::io(doing, dir, source);
    let mut earlier = Vec::new();
    for item in std::fs::read_dir(dir).map_err(io("listing"))? {
        let item = item.map_err(io("listing"))?;
        let name = item.file_name();
        if let Some(number) = name.to_str().and_then(|n| n.strip_prefix(BROKEN)) {
            earlier.push((number.parse::<u64>().unwrap_or(0), item.path()));
        }
    }
    let next = earlier.iter().map(|(number, _)| number).max();
    let next = next.map_or(1, |number| number.saturating_add(1));
    let to = dir.join(format!("{BROKEN}{next}"));
    std::fs::rename(dir.join(super::engine::FILE_NAME), &to)
        .map_err(io("setting aside a database in"))?;
    for (_, path) in earlier {
        let _ = std::fs::remove_file(path);
    }
    Ok(to)
}
