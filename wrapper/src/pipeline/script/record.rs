//! Record: from a finished run to an entry, if all of it is known and nothing moved under it.

use super::key::{ALONE, ENVIRONMENT, Extent, Keying, ROOTS, Spent};
use super::programs::Programs;
use super::pwd::{PWD_IS_ABOVE, Pwd};
use super::said::Declared;
use super::seen::{Seen, is_git, seen};
use super::{OUTPUT, Recording, out};
use crate::action::{Look, Looked, MAX_FILES};
use crate::compiler::Bypass;
use crate::compiler::probe::Compiler;
use crate::compiler::rustc::macro_symbols::{LIBRARY_MAX, unseen_program};
use crate::digests::{FileDigests, Identity, local_clock, open_regular};
use crate::ipc::protocol::Finished;
use crate::observer::log;
use crate::paths::{RootKind, Scanner};
use crate::pipeline::find::{LAYOUT, named, reads_a_secret};
use crate::pipeline::moved::{Began, Ways};
use crate::pipeline::record::{absent_throughout, undisturbed};
use crate::pipeline::{Cache, Pipeline, Staged, StagedOutput, Tier, UnsignedEntry, temporary};
use quarry_trust::canon::Canonical;
use quarry_trust::{Digest, Entry, OutputKind, Verified};
use std::cell::LazyCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{Read, Seek};
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub(super) fn record(
    pipeline: &Pipeline,
    r: &Recording,
    finished: &Finished,
    cache: &dyn Cache,
) -> Result<Verified<Entry>, Bypass> {
    if !finished.success {
        return Err(Bypass::ScriptFailed);
    }
    let (Some(stdout), Some(stderr)) = (&finished.stdout, &finished.stderr) else {
        return Err(Bypass::MessagesTooLarge);
    };
    let programs = || Programs::new(&r.inv, &r.roots, r.wrapper.as_deref());
    let seen = looked_at(pipeline, r, &programs())?;
    if !r.was_empty {
        return Err(Bypass::ScriptLeftovers);
    }
    let declared = Declared::of(stdout);
    let keying = Keying {
        pipeline,
        inv: &r.inv,
        roots: &r.roots,
        known: &r.known,
        programs: programs(),
        secret: cache.value_secret(),
    };
    let inputs = Inputs::of(&keying, r, &declared, &seen)?;

    let had_pwd = seen.others || seen.alone.contains("environment");
    let made = made(r, [stdout, stderr], had_pwd && seen.pwd_is_above, cache)?;

    let mut alone = seen.alone;
    alone.extend(made.bound.then_some("paths"));
    alone.extend(inputs.outside(&keying).then_some("outside"));
    let mut read: BTreeSet<String> = seen.variables;
    read.extend(declared.variables);
    if had_pwd {
        let is_above = seen.pwd_is_above && !made.bound && !made.holds_pwd;
        read.insert(if is_above { PWD_IS_ABOVE } else { "PWD" }.to_owned());
    }
    read.extend(surroundings(r, &alone, made.bound || inputs.beside));
    let variables = keying.variables(read.iter().map(String::as_str));
    let variables = variables.ok_or(Bypass::ScriptInput)?;
    let private = !alone.is_empty() || reads_a_secret(&variables);
    let description = keying.with(inputs.files, inputs.looked, variables);
    let (action, description_bytes) = description.action();
    let entry = UnsignedEntry {
        lookup: r.known.lookup(),
        action,
        description: stage(cache, &description_bytes)?,
        prediction: description.prediction().to_canon(),
        crate_name: r.facts.package.clone(),
        outputs: vec![StagedOutput {
            name: OUTPUT.to_owned(),
            kind: OutputKind::Plain,
            executable: false,
            staged: made.files,
        }],
        stdout: made.stdout,
        stderr: made.stderr,
        width: None,
        duration_ms: finished.duration_ms,
        private,
    };
    undisturbed(finished, r.watch)?;
    cache.put(entry).map_err(|_| Bypass::StoreUnavailable)
}

