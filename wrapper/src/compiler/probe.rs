//! Which compiler an invocation means, and what makes it that one.
//!
//! Enters: an invocation; digests of files. Leaves: the compiler's sysroot, version and identity:
//! a digest over what it says of itself and over the content of its own files, the same wherever
//! it lies. Must never happen here: an identity from a version string alone (two builds can share
//! it), a remembered identity of files that have changed since, a rustup proxy taken for the
//! compiler behind it.

pub(crate) mod ask;
pub(in crate::compiler) mod components;

use crate::compiler::rustc::args::Unit;
use crate::compiler::rustc::macro_symbols::{LIBRARY_MAX, Standard};
use crate::digests::FileDigests;
use crate::invocation::Invocation;
use components::{Watched, components};
use quarry_trust::Digest;
use quarry_trust::canon::Writer;
use quarry_trust::digest::Domain;
use std::collections::HashMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use thiserror::Error;

/// The tag under which a compiler's identity is hashed.
pub const COMPILER: Domain = Domain("quarry 2026-11 compiler v1");
/// Compilers that are remembered; beyond it all are forgotten and found again.
const MAX_MEMO: usize = 64;
/// Attempts to see a toolchain that does not change while it is looked at.
pub(in crate::compiler) const ATTEMPTS: usize = 3;

/// A compiler, identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Compiler {
    /// The compiler itself, behind any proxy.
    pub path: PathBuf,
    /// Its system root.
    pub sysroot: PathBuf,
    /// What `rustc -vV` says.
    pub verbose_version: String,
    /// Of rustc's sources; empty where the build does not say.
    pub commit_hash: String,
    /// The triple that it runs on.
    pub host: String,
    /// Its version, as `1.95.0`.
    pub release: String,
    /// Over `verbose_version` and the content of its files, std for the unit's target included.
    pub identity: Digest,
}

/// Why a compiler cannot be identified. Always a bypass
/// ([`super::Bypass::CompilerUnidentified`]), never a failed build.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// Nothing by this name in the caller's PATH.
    #[error("no compiler {0:?} in the caller's PATH; the compile runs as if Quarry were not there")]
    NotFound(OsString),
    /// It does not answer as rustc does.
    #[error(
        "{path} does not answer as rustc does: {source}; the compile runs as if Quarry were not there"
    )]
    Answer {
        /// The program.
        path: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// A script or a copy in front of some compiler.
    #[error(
        "{path} is not the compiler of its sysroot {sysroot}; name that one to have its work cached"
    )]
    InFront {
        /// The program.
        path: PathBuf,
        /// The sysroot that it prints.
        sysroot: PathBuf,
    },
    /// Its files cannot be listed or read.
    #[error(
        "cannot read the compiler's files in {sysroot}: {source}; the compile runs as if Quarry were not there"
    )]
    Files {
        /// The sysroot.
        sysroot: PathBuf,
        /// What went wrong.
        source: io::Error,
    },
    /// The toolchain is being changed at this moment.
    #[error("the toolchain in {0} keeps changing; the compile runs as if Quarry were not there")]
    Changing(PathBuf),
}

/// What decides which compiler a command means. A rustup proxy depends on more than its path;
/// where that is not in the environment (a directory's override) it is asked each time.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    program: PathBuf,
    proxy: Option<[Option<OsString>; 3]>,
}

/// Variables that decide for a rustup proxy.
const PROXY_VARIABLES: [&str; 3] = ["RUSTUP_TOOLCHAIN", "RUSTUP_HOME", "HOME"];

struct Memo<T> {
    what: Arc<T>,
    watched: Watched,
}

type Slot<T> = Arc<Mutex<Option<Arc<Memo<T>>>>>;
/// A memo whose slots are locked one by one, so that only callers with one question wait.
type Slots<K, T> = Mutex<HashMap<K, Slot<T>>>;
/// A sysroot and `--target`.
type Toolchain = (PathBuf, Option<String>);

/// The compilers met so far.
#[derive(Default)]
pub struct Compilers {
    sysroots: Slots<Question, PathBuf>,
    compilers: Slots<Toolchain, Compiler>,
    cpus: Mutex<HashMap<(PathBuf, Digest), String>>,
    standards: Mutex<HashMap<Digest, Option<Arc<Standard>>>>,
}

