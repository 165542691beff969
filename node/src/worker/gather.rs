//! What a build will ask a teammate for, fetched before it asks.
//!
//! Where an entry came from a teammate, those that the teammate's own build put in place after it
//! will be asked for next: they are fetched meanwhile, so that the network does not wait for cargo,
//! nor cargo for the network. Enters: the first entry that came, and whose. Leaves: believed
//! entries and their objects in the store, marked as a teammate's until a build uses them. Must
//! never happen here: an entry kept that the rules of this build do not believe; more fetched in
//! vain than the limits below.

use super::believing::Believing;
use crate::service::policy;
use crate::swarm::Ask;
use quarry_trust::{ActionKey, PeerId};
use quarry_wrapper::pipeline::{Cache, Candidate};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Entries of one run that are fetched at once: one is unpacked while another is on its way.
const WORKERS: usize = 2;
/// Entries that lie here and were not used yet, and their bytes: then the build is waited for.
const UNUSED_MAX: usize = 96;
/// See [`UNUSED_MAX`].
const UNUSED_BYTES: u64 = 192 << 20;
/// The same of all runs of late: a teammate that leads astray does so within bounds.
const IN_VAIN_BYTES: u64 = 1 << 30;
/// How long the build is waited for; afterwards it wants something else.
const PATIENCE: Duration = Duration::from_secs(2);
/// What nobody used for so long was fetched in vain, and does not count any more.
const IN_VAIN: Duration = Duration::from_secs(600);
/// Between the end of one run and the next one.
const REST: Duration = Duration::from_millis(100);
/// Entries that one run looks at, at most.
const RUN_MAX: usize = 5_000;

/// An entry that nobody asked for yet.
struct Unused {
    from: PeerId,
    bytes: u64,
    at: Instant,
}

#[derive(Default)]
struct State {
    unused: HashMap<ActionKey, Unused>,
    /// Workers of the run under way.
    working: usize,
    /// Whether these wait for the build.
    waits: bool,
    /// Where the next run begins.
    wanted: Option<(PeerId, ActionKey)>,
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl State {
    fn begin(&mut self) {
        self.wanted = None;
        self.working = WORKERS;
        self.began = Some(Instant::now());
    }

    fn has_room(&mut self) -> bool {
        self.unused.retain(|_, entry| entry.at.elapsed() < IN_VAIN);
        let all = self.unused.values();
        if all.clone().map(|entry| entry.bytes).sum::<u64>() >= IN_VAIN_BYTES {
            return false;
        }
        let new = all.filter(|entry| self.began.is_none_or(|began| entry.at >= began));
        let (count, bytes) = new.fold((0, 0), |(n, b), entry| (n + 1, b + entry.bytes));
        count < UNUSED_MAX && bytes < UNUSED_BYTES
    }
}

/// What was fetched unasked, and the run that fetches more.
#[derive(Default)]
pub(super) struct Gathered {
    state: Mutex<State>,
    used: Condvar,
}

impl Gathered {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whose entry this is, where it was fetched unasked and is used for the first time.
    pub(super) fn take(&self, action: &ActionKey) -> Option<PeerId> {
        let unused = self.lock().unused.remove(action)?;
        self.used.notify_all();
        Some(unused.from)
    }

    fn keep(&self, action: ActionKey, from: PeerId, bytes: u64) {
        let at = Instant::now();
        let entry = Unused { from, bytes, at };
        self.lock().unused.insert(action, entry);
    }

    /// Waits until there is room; `false` where the build does not use what is here, or wants
    /// something else.
    fn room(&self) -> bool {
        let mut state = self.lock();
        let until = Instant::now() + PATIENCE;
        while !state.has_room() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.wanted.is_some() {
                return false;
            }
            state.waits = true;
            let waited = self.used.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waits = false;
        }
        true
    }

    /// Whether a run may begin at this entry, which a build asked for and was not here. Where one
    /// goes on, it goes on; where one waits in vain, the next begins here.
    fn begins(&self, peer: PeerId, action: ActionKey) -> bool {
        let mut state = self.lock();
        if state.working > 0 {
            if state.waits {
                state.wanted = Some((peer, action));
                self.used.notify_all();
            }
            return false;
        }
        if state.ended.is_some_and(|ended| ended.elapsed() < REST) {
            return false;
        }
        state.begin();
        true
    }

    /// A worker has ended; where the last one, what begins now.
    fn ended(&self) -> Option<(PeerId, ActionKey)> {
        let mut state = self.lock();
        state.working -= 1;
        if state.working > 0 {
            return None;
        }
        state.ended = Some(Instant::now());
        let next = state.wanted?;
        state.begin();
        Some(next)
    }
}

