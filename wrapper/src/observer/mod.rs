//! The observer of macros as a file of this machine, and the logs that it writes.
//!
//! Enters: the home. Leaves: the library that is loaded into compilers, a log for one compile, and
//! the variables that bring both together. The library itself is `wrapper/observe/observe.rs`,
//! built by this crate's build script and embedded; where it could not be built there is none.
//! Must never happen here: a library loaded that does not hold the embedded bytes.

pub mod log;

use crate::action::MAX_RAN;
use crate::child::Report;
use crate::digests::{Identity, open_regular};
use crate::home::Home;
use crate::ipc::frame;
use quarry_trust::Digest;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// The library; empty where this platform has none.
static LIBRARY: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/observe.so"));
/// Where more than this is left of a log without repetitions, it is not read: a macro that opens
/// ten thousand files writes 2 MiB.
const LOG_MAX: usize = 16 << 20;
/// What a build script and hundreds of compilers read is more.
const RUN_LOG_MAX: usize = 64 << 20;
/// Bytes of a log with repetitions: OpenSSL's build, ten thousand processes, writes 104 MB.
const WRITTEN_MAX: u64 = 1 << 30;
/// Bytes of one report: both streams, arguments and an environment.
const REPORT_MAX: u64 = 8 << 20;
/// Names the log of a build script's run, to its processes and to ourselves inside one.
pub const RUN: &str = "QUARRY_OBSERVE_RUN";
/// Stands before each argument for C compilers in that variable, behind the log's path.
const SEPARATOR: u8 = 0x1f;
/// Bytes of that variable's value: the observer keeps it in 4 KiB, with its name.
const RUN_VALUE_MAX: usize = 4000;

/// Why macros are not observed.
#[derive(Debug, Error)]
pub enum ObserverError {
    /// The loader splits its list of libraries at these.
    #[error("{0} has a space, a colon or a dollar sign in it: the loader cannot load from there")]
    Path(PathBuf),
    /// The library or the place for logs could not be put there.
    #[error("{path}: {source}")]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The observer, ready to be loaded.
#[derive(Debug)]
pub struct Observer {
    library: PathBuf,
    /// What the library's file was when its bytes were compared.
    identity: Mutex<Identity>,
    logs: PathBuf,
    count: AtomicU64,
}

/// The log of one compile; removed with this.
#[derive(Debug)]
pub struct Log {
    path: PathBuf,
    most: usize,
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.path);
        // Not each that was started is reported.
        for number in 1..=MAX_RAN {
            let _ = fs::remove_file(self.report_path(&format!("{number:02}")));
        }
    }
}

/// Whether this machine's C library has all that the observer stands in front of and that programs
/// use only where it is there (glibc has it since 2.29): else they would take ours for the real one.
fn c_library_is_known() -> bool {
    const YOUNGEST: &[u8] = b"posix_spawn_file_actions_addchdir_np";
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let paths = maps
        .lines()
        .filter_map(|line| Some(&line[line.find('/')?..]));
    let library = |path: &&str| {
        path.rsplit('/')
            .next()
            .is_some_and(|n| n.starts_with("libc.so") || n.starts_with("libc-2"))
    };
    let bytes = paths
        .clone()
        .find(library)
        .and_then(|path| fs::read(path).ok());
    bytes.is_some_and(|bytes| memchr::memmem::find(&bytes, YOUNGEST).is_some())
}

impl Observer {
    /// Puts the library below the home, named by its digest, and clears what logs earlier nodes
    /// left. `None` where this platform has no observer. Call it with the home locked.
    ///
    /// # Errors
    /// [`ObserverError`].
    pub fn install(home: &Home) -> Result<Option<Self>, ObserverError> {
        if LIBRARY.is_empty() || !c_library_is_known() {
            return Ok(None);
        }
        let dir = home.observer();
        let splits = |b: &u8| matches!(b, b' ' | b':' | b'$' | b'\n' | b'\t' | b';');
        if dir.as_os_str().as_bytes().iter().any(splits) {
            return Err(ObserverError::Path(dir));
        }
        // What an earlier node had observed, and runs still, finds its own directory gone.
        let all = dir.join("logs");
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let now = now.map_or(0, |since| since.as_nanos());
        let logs = all.join(format!("{}-{now}", std::process::id()));
        let at = |path: &Path| {
            let path = path.to_owned();
            |source| ObserverError::Io { path, source }
        };
        let _ = fs::remove_dir_all(&all);
        let mut private = DirBuilder::new();
        private.recursive(true).mode(0o700);
        private.create(&logs).map_err(at(&logs))?;
        let library = dir.join(format!("{}.so", Digest::of(LIBRARY).to_hex()));
        let identity = match holds_library(&library) {
            Ok(identity) => identity,
            Err(_) => put(&library)
                .and_then(|()| holds_library(&library))
                .map_err(at(&library))?,
        };
        Ok(Some(Self {
            library,
            identity: Mutex::new(identity),
            logs,
            count: AtomicU64::new(0),
        }))
    }

