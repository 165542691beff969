//! Blocking work: calls wrapper's pipeline over the node's cache, one call to a thread. It holds
//! no step of the pipeline; what it adds is what the outcome is counted as.

pub mod announcer;
mod attempts;
pub mod believing;
pub mod cache;
pub mod disputes;
pub mod elsewhere;
mod fetching;
mod gather;
pub mod hearing;
pub mod host;
pub mod memos;
mod neighbours;
mod openings;
mod placed;
pub mod recheck;
mod signatures;
pub(crate) mod voice;

use crate::belief::{Beliefs, Refused};
use crate::control::RecentReport;
use crate::rules::TrustSettings;
use crate::service::counters::{Counters, Kind, Outcome};
use crate::store::{How, Placed, Store, StoreError};
use crate::swarm::Swarm;
use crate::team::Team;
use believing::{Believing, Heard};
use cache::NodeCache;
use elsewhere::Elsewhere;
use hearing::Hearing;
use openings::Openings;
use quarry_trust::{Entry, Scope, Verified};
use quarry_wrapper::compiler::Bypass;
use quarry_wrapper::compiler::rustc::args::UnitKind;
use quarry_wrapper::invocation::Invocation;
use quarry_wrapper::ipc::protocol::{Finished, Replay, RunPlan};
use quarry_wrapper::observer::Observer;
use quarry_wrapper::pipeline::script::{self, ScriptJob};
use quarry_wrapper::pipeline::{Begin, Caller, Hit, Job, Pipeline, Query, QueryJob, Recorded};
use recheck::Rechecker;
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// By how much what nobody waits for is nicer than the rest of the node.
#[cfg(target_os = "linux")]
const NICER: i32 = 10;

/// Everything that a request needs, shared by all threads.
pub struct Worker {
    pipeline: Arc<Pipeline>,
    cache: Arc<NodeCache>,
    rechecker: Option<Rechecker>,
    openings: Arc<Openings>,
    /// What is believed where.
    pub beliefs: Beliefs,
    /// The node's counters.
    pub counters: Arc<Counters>,
    /// Keys and roster.
    pub team: Arc<Team>,
}

/// What the caller of a compile is told.
pub enum Answer {
    /// Show this.
    Replay(Replay),
    /// Run the command as it came.
    Untouched,
    /// Run this; hand the job back when it has ended, if the plan says so.
    Run(RunPlan, Box<Started>),
}

/// Where a compile was asked for and writes to, and when.
#[derive(Clone)]
struct Asked {
    cwd: String,
    out_dir: String,
    hindrances: Vec<String>,
    /// The process above who asks.
    above: Option<u32>,
    /// The package whose build script is run, as a crate's name; `None` for a compile.
    script: Option<String>,
    at: Instant,
}

impl Asked {
    fn of(inv: &Invocation, above: Option<u32>) -> Self {
        let out_dir = argument(inv, "--out-dir").map(|dir| inv.absolute(Path::new(dir)));
        Self {
            cwd: inv.cwd.display().to_string(),
            out_dir: out_dir.map_or_else(String::new, |dir| dir.display().to_string()),
            hindrances: hindrances(inv),
            above,
            script: None,
            at: Instant::now(),
        }
    }

    fn of_script(inv: &Invocation, above: Option<u32>) -> Self {
        let text = |name: &str| {
            let value = inv.var(name).map(|v| v.to_string_lossy().into_owned());
            value.unwrap_or_default()
        };
        Self {
            cwd: inv.cwd.display().to_string(),
            out_dir: text("OUT_DIR"),
            hindrances: Vec::new(),
            above,
            script: Some(text("CARGO_PKG_NAME").replace('-', "_")),
            at: Instant::now(),
        }
    }

    /// What kind of request it is, to be counted apart.
    const fn kind(&self) -> Kind {
        match self.script {
            Some(_) => Kind::Script,
            None => Kind::Compile,
        }
    }