/// What else counts of where and how a script ran, as names among the variables.
fn surroundings(r: &Recording, alone: &BTreeSet<&str>, bound: bool) -> Vec<String> {
    // What was not understood serves the checkout whose cargo would not have run it again, unless
    // its sources are everybody's.
    let own = r.roots.root(RootKind::Workspace).is_some();
    let bound = bound || (own && !alone.is_empty());
    let whole = alone.contains("programs") || alone.contains("environment");
    let names = [
        (bound, ROOTS),
        (own, LAYOUT),
        // Which programs a script finds may have gone unseen.
        (!alone.is_empty(), "PATH"),
        (whole, ENVIRONMENT),
    ];
    let names = names.into_iter().filter(|(counts, _)| *counts);
    names
        .map(|(_, name)| name.to_owned())
        .chain(alone.iter().map(|why| format!("{ALONE}{why}")))
        .collect()
}

fn stage(cache: &dyn Cache, bytes: &[u8]) -> Result<Staged, Bypass> {
    let staged = cache.stage_bytes(bytes);
    staged.map_err(|_| Bypass::StoreUnavailable)
}

/// What came out of a run, with placeholders in what it said.
struct Made {
    stdout: Staged,
    stderr: Staged,
    /// OUT_DIR.
    files: Staged,
    /// Whether a path of this checkout stands in any of it.
    bound: bool,
    /// Whether PWD does, whole or by its last name alone, where that was asked.
    holds_pwd: bool,
}

fn made(
    r: &Recording,
    [stdout, stderr]: [&[u8]; 2],
    asks_for_pwd: bool,
    cache: &dyn Cache,
) -> Result<Made, Bypass> {
    let scanner = Scanner::new(&r.roots, &[], false);
    let pwd = Pwd::new(&r.inv, &r.roots);
    let holds_pwd = |made: &mut dyn Read| {
        let found = asks_for_pwd.then(|| pwd.stands_in(made)).transpose();
        let found = found.map_err(|_| Bypass::StoreUnavailable)?;
        Ok(found == Some(true))
    };
    let (mut bound, mut told) = (false, false);
    let mut said = |text: &[u8]| {
        let normal = r.roots.normalise(text);
        if r.roots.localise(&normal) != text {
            return Err(Bypass::ScriptMessages);
        }
        bound |= scanner.found_in(&normal);
        told |= holds_pwd(&mut &*normal)?;
        stage(cache, &normal)
    };
    let (stdout, stderr) = (said(stdout)?, said(stderr)?);
    let (mut file, in_files) = packed(r, &scanner)?;
    told |= holds_pwd(&mut file)?;
    file.rewind().map_err(|_| Bypass::StoreUnavailable)?;
    let files = cache.stage_file(&file);
    Ok(Made {
        stdout,
        stderr,
        files: files.map_err(|_| Bypass::StoreUnavailable)?,
        bound: bound || in_files,
        holds_pwd: told,
    })
}

/// All that the run was seen to do, or could have done unseen.
fn looked_at(pipeline: &Pipeline, r: &Recording, known: &Programs<'_>) -> Result<Seen, Bypass> {
    let bytes = r.log.read().map_err(|_| Bypass::ScriptUnobserved)?;
    let records = log::parse(&bytes).ok_or(Bypass::ScriptUnobserved)?;
    let mut seen = seen(&records, &r.facts, &r.roots, known)?;
    look_into(pipeline, r, &mut seen)?;
    if seen.started && !compiler_stayed(pipeline, r) {
        return Err(Bypass::ScriptInputChanged);
    }
    Ok(seen)
}

/// Whether the compiler is the one that stands in the key, after the run too.
fn compiler_stayed(pipeline: &Pipeline, r: &Recording) -> bool {
    compiler(pipeline, r).is_some_and(|now| now.identity == r.known.compiler)
}

/// The compiler that the script is told of, as it now is.
fn compiler(pipeline: &Pipeline, r: &Recording) -> Option<Arc<Compiler>> {
    let rustc = r.inv.var("RUSTC")?;
    let target = r.inv.var("TARGET").and_then(|t| t.to_str());
    let digests = pipeline.digests.as_ref();
    let found = pipeline
        .compilers
        .identify_named(&r.inv, rustc, target, digests);
    found.ok()
}

