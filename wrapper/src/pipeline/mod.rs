//! The trip of one compile: lookup → restore, or run → record.
//!
//! A library over two small blocking traits, [`Cache`] and [`crate::digests::FileDigests`]; it
//! does not care which process it is in. Enters: an invocation. Leaves: a replay, or a job that
//! says what to run and, once that has run, an entry to keep. Must never happen here: a network
//! call, a signature, a belief in anything that is not [`Verified`].

mod absent;
mod ahead;
mod alike;
mod begins;
mod behind;
mod believed;
mod bytes;
mod cache;
mod copied;
mod editing;
mod evidence;
mod find;
mod links;
pub mod loosen;
mod moved;
mod observed;
pub mod places;
mod queries;
mod ran;
pub mod recheck;
mod record;
mod restore;
pub mod script;
mod spare;
mod there;

use crate::action::{Description, Known, Prediction};
use crate::child::{Child, Said};
use crate::compiler::linker::Linkers;
use crate::compiler::probe::{Compiler, Compilers, ProbeError};
use crate::compiler::rustc::args::{Unit, UnitKind};
use crate::compiler::{Bypass, Class, classify};
use crate::digests::{FileDigests, Identity, MemoDigests, Memos, clock_mark};
use crate::invocation::Invocation;
use crate::ipc::protocol::{Replay, RunPlan};
use crate::observer::{Log, Observer};
use crate::paths::Roots;
use crate::stopped::Watch;
use places::{Behind, Places};
use quarry_trust::{Entry, PeerId, Verified};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

pub use believed::executes;
pub use cache::{Cache, Candidate, Object, Staged, StagedOutput, Tier, UnsignedEntry};
pub use find::reads_a_secret;
pub use queries::{Query, QueryJob};
pub use record::Recorded;
pub(crate) use restore::temporary;

/// Whether what this describes must stay with the node that made it: it read what looks like a
/// secret, or what it read is not all in the key.
#[must_use]
pub fn stays_here(description: &Description) -> bool {
    let unobserved = !description.macros.is_empty()
        && description.known.observer == crate::action::Observer::None;
    unobserved
        || reads_a_secret(&description.variables)
        || !(description.ran.is_empty() || ran::is_of_cargo(description))
        || script::kept_alone(description).next().is_some()
}

/// Who asked for a compile.
pub struct Caller<'a> {
    /// Its umask: restored files get the modes that a compile would have given them.
    pub umask: u32,
    /// Whether it still waits for the answer. One that has given up compiles by itself, and no
    /// file may appear in its target directory after that.
    pub waits: &'a dyn Fn() -> bool,
    /// Called with `true` when it begins to wait for somebody else's compile, and with `false`
    /// when that wait is over.
    pub queued: &'a dyn Fn(bool),
    /// Its process, where that is known: nobody waits for what one compiles that is stopped.
    pub pid: Option<i32>,
    /// The process above it, which is cargo where cargo asks.
    pub above: Option<u32>,
    /// The wrapper's own path, which the launchers of build scripts hand over to.
    pub wrapper: Option<&'a Path>,
    /// Whether its stdin is known to be empty.
    pub no_stdin: bool,
    /// Has it run a program as its compile would, and gives what that said.
    pub ask: &'a dyn Fn(&Child) -> Option<Said>,
}

/// What is shared by all trips of a process.
pub struct Pipeline {
    compilers: Compilers,
    linkers: Linkers,
    digests: Arc<MemoDigests>,
    places: Places,
    shared: editing::Shared,
    c_compilers: script::c::Compilers,
    observing: observed::Observing,
    alike: alike::Alike,
    queries: queries::Queries,
    ahead: ahead::Ahead,
    filled: begins::Filled,
    absences: absent::Absences,
    spares: spare::Spares,
}

/// A compile that has been asked for and is being run.
pub struct Job {
    /// The command's parts.
    pub unit: Unit,
    /// What the caller is to run.
    pub plan: RunPlan,
    recording: Option<Recording>,
    bypass: Option<Bypass>,
}

impl Job {
    /// A compile of which nothing is kept, run with our remaps. Nothing is ever built on a program:
    /// there incremental is cargo's own affair.
    fn unrecorded(inv: &Invocation, unit: Unit, roots: &Roots, reason: Bypass) -> Self {
        let argv = match unit.kind {
            UnitKind::Bin | UnitKind::Example | UnitKind::Test => unit.private_argv(inv, roots),
            _ => unit.run_argv(inv, roots),
        };
        Self {
            plan: plan(argv, roots, None),
            unit,
            recording: None,
            bypass: Some(reason),
        }
    }

