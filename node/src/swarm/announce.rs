//! Announcements: which keys are new here, in small numbered batches.
//!
//! Enters: keys that the node stored; batches that peers sent. Leaves: batches to publish, at
//! most one every [`BATCH_EVERY`] unless there are many keys; and, of what was heard, whether
//! something was missed, so that the peer's filter must be asked for again. Must never happen
//! here: an unbounded queue (what does not fit becomes a new filter), a clock (times enter).
//!
//! A generation names one run of announcements, a sequence number one batch in it. A filter says
//! up to which batch it counts. After a quiet moment one empty batch (a beacon) repeats the last
//! number, so that who missed the last batch finds out.

use super::wire::WireError;
use quarry_trust::canon::{Reader, Writer};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Keys wait at most this long for company.
pub(super) const BATCH_EVERY: Duration = Duration::from_millis(100);
/// Keys in one batch: 4 KB, which costs 20 nodes 0.1 ms of CPU a hundred keys.
pub(super) const BATCH_KEYS: usize = 500;
/// A beacon follows the last batch after this long.
const BEACON_AFTER: Duration = Duration::from_secs(2);
/// Keys that may wait. Beyond, a new generation starts and peers ask for the filter.
const MAX_WAITING: usize = 100_000;
/// The form of a batch.
const FORM: u8 = 1;
/// A batch, whole. Bytes.
pub(super) const MAX_BATCH_BYTES: usize = 1 + 8 + 8 + 4 + 8 * BATCH_KEYS;

/// New keys of one peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Batch {
    /// The run of announcements.
    pub(super) generation: u64,
    /// Its number in the run; an empty batch repeats the last.
    pub(super) sequence: u64,
    /// First eight bytes of each key.
    pub(super) keys: Vec<u64>,
}

impl Batch {
    /// The bytes that are published.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut w = Writer::default();
        w.u8(FORM);
        w.u64(self.generation);
        w.u64(self.sequence);
        w.count(self.keys.len());
        for key in &self.keys {
            w.u64(*key);
        }
        w.finish()
    }

    /// Reads a batch, bounded.
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        if bytes.len() > MAX_BATCH_BYTES {
            return Err(WireError::Oversize);
        }
        let mut r = Reader::new(bytes);
        if r.u8()? != FORM {
            return Err(WireError::Corrupt("an unknown form of announcement"));
        }
        let (generation, sequence) = (r.u64()?, r.u64()?);
        let count = r.count(BATCH_KEYS)?;
        let keys = (0..count).map(|_| r.u64()).collect::<Result<_, _>>()?;
        r.finish()?;
        Ok(Self {
            generation,
            sequence,
            keys,
        })
    }
}

/// What is still to be said.
#[derive(Debug)]
pub(super) struct Announcer {
    generation: u64,
    sequence: u64,
    waiting: VecDeque<u64>,
    last_batch: Option<Instant>,
    beacon_due: Option<Instant>,
}

impl Announcer {
    /// Starts a run. Generations of one node must grow: the caller takes them from the clock.
    pub(super) const fn new(generation: u64) -> Self {
        Self {
            generation,
            sequence: 0,
            waiting: VecDeque::new(),
            last_batch: None,
            beacon_due: None,
        }
    }

    /// Where the run stands: a filter that is built from now on includes everything up to here.
    pub(super) const fn position(&self) -> (u64, u64) {
        (self.generation, self.sequence)
    }

    /// Queues keys.
    pub(super) fn queue(&mut self, keys: impl IntoIterator<Item = u64>, now: Instant) {
        self.waiting.extend(keys);
        if self.waiting.len() > MAX_WAITING {
            self.restart(now);
        }
    }

    /// The keys changed at large: peers are to ask for the filter.
    pub(super) fn restart(&mut self, now: Instant) {
        self.waiting.clear();
        self.generation += 1;
        self.sequence = 0;
        self.beacon_due = Some(now);
    }

    /// When [`Announcer::next`] will have something, if nothing else happens.
    pub(super) fn due(&self, now: Instant) -> Option<Instant> {
        if self.waiting.is_empty() {
            return self.beacon_due;
        }
        Some(self.last_batch.map_or(now, |last| last + BATCH_EVERY))
    }

    /// What waits is due now.
    pub(super) const fn hurry(&mut self) {
        self.last_batch = None;
    }

    /// A batch to publish now, if one is due. Full batches follow each other at once.
    pub(super) fn next(&mut self, now: Instant) -> Option<Batch> {
        let rested = self.last_batch.is_none_or(|last| now >= last + BATCH_EVERY);
        if !self.waiting.is_empty() && (rested || self.waiting.len() >= BATCH_KEYS) {
            let count = self.waiting.len().min(BATCH_KEYS);
            let keys = self.waiting.drain(..count).collect();
            self.sequence += 1;
            self.last_batch = Some(now);
            self.beacon_due = Some(now + BEACON_AFTER);
            return Some(self.batch(keys));
        }
        if self.waiting.is_empty() && self.beacon_due.is_some_and(|due| now >= due) {
            self.beacon_due = None;
            return Some(self.batch(Vec::new()));
        }
        None
    }

    const fn batch(&self, keys: Vec<u64>) -> Batch {
        Batch {
            generation: self.generation,
            sequence: self.sequence,
            keys,
        }
    }
}

/// How far a peer was heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Heard {
    generation: u64,
    sequence: u64,
}

/// What a batch means to who heard so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hearing {
    /// Its keys are news (or known already, which does no harm).
    Use,
    /// Its keys are news, but something before them was missed: ask for the filter.
    UseAndAsk,
    /// Another run: its keys are news, and the filter must be asked for.
    NewRun,
    /// Of an older run: ignore.
    Stale,
}

impl Heard {
    /// Everything that a filter includes was heard.
    pub(super) const fn filter(generation: u64, sequence: u64) -> Self {
        Self {
            generation,
            sequence,
        }
    }

    /// Notes a batch.
    pub(super) fn batch(&mut self, batch: &Batch) -> Hearing {
        if batch.generation < self.generation {
            return Hearing::Stale;
        }
        if batch.generation > self.generation {
            *self = Self {
                generation: batch.generation,
                sequence: batch.sequence,
            };
            return Hearing::NewRun;
        }
        let expected = self
            .sequence
            .saturating_add(u64::from(!batch.keys.is_empty()));
        let missed = batch.sequence > expected;
        self.sequence = self.sequence.max(batch.sequence);
        if missed {
            Hearing::UseAndAsk
        } else {
            Hearing::Use
        }
    }
}

#[cfg(test)]
#[path = "announce_tests.rs"]
mod tests;
