//! Loosen: shows, by compiling once more, that an entry does not depend on what the package's
//! directory is called, or `OUT_DIR`, and stores it a second time under a key that does not hold
//! the name.
//!
//! Macros that read files find them through `CARGO_MANIFEST_DIR` or the working directory, and
//! what a build script made through `OUT_DIR`; so their values, which are others in each checkout,
//! are in the key, since a macro could emit them, or a hash of them. Here the same command runs
//! with copies under other names, and in another working directory where a macro asked for that.
//! Where every byte agrees, the names are placeholders in the second key.
//!
//! Enters: an invocation, the entry and prediction that were just stored for it, a private
//! directory. Leaves: a second entry, or why there is none. Nothing else is written outside that
//! directory. Must never happen here: a second entry for bytes that were not compared.

use super::copied::copy_tree;
use super::find::Trip;
use super::observed::DIRECTORY as WORKING_DIRECTORY;
use super::ran::{self, Asking, CARGO, PACKAGE as DIRECTORY};
use super::recheck::{Rechecked, STOPPED, compare, elsewhere, run};
use super::record::scanner;
use super::restore::read_checked;
use super::{
    Cache, Pipeline, Staged, StagedOutput, Tier, UnsignedEntry, read_prediction, stays_here,
};
use crate::action::{Description, Look, Observer, Prediction, Ran, Use};
use crate::child::Child;
use crate::compiler::rustc::args::Unit;
use crate::compiler::{Class, classify};
use crate::invocation::Invocation;
use crate::paths::{Roots, Scanner};
use crate::stopped::Watch;
use quarry_trust::canon::Canonical;
use quarry_trust::{Digest, Entry, ObjectRef, OutputKind};
use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

/// In which other variable cargo says where the package lies.
const MANIFEST: &str = "CARGO_MANIFEST_PATH";
/// The same of what a build script made.
const MADE: &str = "OUT_DIR";
/// Where the outputs of such a compile go, below its private directory.
const OUTPUTS: &str = "out";
/// Files that are copied, and their bytes: a site with its pictures.
const MAX_FILES: usize = 20_000;
const MAX_BYTES: u64 = 256 * 1024 * 1024;
/// Bytes of an output that is searched for the paths; a larger one is compared only.
const SEARCHED_MAX: u64 = 256 << 20;