impl Compilers {
    /// None met yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// What this compiler links into what runs on its own system; `None` where that is not found
    /// or not understood.
    pub fn standard(&self, compiler: &Compiler) -> Option<Arc<Standard>> {
        let lock = || {
            self.standards
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
        };
        if let Some(known) = lock().get(&compiler.identity) {
            return known.clone();
        }
        let libraries = compiler.sysroot.join("lib/rustlib").join(&compiler.host);
        let mut files = fs::read_dir(libraries.join("lib")).ok()?.flatten();
        let archive = files.find(|f| {
            let name = f.file_name();
            let name = name.as_encoded_bytes();
            name.starts_with(b"libstd-") && name.ends_with(b".rlib")
        })?;
        let mut bytes = Vec::new();
        let file = fs::File::open(archive.path()).ok()?;
        file.take(LIBRARY_MAX).read_to_end(&mut bytes).ok()?;
        let standard = Standard::of(&bytes).map(Arc::new);
        let mut standards = lock();
        if standards.len() >= MAX_MEMO {
            standards.clear();
        }
        standards.insert(compiler.identity, standard.clone());
        standard
    }

    /// The compiler that an invocation means. Looks at the state of all its files; asks it, and
    /// digests them, only where one has changed. Concurrent callers wait for the first.
    ///
    /// # Errors
    /// Any [`ProbeError`].
    pub fn identify(
        &self,
        inv: &Invocation,
        unit: &Unit,
        files: &dyn FileDigests,
    ) -> Result<Arc<Compiler>, ProbeError> {
        let named = inv.argv.get(usize::from(unit.clippy.is_some()));
        let named = named.ok_or_else(|| ProbeError::NotFound(unit.compiler.clone()))?;
        self.identify_named(inv, named, unit.target.as_deref(), files)
    }

    /// The same for a compiler by its name, and a target.
    ///
    /// # Errors
    /// Any [`ProbeError`].
    pub fn identify_named(
        &self,
        inv: &Invocation,
        named: &OsStr,
        target: Option<&str>,
        files: &dyn FileDigests,
    ) -> Result<Arc<Compiler>, ProbeError> {
        let program = resolve(inv, named).ok_or_else(|| ProbeError::NotFound(named.to_owned()))?;
        let sysroot = self.sysroot(&program, inv)?;
        // For the system that it runs on it is the one that it is where no target is named.
        if let Some(target) = target.filter(|target| self.ran_on(&sysroot, target)) {
            let own = self.identify_in(&sysroot, inv, None, files)?;
            if own.host == target {
                return Ok(own);
            }
        }
        self.identify_in(&sysroot, inv, target, files)
    }

    fn identify_in(
        &self,
        sysroot: &Path,
        inv: &Invocation,
        target: Option<&str>,
        files: &dyn FileDigests,
    ) -> Result<Arc<Compiler>, ProbeError> {
        let toolchain = (sysroot.to_owned(), target.map(str::to_owned));
        let slot = slot(&self.compilers, toolchain);
        if let Some(known) = unchanged(&slot) {
            return Ok(known);
        }
        let mut memo = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = memo.as_ref().filter(|known| known.watched.unchanged()) {
            return Ok(Arc::clone(&known.what));
        }
        *memo = None;
        for _ in 0..ATTEMPTS {
            let (compiler, watched) = identify(sysroot, inv, target, files)?;
            // Every stamp was taken before the file was read: no change may have come since.
            if watched.unchanged() {
                let what = Arc::new(compiler);
                *memo = Some(Arc::new(Memo {
                    what: Arc::clone(&what),
                    watched,
                }));
                return Ok(what);
            }
        }
        Err(ProbeError::Changing(sysroot.to_owned()))
    }