    /// Why the outcome will not be stored, where that is known beforehand.
    #[must_use]
    pub const fn bypass(&self) -> Option<Bypass> {
        self.bypass
    }
}

/// What a lookup learnt that led to nothing.
struct Found {
    roots: Roots,
    base: Base,
    looked: i128,
    place: moved::Place,
    seen: HashMap<PathBuf, Identity>,
    launcher: Option<script::Launcher>,
    private: Option<Bypass>,
    running: Option<alike::Running>,
}

/// What recording needs to remember of the lookup.
struct Recording {
    inv: Arc<Invocation>,
    roots: Roots,
    base: Base,
    /// When the lookup began, and when the compile did.
    looked: i128,
    started: i128,
    /// When the compile began: who was stopped since may have been given other outputs.
    watch: Watch,
    /// Identities of the files that were digested before the compile began.
    seen: HashMap<PathBuf, Identity>,
    /// Where the compile began.
    place: moved::Place,
    /// Where the observer of macros writes; `None` where none is needed or to be had.
    log: Option<Log>,
    /// How the linker was run, where it is.
    witness: Option<links::Witness>,
    /// Why nothing of it is stored, whatever comes out.
    private: Option<Bypass>,
    /// Where a build script's program gets a launcher.
    launcher: Option<script::Launcher>,
    _pending: places::Pending,
    /// Whoever waits for this compile does so until it is recorded.
    _running: Option<alike::Running>,
}

/// The part of a description that is known before any prediction.
struct Base {
    compiler: Arc<Compiler>,
    known: Known,
    externs: Vec<crate::action::ExternInput>,
    macros: Vec<crate::action::FileInput>,
    native: Vec<crate::action::FileInput>,
    link: Vec<crate::action::FileInput>,
    linked: Option<links::Linked>,
    /// Clippy's configuration, where clippy runs.
    lints: Option<Vec<u8>>,
    behind: Behind,
}

impl Base {
    /// What stands behind the outputs for who uses them. A macro stands for itself: the crates
    /// that it is made of are in it, and the macros that made it have run.
    fn behind_outputs(&self, unit: &Unit) -> Behind {
        if unit.kind == UnitKind::ProcMacro {
            Behind::default()
        } else {
            self.behind.clone()
        }
    }

    fn with(
        &self,
        files: Vec<crate::action::FileInput>,
        looked: Vec<crate::action::Looked>,
        variables: Vec<crate::action::Variable>,
        ran: Vec<crate::action::Ran>,
    ) -> Description {
        Description {
            known: self.known.clone(),
            externs: self.externs.clone(),
            macros: self.macros.clone(),
            native: self.native.clone(),
            link: self.link.clone(),
            files,
            looked,
            variables,
            ran,
        }
    }
}

/// What became of a request.
pub enum Begin {
    /// A version or print query, a probe on stdin.
    Query(Query),
    /// Not cached, and run as it came.
    Untouched(Bypass),
    /// Everything is in place: show this.
    Hit(Box<Hit>),
    /// Run this, and record it if it says so.
    Run(Box<Job>),
}

/// A restored compile.
pub struct Hit {
    /// What to show.
    pub replay: Replay,
    /// The entry that was restored.
    pub entry: Verified<Entry>,
    /// What kind of unit it is; `None` for the run of a build script.
    pub kind: Option<UnitKind>,
    /// The peer that had it; `None` where it lay here.
    pub from: Option<PeerId>,
    /// The prediction that led to it, canonical.
    pub prediction: Vec<u8>,
}

impl Pipeline {
    /// A pipeline with its memories, which survive restarts in `memos` where that is given.
    #[must_use]
    pub fn new(memos: Option<Arc<dyn Memos>>) -> Self {
        Self {
            compilers: Compilers::default(),
            linkers: Linkers::default(),
            digests: Arc::new(MemoDigests::new(memos.clone())),
            places: Places::new(memos.clone()),
            shared: editing::Shared::new(memos),
            c_compilers: script::c::Compilers::default(),
            observing: observed::Observing::default(),
            alike: alike::Alike::default(),
            queries: queries::Queries::default(),
            ahead: ahead::Ahead::default(),
            filled: begins::Filled::default(),
            absences: absent::Absences::default(),
            spares: spare::Spares::default(),
        }
    }

