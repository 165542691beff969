//! What a repository says about itself: `quarry.toml` at the root of the workspace or above it.
//!
//! Enters: an invocation, by which the root and other places that it belongs to are found, and
//! the files there. Leaves: their rules of belief, which may only narrow, and the scope that its
//! entries belong to. A file counts as it is when a compile begins; what was read is kept by the
//! file's identity, so that a hit costs one `stat` for each directory on the way up. Must never
//! happen here: a root that a peer named; a file that cannot be read, or says what nobody knows,
//! taken for one that says nothing.

use crate::rules::{self, Trust};
use quarry_trust::roster::check_name;
use quarry_wrapper::digests::{Identity, now_nanos, open_regular};
use quarry_wrapper::invocation::Invocation;
use quarry_wrapper::paths::{cargo_home, target_root};
use serde::Deserialize;
use std::collections::{BTreeSet, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, Metadata};
use std::hash::Hash;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// The file's name.
pub const FILE: &str = "quarry.toml";
/// Size of the file, bytes: 64 builders with the longest names fit many times over.
const MAX_FILE: u64 = 64 * 1024;
/// Roots and target directories that are remembered: more than anybody builds between restarts.
const REMEMBERED: usize = 1024;
/// Directories above one that are looked at for a lock file.
const ABOVE: usize = 64;
/// A file that was stamped so lately, nanoseconds, is read again the next time: it may change once
/// more without another stamp. Two seconds are the coarsest stamps there are (FAT's).
const SETTLED: i128 = 2_000_000_000;

/// What a repository's file says; nothing where there is none.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Project {
    /// Rules that hold besides the node's own.
    pub trust: Option<Trust>,
    /// The scope of what is compiled here: a project that is closed to some members.
    pub scope: Option<String>,
}

/// Why a repository's file is not understood. Its workspace then uses this node's own entries
/// alone.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProjectError {
    /// It cannot be read.
    #[error("cannot read {0} ({1}), so nothing of teammates is used there: mend its permissions")]
    Read(PathBuf, io::ErrorKind),
    /// It is over 64 KiB.
    #[error("{0} is larger than 64 KiB, so nothing of teammates is used there: cut it down")]
    Large(PathBuf),
    /// It does not say what it should.
    #[error("{path}, line {line}: {what}; so nothing of teammates is used there")]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

/// The places that a command belongs to, and what their files say.
#[derive(Debug, Clone, Default)]
pub struct Here {
    /// The workspace's root; `None` where the command does not tell.
    pub root: Option<PathBuf>,
    /// Where else it belongs to: its own directory, its package's, where cargo was started.
    pub places: Vec<PathBuf>,
    /// What holds there: the files of those directories and of all above them, with their paths.
    pub files: Vec<(PathBuf, Said)>,
    /// The scopes that are named, for each place by the nearest file that names one.
    pub scopes: BTreeSet<String>,
}

/// The file as written.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    trust: Option<rules::Written>,
    scope: Option<toml::Spanned<String>>,
}

/// What a file says, or why it is not understood.
pub type Said = Arc<Result<Project, ProjectError>>;

/// Reads projects, and remembers what it read.
#[derive(Default)]
pub struct Projects {
    files: Mutex<HashMap<PathBuf, (Identity, Said)>>,
    /// Target directory, and where cargo was started → root of the workspace that is built there.
    targets: Mutex<HashMap<(PathBuf, OsString), PathBuf>>,
}

impl Projects {
    /// Where a compile, or a build script's run, belongs. Not only the workspace counts: what
    /// cargo unpacks, generates or finds by a path may be a workspace of its own, and is compiled
    /// for whoever started it all the same.
    #[must_use]
    pub fn of(&self, inv: &Invocation, script: bool) -> Here {
        let cargo = cargo_home(inv);
        // A published package's own file binds nobody.
        let fetched = |dir: &Path| cargo.as_ref().is_some_and(|home| dir.starts_with(home));
        let told = ["CARGO_MANIFEST_DIR", "PWD"].map(|name| inv.nonempty_var(name));
        let places = told.into_iter().flatten().map(PathBuf::from);
        let places = places
            .chain(inv.started.iter().cloned())
            .chain([inv.cwd.clone()]);
        let places = places.filter(|dir| dir.is_absolute() && !fetched(dir));
        self.around(self.root(inv, script), places.collect())
    }