/// What compiling under another name showed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loosened {
    /// The same bytes: a second entry is stored.
    Stored,
    /// Other bytes in this output: the name matters.
    Differs(String),
    /// Nothing, and why.
    Unknown(&'static str),
    /// Nothing, since something that it needs was gone, changed or stopped meanwhile.
    Disturbed(&'static str),
}

/// Whether the package's directory or `OUT_DIR` binds what was stored under this prediction to its
/// checkout.
#[must_use]
pub fn is_bound(prediction: &[u8]) -> bool {
    let Some(prediction) = read_prediction(prediction) else {
        return false;
    };
    let literal = |name: &str| literal(&prediction, name);
    let bound = [DIRECTORY, MANIFEST, WORKING_DIRECTORY, MADE, CARGO];
    bound.into_iter().any(literal)
}

impl Pipeline {
    /// Compiles what `entry` was just stored for once more, with copies of the package and of
    /// `OUT_DIR` in `scratch` (a private, empty directory), within `within`; stores a second entry where the
    /// bytes agree. Blocks.
    pub fn loosen(
        &self,
        inv: &Invocation,
        (entry, prediction): (&Entry, &[u8]),
        scratch: &Path,
        within: Duration,
        cache: &dyn Cache,
    ) -> Loosened {
        let Class::Compile(unit) = classify(inv) else {
            return Loosened::Unknown("the command is not cached any more");
        };
        let Ok(compiler) = self.identify(inv, &unit) else {
            return Loosened::Disturbed("the compiler is gone");
        };
        let roots = Roots::of(inv, &unit, &compiler.sysroot, &compiler.commit_hash);
        let Some(bound) = read_prediction(prediction) else {
            return Loosened::Unknown("the prediction cannot be read");
        };
        if looks_beside(&bound, &roots) {
            return Loosened::Unknown("a macro looked beside or above the workspace");
        }
        let Some(moved) = Moved::new(inv, &roots, &bound, scratch) else {
            return Loosened::Disturbed("there is nothing that can be copied");
        };
        let argv = moved.argv(&unit, unit.run_argv(inv, &roots), scratch);
        let compile = Elsewhere {
            moved: &moved,
            roots: &roots,
            argv: &argv,
            scratch,
            within,
        };
        let said = match self.compiled_alike(&compile, &bound.ran, entry, cache) {
            Ok(said) => said,
            Err(found) => return found,
        };
        let mut seen = HashMap::new();
        let Ok(base) = self.base(inv, &unit, &roots, &compiler, &mut seen) else {
            return Loosened::Disturbed("an input is gone");
        };
        if !base.macros.is_empty() && base.known.observer == Observer::None {
            return Loosened::Unknown("nobody saw what the macros read");
        }
        let trip = Trip {
            pipeline: self,
            inv,
            unit: &unit,
            roots: &roots,
            base: &base,
            cache,
            asking: Asking::nobody(&roots),
        };
        let now = trip.as_it_was(&bound, Tier::Local);
        if now.map(|d| d.action().0) != Some(entry.action) {
            return Loosened::Disturbed("an input changed meanwhile");
        }
        let loose = without_the_name(bound, &said, &trip);
        let Some(described) = trip.as_it_was(&loose, Tier::Local) else {
            return Loosened::Disturbed("an input changed meanwhile");
        };
        // What a literal value had in it may have been in the outputs, too.
        let scanner = scanner(&unit, (inv, &roots), &described.variables);
        if holds_a_path(entry, &scanner, cache) {
            return Loosened::Unknown("an output holds a path");
        }
        stored(entry, &described, &loose, cache)
    }

    /// Compiles with the package in another directory: what the programs that macros started said
    /// there, with placeholders. An error where the bytes differ, or where that cannot be told.
    fn compiled_alike(
        &self,
        compile: &Elsewhere<'_>,
        ran: &[Ran],
        entry: &Entry,
        cache: &dyn Cache,
    ) -> Result<Vec<Digest>, Loosened> {
        let Elsewhere {
            moved,
            roots,
            scratch,
            ..
        } = compile;
        let Some(programs) = moved.programs(ran, roots) else {
            return Err(Loosened::Unknown(
                "a program that a macro started names another place",
            ));
        };
        if moved.stands_in(entry, cache) {
            return Err(Loosened::Unknown("an output holds the path"));
        }
        let outputs = scratch.join(OUTPUTS);
        if fs::create_dir(&outputs).is_err() {
            return Err(Loosened::Unknown("the directory cannot be written to"));
        }
        let mut inv = moved.inv.clone();
        let copied = moved.moves.iter().find(|m| m.copy.is_dir());
        let copied = copied.map(|m| (m.copy.as_path(), m.from.as_path()));
        let observed = self.observing.begin_moved(copied);
        let (log, env) = observed.unzip();
        // Who commits meanwhile shall find no lock.
        let quiet = (b"GIT_OPTIONAL_LOCKS".to_vec(), b"0".to_vec());
        let quiet = (!programs.is_empty()).then_some(quiet);
        let env = env.into_iter().flatten().chain(quiet);
        inv.env
            .extend(env.map(|(n, v)| (OsString::from_vec(n), OsString::from_vec(v))));
        let watch = Watch::begin();
        let quietly = (Stdio::null(), Stdio::null());
        match run(&inv, compile.argv, compile.within, quietly) {
            Ok(Some(status)) if status.success() => {}
            Ok(Some(_)) => return Err(Loosened::Disturbed("the compile failed")),
            Ok(None) => return Err(Loosened::Unknown("the compile took too long")),
            Err(_) => return Err(Loosened::Disturbed("the compiler could not be run")),
        }
        let back = |text: &[u8]| moved.back(text, roots);
        let said = || ran::told_the_same(&log?, &inv.cwd, &programs, roots, back);
        let said = match programs.is_empty() {
            true => Some(Vec::new()),
            false => said(),
        };
        let Some(said) = said else {
            return Err(Loosened::Unknown(
                "other programs are started, or they say something else",
            ));
        };
        let found = compare(entry, &outputs, self.digests.as_ref(), cache);
        if watch.stopped() {
            return Err(Loosened::Disturbed(STOPPED));
        }
        match found {
            Rechecked::Same | Rechecked::Agreed => Ok(said),
            Rechecked::Differs(output) => Err(Loosened::Differs(output)),
            Rechecked::Unknown(why) => Err(Loosened::Unknown(why)),
        }
    }
}

/// A compile with directories under other names.
struct Elsewhere<'a> {
    moved: &'a Moved,
    roots: &'a Roots,
    argv: &'a [OsString],
    scratch: &'a Path,
    within: Duration,
}

