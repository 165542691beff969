//! The run of a build script: lookup → OUT_DIR and stdout restored, or run → record.
//!
//! Enters: what the launcher in the script's place was given. Leaves: what the script would have
//! said, with OUT_DIR filled; or what to run, and afterwards an entry. A run is kept for this node
//! by what the script declares and by all that it and the programs that it started were seen to
//! read; others may have it only where nothing was left that is not in the key. Must never happen
//! here: a run replayed that changed anything but OUT_DIR; a run shared of which something was not
//! seen.

pub(super) mod c;
mod find;
mod key;
mod out;
mod programs;
mod pwd;
mod record;
mod said;
mod seen;

use super::alike::Running;
use super::moved::Place;
use super::{Cache, Caller, Hit, Pipeline};
use crate::action::{Description, FileInput, Known, Observer};
use crate::compiler::Bypass;
use crate::compiler::probe::Compiler;
use crate::compiler::rustc::args::{Unit, UnitKind};
use crate::digests::{FileDigests, Identity, MemoDigests, clock_mark};
use crate::invocation::Invocation;
use crate::ipc::protocol::{Finished, RunPlan};
use crate::launcher;
use crate::observer::Log;
use crate::observer::log::{self, Kind};
use crate::paths::{Roots, target_root};
use crate::stopped::Watch;
use quarry_trust::{Digest, Entry};
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The first of the arguments in the key of a run: no compile has it.
const RUN: &[u8] = b"=run of a build script";
/// What the one output of an entry is called.
const OUTPUT: &str = "out";
/// Arguments of a script; cargo gives none.
const ARGUMENTS_MAX: usize = 16;

/// For `crate::fuzzing`: [`out::unpack`], with the usual umask.
pub(crate) fn unpack_for_fuzzing(from: &mut dyn std::io::Read, dir: &Path) -> std::io::Result<()> {
    out::unpack(from, dir, 0o022)
}

/// Whether an entry is that of a build script's run. (A compile has a dep-info file.)
#[must_use]
pub fn is_run(entry: &Entry) -> bool {
    entry.outputs.len() == 1 && entry.outputs[0].name.as_str() == OUTPUT
}

/// The digest of the one output that the run of a script would have now whose OUT_DIR this is;
/// `None` where the directory cannot be read, or holds what no run is kept with.
#[must_use]
pub fn digest_of_out(dir: &Path) -> Option<Digest> {
    out::digest(dir).ok()
}

/// Why nobody else may have a run, where that stands in its description.
pub fn kept_alone(description: &Description) -> impl Iterator<Item = &str> {
    let names = description.variables.iter().map(|v| v.name.as_str());
    names.filter_map(|name| name.strip_prefix(key::ALONE))
}

/// Where a build script's program lies, and what gets a launcher in its place.
pub(super) struct Launcher {
    place: PathBuf,
    wrapper: PathBuf,
}

impl Launcher {
    /// Puts the launcher there. Where that fails, the script is run as ever.
    pub(super) fn put(&self, digests: &MemoDigests) {
        let state = |path: &Path| fs::symlink_metadata(path).map(|m| Identity::of(&m));
        let before = state(&self.place);
        if launcher::put(&self.place, &self.wrapper).is_ok()
            && let (Ok(before), Ok(now)) = (before, state(&launcher::beside(&self.place)))
        {
            digests.renamed(&before, now);
        }
    }
}

impl Pipeline {
    /// The launcher for what this command makes; `None` where it is no build script, and where
    /// runs cannot be observed.
    pub(super) fn launcher(
        &self,
        inv: &Invocation,
        unit: &Unit,
        host: &str,
        caller: &Caller<'_>,
    ) -> Option<Launcher> {
        let here = unit.target.as_deref().is_none_or(|target| target == host);
        let known = unit.kind == UnitKind::BuildScript && unit.emit.link && here;
        if !known || !self.observing.is_there() || !launcher::exists() {
            return None;
        }
        let name = format!("{}{}", unit.crate_name, unit.extra_filename);
        Some(Launcher {
            place: inv.cwd.join(&unit.out_dir).join(name),
            wrapper: caller.wrapper?.to_owned(),
        })
    }

    /// Looks a build script's run up; or says what to run.
    pub fn begin_script(
        &self,
        inv: &Arc<Invocation>,
        caller: &Caller<'_>,
        cache: &dyn Cache,
    ) -> Begin {
        match self.try_begin(inv, caller, cache) {
            Ok(begin) => begin,
            Err(reason) => Begin::Untouched(reason),
        }
    }

