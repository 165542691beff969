//! Which linker a link means, what makes it that one, and where it looks for libraries.
//!
//! Enters: an invocation that links; digests of files. Leaves: the linker's parts by content
//! (the driver, the programs that it may run, the objects and libraries that it adds by itself),
//! and the directories in which it looks, in its order. Must never happen here: an identity from
//! a version string (a distribution changes crt1.o behind one `cc --version`), a script taken for
//! the driver that it calls, a remembered answer when a directory has changed since.
//!
//! rustc runs `cc`, or what `-C linker` names, with its sysroot's own directories first in PATH,
//! and on some targets has it use the lld of that sysroot (`-B…/gcc-ld -fuse-ld=lld`). Whichever
//! the driver then chooses, all that it could choose are in the list.

mod library;

use crate::action::FileInput;
use crate::compiler::Bypass;
use crate::compiler::probe::ask::ask;
use crate::compiler::probe::components::Watched;
use crate::compiler::probe::{ATTEMPTS, Compiler};
use crate::compiler::rustc::args::Unit;
use crate::digests::FileDigests;
use crate::invocation::Invocation;
pub use library::{Library, is_plain};
use quarry_trust::Digest;
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::Read;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

/// Linkers that are remembered; beyond it all are forgotten and found again.
const MAX_MEMO: usize = 64;
/// Directories in which a linker looks. gcc names about twenty, most of them twice.
const MAX_DIRECTORIES: usize = 200;
/// Entries of one directory that are looked at for the linker's own libraries.
const MAX_ENTRIES: usize = 50_000;

/// Programs that a driver may run for a link, whatever `-fuse-ld` says.
const PROGRAMS: &[&str] = &[
    "collect2",
    "collect-ld",
    "ld",
    "ld.bfd",
    "ld.gold",
    "ld.lld",
    "ld.mold",
    "liblto_plugin.so",
    "lld",
    "lto-wrapper",
    "mold",
    "real-ld",
];
/// Objects and archives that a driver adds to a link by itself, and the file that can change
/// everything that it adds.
const OBJECTS: &[&str] = &[
    "Scrt1.o",
    "crt1.o",
    "crtbegin.o",
    "crtbeginS.o",
    "crtbeginT.o",
    "crtend.o",
    "crtendS.o",
    "crti.o",
    "crtn.o",
    "gcrt1.o",
    "rcrt1.o",
    "specs",
];
/// Libraries that a driver adds by itself.
const LIBRARIES: &[&str] = &["c", "gcc", "gcc_eh", "gcc_s", "m", "pthread"];
/// Libraries that the programs above are made of: binutils and LLVM ship their code in them.
const PARTS: &[&str] = &["libbfd-", "libctf", "libLLVM", "libclang-cpp"];
/// Variables that a driver or a linker reads and that are not in the key: a reason by being set.
const VARIABLES: &[&str] = &[
    "CCC_OVERRIDE_OPTIONS",
    "COLLECT_GCC_OPTIONS",
    "COLLECT_LTO_WRAPPER",
    "GNUTARGET",
    "LDEMULATION",
    "LD_RUN_PATH",
    "LLD_REPRODUCE",
    "LLD_VERSION",
    "MOLD_REPRO",
    "SYSROOT",
];
/// Variables that decide what the driver answers, and so stand for it in the memo.
const ASKED_BY: [&str; 4] = ["LIBRARY_PATH", "PATH", "HOME", "LD_LIBRARY_PATH"];

/// A linker, identified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Linker {
    /// Its parts by content, in ascending order.
    pub parts: Vec<FileInput>,
    /// Where it looks for libraries, in its order, after what the command names.
    pub directories: Vec<PathBuf>,
}

struct Memo {
    linker: Arc<Linker>,
    watched: Watched,
}

/// What decides which linker a command means.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Question {
    program: PathBuf,
    sysroot: PathBuf,
    environment: [Option<OsString>; ASKED_BY.len()],
}

/// The linkers met so far.
#[derive(Default)]
pub struct Linkers(Mutex<HashMap<Question, Arc<Memo>>>);

impl Linkers {
    /// The linker that a command means. Looks at the state of all its files; asks it, and digests
    /// them, only where one has changed.
    ///
    /// # Errors
    /// The reason not to cache the link.
    pub fn identify(
        &self,
        inv: &Invocation,
        unit: &Unit,
        compiler: &Compiler,
        files: &dyn FileDigests,
    ) -> Result<Arc<Linker>, Bypass> {
        let named = unit.linker.as_deref().unwrap_or_else(|| Path::new("cc"));
        self.identify_named(inv, named, compiler, files)
    }

