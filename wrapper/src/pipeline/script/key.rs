//! The key of a run: what its names mean here and now.
//!
//! Enters: the names of files, trees, directories and variables, from a prediction or from what
//! was just observed. Leaves: a description. Must never happen here: a name of a peer's that leads
//! anywhere but below the roots and the system's own directories.

use super::programs::Programs;
use crate::action::{
    Description, FileInput, Known, Look, Looked, MAX_VARIABLES, Prediction, Sight, Value, Variable,
};
use crate::compiler::KEYED_VARIABLES;
use crate::digests::{FileDigests, Identity};
use crate::invocation::Invocation;
use crate::paths::{Named, RootKind, Roots, real_path};
use crate::pipeline::find::{is_public, value};
use crate::pipeline::{Pipeline, Tier, observed};
use quarry_trust::Digest;
use quarry_trust::digest::Hasher;
use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Stands before the reason for which a run stays with this node, among its variables: no
/// variable has an equals sign in its name.
pub(super) const ALONE: &str = "=alone ";
/// Stands among the variables for where all roots lie: a run whose files hold such a path.
pub(super) const ROOTS: &str = "=roots";
/// Stands among the variables for all of the environment: a run that read it whole.
pub(super) const ENVIRONMENT: &str = "=environment";
/// Before the name of a program that was to be started and is nowhere in PATH.
pub(super) const NOWHERE: &str = "=nowhere ";
/// Variables beside those that cargo tells which name a root by what they are for (rustup puts the
/// cargo home's programs in front of PATH): in a run that stays with its node as much is made of
/// them as of `OUT_DIR` and `CARGO_MANIFEST_DIR`.
const NAMING_ROOTS: [&str; 3] = ["CARGO_HOME", "CARGO_TARGET_DIR", "PATH"];
/// By which make hears what it was told, and which jobserver to ask.
const OF_MAKE: [&str; 2] = ["MAKEFLAGS", "MFLAGS"];
/// What a variable that leads to qwrap says, wherever that lies.
const OUR_WRAPPER: &str = "=qwrap";
/// Before the name of a directory among the files: all that lies below it.
const TREE: &str = "=tree ";
/// The same for a package: without the packages below it.
const PACKAGE: &str = "=package ";
/// Files of one tree, and their bytes; of all that a peer's prediction names together.
const FILES_MAX: usize = 20_000;
const BYTES_MAX: u64 = 1 << 30;
/// Directories of the system's own, which nobody writes while building.
const SYSTEM: [&str; 6] = ["/usr", "/lib", "/lib32", "/lib64", "/bin", "/sbin"];

/// A directory that counts with all that is in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Extent {
    /// As declared.
    Tree,
    /// A package, by cargo's rule for scripts that declare nothing.
    Package,
}

impl Extent {
    const fn prefix(self) -> &'static str {
        match self {
            Self::Tree => TREE,
            Self::Package => PACKAGE,
        }
    }

    /// What a name among the files means.
    fn of(name: &str) -> Option<(Self, &str)> {
        let tree = name.strip_prefix(TREE).map(|rest| (Self::Tree, rest));
        tree.or_else(|| Some((Self::Package, name.strip_prefix(PACKAGE)?)))
    }

    /// The name of a directory of this extent.
    pub(super) fn name(self, directory: &str) -> String {
        format!("{}{directory}", self.prefix())
    }
}

/// What cargo tells a script, whatever else it reads.
fn is_told(name: &str) -> bool {
    const TOLD: [&str; 17] = [
        "CARGO",
        "CARGO_ENCODED_RUSTFLAGS",
        "CARGO_MANIFEST_DIR",
        "CARGO_MANIFEST_LINKS",
        "CARGO_MANIFEST_PATH",
        "DEBUG",
        "HOST",
        "LD_LIBRARY_PATH",
        "OPT_LEVEL",
        "OUT_DIR",
        "PROFILE",
        "RUSTC",
        "RUSTC_LINKER",
        "RUSTC_WORKSPACE_WRAPPER",
        "RUSTDOC",
        "RUSTFLAGS",
        "TARGET",
    ];
    const BEGINNINGS: [&str; 4] = ["CARGO_CFG_", "CARGO_FEATURE_", "CARGO_PKG_", "DEP_"];
    TOLD.contains(&name) || BEGINNINGS.iter().any(|b| name.starts_with(b))
}

/// What make was told, without the words that tell how much may be done at once: who starts cargo
/// from make gives it another jobserver each time.
fn told_make(said: &OsStr) -> Vec<u8> {
    let of_jobs = |word: &[u8]| word.starts_with(b"-j") || word.starts_with(b"--jobserver");
    let words = said.as_bytes().split(u8::is_ascii_whitespace);
    let kept: Vec<&[u8]> = words.filter(|w| !w.is_empty() && !of_jobs(w)).collect();
    kept.join(&b' ')
}