/// What the script's program could do unseen; it still is the one that stands in the key.
fn look_into(pipeline: &Pipeline, r: &Recording, seen: &mut Seen) -> Result<(), Bypass> {
    let (path, before) = &r.program;
    let mut bytes = Vec::new();
    let file = open_regular(path).map_err(|_| Bypass::ScriptInputChanged)?;
    let now = file.metadata().map(|m| Identity::of(&m));
    let read = file.take(LIBRARY_MAX + 1).read_to_end(&mut bytes);
    let same = now.is_ok_and(|now| (now.inode, now.modified) == (before.inode, before.modified))
        && read.is_ok()
        && r.known.root.digest == Some(Digest::of(&bytes));
    if !same {
        return Err(Bypass::ScriptInputChanged);
    }
    let standard = LazyCell::new(|| pipeline.compilers.standard(&*compiler(pipeline, r)?));
    for reason in unseen_program(&bytes, &|| standard.clone()) {
        match reason {
            Bypass::MacroEnviron => drop(seen.alone.insert("environment")),
            Bypass::MacroRawCalls => seen.unseen("unwatched"),
            Bypass::MacroLibrary => seen.unseen("libraries"),
            reason => return Err(reason),
        }
    }
    Ok(())
}

/// OUT_DIR in one file, and whether a path of this checkout stands in it.
fn packed(r: &Recording, scanner: &Scanner) -> Result<(File, bool), Bypass> {
    let above = r.facts.out_dir.parent();
    let at = temporary(above.ok_or(Bypass::OutputDirectory)?, "pack");
    let mut options = File::options();
    let file = options.read(true).write(true).create_new(true).open(&at);
    let mut file = file.map_err(|_| Bypass::OutputDirectory)?;
    // It is gone when it is closed.
    let _ = fs::remove_file(&at);
    let packed = out::pack(&r.facts.out_dir, &file, scanner)?;
    file.rewind().map_err(|_| Bypass::StoreUnavailable)?;
    Ok((file, packed.bound))
}

/// The files of a key, digested, and what was looked at.
struct Inputs {
    files: BTreeMap<String, Option<Digest>>,
    looked: Vec<Looked>,
    /// The same without what stands before some names.
    names: BTreeSet<String>,
    /// Whether a path among them would be called otherwise from another checkout.
    beside: bool,
}

impl Inputs {
    fn of(
        keying: &Keying<'_>,
        r: &Recording,
        declared: &Declared,
        seen: &Seen,
    ) -> Result<Self, Bypass> {
        let mut all = Self {
            files: BTreeMap::new(),
            looked: Vec::new(),
            names: BTreeSet::new(),
            beside: false,
        };
        let began = Began {
            inv: &r.inv,
            roots: &r.roots,
            place: &r.place,
            started: r.started,
            reason: Bypass::ScriptInputChanged,
        };
        let mut ways = Ways::new(began, &r.facts.out_dir)?;
        for path in &declared.paths {
            all.declared(keying, r, &mut ways, path)?;
        }
        if declared.is_nothing() {
            let package = r.facts.directory.clone();
            all.tree(keying, r, &mut ways, &package, Extent::Package)?;
        }
        for path in &seen.files {
            all.file(keying, r, &mut ways, path)?;
        }
        for path in &seen.absent {
            let restless = keying.is_built(path) || r.facts.comes_and_goes(path);
            if restless || seen.sought.contains(path) {
                // There nothing rests (PATH leads through home directories); that it is still
                // absent must do.
                if path.symlink_metadata().is_ok() {
                    return Err(Bypass::ScriptInputChanged);
                }
            } else {
                absent_throughout(path, r.started).map_err(|_| Bypass::ScriptInputChanged)?;
            }
            all.insert(r, path, None)?;
        }
        all.looks(keying, r, &mut ways, seen)?;
        ways.still()?;
        if all.files.len() + all.looked.len() > MAX_FILES {
            return Err(Bypass::ScriptInput);
        }
        Ok(all)
    }

