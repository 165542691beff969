//! What compilers answered, for who asks the same again.
//!
//! Enters: a question ([`crate::compiler::query`]) and, once it was asked, what the compiler said.
//! Leaves: the same words. In memory alone: after a restart each question is asked once more. Must
//! never happen here: an answer of another compiler, or of one that has changed since; an answer
//! where the compiler would have read something from stdin.

use super::{Caller, Pipeline, plan_as_it_came};
use crate::compiler::query::{Question, question};
use crate::invocation::Invocation;
use crate::ipc::protocol::{Finished, Replay, RunPlan};
use quarry_trust::Digest;
use quarry_trust::canon::Writer;
use std::collections::HashMap;
use std::os::unix::ffi::OsStrExt;
use std::sync::{Arc, Mutex, PoisonError};

/// Answers that are remembered; beyond it all are forgotten and asked for again.
const KNOWN_MAX: usize = 256;
/// Bytes of one answer: the longest that is usual has 4 KB.
const ANSWER_MAX: usize = 64 * 1024;

/// What becomes of a question.
pub enum Query {
    /// The caller asks itself, and nobody listens.
    Untouched,
    /// The answer.
    Known(Replay),
    /// The caller asks, and tells the answer.
    Ask(Box<QueryJob>),
}

/// A question that is being asked.
pub struct QueryJob {
    /// What the caller is to run.
    pub plan: RunPlan,
    inv: Arc<Invocation>,
    question: Question,
    key: Digest,
}

/// The memory.
#[derive(Default)]
pub(super) struct Queries(Mutex<HashMap<Digest, Vec<u8>>>);

impl Queries {
    fn get(&self, key: &Digest) -> Option<Vec<u8>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).cloned()
    }

    fn keep(&self, key: Digest, answer: Vec<u8>) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= KNOWN_MAX {
            known.clear();
        }
        known.insert(key, answer);
    }
}

impl Pipeline {
    /// Answers a question, or says who is to.
    pub(super) fn query(&self, inv: &Arc<Invocation>, caller: &Caller<'_>) -> Query {
        let Some(question) = question(inv).filter(|q| caller.no_stdin || !q.reads_stdin) else {
            return Query::Untouched;
        };
        let Some(key) = self.query_key(inv, &question) else {
            return Query::Untouched;
        };
        if let Some(stdout) = self.queries.get(&key) {
            let stderr = Vec::new();
            return Query::Known(Replay { stdout, stderr });
        }
        let mut plan = plan_as_it_came(inv);
        plan.record = true;
        Query::Ask(Box::new(QueryJob {
            plan,
            inv: Arc::clone(inv),
            question,
            key,
        }))
    }

    /// Remembers what a compiler answered: what is an error, or comes with a warning (which looks
    /// different on a terminal), is asked again.
    pub fn record_query(&self, job: QueryJob, finished: &Finished) {
        let silent = finished.stderr.as_ref().is_some_and(Vec::is_empty);
        let Some(stdout) = finished.stdout.as_ref().filter(|_| silent) else {
            return;
        };
        let whole = finished.success && stdout.len() <= ANSWER_MAX;
        // Replaced while it answered, it may be either compiler's answer.
        if whole && self.query_key(&job.inv, &job.question) == Some(job.key) {
            self.queries.keep(job.key, stdout.clone());
        }
    }

    fn query_key(&self, inv: &Invocation, question: &Question) -> Option<Digest> {
        let target = question.target.as_deref();
        let digests = self.digests.as_ref();
        let compiler = inv.argv.first()?;
        let compiler = self
            .compilers
            .identify_named(inv, compiler, target, digests)
            .ok()?;
        let mut w = Writer::default();
        w.fixed(compiler.identity.as_bytes());
        w.bytes(compiler.path.as_os_str().as_bytes());
        w.bytes(&question.bytes);
        Some(Digest::of(&w.finish()))
    }
}
