//! Where a project is built: a checkout and a cargo home, with the sources unpacked.

use super::harness::projects;
use super::options::Project;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// One place to build at.
pub struct Seat {
    _dir: TempDir,
    pub checkout: PathBuf,
    pub cargo_home: PathBuf,
}

impl Seat {
    /// A place of its own for a project: another depth and length for each `name`.
    pub fn new(project: &Project, name: &str) -> Self {
        let dir = tempfile::Builder::new()
            .prefix(&format!("seat-{name}-"))
            .tempdir()
            .unwrap();
        let seat = Self {
            checkout: dir.path().join(name).join(&project.name),
            cargo_home: dir.path().join(format!("cargo-of-{name}")),
            _dir: dir,
        };
        projects::copy(&project.dir, &seat.checkout);
        seat.fetch();
        seat
    }

    /// The target directory.
    pub fn target(&self) -> PathBuf {
        self.checkout.join("target")
    }

    /// Removes what was built.
    pub fn clean(&self) {
        fs::remove_dir_all(self.target()).unwrap_or_default();
    }

    /// Bytes of the files in the target directory, by length, each inode once.
    pub fn built(&self) -> u64 {
        super::disk::bytes(&self.target())
    }

    /// The downloaded packages are this user's; the unpacked sources are this seat's own.
    fn fetch(&self) {
        let user = users_cargo_home();
        let registry = self.cargo_home.join("registry");
        fs::create_dir_all(&registry).unwrap();
        for part in ["registry/index", "registry/cache", "config.toml", "git"] {
            if user.join(part).exists() {
                symlink(user.join(part), self.cargo_home.join(part)).unwrap();
            }
        }
        let fetched = Command::new("cargo")
            .args(["fetch", "--quiet"])
            .current_dir(&self.checkout)
            .env("CARGO_HOME", &self.cargo_home)
            .env_remove("CARGO_TARGET_DIR")
            .status()
            .unwrap();
        assert!(fetched.success(), "cargo fetches what is to be built");
    }
}

fn users_cargo_home() -> PathBuf {
    let home = || Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cargo");
    std::env::var_os("CARGO_HOME").map_or_else(home, PathBuf::from)
}
