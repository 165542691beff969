//! Blocking work: calls wrapper's pipeline over the node's cache, one call to a thread. It holds
//! no step of the pipeline; what it adds is what the outcome is counted as.

pub mod announcer;
pub mod cache;
pub mod host;
pub mod memos;
mod voice;

use crate::control::RecentReport;
use crate::service::counters::{Counters, Outcome};
use crate::store::Store;
use crate::swarm::Swarm;
use crate::team::Team;
use cache::NodeCache;
use quarry_trust::{Entry, Verified};
use quarry_wrapper::compiler::Bypass;
use quarry_wrapper::invocation::Invocation;
use quarry_wrapper::ipc::protocol::{Finished, Replay, RunPlan};
use quarry_wrapper::observer::Observer;
use quarry_wrapper::pipeline::{Begin, Hit, Job, Pipeline, Recorded};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Everything that a request needs, shared by all threads.
pub struct Worker {
    pipeline: Pipeline,
    cache: NodeCache,
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

/// A compile that runs.
pub struct Started {
    job: Job,
    cwd: String,
    asked: Instant,
}

impl Worker {
    /// A worker over the node's parts.
    #[must_use]
    pub fn new(
        store: Arc<dyn Store>,
        swarm: Arc<dyn Swarm>,
        team: Arc<Team>,
        counters: Arc<Counters>,
    ) -> Self {
        let memos = Arc::new(memos::StoreMemos(store.clone()));
        let cache = NodeCache::new(store, swarm, team.clone(), counters.clone());
        Self {
            pipeline: Pipeline::new(Some(memos)),
            cache,
            counters,
            team,
        }
    }

    /// The same, which observes what macros do, but for those that the user vouches for.
    #[must_use]
    pub fn observing(self, observer: Option<Observer>, pure: &[String]) -> Self {
        Self {
            pipeline: self.pipeline.observing(observer, pure),
            ..self
        }
    }

    /// Returns when everything that was stored is durable and announced. Blocks.
    pub fn flush(&self) {
        self.cache.flush();
    }

    /// Classifies, looks up, restores; or says what to run. Blocks.
    pub fn begin(&self, inv: &Invocation, umask: u32) -> Answer {
        let asked = Instant::now();
        let cwd = inv.cwd.display().to_string();
        match self.pipeline.begin(inv, umask, &self.cache) {
            Begin::Query => {
                self.counters.ended(Outcome::Query, None);
                Answer::Untouched
            }
            Begin::Untouched(reason) => {
                self.bypassed(reason, crate_name_of(inv), cwd, asked.elapsed());
                Answer::Untouched
            }
            Begin::Hit(hit) => {
                self.hit(&hit, cwd, asked.elapsed());
                Answer::Replay(hit.replay)
            }
            Begin::Run(job) => {
                let plan = job.plan.clone();
                if !plan.record {
                    let reason = job.bypass().unwrap_or(Bypass::Interrupted);
                    self.bypassed(
                        reason,
                        job.unit.crate_name.clone(),
                        cwd.clone(),
                        asked.elapsed(),
                    );
                }
                Answer::Run(
                    plan,
                    Box::new(Started {
                        job: *job,
                        cwd,
                        asked,
                    }),
                )
            }
        }
    }

    /// Takes what a finished compile left. Blocks.
    pub fn record(&self, started: Started, finished: &Finished) {
        let Started { job, cwd, asked } = started;
        let crate_name = job.unit.crate_name.clone();
        match self.pipeline.record(job, finished, &self.cache) {
            Recorded::Stored(entry) => {
                let recent = RecentReport {
                    outcome: "miss".to_owned(),
                    ..self.recent(&entry, cwd, asked.elapsed())
                };
                self.counters.ended(Outcome::Miss, Some(recent));
            }
            Recorded::NotStored(reason) => {
                tracing::debug!(crate_name, reason = reason.name(), "not stored");
                self.bypassed(reason, crate_name, cwd, asked.elapsed());
            }
        }
    }

    /// A compile that was begun and whose end nobody reported.
    pub fn abandoned(&self, started: Started) {
        let Started { job, cwd, asked } = started;
        self.bypassed(
            Bypass::Interrupted,
            job.unit.crate_name,
            cwd,
            asked.elapsed(),
        );
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

    fn hit(&self, hit: &Hit, cwd: String, took: Duration) {
        let (outcome, name) = match hit.from {
            None => (Outcome::HitLocal, "hit-local"),
            Some(_) => (Outcome::HitPeer, "hit-peer"),
        };
        let recent = RecentReport {
            outcome: name.to_owned(),
            from: hit.from.and_then(|p| self.team.peer_name(&p)),
            ..self.recent(&hit.entry, cwd, took)
        };
        self.counters.ended(outcome, Some(recent));
    }

    fn bypassed(&self, reason: Bypass, crate_name: String, cwd: String, took: Duration) {
        let recent = RecentReport {
            crate_name,
            outcome: "bypass".to_owned(),
            reason: reason.name().to_owned(),
            ms: millis(took),
            cwd,
            ..RecentReport::default()
        };
        self.counters
            .ended(Outcome::Bypass(reason.name()), Some(recent));
    }

    fn recent(&self, entry: &Verified<Entry>, cwd: String, took: Duration) -> RecentReport {
        RecentReport {
            crate_name: entry.crate_name.clone(),
            ms: millis(took),
            compile_ms: entry.duration_ms,
            signed_by: Some(
                self.team
                    .builder_name(&entry.builder)
                    .unwrap_or_else(|| entry.builder.to_hex()[..12].to_owned()),
            ),
            action: Some(entry.action.to_string()),
            cwd,
            ..RecentReport::default()
        }
    }
}

fn millis(took: Duration) -> u64 {
    u64::try_from(took.as_millis()).unwrap_or(u64::MAX)
}

/// The crate that a command names, for people; empty where it names none.
fn crate_name_of(inv: &Invocation) -> String {
    let at = inv.argv.iter().position(|a| a == "--crate-name");
    at.and_then(|at| inv.argv.get(at + 1))
        .map(|name| name.to_string_lossy().chars().take(128).collect())
        .unwrap_or_default()
}
