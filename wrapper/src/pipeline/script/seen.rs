//! What a build script, and every program that it started, was seen to do.
//!
//! Enters: the observer's log. Leaves: names to digest, and what keeps the run with this node;
//! or the reason why it cannot be kept at all. Must never happen here: a program that nobody
//! observed passed over, a change outside OUT_DIR passed over.

use super::Facts;
use super::key::NOWHERE;
use super::programs::{Programs, WRAPPERS};
use super::pwd::PWD_IS_PLAIN;
use crate::action::Look;
use crate::compiler::Bypass;
use crate::observer::log::{COMPILER, Kind, LEADS_AWAY, Outcome, PLACED, Record};
use crate::paths::{RootKind, Roots};
use crate::pipeline::observed::{lexical, nothing_to_know, of_the_kernel};
use std::collections::{BTreeSet, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// Variables that tell nothing of what is to be built: how many processes may run and through
/// which pipes they hear of it, and our own. (Cargo does not run a script again for these.)
pub(super) const PASSED_OVER: [&str; 3] = ["CARGO_MAKEFLAGS", "LD_PRELOAD", "NUM_JOBS"];

/// Symbolic links on the way to one path, as the kernel has it.
const LINKS_MAX: usize = 40;

/// Variables that decide how a compiler tells of its own crash, and nothing else: whether LLVM
/// opens a dialog on Windows, and how much of its stack is told. CI and desks share all else.
const OF_CRASHES: [&str; 2] = ["CI", "RUST_BACKTRACE"];

/// What was seen.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Files that were read, or whose presence was asked about.
    pub files: BTreeSet<PathBuf>,
    /// Paths where nothing was.
    pub absent: BTreeSet<PathBuf>,
    /// Of these, where programs were looked for.
    pub sought: BTreeSet<PathBuf>,
    /// Directories that were listed or asked about, and links.
    pub looks: BTreeSet<(PathBuf, Look)>,
    /// Variables that were read.
    pub variables: BTreeSet<String>,
    /// Whether programs were started.
    pub started: bool,
    /// Whether others were among them than compilers and their tools: who has all variables at
    /// hand (a shell, make, env) need not ask for PWD.
    pub others: bool,
    /// Whether PWD is above the target directory, and nothing was asked for that it could lead to.
    pub pwd_is_above: bool,
    /// Why nobody else may have the run; empty where all of it was understood.
    pub alone: BTreeSet<&'static str>,
}

/// Reads a log. `known` are programs of which as much is known as of a compile.
///
/// # Errors
/// The reason why the run cannot be kept.
pub(super) fn seen(
    records: &[Record<'_>],
    facts: &Facts,
    roots: &Roots,
    known: &Programs<'_>,
) -> Result<Seen, Bypass> {
    let count = |kind| records.iter().filter(|r| r.kind == kind).count();
    let programs = count(Kind::Entered);
    // The script itself, and whatever was started and did begin.
    if programs + count(Kind::NotStarted) != count(Kind::Spawn) + 1 {
        return Err(Bypass::ScriptUnobserved);
    }
    let mut taking = Taking {
        facts,
        roots: roots.dirs().collect(),
        cargo: roots
            .root(RootKind::Cargo)
            .and_then(|dir| fs::canonicalize(dir).ok()),
        plain_pwd: known.pwd().plain(),
        links_away: records
            .iter()
            .any(|r| r.kind == Kind::Raw && r.text == LEADS_AWAY),
        plain: HashSet::new(),
        understood: true,
        written: BTreeSet::new(),
        seen: Seen::default(),
    };
    taking.seen.started = programs > 1;
    taking.seen.pwd_is_above = known.pwd().way().is_some() && !known.pwd().reaches(records);
    match known.understood(records) {
        Some(nowhere) => {
            let nowhere = nowhere.iter().map(|name| format!("{NOWHERE}{name}"));
            taking.seen.variables.extend(nowhere);
            if taking.seen.started {
                // Whether they mean qwrap counts, however the script came to start that.
                let wrappers = WRAPPERS.map(str::to_owned);
                taking.seen.variables.extend(wrappers);
            }
        }
        None => {
            taking.understood = false;
            taking.seen.alone.insert("programs");
        }
    }
    for record in records.iter().filter(|r| r.kind == Kind::Write) {
        taking.write(record)?;
    }
    for record in records {
        // Inside a run qwrap becomes the compiler that it was given, and does nothing else.
        let ours = || known.is_wrapper(Path::new(record.text));
        if record.kind != Kind::Tried || (!taking.understood && !ours()) {
            taking.take(record)?;
        }
    }
    // The first that began is the script, which stands in the key by itself.
    let begun = records.iter().filter(|r| r.kind == Kind::Entered);
    let aside =
        |r: &Record<'_>| is_placed(r) || is_compilers(r) || known.is_wrapper(Path::new(r.text));
    taking.seen.others = !begun.clone().skip(1).all(aside);
    for program in begun.skip(1) {
        if !known.is_wrapper(Path::new(program.text)) {
            taking.path(program)?;
        }
    }
    Ok(taking.seen)
}

impl Seen {
    /// The script's own program could do what nobody sees.
    pub(super) fn unseen(&mut self, why: &'static str) {
        self.alone.insert(why);
        self.pwd_is_above = false;
    }
}

struct Taking<'a> {
    facts: &'a Facts,
    /// Whatever lies here is not temporary, wherever this is.
    roots: Vec<PathBuf>,
    /// Cargo's home, as the filesystem calls it.
    cargo: Option<PathBuf>,
    /// PWD, where it is no other name of a directory than the system's.
    plain_pwd: Option<&'a OsStr>,
    /// Whether a symbolic link was made that leads anywhere but further down.
    links_away: bool,
    /// Paths that are no links.
    plain: HashSet<PathBuf>,
    /// Whether all programs that were started are ones that the key names, and so is where they
    /// were looked for.
    understood: bool,
    written: BTreeSet<PathBuf>,
    seen: Seen,
}