/// Stores the second entry.
fn stored(
    entry: &Entry,
    described: &Description,
    prediction: &Prediction,
    cache: &dyn Cache,
) -> Loosened {
    let (action, bytes) = described.action();
    if action == entry.action {
        return Loosened::Unknown("the package lies outside the checkout");
    }
    let stored = cache.stage_bytes(&bytes).and_then(|description| {
        cache.put(UnsignedEntry {
            action,
            description,
            prediction: prediction.to_canon(),
            private: stays_here(described),
            ..again(entry)
        })
    });
    match stored {
        Ok(_) => Loosened::Stored,
        Err(_) => Loosened::Unknown("the store took no entry"),
    }
}

/// Whether one of these paths stands in an output, or that cannot be told.
fn holds_a_path(entry: &Entry, scanner: &Scanner, cache: &dyn Cache) -> bool {
    let mut all = entry.outputs.iter();
    all.any(|output| {
        output.kind != OutputKind::DepInfo
            && read_checked(cache, &output.object, SEARCHED_MAX)
                .map_or(true, |bytes| scanner.found_in(&bytes))
    })
}

/// Whether what a variable holds is in the key as it is.
fn literal(prediction: &Prediction, name: &str) -> bool {
    let mut all = prediction.variables.iter();
    all.any(|(n, how)| n == name && *how == Use::Literal)
}

/// Whether a path is named that another checkout would call otherwise: beside the copy there is
/// nothing, and beside another checkout there may be.
fn looks_beside(prediction: &Prediction, roots: &Roots) -> bool {
    let looks = prediction.looks.iter();
    let looks = looks.filter(|(name, look)| {
        let above = roots.locate(name).is_some_and(|path| roots.is_above(&path));
        *look == Look::List || !above
    });
    let mut names = prediction
        .files
        .iter()
        .chain(&prediction.absent)
        .chain(looks.map(|(name, _)| name));
    names.any(|name| roots.locate(name).is_some_and(|path| roots.beside(&path)))
}

/// The prediction under which the directories count as placeholders, and the working directory not
/// at all; `said` is what the programs that macros started say, with placeholders.
fn without_the_name(mut prediction: Prediction, said: &[Digest], trip: &Trip<'_>) -> Prediction {
    prediction.variables.retain(|(n, _)| n != WORKING_DIRECTORY);
    for (name, how) in &mut prediction.variables {
        if [DIRECTORY, MANIFEST, MADE, CARGO].contains(&name.as_str()) {
            *how = Use::Symbolic;
        }
    }
    if !prediction.ran.is_empty() {
        let named = prediction.ran.iter().zip(said);
        prediction.ran = named
            .map(|(one, said)| ran::symbolic(one, *said, trip.roots))
            .collect();
        let rest = trip.without_programs(prediction.clone(), Tier::Local);
        prediction.rest = rest.map(|described| described.rest());
    }
    prediction
}

/// What an entry says, to be signed once more. Its objects are held by the entry itself.
pub(super) fn again(entry: &Entry) -> UnsignedEntry {
    let staged = |object: ObjectRef| Staged {
        object,
        pin: Box::new(()),
    };
    let outputs = entry.outputs.iter().map(|o| StagedOutput {
        name: o.name.as_str().to_owned(),
        kind: o.kind,
        executable: o.executable,
        staged: staged(o.object),
    });
    UnsignedEntry {
        lookup: entry.lookup,
        action: entry.action,
        description: staged(entry.description),
        prediction: Vec::new(),
        crate_name: entry.crate_name.clone(),
        outputs: outputs.collect(),
        stdout: staged(entry.stdout),
        stderr: staged(entry.stderr),
        width: entry.width,
        duration_ms: entry.duration_ms,
        private: false,
    }
}

