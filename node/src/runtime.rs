//! Puts a node together and takes it apart: locks, keys, store, swarm, socket, periodic work,
//! signals, shutdown.
//!
//! Invariants: one node to a home (a lock held for life); the socket answers only once everything
//! behind it does; at the end what was captured is flushed before the socket goes.

use crate::config::Config;
use crate::control::settle;
use crate::hands::Hands;
use crate::ipc_server;
use crate::joining::Joining;
use crate::revoked::Sweep;
use crate::service::counters::Counters;
use crate::service::policy;
use crate::store::{Opened, RedbStore, Store, StoreError};
use crate::swarm::{Libp2pSwarm, Swarm, SwarmConfig, SwarmError};
use crate::team::{self, Team, TeamError};
use crate::tenant;
use crate::waiting::Waiting;
use crate::worker::Worker;
use crate::worker::hearing::Hearing;
use crate::worker::host::NodeHost;
use quarry_wrapper::home::{Home, HomeError};
use quarry_wrapper::observer::Observer;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use thiserror::Error;
use tokio::sync::{Semaphore, watch};

/// Threads for async work: sockets and protocols, mostly waiting.
const ASYNC_THREADS: usize = 2;
/// Threads for blocking work, at most: one to each compile that is looked up, recorded, or, in
/// mode `node`, run. They end when idle.
const BLOCKING_THREADS: usize = 256;
/// Lookups at a time that need no thread to be handed to: the rest of the threads stays for
/// recording, for peers, and for the runtime itself.
const LOOKS_HERE: usize = 64;
/// How often counters are kept, the store's size looked at, the mark considered.
const TICK: Duration = Duration::from_secs(10);
/// Ticks after which what nobody used lately is packed, some of it at a time: ten minutes.
const SETTLE_TICKS: u64 = 60;
/// Name of the counters in the store's state.
const COUNTERS: &str = "counters-v1";

/// Why a node did not start.
#[derive(Debug, Error)]
pub enum RuntimeError {
    /// The home.
    #[error(transparent)]
    Home(#[from] HomeError),
    /// A file of it that should be private.
    #[error(transparent)]
    Guard(#[from] crate::guard::GuardError),
    /// Another node has the home.
    #[error(
        "a node runs already on {home} (pid {pid}): `qnode status` shows it, `qnode stop` ends it"
    )]
    Running {
        /// The home.
        home: PathBuf,
        /// Its process id, or `unknown`.
        pid: String,
    },
    /// Keys or membership.
    #[error(transparent)]
    Team(#[from] TeamError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The swarm.
    #[error(transparent)]
    Swarm(#[from] SwarmError),
    /// The socket, the runtime.
    #[error("{what}: {source}")]
    Io {
        /// What was being done.
        what: String,
        /// What the system said.
        source: io::Error,
    },
}

/// A running node.
pub struct Node {
    /// Where it lives.
    pub home: Home,
    /// Its settings.
    pub config: Config,
    /// Keys and membership.
    pub team: Arc<Team>,
    /// Entries and objects.
    pub store: Arc<dyn Store>,
    /// The peers.
    pub swarm: Arc<dyn Swarm>,
    /// Blocking work.
    pub worker: Worker,
    /// What is counted.
    pub counters: Arc<Counters>,
    /// The door for newcomers.
    pub joining: Joining,
    /// Knows our own qwrap.
    pub hands: Hands,
    /// When it started.
    pub started: Instant,
    /// What went wrong at the start and was mended, for `doctor`.
    pub incidents: Vec<String>,
    /// Callers that wait for an answer.
    pub waiting: Waiting,
    /// Lookups that may go on on the runtime's own threads.
    pub looks: Semaphore,
    busy: AtomicU64,
    counters_kept: Mutex<Vec<u8>>,
    stop: watch::Sender<bool>,
    again: AtomicBool,
}

/// Counts a compile as under way while it lives.
pub struct Busy<'a>(&'a Node);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.busy.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Node {
    /// Marks a compile as under way.
    pub fn busy(&self) -> Busy<'_> {
        self.busy.fetch_add(1, Ordering::Relaxed);
        Busy(self)
    }

