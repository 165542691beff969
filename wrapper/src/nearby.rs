//! Looking at many files that lie near each other: the way to their directory is gone once.
//!
//! Enters: paths, those of one directory after another. Leaves: their states. Must never happen
//! here: anything but a look; a path that leads elsewhere than it would by itself.

use rustix::fs::{AtFlags, CWD, Mode, OFlags, Stat, open, statat};
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The directory that was looked into last.
#[derive(Debug, Default)]
pub struct Nearby {
    dir: PathBuf,
    open: Option<OwnedFd>,
}

impl Nearby {
    /// The state of what a path leads to.
    ///
    /// # Errors
    /// What the system said.
    pub fn stat(&mut self, path: &Path) -> rustix::io::Result<Stat> {
        self.look(path, AtFlags::empty())
    }

    /// The state of what stands under a path, a link itself.
    ///
    /// # Errors
    /// What the system said.
    pub fn lstat(&mut self, path: &Path) -> rustix::io::Result<Stat> {
        self.look(path, AtFlags::SYMLINK_NOFOLLOW)
    }

    fn look(&mut self, path: &Path, flags: AtFlags) -> rustix::io::Result<Stat> {
        let plainly = || statat(CWD, path, flags);
        if let Some(open) = &self.open
            && let Some(rest) = below(path, &self.dir)
        {
            return statat(open, rest, flags);
        }
        let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
            return plainly();
        };
        if self.dir != parent {
            // Opened for the second file that lies there.
            self.dir = parent.to_owned();
            self.open = None;
            return plainly();
        }
        self.open = directory(parent);
        match &self.open {
            Some(open) => statat(open, name, flags),
            None => plainly(),
        }
    }
}

/// What follows a directory in a path that begins with it, letter by letter.
fn below<'a>(path: &'a Path, dir: &Path) -> Option<&'a OsStr> {
    let rest = path.as_os_str().as_bytes();
    let rest = rest.strip_prefix(dir.as_os_str().as_bytes())?;
    let rest = rest.strip_prefix(b"/")?;
    // What begins with a slash would lead to the top.
    let leads_on = rest.first().is_some_and(|byte| *byte != b'/');
    leads_on.then(|| OsStr::from_bytes(rest))
}

fn directory(path: &Path) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    open(path, flags, Mode::empty()).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_path_leads_where_it_would_by_itself() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        fs::create_dir_all(at("a/b")).unwrap();
        for file in ["a/one", "a/two", "a/b/three", "c"] {
            fs::write(at(file), file).unwrap();
        }
        symlink("../c", at("a/link")).unwrap();
        symlink("nowhere", at("a/broken")).unwrap();
        let mut near = Nearby::default();
        for name in [
            "a/one",
            "a/two",
            "a/absent",
            "a/b/three",
            "a/b/absent",
            "a/b/../one",
            "a/link",
            "a/broken",
            "a/../c",
            "a/..",
            "a",
            "c",
            "a/one/not-there",
            "absent/one",
            "absent/two",
            "absent/three",
            "a//one",
            "a///two",
            "a/b//three",
            "ab",
            "a/",
            "a/b/..",
        ] {
            let path = at(name);
            let inode = |stat: rustix::io::Result<Stat>| stat.map(|s| s.st_ino);
            let plain = |flags| inode(statat(CWD, &path, flags));
            assert_eq!(inode(near.stat(&path)), plain(AtFlags::empty()), "{name}");
            let itself = plain(AtFlags::SYMLINK_NOFOLLOW);
            assert_eq!(inode(near.lstat(&path)), itself, "{name}");
        }
    }
}
