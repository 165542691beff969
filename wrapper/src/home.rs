//! Where a node keeps what it owns, and whether that place is ours.
//!
//! One directory holds config, keys, store, socket and log: `$QUARRY_HOME`, or `quarry` under
//! the platform's user data directory. Enters: environment variables. Leaves: paths. A home that
//! another user owns is refused here, before anything is opened or created in it.

use std::fs::{self, DirBuilder, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;
use thiserror::Error;

/// After a failed start, no wrapper tries another for this long.
pub const START_PAUSE: Duration = Duration::from_secs(30);

/// Why there is no home to use.
#[derive(Debug, Error)]
pub enum HomeError {
    /// Neither `QUARRY_HOME` nor `HOME` says where.
    #[error("neither QUARRY_HOME nor HOME is set: set QUARRY_HOME to a directory of yours")]
    Nowhere,
    /// Relative, so it would mean another place in each working directory.
    #[error("QUARRY_HOME is {0:?}, which is not absolute: give an absolute path")]
    Relative(PathBuf),
    /// Owned by someone else (sudo keeps HOME, a shared directory).
    #[error(
        "{path} belongs to user {owner}, not to user {user}: run as its owner, or set QUARRY_HOME to a directory of your own"
    )]
    NotOurs {
        /// The directory.
        path: PathBuf,
        /// Its owner's user id.
        owner: u32,
        /// Our effective user id.
        user: u32,
    },
    /// Others than its owner may enter it.
    #[error(
        "others can enter {path} (mode {mode:03o}), and keys lie there: run `chmod 700 {path}`, and replace the keys if someone may have copied them"
    )]
    Open {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// It is a link that another user placed.
    #[error("{0} is a link of another user's: set QUARRY_HOME to a directory of your own")]
    Link(PathBuf),
    /// It cannot be looked at or made.
    #[error(
        "the home {path} cannot be used ({source}): set QUARRY_HOME to a directory that you can write to"
    )]
    Io {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// The directory that a node owns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Home(PathBuf);

impl Home {
    /// The home that the environment names; looks at no disk.
    ///
    /// # Errors
    /// [`HomeError::Nowhere`], [`HomeError::Relative`].
    pub fn from_env() -> Result<Self, HomeError> {
        let set = |name| {
            std::env::var_os(name)
                .filter(|v| !v.is_empty())
                .map(PathBuf::from)
        };
        let path = if let Some(home) = set("QUARRY_HOME") {
            home
        } else if cfg!(target_os = "macos") {
            set("HOME")
                .ok_or(HomeError::Nowhere)?
                .join("Library/Application Support/quarry")
        } else if let Some(data) = set("XDG_DATA_HOME").filter(|p| p.is_absolute()) {
            data.join("quarry")
        } else {
            set("HOME")
                .ok_or(HomeError::Nowhere)?
                .join(".local/share/quarry")
        };
        Self::at(path)
    }

    /// The home at `path`.
    ///
    /// # Errors
    /// [`HomeError::Relative`].
    pub fn at(path: PathBuf) -> Result<Self, HomeError> {
        if path.is_absolute() {
            Ok(Self(path))
        } else {
            Err(HomeError::Relative(path))
        }
    }

    /// Checks that the home is ours, and that nobody else may enter it. One that does not exist yet is ours to make, unless we are
    /// root below a directory of another user's (sudo that kept HOME).
    ///
    /// # Errors
    /// [`HomeError::NotOurs`], [`HomeError::Open`], [`HomeError::Link`], [`HomeError::Io`].
    pub fn check(&self) -> Result<(), HomeError> {
        let user = rustix::process::geteuid().as_raw();
        let not_ours = |path: &Path, m: &Metadata| HomeError::NotOurs {
            path: path.to_owned(),
            owner: m.uid(),
            user,
        };
        let mode = |m: &Metadata| m.mode() & 0o777;
        match fs::metadata(&self.0) {
            Ok(_) if self.is_foreign_link(user) => Err(HomeError::Link(self.0.clone())),
            Ok(m) if m.uid() == user && mode(&m) & 0o077 != 0 => Err(HomeError::Open {
                path: self.0.clone(),
                mode: mode(&m),
            }),
            Ok(m) if m.uid() == user => Ok(()),
            Ok(m) => Err(not_ours(&self.0, &m)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                let above = self
                    .0
                    .ancestors()
                    .skip(1)
                    .find_map(|p| Some((p, fs::metadata(p).ok()?)));
                match above {
                    Some((path, m)) if user == 0 && m.uid() != 0 => Err(not_ours(path, &m)),
                    _ => Ok(()),
                }
            }
            Err(source) => Err(HomeError::Io {
                path: self.0.clone(),
                source,
            }),
        }
    }

    /// Whether the home's path ends in a link that neither we nor root placed: whoever did can
    /// lead it elsewhere at any moment.
    fn is_foreign_link(&self, user: u32) -> bool {
        fs::symlink_metadata(&self.0)
            .is_ok_and(|m| m.is_symlink() && m.uid() != user && m.uid() != 0)
    }

    /// Makes the home (mode 0700) if it is not there, and checks that it is ours.
    ///
    /// # Errors
    /// As [`Home::check`].
    pub fn create(&self) -> Result<(), HomeError> {
        self.check()?;
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&self.0)
            .map_err(|source| HomeError::Io {
                path: self.0.clone(),
                source,
            })?;
        self.check()
    }

    /// The directory itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The socket on which the node answers.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.0.join("node.sock")
    }

    /// Locked while a node is being started, so that one is.
    #[must_use]
    pub fn start_lock(&self) -> PathBuf {
        self.0.join("start.lock")
    }

    /// Locked by the node for as long as it lives: one node to a home.
    #[must_use]
    pub fn node_lock(&self) -> PathBuf {
        self.0.join("node.lock")
    }

    /// Its age says when the last start failed.
    #[must_use]
    pub fn start_failed(&self) -> PathBuf {
        self.0.join("start.failed")
    }

    /// Whether a start failed within [`START_PAUSE`].
    #[must_use]
    pub fn start_failed_lately(&self) -> bool {
        fs::metadata(self.start_failed())
            .and_then(|m| m.modified())
            .is_ok_and(|at| at.elapsed().is_ok_and(|age| age < START_PAUSE))
    }

    /// The service's log.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.0.join("node.log")
    }

    /// The settings.
    #[must_use]
    pub fn config(&self) -> PathBuf {
        self.0.join("config.toml")
    }

    /// The builder's secret key, 0600.
    #[must_use]
    pub fn builder_key(&self) -> PathBuf {
        self.0.join("builder.key")
    }

    /// The peer's secret key, 0600.
    #[must_use]
    pub fn peer_key(&self) -> PathBuf {
        self.0.join("peer.key")
    }

    /// The root key of a team that was created here, 0600.
    #[must_use]
    pub fn root_key(&self) -> PathBuf {
        self.0.join("root.key")
    }

    /// The library that observes macros, and its logs.
    #[must_use]
    pub fn observer(&self) -> PathBuf {
        self.0.join("observer")
    }

    /// The store's directory.
    #[must_use]
    pub fn store(&self) -> PathBuf {
        self.0.join("store")
    }
}