    fn try_begin(
        &self,
        inv: &Arc<Invocation>,
        caller: &Caller<'_>,
        cache: &dyn Cache,
    ) -> Result<Begin, Bypass> {
        let (facts, place) = (Facts::of(inv)?, Place::of(inv));
        let target = inv.var("TARGET").and_then(|t| t.to_str());
        let rustc = inv.var("RUSTC").ok_or(Bypass::ScriptSurroundings)?;
        let compiler = self
            .compilers
            .identify_named(inv, rustc, target, self.digests.as_ref())
            .map_err(|_| Bypass::CompilerUnidentified)?;
        let above = facts.out_dir.parent().ok_or(Bypass::ScriptSurroundings)?;
        let roots = Roots::of_script(inv, above, target, &compiler.sysroot, &compiler.commit_hash);
        let looked = clock_mark(above).map_err(|_| Bypass::OutputDirectory)?;
        let program = inv.absolute(Path::new(&inv.argv[0]));
        let metadata = fs::metadata(&program).map_err(|_| Bypass::UnreadableInput)?;
        let known = self.known(inv, &program, &compiler)?;
        let trip = find::Trip {
            pipeline: self,
            inv,
            facts: &facts,
            roots: &roots,
            known: &known,
            cache,
            wrapper: caller.wrapper,
        };
        let mark = self.alike.mark();
        let found = trip.find(caller).map_or_else(
            || {
                let look = || trip.find(caller);
                self.alike.compile(known.lookup(), mark, caller, look)
            },
            Ok,
        );
        let running = match found {
            Ok(hit) => return Ok(Begin::Hit(Box::new(hit))),
            Err(running) => running,
        };
        let (log, env) = self
            .observing
            .begin_run(&self.c_compilers.arguments(inv, &roots))
            .ok_or(Bypass::ScriptUnobserved)?;
        let plan = RunPlan {
            argv: inv.argv.iter().map(|a| a.as_bytes().to_vec()).collect(),
            env,
            rewrites: Vec::new(),
            record: true,
        };
        let started = self.begins(inv, above, looked);
        let was_empty = fs::read_dir(&facts.out_dir).is_ok_and(|mut dir| dir.next().is_none());
        Ok(Begin::Run(Box::new(ScriptJob {
            package: facts.package.clone(),
            plan,
            recording: Recording {
                inv: Arc::clone(inv),
                facts,
                roots,
                known,
                program: (program, Identity::of(&metadata)),
                started,
                place,
                watch: Watch::begin(),
                was_empty,
                wrapper: caller.wrapper.map(Path::to_owned),
                log,
                _running: running,
            },
        })))
    }

    /// What is known of a run before anything is looked up.
    fn known(
        &self,
        inv: &Invocation,
        program: &Path,
        compiler: &Compiler,
    ) -> Result<Known, Bypass> {
        let digest = self.digests.digest(program);
        let args = inv.argv.iter().skip(1).map(|a| a.as_bytes().to_vec());
        Ok(Known {
            compiler: compiler.identity,
            compiler_version: compiler.verbose_version.clone(),
            observer: Observer::Preload,
            pure: Vec::new(),
            args: std::iter::once(RUN.to_vec()).chain(args).collect(),
            root: FileInput {
                name: "build script".to_owned(),
                digest: Some(digest.map_err(|_| Bypass::UnreadableInput)?),
            },
        })
    }

    /// Takes what a finished run left into the cache.
    pub fn record_script(
        &self,
        job: ScriptJob,
        finished: &Finished,
        cache: &dyn Cache,
    ) -> super::Recorded {
        self.filled.now();
        match record::record(self, &job.recording, finished, cache) {
            Ok(entry) => super::Recorded::Stored(Box::new(entry), Vec::new()),
            Err(reason) => super::Recorded::NotStored(reason),
        }
    }
}

/// What became of a request to run a build script.
pub enum Begin {
    /// Not cached, and run as it came.
    Untouched(Bypass),
    /// OUT_DIR is in place: show this.
    Hit(Box<Hit>),
    /// Run this, and record it.
    Run(Box<ScriptJob>),
}

/// A build script that has been asked for and is being run.
pub struct ScriptJob {
    /// The package whose script it is, as a crate's name.
    pub package: String,
    /// What the caller is to run.
    pub plan: RunPlan,
    recording: Recording,
}

impl ScriptJob {
    /// Whether a C compiler that it started was told more than the script said. Where the run
    /// failed that may be why: a source that includes itself by `__FILE__` is not found.
    #[must_use]
    pub fn added_to_it(&self) -> bool {
        let log = self.recording.log.read().unwrap_or_default();
        let told = |records: Vec<log::Record<'_>>| records.iter().any(|r| r.kind == Kind::Told);
        // Of what is not whole it cannot be told.
        log::parse(&log).is_none_or(told)
    }
}