/// Whether a variable could decide what is built: not which terminal, session or cargo asks.
fn counts(name: &str) -> bool {
    const NAMES: [&str; 40] = [
        "COLORTERM",
        "COLUMNS",
        "DESKTOP_AUTOSTART_ID",
        "DESKTOP_SESSION",
        "DESKTOP_STARTUP_ID",
        "DISPLAY",
        "GNOME_DESKTOP_SESSION_ID",
        "GNOME_SETUP_DISPLAY",
        "GNOME_SHELL_SESSION_MODE",
        "GPG_AGENT_INFO",
        "GPG_TTY",
        "INVOCATION_ID",
        "JOURNAL_STREAM",
        "KDE_FULL_SESSION",
        "LINES",
        "LS_COLORS",
        "OLDPWD",
        "PWD",
        "RUSTC_WRAPPER",
        "SHLVL",
        "SSH_AGENT_PID",
        "SSH_AUTH_SOCK",
        "SSH_CLIENT",
        "SSH_CONNECTION",
        "SSH_TTY",
        "STY",
        "TERM",
        "TERMINAL_EMULATOR",
        "TMUX",
        "TMUX_PANE",
        "VTE_VERSION",
        "WAYLAND_DISPLAY",
        "WINDOWID",
        "XAUTHORITY",
        "XDG_ACTIVATION_TOKEN",
        "XDG_CURRENT_DESKTOP",
        "XDG_MENU_PREFIX",
        "XDG_RUNTIME_DIR",
        "XDG_VTNR",
        "_",
    ];
    const BEGINNINGS: [&str; 9] = [
        "DBUS_SESSION_BUS_",
        "DBUS_STARTER_",
        "GNOME_KEYRING_",
        "GNOME_TERMINAL_",
        "KDE_SESSION_",
        "QUARRY",
        "TERM_",
        "XDG_SEAT",
        "XDG_SESSION_",
    ];
    let passed_over = super::seen::PASSED_OVER.contains(&name) || NAMES.contains(&name);
    !passed_over && !BEGINNINGS.iter().any(|b| name.starts_with(b))
}

/// What turns names into a description.
pub(super) struct Keying<'a> {
    pub pipeline: &'a Pipeline,
    pub inv: &'a Invocation,
    pub roots: &'a Roots,
    pub known: &'a Known,
    pub programs: Programs<'a>,
    /// Under which values of variables are digested.
    pub secret: [u8; 32],
}

/// What was looked at so far.
#[derive(Debug, Default)]
pub(super) struct Spent {
    files: usize,
    bytes: u64,
}

impl Spent {
    /// Counts one more; `None` where that is more than may be.
    fn file(&mut self) -> Option<()> {
        self.files += 1;
        (self.files <= FILES_MAX).then_some(())
    }

    fn bytes(&mut self, more: u64) -> Option<()> {
        self.bytes = self.bytes.saturating_add(more);
        (self.bytes <= BYTES_MAX).then_some(())
    }
}

/// A tree's content, and the newest change in it, nanoseconds since 1970.
pub(super) struct Grown {
    pub digest: Digest,
    pub newest: i128,
}

