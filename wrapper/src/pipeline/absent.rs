//! Names under which nothing may stand: `m.rs` is read where there is no `m/mod.rs`.
//!
//! They are looked at one by one once. Then the directories are remembered that would not be as
//! they are if anything had come to stand under one of the names, and a look at these is enough:
//! mostly one for all of a crate's. Enters: names, and roots to locate them by. Leaves: whether
//! nothing stands there. Must never happen here: a directory that is remembered where a name can
//! come without its time changing.

use crate::digests::{Identity, SETTLED, now_nanos};
use crate::nearby::Nearby;
use crate::paths::Roots;
use quarry_trust::Digest;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, fstat, open, stat, statat};
use rustix::io::Errno;
use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lists of names that are remembered; beyond it all are forgotten.
const LISTS_MAX: usize = 4_000;
/// Directories that one look holds open.
const OPEN_MAX: usize = 16;

/// Directories, and how each was when nothing stood under the names.
type Directories = HashMap<PathBuf, Identity>;

/// By names and places.
#[derive(Default)]
pub(super) struct Absences(Mutex<HashMap<Digest, Arc<Directories>>>);

impl Absences {
    /// Whether nothing stands under any of these names.
    pub(super) fn hold(&self, names: &[String], roots: &Roots, near: &mut Nearby) -> bool {
        if names.is_empty() {
            return true;
        }
        let key = key(names, roots);
        let known = self.lock().get(&key).cloned();
        if known.is_some_and(|all| all.iter().all(|(dir, was)| state(dir) == Some(*was))) {
            return true;
        }
        let mut look = Look::new();
        let absent = |name: &String| {
            let path = roots.locate(name);
            path.is_some_and(|path| look.is_absent(&path, near))
        };
        if !names.iter().all(absent) {
            return false;
        }
        if let Some(directories) = look.told() {
            let mut lists = self.lock();
            if lists.len() >= LISTS_MAX {
                lists.clear();
            }
            lists.insert(key, Arc::new(directories));
        }
        true
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Arc<Directories>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What decides which paths are meant.
fn key(names: &[String], roots: &Roots) -> Digest {
    let mut bytes = Vec::with_capacity(4096);
    let mut text = |text: &[u8]| {
        bytes.extend_from_slice(&text.len().to_le_bytes());
        bytes.extend_from_slice(text);
    };
    let roots = roots.rewrites();
    text(&roots.len().to_le_bytes());
    for (placeholder, path) in &roots {
        text(placeholder);
        text(path);
    }
    names.iter().for_each(|name| text(name.as_bytes()));
    Digest::of(&bytes)
}

/// A directory's state; `None` where no path leads to one.
fn state(dir: &Path) -> Option<Identity> {
    let found = stat(dir).ok()?;
    let is_directory = FileType::from_raw_mode(found.st_mode).is_dir();
    is_directory.then(|| Identity::of_stat(&found))
}

/// A directory that a look went into, and how it was before.
struct Directory {
    open: OwnedFd,
    was: Identity,
}

impl Directory {
    /// What is no directory, or cannot be entered, gives the system's error.
    fn open(path: &Path) -> rustix::io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = open(path, flags, Mode::empty())?;
        let was = Identity::of_stat(&fstat(&open)?);
        Ok(Self { open, was })
    }

    /// Whether nothing stands in this very directory under a name, not even a link; `None` where
    /// that cannot be told.
    fn lacks(&self, name: Option<&OsStr>) -> Option<bool> {
        match statat(&self.open, name?, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => Some(true),
            Err(_) => None,
            Ok(_) => Some(false),
        }
    }
}

/// One look at all names of a list.
struct Look {
    /// Nanoseconds since 1970.
    begun: i128,
    open: HashMap<PathBuf, Rc<Directory>>,
    telling: Directories,
    /// Whether something may come that none of these tells.
    untold: bool,
}

impl Look {
    fn new() -> Self {
        Self {
            begun: now_nanos(),
            open: HashMap::new(),
            telling: Directories::new(),
            untold: false,
        }
    }