    /// The same for a linker by its name.
    ///
    /// # Errors
    /// The same.
    pub fn identify_named(
        &self,
        inv: &Invocation,
        named: &Path,
        compiler: &Compiler,
        files: &dyn FileDigests,
    ) -> Result<Arc<Linker>, Bypass> {
        let asked = asking(inv, compiler)?;
        let program = resolve(&asked, named).ok_or(Bypass::LinkerUnidentified)?;
        let question = Question {
            program,
            sysroot: compiler.sysroot.clone(),
            environment: ASKED_BY.map(|name| asked.var(name).map(OsStr::to_owned)),
        };
        let memo = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let known = memo.get(&question).map(Arc::clone);
        // Nobody waits for who else looks at the same files.
        drop(memo);
        if let Some(known) = known.filter(|m| m.watched.unchanged()) {
            return Ok(Arc::clone(&known.linker));
        }
        let (linker, watched) = settled(&question.program, &asked, compiler, files)?;
        let linker = Arc::new(linker);
        let mut memo = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if memo.len() >= MAX_MEMO {
            memo.clear();
        }
        let known = Memo {
            linker: Arc::clone(&linker),
            watched,
        };
        memo.insert(question, Arc::new(known));
        Ok(linker)
    }
}

/// The environment in which rustc runs the linker.
fn asking(inv: &Invocation, compiler: &Compiler) -> Result<Invocation, Bypass> {
    let set = |name: &str| inv.nonempty_var(name).is_some();
    let of_gcc = |name: &OsStr| {
        let name = name.as_encoded_bytes();
        name.starts_with(b"GCC_") && name != b"GCC_COLORS"
    };
    if VARIABLES.iter().any(|name| set(name)) || inv.env.iter().any(|(name, _)| of_gcc(name)) {
        return Err(Bypass::EnvLinker);
    }
    // A relative directory, or an empty one, is another one in each working directory.
    let relative = |paths: &OsStr| std::env::split_paths(paths).any(|path| !path.is_absolute());
    if inv.nonempty_var("LIBRARY_PATH").is_some_and(relative) {
        return Err(Bypass::EnvLinker);
    }
    let own = tools(compiler);
    let path = inv.var("PATH").unwrap_or_default();
    let path = own
        .iter()
        .skip(1)
        .cloned()
        .chain(std::env::split_paths(path));
    let path = std::env::join_paths(path).map_err(|_| Bypass::EnvLinker)?;
    let mut asked = inv.clone();
    asked
        .env
        .retain(|(name, _)| name != "PATH" && name != "LC_ALL");
    asked.env.push(("PATH".into(), path));
    asked.env.push(("LC_ALL".into(), "C".into()));
    Ok(asked)
}

/// The sysroot's directories of programs: the one that is given by `-B`, then those in PATH.
fn tools(compiler: &Compiler) -> [PathBuf; 3] {
    let bin = compiler
        .sysroot
        .join("lib/rustlib")
        .join(&compiler.host)
        .join("bin");
    [bin.join("gcc-ld"), bin.clone(), bin.join("self-contained")]
}

fn resolve(inv: &Invocation, named: &Path) -> Option<PathBuf> {
    let runs = |path: &PathBuf| {
        fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0)
    };
    if named.components().count() > 1 {
        return Some(inv.absolute(named)).filter(runs);
    }
    let path = inv.var("PATH")?;
    std::env::split_paths(path)
        .map(|dir| inv.absolute(&dir).join(named))
        .find(runs)
}

/// Whether a driver's file is one of gcc's or clang's own: nothing stands in front of it. A
/// compiler cache or a script is called by other names, or is no program of its own.
fn is_driver(program: &Path) -> bool {
    let Ok(real) = fs::canonicalize(program) else {
        return false;
    };
    let name = real.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let known = ["gcc", "g++", "cc", "c++", "clang", "clang++"];
    name.split('-').any(|part| known.contains(&part)) && is_elf(&real)
}

fn is_elf(path: &Path) -> bool {
    let mut magic = [0; 4];
    let read = File::open(path).and_then(|mut file| file.read_exact(&mut magic));
    read.is_ok() && magic == *b"\x7fELF"
}

/// A linker whose files did not change while they were looked at. A backup that links them
/// elsewhere, or an upgrade, may change them just then: it is looked at again.
fn settled(
    program: &Path,
    asked: &Invocation,
    compiler: &Compiler,
    files: &dyn FileDigests,
) -> Result<(Linker, Watched), Bypass> {
    for _ in 0..ATTEMPTS {
        let mut watched = Watched::default();
        let linker = identify(program, asked, compiler, files, &mut watched)
            .ok_or(Bypass::LinkerUnidentified)?;
        // Every stamp was taken before the file was read: no change may have come since.
        if watched.unchanged() {
            return Ok((linker, watched));
        }
    }
    Err(Bypass::LinkerUnidentified)
}