    /// What is known of the compile whatever becomes of it.
    fn report(self) -> RecentReport {
        RecentReport {
            ms: millis(self.at.elapsed()),
            cwd: self.cwd,
            out_dir: self.out_dir,
            hindrances: self.hindrances,
            script: self.script.is_some(),
            crate_name: self.script.unwrap_or_default(),
            ..RecentReport::default()
        }
    }
}

/// What runs.
pub struct Started {
    job: Work,
    inv: Arc<Invocation>,
    asked: Asked,
    /// Whom it is for, as the workspace said when it began.
    scope: Scope,
    heard: Heard,
}

impl Started {
    /// Whether it is a script's run in which more was said to compilers than the script said.
    #[must_use]
    pub fn added_to_it(&self) -> bool {
        matches!(&self.job, Work::Script(job) if job.added_to_it())
    }
}

/// The kinds of what can run.
enum Work {
    Compile(Box<Job>),
    Script(Box<ScriptJob>),
    Query(Box<QueryJob>),
}

impl Work {
    /// The crate, or the package whose build script it is.
    fn crate_name(&self) -> &str {
        match self {
            Self::Compile(job) => &job.unit.crate_name,
            Self::Script(job) => &job.package,
            Self::Query(_) => "",
        }
    }

    /// What kind of unit is compiled; `None` for a build script's run.
    fn kind(&self) -> Option<UnitKind> {
        match self {
            Self::Compile(job) => Some(job.unit.kind),
            Self::Script(_) | Self::Query(_) => None,
        }
    }
}