/// A directory under another name.
struct Move {
    from: PathBuf,
    copy: PathBuf,
    /// The argument that gives the copy the name that the original has.
    remap: OsString,
}

impl Move {
    fn new(from: &Path, copy: PathBuf, roots: &Roots) -> Option<Self> {
        let mut remap = OsString::from("--remap-path-prefix=");
        remap.push(&copy);
        remap.push("=");
        remap.push(remapped(from, roots)?);
        Some(Self {
            from: from.to_owned(),
            copy,
            remap,
        })
    }

    /// What the original is called, and the copy.
    fn names(&self) -> [&[u8]; 2] {
        [&self.from, &self.copy].map(|path| path.as_os_str().as_bytes())
    }

    /// What a path below the original is called here: without a slash at the end, as cargo names
    /// a directory.
    fn moved(&self, path: &Path) -> Option<PathBuf> {
        let below = self.copy.join(path.strip_prefix(&self.from).ok()?);
        Some(below.components().collect())
    }
}

/// An invocation whose package lies elsewhere, or what its build script made, and with the package
/// the working directory where a macro asked for that.
struct Moved {
    inv: Invocation,
    moves: Vec<Move>,
}

impl Moved {
    fn new(inv: &Invocation, roots: &Roots, bound: &Prediction, scratch: &Path) -> Option<Self> {
        let mut all = Self {
            inv: inv.clone(),
            moves: Vec::new(),
        };
        // Other lengths, other depths, other last names.
        let scratch = fs::canonicalize(scratch).ok()?;
        let mut left = (MAX_FILES, MAX_BYTES);
        let of_package = [DIRECTORY, MANIFEST, WORKING_DIRECTORY];
        if of_package.into_iter().any(|name| literal(bound, name)) {
            let copy = scratch.join("a package under another name").join("p");
            all.package(inv, roots, bound, copy, &mut left)?;
        }
        if literal(bound, MADE) {
            let from = PathBuf::from(inv.var(MADE)?);
            let made = Move::new(&from, scratch.join("made").join("o"), roots)?;
            copy_tree(&from, &made.copy, None, &mut left).ok()?;
            all.set(&[MADE], &made)?;
            all.moves.push(made);
        }
        let cargo = inv.var(CARGO).map(PathBuf::from);
        let cargo = cargo.filter(|path| literal(bound, CARGO) && roots.name(path).is_rooted());
        if let Some(from) = cargo {
            let dir = scratch.join("another cargo");
            fs::create_dir(&dir).ok()?;
            // A link would lead back to the name.
            let copied = Move::new(&from, dir.join("c"), roots)?;
            fs::copy(&from, &copied.copy).ok()?;
            all.set(&[CARGO], &copied)?;
            all.moves.push(copied);
        }
        (!all.moves.is_empty()).then_some(all)
    }

    fn package(
        &mut self,
        inv: &Invocation,
        roots: &Roots,
        bound: &Prediction,
        copy: PathBuf,
        left: &mut (usize, u64),
    ) -> Option<()> {
        let package = inv.var(DIRECTORY).map(PathBuf::from)?;
        let from = match literal(bound, WORKING_DIRECTORY) {
            true => {
                self.inv.cwd.clone_from(&copy);
                &inv.cwd
            }
            false => &package,
        };
        let moving = Move::new(from, copy, roots)?;
        let target = roots.root(crate::paths::RootKind::Target);
        copy_tree(&package, &moving.moved(&package)?, target, left).ok()?;
        self.set(&[DIRECTORY, MANIFEST], &moving)?;
        self.moves.push(moving);
        Some(())
    }

    /// Has variables that name what was moved name the copy.
    fn set(&mut self, names: &[&str], moving: &Move) -> Option<()> {
        for (name, value) in &mut self.inv.env {
            if names.iter().any(|n| name == n) {
                *value = moving.moved(Path::new(value))?.into();
            }
        }
        Some(())
    }