/// Where a run is.
struct Source {
    last: ActionKey,
    met: HashSet<ActionKey>,
    queue: VecDeque<Candidate>,
    ended: bool,
}

/// One run: from one entry of a teammate's to the next.
struct Run {
    cache: Believing,
    peer: PeerId,
    source: Mutex<Source>,
}

/// An entry is on its way from a teammate: what its build put in place after it is fetched, too.
pub(super) fn after(cache: &Believing, peer: PeerId, action: ActionKey) {
    if cache.node().gathered.begins(peer, action) {
        start(cache.same(), peer, action);
    }
}

fn start(cache: Believing, peer: PeerId, action: ActionKey) {
    let source = Source {
        last: action,
        met: HashSet::from([action]),
        queue: VecDeque::new(),
        ended: false,
    };
    let run = Arc::new(Run {
        cache,
        peer,
        source: Mutex::new(source),
    });
    for _ in 0..WORKERS {
        let worker = run.clone();
        let spawned = std::thread::Builder::new()
            .name("gather".to_owned())
            .spawn(move || worker.work());
        if let Err(error) = spawned {
            tracing::debug!(%error, "nothing is fetched ahead");
            run.worker_ended();
        }
    }
}

impl Run {
    fn work(&self) {
        while self.cache.node().gathered.room()
            && let Some(candidate) = self.next()
        {
            if !self.bring(&candidate) {
                self.lock().ended = true;
            }
        }
        self.worker_ended();
    }

    fn worker_ended(&self) {
        if let Some((peer, action)) = self.cache.node().gathered.ended() {
            start(self.cache.same(), peer, action);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next entry that is not here and that this build would believe.
    fn next(&self) -> Option<Candidate> {
        let mut source = self.lock();
        loop {
            if source.ended {
                return None;
            }
            match source.queue.pop_front() {
                None => self.ask(&mut source),
                Some(candidate) if self.wants(&candidate) => return Some(candidate),
                Some(_) => {}
            }
        }
    }

    fn ask(&self, source: &mut Source) {
        let node = self.cache.node();
        let deadline = Instant::now() + policy::ASK_WITHIN;
        let asked = node.swarm.ask(&self.peer, Ask::Next(source.last), deadline);
        let offers = asked.unwrap_or_else(|error| {
            tracing::debug!(%error, "what comes next is not known");
            Vec::new()
        });
        for candidate in node.believe(offers, Some(self.peer), None, None) {
            let action = candidate.entry.action;
            if source.met.insert(action) {
                source.last = action;
                source.queue.push_back(candidate);
            }
        }
        source.ended = source.queue.is_empty() || source.met.len() > RUN_MAX;
    }

    fn wants(&self, candidate: &Candidate) -> bool {
        let node = self.cache.node();
        // Whether it executes is not known before somebody asks for it: the stricter rule holds.
        self.cache.asks_in(&candidate.entry.scope)
            && !node.holds(&candidate.entry)
            && !self.cache.judge(&[candidate], true).is_empty()
    }

    fn bring(&self, candidate: &Candidate) -> bool {
        let (entry, node) = (&candidate.entry, self.cache.node());
        let bytes = entry.objects().map(|object| object.size).sum();
        // Before it is here: it may be used at once.
        node.gathered.keep(entry.action, self.peer, bytes);
        let fetched = node.fetch(candidate, self.peer);
        if !matches!(fetched, Ok(true)) {
            node.gathered.take(&entry.action);
        }
        if let Err(error) = &fetched {
            tracing::debug!(%error, crate_name = entry.crate_name, "not fetched ahead");
        }
        fetched.is_ok()
    }
}

/// Who fetches what: nothing is fetched twice at once.
#[derive(Default)]
pub(super) struct Turns {
    taken: Mutex<HashSet<ActionKey>>,
    free: Condvar,
}

/// Held while an entry's objects are fetched.
pub(super) struct Turn<'a> {
    turns: &'a Turns,
    action: Option<ActionKey>,
    /// Whether somebody else's fetch of the same was waited for.
    pub waited: bool,
}

impl Turns {
    /// Waits while somebody else fetches the same, and no longer than to the deadline.
    pub(super) fn take(&self, action: ActionKey, deadline: Instant) -> Turn<'_> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut waited = false;
        while !taken.insert(action) {
            waited = true;
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Turn {
                    turns: self,
                    action: None,
                    waited,
                };
            }
            let free = self.free.wait_timeout(taken, left);
            taken = free.unwrap_or_else(PoisonError::into_inner).0;
        }
        Turn {
            turns: self,
            action: Some(action),
            waited,
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if let Some(action) = &self.action {
            let taken = self.turns.taken.lock();
            taken.unwrap_or_else(PoisonError::into_inner).remove(action);
            self.turns.free.notify_all();
        }
    }
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