    /// What holds in directories and a workspace's root.
    #[must_use]
    pub fn around(&self, root: Option<PathBuf>, mut places: Vec<PathBuf>) -> Here {
        places.sort();
        places.dedup();
        let (mut files, mut scopes) = (Vec::new(), BTreeSet::new());
        let mut seen: Vec<(&Path, Option<Said>)> = Vec::new();
        for place in root.iter().chain(&places) {
            let mut scope = None;
            for dir in place.ancestors().take(ABOVE) {
                let known = seen.iter().position(|(met, _)| *met == dir);
                let at = known.unwrap_or_else(|| {
                    let said = self.read(dir);
                    files.extend(said.clone().map(|said| (dir.join(FILE), said)));
                    seen.push((dir, said));
                    seen.len() - 1
                });
                let named = || seen[at].1.as_ref()?.as_ref().as_ref().ok()?.scope.clone();
                scope = scope.or_else(named);
            }
            scopes.extend(scope);
        }
        Here {
            files,
            scopes,
            root,
            places,
        }
    }

    /// What the file in a directory says now; `None` where there is none.
    #[must_use]
    pub fn read(&self, dir: &Path) -> Option<Said> {
        let path = dir.join(FILE);
        // A link to nothing is no absence: what it named may be back tomorrow.
        match path.symlink_metadata() {
            Err(e) if is_absent(e.kind()) => return None,
            _ => {}
        }
        Some(self.read_there(path))
    }

    fn read_there(&self, path: PathBuf) -> Said {
        let identity = match fs::metadata(&path).as_ref().map(Identity::of) {
            Ok(identity) => identity,
            Err(e) => return Arc::new(Err(ProjectError::Read(path, e.kind()))),
        };
        let known = locked(&self.files).get(&path).cloned();
        if let Some((at, said)) = known
            && at == identity
        {
            return said;
        }
        let (read, said) = match read_file(&path) {
            Ok((metadata, text)) => (Some(metadata), parse(&path, &text)),
            Err(e) => (None, Err(e)),
        };
        let said = Arc::new(said);
        let read = read.as_ref().map(Identity::of);
        if let Some(read) = read.filter(|i| i.newest() + SETTLED < now_nanos()) {
            remember(&self.files, path, (read, said.clone()));
        }
        said
    }

    /// The root of the workspace. Cargo compiles a member from there, by a relative source;
    /// everything else from the package's own directory, and then the target directory tells:
    /// what was built there before, or that it lies in the root. Else the lock file nearest above
    /// where cargo was started does.
    fn root(&self, inv: &Invocation, script: bool) -> Option<PathBuf> {
        let target = target_of(inv, script);
        // Several workspaces may share a target directory.
        let started = match inv.started.last() {
            Some(dir) => dir.as_os_str(),
            None => inv.var("PWD").unwrap_or_default(),
        };
        let target = target.map(|target| (target, started.to_owned()));
        let sources = inv.argv.iter().skip(1).map(Path::new);
        let mut sources = sources.filter(|arg| arg.extension() == Some(OsStr::new("rs")));
        if !script && sources.next().is_some_and(Path::is_relative) {
            if let Some(target) = target {
                remember(&self.targets, target, inv.cwd.clone());
            }
            return Some(inv.cwd.clone());
        }
        let known = target
            .as_ref()
            .and_then(|t| locked(&self.targets).get(t).cloned());
        if known.is_some() {
            return known;
        }
        let cargo = cargo_home(inv);
        let fetched = cargo.is_some_and(|home| inv.cwd.starts_with(home));
        let own = (script && !fetched)
            .then(|| locked_above(&inv.cwd))
            .flatten();
        let beside = || {
            let above = target.as_ref()?.0.parent()?;
            let marks = ["Cargo.lock", "Cargo.toml"];
            let is_root = marks.iter().any(|mark| above.join(mark).is_file());
            is_root.then(|| above.to_owned())
        };
        let started = inv.started.iter().rev().map(PathBuf::as_path);
        let mut started = started.chain(inv.nonempty_var("PWD").map(Path::new));
        let found = own
            .or_else(beside)
            .or_else(|| started.find_map(locked_above))?;
        if let Some(target) = target {
            remember(&self.targets, target, found.clone());
        }
        Some(found)
    }
}