    /// Whether what is remembered of a sysroot's compiler is that it runs on this target.
    fn ran_on(&self, sysroot: &Path, target: &str) -> bool {
        let own = (sysroot.to_owned(), None);
        let compilers = self.compilers.lock();
        let compilers = compilers.unwrap_or_else(PoisonError::into_inner);
        let slot = compilers.get(&own).map(Arc::clone);
        drop(compilers);
        // Who asks it at this moment is not waited for.
        let known = slot.and_then(|slot| slot.try_lock().ok()?.clone());
        known.is_some_and(|memo| memo.what.host == target)
    }

    /// The CPU that `-C target-cpu=native` means here, and its features, as the compiler sees
    /// them. Remembered as long as this process lives.
    ///
    /// # Errors
    /// [`ProbeError::Answer`].
    pub fn native_cpu(&self, inv: &Invocation, compiler: &Compiler) -> Result<String, ProbeError> {
        let key = (compiler.path.clone(), compiler.identity);
        let mut cpus = self.cpus.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = cpus.get(&key) {
            return Ok(known.clone());
        }
        let ask = |args: &[&str]| answered(&compiler.path, args, inv);
        let cfg = ask(&["--print=cfg", "-Ctarget-cpu=native"])?;
        let names = ask(&["--print=target-cpus"])?;
        let mut lines: Vec<&str> = cfg
            .lines()
            .filter(|l| l.starts_with("target_feature"))
            .collect();
        lines.sort_unstable();
        lines.extend(
            names
                .lines()
                .map(str::trim)
                .filter(|line| line.starts_with("native")),
        );
        let text = lines.join("\n");
        if cpus.len() >= MAX_MEMO {
            cpus.clear();
        }
        cpus.insert(key, text.clone());
        Ok(text)
    }

    /// The sysroot of the compiler that `program` is or stands for.
    fn sysroot(&self, program: &Path, inv: &Invocation) -> Result<PathBuf, ProbeError> {
        let proxy = is_proxy(program);
        let variables = PROXY_VARIABLES.map(|name| inv.nonempty_var(name).map(OsString::from));
        if proxy && variables[0].is_none() {
            return ask_sysroot(program, proxy, inv);
        }
        let question = Question {
            program: program.to_owned(),
            proxy: proxy.then_some(variables),
        };
        let slot = slot(&self.sysroots, question);
        if let Some(known) = unchanged(&slot) {
            return Ok(PathBuf::clone(&known));
        }
        let mut memo = slot.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = memo.as_ref().filter(|known| known.watched.unchanged()) {
            return Ok(PathBuf::clone(&known.what));
        }
        *memo = None;
        let mut watched = Watched::default();
        watched.add(program);
        if let Some(rustup) = rustup_home(inv).filter(|_| proxy) {
            watched.add(&rustup.join("settings.toml"));
            watched.add(&rustup.join("toolchains"));
        }
        let sysroot = ask_sysroot(program, proxy, inv)?;
        if watched.unchanged() {
            *memo = Some(Arc::new(Memo {
                what: Arc::new(sysroot.clone()),
                watched,
            }));
        }
        Ok(sysroot)
    }
}

/// What is remembered and still holds. Nobody waits for who else looks at the same files.
fn unchanged<T>(slot: &Slot<T>) -> Option<Arc<T>> {
    let memo = slot.lock().unwrap_or_else(PoisonError::into_inner);
    let memo = Option::clone(&memo)?;
    memo.watched.unchanged().then(|| Arc::clone(&memo.what))
}

fn slot<K: std::hash::Hash + Eq, T>(map: &Slots<K, T>, key: K) -> Slot<T> {
    let mut map = map.lock().unwrap_or_else(PoisonError::into_inner);
    if map.len() >= MAX_MEMO && !map.contains_key(&key) {
        map.clear();
    }
    Arc::clone(map.entry(key).or_default())
}

/// The program that the caller would run: against its directory, or out of its PATH.
pub(crate) fn resolve(inv: &Invocation, named: &OsStr) -> Option<PathBuf> {
    let named = Path::new(named);
    if named.components().count() > 1 || named.is_absolute() {
        return Some(inv.absolute(named)).filter(|path| is_program(path));
    }
    let path = inv.var("PATH")?;
    std::env::split_paths(path)
        .map(|dir| inv.absolute(&dir).join(named))
        .find(|p| is_program(p))
}

fn is_program(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
}

