//! What is counted: one outcome for each request, refusals by name, bytes; and the latest
//! outcomes, for people.
//!
//! Invariant: requests = queries + hits + misses + bypasses once no request is under way.

use super::policy::RECENT_MAX;
use crate::control::{RecentReport, Scripts, Stats};
use quarry_trust::Refusal;
use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Reasons and names that are counted apart, at most; further ones are counted as `other`.
const NAMES_MAX: usize = 128;

/// Alarms that are kept for `doctor`; the log has them all.
const ALARMS_MAX: usize = 20;

/// How one request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Run as it came, and neither hit, miss nor bypass.
    Query,
    /// A query that was answered from memory.
    Answered,
    /// Restored from here.
    HitLocal,
    /// Restored from a peer.
    HitPeer,
    /// Compiled and stored.
    Miss,
    /// Compiled and not stored, for a named reason.
    Bypass(&'static str),
}

/// What a request asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A compile, or a question to the compiler.
    Compile,
    /// The run of a build script: counted apart.
    Script,
}

#[derive(Default)]
struct Inner {
    stats: Stats,
    recent: VecDeque<RecentReport>,
    alarms: VecDeque<String>,
}

impl Inner {
    fn alarm(&mut self, alarm: String) {
        if self.alarms.len() >= ALARMS_MAX {
            self.alarms.pop_front();
        }
        self.alarms.push_back(alarm);
    }
}

/// The node's counters, shared by all threads.
#[derive(Default)]
pub struct Counters(Mutex<Inner>);