    fn is_absent(&mut self, path: &Path, near: &mut Nearby) -> bool {
        // The first directory on the way back that is there, and what it would hold.
        let mut below = path;
        while let Some(parent) = below.parent() {
            match self.enter(parent) {
                Ok(dir) => match dir.lacks(below.file_name()) {
                    Some(true) => {
                        self.tells(parent, &dir);
                        return true;
                    }
                    Some(false) if below == path => return false,
                    _ => break,
                },
                Err(Errno::NOENT) => below = parent,
                Err(_) => break,
            }
        }
        self.untold = true;
        near.lstat(path).is_err()
    }

    fn enter(&mut self, path: &Path) -> rustix::io::Result<Rc<Directory>> {
        if let Some(dir) = self.open.get(path) {
            return Ok(dir.clone());
        }
        let dir = Rc::new(Directory::open(path)?);
        if self.open.len() >= OPEN_MAX {
            self.open.clear();
        }
        self.open.insert(path.to_owned(), dir.clone());
        Ok(dir)
    }

    fn tells(&mut self, path: &Path, dir: &Directory) {
        if let Some(before) = self.telling.get(path) {
            self.untold |= *before != dir.was;
            return;
        }
        let lately = self.begun - SETTLED.as_nanos().cast_signed();
        self.untold |= dir.was.newest() >= lately || !changes(&dir.open);
        self.telling.insert(path.to_owned(), dir.was);
    }

    /// What tells that nothing has come since; `None` where that could go unseen.
    fn told(self) -> Option<Directories> {
        (!self.untold).then_some(self.telling)
    }
}

/// Whether a directory's time changes with its entries, by this machine's clock. Where the kernel,
/// a program or another machine makes up what lies there, or where several directories show as
/// one, it need not; nor where names become readable with a key.
#[cfg(target_os = "linux")]
fn changes(dir: &OwnedFd) -> bool {
    use rustix::fs::{StatxAttributes, StatxFlags, fstatfs, statx};
    // From linux/magic.h: ext2 to ext4, btrfs, XFS, tmpfs, F2FS, bcachefs; and ZFS.
    const KNOWN: [i64; 7] = [
        0xEF53,
        0x9123_683E,
        0x5846_5342,
        0x0102_1994,
        0xF2F5_2010,
        0xCA45_1A4E,
        0x2FC1_2FC1,
    ];
    #[expect(
        clippy::unnecessary_cast,
        reason = "the type differs between architectures"
    )]
    let known = fstatfs(dir).is_ok_and(|s| KNOWN.contains(&(s.f_type as i64 & 0xFFFF_FFFF)));
    let said = statx(dir, c"", AtFlags::EMPTY_PATH, StatxFlags::TYPE);
    known && said.is_ok_and(|s| !s.stx_attributes.contains(StatxAttributes::ENCRYPTED))
}