    /// The command, with its outputs below `scratch`, and the root file of the copy where the whole
    /// path was given: in which order rustc writes some things hangs on how many different texts it
    /// meets.
    fn argv(&self, unit: &Unit, argv: Vec<OsString>, scratch: &Path) -> Vec<OsString> {
        let mut argv = elsewhere(argv, &scratch.join(OUTPUTS));
        if let Some(copy) = self.moves.iter().find_map(|m| m.moved(&unit.source)) {
            let source = argv.iter_mut().filter(|a| **a == unit.source);
            source.for_each(|argument| *argument = copy.clone().into());
        }
        let at = 1 + usize::from(unit.clippy.is_some());
        for moving in &self.moves {
            argv.insert(at, moving.remap.clone());
        }
        argv
    }

    /// The programs that macros ran as they are to run here, and what they said; `None` where more
    /// of the checkout than what was moved stands in their words.
    fn programs(&self, ran: &[Ran], roots: &Roots) -> Option<Vec<(Child, Digest)>> {
        let moved = |one: &Ran| {
            let child = ran::all(&one.child, |text| self.word(text, roots))?;
            Some((child, one.said))
        };
        ran.iter().map(moved).collect()
    }

    /// A word with the copy's name in place of the original's, where a placeholder will stand for
    /// just that.
    fn word(&self, text: &[u8], roots: &Roots) -> Option<Vec<u8>> {
        let named = roots.normalise(text);
        if named == text {
            return Some(named);
        }
        self.moves.iter().find_map(|moving| {
            let [from, copy] = moving.names();
            let stands = replaced(text, from, &roots.normalise(from))? == named;
            let back = roots.localise(&named) == text;
            replaced(text, from, copy).filter(|_| stands && back)
        })
    }

    /// What was said here as it would have been said there, where nothing of the checkout stands in
    /// it but what was moved.
    fn back(&self, text: &[u8], roots: &Roots) -> Option<Vec<u8>> {
        let plain = roots.normalise(text) == text;
        let all = plain.then(|| text.to_owned());
        self.moves.iter().fold(all, |text, moving| {
            let [from, copy] = moving.names();
            replaced(&text?, copy, from)
        })
    }

    /// Whether `OUT_DIR` stands in an output as it is: it would be another one elsewhere.
    fn stands_in(&self, entry: &Entry, cache: &dyn Cache) -> bool {
        let made = self
            .moves
            .iter()
            .filter(|m| self.inv.var(MADE) == Some(m.copy.as_os_str()));
        let compared = entry
            .outputs
            .iter()
            .filter(|o| o.kind != OutputKind::DepInfo);
        let mut pairs = made.flat_map(|m| compared.clone().map(move |o| (m, o)));
        pairs.any(|(m, o)| {
            let bytes = read_checked(cache, &o.object, SEARCHED_MAX).unwrap_or_default();
            memchr::memmem::find(&bytes, m.from.as_os_str().as_bytes()).is_some()
        })
    }
}

/// A text with another name of a directory wherever that stands in it; `None` where it goes on behind
/// the name as a name does.
fn replaced(text: &[u8], from: &[u8], to: &[u8]) -> Option<Vec<u8>> {
    let mut all = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = memchr::memmem::find(rest, from) {
        let (before, behind) = (&rest[..at], &rest[at + from.len()..]);
        if !matches!(behind.first(), None | Some(b'/' | b'\n')) {
            return None;
        }
        all.extend_from_slice(before);
        all.extend_from_slice(to);
        rest = behind;
    }
    all.extend_from_slice(rest);
    Some(all)
}

/// What the remaps make of a directory; `None` where they leave it as it is.
fn remapped(dir: &Path, roots: &Roots) -> Option<PathBuf> {
    let remaps = roots.remaps();
    // The last match wins.
    remaps.iter().rev().find_map(|(from, to)| {
        let rest = dir.strip_prefix(from).ok()?;
        Some(if rest.as_os_str().is_empty() {
            PathBuf::from(to)
        } else {
            Path::new(to).join(rest)
        })
    })
}