    /// Compiles under way.
    pub fn busy_now(&self) -> u64 {
        self.busy.load(Ordering::Relaxed)
    }

    /// Whether no compile is under way.
    pub fn idle(&self) -> bool {
        self.busy_now() == 0
    }

    /// Asks the node to end.
    pub fn stop(&self) {
        self.stop.send_replace(true);
    }

    /// Asks the node to end and to begin again in the same process, with the keys in its home.
    fn start_again(&self) {
        self.again.store(true, Ordering::Relaxed);
        self.stop();
    }

    /// Takes our new keys into use where the chain has them, and nobody compiles just now.
    pub fn renew_keys(&self) {
        match self.team.rotated() {
            Ok(false) if !self.team.took_new_keys() => {}
            Ok(_) if self.idle() => {
                tracing::info!("this member's new keys are in the chain: the node begins again");
                self.start_again();
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, "the new keys could not take their place"),
        }
    }

    /// Waits until the node was asked to end.
    pub async fn stopping(&self) {
        let mut stop = self.stop.subscribe();
        // The sender lives in the node, so this ends by the value alone.
        let _ = stop.wait_for(|stop| *stop).await;
    }

    /// Frees space if the limit is passed. Blocks.
    pub fn keep_limit(&self) {
        let Ok(counts) = self.store.counts() else {
            return;
        };
        let Some(target) = policy::gc_target(counts.bytes, self.config.store_limit) else {
            return;
        };
        match self.store.gc(target) {
            Ok(report) => tracing::info!(
                entries = report.entries,
                bytes = report.bytes,
                "the store was over its limit: least recently used entries were evicted"
            ),
            Err(error) => tracing::warn!(%error, "the store could not be kept to its limit"),
        }
    }

    /// Writes the counters down where they have changed: an idle node leaves the disk alone.
    fn keep_counters(&self) {
        let Ok(bytes) = serde_json::to_vec(&self.counters.stats()) else {
            return;
        };
        let mut kept = self
            .counters_kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if *kept == bytes {
            return;
        }
        match self.store.set_state(COUNTERS, &bytes) {
            Ok(()) => *kept = bytes,
            Err(error) => tracing::debug!(%error, "the counters were not kept"),
        }
    }

    fn renew_mark(&self) {
        let team = &self.team;
        if team.settle_words() {
            self.swarm.roster_changed();
        }
        let admin = team.roster(|r| (r.is_admin(&team.builder()), r.freshness()));
        if let Some((true, last)) = admin
            && policy::mark_due(last, team::now())
        {
            match team.mark_fresh() {
                Ok(()) => self.swarm.roster_changed(),
                Err(error) => tracing::warn!(%error, "the roster's freshness mark was not renewed"),
            }
        }
    }
}

/// Runs a node in the foreground until it is stopped or signalled.
///
/// # Errors
/// [`RuntimeError`]; what was opened is closed again.
pub fn run(config: Config, home: Home) -> Result<(), RuntimeError> {
    home.create()?;
    crate::guard::check_files(&home)?;
    crate::guard::close_process();
    let lock = tenant::lock(&home).map_err(|e| match e {
        tenant::Taken::By(pid) => RuntimeError::Running {
            home: home.path().to_owned(),
            pid,
        },
        tenant::Taken::Not(e) => io_error(&format!("locking {}", home.node_lock().display()), e),
    })?;
    raise_descriptor_limit();
    quarry_wrapper::stopped::notice()
        .map_err(|source| io_error("setting a handler for signals", source))?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(ASYNC_THREADS)
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build()
        .map_err(|source| io_error("starting the runtime", source))?;
    let result = runtime.block_on(run_on(config, home));
    runtime.shutdown_timeout(Duration::from_secs(1));
    // A thread may still be at the disk, and hold the store. The lock ends with the process, which
    // the kernel lets go only then: who waits for the one finds the other free.
    std::mem::forget(lock);
    match result {
        Ok(true) => Err(io_error("beginning again", begin_again())),
        other => other.map(|_| ()),
    }
}

