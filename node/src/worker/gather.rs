//! What a build will ask a teammate for, fetched before it asks.
//!
//! Where an entry came from a teammate, those that the teammate's own build put in place after it
//! will be asked for next: their objects are fetched meanwhile, so that the network does not wait
//! for cargo, nor cargo for the network. Enters: the first entry that came, and whose. Leaves:
//! objects in the store, and what the teammate offered with them, for the build that asks: it
//! treats that as it treats any teammate's answer. Must never happen here: an entry in the store
//! that no build has asked for; more fetched in vain than the limits below.

use super::believing::Believing;
use super::fetching::objects_of;
use crate::service::policy;
use crate::store::{Offer, Pinned};
use crate::swarm::Ask;
use quarry_trust::{ActionKey, BuilderId, Entry, LookupKey, PeerId, Scope};
use quarry_wrapper::pipeline::{Cache, Candidate};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Entries of one run that are fetched at once: one is unpacked while another is on its way.
const WORKERS: usize = 2;
/// Entries that were fetched and not used yet, and their bytes: then the build is waited for.
const UNUSED_MAX: usize = 96;
/// See [`UNUSED_MAX`].
const UNUSED_BYTES: u64 = 192 << 20;
/// The same of all runs of late, with what broke off: a teammate that leads astray does so within
/// bounds.
const IN_VAIN_BYTES: u64 = 1 << 30;
/// What nobody used for so long was fetched in vain, and is let go.
const IN_VAIN: Duration = Duration::from_secs(600);
/// How long the build is waited for; afterwards it wants something else.
const PATIENCE: Duration = Duration::from_secs(2);
/// Between the end of one run and the next one.
const REST: Duration = Duration::from_millis(100);
/// How long one run may last, and how many entries in a row it passes by.
const RUN_WITHIN: Duration = Duration::from_secs(120);
/// See [`RUN_WITHIN`].
const PASSED_MAX: usize = 512;

/// An entry whose objects are here, and that nobody asked for yet.
struct Unused {
    from: PeerId,
    lookup: LookupKey,
    scope: Scope,
    offer: Offer,
    bytes: u64,
    at: Instant,
    _pins: Vec<Pinned>,
}

type Key = (ActionKey, BuilderId);

#[derive(Default)]
struct State {
    unused: HashMap<Key, Unused>,
    /// Bytes of what broke off, and since when they are counted.
    broken: Option<(u64, Instant)>,
    /// Workers of the run under way.
    working: usize,
    /// Whether these wait for the build.
    waits: bool,
    /// Whether a build asks for something else while they do.
    led_astray: bool,
    began: Option<Instant>,
    ended: Option<Instant>,
}

impl State {
    /// Lets go what nobody has used for long.
    fn forget(&mut self, now: Instant) {
        let waited = |entry: &Unused| now.saturating_duration_since(entry.at);
        self.unused.retain(|_, entry| waited(entry) < IN_VAIN);
    }