    /// What was looked at, and rested.
    fn looks(
        &mut self,
        keying: &Keying<'_>,
        r: &Recording,
        ways: &mut Ways<'_>,
        seen: &Seen,
    ) -> Result<(), Bypass> {
        let mut looked = BTreeMap::new();
        for (path, look) in &seen.looks {
            let m = match look {
                Look::Link => path.symlink_metadata(),
                Look::List | Look::Kind => fs::metadata(path),
            };
            let m = m.map_err(|_| Bypass::ScriptInputChanged)?;
            let identity = Identity::of(&m);
            let changed = match look {
                Look::Kind => false,
                Look::List => identity.modified >= r.started,
                // One that was made before may have been moved here.
                Look::Link => identity.newest() >= r.started,
            };
            if changed {
                return Err(Bypass::ScriptInputChanged);
            }
            let way = match look {
                Look::List => Some(path.as_path()),
                // What a link leads to need not be there.
                Look::Link => path.parent(),
                Look::Kind => None,
            };
            if let Some(way) = way {
                ways.rested(way)?;
            }
            let sight = keying.sight(path, *look).ok_or(Bypass::ScriptInput)?;
            if *look == Look::List || !r.roots.is_above(path) {
                self.place(r, path);
            }
            let name = named(&r.roots, path)?;
            self.names.insert(name.clone());
            looked.insert((name, *look), sight);
        }
        let looked = looked.into_iter();
        self.looked = looked
            .map(|((name, _), sight)| Looked { name, sight })
            .collect();
        Ok(())
    }

    fn insert(&mut self, r: &Recording, path: &Path, digest: Option<Digest>) -> Result<(), Bypass> {
        let name = named(&r.roots, path)?;
        self.place(r, path);
        self.names.insert(name.clone());
        self.files.insert(name, digest);
        Ok(())
    }

    /// Minds where a path lies. What PATH leads to lies where PATH says, which is in the key.
    fn place(&mut self, r: &Recording, path: &Path) {
        let dirs = r.inv.nonempty_var("PATH").map(std::env::split_paths);
        let in_path = dirs.is_some_and(|mut dirs| dirs.any(|dir| path.parent() == Some(&dir)));
        self.beside |= !in_path && r.roots.beside(path);
    }

    /// What the script names by itself. Cargo runs it each time where nothing is there, and where
    /// it is newer than the run.
    fn declared(
        &mut self,
        keying: &Keying<'_>,
        r: &Recording,
        ways: &mut Ways<'_>,
        path: &Path,
    ) -> Result<(), Bypass> {
        let path: PathBuf = r.facts.directory.join(path).components().collect();
        if is_git(&path) {
            return Err(Bypass::ScriptGit);
        }
        if r.facts.is_out(&path) {
            return Err(Bypass::ScriptAlways);
        }
        match fs::metadata(&path) {
            Ok(m) if m.is_dir() => {
                let target = r.roots.root(RootKind::Target);
                if target.is_some_and(|target| target.starts_with(&path)) {
                    return Err(Bypass::ScriptAlways);
                }
                self.tree(keying, r, ways, &path, Extent::Tree)
            }
            Ok(m) if m.is_file() => self.file(keying, r, ways, &path),
            Ok(_) => Err(Bypass::ScriptInput),
            Err(_) => Err(Bypass::ScriptAlways),
        }
    }

    fn file(
        &mut self,
        keying: &Keying<'_>,
        r: &Recording,
        ways: &mut Ways<'_>,
        path: &Path,
    ) -> Result<(), Bypass> {
        let unreadable = |_| Bypass::ScriptInput;
        let file = open_regular(path).map_err(unreadable)?;
        if !local_clock(&file) {
            return Err(Bypass::ForeignClock);
        }
        let identity = Identity::of(&file.metadata().map_err(unreadable)?);
        if identity.newest() >= r.started {
            return Err(Bypass::ScriptInputChanged);
        }
        ways.rested(path)?;
        let digest = keying.pipeline.digests.digest(path).map_err(unreadable)?;
        self.insert(r, path, Some(digest))
    }

    fn tree(
        &mut self,
        keying: &Keying<'_>,
        r: &Recording,
        ways: &mut Ways<'_>,
        path: &Path,
        extent: Extent,
    ) -> Result<(), Bypass> {
        ways.rested(path)?;
        let grown = keying
            .grown(path, extent, &mut Spent::default())
            .ok_or(Bypass::ScriptInput)?;
        if grown.newest >= r.started {
            return Err(Bypass::ScriptInputChanged);
        }
        self.place(r, path);
        let name = named(&r.roots, path)?;
        self.files.insert(extent.name(&name), Some(grown.digest));
        self.names.insert(name);
        Ok(())
    }

    /// Whether a name among them is one that nobody else may be told.
    fn outside(&self, keying: &Keying<'_>) -> bool {
        let reach = |name: &String| keying.locate(name, Tier::Peers).is_some();
        !self.names.iter().all(reach)
    }
}