/// What recording needs to remember of the lookup.
struct Recording {
    inv: Arc<Invocation>,
    facts: Facts,
    roots: Roots,
    known: Known,
    /// The script's program, and what it was when it was digested.
    program: (PathBuf, Identity),
    started: i128,
    /// Where the run began.
    place: Place,
    /// When the run began.
    watch: Watch,
    /// Whether OUT_DIR was empty.
    was_empty: bool,
    /// Where qwrap lies.
    wrapper: Option<PathBuf>,
    log: Log,
    /// Whoever waits for this run does so until it is recorded.
    _running: Option<Running>,
}

/// What a run is, by its environment.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    /// The package's name, as a crate's.
    package: String,
    /// The package's directory, which is the working directory.
    directory: PathBuf,
    /// Where the script's program lies, under its own name and ours.
    beside: Option<PathBuf>,
    out_dir: PathBuf,
    /// OUT_DIR as the filesystem calls it.
    real_out_dir: PathBuf,
    /// Where programs put temporary files.
    temporary: Vec<PathBuf>,
}

impl Facts {
    fn of(inv: &Invocation) -> Result<Self, Bypass> {
        for name in ["LD_PRELOAD", "LD_AUDIT"] {
            if inv.nonempty_var(name).is_some() {
                return Err(Bypass::EnvPreload);
            }
        }
        let directory = |name: &str| {
            let path = inv.nonempty_var(name).map(PathBuf::from);
            let plain = |p: &PathBuf| p.is_absolute() && p.to_str().is_some();
            path.filter(plain).ok_or(Bypass::ScriptSurroundings)
        };
        let (out_dir, package_dir) = (directory("OUT_DIR")?, directory("CARGO_MANIFEST_DIR")?);
        let target = inv.var("TARGET").and_then(|t| t.to_str());
        let laid = out_dir.ends_with("out")
            && out_dir
                .parent()
                .is_some_and(|dir| target_root(dir, target).is_some());
        let name = inv.var("CARGO_PKG_NAME").and_then(|n| n.to_str());
        let (true, Some(name), 1..=ARGUMENTS_MAX) = (laid, name, inv.argv.len()) else {
            return Err(Bypass::ScriptSurroundings);
        };
        let same = |a: &Path, b: &Path| fs::canonicalize(a).ok() == fs::canonicalize(b).ok();
        if !same(&inv.cwd, &package_dir) {
            return Err(Bypass::ScriptSurroundings);
        }
        let mut temporary = vec![PathBuf::from("/tmp"), PathBuf::from("/var/tmp")];
        let given = inv.nonempty_var("TMPDIR").map(PathBuf::from);
        temporary.extend(given.filter(|dir| dir.is_absolute() && dir.components().count() > 1));
        Ok(Self {
            package: name.replace('-', "_"),
            directory: package_dir,
            beside: inv
                .absolute(Path::new(&inv.argv[0]))
                .parent()
                .map(Path::to_owned),
            real_out_dir: fs::canonicalize(&out_dir).unwrap_or_else(|_| out_dir.clone()),
            out_dir,
            temporary,
        })
    }

    /// Whether a path lies in OUT_DIR, or is it.
    fn is_out(&self, path: &Path) -> bool {
        let climbs = path.components().any(|c| c.as_os_str() == "..");
        let below = |dir: &Path| path.starts_with(dir);
        if !climbs {
            return below(&self.out_dir) || below(&self.real_out_dir);
        }
        // What a path ends with may be a link, and is meant itself.
        let real = match path.file_name() {
            Some(_) => path.parent().and_then(|above| fs::canonicalize(above).ok()),
            None => fs::canonicalize(path).ok(),
        };
        real.is_some_and(|real| real.starts_with(&self.real_out_dir))
    }

    /// Whether a path lies at the top of a directory for temporary files, where names come and go.
    fn comes_and_goes(&self, path: &Path) -> bool {
        let nearest = path.ancestors().skip(1).find(|dir| dir.exists());
        nearest.is_some_and(|dir| self.temporary.iter().any(|t| t == dir))
    }

    /// Whether a path leads to OUT_DIR or below it, and never steps out of it, by its text alone.
    /// That is so wherever links led, if all of these led further down.
    fn stays_in_out(&self, path: &Path) -> bool {
        let below = |dir: &PathBuf| path.strip_prefix(dir).ok();
        let rest = below(&self.out_dir).or_else(|| below(&self.real_out_dir));
        let depths = rest.map(Path::components).into_iter().flatten();
        let mut depth = 0_isize;
        let mut lowest = 0;
        for component in depths {
            depth += if component.as_os_str() == ".." { -1 } else { 1 };
            lowest = lowest.min(depth);
        }
        rest.is_some() && lowest == 0
    }
}
