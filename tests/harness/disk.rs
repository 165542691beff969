//! A filesystem of another kind, in an image, and a directory under a second name.
//!
//! That takes root, loop devices and the kind's own `mkfs`. Where they are missing whoever asks is
//! told so, loudly.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use tempfile::TempDir;

/// Bytes of the image; xfs takes no less than 300 MiB. Hardly any of it is ever written.
const IMAGE: u64 = 1 << 30;

/// A filesystem in a file, mounted while this lives.
pub struct Disk {
    at: TempDir,
}

impl Disk {
    /// A `btrfs`, `xfs` or `ext3`; `None`, said aloud, where there is no such thing.
    pub fn new(kind: &str) -> Option<Self> {
        let at = tempfile::Builder::new()
            .prefix("q-disk-")
            .tempdir()
            .unwrap();
        let image = at.path().join("image");
        fs::File::create(&image).unwrap().set_len(IMAGE).unwrap();
        let disk = Self { at };
        fs::create_dir(disk.top()).unwrap();
        if disk.made(kind, &image) {
            return Some(disk);
        }
        eprintln!(
            "SKIPPED: no {kind} can be mounted here (root, loop devices and mkfs.{kind} are needed)"
        );
        None
    }

    fn made(&self, kind: &str, image: &Path) -> bool {
        let options: &[&str] = match kind {
            "xfs" => &["-q"],
            "btrfs" => &["-qf"],
            // Times with parts of a second need inodes of this size.
            _ => &["-q", "-F", "-I", "256"],
        };
        run(Command::new(format!("mkfs.{kind}"))
            .args(options)
            .arg(image))
            && run(Command::new("mount")
                .args(["-t", kind, "-o", "loop"])
                .arg(image)
                .arg(self.top()))
    }

    /// Its uppermost directory.
    pub fn top(&self) -> PathBuf {
        self.at.path().join("top")
    }

    /// Bytes in use, once everything is where it belongs.
    pub fn used(&self) -> u64 {
        assert!(run(Command::new("sync").arg("-f").arg(self.top())));
        let now = rustix::fs::statvfs(self.top()).unwrap();
        (now.f_blocks - now.f_bfree) * now.f_frsize
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // What was never mounted is not unmounted: nothing is lost by trying.
        run(Command::new("umount").arg("-l").arg(self.top()));
    }
}

/// A second name of a directory, no link, while this lives.
pub struct Bound {
    at: TempDir,
}

impl Bound {
    /// `None`, said aloud, where nothing can be mounted.
    pub fn new(directory: &Path) -> Option<Self> {
        let at = tempfile::Builder::new()
            .prefix("q-bound-")
            .tempdir()
            .unwrap();
        let bound = run(Command::new("mount")
            .arg("--bind")
            .arg(directory)
            .arg(at.path()));
        if !bound {
            eprintln!("SKIPPED: no directory can be mounted a second time here (root is needed)");
        }
        bound.then_some(Self { at })
    }

    /// The other name.
    pub fn path(&self) -> &Path {
        self.at.path()
    }
}

impl Drop for Bound {
    fn drop(&mut self) {
        // Before the temporary directory is removed with what is in it.
        run(Command::new("umount").arg("-l").arg(self.at.path()));
    }
}

fn run(command: &mut Command) -> bool {
    command.output().is_ok_and(|said| said.status.success())
}