/// Whether a program is rustup under another name: a link to it, or the same inode as the rustup
/// beside it.
fn is_proxy(program: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    let is_rustup = |path: &Path| {
        let name = path.file_name();
        name.is_some_and(|name| name == "rustup" || name == "rustup-init")
    };
    // What is no link itself is called so wherever its directory lies.
    let link = fs::read_link(program).is_ok();
    if is_rustup(program) || (link && fs::canonicalize(program).is_ok_and(|real| is_rustup(&real)))
    {
        return true;
    }
    let inode = |path: &Path| fs::metadata(path).ok().map(|m| (m.dev(), m.ino()));
    let beside = program.parent().and_then(|dir| inode(&dir.join("rustup")));
    beside.is_some() && beside == inode(program)
}

fn rustup_home(inv: &Invocation) -> Option<PathBuf> {
    let home = || Some(PathBuf::from(inv.nonempty_var("HOME")?).join(".rustup"));
    inv.nonempty_var("RUSTUP_HOME")
        .map(PathBuf::from)
        .or_else(home)
}

fn answered(program: &Path, args: &[&str], inv: &Invocation) -> Result<String, ProbeError> {
    ask::ask(program, args, inv).map_err(|source| ProbeError::Answer {
        path: program.to_owned(),
        source,
    })
}

fn ask_sysroot(program: &Path, proxy: bool, inv: &Invocation) -> Result<PathBuf, ProbeError> {
    let answer = answered(program, &["--print=sysroot"], inv)?;
    let sysroot = PathBuf::from(answer.trim_end_matches('\n'));
    let real = |path: &Path| fs::canonicalize(path).ok();
    let its_own = real(&sysroot.join("bin/rustc"));
    if !sysroot.is_absolute() || its_own.is_none() || (!proxy && real(program) != its_own) {
        return Err(ProbeError::InFront {
            path: program.to_owned(),
            sysroot,
        });
    }
    Ok(sysroot)
}

fn identify(
    sysroot: &Path,
    inv: &Invocation,
    target: Option<&str>,
    files: &dyn FileDigests,
) -> Result<(Compiler, Watched), ProbeError> {
    let path = sysroot.join("bin/rustc");
    let first = answered(&path, &["-vV"], inv)?;
    let unreadable = |source| ProbeError::Files {
        sysroot: sysroot.to_owned(),
        source,
    };
    let host = field(&first, "host:").ok_or_else(|| wrong(&path, "-vV names no host"))?;
    let (list, watched) =
        components(sysroot, &host, target.unwrap_or(&host)).map_err(unreadable)?;
    // What counts is what it says once its files are watched.
    let verbose_version = answered(&path, &["-vV"], inv)?;
    if verbose_version != first {
        return Err(ProbeError::Changing(sysroot.to_owned()));
    }
    let release = field(&first, "release:").ok_or_else(|| wrong(&path, "-vV names no release"))?;
    // Builds by distributions say "unknown".
    let hex = |hash: &String| hash.len() == 40 && hash.bytes().all(|b| b.is_ascii_hexdigit());
    let commit_hash = field(&first, "commit-hash:")
        .filter(hex)
        .unwrap_or_default();
    let mut w = Writer::default();
    w.text(&verbose_version);
    w.count(list.len());
    for component in &list {
        w.text(&component.name);
        w.fixed(
            files
                .digest(&component.path)
                .map_err(unreadable)?
                .as_bytes(),
        );
    }
    let identity = Digest::tagged(COMPILER, &w.finish());
    let sysroot = sysroot.to_owned();
    let compiler = Compiler {
        path,
        sysroot,
        verbose_version,
        commit_hash,
        host,
        release,
        identity,
    };
    Ok((compiler, watched))
}

fn field(verbose_version: &str, name: &str) -> Option<String> {
    let mut lines = verbose_version.lines();
    lines
        .find_map(|line| line.strip_prefix(name))
        .map(|value| value.trim().to_owned())
}

fn wrong(path: &Path, what: &'static str) -> ProbeError {
    let source = io::Error::new(io::ErrorKind::InvalidData, what);
    ProbeError::Answer {
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
#[path = "probe_tests.rs"]
mod tests;