/// Becomes this program anew: same process, same arguments. Every descriptor of ours closes, the
/// lock's among them. Returns only with the reason why not.
fn begin_again() -> io::Error {
    use std::os::unix::process::CommandExt;
    match std::env::current_exe() {
        Ok(program) => std::process::Command::new(program)
            .args(std::env::args_os().skip(1))
            .exec(),
        Err(error) => error,
    }
}

fn io_error(what: &str, source: io::Error) -> RuntimeError {
    RuntimeError::Io {
        what: what.to_owned(),
        source,
    }
}

/// As many descriptors as we may have: a wide build opens many at once.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::debug!(%error, "the limit of open files stays as it is");
    }
    if limit.maximum.is_some_and(|max| max < 256) {
        tracing::warn!(
            "only {:?} open files are allowed: raise `ulimit -n`",
            limit.maximum
        );
    }
}

/// Runs until the end; true where the node is to begin again.
async fn run_on(config: Config, home: Home) -> Result<bool, RuntimeError> {
    let node = assemble(config, home).await?;
    let listener = ipc_server::bind(&node.home.socket()).map_err(|source| {
        io_error(
            &format!("listening on {}", node.home.socket().display()),
            source,
        )
    })?;
    let socket = tokio::spawn(ipc_server::serve(listener, node.clone()));
    for stale in [
        node.home.start_failed(),
        node.home.path().join("node.stuck"),
    ] {
        let _ = std::fs::remove_file(stale);
    }
    tracing::info!(
        pid = std::process::id(),
        builder = %node.team.builder(),
        listen = ?node.swarm.listening(),
        "the node is up"
    );
    let ours = ipc_server::identity(&node.home.socket());
    let ticking = tokio::spawn(tick(node.clone(), ours));
    let told = node.clone();
    let telling = tokio::spawn(async move { told.waiting.tell().await });
    wait_for_the_end(&node).await;
    tracing::info!("the node ends");
    node.stop();
    ticking.abort();
    telling.abort();
    let _ = socket.await;
    // Another node's, where that took the place.
    if ipc_server::identity(&node.home.socket()) == ours {
        let _ = std::fs::remove_file(node.home.socket());
    }
    let again = node.again.load(Ordering::Relaxed);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = node.worker.flush() {
            tracing::warn!(%error, "something that was compiled since the last flush is not stored");
        }
        node.worker.let_copies_go();
        node.joining.close();
        node.joining.remember();
        node.swarm.shutdown();
        node.keep_counters();
        node.store.flush()
    })
    .await
    .map_err(|e| io_error("ending", io::Error::other(e)))??;
    Ok(again)
}

/// The home's store, and what went wrong with it and was mended.
fn open_store(home: &Home) -> Result<(Arc<dyn Store>, Vec<String>), RuntimeError> {
    let mut incidents = Vec::new();
    let (store, opened) = RedbStore::open(&home.store())?;
    if let Opened::SetAside { to, why } = opened {
        let incident = format!(
            "the store could not be read ({why}): it was set aside as {} and a new one begun; \
             remove it once nobody wants to look at it",
            to.display()
        );
        tracing::warn!("{incident}");
        incidents.push(incident);
    }
    Ok((Arc::new(store), incidents))
}