    /// The same, which observes what macros do. `pure` are the crate names of macros that the user
    /// vouches for: what they read is not looked at.
    #[must_use]
    pub fn observing(self, observer: Option<Observer>, pure: &[String]) -> Self {
        Self {
            observing: observed::Observing::new(observer, pure),
            ..self
        }
    }

    /// The memory of digests, for who writes what will be restored.
    #[must_use]
    pub fn digests(&self) -> Arc<MemoDigests> {
        self.digests.clone()
    }

    /// Classifies, forms keys, looks up, restores; or says what to run.
    pub fn begin(&self, inv: &Arc<Invocation>, caller: &Caller<'_>, cache: &dyn Cache) -> Begin {
        match classify(inv) {
            Class::Query => Begin::Query(self.query(inv, caller)),
            Class::Bypass(reason) => Begin::Untouched(reason),
            Class::Link(reason, unit) => self.remapped(inv, *unit, reason),
            Class::Compile(unit) => self.compile(inv, *unit, caller, cache),
        }
    }

    /// A unit whose kind is not cached: compiled with our remaps all the same, since what depends
    /// on it would differ from checkout to checkout.
    fn remapped(&self, inv: &Invocation, unit: Unit, reason: Bypass) -> Begin {
        let Ok(compiler) = self.identify(inv, &unit) else {
            return Begin::Untouched(reason);
        };
        let roots = Roots::of(inv, &unit, &compiler.sysroot, &compiler.commit_hash);
        Begin::Run(Box::new(Job::unrecorded(inv, unit, &roots, reason)))
    }

    fn identify(&self, inv: &Invocation, unit: &Unit) -> Result<Arc<Compiler>, ProbeError> {
        self.compilers.identify(inv, unit, self.digests.as_ref())
    }

    fn compile(
        &self,
        inv: &Arc<Invocation>,
        unit: Unit,
        caller: &Caller<'_>,
        cache: &dyn Cache,
    ) -> Begin {
        let Ok(compiler) = self.identify(inv, &unit) else {
            return Begin::Untouched(Bypass::CompilerUnidentified);
        };
        let roots = Roots::of(inv, &unit, &compiler.sysroot, &compiler.commit_hash);
        let Ok(looked) = clock_mark(&inv.cwd.join(&unit.out_dir)) else {
            return Begin::Untouched(Bypass::OutputDirectory);
        };
        let (place, mut seen) = (moved::Place::of(inv), HashMap::new());
        let base = match self.base(inv, &unit, &roots, &compiler, &mut seen) {
            Ok(base) => base,
            Err(reason) => {
                return Begin::Run(Box::new(Job::unrecorded(inv, unit, &roots, reason)));
            }
        };
        let trip = find::Trip {
            pipeline: self,
            inv,
            unit: &unit,
            roots: &roots,
            base: &base,
            cache,
            asking: ran::Asking::new(caller.ask, &roots),
        };
        let launcher = self.launcher(inv, &unit, &compiler.host, caller);
        let mark = self.alike.mark();
        let mut private = None;
        let found = trip.find(caller).map_or_else(
            || {
                private = editing::private(self, inv, &unit, &roots, &base);
                match private {
                    // Of what stays with its checkout nobody else has any use.
                    Some(_) => Err(None),
                    None => {
                        let lookup = base.known.lookup();
                        self.alike
                            .compile(lookup, mark, caller, || trip.find(caller))
                    }
                }
            },
            Ok,
        );
        let running = match found {
            Ok(hit) => {
                launcher.iter().for_each(|l| l.put(&self.digests));
                return Begin::Hit(Box::new(hit));
            }
            Err(running) => running,
        };
        Begin::Run(Box::new(self.run(
            inv,
            unit,
            Found {
                roots,
                base,
                looked,
                place,
                seen,
                launcher,
                private,
                running,
            },
            caller.wrapper,
        )))
    }