/// Elsewhere no filesystem is known to do so yet.
#[cfg(not(target_os = "linux"))]
fn changes(_dir: &OwnedFd) -> bool {
    false
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    struct Names {
        dir: tempfile::TempDir,
        absences: Absences,
        roots: Roots,
    }

    impl Names {
        fn new() -> Self {
            Self {
                dir: tempfile::tempdir().unwrap(),
                absences: Absences::default(),
                roots: Roots::none(),
            }
        }

        fn at(&self, name: &str) -> PathBuf {
            self.dir.path().join(name)
        }

        fn hold(&self, names: &[&str]) -> bool {
            let text = |name: &&str| self.at(name).to_str().unwrap().to_owned();
            let names: Vec<String> = names.iter().map(text).collect();
            let mut near = Nearby::default();
            self.absences.hold(&names, &self.roots, &mut near)
        }

        fn remembered(&self) -> usize {
            self.absences.lock().len()
        }
    }

    /// Asked once there is nothing to wait for any more, twice, and once more after a change.
    fn noticed(before: &[&str], names: &[&str], remembered: usize, change: impl Fn(&Names)) {
        let all = Names::new();
        for dir in before {
            fs::create_dir_all(all.at(dir)).unwrap();
        }
        std::thread::sleep(SETTLED * 2);
        assert!(all.hold(names));
        assert!(all.hold(names));
        assert_eq!(all.remembered(), remembered, "{names:?}");
        change(&all);
        assert!(!all.hold(names), "{names:?}");
    }

    #[test]
    fn what_comes_to_stand_under_a_name_shows_at_once() {
        let write = |all: &Names, name: &str| fs::write(all.at(name), "").unwrap();
        noticed(&["d"], &["d/a", "d/b"], 1, |all| write(all, "d/b"));
        noticed(&["d"], &["d/a/mod.rs", "d/b/mod.rs"], 1, |all| {
            fs::create_dir(all.at("d/b")).unwrap();
            write(all, "d/b/mod.rs");
        });
        noticed(&["d"], &["d/a/b/c/d"], 1, |all| {
            fs::create_dir_all(all.at("d/a/b/c/d")).unwrap();
        });
        noticed(&["d", "e/a"], &["d/a/b"], 1, |all| {
            write(all, "e/a/b");
            fs::rename(all.at("e/a"), all.at("d/a")).unwrap();
        });
        noticed(&["d", "e"], &["d/a"], 1, |all| {
            write(all, "e/a");
            fs::rename(all.at("d"), all.at("f")).unwrap();
            fs::rename(all.at("e"), all.at("d")).unwrap();
        });
        noticed(&["d"], &["d/a"], 1, |all| {
            symlink("nowhere", all.at("d/a")).unwrap();
        });
    }

    #[test]
    fn what_a_link_leads_to_tells_nothing_of_where_it_may_lead() {
        let all = Names::new();
        fs::create_dir(all.at("d")).unwrap();
        symlink("nowhere", all.at("d/a")).unwrap();
        fs::write(all.at("file"), "").unwrap();
        std::thread::sleep(SETTLED * 2);
        for names in [["d/a/b"], ["file/b"]] {
            assert!(all.hold(&names));
        }
        assert_eq!(all.remembered(), 0);
        fs::create_dir(all.at("d/nowhere")).unwrap();
        fs::write(all.at("d/nowhere/b"), "").unwrap();
        assert!(!all.hold(&["d/a/b"]));
    }

    #[test]
    fn a_link_that_is_turned_to_another_directory_is_followed() {
        let all = Names::new();
        for dir in ["one", "two"] {
            fs::create_dir(all.at(dir)).unwrap();
        }
        fs::write(all.at("two/a"), "").unwrap();
        symlink("one", all.at("d")).unwrap();
        std::thread::sleep(SETTLED * 2);
        assert!(all.hold(&["d/a"]));
        assert_eq!(all.remembered(), 1);
        fs::remove_file(all.at("d")).unwrap();
        symlink("two", all.at("d")).unwrap();
        assert!(!all.hold(&["d/a"]));
    }

    /// Whoever looks while directories change places remembers what each of them lacks, not what
    /// the path leads to in the end.
    #[test]
    fn what_one_directory_lacks_is_not_said_of_the_next_under_its_name() {
        let all = Names::new();
        for dir in ["d", "e"] {
            fs::create_dir(all.at(dir)).unwrap();
        }
        fs::write(all.at("d/one"), "").unwrap();
        fs::write(all.at("d/two"), "").unwrap();
        fs::write(all.at("e/a"), "").unwrap();
        std::thread::sleep(SETTLED * 2);
        let path = |name: &str| all.at(name);
        let mut near = Nearby::default();
        // As after other files of that directory were looked at.
        assert!(near.stat(&path("d/one")).is_ok() && near.stat(&path("d/two")).is_ok());
        fs::rename(path("d"), path("f")).unwrap();
        fs::rename(path("e"), path("d")).unwrap();
        let names = [path("d/a").to_str().unwrap().to_owned()];
        assert!(!all.absences.hold(&names, &all.roots, &mut near));
        assert!(!all.hold(&["d/a"]));
    }

    #[test]
    fn a_directory_that_changed_lately_is_not_remembered() {
        let all = Names::new();
        assert!(all.hold(&["a"]));
        assert_eq!(all.remembered(), 0);
    }

    #[test]
    fn what_the_kernel_makes_up_is_not_remembered() {
        let absences = Absences::default();
        let names = ["/proc/nobody/nothing".to_owned()];
        let mut near = Nearby::default();
        assert!(absences.hold(&names, &Roots::none(), &mut near));
        assert_eq!(absences.lock().len(), 0);
    }
}
