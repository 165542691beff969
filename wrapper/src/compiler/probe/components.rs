//! The files that make a compiler what it is.
//!
//! Enters: a sysroot. Leaves: the compiler's components under stable names, and stamps that tell
//! when one changed, came or went. Must never happen here: a component missed because it has a
//! new name, a digest.

use crate::nearby::Nearby;
use rustix::fs::{Stat, stat};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Files of one directory that are looked at. A target's std has about a hundred.
const MAX_ENTRIES: usize = 20_000;
/// Components of one compiler.
const MAX_COMPONENTS: usize = 4_000;

/// A file that is part of a compiler.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Component {
    /// The same wherever the toolchain lies.
    pub name: String,
    pub path: PathBuf,
}

/// The state of a file or directory, as far as it can be told without reading it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::compiler) struct Stamp {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Stamp {
    #[expect(
        clippy::unnecessary_cast,
        clippy::cast_sign_loss,
        reason = "the types differ between systems"
    )]
    fn new(m: &Stat) -> Self {
        Self {
            device: m.st_dev as u64,
            inode: m.st_ino as u64,
            size: m.st_size as u64,
            modified: (m.st_mtime as i64, m.st_mtime_nsec as i64),
            changed: (m.st_ctime as i64, m.st_ctime_nsec as i64),
        }
    }
}

/// Paths and their states; `None` for one that is not there.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::compiler) struct Watched(Vec<(PathBuf, Option<Stamp>)>);

impl Watched {
    /// Takes a path's state now.
    pub(in crate::compiler) fn add(&mut self, path: &Path) {
        self.0.push((path.to_owned(), stamp(path)));
    }

    /// Whether every path is as it was.
    pub(in crate::compiler) fn unchanged(&self) -> bool {
        let mut near = Nearby::default();
        let mut all = self.0.iter();
        all.all(|(path, before)| near.stat(path).ok().map(|m| Stamp::new(&m)) == *before)
    }
}

fn stamp(path: &Path) -> Option<Stamp> {
    stat(path).ok().map(|m| Stamp::new(&m))
}

/// Lists the components of the compiler in `sysroot` that compiles on `host` for `target`, sorted,
/// and what to watch. Distributions put the driver into a directory of the architecture.
pub(super) fn components(
    sysroot: &Path,
    host: &str,
    target: &str,
) -> io::Result<(Vec<Component>, Watched)> {
    let mut list = Listing::default();
    let rustc = sysroot.join("bin/rustc");
    list.watched.add(&rustc);
    list.found.push(Component {
        name: "bin/rustc".into(),
        path: rustc,
    });
    // x86_64-unknown-linux-gnu is x86_64-linux-gnu to Debian.
    let multiarch = host.replacen("-unknown-", "-", 1);
    let of_compiler = |name: &str| {
        ["librustc_driver", "libLLVM", "libstd-"]
            .iter()
            .any(|part| name.starts_with(part))
    };
    for dir in [
        "lib".to_owned(),
        "lib64".to_owned(),
        format!("lib/{multiarch}"),
    ] {
        list.dir(sysroot, &dir, &of_compiler)?;
    }
    if !list
        .found
        .iter()
        .any(|c| c.name.contains("/librustc_driver"))
    {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no librustc_driver in the sysroot",
        ));
    }
    list.dir(
        sysroot,
        &format!("lib/rustlib/{host}/codegen-backends"),
        &|_| true,
    )?;
    let before = list.found.len();
    list.dir(sysroot, &format!("lib/rustlib/{target}/lib"), &|_| true)?;
    if list.found.len() == before {
        return Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no std for the target in the sysroot",
        ));
    }
    list.found.sort();
    Ok((list.found, list.watched))
}

#[derive(Default)]
struct Listing {
    found: Vec<Component>,
    watched: Watched,
}

impl Listing {
    fn dir(
        &mut self,
        sysroot: &Path,
        relative: &str,
        wanted: &dyn Fn(&str) -> bool,
    ) -> io::Result<()> {
        let dir = sysroot.join(relative);
        // First the stamp: what comes while the directory is read is noticed next time.
        self.watched.add(&dir);
        let entries = match fs::read_dir(&dir) {
            Ok(entries) => entries,
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(e) => return Err(e),
        };
        for (count, entry) in entries.enumerate() {
            let path = entry?.path();
            let name = path
                .file_name()
                .and_then(|n| n.to_str())
                .unwrap_or_default();
            if count >= MAX_ENTRIES || self.found.len() >= MAX_COMPONENTS {
                return Err(io::Error::other("the sysroot holds more than is looked at"));
            }
            if name.is_empty() || !wanted(name) || !fs::metadata(&path)?.is_file() {
                continue;
            }
            let name = format!("{relative}/{name}");
            self.watched.add(&path);
            self.found.push(Component { name, path });
        }
        Ok(())
    }
}