impl Keying<'_> {
    /// A description of this run with these inputs.
    pub(super) fn with(
        &self,
        files: BTreeMap<String, Option<Digest>>,
        looked: Vec<Looked>,
        variables: Vec<Variable>,
    ) -> Description {
        let files = files.into_iter();
        Description {
            known: self.known.clone(),
            externs: Vec::new(),
            macros: Vec::new(),
            native: Vec::new(),
            link: Vec::new(),
            files: files
                .map(|(name, digest)| FileInput { name, digest })
                .collect(),
            looked,
            variables,
            ran: Vec::new(),
        }
    }

    /// Digests what a prediction names; `None` where things are not as it says.
    pub(super) fn describe(&self, prediction: &Prediction, tier: Tier) -> Option<Description> {
        let named = prediction.files.len() + prediction.absent.len() + prediction.looks.len();
        if tier == Tier::Peers && named > FILES_MAX {
            return None;
        }
        let mut files = BTreeMap::new();
        let mut spent = Spent::default();
        for name in &prediction.files {
            if tier == Tier::Local {
                // We wrote it ourselves: each tree was within bounds.
                spent = Spent::default();
            }
            let digest = match Extent::of(name) {
                Some((extent, directory)) => {
                    let directory = self.locate(directory, tier)?;
                    self.grown(&directory, extent, &mut spent)?.digest
                }
                None => {
                    let path = self.locate(name, tier)?;
                    if tier == Tier::Peers {
                        let file = fs::metadata(&path).ok().filter(fs::Metadata::is_file)?;
                        spent.file()?;
                        spent.bytes(file.len())?;
                    }
                    self.pipeline.digests.digest(&path).ok()?
                }
            };
            files.insert(name.clone(), Some(digest));
        }
        for name in &prediction.absent {
            if self.locate(name, tier)?.symlink_metadata().is_ok() {
                return None;
            }
            files.insert(name.clone(), None);
        }
        let locate = |name: &str| self.locate(name, tier);
        let sight = |path: &Path, look| self.sight(path, look);
        let looked = observed::predicted(&prediction.looks, tier, locate, sight)?;
        let read = prediction.variables.iter().map(|(name, _)| name.as_str());
        Some(self.with(files, looked, self.variables(read)?))
    }

    /// What is to be seen at a path; `None` where that is nothing of its kind.
    pub(super) fn sight(&self, path: &Path, look: Look) -> Option<Sight> {
        if look != Look::Link {
            return observed::sight(path, look);
        }
        let to = fs::read_link(path).ok()?;
        let to = self.roots.normalise(to.as_os_str().as_bytes());
        Some(Sight::Link(Digest::of(&to)))
    }

    /// What a name means here. A peer's may lead below the roots and into the system's own
    /// directories.
    pub(super) fn locate(&self, name: &str, tier: Tier) -> Option<PathBuf> {
        match tier {
            Tier::Local => self.roots.locate(name),
            Tier::Peers => self.roots.locate_shared(name).or_else(|| {
                let path = self.roots.locate(name).filter(|p| *p == Path::new(name))?;
                let of_system = |path: &Path| SYSTEM.iter().any(|dir| path.starts_with(dir));
                (of_system(&path) && of_system(&real_path(&path)?)).then_some(path)
            }),
        }
    }

    /// Whether a path lies where things are built.
    pub(super) fn is_built(&self, path: &Path) -> bool {
        matches!(self.roots.name(path), Named::Rooted(RootKind::Target, _))
    }

    /// The variables of a key: what cargo tells, what was read, and what always counts. `None`
    /// where there are too many.
    pub(super) fn variables<'s>(
        &'s self,
        read: impl Iterator<Item = &'s str>,
    ) -> Option<Vec<Variable>> {
        let mut all: BTreeMap<&str, Value> = BTreeMap::new();
        let told = self.inv.env.iter().filter_map(|(name, _)| name.to_str());
        let told = told.filter(|name| is_told(name));
        let read: Vec<&str> = read.collect();
        let alone = read.iter().any(|name| name.starts_with(ALONE));
        for name in told.chain(KEYED_VARIABLES.iter().copied()).chain(read) {
            all.entry(name).or_insert_with(|| self.value(name, alone));
        }
        if all.len() > MAX_VARIABLES {
            return None;
        }
        let all = all.into_iter().map(|(name, value)| Variable {
            name: name.to_owned(),
            value,
        });
        Some(all.collect())
    }

    /// All variables but those that cargo tells, which stand for themselves, and those that tell of
    /// a terminal or a session; some with placeholders, and a mark where one stands.
    fn environment(&self) -> Value {
        let mut all: Vec<_> = self
            .inv
            .env
            .iter()
            .filter(|(name, _)| {
                name.to_str()
                    .is_none_or(|name| !is_told(name) && counts(name))
            })
            .collect();
        all.sort();
        let mut text = Vec::new();
        for (name, value) in all {
            let of_make = OF_MAKE.iter().any(|n| *name == *n);
            let told = of_make.then(|| OsString::from_vec(told_make(value)));
            let value = told.as_ref().unwrap_or(value);
            if of_make && value.is_empty() {
                continue;
            }
            text.extend_from_slice(name.as_bytes());
            text.push(b'=');
            let named = NAMING_ROOTS.iter().any(|n| *name == *n);
            match named.then(|| self.normal(value)).flatten() {
                // No variable's text is empty, and none has a null in it.
                Some(normal) => text.extend([b"\0\0", normal.as_slice()].concat()),
                None => text.extend_from_slice(value.as_bytes()),
            }
            text.push(0);
        }
        Value::Keyed(Digest::keyed(&self.secret, &text))
    }

    /// What a variable says, in a run that is kept `alone` or may be anybody's.
    fn value(&self, name: &str, alone: bool) -> Value {
        if name.starts_with(ALONE) {
            return Value::Public(String::new());
        }
        if name == ROOTS {
            let all: Vec<String> = self.roots.dirs().map(|d| d.display().to_string()).collect();
            return Value::Public(all.join("\n"));
        }
        if name == ENVIRONMENT {
            return self.environment();
        }
        if let Some(program) = name.strip_prefix(NOWHERE) {
            return match self.programs.is_nowhere(program) {
                true => Value::Unset,
                false => Value::Public("=somewhere".to_owned()),
            };
        }
        if let Some(value) = self.programs.pwd().value(name) {
            return value;
        }
        if OF_MAKE.contains(&name) {
            let told = self.inv.var(name).map(told_make).unwrap_or_default();
            return match told.is_empty() {
                true => Value::Unset,
                false => Value::Keyed(Digest::keyed(&self.secret, &told)),
            };
        }
        if self.programs.leads_to_wrapper(name) {
            return Value::Public(OUR_WRAPPER.to_owned());
        }
        let symbolic = is_told(name) || (alone && NAMING_ROOTS.contains(&name));
        let raw = self.inv.var(name).filter(|_| symbolic);
        let normal = raw.and_then(|raw| String::from_utf8(self.normal(raw)?).ok());
        match normal {
            Some(normal) if is_public(name) => Value::Symbolic(normal),
            Some(normal) => {
                let said = [name.as_bytes(), b"~", normal.as_bytes()].concat();
                Value::Keyed(Digest::keyed(&self.secret, &said))
            }
            None => value(
                self.inv,
                self.roots,
                name,
                crate::action::Use::Literal,
                &self.secret,
            ),
        }
    }

    /// A text with placeholders, where that is another. What looks like one already is not taken
    /// for one.
    fn normal(&self, text: &OsStr) -> Option<Vec<u8>> {
        const PLACEHOLDER: &[u8] = b"/quarry/";
        let text = text.as_bytes();
        let has_one = text.windows(PLACEHOLDER.len()).any(|w| w == PLACEHOLDER);
        let normal = self.roots.normalise(text);
        (normal != text && !has_one).then_some(normal)
    }

    /// All that lies in a directory, by name, kind and content, without what is built, git's
    /// metadata and, for a package, the packages below it. `None` where it is not to be read, or
    /// too large.
    pub(super) fn grown(
        &self,
        directory: &Path,
        extent: Extent,
        spent: &mut Spent,
    ) -> Option<Grown> {
        let mut growing = Growing {
            digests: self.pipeline.digests.as_ref(),
            target: inode(&fs::metadata(self.roots.root(RootKind::Target)?).ok()?),
            extent,
            hasher: Hasher::new(),
            newest: 0,
            spent,
        };
        growing.directory(directory, Path::new(""))?;
        Some(Grown {
            digest: growing.hasher.finish(),
            newest: growing.newest,
        })
    }
}