    /// What to run where nothing was found, and what recording it will need.
    fn run(
        &self,
        inv: &Arc<Invocation>,
        unit: Unit,
        found: Found,
        witness_of_programs: Option<&Path>,
    ) -> Job {
        let Found {
            roots,
            base,
            private,
            ..
        } = &found;
        let private = *private;
        let mut behind = base.behind_outputs(&unit);
        behind.private |= private.is_some();
        let pending = self.places.begin(&output_paths(inv, &unit), &behind);
        // Of what is not stored nobody asks what it was made of.
        let witness = match private {
            None => links::Witness::of(base, &inv.cwd.join(&unit.out_dir)),
            Some(_) => None,
        };
        let argv = match private {
            None => unit.run_argv(inv, roots),
            Some(_) => unit.private_argv(inv, roots),
        };
        let mut plan = plan(argv, roots, witness.as_ref());
        plan.record = true;
        let mut log = None;
        if private.is_none()
            && base.known.observer == crate::action::Observer::Preload
            && let Some((opened, env)) = self.observing.begin(witness_of_programs)
        {
            log = Some(opened);
            plan.env = env;
        }
        let recording = Recording {
            inv: Arc::clone(inv),
            roots: found.roots,
            base: found.base,
            looked: found.looked,
            started: self.begins(inv, &inv.cwd.join(&unit.out_dir), found.looked),
            watch: Watch::begin(),
            seen: found.seen,
            place: found.place,
            log,
            witness,
            private,
            launcher: found.launcher,
            _pending: pending,
            _running: found.running,
        };
        Job {
            unit,
            plan,
            recording: Some(recording),
            bypass: None,
        }
    }

    /// Digests what is known without a prediction: compiler, arguments, root file, externs, the
    /// macros behind them, native archives.
    fn base(
        &self,
        inv: &Invocation,
        unit: &Unit,
        roots: &Roots,
        compiler: &Arc<Compiler>,
        seen: &mut HashMap<PathBuf, Identity>,
    ) -> Result<Base, Bypass> {
        find::base(self, inv, unit, roots, compiler, seen)
    }

    /// Takes what a finished compile left into the cache.
    pub fn record(
        &self,
        job: Job,
        finished: &crate::ipc::protocol::Finished,
        cache: &dyn Cache,
    ) -> Recorded {
        let Job {
            unit,
            recording,
            bypass,
            ..
        } = job;
        match recording {
            Some(recording) => {
                let recorded = record::record(self, &unit, &recording, finished, cache);
                // Whatever became of it: the runs of a script that was not kept can be.
                if let Some(launcher) = recording.launcher.filter(|_| finished.success) {
                    launcher.put(&self.digests);
                }
                recorded
            }
            None => Recorded::NotStored(bypass.unwrap_or(Bypass::Interrupted)),
        }
    }
}

/// The caller's own command.
fn plan_as_it_came(inv: &Invocation) -> RunPlan {
    use std::os::unix::ffi::OsStrExt;
    RunPlan {
        argv: inv.argv.iter().map(|a| a.as_bytes().to_vec()).collect(),
        env: Vec::new(),
        rewrites: Vec::new(),
        record: false,
    }
}

fn plan(mut argv: Vec<OsString>, roots: &Roots, witness: Option<&links::Witness>) -> RunPlan {
    use std::os::unix::ffi::OsStringExt;
    argv.extend(witness.map(links::Witness::argument));
    RunPlan {
        argv: argv.into_iter().map(OsStringExt::into_vec).collect(),
        env: Vec::new(),
        rewrites: roots.rewrites(),
        record: false,
    }
}

/// Where the unit's outputs lie.
fn output_paths(inv: &Invocation, unit: &Unit) -> Vec<PathBuf> {
    let dir = inv.cwd.join(&unit.out_dir);
    unit.outputs()
        .into_iter()
        .map(|o| dir.join(o.name))
        .collect()
}

/// Reads a prediction's bytes, bounded; `None` for what is none.
fn read_prediction(bytes: &[u8]) -> Option<Prediction> {
    use quarry_trust::canon::Canonical;
    Prediction::from_canon(bytes).ok()
}

/// BLAKE3 of a file through the memo, and its identity for the check after the compile.
fn digest_seen(
    digests: &dyn FileDigests,
    path: &std::path::Path,
    seen: &mut HashMap<PathBuf, Identity>,
) -> io::Result<quarry_trust::Digest> {
    let identity = Identity::of(&std::fs::metadata(path)?);
    let digest = digests.digest_of(path, &identity)?;
    seen.insert(path.to_owned(), identity);
    Ok(digest)
}