/// The root of the workspace around a directory, for people who ask about it.
#[must_use]
pub fn root_around(dir: &Path) -> PathBuf {
    let mut above = dir.ancestors().take(ABOVE);
    let with_file = above.find(|dir| dir.join(FILE).symlink_metadata().is_ok());
    let root = with_file.map(Path::to_owned).or_else(|| locked_above(dir));
    root.unwrap_or_else(|| dir.to_owned())
}

/// The nearest directory with a lock file, this one or one above it.
pub(crate) fn locked_above(dir: &Path) -> Option<PathBuf> {
    let mut above = dir.ancestors().take(ABOVE);
    let root = above.find(|dir| dir.join("Cargo.lock").is_file());
    root.filter(|root| root.is_absolute()).map(Path::to_owned)
}

fn target_of(inv: &Invocation, script: bool) -> Option<PathBuf> {
    if script {
        let out = inv.absolute(Path::new(inv.nonempty_var("OUT_DIR")?));
        let triple = inv.var("TARGET").and_then(OsStr::to_str);
        return target_root(out.parent()?, triple);
    }
    let after = |name: &str| {
        let at = inv.argv.iter().position(|arg| arg == name)?;
        inv.argv.get(at + 1)
    };
    let triple = after("--target").and_then(|t| t.to_str());
    target_root(&inv.absolute(Path::new(after("--out-dir")?)), triple)
}

fn is_absent(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

fn read_file(path: &Path) -> Result<(Metadata, String), ProjectError> {
    let failed = |e: io::Error| ProjectError::Read(path.to_owned(), e.kind());
    let file = open_regular(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    let mut bytes = Vec::new();
    file.take(MAX_FILE + 1)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    if bytes.len() as u64 > MAX_FILE {
        return Err(ProjectError::Large(path.to_owned()));
    }
    let text = String::from_utf8(bytes)
        .map_err(|_| ProjectError::Read(path.to_owned(), io::ErrorKind::InvalidData))?;
    Ok((metadata, text))
}

pub(crate) fn parse(path: &Path, text: &str) -> Result<Project, ProjectError> {
    let wrong = |at: usize, what: String| ProjectError::Wrong {
        path: path.to_owned(),
        line: crate::config::line_of(text, at),
        what,
    };
    let written: Written = toml::from_str(text).map_err(|e| {
        let said = e.message().lines().collect::<Vec<_>>().join(" ");
        wrong(e.span().map_or(0, |s| s.start), said)
    })?;
    let trust = written.trust.map(|trust| {
        Trust::of(trust).map_err(|e| wrong(e.at.start, format!("`trust`: {}", e.what)))
    });
    let scope = written.scope.map(|value| {
        let (at, name) = (value.span().start, value.into_inner());
        let what = "`scope`: give a name of 1 to 64 printable bytes".to_owned();
        check_name(&name).map_err(|_| wrong(at, what))?;
        Ok(name)
    });
    Ok(Project {
        trust: trust.transpose()?,
        scope: scope.transpose()?,
    })
}

fn locked<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Keeps a bounded number: where there are too many, all are found anew.
fn remember<K: Hash + Eq, V>(of: &Mutex<HashMap<K, V>>, key: K, value: V) {
    let mut map = locked(of);
    if map.len() >= REMEMBERED && !map.contains_key(&key) {
        map.clear();
    }
    map.insert(key, value);
}

#[cfg(test)]
#[path = "project_tests.rs"]
mod tests;