impl Counters {
    /// Counters that go on from what was stored (JSON of [`Stats`]); rubbish starts over.
    #[must_use]
    pub fn resume(stored: Option<&[u8]>) -> Self {
        let stats = stored
            .and_then(|b| serde_json::from_slice(b).ok())
            .unwrap_or_default();
        Self(Mutex::new(Inner {
            stats,
            ..Inner::default()
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts one request's end and remembers it (queries are not remembered).
    pub fn ended(&self, outcome: Outcome, recent: Option<RecentReport>) {
        self.ended_as(Kind::Compile, outcome, recent);
    }

    /// The same for a request of any kind.
    pub fn ended_as(&self, kind: Kind, outcome: Outcome, recent: Option<RecentReport>) {
        let mut inner = self.lock();
        let stats = &mut inner.stats;
        match kind {
            Kind::Compile => counted(stats, outcome),
            Kind::Script => script_counted(&mut stats.scripts, outcome),
        }
        if let Some(recent) = recent {
            let saved = recent.compile_ms.saturating_sub(recent.ms);
            if matches!(outcome, Outcome::HitLocal | Outcome::HitPeer) {
                stats.time_saved_ms += saved;
            }
            if inner.recent.len() >= RECENT_MAX {
                inner.recent.pop_front();
            }
            inner.recent.push_back(recent);
        }
    }

    /// Something from a peer or the disk was refused.
    pub fn refused(&self, why: Refusal) {
        self.refused_as(why.name());
    }

    /// Something was refused under a name that is no verdict over an entry.
    pub fn refused_as(&self, name: &'static str) {
        count(&mut self.lock().stats.rejected, name);
    }

    /// A hit was compiled again: with the same bytes, or what to say of the difference.
    pub fn rechecked(&self, alarm: Option<String>) {
        let mut inner = self.lock();
        inner.stats.verified.checked += 1;
        if let Some(alarm) = alarm {
            inner.stats.verified.differed += 1;
            inner.alarm(alarm);
        }
    }

    /// A hit was compiled again and is signed by this node as well.
    pub fn agreed(&self) {
        let mut inner = self.lock();
        inner.stats.verified.checked += 1;
        inner.stats.verified.agreed += 1;
    }

    /// Two builders contradict each other: what to say of it.
    pub fn disagreed(&self, alarm: String) {
        let mut inner = self.lock();
        inner.stats.disagreements += 1;
        inner.alarm(alarm);
    }

    /// The latest alarms since the node started, oldest first.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        self.lock().alarms.iter().cloned().collect()
    }

    /// A stranger was turned away.
    pub fn stranger(&self) {
        self.lock().stats.strangers += 1;
    }

    /// Bytes of objects taken in by compiles here.
    pub fn stored(&self, bytes: u64) {
        self.lock().stats.bytes.stored += bytes;
    }

    /// Bytes of objects fetched from peers.
    pub fn fetched(&self, bytes: u64) {
        self.lock().stats.bytes.fetched += bytes;
    }

    /// Bytes of objects served to peers.
    pub fn served(&self, bytes: u64) {
        self.lock().stats.bytes.served += bytes;
    }

    /// The counters now; the five refusals that scripts rely on are always there.
    #[must_use]
    pub fn stats(&self) -> Stats {
        let mut stats = self.lock().stats.clone();
        for name in ["unsigned", "untrusted", "revoked", "corrupt", "oversize"] {
            stats.rejected.entry(name.to_owned()).or_default();
        }
        stats
    }

    /// Starts counting over. What was remembered for people (`why`, `doctor`) is no count, and
    /// stays.
    pub fn reset(&self) {
        self.lock().stats = Stats::default();
    }

    /// The latest outcomes, oldest first.
    #[must_use]
    pub fn recent(&self) -> Vec<RecentReport> {
        self.lock().recent.iter().cloned().collect()
    }
}

fn counted(stats: &mut Stats, outcome: Outcome) {
    stats.requests += 1;
    match outcome {
        Outcome::Query => stats.queries += 1,
        Outcome::Answered => {
            stats.queries += 1;
            stats.queries_answered += 1;
        }
        Outcome::HitLocal => stats.hits.local += 1,
        Outcome::HitPeer => stats.hits.peer += 1,
        Outcome::Miss => stats.misses += 1,
        Outcome::Bypass(reason) => {
            stats.bypasses += 1;
            count(&mut stats.bypass_reasons, reason);
        }
    }
}

fn script_counted(scripts: &mut Scripts, outcome: Outcome) {
    match outcome {
        Outcome::Query | Outcome::Answered => {}
        Outcome::HitLocal => scripts.hits.local += 1,
        Outcome::HitPeer => scripts.hits.peer += 1,
        Outcome::Miss => scripts.misses += 1,
        Outcome::Bypass(reason) => {
            scripts.bypasses += 1;
            count(&mut scripts.bypass_reasons, reason);
        }
    }
}

fn count(counts: &mut std::collections::BTreeMap<String, u64>, name: &str) {
    let name = if counts.len() < NAMES_MAX || counts.contains_key(name) {
        name
    } else {
        "other"
    };
    *counts.entry(name.to_owned()).or_default() += 1;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_is_counted_once() {
        let counters = Counters::default();
        for outcome in [
            Outcome::Query,
            Outcome::Answered,
            Outcome::HitLocal,
            Outcome::HitPeer,
            Outcome::Miss,
            Outcome::Bypass("link-target"),
            Outcome::Bypass("link-target"),
        ] {
            counters.ended(outcome, None);
        }
        let s = counters.stats();
        assert_eq!(
            s.requests,
            s.queries + s.hits.local + s.hits.peer + s.misses + s.bypasses
        );
        assert_eq!(s.bypass_reasons["link-target"], 2);
        assert_eq!(s.rejected["unsigned"], 0, "named even at zero");
    }

    #[test]
    fn a_reset_counts_anew_and_forgets_nothing_else() {
        let counters = Counters::default();
        counters.ended(Outcome::Miss, Some(RecentReport::default()));
        counters.disagreed("two builders".to_owned());
        counters.reset();
        assert_eq!(counters.stats().misses, 0);
        assert_eq!(counters.stats().disagreements, 0);
        assert_eq!(counters.recent().len(), 1, "`why` explains it still");
        assert_eq!(counters.alarms(), ["two builders"]);
    }

    #[test]
    fn counters_of_an_older_node_go_on() {
        let counters = Counters::default();
        counters.rechecked(None);
        counters.agreed();
        counters.disagreed("told".into());
        let mut stored = serde_json::to_value(counters.stats()).unwrap();
        let fields = stored.as_object_mut().unwrap();
        fields.remove("disagreements").unwrap();
        let verified = fields["verified"].as_object_mut().unwrap();
        verified.remove("agreed").unwrap();
        let resumed = Counters::resume(Some(&serde_json::to_vec(&stored).unwrap())).stats();
        assert_eq!((resumed.verified.checked, resumed.verified.agreed), (2, 0));
        assert_eq!(resumed.disagreements, 0);
    }

    #[test]
    fn counters_survive_a_restart_and_rubbish() {
        let counters = Counters::default();
        counters.ended(Outcome::Miss, None);
        counters.refused(Refusal::Revoked);
        let stored = serde_json::to_vec(&counters.stats()).unwrap();
        assert_eq!(Counters::resume(Some(&stored)).stats(), counters.stats());
        assert_eq!(
            Counters::resume(Some(b"{\"requests\":-1}"))
                .stats()
                .requests,
            0
        );
    }
}