pub(super) fn inode(m: &fs::Metadata) -> (u64, u64) {
    (m.dev(), m.ino())
}

struct Growing<'a> {
    digests: &'a dyn FileDigests,
    /// The target directory, by whatever path it is met.
    target: (u64, u64),
    extent: Extent,
    hasher: Hasher,
    newest: i128,
    spent: &'a mut Spent,
}

impl Growing<'_> {
    fn directory(&mut self, dir: &Path, below: &Path) -> Option<()> {
        let identity = Identity::of(&fs::metadata(dir).ok()?);
        // Moved to this place, only ctime says so.
        self.newest = self.newest.max(identity.newest());
        let mut names = Vec::new();
        for entry in fs::read_dir(dir).ok()? {
            names.push(entry.ok()?.file_name());
            if self.spent.files + names.len() > FILES_MAX {
                return None;
            }
        }
        names.sort();
        for name in names {
            let (path, below) = (dir.join(&name), below.join(&name));
            let m = fs::symlink_metadata(&path).ok()?;
            if name == ".git" || inode(&m) == self.target {
                continue;
            }
            self.spent.file()?;
            if m.is_dir() {
                if self.extent == Extent::Package && path.join("Cargo.toml").is_file() {
                    continue;
                }
                self.entry(b'd', &below, &[]);
                self.directory(&path, &below)?;
                continue;
            }
            self.newest = self.newest.max(Identity::of(&m).newest());
            if m.is_symlink() {
                let target = fs::read_link(&path).ok()?;
                self.entry(b'l', &below, target.as_os_str().as_bytes());
            }
            // Also what a link leads to; a directory behind one counts by the link's text alone.
            match fs::metadata(&path) {
                Ok(behind) if behind.is_file() => {
                    self.spent.bytes(behind.len())?;
                    self.newest = self.newest.max(Identity::of(&behind).newest());
                    let digest = self.digests.digest(&path).ok()?;
                    self.entry(b'f', &below, digest.as_bytes());
                }
                Ok(behind) if behind.is_dir() => {}
                Err(_) if m.is_symlink() => {}
                _ => self.entry(b'o', &below, &[]),
            }
        }
        Some(())
    }

    fn entry(&mut self, kind: u8, below: &Path, rest: &[u8]) {
        let name = below.as_os_str().as_bytes();
        self.hasher.update(&[kind]);
        for part in [name, rest] {
            self.hasher.update(&(part.len() as u64).to_le_bytes());
            self.hasher.update(part);
        }
    }
}

#[cfg(test)]
#[path = "key_tests.rs"]
mod tests;