    fn has_room(&mut self) -> bool {
        self.forget(Instant::now());
        self.broken = self.broken.filter(|(_, since)| since.elapsed() < IN_VAIN);
        let all = self.unused.values();
        let broken = self.broken.map_or(0, |(bytes, _)| bytes);
        if broken + all.clone().map(|entry| entry.bytes).sum::<u64>() >= IN_VAIN_BYTES {
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

    /// What teammates offered for a question, as far as the objects are here; of whom, and for
    /// whom.
    pub(super) fn offers(&self, ask: &Ask) -> Vec<(PeerId, Scope, Offer)> {
        let mut state = self.lock();
        state.forget(Instant::now());
        let fits = |(key, entry): &(&Key, &Unused)| match ask {
            Ask::Lookup(lookup) => entry.lookup == *lookup,
            Ask::Action(action) => key.0 == *action,
            Ask::Crate(_) | Ask::Next(_) => false,
        };
        let found = state.unused.iter().filter(fits);
        found
            .map(|(_, entry)| (entry.from, entry.scope, entry.offer.clone()))
            .collect()
    }

    /// Lets go what nobody has used for long, and what is of builders that are `gone`.
    pub(super) fn let_go(&self, now: Instant, gone: impl Fn(&BuilderId) -> bool) {
        let mut state = self.lock();
        state.forget(now);
        state.unused.retain(|(_, builder), _| !gone(builder));
    }

    /// A build has it in its store now.
    pub(super) fn used(&self, entry: &Entry) {
        let used = self.lock().unused.remove(&(entry.action, entry.builder));
        if used.is_some() {
            self.used.notify_all();
        }
    }

    fn has(&self, entry: &Entry) -> bool {
        let key = (entry.action, entry.builder);
        self.lock().unused.contains_key(&key)
    }

    fn keep(&self, entry: &Entry, unused: Unused) {
        let key = (entry.action, entry.builder);
        self.lock().unused.insert(key, unused);
    }

    /// So many bytes were asked for, and did not come whole.
    fn broke_off(&self, bytes: u64) {
        let broken = &mut self.lock().broken;
        let (before, since) = broken.unwrap_or((0, Instant::now()));
        *broken = Some((before.saturating_add(bytes), since));
    }

    /// Waits until there is room; `false` where the build does not use what is here, or wants
    /// something else.
    fn room(&self) -> bool {
        let mut state = self.lock();
        let until = Instant::now() + PATIENCE;
        while !state.has_room() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() || state.led_astray {
                return false;
            }
            state.waits = true;
            let waited = self.used.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.waits = false;
        }
        true
    }

    /// Whether a run may begin, since a build asked for what was not here. Where one goes on, it
    /// goes on; where one waits in vain, it ends, and the build's next question begins another.
    fn begins(&self) -> bool {
        let mut state = self.lock();
        if state.working > 0 {
            if state.waits {
                state.led_astray = true;
                self.used.notify_all();
            }
            return false;
        }
        if state.ended.is_some_and(|ended| ended.elapsed() < REST) {
            return false;
        }
        state.led_astray = false;
        state.working = WORKERS;
        state.began = Some(Instant::now());
        true
    }

    /// A worker has ended.
    fn ended(&self) {
        let mut state = self.lock();
        state.working = state.working.saturating_sub(1);
        state.ended = Some(Instant::now());
    }
}

/// Where a run is.
struct Source {
    last: ActionKey,
    met: HashSet<ActionKey>,
    queue: VecDeque<Candidate>,
    /// Entries in a row that are here already, or are not believed.
    passed: usize,
    ended: bool,
}

/// One run: from one entry of a teammate's to the next.
struct Run {
    cache: Believing,
    peer: PeerId,
    until: Instant,
    source: Mutex<Source>,
}

/// Counts as a worker until it is gone, however that comes.
struct Worker(Arc<Run>);

impl Drop for Worker {
    fn drop(&mut self) {
        self.0.cache.node().gathered.ended();
    }
}

/// An entry is on its way from a teammate, or a build opens as one of the teammate's did: what that
/// put in place after it is fetched, too. `next` are those that it has named already.
pub(super) fn after(cache: &Believing, peer: PeerId, action: ActionKey, next: Vec<Offer>) {
    if !cache.node().gathered.begins() {
        return;
    }
    let source = Source {
        last: action,
        met: HashSet::from([action]),
        queue: VecDeque::new(),
        passed: 0,
        ended: false,
    };
    let run = Arc::new(Run {
        cache: cache.same(),
        peer,
        until: Instant::now() + RUN_WITHIN,
        source: Mutex::new(source),
    });
    if !next.is_empty() {
        run.take(&mut run.lock(), next);
    }
    for _ in 0..WORKERS {
        let worker = Worker(run.clone());
        let spawned = std::thread::Builder::new()
            .name("gather".to_owned())
            .spawn(move || worker.0.work());
        if let Err(error) = spawned {
            tracing::debug!(%error, "nothing is fetched ahead");
        }
    }
}

impl Run {
    fn work(&self) {
        while self.cache.node().gathered.room()
            && Instant::now() < self.until
            && let Some(candidate) = self.next()
        {
            if !self.bring(&candidate) {
                self.lock().ended = true;
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Source> {
        self.source.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The next entry that is not here and that this build would believe.
    fn next(&self) -> Option<Candidate> {
        let mut source = self.lock();
        loop {
            if source.ended || source.passed > PASSED_MAX {
                return None;
            }
            match source.queue.pop_front() {
                None => self.ask(&mut source),
                Some(candidate) if self.wants(&candidate) => {
                    source.passed = 0;
                    return Some(candidate);
                }
                Some(_) => source.passed += 1,
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
        self.take(source, offers);
    }

    /// What the teammate says comes next.
    fn take(&self, source: &mut Source, offers: Vec<Offer>) {
        let (node, offered) = (self.cache.node(), offers.len());
        let believed = node.believe(offers, Some(self.peer), None, None);
        // Who sends what is refused is asked no more.
        source.ended = believed.len() < offered;
        for candidate in believed {
            let action = candidate.entry.action;
            if source.met.insert(action) {
                source.last = action;
                source.queue.push_back(candidate);
            }
        }
        source.ended |= source.queue.is_empty();
    }

    fn wants(&self, candidate: &Candidate) -> bool {
        let (node, entry) = (self.cache.node(), &candidate.entry);
        // Whether it executes is not known before somebody asks for it: the stricter rule holds.
        self.cache.asks_in(&entry.scope)
            && objects_of(entry) <= UNUSED_BYTES
            && !node.gathered.has(entry)
            && !node.knows(&entry.action)
            && !self.cache.judge(&[candidate], true).is_empty()
    }

    fn bring(&self, candidate: &Candidate) -> bool {
        let (entry, node) = (&candidate.entry, self.cache.node());
        match node.collect(candidate, self.peer) {
            // Somebody asked for it meanwhile.
            Ok(None) => true,
            Ok(Some(pins)) => {
                let unused = Unused {
                    from: self.peer,
                    lookup: entry.lookup,
                    scope: entry.scope,
                    offer: Offer {
                        prediction: candidate.prediction.clone(),
                        signed: candidate.signed.clone(),
                    },
                    bytes: objects_of(entry),
                    at: Instant::now(),
                    _pins: pins,
                };
                node.gathered.keep(entry, unused);
                true
            }
            Err(error) => {
                tracing::debug!(%error, crate_name = entry.crate_name, "not fetched ahead");
                node.gathered.broke_off(objects_of(entry));
                false
            }
        }
    }
}

#[cfg(test)]
#[path = "gather_tests.rs"]
mod tests;