/// A path without `.`, doubled and trailing slashes.
fn plain(text: &OsStr) -> PathBuf {
    Path::new(text).components().collect()
}

/// Whether a path leads into a repository's metadata.
pub(super) fn is_git(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == ".git")
}

/// Whether the compiler asked, and not a script.
fn is_compilers(record: &Record<'_>) -> bool {
    record.object == Path::new(COMPILER)
}

/// Whether a program asked that takes PWD for its working directory's name, and for nothing else.
fn is_placed(record: &Record<'_>) -> bool {
    record.object == Path::new(PLACED)
}

/// What a compiler reads for its statistics (how much memory it has), for the lines of its messages
/// (how wide the terminal is) and of the streams that it was given (cargo's jobserver), and for
/// nothing that it makes.
fn makes_nothing(path: &Path) -> bool {
    ["/proc/self/statm", "/dev/tty"]
        .iter()
        .any(|known| path == Path::new(known))
        || path.starts_with("/dev/fd")
        || path.starts_with("/proc/self/fd")
}

/// Terminals and a process's own streams.
fn is_stream(path: &Path) -> bool {
    let own = [
        "/dev/tty",
        "/dev/stdin",
        "/dev/stdout",
        "/dev/stderr",
        "/dev/ptmx",
    ];
    own.iter().any(|known| path == Path::new(known))
        || ["/dev/fd", "/dev/pts", "/proc/self/fd"]
            .iter()
            .any(|dir| path.starts_with(dir))
}

