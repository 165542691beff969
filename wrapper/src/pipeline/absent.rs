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
use rustix::fs::{FileType, stat, statfs};
use rustix::io::Errno;
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Lists of names that are remembered; beyond it all are forgotten.
const LISTS_MAX: usize = 2_000;

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
        let begun = now_nanos();
        let mut look = Look::default();
        let absent = |name: &String| {
            let path = roots.locate(name);
            path.is_some_and(|path| look.is_absent(&path, near))
        };
        if !names.iter().all(absent) {
            return false;
        }
        if let Some(directories) = look.told(begun) {
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
    for (placeholder, path) in roots.rewrites() {
        bytes.extend([&placeholder[..], b"\0", &path, b"\0"].concat());
    }
    for name in names {
        bytes.push(0);
        bytes.extend_from_slice(name.as_bytes());
    }
    Digest::of(&bytes)
}

/// A directory's state; `None` where no path leads to one.
fn state(dir: &Path) -> Option<Identity> {
    let found = stat(dir).ok()?;
    let is_directory = FileType::from_raw_mode(found.st_mode).is_dir();
    is_directory.then(|| Identity::of_stat(&found))
}

/// Where a path leads.
#[derive(Clone)]
enum Found {
    /// To a directory.
    Directory(Identity),
    /// Nowhere: this directory has nothing under the next name.
    Nowhere(PathBuf, Identity),
    /// To something else, or to what cannot be told.
    Other,
}

/// One look at all names of a list.
#[derive(Default)]
struct Look {
    found: HashMap<PathBuf, Found>,
    telling: Directories,
    untold: bool,
}

impl Look {
    fn is_absent(&mut self, path: &Path, near: &mut Nearby) -> bool {
        let parent = path.parent().unwrap_or(Path::new("/"));
        match self.find(parent, near) {
            Found::Directory(identity) => match near.lstat(path) {
                Err(Errno::NOENT) => drop(self.telling.insert(parent.to_owned(), identity)),
                Err(_) => self.untold = true,
                Ok(_) => return false,
            },
            Found::Nowhere(dir, identity) => drop(self.telling.insert(dir, identity)),
            Found::Other => {
                self.untold = true;
                return near.lstat(path).is_err();
            }
        }
        true
    }

    /// Where a path to a directory leads. A directory's state is taken before anything is looked
    /// for in it.
    fn find(&mut self, path: &Path, near: &mut Nearby) -> Found {
        if let Some(known) = self.found.get(path) {
            return known.clone();
        }
        let found = match (state(path), path.parent()) {
            (Some(identity), _) => Found::Directory(identity),
            (None, None) => Found::Other,
            (None, Some(parent)) => match self.find(parent, near) {
                Found::Directory(identity) if matches!(near.lstat(path), Err(Errno::NOENT)) => {
                    Found::Nowhere(parent.to_owned(), identity)
                }
                Found::Directory(_) | Found::Other => Found::Other,
                nowhere @ Found::Nowhere(..) => nowhere,
            },
        };
        self.found.insert(path.to_owned(), found.clone());
        found
    }

    /// What tells that nothing has come since the look was `begun`; `None` where that would go
    /// unseen.
    fn told(self, begun: i128) -> Option<Directories> {
        let lately = begun - SETTLED.as_nanos().cast_signed();
        let tells = |(dir, was): (&PathBuf, &Identity)| was.newest() < lately && changes(dir);
        (!self.untold && self.telling.iter().all(tells)).then_some(self.telling)
    }
}

/// Whether a directory's time changes with its entries, by this machine's clock. Where the kernel,
/// a program or another machine makes up what lies there, it need not.
#[cfg(target_os = "linux")]
fn changes(dir: &Path) -> bool {
    // From linux/magic.h: ext2 to ext4, btrfs, XFS, tmpfs, overlayfs, F2FS, bcachefs; and ZFS.
    const KNOWN: [i64; 8] = [
        0xEF53,
        0x9123_683E,
        0x5846_5342,
        0x0102_1994,
        0x794C_7630,
        0xF2F5_2010,
        0xCA45_1A4E,
        0x2FC1_2FC1,
    ];
    #[expect(
        clippy::unnecessary_cast,
        reason = "the type differs between architectures"
    )]
    statfs(dir).is_ok_and(|s| KNOWN.contains(&(s.f_type as i64 & 0xFFFF_FFFF)))
}

/// Elsewhere no filesystem is known to do so yet.
#[cfg(not(target_os = "linux"))]
fn changes(_dir: &Path) -> bool {
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