impl Worker {
    /// A worker over the node's parts. It observes what macros do where there is an observer,
    /// but for those macros that the user vouches for.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        swarm: Arc<dyn Swarm>,
        team: Arc<Team>,
        counters: Arc<Counters>,
        hearing: Arc<Hearing>,
        observing: (Option<Observer>, &[String]),
    ) -> Self {
        let memos = Arc::new(memos::StoreMemos(store.clone()));
        let (observer, pure) = observing;
        let pipeline = Pipeline::new(Some(memos)).observing(observer, pure);
        let digests = pipeline.digests();
        let cache = NodeCache::new(
            store,
            swarm,
            team.clone(),
            counters.clone(),
            hearing,
            digests,
        );
        Self {
            pipeline: Arc::new(pipeline),
            cache: Arc::new(cache),
            rechecker: None,
            openings: Arc::default(),
            beliefs: Beliefs::default(),
            counters,
            team,
        }
    }

    /// The same, which believes of teammates what these rules say.
    #[must_use]
    pub fn believing(self, trust: TrustSettings) -> Self {
        Self {
            beliefs: Beliefs::new(trust),
            ..self
        }
    }

    /// The same, which rechecks a share of hits (in parts of [`recheck::WHOLE`]) by compiling
    /// again in the directory `scratch`.
    #[must_use]
    pub fn rechecking(self, share: u64, scratch: PathBuf) -> Self {
        let parts = recheck::Parts {
            pipeline: self.pipeline.clone(),
            cache: self.cache.clone(),
            counters: self.counters.clone(),
            team: self.team.clone(),
            scratch,
        };
        Self {
            rechecker: Some(Rechecker::start(parts, share)),
            ..self
        }
    }

    /// The same, which has copies of what executes made before they are asked for, in a directory.
    #[must_use]
    pub fn sparing(self, dir: PathBuf) -> Self {
        self.pipeline.spare_in(dir);
        self
    }

    /// Entries of a crate that teammates hold, each with its description: what a miss is compared
    /// with. `scope` says whom the latest compile of it here was for. Blocks, up to a deadline.
    #[must_use]
    pub fn elsewhere(&self, crate_name: &str, scope: Option<Scope>) -> Vec<Elsewhere> {
        self.cache.elsewhere(crate_name, scope)
    }

    /// Returns when what was to be compiled once more to be shared has been. Blocks, for minutes
    /// at the most.
    pub fn wait_loosened(&self) {
        if let Some(rechecker) = &self.rechecker {
            rechecker.wait_loosened();
        }
    }

    /// Returns when everything that was stored is durable and announced. Blocks.
    ///
    /// # Errors
    /// Why something is not.
    pub fn flush(&self) -> Result<(), StoreError> {
        let announced = self.cache.flush();
        announced.and(self.cache.store.flush())
    }

    /// Lets go what nobody will use any more; to be called now and then.
    pub fn let_go(&self) {
        self.cache.let_go();
        self.pipeline.let_go();
    }

    /// Lets go all copies that were made ahead.
    pub fn let_copies_go(&self) {
        self.pipeline.let_copies_go();
    }

    /// Classifies, looks up, restores; or says what to run. Blocks.
    pub fn begin(&self, inv: &Arc<Invocation>, caller: &Caller<'_>) -> Answer {
        let asked = Asked::of(inv, caller.above);
        let cache = Believing::new(self.cache.clone(), &self.beliefs.of(inv, false));
        let begun = self.pipeline.begin(inv, caller, &cache);
        if let (Begin::Query(_), Some(above)) = (&begun, caller.above) {
            self.openings.asked(inv, above, &cache);
        }
        let (scope, heard) = (cache.scope(), cache.heard());
        match begun {
            Begin::Query(Query::Known(replay)) => {
                self.look_ahead(inv.clone());
                self.counters.ended(Outcome::Answered, None);
                Answer::Replay(replay)
            }
            Begin::Query(query) => {
                self.look_ahead(inv.clone());
                self.counters.ended(Outcome::Query, None);
                let Query::Ask(job) = query else {
                    return Answer::Untouched;
                };
                let plan = job.plan.clone();
                let work = Work::Query(job);
                Answer::Run(plan, self.started(work, inv, asked, (scope, heard)))
            }
            Begin::Untouched(reason) => {
                self.bypassed(reason, crate_name_of(inv), asked);
                Answer::Untouched
            }
            Begin::Hit(hit) => {
                self.hit(&hit, asked, (scope, heard));
                if let Some(rechecker) = &self.rechecker {
                    rechecker.hit(inv, &hit.entry, &hit.prediction, scope);
                }
                Answer::Replay(hit.replay)
            }
            Begin::Run(job) => {
                let plan = job.plan.clone();
                if !plan.record {
                    let reason = job.bypass().unwrap_or(Bypass::Interrupted);
                    self.bypassed(reason, job.unit.crate_name.clone(), asked.clone());
                }
                Answer::Run(
                    plan,
                    self.started(Work::Compile(job), inv, asked, (scope, heard)),
                )
            }
        }
    }

    /// Digests the compiler that is found in this process's own PATH, behind everybody's back: the
    /// first build will most likely want it.
    pub fn expect_builds(&self) {
        self.look_ahead(Arc::new(Invocation {
            argv: vec!["rustc".into()],
            env: std::env::vars_os().collect(),
            cwd: "/".into(),
            started: Vec::new(),
        }));
    }

    /// Reads what the build that begins will put in place, and a compiler that was never used
    /// before, behind everybody's back.
    fn look_ahead(&self, inv: Arc<Invocation>) {
        let expected = self.pipeline.expected(&inv);
        let is_new = self.pipeline.is_new(&inv);
        if expected.is_empty() && !is_new {
            return;
        }
        let pipeline = self.pipeline.clone();
        let cache = Believing::storing(self.cache.clone(), Scope::Private);
        let look = move || {
            // The first build waits for this.
            if is_new {
                pipeline.meet(&inv);
            }
            // Whoever compiles or restores meanwhile goes first. Elsewhere it is the whole process
            // that would give way, for good.
            #[cfg(target_os = "linux")]
            let _ = rustix::process::nice(NICER);
            pipeline.look_ahead(&expected, &cache);
        };
        let spawned = std::thread::Builder::new()
            .name("ahead".to_owned())
            .spawn(look);
        if let Err(error) = spawned {
            tracing::debug!(%error, "nobody looks ahead");
        }
    }

    /// Looks a build script's run up. Blocks.
    pub fn begin_script(&self, inv: &Arc<Invocation>, caller: &Caller<'_>) -> Answer {
        let asked = Asked::of_script(inv, caller.above);
        let cache = Believing::new(self.cache.clone(), &self.beliefs.of(inv, true));
        let begun = self.pipeline.begin_script(inv, caller, &cache);
        let (scope, heard) = (cache.scope(), cache.heard());
        match begun {
            script::Begin::Untouched(reason) => {
                self.bypassed(reason, String::new(), asked);
                Answer::Untouched
            }
            script::Begin::Hit(hit) => {
                self.hit(&hit, asked, (scope, heard));
                Answer::Replay(hit.replay)
            }
            script::Begin::Run(job) => {
                let plan = job.plan.clone();
                Answer::Run(
                    plan,
                    self.started(Work::Script(job), inv, asked, (scope, heard)),
                )
            }
        }
    }

    /// What is to run. Entries that were there and are not believed are counted here, once.
    fn started(
        &self,
        job: Work,
        inv: &Arc<Invocation>,
        asked: Asked,
        (scope, heard): (Scope, Heard),
    ) -> Box<Started> {
        if heard.refused.is_some() {
            self.counters.refused_as("policy");
        }
        Box::new(Started {
            job,
            inv: inv.clone(),
            asked,
            scope,
            heard,
        })
    }

    /// Takes what a finished compile left. Blocks.
    pub fn record(&self, started: Started, finished: &Finished) {
        let Started {
            job,
            inv,
            asked,
            scope,
            heard,
        } = started;
        let crate_name = job.crate_name().to_owned();
        let unit = job.kind();
        let cache = &Believing::storing(self.cache.clone(), scope);
        let recorded = match job {
            Work::Compile(job) => self.pipeline.record(*job, finished, cache),
            Work::Script(job) => self.pipeline.record_script(*job, finished, cache),
            Work::Query(job) => return self.pipeline.record_query(*job, finished),
        };
        match recorded {
            Recorded::Stored(entry, prediction) => {
                if let Some(rechecker) = &self.rechecker {
                    rechecker.stored(&inv, &entry, scope, prediction);
                }
                let placed = placed::of(How::Compiled, &entry, unit, &asked.out_dir);
                self.note(placed, asked.above, scope);
                let kind = asked.kind();
                let recent = RecentReport {
                    outcome: "miss".to_owned(),
                    policy: heard
                        .refused
                        .as_ref()
                        .map_or_else(String::new, Refused::words),
                    alone: heard.alone.clone().unwrap_or_default(),
                    disagreement: self.contradicts(&entry, heard),
                    ..self.recent(&entry, asked)
                };
                self.counters.ended_as(kind, Outcome::Miss, Some(recent));
            }
            Recorded::NotStored(reason) => {
                tracing::debug!(crate_name, reason = reason.name(), "not stored");
                self.bypassed(reason, crate_name, asked);
            }
        }
    }

    /// A compile that was begun and whose end nobody reported.
    pub fn abandoned(&self, started: Started) {
        self.given_up(started, Bypass::Interrupted);
    }

    /// A compile that was begun, and whose end somebody reports whom we do not believe.
    pub fn disowned(&self, started: Started) {
        self.given_up(started, Bypass::ForeignCaller);
    }

    fn given_up(&self, started: Started, reason: Bypass) {
        let Started { job, asked, .. } = started;
        // A question was counted when it came.
        if !matches!(job, Work::Query(_)) {
            self.bypassed(reason, job.crate_name().to_owned(), asked);
        }
    }

    /// A request that was not even classified, for a reason of the node's own.
    pub fn declined(&self, reason: &'static str, cwd: String) {
        let recent = RecentReport {
            outcome: "bypass".to_owned(),
            reason: reason.to_owned(),
            cwd,
            ..RecentReport::default()
        };
        self.counters.ended(Outcome::Bypass(reason), Some(recent));
    }

    /// What was compiled here beside what others signed for the same, in words where they differ.
    fn contradicts(&self, ours: &Verified<Entry>, heard: Heard) -> String {
        let all: Vec<_> = heard.seen.iter().chain([ours]).collect();
        let found = self.cache.disputes.among(&all, &self.team, &self.counters);
        found.or(heard.disagreement).unwrap_or_default()
    }

    /// Notes what was put into a target directory, and how the build began that did it first:
    /// for those for whom that is compiled, whoever may see what is restored in it.
    fn note(&self, placed: Placed, above: Option<u32>, scope: Scope) {
        if let Some(first) = self.openings.first_of(above)
            && self.team.announces(&scope)
            && let Some(opening) = openings::keep(first, scope, &placed, self.cache.store.as_ref())
        {
            self.cache.announce_keys(&scope, &[opening.key], false);
        }
        self.cache.note(placed);
    }

    fn hit(&self, hit: &Hit, asked: Asked, (scope, heard): (Scope, Heard)) {
        let placed = placed::of(How::Restored, &hit.entry, hit.kind, &asked.out_dir);
        self.note(placed, asked.above, scope);
        let kind = asked.kind();
        let (outcome, name) = match hit.from {
            None => (Outcome::HitLocal, "hit-local"),
            Some(_) => (Outcome::HitPeer, "hit-peer"),
        };
        let recent = RecentReport {
            outcome: name.to_owned(),
            from: hit.from.and_then(|p| self.team.peer_name(&p)),
            disagreement: heard.disagreement.unwrap_or_default(),
            ..self.recent(&hit.entry, asked)
        };
        self.counters.ended_as(kind, outcome, Some(recent));
    }

    fn bypassed(&self, reason: Bypass, crate_name: String, asked: Asked) {
        let kind = asked.kind();
        let mut recent = RecentReport {
            outcome: "bypass".to_owned(),
            reason: reason.name().to_owned(),
            ..asked.report()
        };
        if kind == Kind::Compile {
            recent.crate_name = crate_name;
        }
        self.counters
            .ended_as(kind, Outcome::Bypass(reason.name()), Some(recent));
    }

    fn recent(&self, entry: &Verified<Entry>, asked: Asked) -> RecentReport {
        RecentReport {
            crate_name: entry.crate_name.clone(),
            compile_ms: entry.duration_ms,
            signed_by: Some(
                self.team
                    .builder_name(&entry.builder)
                    .unwrap_or_else(|| entry.builder.to_hex()[..12].to_owned()),
            ),
            action: Some(entry.action.to_string()),
            ..asked.report()
        }
    }
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// What in a command keeps teammates from hitting, by the names that reports use.
fn hindrances(inv: &Invocation) -> Vec<String> {
    let home = |name: &str, below: &str| inv.var(name).map(|dir| Path::new(dir).join(below));
    let cargo = home("CARGO_HOME", "").or_else(|| home("HOME", ".cargo"));
    let outside = inv.argv.iter().skip(1).any(|arg| {
        let source = Path::new(arg);
        let is_source = source.extension().is_some_and(|e| e == "rs") && source.is_absolute();
        is_source && cargo.as_ref().is_some_and(|home| !source.starts_with(home))
    });
    let native = inv.argv.iter().any(|arg| {
        let arg = arg.as_encoded_bytes();
        arg.ends_with(b"target-cpu=native")
    });
    let named = [(outside, "outside"), (native, "native-cpu")];
    let found = named.iter().filter(|(is_so, _)| *is_so);
    found.map(|(_, name)| (*name).to_owned()).collect()
}

/// The value that follows an argument.
fn argument<'a>(inv: &'a Invocation, name: &str) -> Option<&'a OsStr> {
    let at = inv.argv.iter().position(|a| a == name)?;
    inv.argv.get(at + 1).map(OsString::as_os_str)
}

/// The crate that a command names, for people; empty where it names none.
fn crate_name_of(inv: &Invocation) -> String {
    argument(inv, "--crate-name")
        .map(|name| name.to_string_lossy().chars().take(128).collect())
        .unwrap_or_default()
}