    /// An empty log for one compile.
    ///
    /// # Errors
    /// What the system said, or that the library is not any more what it was.
    pub fn log(&self) -> io::Result<Log> {
        Ok(self.open()?.0)
    }

    /// A log for the run of a build script: it has begun already, since many processes write it.
    ///
    /// # Errors
    /// As [`Self::log`].
    pub fn run_log(&self) -> io::Result<Log> {
        let (mut log, mut file) = self.open()?;
        file.write_all(&log::beginning())?;
        log.most = RUN_LOG_MAX;
        Ok(log)
    }

    fn open(&self) -> io::Result<(Log, File)> {
        let now = Identity::of(&fs::symlink_metadata(&self.library)?);
        let mut known = self.identity.lock().unwrap_or_else(PoisonError::into_inner);
        if now != *known {
            // A profiler or a backup that links the file changes it no more than we do by reading.
            *known = holds_library(&self.library)?;
        }
        drop(known);
        let number = self.count.fetch_add(1, Ordering::Relaxed);
        let path = self.logs.join(number.to_string());
        let mut options = File::options();
        options.write(true).create_new(true).mode(0o600);
        let file = options.open(&path)?;
        let most = LOG_MAX;
        Ok((Log { path, most }, file))
    }

    /// The variables with which a compiler is observed into a log.
    #[must_use]
    pub fn environment(&self, log: &Log) -> Vec<(Vec<u8>, Vec<u8>)> {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        vec![
            (b"LD_PRELOAD".to_vec(), bytes(&self.library)),
            (b"QUARRY_OBSERVE".to_vec(), bytes(&log.path)),
        ]
    }

    /// The variable with which programs that macros start run beside qwrap, which lies there.
    #[must_use]
    pub fn witness(qwrap: &Path) -> (Vec<u8>, Vec<u8>) {
        let value = qwrap.as_os_str().as_bytes().to_vec();
        (b"QUARRY_OBSERVE_WITNESS".to_vec(), value)
    }

    /// The variable with which macros that ask when a file below `copy` came to be, or last changed
    /// in any way, are told what is true of the one below `original`: a copy cannot be given
    /// these times.
    #[must_use]
    pub fn originals(copy: &Path, original: &Path) -> (Vec<u8>, Vec<u8>) {
        let [copy, original] = [copy, original].map(|p| p.as_os_str().as_bytes());
        let value = [copy, &[SEPARATOR], original].concat();
        (b"QUARRY_OBSERVE_ORIGINALS".to_vec(), value)
    }

    /// The variables with which the run of a build script is observed into a log, and C compilers
    /// that it starts are given `arguments` besides their own; where these are too long, none.
    #[must_use]
    pub fn run_environment(&self, log: &Log, arguments: &[Vec<u8>]) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut env = self.environment(log);
        if let Some((name, value)) = env.last_mut() {
            *name = RUN.as_bytes().to_vec();
            let all = arguments
                .iter()
                .flat_map(|a| std::iter::once(&SEPARATOR).chain(a));
            let all: Vec<u8> = all.copied().collect();
            if value.len() + all.len() <= RUN_VALUE_MAX {
                value.extend(all);
            }
        }
        env
    }
}

impl Log {
    /// What a witness reported of the program with this number, of two digits.
    ///
    /// # Errors
    /// What the system said, or that it is no report.
    pub fn report(&self, number: &str) -> io::Result<Report> {
        let file = open_regular(&self.report_path(number))?;
        frame::read(&mut file.take(REPORT_MAX)).map_err(io::Error::other)
    }

    fn report_path(&self, number: &str) -> PathBuf {
        let mut name = self.path.clone().into_os_string();
        name.push(".");
        name.push(number);
        name.into()
    }

    /// What was written, without repetitions.
    ///
    /// # Errors
    /// What the system said; `InvalidData` for one that is too large.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        let file = open_regular(&self.path)?;
        if file.metadata()?.len() > WRITTEN_MAX {
            return Err(io::Error::from(io::ErrorKind::InvalidData));
        }
        log::distinct(&mut file.take(WRITTEN_MAX), self.most)
    }
}

/// The identity of a file that holds the library's very bytes.
fn holds_library(path: &Path) -> io::Result<Identity> {
    let before = Identity::of(&fs::symlink_metadata(path)?);
    let mut bytes = Vec::with_capacity(LIBRARY.len());
    let file = open_regular(path)?;
    let opened = Identity::of(&file.metadata()?);
    file.take(LIBRARY.len() as u64 + 1)
        .read_to_end(&mut bytes)?;
    if bytes == LIBRARY && before == opened {
        Ok(opened)
    } else {
        Err(io::Error::other("it does not hold what was put there"))
    }
}

/// Writes the library beside its place, then renames it there.
fn put(path: &Path) -> io::Result<()> {
    let beside = path.with_extension("new");
    let _ = fs::remove_file(&beside);
    let mut options = File::options();
    let mut file = options
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&beside)?;
    file.write_all(LIBRARY)?;
    file.set_permissions(Permissions::from_mode(0o500))?;
    file.sync_all()?;
    fs::rename(&beside, path)
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
