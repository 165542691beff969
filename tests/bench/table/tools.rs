//! The tools that are compared: how each is set up, started, asked to build, and stopped.
//!
//! Every tool gets a cache of its own in a fresh directory, its own defaults, and what its own
//! documentation tells a user to set. Nothing of this machine's user configuration is read where
//! a variable can prevent it.

use super::harness::{Dev, qwrap};
use super::options::Project;
use super::seats::Seat;
use super::settled;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What can be measured.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Cargo and nothing else.
    Alone,
    /// The floor: [`super::floor`].
    Memo,
    Quarry,
    Mbx,
    Kache,
    Sccache,
    Ccache,
}

impl Kind {
    pub const ALL: [Self; 7] = [
        Self::Alone,
        Self::Memo,
        Self::Quarry,
        Self::Mbx,
        Self::Kache,
        Self::Sccache,
        Self::Ccache,
    ];

    pub const fn name(self) -> &'static str {
        match self {
            Self::Alone => "alone",
            Self::Memo => "memo",
            Self::Quarry => "quarry",
            Self::Mbx => "mbx",
            Self::Kache => "kache",
            Self::Sccache => "sccache",
            Self::Ccache => "ccache",
        }
    }

    /// Whether it is one of those that users would pick instead.
    pub const fn is_peer(self) -> bool {
        matches!(self, Self::Mbx | Self::Kache | Self::Sccache | Self::Ccache)
    }

    /// Whether what is built at one place can be had at another.
    pub const fn crosses(self) -> bool {
        !matches!(self, Self::Alone | Self::Memo)
    }

    /// What `--version` says; `None` where it is not installed.
    pub fn version(self) -> Option<String> {
        let program = match self {
            Self::Alone => "cargo",
            Self::Memo => return Some("the exact command, hardlinked".to_owned()),
            Self::Quarry => return Some(env!("CARGO_PKG_VERSION").to_owned()),
            other => other.name(),
        };
        let output = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        Some(text.lines().next()?.to_owned())
    }
}

/// A tool with an empty cache; stopped and removed when dropped.
pub struct Running {
    pub kind: Kind,
    dev: Dev,
    floor: PathBuf,
}

impl Running {
    /// Starts a tool afresh. `floor` is the program of [`Kind::Memo`].
    pub fn start(kind: Kind, floor: &Path) -> Self {
        let running = Self {
            kind,
            dev: Dev::new(kind.name()),
            floor: floor.to_owned(),
        };
        std::fs::create_dir(running.cache()).unwrap();
        match kind {
            Kind::Quarry => running.dev.start(),
            Kind::Sccache => {
                let started = running.command("sccache").arg("--start-server").output();
                assert!(started.unwrap().status.success(), "sccache starts");
            }
            _ => {}
        }
        running
    }

    fn cache(&self) -> PathBuf {
        self.dev.path("cache")
    }

    /// A program in this tool's world.
    fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let cache = self.cache();
        let mut command = self.dev.command(program);
        match self.kind {
            Kind::Alone => {}
            Kind::Memo => {
                command.env("RUSTC_WRAPPER", &self.floor);
                command.env("MEMO_DIR", cache);
            }
            Kind::Quarry => {
                command.env("RUSTC_WRAPPER", qwrap());
            }
            Kind::Mbx => {
                command.env("MBX_CACHE_DIR", cache);
                command.env("MBX_DISPLAY", "plain");
            }
            Kind::Kache => {
                command.env("RUSTC_WRAPPER", "kache");
                command.env("KACHE_CACHE_DIR", cache);
            }
            Kind::Sccache => {
                command.env("RUSTC_WRAPPER", "sccache");
                command.env("SCCACHE_SERVER_UDS", self.dev.path("sccache.sock"));
                command.env("SCCACHE_DIR", cache);
                // It refuses incremental compiles.
                command.env("CARGO_INCREMENTAL", "0");
            }
            Kind::Ccache => {
                command.env("CCACHE_DIR", cache);
                command.env("CC", "ccache cc").env("CXX", "ccache c++");
            }
        }
        command
    }

    /// The command that builds a project at a seat.
    pub fn building(&self, project: &Project, profile: &str, seat: &Seat) -> Command {
        let program = match self.kind {
            Kind::Mbx => "mbx",
            _ => "cargo",
        };
        let mut command = self.command(program);
        command
            .arg("build")
            .args(["--offline", "--profile", profile])
            .args(&project.args)
            .current_dir(&seat.checkout)
            .env("CARGO_HOME", &seat.cargo_home)
            .env("CARGO_TARGET_DIR", seat.target())
            .stdin(Stdio::null());
        command
    }

    /// Builds, and says how long it took. A build that fails ends the bench.
    pub fn build(&self, project: &Project, profile: &str, seat: &Seat) -> Duration {
        let mut command = self.building(project, profile, seat);
        let began = Instant::now();
        let output = command.output().unwrap();
        let took = began.elapsed();
        assert!(
            output.status.success(),
            "{} did not build {}:\n{}",
            self.kind.name(),
            project.name,
            String::from_utf8_lossy(&output.stderr)
        );
        took
    }

    /// Returns when all that was compiled is stored.
    pub fn settle(&self) {
        if self.kind == Kind::Quarry {
            self.dev.flush();
        }
    }

    /// Packs all that Quarry has stored, as if nobody had used it for a week; the bytes that it
    /// then takes.
    pub fn pack(&self) -> u64 {
        self.dev.qnode(&["settle"]).succeeded();
        self.dev.flush();
        settled::store_bytes(&self.dev.home())
    }

    /// Hits and misses so far, where they can be asked for.
    pub fn counts(&self) -> Option<(u64, u64)> {
        (self.kind == Kind::Quarry).then(|| {
            let count = |what: &str| self.dev.count(what);
            (
                count("hits.local") + count("scripts.hits.local"),
                count("misses") + count("scripts.misses"),
            )
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        match self.kind {
            Kind::Sccache => drop(self.command("sccache").arg("--stop-server").output()),
            Kind::Kache => drop(self.command("kache").args(["daemon", "stop"]).output()),
            _ => {}
        }
    }
}