impl Taking<'_> {
    fn alone(&mut self, why: &'static str) -> Result<(), Bypass> {
        self.seen.alone.insert(why);
        Ok(())
    }

    /// Whether a path lies in OUT_DIR, or did while there was such a path.
    fn is_out(&self, path: &Path) -> bool {
        self.facts.is_out(path) || (!self.links_away && self.facts.stays_in_out(path))
    }

    /// Whether a path is one for temporary files.
    fn is_temporary(&self, path: &Path) -> bool {
        let below = |dirs: &[PathBuf]| dirs.iter().any(|dir| path.starts_with(dir));
        below(&self.facts.temporary) && !below(&self.roots) && !self.lies_above(path)
    }

    /// Whether a path lies in a directory above a root. Workspaces lie in directories for
    /// temporary files, too; only what lies at the top of these is anybody's.
    fn lies_above(&self, path: &Path) -> bool {
        let path = lexical(path);
        let dir = path.parent().unwrap_or(Path::new("/"));
        let holds_a_root = self.roots.iter().any(|root| root.starts_with(dir));
        holds_a_root && !self.facts.temporary.iter().any(|t| t == dir)
    }

    fn write(&mut self, record: &Record<'_>) -> Result<(), Bypass> {
        let path = plain(record.text);
        if nothing_to_know(&path) || is_stream(&path) || self.is_out(&path) {
            return Ok(());
        }
        if record.outcome != Outcome::Done {
            // Nothing was changed here. In another checkout it may succeed.
            if self.roots.iter().any(|root| path.starts_with(root)) || self.lies_above(&path) {
                return Err(Bypass::ScriptWrites);
            }
            return self.alone("attempts");
        }
        if !self.is_temporary(&path) || path.symlink_metadata().is_ok() {
            return Err(Bypass::ScriptWrites);
        }
        self.written.insert(path);
        self.alone("temporary-files")
    }

    fn take(&mut self, record: &Record<'_>) -> Result<(), Bypass> {
        match record.kind {
            Kind::Entered | Kind::Spawn => {
                let name = Path::new(record.text).file_name().unwrap_or_default();
                if name == "git" || name.as_bytes().starts_with(b"git-") {
                    return Err(Bypass::ScriptGit);
                }
                Ok(())
            }
            Kind::Write | Kind::NotStarted | Kind::Given | Kind::Directory | Kind::Told => Ok(()),
            Kind::Socket => self.alone("network"),
            Kind::Machine => self.alone("machine"),
            Kind::Raw | Kind::Loaded => self.alone("unwatched"),
            Kind::Variable => self.variable(record),
            Kind::Read | Kind::List | Kind::Look => self.path(record),
            Kind::Link | Kind::Resolve | Kind::Tried => self.path(record),
        }
    }

    fn variable(&mut self, record: &Record<'_>) -> Result<(), Bypass> {
        let Some(name) = record.text.to_str() else {
            return self.alone("names");
        };
        if name == "PWD" && self.names_itself(record) {
            self.seen.variables.insert(PWD_IS_PLAIN.to_owned());
            return Ok(());
        }
        let of_crashes = OF_CRASHES.contains(&name) && is_compilers(record);
        if !name.starts_with("QUARRY") && !PASSED_OVER.contains(&name) && !of_crashes {
            self.seen.variables.insert(name.to_owned());
        }
        Ok(())
    }

    /// Whether a program asks by PWD how its working directory is called, and is told what it
    /// would be told without: what PWD says then makes nothing.
    fn names_itself(&self, record: &Record<'_>) -> bool {
        self.plain_pwd.is_some() && is_placed(record)
    }

    fn path(&mut self, record: &Record<'_>) -> Result<(), Bypass> {
        let path = plain(record.text);
        let is_pwd = record.kind == Kind::Look && self.plain_pwd.is_some_and(|pwd| path == pwd);
        // That the directory is there goes without saying where it holds the target directory.
        if is_pwd && (self.seen.pwd_is_above || self.names_itself(record)) {
            return Ok(());
        }
        let itself = record.kind == Kind::Tried && path.parent() == self.facts.beside.as_deref();
        if itself || self.is_out(&path) || nothing_to_know(&path) {
            return Ok(());
        }
        if is_git(&path) && record.outcome != Outcome::Absent {
            return Err(Bypass::ScriptGit);
        }
        if of_the_kernel(&path) {
            if is_compilers(record) && makes_nothing(&path) {
                return Ok(());
            }
            return self.alone("machine");
        }
        if self.is_temporary(&path) {
            let own = path.ancestors().any(|at| self.written.contains(at));
            let gone = record.outcome != Outcome::Absent && path.symlink_metadata().is_err();
            if own || gone {
                return self.alone("temporary-files");
            }
        }
        match record.outcome {
            Outcome::Failed => self.alone("unreadable"),
            Outcome::Absent => self.nothing(path, record.kind),
            Outcome::Done => self.something(path, record.kind),
        }
    }

    fn nothing(&mut self, path: PathBuf, kind: Kind) -> Result<(), Bypass> {
        match path.symlink_metadata() {
            Err(_) => {
                if kind == Kind::Tried {
                    self.seen.sought.insert(path.clone());
                }
                self.seen.absent.insert(path);
                Ok(())
            }
            // A link that leads nowhere, or no directory where one was to be listed.
            Ok(m) if m.is_symlink() => {
                let end = self.follow(&path);
                let end = end.filter(|end| end.symlink_metadata().is_err());
                self.seen.absent.extend(end);
                self.alone("links")
            }
            Ok(m) if kind == Kind::List && m.is_file() => {
                self.seen.files.insert(path);
                Ok(())
            }
            Ok(_) => Err(Bypass::ScriptInputChanged),
        }
    }

    /// What a path below a root is called without links, where that only takes steps back out of
    /// it. Then nothing that it leads through may become a link, and that is part of what was
    /// seen.
    fn called(&mut self, path: &Path) -> Option<PathBuf> {
        let plain = lexical(path);
        let steps_back = path.ancestors().filter(|at| at.ends_with(".."));
        let mut way: Vec<PathBuf> = steps_back.filter_map(Path::parent).map(lexical).collect();
        if fs::canonicalize(path).ok()? != plain {
            return None;
        }
        let is_root = |dir: &Path| self.roots.iter().any(|root| root == dir);
        let below = plain.ancestors().position(is_root)?;
        way.extend(plain.ancestors().take(below).map(Path::to_owned));
        let in_root = |dir: &PathBuf| self.roots.iter().any(|root| dir.starts_with(root));
        if !way.iter().all(in_root) {
            return None;
        }
        // What lies between cargo's home and its sources is cargo's, and told nobody.
        way.retain(|dir| {
            let cargos = dir.ends_with("registry") || dir.ends_with("git");
            !(cargos && dir.parent() == self.cargo.as_deref())
        });
        let looks = way.into_iter().map(|dir| (dir, Look::Kind));
        self.seen.looks.extend(looks);
        Some(plain)
    }

    /// Names every symbolic link that a path leads through, below a root or from the very top:
    /// what each says is told to whoever asks for the other end. Gives the other end; `None` where
    /// that is the run's own, or nowhere.
    fn follow(&mut self, path: &Path) -> Option<PathBuf> {
        let roots = &self.roots;
        let begin = |path: &Path| -> (PathBuf, Vec<OsString>) {
            let within = roots.iter().filter(|root| path.starts_with(root));
            let top = within.max_by_key(|root| root.as_os_str().len());
            let top = top.map_or(Path::new("/"), PathBuf::as_path);
            let rest = path.strip_prefix(top).unwrap_or(path).components().rev();
            let rest = rest.map(|part| part.as_os_str().to_owned()).collect();
            (top.to_owned(), rest)
        };
        let (mut at, mut rest) = begin(path);
        let mut links = 0;
        while let Some(part) = rest.pop() {
            match part.to_str() {
                Some("..") => drop(at.pop()),
                Some(".") => {}
                _ => at.push(part),
            }
            if self.plain.contains(&at) {
                continue;
            }
            let Ok(to) = fs::read_link(&at) else {
                self.plain.insert(at.clone());
                continue;
            };
            links += 1;
            if links > LINKS_MAX || self.is_out(&at) {
                return None;
            }
            self.seen.looks.insert((at.clone(), Look::Link));
            at.pop();
            let (top, below) = begin(&to);
            if to.is_absolute() {
                at = top;
            }
            rest.extend(below);
        }
        Some(at)
    }

    fn something(&mut self, path: PathBuf, kind: Kind) -> Result<(), Bypass> {
        self.follow(&path);
        let m = path.symlink_metadata();
        let m = m.map_err(|_| Bypass::ScriptInputChanged)?;
        let called = (kind == Kind::Resolve).then(|| self.called(&path));
        let leads_away = match &called {
            Some(called) => called.is_none(),
            None => kind == Kind::Link || m.is_symlink(),
        };
        if leads_away {
            self.alone("links")?;
        }
        let path = called.flatten().unwrap_or(path);
        let behind = match fs::metadata(&path) {
            Ok(behind) => behind,
            // What a link says is told whether it leads anywhere or not.
            Err(_) if kind == Kind::Link && m.is_symlink() => return Ok(()),
            Err(_) => return Err(Bypass::ScriptInputChanged),
        };
        if behind.is_file() {
            self.seen.files.insert(path);
        } else if !behind.is_dir() {
            self.alone("special-files")?;
        } else if matches!(kind, Kind::Read | Kind::List) {
            self.seen.looks.insert((path, Look::List));
        } else {
            let real = if m.is_dir() {
                Ok(path)
            } else {
                fs::canonicalize(path)
            };
            let real = real.map_err(|_| Bypass::ScriptInputChanged)?;
            self.seen.looks.insert((real, Look::Kind));
        }
        Ok(())
    }
}

#[cfg(test)]
#[path = "seen_tests.rs"]
mod tests;