async fn assemble(config: Config, home: Home) -> Result<Arc<Node>, RuntimeError> {
    let team = Arc::new(Team::load(&home)?);
    let (store, incidents) = open_store(&home)?;
    let counters = Arc::new(Counters::resume(store.state(COUNTERS)?.as_deref()));
    let hearing = Arc::new(Hearing::new(
        team.roster(|r| r.members().count() > 1) == Some(true),
    ));
    let host = Arc::new(NodeHost::new(
        store.clone(),
        team.clone(),
        counters.clone(),
        hearing.clone(),
    ));
    let swarm_config = SwarmConfig {
        seed: team.peer_seed(),
        listen: config.listen.clone(),
        mdns: config.mdns,
        remembered: crate::joining::remembered(store.as_ref(), &config),
        scratch: Some(home.path().to_owned()),
    };
    let swarm = start_swarm(swarm_config, host).await?;
    let worker = Worker::new(
        store.clone(),
        swarm.clone(),
        team.clone(),
        counters.clone(),
        hearing,
        (observer(&home), &config.pure_macros),
    )
    .believing(config.trust.clone())
    .rechecking(config.verify, home.path().join("recheck"))
    .sparing(home.path().join("spare"));
    worker.expect_builds();
    let joining = Joining::new(
        &config,
        team.clone(),
        swarm.clone(),
        store.clone(),
        counters.clone(),
        tokio::runtime::Handle::current(),
    );
    let node = Arc::new(Node {
        home,
        config,
        team,
        store,
        swarm,
        worker,
        counters,
        joining,
        hands: Hands::default(),
        waiting: Waiting::default(),
        looks: Semaphore::new(LOOKS_HERE),
        started: Instant::now(),
        incidents,
        busy: AtomicU64::new(0),
        counters_kept: Mutex::default(),
        stop: watch::Sender::new(false),
        again: AtomicBool::new(false),
    });
    let resumed = node.clone();
    tokio::task::spawn_blocking(move || resumed.joining.resume())
        .await
        .map_err(|e| io_error("opening the door", io::Error::other(e)))?;
    Ok(node)
}

async fn start_swarm(
    config: SwarmConfig,
    host: Arc<NodeHost>,
) -> Result<Arc<dyn Swarm>, RuntimeError> {
    let handle = tokio::runtime::Handle::current();
    let started = tokio::task::spawn_blocking(move || Libp2pSwarm::start(config, host, handle));
    let started = started
        .await
        .map_err(|e| io_error("starting the swarm", io::Error::other(e)))?;
    Ok(Arc::new(started?))
}

async fn wait_for_the_end(node: &Node) {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut interrupt, mut terminate) = match (
        signal(SignalKind::interrupt()),
        signal(SignalKind::terminate()),
    ) {
        (Ok(i), Ok(t)) => (i, t),
        _ => return node.stopping().await,
    };
    tokio::select! {
        () = node.stopping() => {}
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
}

async fn tick(node: Arc<Node>, socket: Option<(u64, u64)>) {
    let mut interval = tokio::time::interval(TICK);
    let sweep = Arc::new(Sweep::default());
    let mut ticks: u64 = 0;
    loop {
        interval.tick().await;
        ticks += 1;
        let settles = ticks.is_multiple_of(SETTLE_TICKS) && node.idle();
        let (busy, sweep) = (node.clone(), sweep.clone());
        let ticked = tokio::task::spawn_blocking(move || {
            busy.worker.let_go();
            sweep.tick(&busy.team, busy.store.as_ref(), busy.swarm.as_ref());
            busy.keep_counters();
            busy.keep_limit();
            busy.renew_mark();
            busy.joining.tick();
            busy.renew_keys();
            if settles {
                settle::some(&busy);
            }
        });
        if ipc_server::identity(&node.home.socket()) != socket {
            tracing::warn!("the home was removed or another node took it: this node ends");
            node.stop();
            return;
        }
        if ticked.await.is_err() {
            return;
        }
    }
}

/// The observer of macros, where this platform and this home can have one.
fn observer(home: &Home) -> Option<Observer> {
    match Observer::install(home) {
        Ok(observer) => observer,
        Err(error) => {
            tracing::warn!(
                "macros are not observed, so what they are in is kept by this node alone: {error}"
            );
            None
        }
    }
}