fn identify(
    program: &Path,
    asked: &Invocation,
    compiler: &Compiler,
    files: &dyn FileDigests,
    watched: &mut Watched,
) -> Option<Linker> {
    watched.add(program);
    if !is_driver(program) {
        return None;
    }
    let answer = ask(program, &["-print-search-dirs"], asked).ok()?;
    let version = ask(program, &["--version"], asked).ok()?;
    // clang reads files of options from its own and the user's directories, and says so.
    if version.contains("Configuration file") {
        return None;
    }
    let own = tools(compiler);
    let mut programs = vec![own[0].clone()];
    programs.extend(listed(&answer, "programs: =", asked)?);
    programs.extend(listed(&answer, "install: ", asked)?);
    let path = asked.var("PATH").unwrap_or_default();
    programs.extend(std::env::split_paths(path).map(|dir| asked.absolute(&dir)));
    let mut directories = vec![own[0].clone()];
    directories.extend(listed(&answer, "libraries: =", asked)?);
    if programs.len() + directories.len() > MAX_DIRECTORIES {
        return None;
    }
    for dir in programs.iter().chain(&directories) {
        watched.add(dir);
    }
    let mut parts = Parts {
        files,
        watched,
        found: BTreeMap::new(),
    };
    parts.take("driver", program)?;
    // Not every toolchain has it.
    let _ = parts.take("program rust-lld", &own[1].join("rust-lld"));
    parts.programs(&programs)?;
    parts.libraries(&directories)?;
    parts.own_libraries(&directories)?;
    let parts = parts.found.into_iter().map(|(name, digest)| FileInput {
        name,
        digest: Some(digest),
    });
    Some(Linker {
        parts: parts.collect(),
        directories,
    })
}

/// A line of `-print-search-dirs`.
fn listed(answer: &str, begins: &str, asked: &Invocation) -> Option<Vec<PathBuf>> {
    let line = answer.lines().find_map(|line| line.strip_prefix(begins));
    let Some(line) = line else {
        // clang has no install directory; the other two everyone has.
        return begins.starts_with("install").then(Vec::new);
    };
    let all: Vec<PathBuf> = std::env::split_paths(line).collect();
    let absolute = all.iter().all(|dir| dir.is_absolute());
    absolute.then(|| all.iter().map(|dir| asked.absolute(dir)).collect())
}

struct Parts<'a> {
    files: &'a dyn FileDigests,
    watched: &'a mut Watched,
    found: BTreeMap<String, Digest>,
}

impl Parts<'_> {
    fn take(&mut self, name: &str, path: &Path) -> Option<()> {
        self.watched.add(path);
        let digest = self.files.digest(path).ok()?;
        self.found.insert(format!("linker {name}"), digest);
        Some(())
    }

    /// What a driver may run.
    fn programs(&mut self, directories: &[PathBuf]) -> Option<()> {
        for name in PROGRAMS {
            let mut all = directories.iter().map(|dir| dir.join(name));
            let Some(path) = all.find(|path| path.is_file()) else {
                continue;
            };
            // A script in front of a linker runs what nobody has looked at.
            if !is_elf(&path) {
                return None;
            }
            self.take(&format!("program {name}"), &path)?;
        }
        Some(())
    }

    /// What a driver adds to a link by itself.
    fn libraries(&mut self, directories: &[PathBuf]) -> Option<()> {
        for name in OBJECTS {
            let mut all = directories.iter().map(|dir| dir.join(name));
            if let Some(path) = all.find(|path| path.is_file()) {
                self.take(&format!("object {name}"), &path)?;
            }
        }
        for name in LIBRARIES {
            let Some(library) = Library::find(name, directories, self.files) else {
                continue;
            };
            for path in &library.read {
                self.watched.add(path);
            }
            let name = format!("linker library {name}");
            self.found.insert(name, library.digest);
        }
        Some(())
    }

    /// What the programs themselves load.
    fn own_libraries(&mut self, directories: &[PathBuf]) -> Option<()> {
        let mut seen = Vec::new();
        for dir in directories {
            let Ok(real) = fs::canonicalize(dir) else {
                continue;
            };
            if seen.contains(&real) {
                continue;
            }
            let entries = fs::read_dir(&real).into_iter().flatten().take(MAX_ENTRIES);
            for entry in entries.flatten() {
                let name = entry.file_name().into_string().unwrap_or_default();
                let wanted = PARTS.iter().any(|part| name.starts_with(part));
                if wanted && name.contains(".so") && entry.path().is_file() {
                    self.take(&format!("part {name}"), &entry.path())?;
                }
            }
            seen.push(real);
        }
        Some(())
    }
}

#[cfg(test)]
#[path = "linker_tests.rs"]
mod tests;
